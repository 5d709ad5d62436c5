//! The table of rejected rows of a schema. It is there before there is one: a row can then
//! be rejected in whichever transaction its stream has, and whoever watches the table can
//! rely on it.

use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};

use super::client::{execute, failed};
use super::ddl::{Place, Tables};
use super::progress::{ROWS_PER_STATEMENT, text, values};
use crate::batch::Reject;
use crate::error::Result;
use crate::failpoint;
use crate::sink::quarantine::{FIRST, ID, named};
use crate::sink::{REJECTED, Target};

/// Where the rejected rows of a schema are.
#[derive(Debug)]
pub(super) struct Quarantine(Place);

impl Quarantine {
    /// Where it is.
    pub fn of(catalog: &str, schema: &str) -> Self {
        Self(Place::new(catalog, schema, REJECTED))
    }

    /// Creates the table unless it exists. One of version 1 makes room.
    pub fn ensure(&self, connection: &Connection, tables: &Tables) -> Result<()> {
        let table = self.0.sql();
        if tables.has(&self.0) && !tables.has_column(&self.0, ID) {
            let sql = format!("ALTER TABLE {table} RENAME TO {FIRST}");
            execute(connection, &sql, || format!("could not rename {table}"))?;
        }
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table} (id VARCHAR NOT NULL, pipeline VARCHAR NOT NULL, \
             stream VARCHAR NOT NULL, shard VARCHAR NOT NULL, reason VARCHAR NOT NULL, record VARCHAR NOT NULL, \
             rejected_at TIMESTAMP WITH TIME ZONE NOT NULL)"
        );
        execute(connection, &sql, || format!("could not create the table {table}"))
    }

    /// Adds rejected rows of a stream in the open transaction, but those that are there.
    pub fn add(&self, connection: &Connection, target: &Target, rejected: &[Reject]) -> Result<()> {
        let table = self.0.sql();
        for some in named(target, rejected).chunks(ROWS_PER_STATEMENT) {
            let sql = format!(
                "INSERT INTO {table} (id, pipeline, stream, shard, reason, record, rejected_at) \
                 SELECT came.*, now() FROM ({}) AS came(id, pipeline, stream, shard, reason, record) \
                 WHERE NOT EXISTS (SELECT 1 FROM {table} AS held WHERE held.id = came.id)",
                values(
                    "(?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR)",
                    some.len()
                )
            );
            let rows = some.iter().flat_map(|named| -> [Value; 6] {
                let Reject { shard, reason, row } = named.reject;
                [&*named.id, &target.pipeline, &target.stream, shard, reason, row].map(text)
            });
            failpoint::pass();
            let added = connection.execute(&sql, params_from_iter(rows));
            added.map_err(|error| failed(&format!("could not store rejected rows in {table}"), error))?;
        }
        Ok(())
    }
}
