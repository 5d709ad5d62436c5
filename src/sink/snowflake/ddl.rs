//! Names, types and tables.
//!
//! Snowflake commits the open transaction before any DDL, so all of it happens
//! in [`super::SnowflakeSink::connect`], `open` and after `finish`, never between
//! BEGIN and COMMIT.

use std::collections::HashMap;

use super::client::Warehouse;
use super::layer::server_code;
use super::statement::Statement;
use crate::catalog::{Column, ColumnType, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{EXTRACTED_AT, GENERATION, META, RAW_ID};

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

/// Airbyte's columns, as destination-snowflake has them, with their types.
pub(super) const METADATA: [(&str, &str); 4] = [
    (RAW_ID, "VARCHAR NOT NULL"),
    (EXTRACTED_AT, "TIMESTAMP_TZ(9) NOT NULL"),
    (META, "VARIANT NOT NULL"),
    (GENERATION, "NUMBER(38,0)"),
];

/// A name as SQL: upper case, quoted. The one place that does it.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.to_uppercase().replace('"', "\"\""))
}

/// Several names, with commas.
pub(super) fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// A text as SQL. Only for what cannot be a bound value: the comments of DDL.
fn literal(text: &str) -> String {
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
fn definition(column: &Column) -> String {
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
        let schemas = format!(
            "SELECT CAST(SCHEMA_NAME AS VARCHAR) FROM {}.INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = ?",
            ident(&self.database)
        );
        let found = session
            .execute(Statement::new(schemas).text(self.schema.to_uppercase()))
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
        let sql = format!(
            "SELECT CAST(TABLE_NAME AS VARCHAR), CAST(COLUMN_NAME AS VARCHAR), CAST(DATA_TYPE AS VARCHAR), \
             CAST(NUMERIC_PRECISION AS VARCHAR), CAST(NUMERIC_SCALE AS VARCHAR) \
             FROM {}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ?",
            ident(&self.database)
        );
        let rows = session
            .execute(Statement::new(sql).text(self.schema.to_uppercase()))
            .await
            .map_err(|error| missing(error, "database", &self.database))?;
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
            .chain(METADATA.iter().map(|(name, ty)| format!("{} {ty}", ident(name))))
            .collect();
        let (create, option) = match lifetime {
            Lifetime::Lasting => ("CREATE TABLE IF NOT EXISTS", ""),
            // What an abandoned run left goes, whatever columns it has.
            Lifetime::OneRun => ("CREATE OR REPLACE TRANSIENT TABLE", NO_TIME_TRAVEL),
        };
        let sql = format!("{create} {} ({}) {option}", self.table(name), columns.join(", "));
        session.execute(Statement::new(sql)).await.map(drop)
    }

    /// Adds the columns that an existing table lacks.
    pub async fn widen(
        &self,
        session: &dyn Warehouse,
        tables: &Tables,
        name: &str,
        table: &Table,
    ) -> Result<()> {
        for column in &table.columns {
            if !tables.has_column(name, &column.name) {
                self.add_column(session, name, &column.name, &definition(column)).await?;
            }
        }
        for (column, ty) in METADATA {
            if !tables.has_column(name, column) {
                // Rows that are there already have no value for it.
                self.add_column(session, name, column, ty.trim_end_matches(" NOT NULL")).await?;
            }
        }
        Ok(())
    }

    async fn add_column(&self, session: &dyn Warehouse, table: &str, column: &str, ty: &str) -> Result<()> {
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

/// The tables of a schema with their columns, by the names that Snowflake stores.
#[derive(Debug, Default)]
pub(super) struct Tables(HashMap<String, Vec<Existing>>);

impl Tables {
    /// Whether there is a table.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(&name.to_uppercase())
    }

    /// Whether a table has a column.
    pub fn has_column(&self, name: &str, column: &str) -> bool {
        self.find(name, column).is_some()
    }

    fn find(&self, name: &str, column: &str) -> Option<&Existing> {
        self.0.get(&name.to_uppercase())?.iter().find(|found| found.name == column.to_uppercase())
    }

    /// Whether every value of the rows fits the columns that a table has already.
    ///
    /// # Errors
    /// [`ErrorKind::Table`] when a column has a type that cannot take the rows.
    pub fn must_hold(&self, name: &str, table: &Table) -> Result<()> {
        let holds = |column: &Column| match self.find(name, &column.name) {
            Some(found) => found.must_hold(column, name),
            None => Ok(()),
        };
        table.columns.iter().try_for_each(holds)
    }
}

/// A column that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Existing {
    pub name: String,
    ty: String,
    precision: Option<u32>,
    scale: Option<u32>,
}

impl Existing {
    /// Whether every value of `column` fits without loss.
    fn must_hold(&self, column: &Column, table: &str) -> Result<()> {
        let (precision, scale) = (self.precision.unwrap_or(38), self.scale.unwrap_or(0));
        let holds = match column.ty {
            ColumnType::Text => matches!(self.ty.as_str(), "TEXT" | "VARCHAR"),
            ColumnType::Boolean => self.ty == "BOOLEAN",
            ColumnType::Integer => self.ty == "NUMBER" && scale == 0 && precision >= 19,
            ColumnType::Decimal => {
                self.ty == "NUMBER"
                    && scale >= u32::from(ColumnType::DECIMAL_SCALE)
                    && precision >= u32::from(ColumnType::DECIMAL_PRECISION)
            }
            ColumnType::Date => self.ty == "DATE",
            ColumnType::Timestamp => matches!(self.ty.as_str(), "TIMESTAMP_TZ" | "TIMESTAMP_LTZ"),
            ColumnType::Json => self.ty == "VARIANT",
        };
        if holds {
            return Ok(());
        }
        let number = if self.ty == "NUMBER" { format!("({precision},{scale})") } else { String::new() };
        Err(Error::new(
            ErrorKind::Table,
            format!(
                "column {} of table {} is {}{number}, the rows need {}",
                self.name,
                table.to_uppercase(),
                self.ty,
                sql_type(column.ty)
            ),
        )
        .hint("rename or drop the column or the table, or choose another `schema`"))
    }
}

/// The type of a column.
pub(super) fn sql_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Text => "VARCHAR",
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Integer => "NUMBER(38,0)",
        ColumnType::Decimal => "NUMBER(38,18)",
        ColumnType::Date => "DATE",
        ColumnType::Timestamp => "TIMESTAMP_TZ(9)",
        ColumnType::Json => "VARIANT",
    }
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

    #[test]
    fn a_column_that_would_round_is_refused() {
        let column = Column { name: "price".to_owned(), ty: ColumnType::Decimal, doc: String::new() };
        let existing = |ty: &str, precision, scale| Existing {
            name: "PRICE".to_owned(),
            ty: ty.to_owned(),
            precision,
            scale,
        };
        existing("NUMBER", Some(38), Some(18)).must_hold(&column, "t").unwrap();
        let error = existing("NUMBER", Some(38), Some(9)).must_hold(&column, "t").unwrap_err();
        assert_eq!(error.to_string(), "column PRICE of table T is NUMBER(38,9), the rows need NUMBER(38,18)");
        assert!(existing("FLOAT", None, None).must_hold(&column, "t").is_err());
    }
}
