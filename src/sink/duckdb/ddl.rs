//! Tables: creating, widening, and refusing those that are not ours.

use duckdb::{Connection, params};

use super::client::{execute, failed, literal, quoted};
use crate::catalog::{Column, ColumnType, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{EXTRACTED_AT, GENERATION, META, RAW_ID};

/// A table's place: schema and name.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub schema: String,
    pub name: String,
}

impl Place {
    /// The qualified name in quotes.
    pub fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// The columns that a table has, by name and type; empty when there is no table.
struct Found(Vec<(String, String)>);

impl Found {
    fn in_database(connection: &Connection, place: &Place) -> Result<Self> {
        let query = "SELECT column_name, data_type FROM duckdb_columns() \
            WHERE database_name = current_database() AND lower(schema_name) = lower(?) \
            AND lower(table_name) = lower(?) ORDER BY column_index";
        let read = || -> duckdb::Result<Vec<(String, String)>> {
            let mut statement = connection.prepare(query)?;
            let rows = statement
                .query_map(params![place.schema, place.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        read().map(Self).map_err(|error| failed("could not list the columns", error))
    }

    fn ty(&self, column: &str) -> Option<&str> {
        let column = column.to_lowercase();
        self.0.iter().find(|(name, _)| name.to_lowercase() == column).map(|(_, ty)| ty.as_str())
    }
}

/// DuckDB's type for a column. `json` is what JSON columns are here.
fn sql_type(ty: ColumnType, json: &'static str) -> &'static str {
    match ty {
        ColumnType::Text => "VARCHAR",
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Integer => "BIGINT",
        ColumnType::Decimal => "DECIMAL(38,18)",
        ColumnType::Date => "DATE",
        ColumnType::Timestamp => "TIMESTAMP_NS",
        ColumnType::Json => json,
    }
}

/// A column as it should be.
struct Wanted {
    name: String,
    ty: &'static str,
    is_json: bool,
}

/// All columns of a table, ours last.
fn layout(table: &Table, json: &'static str) -> Vec<Wanted> {
    let own = |column: &Column| Wanted {
        name: column.name.clone(),
        ty: sql_type(column.ty, json),
        is_json: column.ty == ColumnType::Json,
    };
    let meta =
        [(RAW_ID, "UUID"), (EXTRACTED_AT, "TIMESTAMP WITH TIME ZONE"), (META, json), (GENERATION, "BIGINT")];
    let meta = meta.map(|(name, ty)| Wanted { name: name.to_owned(), ty, is_json: name == META });
    table.columns.iter().map(own).chain(meta).collect()
}

/// Creates a schema unless it exists.
pub(super) fn ensure_schema(connection: &Connection, schema: &str) -> Result<()> {
    let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema));
    execute(connection, &sql, || format!("could not create the schema {schema}"))
}

/// Whether there is a table of ours.
///
/// # Errors
/// When there is a view, or a table that this program did not make.
pub(super) fn exists(connection: &Connection, place: &Place) -> Result<bool> {
    let query = "SELECT count(*) FROM duckdb_views() WHERE database_name = current_database() \
        AND lower(schema_name) = lower(?) AND lower(view_name) = lower(?)";
    let views: i64 = connection
        .query_row(query, params![place.schema, place.name], |row| row.get(0))
        .map_err(|error| failed("could not list the views", error))?;
    if views > 0 {
        return Err(foreign(format!("{} is a view", place.sql())));
    }
    let found = Found::in_database(connection, place)?;
    if found.0.is_empty() {
        return Ok(false);
    }
    match [RAW_ID, EXTRACTED_AT, META, GENERATION].into_iter().find(|name| found.ty(name).is_none()) {
        Some(name) => Err(foreign(format!(
            "the table {} exists, but was not made by tapeline: it has no column {name}",
            place.sql()
        ))),
        None => Ok(true),
    }
}

fn foreign(message: String) -> Error {
    Error::new(ErrorKind::Sink, message).hint("choose another `schema`, or rename what is there")
}

/// Creates a table with its comments.
pub(super) fn create(
    connection: &Connection,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<()> {
    let columns: Vec<String> =
        layout(table, json).iter().map(|column| format!("{} {}", quoted(&column.name), column.ty)).collect();
    let mut sql = format!("CREATE TABLE {} ({});", place.sql(), columns.join(", "));
    for column in table.columns.iter().filter(|column| !column.doc.is_empty()) {
        let comment = literal(&column.doc);
        sql.push_str(&format!("COMMENT ON COLUMN {}.{} IS {comment};", place.sql(), quoted(&column.name)));
    }
    execute(connection, &sql, || format!("could not create the table {}", place.sql()))
}

/// What is wrong with an existing table's columns, if something is: one has
/// another type than rows need.
pub(super) fn misfit(
    connection: &Connection,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<Option<Error>> {
    let found = Found::in_database(connection, place)?;
    let misfit = |Wanted { name, ty, is_json }: &Wanted| {
        let have = found.ty(name)?;
        // Whether the library has the JSON extension may change between runs.
        let fits = have == *ty || (*is_json && matches!(have, "JSON" | "VARCHAR"));
        (!fits).then(|| other_type(place, name, have, ty))
    };
    Ok(layout(table, json).iter().find_map(misfit))
}

/// Adds the columns that an existing table lacks.
pub(super) fn widen(connection: &Connection, place: &Place, table: &Table, json: &'static str) -> Result<()> {
    let found = Found::in_database(connection, place)?;
    for Wanted { name, ty, .. } in layout(table, json) {
        if found.ty(&name).is_none() {
            let sql = format!("ALTER TABLE {} ADD COLUMN {} {ty}", place.sql(), quoted(&name));
            execute(connection, &sql, || format!("could not add the column {name} to {}", place.sql()))?;
        }
    }
    Ok(())
}

fn other_type(place: &Place, name: &str, have: &str, need: &str) -> Error {
    let (table, column) = (place.sql(), quoted(name));
    Error::new(ErrorKind::Sink, format!("the column {name} of {table} is {have}, but its rows need {need}"))
        .hint(format!(
            "convert it with ALTER TABLE {table} ALTER {column} TYPE {need}, or rename the table to have it loaded anew"
        ))
}

/// Drops a table if it exists.
pub(super) fn drop_table(connection: &Connection, place: &Place) -> Result<()> {
    let sql = format!("DROP TABLE IF EXISTS {}", place.sql());
    execute(connection, &sql, || format!("could not drop the table {}", place.sql()))
}

/// Puts the table `next` in the place of `table`.
pub(super) fn replace(connection: &Connection, table: &Place, next: &Place) -> Result<()> {
    let sql = format!(
        "DROP TABLE IF EXISTS {}; ALTER TABLE {} RENAME TO {}",
        table.sql(),
        next.sql(),
        quoted(&table.name)
    );
    execute(connection, &sql, || format!("could not replace the table {}", table.sql()))
}

/// Whether a table has rows, and all of them are of this generation.
pub(super) fn is_wholly_of(connection: &Connection, place: &Place, generation: i64) -> Result<bool> {
    let column = quoted(GENERATION);
    let query = format!(
        "SELECT count(*) > 0 AND count(*) = count(*) FILTER ({column} = {generation}) FROM {}",
        place.sql()
    );
    connection
        .query_row(&query, [], |row| row.get(0))
        .map_err(|error| failed(&format!("could not read {}", place.sql()), error))
}
