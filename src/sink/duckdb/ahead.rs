//! Rows ahead of what their source vouches for, and the connection that has them.
//!
//! They lie in a transaction of their stream's own. DuckDB loses it when somebody else
//! alters the table meanwhile, and when it alters the table itself after it deleted rows of
//! it, which has to be made anew then. So where streams of the sink share a table, and
//! where rows replace others, they wait beside the table, in one that only their connection
//! sees, and go into the table once they are committed and no other transaction has rows of
//! it. What they take away waits there too, as marks: a row that the table has may be what a
//! delete is for.

use std::sync::Arc;

use duckdb::Connection;

use super::client::{execute, failed, quoted};
use super::ddl::{self, Place};
use super::evolve::{self, Way};
use super::feed::{Feed, Load};
use super::merge::{self, Deletes, Key};
use super::write::Stream;
use crate::batch::Extent;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::sink::BATCH;
use crate::table::{ColumnType, Metadata, Table};

/// What holds the rows ahead of a stream until they are committed.
pub(super) enum Own {
    /// Its open transaction.
    Transaction(Connection),
    /// A table of this connection, without a transaction.
    Beside(Connection, Beside),
}

/// A table that rows wait in, one a key at most where rows replace each other, and marks:
/// deletes, and rows that went with their part. The real table's row of a mark's key goes
/// too, unless it is newer; a row that comes later does not mind marks.
pub(super) struct Beside {
    place: Place,
    /// With the types that its columns have.
    held: Arc<Table>,
    /// Parts of the real table that the rows are the whole of.
    replaces: Vec<Extent>,
}

impl Own {
    /// `is_beside` says that they cannot wait in the table itself.
    pub fn begin(connection: Connection, stream: &Stream, is_beside: bool) -> Result<Self> {
        if !is_beside {
            begin(&connection)?;
            return Ok(Self::Transaction(connection));
        }
        let beside = Beside::create(&connection, &stream.into.name, stream, &stream.committed)?;
        Ok(Self::Beside(connection, beside))
    }

    /// Adds rows. When they are refused, all of it is lost.
    pub fn load(self, stream: &mut Stream, load: &Load) -> Result<Self> {
        match self {
            Self::Transaction(connection) => {
                let way = if stream.has_deleted.get() { Way::Anew } else { Way::InPlace };
                let Stream { into, held, .. } = stream;
                let needs = |column, has| load.columns.needs(column, has);
                evolve::make_room(&connection, into, held, way, needs)?;
                stream.load_into(&connection, load)?;
                Ok(Self::Transaction(connection))
            }
            Self::Beside(connection, mut beside) => {
                beside.make_room(&connection, load)?;
                beside.load(&connection, stream, load)?;
                Ok(Self::Beside(connection, beside))
            }
        }
    }

    /// Makes the open transaction of the connection hold the rows in the stream's table.
    pub fn unload(&mut self, stream: &mut Stream) -> Result<()> {
        match self {
            Self::Transaction(_) => Ok(()),
            Self::Beside(connection, beside) => {
                begin(connection)?;
                beside.unload(connection, stream)?;
                beside.derive(connection, stream)
            }
        }
    }

    /// Where the rows are, of a stream that writes `into` a table.
    pub fn place<'a>(&'a self, into: &'a Place) -> &'a Place {
        match self {
            Self::Transaction(_) => into,
            Self::Beside(_, beside) => &beside.place,
        }
    }

    /// The connection that they go with.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Transaction(connection) | Self::Beside(connection, _) => connection,
        }
    }
}

/// Begins a transaction.
pub(super) fn begin(connection: &Connection) -> Result<()> {
    execute(connection, "BEGIN", || "could not begin a transaction".to_owned())
}

impl Beside {
    /// Creates one of this name for the rows of a stream, whose columns have these types.
    pub fn create(connection: &Connection, name: &str, stream: &Stream, held: &Arc<Table>) -> Result<Self> {
        let place = Place::new("temp", "main", name);
        let (name, deleted, into) = (quoted(name), quoted(Feed::DELETED), stream.into.sql());
        // The table may have more, of another stream's, which this one learns later.
        let columns = stream.columns().join(", ");
        let sql =
            format!("CREATE TEMP TABLE {name} AS SELECT {columns}, false AS {deleted} FROM {into} LIMIT 0");
        execute(connection, &sql, || format!("could not create a table beside {into}"))?;
        Ok(Self { place, held: Arc::clone(held), replaces: Vec::new() })
    }

    /// Gives it the columns that the stream's table has more.
    pub fn grow(&mut self, connection: &Connection, held: &Table, json: &'static str) -> Result<()> {
        for column in &held.columns[self.held.columns.len()..] {
            let ty = ddl::sql_type(column.ty, json);
            ddl::add_column(connection, &self.place, &column.name, ty.as_ref())?;
            Arc::make_mut(&mut self.held).columns.push(column.clone());
        }
        Ok(())
    }

    /// Rows find microseconds here where it has them and the stream's table does not yet.
    pub fn tell_micros(&self, told: &mut Table) {
        for (column, held) in told.columns.iter_mut().zip(&self.held.columns) {
            if held.ty == ColumnType::TimestampMicros {
                column.ty = held.ty;
            }
        }
    }

    /// Widens its columns as rows need it.
    pub fn make_room(&mut self, connection: &Connection, load: &Load) -> Result<()> {
        let needs = |column, has| load.columns.needs(column, has);
        evolve::make_room(connection, &self.place, &mut self.held, Way::InPlace, needs).map(drop)
    }

    /// Runs what is derived of the rows in the open transaction of the stream's table.
    pub fn derive(&self, connection: &Connection, stream: &Stream) -> Result<()> {
        let table = &stream.target.table;
        let own = table.columns.iter().map(|column| quoted(&column.name));
        let at = Some(Metadata::ExtractedAt).filter(|at| table.has(*at)).map(|at| quoted(at.column()));
        let columns: Vec<String> = own.chain(at).collect();
        let (place, deleted) = (self.place.sql(), quoted(Feed::DELETED));
        let rows = format!("(SELECT {} FROM {place} WHERE NOT {deleted})", columns.join(", "));
        for statement in &stream.target.derived {
            let what = || format!("could not run a statement over new rows of {}", stream.into.sql());
            failpoint::pass();
            execute(connection, &statement.replace(BATCH, &rows), what)?;
        }
        Ok(())
    }

    /// Drops it.
    pub fn drop(self, connection: &Connection) -> Result<()> {
        let place = self.place.sql();
        execute(connection, &format!("DROP TABLE {place}"), || format!("could not drop {place}"))
    }

    /// Adds rows; `stream` is whose they are.
    pub fn load(&mut self, connection: &Connection, stream: &Stream, load: &Load) -> Result<()> {
        let loaded = stream.load(connection, &self.place, load, Deletes::Kept);
        loaded.map_err(|error| {
            failed(&format!("could not load {} into {}", load.told(), stream.into.sql()), error)
        })?;
        self.replaces.extend(load.replaces.iter().cloned());
        Ok(())
    }

    /// Moves the rows into the stream's table, in the open transaction.
    fn unload(&mut self, connection: &Connection, stream: &mut Stream) -> Result<()> {
        self.take_micros(connection, stream)?;
        let needs =
            |column: usize, _| Some(self.held.columns[column].ty).filter(|ty| *ty != ColumnType::Timestamp);
        evolve::make_room(connection, &stream.into, &mut stream.held, Way::InPlace, needs)?;
        let unloaded = self.unload_rows(connection, stream);
        unloaded.map_err(|error| failed(&format!("could not load rows into {}", stream.into.sql()), error))
    }

    /// The table may have microseconds by now, of another stream's rows. DuckDB compares
    /// the two kinds only where nanoseconds reach, so the rows that wait get them first.
    fn take_micros(&mut self, connection: &Connection, stream: &Stream) -> Result<()> {
        for column in self.held.columns.iter().filter(|column| column.ty == ColumnType::Timestamp) {
            if evolve::is_micros(&stream.held, &column.name)
                && !evolve::can_have_micros(connection, &self.place, column)?
            {
                let message = format!(
                    "the column {} of {} has microseconds now, and rows for it have nanoseconds",
                    column.name,
                    stream.into.sql()
                );
                return Err(Error::new(ErrorKind::Sink, message)
                    .hint("run it again: what is finer is then kept beside the column"));
            }
        }
        let needs = |column: usize, _| {
            let is_micros = evolve::is_micros(&stream.held, &stream.target.table.columns[column].name);
            is_micros.then_some(ColumnType::TimestampMicros)
        };
        evolve::make_room(connection, &self.place, &mut self.held, Way::InPlace, needs).map(drop)
    }

    fn unload_rows(&self, connection: &Connection, stream: &Stream) -> duckdb::Result<()> {
        stream.delete_parts(connection, &stream.into, &self.replaces, Deletes::Made)?;
        let (into, waiting) = (&stream.into, self.place.sql());
        let mut unless_held = None;
        if stream.target.replaces_by_key() {
            let key = Key::of(&stream.target.table);
            let delete = || key.delete(into, &waiting, merge::ANY);
            if stream.delete_where(connection, into, merge::ANY, delete)? {
                unless_held = key.unless_held(into, merge::ANY);
            }
        }
        let (names, join) = (stream.columns().join(", "), unless_held.unwrap_or_default());
        let (into, deleted) = (into.sql(), quoted(Feed::DELETED));
        let sql =
            format!("INSERT INTO {into} ({names}) SELECT {names} FROM {waiting}{join} WHERE NOT {deleted}");
        failpoint::pass();
        connection.execute(&sql, []).map(drop)
    }
}
