//! Names, types and tables.
//!
//! Snowflake commits the open transaction before any DDL, so all of it happens
//! in [`super::SnowflakeSink::connect`], `open` and after `finish`, never between
//! BEGIN and COMMIT.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::client::Warehouse;
use super::config::writable_schema;
use super::layer::server_code;
use super::names::{held_name, ident};
use super::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::ownership::Standing;
use crate::table::{Column, ColumnType, Metadata, Table};

/// The temporary stage of a session. Nobody else sees it, and Snowflake drops it
/// with its files when the session ends.
pub(super) const STAGE: &str = "_TAPELINE_STAGE";
/// The temporary table of a session that takes files as they are, a row each.
pub(super) const LOAD: &str = "_TAPELINE_LOAD";
/// The one column of [`LOAD`].
pub(super) const LOAD_COLUMN: &str = "_TAPELINE_ROW";

/// Rows that pass through are not worth a day of Snowflake's storage.
const NO_TIME_TRAVEL: &str = "DATA_RETENTION_TIME_IN_DAYS = 0";

/// How long a table is meant to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The user's own.
    Lasting,
    /// Until the run that fills it is finished.
    OneRun,
}

/// The type of a column about a row, as destination-snowflake has it.
fn metadata_type(metadata: Metadata) -> &'static str {
    match metadata {
        Metadata::RawId => "VARCHAR NOT NULL",
        Metadata::ExtractedAt => "TIMESTAMP_TZ(9) NOT NULL",
        Metadata::Changes => "VARIANT NOT NULL",
        Metadata::Generation => "NUMBER(38,0)",
    }
}

/// The columns about its rows that a table has.
pub(super) fn metadata_of(existing: &[Existing]) -> Vec<Metadata> {
    let has = |metadata: &Metadata| {
        let name = held_name(metadata.column());
        existing.iter().any(|found| found.name == name)
    };
    Metadata::ALL.into_iter().filter(has).collect()
}

/// A text as SQL. Only for what cannot be a bound value: the comments of DDL.
pub(super) fn literal(text: &str) -> String {
    let mut sql = String::with_capacity(text.len() + 2);
    sql.push('\'');
    for c in text.chars() {
        match c {
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            // A client may take `$name` for a session variable.
            '$' => sql.push_str("\\u0024"),
            other => sql.push(other),
        }
    }
    sql.push('\'');
    sql
}

/// A column as CREATE and ALTER want it.
pub(super) fn definition(column: &Column) -> String {
    let comment =
        if column.doc.is_empty() { String::new() } else { format!(" COMMENT {}", literal(&column.doc)) };
    format!("{}{comment}", sql_type(column.ty))
}

/// Where tables are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub database: String,
    pub schema: String,
}

impl Place {
    /// The full name of a table.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{}.{}", ident(&self.database), ident(&self.schema), ident(name))
    }

    fn schema(&self) -> String {
        format!("{}.{}", ident(&self.database), ident(&self.schema))
    }

    /// Uses the warehouse and the schema, creating the latter and the session's
    /// temporary objects.
    pub async fn prepare(&self, session: &dyn Warehouse, warehouse: &str) -> Result<()> {
        use_warehouse(session, warehouse).await?;
        self.ensure_schema(session).await?;
        self.enter(session).await?;
        for sql in [
            format!("CREATE TEMPORARY STAGE IF NOT EXISTS {}", ident(STAGE)),
            format!(
                "CREATE OR REPLACE TEMPORARY TABLE {} ({} VARIANT) {NO_TIME_TRAVEL}",
                ident(LOAD),
                ident(LOAD_COLUMN)
            ),
        ] {
            session
                .execute(Statement::new(sql))
                .await
                .map_err(|error| missing(error, "schema", &self.schema))?;
        }
        Ok(())
    }

    /// Creates the schema unless it exists; returns whether it did so, after which it
    /// is the session's schema [Snowflake: CREATE SCHEMA].
    pub async fn ensure_schema(&self, session: &dyn Warehouse) -> Result<bool> {
        writable_schema(&self.schema)?;
        let schemas = format!(
            "SELECT CAST(SCHEMA_NAME AS VARCHAR) FROM {}.INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = ?",
            ident(&self.database)
        );
        let found = session
            .execute(Statement::new(schemas).text(held_name(&self.schema)))
            .await
            .map_err(|error| missing(error, "database", &self.database))?;
        if !found.is_empty() {
            return Ok(false);
        }
        session
            .execute(Statement::new(format!("CREATE SCHEMA IF NOT EXISTS {}", self.schema())))
            .await
            .map_err(|error| missing(error, "schema", &self.schema))?;
        Ok(true)
    }

    /// Makes the schema the session's.
    pub async fn enter(&self, session: &dyn Warehouse) -> Result<()> {
        let sql = format!("USE SCHEMA {}", self.schema());
        let entered = session.execute(Statement::new(sql)).await;
        entered.map(|_| ()).map_err(|error| missing(error, "schema", &self.schema))
    }

    /// The tables of the schema, read once for all streams.
    pub async fn tables(&self, session: &dyn Warehouse) -> Result<Tables> {
        let statement = Statement::new(self.columns_query()).text(held_name(&self.schema));
        let read = read_columns(session, statement).await;
        read.map_err(|error| missing(error, "database", &self.database))
    }

    /// The columns of one table as they are now.
    pub async fn columns(&self, session: &dyn Warehouse, name: &str) -> Result<Vec<Existing>> {
        let sql = format!("{} AND TABLE_NAME = ?", self.columns_query());
        let statement = Statement::new(sql).text(held_name(&self.schema)).text(held_name(name));
        Ok(read_columns(session, statement).await?.columns(name).to_vec())
    }

    fn columns_query(&self) -> String {
        format!(
            "SELECT CAST(TABLE_NAME AS VARCHAR), CAST(COLUMN_NAME AS VARCHAR), CAST(DATA_TYPE AS VARCHAR), \
             CAST(NUMERIC_PRECISION AS VARCHAR), CAST(NUMERIC_SCALE AS VARCHAR) \
             FROM {}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ?",
            ident(&self.database)
        )
    }

    /// Creates `name` with the columns of `table`.
    pub async fn create(
        &self,
        session: &dyn Warehouse,
        name: &str,
        lifetime: Lifetime,
        table: &Table,
    ) -> Result<()> {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("{} {}", ident(&column.name), definition(column)))
            .chain(
                table
                    .metadata
                    .iter()
                    .map(|metadata| format!("{} {}", ident(metadata.column()), metadata_type(*metadata))),
            )
            .collect();
        let (create, option) = match lifetime {
            Lifetime::Lasting => ("CREATE TABLE IF NOT EXISTS", ""),
            // Nobody else's may be replaced, nor taken for this one.
            Lifetime::OneRun => ("CREATE TRANSIENT TABLE", NO_TIME_TRAVEL),
        };
        let sql = format!("{create} {} ({}) {option}", self.table(name), columns.join(", "));
        session.execute(Statement::new(sql)).await.map(drop)
    }

    /// Adds the columns about its rows that `table` has and an existing one lacks. Returns
    /// those that it has then: one that nobody asks for is filled as well.
    pub async fn add_metadata(
        &self,
        session: &dyn Warehouse,
        name: &str,
        existing: &[Existing],
        table: &Table,
    ) -> Result<Vec<Metadata>> {
        let mut has = metadata_of(existing);
        for metadata in table.metadata.iter().filter(|metadata| !has.contains(metadata)) {
            // Rows that are there already have no value for it.
            let ty = metadata_type(*metadata).trim_end_matches(" NOT NULL");
            self.add_column(session, name, metadata.column(), ty).await?;
        }
        has.extend(&table.metadata);
        has.sort();
        has.dedup();
        Ok(has)
    }

    /// Adds a column.
    pub async fn add_column(
        &self,
        session: &dyn Warehouse,
        table: &str,
        column: &str,
        ty: &str,
    ) -> Result<()> {
        tracing::info!(table, column, "adding a column");
        let sql =
            format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {ty}", self.table(table), ident(column));
        session.execute(Statement::new(sql)).await.map(|_| ())
    }
}

/// Has the warehouse run the session's statements.
pub(super) async fn use_warehouse(session: &dyn Warehouse, warehouse: &str) -> Result<()> {
    let sql = format!("USE WAREHOUSE {}", ident(warehouse));
    let used = session.execute(Statement::new(sql)).await;
    used.map(drop).map_err(|error| missing(error, "warehouse", warehouse))
}

/// The answer to [`Place::columns_query`].
async fn read_columns(session: &dyn Warehouse, statement: Statement) -> Result<Tables> {
    let rows = session.execute(statement).await?;
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let mut tables = Tables::default();
    for row in &rows {
        let [Some(table), Some(name), Some(ty), precision, scale] = row.as_slice() else {
            return Err(Error::new(
                ErrorKind::Sink,
                "snowflake's INFORMATION_SCHEMA.COLUMNS is not understood",
            ));
        };
        let column = Existing {
            name: name.clone(),
            ty: ty.clone(),
            precision: number(precision),
            scale: number(scale),
        };
        tables.0.entry(table.clone()).or_default().push(column);
    }
    Ok(tables)
}

/// The tables of a schema with their columns, by the names that Snowflake stores.
#[derive(Debug, Default)]
pub(super) struct Tables(HashMap<String, Vec<Existing>>);

impl Tables {
    /// Whether there is a table.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(&held_name(name))
    }

    /// Whether a table has a column.
    pub fn has_column(&self, name: &str, column: &str) -> bool {
        self.columns(name).iter().any(|found| found.name == held_name(column))
    }

    /// Whether the target's table is there, which must be [ours](Standing::must_be_ours).
    ///
    /// # Errors
    /// When there is a table that this program did not make.
    pub fn exists(&self, place: &Place, standing: Standing<'_>) -> Result<bool> {
        let name = &standing.target.table.name;
        let is_there = self.has(name);
        if is_there {
            standing.must_be_ours(&place.table(name), |column| self.has_column(name, column))?;
        }
        Ok(is_there)
    }

    /// The columns of a table; none when there is no table.
    pub fn columns(&self, name: &str) -> &[Existing] {
        self.0.get(&held_name(name)).map_or(&[], Vec::as_slice)
    }
}

/// A column that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Existing {
    /// As Snowflake holds it.
    pub name: String,
    pub ty: String,
    precision: Option<u8>,
    scale: Option<u8>,
}

impl Existing {
    /// A column of decimals of ours.
    pub fn number(column: &str, precision: u8, scale: u8) -> Self {
        let name = held_name(column);
        Self { name, ty: "NUMBER".to_owned(), precision: Some(precision), scale: Some(scale) }
    }

    /// Digits after the point.
    pub fn scale(&self) -> u8 {
        self.scale.unwrap_or(0)
    }

    /// Digits before it.
    pub fn whole(&self) -> u8 {
        self.precision.unwrap_or(38).saturating_sub(self.scale())
    }

    #[cfg(test)]
    pub fn of(name: &str, ty: &str, precision: u8, scale: u8) -> Self {
        Self { ty: ty.to_owned(), ..Self::number(name, precision, scale) }
    }
}

impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ty.as_str() {
            "NUMBER" => write!(f, "NUMBER({},{})", self.precision.unwrap_or(38), self.scale()),
            ty => f.write_str(ty),
        }
    }
}

/// The type of a column. A number's precision costs nothing in Snowflake and could grow;
/// its scale could not, and says how many digits a product has.
pub(super) fn sql_type(ty: ColumnType) -> Cow<'static, str> {
    Cow::Borrowed(match ty {
        ColumnType::Text => "VARCHAR",
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Integer => "NUMBER(38,0)",
        ColumnType::Decimal(width) => return Cow::Owned(format!("NUMBER(38,{})", width.scale())),
        ColumnType::Double => "FLOAT",
        ColumnType::Date => "DATE",
        ColumnType::Timestamp | ColumnType::TimestampMicros => "TIMESTAMP_TZ(9)",
        ColumnType::Json => "VARIANT",
    })
}

/// Says of "does not exist or not authorized" which field of the configuration it is about.
fn missing(error: Error, field: &str, name: &str) -> Error {
    let sentence = match server_code(&error) {
        Some("002003" | "002043" | "000606") => format!(
            "snowflake's `{field}` {} does not exist, or the role may not use it",
            name.to_uppercase()
        ),
        Some("003001") => {
            format!("the role may not use or create snowflake's `{field}` {}", name.to_uppercase())
        }
        _ => return error,
    };
    Error::new(ErrorKind::Sink, sentence).hint(format!("check `{field}` and `role`")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upper_case_and_quoted() {
        assert_eq!(ident("stock_bars"), "\"STOCK_BARS\"");
        assert_eq!(ident("a\"; DROP TABLE b; --"), "\"A\"\"; DROP TABLE B; --\"");
        let place = Place { database: "db".to_owned(), schema: "my schema".to_owned() };
        assert_eq!(place.table("t"), "\"DB\".\"MY SCHEMA\".\"T\"");
    }

    #[test]
    fn a_comment_cannot_end_its_literal() {
        assert_eq!(literal(r"it's \ $5"), r"'it''s \\ \u00245'");
        let column = Column { name: "c".to_owned(), ty: ColumnType::Date, doc: "Day.".to_owned() };
        assert_eq!(definition(&column), "DATE COMMENT 'Day.'");
    }
}
