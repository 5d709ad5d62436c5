//! Tables: creating, widening, and refusing those that are not ours.

use std::collections::{HashMap, HashSet};

use duckdb::Connection;

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

    /// Schema and name as DuckDB compares them.
    fn folded(&self) -> (String, String) {
        (self.schema.to_lowercase(), self.name.to_lowercase())
    }
}

/// The tables and views of the database as a transaction found them.
///
/// Read once for all streams: with a thousand of them, a look at DuckDB's catalogue
/// for each would take longer than loading them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By schema and name, in lower case: the columns by name and type.
    columns: HashMap<(String, String), Vec<(String, String)>>,
    views: HashSet<(String, String)>,
}

impl Tables {
    pub fn read(connection: &Connection) -> Result<Self> {
        let columns = "SELECT lower(schema_name), lower(table_name), column_name, data_type FROM duckdb_columns() \
            WHERE database_name = current_database() AND NOT internal ORDER BY table_oid, column_index";
        let views = "SELECT lower(schema_name), lower(view_name) FROM duckdb_views() \
            WHERE database_name = current_database() AND NOT internal";
        let read = || -> duckdb::Result<Self> {
            let mut tables = Self::default();
            let mut statement = connection.prepare(columns)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let column = (row.get(2)?, row.get(3)?);
                tables.columns.entry((row.get(0)?, row.get(1)?)).or_default().push(column);
            }
            let mut statement = connection.prepare(views)?;
            let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            tables.views = found.collect::<duckdb::Result<_>>()?;
            Ok(tables)
        };
        read().map_err(|error| failed("could not list the tables", error))
    }

    /// Whether a table has a column.
    pub fn has_column(&self, place: &Place, column: &str) -> bool {
        self.ty(place, column).is_some()
    }

    /// Whether there is a table.
    pub fn has(&self, place: &Place) -> bool {
        self.columns.contains_key(&place.folded())
    }

    fn ty(&self, place: &Place, column: &str) -> Option<&str> {
        let column = column.to_lowercase();
        let columns = self.columns.get(&place.folded())?;
        columns.iter().find(|(name, _)| name.to_lowercase() == column).map(|(_, ty)| ty.as_str())
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

/// The table that an unfinished run fills, which will replace `table`.
pub(super) fn next(table: &Place) -> Place {
    Place { schema: table.schema.clone(), name: format!("_tapeline_next_{}", table.name) }
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
pub(super) fn exists(tables: &Tables, place: &Place) -> Result<bool> {
    if tables.views.contains(&place.folded()) {
        return Err(foreign(format!("{} is a view", place.sql())));
    }
    if !tables.has(place) {
        return Ok(false);
    }
    match [RAW_ID, EXTRACTED_AT, META, GENERATION].into_iter().find(|name| !tables.has_column(place, name)) {
        Some(name) => Err(foreign(format!(
            "the table {} exists, but was not made by tapeline: it has no column {name}",
            place.sql()
        ))),
        None => Ok(true),
    }
}

fn foreign(message: String) -> Error {
    Error::new(ErrorKind::Table, message).hint("choose another `schema`, or rename what is there")
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
pub(super) fn misfit(tables: &Tables, place: &Place, table: &Table, json: &'static str) -> Option<Error> {
    let misfit = |Wanted { name, ty, is_json }: &Wanted| {
        let have = tables.ty(place, name)?;
        // Whether the library has the JSON extension may change between runs.
        let fits = have == *ty || (*is_json && matches!(have, "JSON" | "VARCHAR"));
        (!fits).then(|| other_type(place, name, have, ty))
    };
    layout(table, json).iter().find_map(misfit)
}

/// Adds the columns that an existing table lacks.
pub(super) fn widen(
    connection: &Connection,
    tables: &Tables,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<()> {
    for Wanted { name, ty, .. } in layout(table, json) {
        if !tables.has_column(place, &name) {
            let sql = format!("ALTER TABLE {} ADD COLUMN {} {ty}", place.sql(), quoted(&name));
            execute(connection, &sql, || format!("could not add the column {name} to {}", place.sql()))?;
        }
    }
    Ok(())
}

fn other_type(place: &Place, name: &str, have: &str, need: &str) -> Error {
    let (table, column) = (place.sql(), quoted(name));
    Error::new(ErrorKind::Table, format!("the column {name} of {table} is {have}, but its rows need {need}"))
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
