//! What version 1 of this program stored, read from where it was.

use duckdb::{Connection, OptionalExt, params};

use super::{FIRST, FIRST_KEY, SHARDS};
use crate::error::Result;
use crate::failpoint;
use crate::sink::duckdb::client::failed;
use crate::sink::duckdb::ddl::{Place, Tables};
use crate::sink::lifecycle::Head;

/// What version 1 stored of one stream.
#[derive(Debug, Default)]
pub(in crate::sink::duckdb) struct First {
    /// Of the table that readers see: progress and generation.
    pub table: Option<(Option<String>, i64)>,
    /// Of the table that an unfinished run fills.
    pub next: Option<(Option<String>, i64)>,
}

impl First {
    /// Where version 1 stored progress, if it did in this database.
    pub fn place(catalog: &str, schema: &str, tables: &Tables) -> Option<Place> {
        let place = |name: &str| Place::new(catalog, schema, name);
        let is_first = |name: &str| tables.has_column(&place(name), FIRST_KEY);
        (is_first(SHARDS) || is_first(FIRST)).then(|| place(FIRST))
    }

    /// Where it is, as long as nothing made room: see [`Ledger::open`](super::Ledger::open).
    pub fn existing(catalog: &str, schema: &str, tables: &Tables) -> Option<Place> {
        let place = |name: &str| Place::new(catalog, schema, name);
        [FIRST, SHARDS].map(place).into_iter().find(|place| tables.has_column(place, FIRST_KEY))
    }

    /// Reads it from where it is.
    pub fn read(connection: &Connection, place: &Place, key: &str) -> Result<Self> {
        let one = |staged: bool| {
            let sql = format!(
                "SELECT state, generation FROM {} WHERE progress_key = ? AND staged = ?",
                place.sql()
            );
            connection
                .query_row(&sql, params![key, staged], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
                .map_err(|error| failed(&format!("could not read {}", place.sql()), error))
        };
        Ok(Self { table: one(false)?, next: one(true)? })
    }

    /// Forgets it in the open transaction: it was taken over.
    pub fn forget(connection: &Connection, place: &Place, key: &str) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE progress_key = ?", place.sql());
        failpoint::pass();
        let forgotten = connection.execute(&sql, params![key]);
        forgotten.map(drop).map_err(|error| failed(&format!("could not change {}", place.sql()), error))
    }

    /// The stream's row that stands for it; none when there is nothing.
    pub fn head(&self) -> Option<Head> {
        if self.table.is_none() && self.next.is_none() {
            return None;
        }
        let generation =
            |stored: &Option<(Option<String>, i64)>| stored.as_ref().map(|(_, generation)| *generation);
        let next = generation(&self.next);
        Some(Head { generation: generation(&self.table).unwrap_or(0), next, ..Head::default() })
    }
}
