//! Transactions, and the rows that go in: one of all streams, and one of its own for
//! each stream whose rows may have to be taken back alone.
//!
//! What DuckDB refuses of one stream takes the transaction of all with it. So what was
//! loaded into that is kept until the commit, and loaded again without that stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use duckdb::{Connection, OptionalExt};

use super::client::{Database, execute, failed, literal, quoted};
use super::ddl::{self, Place};
use super::evolve;
use super::feed::{self, Feed, Load};
use super::merge::{self, Key};
use super::open;
use super::progress::{Advance, First, Ledger};
use super::worker::OpenedStream;
use crate::catalog::{ColumnType, Table};
use crate::error::{Error, Result, listed};
use crate::failpoint;
use crate::sink::lifecycle::Head;
use crate::sink::shards::Versions;
use crate::sink::{EXTRACTED_AT, GENERATION, META, Move, RAW_ID, Target, WriteMode};

/// Bytes of rows that are kept until the commit. The engine commits before streams that
/// share a transaction have half of it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Tables with new rows after which the log is worked into the file.
const TABLES_PER_CHECKPOINT: usize = 100;

/// Tables that a message names.
const TABLES_NAMED_MAX: usize = 5;

/// A stream that is open in the sink.
pub(super) struct Stream {
    /// With the mode that rows are written in.
    pub target: Arc<Target>,
    /// The table that readers see.
    pub table: Place,
    /// The table that rows go to: `table`, or the one that will replace it.
    pub into: Place,
    pub ledger: Arc<Ledger>,
    /// As it was last committed.
    pub head: Head,
    /// Where version 1 kept the progress that the next commit takes over.
    pub first: Option<Place>,
    pub generation: i64,
    /// Whether rows go to a table that will replace the other.
    pub is_staged: bool,
    /// The stored shards with their versions.
    pub versions: Versions,
    /// `into` with the types that its columns have, in the open transaction.
    pub held: Arc<Table>,
    /// And as it was last committed.
    pub committed: Arc<Table>,
    pub json: &'static str,
    /// The stream's own transaction, while it has one.
    pub own: Option<Connection>,
}

/// What is committed of a stream, as the worker takes it.
#[derive(Debug)]
pub(super) struct OwnedPortion {
    pub stream: usize,
    pub moves: Vec<Move>,
}

/// Everything that the worker's thread has.
pub(super) struct Writer {
    // Connections before the database, which holds the claim to the file.
    streams: Vec<Stream>,
    shared: Connection,
    /// The streams with rows in the open transaction of all streams; none is open
    /// without any.
    in_shared: BTreeSet<usize>,
    is_shared_open: bool,
    feed: Arc<Feed>,
    /// What was loaded into it, and its bytes; nothing once that is more than is kept.
    kept: Vec<(usize, Arc<Load>)>,
    kept_bytes: usize,
    /// Streams of which something was refused since they were last rolled back.
    refused: BTreeMap<usize, Error>,
    /// Streams with rows that were committed since the last checkpoint.
    since_checkpoint: BTreeSet<usize>,
    /// Set when a write failed; read by the other side of the channel too.
    failed: Arc<AtomicBool>,
    failure: Option<Error>,
    database: Database,
}

impl Writer {
    pub fn new(database: Database, failed_flag: Arc<AtomicBool>) -> Result<Self> {
        let shared = database.connect()?;
        let feed =
            Feed::register(&shared).map_err(|error| failed("could not register a table function", error))?;
        Ok(Self {
            streams: Vec::new(),
            shared,
            in_shared: BTreeSet::new(),
            is_shared_open: false,
            kept: Vec::new(),
            kept_bytes: 0,
            refused: BTreeMap::new(),
            since_checkpoint: BTreeSet::new(),
            feed,
            failed: failed_flag,
            failure: None,
            database,
        })
    }

    /// What is written to.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Opens streams; see [`crate::sink::Sink::open`]. The mode is the one that rows are
    /// written in.
    pub fn open(&mut self, targets: &[Target]) -> Vec<Result<OpenedStream>> {
        let opened = open::open(&self.database, &self.shared, targets);
        let named = opened.into_iter().zip(targets).map(|(opened, target)| {
            let (stream, stored) = opened.map_err(|error| error.in_stream(target.name()))?;
            let (target, held) = (Arc::clone(&stream.target), Arc::clone(&stream.held));
            self.streams.push(stream);
            Ok((self.streams.len() - 1, target, held, stored))
        });
        named.collect()
    }

    /// Adds rows to a transaction. What DuckDB refuses is told by the commit.
    pub fn write(&mut self, stream: usize, load: Load, ahead: bool) {
        let is_empty = load.columns.is_empty() && load.replaces.is_empty();
        if is_empty || self.failed.load(Ordering::Acquire) || self.refused.contains_key(&stream) {
            return;
        }
        let load = Arc::new(load);
        match self.load(stream, &load, ahead) {
            Ok(()) if !ahead => self.keep(stream, load),
            Ok(()) => {}
            Err(error) if ahead => {
                // Its transaction goes with the connection.
                self.streams[stream].own = None;
                self.streams[stream].narrow();
                self.refuse(stream, error);
            }
            Err(error) if self.kept_bytes > KEPT_BYTES_MAX => {
                self.failure = Some(error.in_stream(self.name(stream)));
                self.failed.store(true, Ordering::Release);
            }
            Err(error) => {
                self.refuse(stream, error);
                self.load_again();
            }
        }
    }

    fn keep(&mut self, stream: usize, load: Arc<Load>) {
        self.kept_bytes += load.bytes;
        self.kept.push((stream, load));
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.kept = Vec::new();
        }
    }

    fn refuse(&mut self, stream: usize, error: Error) {
        let error = error.in_stream(self.name(stream));
        self.refused.entry(stream).or_insert(error);
    }

    /// Loads what was loaded before into a new transaction, without refused streams.
    fn load_again(&mut self) {
        loop {
            self.in_shared.clear();
            if std::mem::take(&mut self.is_shared_open) {
                // DuckDB has ended it already, or ends it now.
                let _ = self.shared.execute_batch("ROLLBACK");
            }
            self.narrow_shared();
            let refused = &self.refused;
            self.kept.retain(|(stream, _)| !refused.contains_key(stream));
            let kept = self.kept.clone();
            let mut again = kept.iter().map(|(stream, load)| (*stream, self.load(*stream, load, false)));
            match again.find(|(_, loaded)| loaded.is_err()) {
                Some((stream, Err(error))) => self.refuse(stream, error),
                _ => return,
            }
        }
    }

    fn name(&self, stream: usize) -> &str {
        self.streams[stream].target.name()
    }

    fn load(&mut self, stream: usize, load: &Arc<Load>, ahead: bool) -> Result<()> {
        if ahead {
            self.begin_own(stream)?;
        } else {
            self.begin_shared()?;
            self.in_shared.insert(stream);
        }
        let Stream { own, into, held, .. } = &mut self.streams[stream];
        let connection = own.as_ref().filter(|_| ahead).unwrap_or(&self.shared);
        if evolve::make_room(connection, into, held, &load.columns)? && !ahead {
            self.tell_widths(stream);
        }
        self.feed.set(Some(Arc::clone(load)));
        let stream = &self.streams[stream];
        let connection = stream.own.as_ref().filter(|_| ahead).unwrap_or(&self.shared);
        let loaded = stream.load(connection, load);
        self.feed.set(None);
        loaded.map_err(|error| failed(&format!("could not load rows into {}", stream.into.sql()), error))
    }

    /// Other streams of the same table have its types, too.
    fn tell_widths(&mut self, of: usize) {
        let (into, held) = (self.streams[of].into.sql(), Arc::clone(&self.streams[of].held));
        let same = |(index, stream): &(usize, &mut Stream)| *index != of && stream.into.sql() == into;
        for (_, stream) in self.streams.iter_mut().enumerate().filter(same) {
            for column in &mut Arc::make_mut(&mut stream.held).columns {
                if let Some(index) = held.position(&column.name) {
                    column.ty = held.columns[index].ty;
                }
            }
        }
    }

    /// With the rows of the transaction of all streams went the room that was made for them.
    fn narrow_shared(&mut self) {
        self.streams.iter_mut().filter(|stream| stream.own.is_none()).for_each(Stream::narrow);
    }

    fn begin_shared(&mut self) -> Result<()> {
        if !self.is_shared_open {
            execute(&self.shared, "BEGIN", || "could not begin a transaction".to_owned())?;
            self.is_shared_open = true;
        }
        Ok(())
    }

    fn begin_own(&mut self, stream: usize) -> Result<()> {
        if self.in_shared.contains(&stream) {
            return Err(Error::bug("rows were written ahead before those before them were committed"));
        }
        if self.streams[stream].own.is_none() {
            let connection = self.database.connect()?;
            execute(&connection, "BEGIN", || "could not begin a transaction".to_owned())?;
            self.streams[stream].own = Some(connection);
        }
        Ok(())
    }

    /// Tells what failed since the last rollback, if something did.
    pub fn flush(&mut self) -> Result<()> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let told = || Error::bug("a write failed before, and its stream was not rolled back");
        Err(self.failure.take().unwrap_or_else(told))
    }

    /// Makes rows and moves durable: those of all streams in one transaction, and
    /// before them each stream's whose rows were written ahead. Returns the streams
    /// that were refused.
    pub fn commit(&mut self, portions: &[OwnedPortion]) -> Result<Vec<(usize, Error)>> {
        self.flush()?;
        let is_refused = |portion: &&OwnedPortion| self.refused.contains_key(&portion.stream);
        let (refused, portions): (Vec<&OwnedPortion>, Vec<&OwnedPortion>) =
            portions.iter().partition(is_refused);
        self.commit_portions(&portions)?;
        let told = || Error::bug("a stream is used after it was refused");
        let error = |portion: &OwnedPortion| {
            let error = self.refused.get_mut(&portion.stream).map(|error| std::mem::replace(error, told()));
            (portion.stream, error.unwrap_or_else(told))
        };
        Ok(refused.into_iter().map(error).collect())
    }

    fn commit_portions(&mut self, portions: &[&OwnedPortion]) -> Result<()> {
        if let Some(stream) =
            self.in_shared.iter().find(|stream| portions.iter().all(|p| p.stream != **stream))
        {
            return Err(Error::bug("rows were written of a stream that a commit leaves out"))
                .map_err(|error| error.in_stream(self.name(*stream)));
        }
        let (own, shared): (Vec<&OwnedPortion>, Vec<&OwnedPortion>) =
            portions.iter().partition(|portion| self.streams[portion.stream].own.is_some());
        for portion in own {
            let connection = self.streams[portion.stream].own.take();
            let connection = connection.ok_or_else(|| Error::bug("a transaction is gone"))?;
            self.advance(&connection, &[portion])?;
            execute(&connection, "COMMIT", || "could not commit rows".to_owned())
                .map_err(|error| error.in_stream(self.name(portion.stream)))?;
            let stream = &mut self.streams[portion.stream];
            stream.committed = Arc::clone(&stream.held);
            self.tell_widths(portion.stream);
            self.advanced(portion);
        }
        if shared.is_empty() {
            return Ok(());
        }
        self.begin_shared()?;
        self.advance(&self.shared, &shared)?;
        self.end_shared()?;
        for stream in self.streams.iter_mut().filter(|stream| stream.own.is_none()) {
            stream.committed = Arc::clone(&stream.held);
        }
        shared.into_iter().for_each(|portion| self.advanced(portion));
        self.checkpoint()
    }

    /// Works the log into the file when rows of many tables lie there: DuckDB holds at
    /// least a block of memory for each of them until then, and decides by bytes alone.
    fn checkpoint(&mut self) -> Result<()> {
        let is_busy = self.streams.iter().any(|stream| stream.own.is_some());
        if is_busy || self.since_checkpoint.len() < TABLES_PER_CHECKPOINT {
            return Ok(());
        }
        self.since_checkpoint.clear();
        self.database.checkpoint()
    }

    fn end_shared(&mut self) -> Result<()> {
        self.is_shared_open = false;
        self.kept = Vec::new();
        self.kept_bytes = 0;
        let streams = std::mem::take(&mut self.in_shared);
        self.since_checkpoint.extend(&streams);
        let what = || {
            let tables: Vec<String> = streams.iter().map(|stream| self.streams[*stream].into.sql()).collect();
            format!("could not commit rows to {}", listed(&tables, TABLES_NAMED_MAX))
        };
        execute(&self.shared, "COMMIT", what).map_err(|error| match streams.first() {
            Some(stream) if streams.len() == 1 => error.in_stream(self.name(*stream)),
            _ => error,
        })
    }

    /// Moves progress in a transaction; streams of one schema in the same statements.
    fn advance(&self, connection: &Connection, portions: &[&OwnedPortion]) -> Result<()> {
        let mut of_schemas: Vec<(&Ledger, Vec<Advance<'_>>)> = Vec::new();
        for portion in portions {
            let stream = &self.streams[portion.stream];
            let advance = Advance {
                target: &stream.target,
                staged: stream.is_staged,
                head: stream.head,
                moves: stream.versions.moving(&portion.moves),
            };
            match of_schemas.iter_mut().find(|(ledger, _)| std::ptr::eq(*ledger, &*stream.ledger)) {
                Some((_, advances)) => advances.push(advance),
                None => of_schemas.push((&stream.ledger, vec![advance])),
            }
            if let Some(first) = &stream.first {
                First::forget(connection, first, &stream.target.first_key())?;
            }
        }
        for (ledger, advances) in of_schemas {
            ledger.advance(connection, &advances).map_err(|error| match portions {
                [one] => error.in_stream(self.name(one.stream)),
                _ => error,
            })?;
        }
        Ok(())
    }

    /// What was committed is where the next commit begins.
    fn advanced(&mut self, portion: &OwnedPortion) {
        let stream = &mut self.streams[portion.stream];
        stream.head.version += 1;
        stream.first = None;
        stream.versions.advance(&portion.moves);
    }

    /// Forgets the rows of a stream since the last commit.
    pub fn rollback(&mut self, stream: usize) -> Result<()> {
        let undo =
            |connection: &Connection| execute(connection, "ROLLBACK", || "could not roll back".to_owned());
        if let Some(connection) = self.streams[stream].own.take() {
            self.streams[stream].narrow();
            undo(&connection)?;
        }
        if self.in_shared.contains(&stream) {
            if self.in_shared.len() > 1 {
                return Err(Error::bug("rows that share their transaction cannot be taken back alone"));
            }
            self.in_shared.clear();
            self.is_shared_open = false;
            (self.kept, self.kept_bytes) = (Vec::new(), 0);
            undo(&self.shared)?;
            self.narrow_shared();
        }
        self.refused.remove(&stream);
        self.failure = None;
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Ends runs: overwritten tables change over to the new rows, all in one transaction.
    pub fn finish(&mut self, streams: &[usize]) -> Result<()> {
        self.flush()?;
        if streams.iter().any(|stream| self.in_shared.contains(stream) || self.streams[*stream].own.is_some())
        {
            return Err(Error::bug("a stream was finished with rows that were not committed"));
        }
        let staged: Vec<usize> =
            streams.iter().copied().filter(|stream| self.streams[*stream].is_staged).collect();
        if staged.is_empty() {
            return Ok(());
        }
        if !self.in_shared.is_empty() {
            return Err(Error::bug("streams were finished while rows of others were not committed"));
        }
        self.begin_shared()?;
        for stream in &staged {
            let Stream { ledger, target, table, into, head, .. } = &self.streams[*stream];
            let change_over = || {
                ledger.change_over(&self.shared, target, head, &head.finished())?;
                ddl::replace(&self.shared, table, into)
            };
            change_over().map_err(|error| error.in_stream(self.name(*stream)))?;
        }
        self.end_shared()?;
        for stream in staged {
            let stream = &mut self.streams[stream];
            stream.head = stream.head.finished();
            stream.is_staged = false;
            stream.into = stream.table.clone();
        }
        Ok(())
    }
}

impl Stream {
    /// The columns as they were before the transaction that is lost.
    fn narrow(&mut self) {
        self.held = Arc::clone(&self.committed);
    }

    fn load(&self, connection: &Connection, load: &Load) -> duckdb::Result<()> {
        if self.target.mode == WriteMode::AppendDedup {
            for part in merge::within(&load.replaces) {
                self.delete_where(connection, &part, || merge::delete(&self.into, &part))?;
            }
        }
        if load.columns.is_empty() {
            return Ok(());
        }
        let key = Key::of(&self.target.table);
        let mut unless_held = None;
        if self.target.replaces_by_key() {
            let range = key.range(&load.columns);
            if self.delete_where(connection, &range, || key.delete(&self.into, Feed::SQL, &range))? {
                unless_held = key.unless_held(&self.into, &range);
            }
        }
        failpoint::pass();
        match unless_held {
            // A statement with the keys of a batch in it comes once.
            Some(join) => connection.execute(&self.insert(load, &join), [])?,
            None => connection.prepare_cached(&self.insert(load, ""))?.execute([])?,
        };
        Ok(())
    }

    /// Runs the statement if the table has rows that fulfil the condition, and returns
    /// whether: looking costs next to nothing, and there are none in nearly all batches.
    fn delete_where(
        &self,
        connection: &Connection,
        condition: &str,
        statement: impl FnOnce() -> String,
    ) -> duckdb::Result<bool> {
        let probe = merge::probe(&self.into, condition);
        let has_some = connection.query_row(&probe, [], |_| Ok(())).optional()?.is_some();
        if has_some {
            failpoint::pass();
            connection.execute(&statement(), [])?;
        }
        Ok(has_some)
    }

    /// A statement that inserts the rows of the feed that are no deletes, and that `join` leaves.
    fn insert(&self, load: &Load, join: &str) -> String {
        let columns = &self.target.table.columns;
        let own = columns.iter().map(|column| quoted(&column.name));
        let names: Vec<String> = own.chain([RAW_ID, EXTRACTED_AT, META, GENERATION].map(quoted)).collect();
        let json = self.json;
        let mut values: Vec<String> = columns
            .iter()
            .map(|column| match column.ty {
                ColumnType::Json => format!("{}::{json}", quoted(&column.name)),
                _ => quoted(&column.name),
            })
            .collect();
        let meta = if load.has_changes() { quoted(META) } else { literal(&feed::plain_meta(&self.target)) };
        values.extend([
            quoted(RAW_ID),
            quoted(EXTRACTED_AT),
            format!("{meta}::{json}"),
            self.generation.to_string(),
        ]);
        let live = match load.has_deletes() {
            true => format!(" WHERE NOT {}", quoted(Feed::DELETED)),
            false => String::new(),
        };
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {}{join}{live}",
            self.into.sql(),
            names.join(", "),
            values.join(", "),
            Feed::sql_of(&load.columns)
        )
    }
}
