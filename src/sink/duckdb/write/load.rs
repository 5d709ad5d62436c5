//! The statements that put rows of a stream into a table.

use duckdb::{Connection, OptionalExt};

use super::super::client::{failed, literal, quoted};
use super::super::ddl::Place;
use super::super::evolve;
use super::super::feed::{self, Feed, Load};
use super::super::merge::{self, Deletes, Key};
use super::Stream;
use crate::batch::Extent;
use crate::error::Result;
use crate::failpoint;
use crate::sink::WriteMode;
use crate::table::{ColumnType, Metadata};

impl Stream {
    /// Adds rows to the stream's table.
    pub fn load_into(&self, connection: &Connection, load: &Load) -> Result<()> {
        let loaded = self.load(connection, &self.into, load, Deletes::Made);
        loaded.map_err(|error| {
            failed(&format!("could not load {} into {}", load.told(), self.into.sql()), error)
        })
    }

    /// Adds rows to a table with the stream's columns.
    pub fn load(
        &self,
        connection: &Connection,
        table: &Place,
        load: &Load,
        deletes: Deletes,
    ) -> duckdb::Result<()> {
        self.delete_parts(connection, table, &load.replaces, deletes)?;
        if load.columns.is_empty() {
            return Ok(());
        }
        let mut unless_held = None;
        if self.target.replaces_by_key() {
            let key = Key::of(&self.target.table);
            let range = key.range(&load.columns);
            if self.delete_where(connection, table, &range, || key.delete(table, Feed::SQL, &range))? {
                unless_held = key.unless_held(table, &deletes.live(&range));
            }
        }
        failpoint::pass();
        match unless_held {
            // A statement with the keys of a batch in it comes once.
            Some(join) => connection.execute(&self.insert(table, load, deletes, &join), [])?,
            None => connection.prepare_cached(&self.insert(table, load, deletes, ""))?.execute([])?,
        };
        Ok(())
    }

    /// Deletes the rows of parts of a table, where they are what is replaced.
    pub fn delete_parts(
        &self,
        connection: &Connection,
        table: &Place,
        parts: &[Extent],
        deletes: Deletes,
    ) -> duckdb::Result<()> {
        if self.target.mode == WriteMode::AppendDedup {
            let is_micros = |cursor: &str| evolve::is_micros(&self.held, cursor);
            for part in merge::within(parts, is_micros) {
                self.delete_where(connection, table, &part, || deletes.of(table, &part))?;
            }
        }
        Ok(())
    }

    /// Runs the statement if the table has rows that fulfil the condition, and returns
    /// whether: looking costs next to nothing, and there are none in nearly all batches.
    pub fn delete_where(
        &self,
        connection: &Connection,
        table: &Place,
        condition: &str,
        statement: impl FnOnce() -> String,
    ) -> duckdb::Result<bool> {
        let probe = merge::probe(table, condition);
        let has_some = connection.query_row(&probe, [], |_| Ok(())).optional()?.is_some();
        if has_some {
            failpoint::pass();
            connection.execute(&statement(), [])?;
            self.has_deleted.set(self.has_deleted.get() || *table == self.into);
        }
        Ok(has_some)
    }

    /// The names of its columns, in quotes.
    pub fn columns(&self) -> Vec<String> {
        self.target.table.names().map(quoted).collect()
    }

    /// A statement that inserts the rows of the feed that `join` leaves, and of those the
    /// deletes only where they are kept.
    fn insert(&self, table: &Place, load: &Load, deletes: Deletes, join: &str) -> String {
        let columns = &self.target.table.columns;
        let json = self.json;
        let mut values: Vec<String> = columns
            .iter()
            .map(|column| match column.ty {
                ColumnType::Json => format!("{}::{json}", quoted(&column.name)),
                _ => quoted(&column.name),
            })
            .collect();
        values.extend(self.target.table.metadata.iter().map(|metadata| match metadata {
            Metadata::RawId | Metadata::ExtractedAt => quoted(metadata.column()),
            Metadata::Changes if load.has_changes() => format!("{}::{json}", quoted(metadata.column())),
            Metadata::Changes => format!("{}::{json}", literal(&feed::plain_meta(&self.target))),
            Metadata::Generation => self.generation.to_string(),
        }));
        let (mut names, mut live) = (self.columns(), String::new());
        let deleted = quoted(Feed::DELETED);
        match (deletes, load.has_deletes()) {
            (Deletes::Made, true) => live = format!(" WHERE NOT {deleted}"),
            (Deletes::Made, false) => {}
            (Deletes::Kept, has_deletes) => {
                values.push(if has_deletes { deleted.clone() } else { "false".to_owned() });
                names.push(deleted);
            }
        }
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {}{join}{live}",
            table.sql(),
            names.join(", "),
            values.join(", "),
            Feed::sql_of(&load.columns)
        )
    }
}
