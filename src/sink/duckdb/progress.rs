//! The table that holds each stream's progress, written in the transaction of
//! the rows that it speaks of.

use duckdb::{Connection, OptionalExt, params};

use super::client::{execute, failed};
use super::ddl::Place;
use crate::error::{Error, Result};
use crate::failpoint;

/// The name of the table in the sink's schema.
const TABLE: &str = "_tapeline_progress";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The progress as the caller gave it; none for a run without a commit.
    pub state: Option<String>,
    /// Which run of an overwritten table the rows are of.
    pub generation: i64,
}

/// The progress of one stream. It has up to two rows: of the table that readers
/// see, and of the one that an unfinished overwriting run fills.
#[derive(Debug)]
pub(super) struct Progress {
    table: Place,
    key: String,
}

impl Progress {
    /// Creates the table unless it exists.
    pub fn open(connection: &Connection, catalog: &str, schema: &str, key: &str) -> Result<Self> {
        let table = Place { catalog: catalog.to_owned(), schema: schema.to_owned(), name: TABLE.to_owned() };
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (progress_key VARCHAR NOT NULL, staged BOOLEAN NOT NULL, \
             generation BIGINT NOT NULL, state VARCHAR, updated_at TIMESTAMP WITH TIME ZONE NOT NULL)",
            table.sql()
        );
        execute(connection, &sql, || format!("could not create the table {}", table.sql()))?;
        Ok(Self { table, key: key.to_owned() })
    }

    /// What was stored last, of the unfinished run's rows when `staged`.
    pub fn read(&self, connection: &Connection, staged: bool) -> Result<Option<Stored>> {
        let sql = format!(
            "SELECT state, generation FROM {} WHERE progress_key = ? AND staged = ?",
            self.table.sql()
        );
        let stored = |row: &duckdb::Row<'_>| Ok(Stored { state: row.get(0)?, generation: row.get(1)? });
        connection
            .query_row(&sql, params![self.key, staged], stored)
            .optional()
            .map_err(|error| self.unreadable(error))
    }

    /// Stores progress in the open transaction.
    pub fn write(&self, connection: &Connection, staged: bool, stored: &Stored) -> Result<()> {
        let table = self.table.sql();
        let update = format!(
            "UPDATE {table} SET state = ?, generation = ?, updated_at = now() WHERE progress_key = ? AND staged = ?"
        );
        let insert = format!(
            "INSERT INTO {table} (state, generation, progress_key, staged, updated_at) VALUES (?, ?, ?, ?, now())"
        );
        let values = params![stored.state, stored.generation, self.key, staged];
        failpoint::pass();
        let write = || -> duckdb::Result<()> {
            if connection.prepare_cached(&update)?.execute(values)? == 0 {
                connection.prepare_cached(&insert)?.execute(values)?;
            }
            Ok(())
        };
        write().map_err(|error| failed(&format!("could not store progress in {table}"), error))
    }

    /// Forgets progress in the open transaction.
    pub fn forget(&self, connection: &Connection, staged: bool) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE progress_key = ? AND staged = ?", self.table.sql());
        failpoint::pass();
        let forget = connection.execute(&sql, params![self.key, staged]);
        forget.map(|_| ()).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: duckdb::Error) -> Error {
        let table = self.table.sql();
        failed(&format!("could not use the progress table {table}"), error)
            .hint("if something else made a table of this name, rename it")
    }
}
