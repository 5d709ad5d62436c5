//! The tables that hold progress, written in the transaction of the rows that it
//! speaks of: a row a stream, which says who writes which table, and a row a shard,
//! which says how far it is. They lie in the schema of the tables that they are about.
//!
//! Every change of a stream's row adds one to its version and names the version that
//! the writer saw; a change that touches no row was overtaken.

mod first;

use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Connection, OptionalExt, ToSql, params, params_from_iter};

use super::client::{execute, failed};
use super::ddl::{Place, Tables};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::sink::lifecycle::{Head, Heads, Kept};
use crate::sink::shards::{Shard, Shards};
use crate::sink::{Move, Target};

pub(super) use first::First;

/// A row a stream.
pub(super) const STREAMS: &str = "_tapeline_streams";
/// A row a shard.
pub(super) const SHARDS: &str = "_tapeline_progress";
/// What version 1 of this program called [`SHARDS`]: a row a stream, in the sink's schema.
const FIRST: &str = "_tapeline_progress_1";
/// A column that only version 1 had.
const FIRST_KEY: &str = "progress_key";

/// Rows that one statement names.
pub(super) const ROWS_PER_STATEMENT: usize = 200;

/// The tables of progress of one schema.
#[derive(Debug)]
pub(super) struct Ledger {
    streams: Place,
    shards: Place,
}

/// What is committed of a stream.
pub(super) struct Advance<'a> {
    pub target: &'a Target,
    pub staged: bool,
    /// As it was when the stream was opened or last committed.
    pub head: Head,
    /// The shards that moved.
    pub moves: Vec<Shard<'a>>,
}

impl Ledger {
    /// Creates the tables unless they exist. Those of version 1 make room.
    pub fn open(connection: &Connection, catalog: &str, schema: &str, tables: &Tables) -> Result<Self> {
        let place = |name: &str| Place::new(catalog, schema, name);
        let (streams, shards) = (place(STREAMS), place(SHARDS));
        if tables.has_column(&shards, FIRST_KEY) {
            let sql = format!("ALTER TABLE {} RENAME TO {FIRST}", shards.sql());
            execute(connection, &sql, || format!("could not rename {}", shards.sql()))?;
        }
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (pipeline VARCHAR NOT NULL, stream VARCHAR NOT NULL, \
             table_name VARCHAR NOT NULL, mode VARCHAR NOT NULL, shared BOOLEAN NOT NULL, epoch BIGINT NOT NULL, \
             version BIGINT NOT NULL, generation BIGINT NOT NULL, next_generation BIGINT, \
             updated_at TIMESTAMP WITH TIME ZONE NOT NULL); \
             CREATE TABLE IF NOT EXISTS {} (pipeline VARCHAR NOT NULL, stream VARCHAR NOT NULL, staged BOOLEAN NOT NULL, \
             shard VARCHAR NOT NULL, \"position\" VARCHAR NOT NULL, version BIGINT NOT NULL, epoch BIGINT NOT NULL, \
             updated_at TIMESTAMP WITH TIME ZONE NOT NULL)",
            streams.sql(),
            shards.sql()
        );
        execute(connection, &sql, || format!("could not create the table {}", shards.sql()))?;
        Ok(Self { streams, shards })
    }

    /// The tables, if they are there.
    pub fn existing(catalog: &str, schema: &str, tables: &Tables) -> Option<Self> {
        let place = |name: &str| Place::new(catalog, schema, name);
        let ledger = Self { streams: place(STREAMS), shards: place(SHARDS) };
        (tables.has(&ledger.streams) && tables.has(&ledger.shards)).then_some(ledger)
    }

    /// The name of the table with a row a stream.
    pub fn streams_sql(&self) -> String {
        self.streams.sql()
    }

    /// The rows of all streams.
    pub fn heads(&self, connection: &Connection) -> Result<Heads> {
        let sql = format!(
            "SELECT pipeline, stream, table_name, shared, epoch, version, generation, next_generation FROM {}",
            self.streams.sql()
        );
        let read = || -> duckdb::Result<Heads> {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| {
                let head = Head {
                    epoch: row.get(4)?,
                    version: row.get(5)?,
                    generation: row.get(6)?,
                    next: row.get(7)?,
                };
                let kept = Kept { head, table: row.get(2)?, shared: row.get(3)? };
                Ok(((row.get(0)?, row.get(1)?), kept))
            })?;
            rows.collect()
        };
        read().map_err(|error| self.unreadable(error))
    }

    /// Whether a stream's row is of this version.
    pub fn is_at(&self, connection: &Connection, target: &Target, version: i64) -> Result<bool> {
        let sql = format!("SELECT version FROM {} WHERE pipeline = ? AND stream = ?", self.streams.sql());
        let read = connection
            .query_row(&sql, params![target.pipeline, target.stream], |row| row.get::<_, i64>(0))
            .optional();
        read.map(|found| found == Some(version)).map_err(|error| self.unreadable(error))
    }

    /// The shards of a stream with their positions and versions.
    pub fn shards(&self, connection: &Connection, target: &Target, staged: bool) -> Result<Shards> {
        let sql = format!(
            "SELECT shard, \"position\", version FROM {} WHERE pipeline = ? AND stream = ? AND staged = ?",
            self.shards.sql()
        );
        let read = || -> duckdb::Result<Shards> {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![target.pipeline, target.stream, staged], |row| {
                Ok((Arc::from(row.get::<_, String>(0)?), (row.get(1)?, row.get(2)?)))
            })?;
            rows.collect()
        };
        read().map_err(|error| self.unreadable(error))
    }

    /// Takes a stream over, in the open transaction: from here on nobody else's commit
    /// of it can succeed.
    pub fn claim(
        &self,
        connection: &Connection,
        target: &Target,
        before: Option<&Head>,
        head: &Head,
    ) -> Result<()> {
        let table = self.streams.sql();
        let update = format!(
            "UPDATE {table} SET table_name = ?, mode = ?, shared = ?, epoch = ?, version = ?, generation = ?, \
             next_generation = ?, updated_at = now() WHERE pipeline = ? AND stream = ? AND version = ?"
        );
        let insert = format!(
            "INSERT INTO {table} (table_name, mode, shared, epoch, version, generation, next_generation, pipeline, stream, \
             updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, now())"
        );
        let (name, mode) = (target.table.name.to_lowercase(), target.mode.as_str());
        let Head { version, epoch, generation, next } = head;
        let mut values: Vec<&dyn ToSql> =
            vec![&name, &mode, &target.shared, epoch, version, generation, next];
        values.extend([&target.pipeline as &dyn ToSql, &target.stream]);
        values.extend(before.map(|before| &before.version as &dyn ToSql));
        let sql = if before.is_some() { update } else { insert };
        self.change(connection, &sql, values, 1, &target.stream)
    }

    /// Moves streams and their shards in the open transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when one of them is not where this process left it.
    pub fn advance(&self, connection: &Connection, advances: &[Advance<'_>]) -> Result<()> {
        for some in advances.chunks(ROWS_PER_STATEMENT) {
            self.advance_streams(connection, some)?;
        }
        let rows = |is_new: bool| {
            let of = move |advance: &'_ Advance<'_>| -> Vec<[Value; 7]> {
                // A shard that is not stored is forgotten already.
                let is_meant = |(moved, version): &&(&Move, i64)| match version {
                    0 => is_new && moved.position.is_some(),
                    _ => !is_new,
                };
                let moves = advance.moves.iter().filter(is_meant);
                moves.map(|(moved, version)| advance.shard(moved, *version)).collect()
            };
            advances.iter().flat_map(of).collect::<Vec<_>>()
        };
        let (gone, moved): (Vec<_>, Vec<_>) =
            rows(false).into_iter().partition(|row| matches!(row[POSITION], Value::Null));
        for some in gone.chunks(ROWS_PER_STATEMENT) {
            self.forget_shards(connection, some)?;
        }
        for some in moved.chunks(ROWS_PER_STATEMENT) {
            self.move_shards(connection, some)?;
        }
        for some in rows(true).chunks(ROWS_PER_STATEMENT) {
            self.add_shards(connection, some)?;
        }
        Ok(())
    }

    fn advance_streams(&self, connection: &Connection, advances: &[Advance<'_>]) -> Result<()> {
        let sql = format!(
            "UPDATE {} AS held SET version = held.version + 1, updated_at = now() FROM ({}) AS moved(pipeline, stream, version) \
             WHERE held.pipeline = moved.pipeline AND held.stream = moved.stream AND held.version = moved.version",
            self.streams.sql(),
            values("(?::VARCHAR, ?::VARCHAR, ?::BIGINT)", advances.len())
        );
        let values = advances.iter().flat_map(|Advance { target, head, .. }| {
            [text(&target.pipeline), text(&target.stream), Value::BigInt(head.version)]
        });
        let name = if let [one] = advances { one.target.stream.as_str() } else { "a stream" };
        self.change(connection, &sql, values, advances.len(), name)
    }

    fn move_shards(&self, connection: &Connection, rows: &[[Value; 7]]) -> Result<()> {
        let sql = format!(
            "UPDATE {} AS held SET \"position\" = moved.\"position\", version = held.version + 1, epoch = moved.epoch, \
             updated_at = now() FROM ({}) AS moved(pipeline, stream, staged, shard, \"position\", version, epoch) \
             WHERE held.pipeline = moved.pipeline AND held.stream = moved.stream AND held.staged = moved.staged \
             AND held.shard = moved.shard AND held.version = moved.version",
            self.shards.sql(),
            values(SHARD, rows.len())
        );
        self.change(connection, &sql, rows.iter().flatten(), rows.len(), "a shard")
    }

    fn forget_shards(&self, connection: &Connection, rows: &[[Value; 7]]) -> Result<()> {
        let sql = format!(
            "DELETE FROM {} AS held USING ({}) AS gone(pipeline, stream, staged, shard, \"position\", version, epoch) \
             WHERE held.pipeline = gone.pipeline AND held.stream = gone.stream AND held.staged = gone.staged \
             AND held.shard = gone.shard AND held.version = gone.version",
            self.shards.sql(),
            values(SHARD, rows.len())
        );
        self.change(connection, &sql, rows.iter().flatten(), rows.len(), "a shard")
    }

    fn add_shards(&self, connection: &Connection, rows: &[[Value; 7]]) -> Result<()> {
        let sql = format!(
            "INSERT INTO {} (pipeline, stream, staged, shard, \"position\", version, epoch, updated_at) \
             SELECT pipeline, stream, staged, shard, \"position\", version + 1, epoch, now() \
             FROM ({}) AS moved(pipeline, stream, staged, shard, \"position\", version, epoch)",
            self.shards.sql(),
            values(SHARD, rows.len())
        );
        self.change(connection, &sql, rows.iter().flatten(), rows.len(), "a shard")
    }

    /// Forgets a stream's shards in the open transaction.
    pub fn forget(&self, connection: &Connection, target: &Target, staged: bool) -> Result<()> {
        let sql =
            format!("DELETE FROM {} WHERE pipeline = ? AND stream = ? AND staged = ?", self.shards.sql());
        failpoint::pass();
        let forgotten = connection.execute(&sql, params![target.pipeline, target.stream, staged]);
        forgotten.map(drop).map_err(|error| self.unreadable(error))
    }

    /// Forgets all of a stream of another pipeline whose table is gone, in the open transaction.
    pub fn release(&self, connection: &Connection, (pipeline, stream): &(String, String)) -> Result<()> {
        for table in [&self.shards, &self.streams] {
            let sql = format!("DELETE FROM {} WHERE pipeline = ? AND stream = ?", table.sql());
            let released = connection.execute(&sql, params![pipeline, stream]);
            released.map_err(|error| self.unreadable(error))?;
        }
        Ok(())
    }

    /// The shards of a run that collected its rows beside the table are the table's now.
    pub fn change_over(
        &self,
        connection: &Connection,
        target: &Target,
        before: &Head,
        after: &Head,
    ) -> Result<()> {
        self.forget(connection, target, false)?;
        let sql = format!(
            "UPDATE {} SET staged = false WHERE pipeline = ? AND stream = ? AND staged",
            self.shards.sql()
        );
        failpoint::pass();
        let changed = connection.execute(&sql, params![target.pipeline, target.stream]);
        changed.map_err(|error| self.unreadable(error))?;
        self.claim(connection, target, Some(before), after)
    }

    /// Runs a statement that must change so many rows.
    fn change<P: ToSql>(
        &self,
        connection: &Connection,
        sql: &str,
        values: impl IntoIterator<Item = P>,
        rows: usize,
        what: &str,
    ) -> Result<()> {
        failpoint::pass();
        let statement = connection.prepare_cached(sql);
        let changed = statement.and_then(|mut statement| statement.execute(params_from_iter(values)));
        self.must_be(rows, changed, what)
    }

    fn must_be(&self, rows: usize, changed: duckdb::Result<usize>, what: &str) -> Result<()> {
        let shards = self.shards.sql();
        match changed {
            Ok(changed) if changed == rows => Ok(()),
            Ok(_) => Err(self.conflict(what)),
            Err(error) => Err(failed(&format!("could not store progress in {shards}"), error)),
        }
    }

    /// Somebody else moved the progress of `what`.
    pub fn conflict(&self, what: &str) -> Error {
        let message = format!("another process moved the progress of {what} in {}", self.shards.sql());
        Error::new(ErrorKind::Conflict, message).hint(
            "let only one process at a time write a stream; the other one's rows and progress are complete",
        )
    }

    fn unreadable(&self, error: duckdb::Error) -> Error {
        failed(&format!("could not use the tables {} and {}", self.streams.sql(), self.shards.sql()), error)
            .or_hint(|| "if something else made tables of these names, rename them".to_owned())
    }
}

/// Where the position is in a row of [`SHARD`].
const POSITION: usize = 4;
const SHARD: &str = "(?::VARCHAR, ?::VARCHAR, ?::BOOLEAN, ?::VARCHAR, ?::VARCHAR, ?::BIGINT, ?::BIGINT)";

pub(super) fn values(row: &str, count: usize) -> String {
    format!("VALUES {}", vec![row; count].join(", "))
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

impl Advance<'_> {
    fn shard(&self, moved: &Move, version: i64) -> [Value; 7] {
        [
            text(&self.target.pipeline),
            text(&self.target.stream),
            Value::Boolean(self.staged),
            text(&moved.shard),
            moved.position.as_deref().map_or(Value::Null, text),
            Value::BigInt(version),
            Value::BigInt(self.head.epoch),
        ]
    }
}
