//! Tables: creating, widening, and refusing those that are not ours.

use std::borrow::Cow;

use duckdb::{Connection, params};

use super::client::{execute, failed, literal, quoted};
use crate::catalog::{ColumnType, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{EXTRACTED_AT, GENERATION, META, RAW_ID};

/// A table's place. It is named in full wherever it is named: a schema may be called
/// like the file, or `temp`, and would be ambiguous alone.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// DuckDB's name of the file.
    pub catalog: String,
    pub schema: String,
    pub name: String,
}

impl Place {
    /// The qualified name in quotes.
    pub fn sql(&self) -> String {
        format!("{}.{}.{}", quoted(&self.catalog), quoted(&self.schema), quoted(&self.name))
    }
}

/// The columns that a table has, by name and type; empty when there is no table.
pub(super) struct Found(Vec<(String, String)>);

impl Found {
    pub fn in_database(connection: &Connection, place: &Place) -> Result<Self> {
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

    pub fn ty(&self, column: &str) -> Option<&str> {
        let column = column.to_lowercase();
        self.0.iter().find(|(name, _)| name.to_lowercase() == column).map(|(_, ty)| ty.as_str())
    }
}

/// DuckDB's type for a column. `json` is what JSON columns are here.
pub(super) fn sql_type(ty: ColumnType, json: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(match ty {
        ColumnType::Text => "VARCHAR",
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Integer => "BIGINT",
        ColumnType::Decimal(width) => return Cow::Owned(format!("DECIMAL{width}")),
        ColumnType::Double => "DOUBLE",
        ColumnType::Date => "DATE",
        ColumnType::Timestamp => "TIMESTAMP_NS",
        ColumnType::Json => json,
    })
}

/// Our own columns, which come last, with their types.
fn metadata(json: &'static str) -> [(&'static str, &'static str); 4] {
    [(RAW_ID, "UUID"), (EXTRACTED_AT, "TIMESTAMP WITH TIME ZONE"), (META, json), (GENERATION, "BIGINT")]
}

/// Schemas that every file has and nobody can write to.
pub(super) const OWN_SCHEMAS: [&str; 2] = ["information_schema", "pg_catalog"];

/// Whether a schema's name alone could mean another thing: DuckDB looks among its
/// databases first, and `temp` and `system` are two of them.
pub(super) fn is_ambiguous(catalog: &str, schema: &str) -> bool {
    [catalog, "temp", "system"].iter().any(|other| other.eq_ignore_ascii_case(schema))
}

/// Creates a schema unless it exists.
///
/// # Errors
/// Also when the schema is one of DuckDB's own.
pub(super) fn ensure_schema(connection: &Connection, catalog: &str, schema: &str) -> Result<()> {
    if OWN_SCHEMAS.iter().any(|own| own.eq_ignore_ascii_case(schema)) {
        return Err(Error::config(format!("the schema {schema} is DuckDB's own"))
            .hint("choose another `schema`, or another namespace for the stream"));
    }
    let sql = format!("CREATE SCHEMA IF NOT EXISTS {}.{}", quoted(catalog), quoted(schema));
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
    let own = table.columns.iter().map(|column| (column.name.as_str(), sql_type(column.ty, json)));
    let meta = metadata(json).map(|(name, ty)| (name, Cow::Borrowed(ty)));
    let columns: Vec<String> = own.chain(meta).map(|(name, ty)| format!("{} {ty}", quoted(name))).collect();
    let mut sql = format!("CREATE TABLE {} ({});", place.sql(), columns.join(", "));
    for column in table.columns.iter().filter(|column| !column.doc.is_empty()) {
        let comment = literal(&column.doc);
        sql.push_str(&format!("COMMENT ON COLUMN {}.{} IS {comment};", place.sql(), quoted(&column.name)));
    }
    execute(connection, &sql, || format!("could not create the table {}", place.sql()))
}

/// Refuses a table in which one of our own columns has another type.
pub(super) fn check_metadata(place: &Place, found: &Found, json: &'static str) -> Result<()> {
    for (name, ty) in metadata(json) {
        let fits = |have: &str| have == ty || (name == META && matches!(have, "JSON" | "VARCHAR"));
        if let Some(have) = found.ty(name).filter(|have| !fits(have)) {
            return Err(foreign(format!("the column {name} of {} is {have}, not {ty}", place.sql())));
        }
    }
    Ok(())
}

/// Adds those of our own columns that an existing table lacks.
pub(super) fn add_metadata(
    connection: &Connection,
    place: &Place,
    found: &Found,
    json: &'static str,
) -> Result<()> {
    let lacks = metadata(json).into_iter().filter(|(name, _)| found.ty(name).is_none());
    for (name, ty) in lacks {
        add_column(connection, place, name, ty)?;
    }
    Ok(())
}

pub(super) fn add_column(connection: &Connection, place: &Place, name: &str, ty: &str) -> Result<()> {
    let sql = format!("ALTER TABLE {} ADD COLUMN {} {ty}", place.sql(), quoted(name));
    execute(connection, &sql, || format!("could not add the column {name} to {}", place.sql()))
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
