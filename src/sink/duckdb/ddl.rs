//! Tables: creating, widening, and refusing those that are not ours.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use duckdb::Connection;

use super::client::{OWN_SCHEMAS, execute, failed, literal, quoted};
use crate::error::{Error, Result};
use crate::sink::ownership::{Standing, foreign};
use crate::table::{ColumnType, Metadata, Table};

/// A table's place. It is named in full wherever it is named: a schema may be called
/// like the file, or `temp`, and would be ambiguous alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// DuckDB's name of the file.
    pub catalog: String,
    pub schema: String,
    pub name: String,
}

impl Place {
    pub fn new(catalog: &str, schema: &str, name: &str) -> Self {
        Self { catalog: catalog.to_owned(), schema: schema.to_owned(), name: name.to_owned() }
    }

    /// The qualified name in quotes.
    pub fn sql(&self) -> String {
        format!("{}.{}.{}", quoted(&self.catalog), quoted(&self.schema), quoted(&self.name))
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

    /// The type of a column.
    pub fn ty(&self, place: &Place, column: &str) -> Option<&str> {
        let column = column.to_lowercase();
        let columns = self.columns.get(&place.folded())?;
        columns.iter().find(|(name, _)| name.to_lowercase() == column).map(|(_, ty)| ty.as_str())
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
        ColumnType::TimestampMicros => "TIMESTAMP",
        ColumnType::Json => json,
    })
}

/// DuckDB's type for a column about a row.
fn metadata_type(metadata: Metadata, json: &'static str) -> &'static str {
    match metadata {
        Metadata::RawId => "UUID",
        Metadata::ExtractedAt => "TIMESTAMP WITH TIME ZONE",
        Metadata::Changes => json,
        Metadata::Generation => "BIGINT",
    }
}

/// The table that an unfinished run fills, which will replace `table`.
pub(super) fn next(table: &Place) -> Place {
    Place { name: format!("_tapeline_next_{}", table.name), ..table.clone() }
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

/// Drops a schema with all that is in it.
pub(super) fn drop_schema(connection: &Connection, catalog: &str, schema: &str) -> Result<()> {
    let sql = format!("DROP SCHEMA IF EXISTS {}.{} CASCADE", quoted(catalog), quoted(schema));
    execute(connection, &sql, || format!("could not drop the schema {schema}"))
}

/// Whether there is a table, which must be [ours](Standing::must_be_ours).
///
/// # Errors
/// When there is a view, or a table that this program did not make.
pub(super) fn exists(tables: &Tables, place: &Place, standing: Standing<'_>) -> Result<bool> {
    if tables.views.contains(&place.folded()) {
        return Err(foreign(format!("{} is a view", place.sql())));
    }
    let is_there = tables.has(place);
    if is_there {
        standing.must_be_ours(&place.sql(), |column| tables.has_column(place, column))?;
    }
    Ok(is_there)
}

/// Whether a table has rows.
pub(super) fn has_rows(connection: &Connection, table: &Place) -> Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", table.sql());
    connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(|error| failed(&format!("could not read the table {}", table.sql()), error))
}

/// Creates a table with its comments.
pub(super) fn create(
    connection: &Connection,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<()> {
    let own = table.columns.iter().map(|column| (column.name.as_str(), sql_type(column.ty, json)));
    let meta = table
        .metadata
        .iter()
        .map(|metadata| (metadata.column(), Cow::Borrowed(metadata_type(*metadata, json))));
    let columns: Vec<String> = own.chain(meta).map(|(name, ty)| format!("{} {ty}", quoted(name))).collect();
    let mut sql = format!("CREATE TABLE {} ({});", place.sql(), columns.join(", "));
    for column in table.columns.iter().filter(|column| !column.doc.is_empty()) {
        let comment = literal(&column.doc);
        sql.push_str(&format!("COMMENT ON COLUMN {}.{} IS {comment};", place.sql(), quoted(&column.name)));
    }
    execute(connection, &sql, || format!("could not create the table {}", place.sql()))
}

/// Refuses a table in which a column about its rows has another type.
pub(super) fn check_metadata(place: &Place, tables: &Tables, json: &'static str) -> Result<()> {
    for metadata in Metadata::ALL {
        let (name, ty) = (metadata.column(), metadata_type(metadata, json));
        let is_text = |have: &str| metadata == Metadata::Changes && matches!(have, "JSON" | "VARCHAR");
        let fits = |have: &str| have == ty || is_text(have);
        if let Some(have) = tables.ty(place, name).filter(|have| !fits(have)) {
            return Err(foreign(format!("the column {name} of {} is {have}, not {ty}", place.sql())));
        }
    }
    Ok(())
}

/// Whether an existing table has the columns about its rows that `table` has.
pub(super) fn has_metadata(place: &Place, tables: &Tables, table: &Table) -> bool {
    table.metadata.iter().all(|metadata| tables.has_column(place, metadata.column()))
}

/// Adds the columns about its rows that `table` has and an existing one lacks. Returns
/// those that it has then: one that nobody asks for is filled as well.
pub(super) fn add_metadata(
    connection: &Connection,
    place: &Place,
    tables: &Tables,
    table: &Table,
    json: &'static str,
) -> Result<Vec<Metadata>> {
    let lacks = table.metadata.iter().filter(|metadata| !tables.has_column(place, metadata.column()));
    for metadata in lacks {
        add_column(connection, place, metadata.column(), metadata_type(*metadata, json))?;
    }
    let has = |metadata: &Metadata| table.has(*metadata) || tables.has_column(place, metadata.column());
    Ok(Metadata::ALL.into_iter().filter(has).collect())
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
    let column = quoted(Metadata::Generation.column());
    let query = format!(
        "SELECT count(*) > 0 AND count(*) = count(*) FILTER ({column} = {generation}) FROM {}",
        place.sql()
    );
    connection
        .query_row(&query, [], |row| row.get(0))
        .map_err(|error| failed(&format!("could not read {}", place.sql()), error))
}
