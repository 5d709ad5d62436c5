//! Transactions, and the rows that go in: one of all streams, and one of its own for
//! each stream whose rows may have to be taken back alone.
//!
//! What DuckDB refuses of one stream takes the transaction of all with it. So what was
//! loaded into that is kept until the commit, and loaded again without that stream.

mod commit;
mod grow;
mod load;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use duckdb::Connection;

use super::ahead::{self, Beside, Own};
use super::client::{Database, execute, failed};
use super::ddl::{self, Place};
use super::evolve::{self, Way};
use super::feed::{Feed, Load};
use super::open;
use super::progress::{First, Ledger};
use super::quarantine::Quarantine;
use crate::batch::Reject;
use crate::error::{Error, Result};
use crate::sink::lifecycle::Head;
use crate::sink::shards::Versions;
use crate::sink::{Move, Stored, Target};
use crate::table::Table;

/// Bytes of rows that are kept until the commit. The engine commits before streams that
/// share a transaction have half of it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A stream that is open in the sink.
pub(super) struct Stream {
    /// With the mode that rows are written in.
    pub target: Arc<Target>,
    /// The table that readers see.
    pub table: Place,
    /// The table that rows go to: `table`, or the one that will replace it.
    pub into: Place,
    pub ledger: Arc<Ledger>,
    pub quarantine: Arc<Quarantine>,
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
    /// Whether its open transaction may have deleted rows of `into`.
    pub has_deleted: Cell<bool>,
    pub json: &'static str,
    /// Its rows ahead, while it has some.
    pub own: Option<Own>,
    /// Its rows of the transaction of all streams once more, where something is derived of
    /// them.
    pub batch: Option<Beside>,
}

/// A stream that was opened: its index, how its rows are written, the types that its
/// table's columns have, and its progress.
pub(super) type OpenedStream = (usize, Arc<Target>, Arc<Table>, Stored);

/// What is committed of a stream, as the worker takes it.
#[derive(Debug)]
pub(super) struct OwnedPortion {
    pub stream: usize,
    pub moves: Vec<Move>,
    pub rejected: Vec<Reject>,
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

    /// Adds rows to a transaction. What DuckDB refuses, or why they are no `load`, is told by
    /// the commit.
    pub fn write(&mut self, stream: usize, load: Result<Box<Load>>, ahead: bool) {
        let is_empty = load.as_ref().is_ok_and(|load| load.columns.is_empty() && load.replaces.is_empty());
        if is_empty || self.failed.load(Ordering::Acquire) || self.refused.contains_key(&stream) {
            return;
        }
        let load = load.map(|load| Arc::new(*load));
        if let Ok(load) = &load
            && !ahead
            && self.is_late_to_widen(stream, load)
        {
            self.keep(stream, Arc::clone(load));
            return self.load_again();
        }
        match load.and_then(|load| self.load(stream, &load, ahead).map(|()| load)) {
            Ok(load) if !ahead => self.keep(stream, load),
            Ok(_) => {}
            Err(error) if ahead => {
                self.lose_ahead(stream);
                self.refuse(stream, error);
            }
            Err(error) if self.kept_bytes > KEPT_BYTES_MAX && self.is_shared_with_others(stream) => {
                self.failure = Some(error.in_stream(self.name(stream)));
                self.failed.store(true, Ordering::Release);
            }
            Err(error) => {
                self.refuse(stream, error);
                self.load_again();
            }
        }
    }

    /// Which of a stream's columns of nanoseconds can have microseconds, because what is
    /// stored there has nothing finer: in the rows that are not committed, and in those that
    /// were, because the column changes before any of them is replaced.
    pub fn in_micros(&self, stream: usize, columns: &[usize], ahead: bool) -> Result<Vec<usize>> {
        if self.failed.load(Ordering::Acquire) || self.refused.contains_key(&stream) {
            return Ok(Vec::new());
        }
        let Stream { own, into, held, .. } = &self.streams[stream];
        let committed = self.database.connect()?;
        let own = own.as_ref().filter(|_| ahead);
        let (waiting, place) = own.map_or((&self.shared, into), |own| (own.connection(), own.place(into)));
        let mut can = Vec::new();
        for index in columns {
            let column = &held.columns[*index];
            let fits = |connection, place| evolve::can_have_micros(connection, place, column);
            if evolve::is_micros(held, &column.name) || (fits(waiting, place)? && fits(&committed, into)?) {
                can.push(*index);
            }
        }
        Ok(can)
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

    /// Whether the open transaction of all streams has rows of others.
    fn is_shared_with_others(&self, stream: usize) -> bool {
        self.in_shared.iter().any(|other| *other != stream)
    }

    /// Whether rows need wider columns than those of rows that are in the transaction of all
    /// streams already: a table cannot be altered once rows of it were deleted, and to load
    /// what is kept anew costs less than to make the table anew.
    fn is_late_to_widen(&self, of: usize, load: &Load) -> bool {
        let Stream { into, held, .. } = &self.streams[of];
        self.kept_bytes + load.bytes <= KEPT_BYTES_MAX
            && !evolve::has_room(held, |column, has| load.columns.needs(column, has))
            && self.in_shared.iter().any(|stream| self.streams[*stream].into.sql() == into.sql())
    }

    /// Loads what was loaded before into a new transaction, without refused streams; first
    /// of all it makes the room that the rows need.
    fn load_again(&mut self) {
        loop {
            self.undo_shared();
            let refused = &self.refused;
            self.kept.retain(|(stream, _)| !refused.contains_key(stream));
            self.kept_bytes = self.kept.iter().map(|(_, load)| load.bytes).sum();
            let kept = self.kept.clone();
            let mut failed =
                kept.iter().find_map(|(stream, load)| Some((*stream, self.make_room(*stream, load).err()?)));
            if failed.is_none() {
                failed = kept
                    .iter()
                    .find_map(|(stream, load)| Some((*stream, self.load(*stream, load, false).err()?)));
            }
            match failed {
                Some((stream, error)) => self.refuse(stream, error),
                None => return,
            }
        }
    }

    fn undo_shared(&mut self) {
        self.in_shared.clear();
        if std::mem::take(&mut self.is_shared_open) {
            // DuckDB has ended it already, or ends it now.
            let _ = self.shared.execute_batch("ROLLBACK");
        }
        self.narrow_shared();
    }

    fn name(&self, stream: usize) -> &str {
        self.streams[stream].target.name()
    }

    fn load(&mut self, stream: usize, load: &Arc<Load>, ahead: bool) -> Result<()> {
        if ahead {
            return self.load_ahead(stream, load);
        }
        self.make_room(stream, load)?;
        self.in_shared.insert(stream);
        self.feed.set(Some(Arc::clone(load)));
        let (connection, stream) = (&self.shared, &mut self.streams[stream]);
        let mut loaded = stream.load_into(connection, load);
        if let Some(mut batch) = stream.batch.take().filter(|_| loaded.is_ok()) {
            loaded = batch.load(connection, stream, load);
            stream.batch = Some(batch);
        }
        self.feed.set(None);
        loaded
    }

    /// Widens columns in the transaction of all streams.
    fn make_room(&mut self, stream: usize, load: &Load) -> Result<()> {
        self.begin_shared()?;
        self.make_room_in_batch(stream, load)?;
        let way = self.way_to_widen(stream);
        let Stream { into, held, .. } = &mut self.streams[stream];
        if evolve::make_room(&self.shared, into, held, way, |column, has| load.columns.needs(column, has))? {
            self.tell_widths(stream);
        }
        Ok(())
    }

    /// How the table of a stream can change in the transaction of all streams.
    fn way_to_widen(&self, of: usize) -> Way {
        let into = self.streams[of].into.sql();
        let deleted = |stream: &usize| {
            let stream = &self.streams[*stream];
            stream.has_deleted.get() && stream.into.sql() == into
        };
        if self.in_shared.iter().any(deleted) { Way::Anew } else { Way::InPlace }
    }

    /// The same where its rows are once more.
    fn make_room_in_batch(&mut self, index: usize, load: &Load) -> Result<()> {
        let stream = &mut self.streams[index];
        if stream.target.derived.is_empty() {
            return Ok(());
        }
        let mut batch = match stream.batch.take() {
            Some(batch) => batch,
            None => Beside::create(&self.shared, &format!("_tapeline_batch_{index}"), stream, &stream.held)?,
        };
        batch.make_room(&self.shared, load)?;
        stream.batch = Some(batch);
        Ok(())
    }

    /// Adds rows to those that a stream has ahead.
    fn load_ahead(&mut self, index: usize, load: &Arc<Load>) -> Result<()> {
        if self.in_shared.contains(&index) {
            return Err(Error::bug("rows were written ahead before those before them were committed"));
        }
        let own = match self.streams[index].own.take() {
            Some(own) => own,
            None => {
                let stream = &self.streams[index];
                let is_beside = stream.target.replaces_by_key()
                    || self.shares_table(index)
                    || !stream.target.derived.is_empty()
                    || stream.target.grows;
                Own::begin(self.database.connect()?, stream, is_beside)?
            }
        };
        self.feed.set(Some(Arc::clone(load)));
        let stream = &mut self.streams[index];
        let own = own.load(stream, load);
        self.feed.set(None);
        stream.own = Some(own?);
        Ok(())
    }

    /// Takes the rows that a stream has ahead, to forget them, and with them the room that
    /// they have in a table of its own. In another's it is of the others' transaction.
    fn lose_ahead(&mut self, index: usize) -> Option<Own> {
        let own = self.streams[index].own.take();
        if !self.shares_table(index) {
            self.streams[index].narrow();
        }
        own
    }

    /// Whether another stream writes to the same table.
    fn shares_table(&self, of: usize) -> bool {
        let into = self.streams[of].into.sql();
        self.streams.iter().enumerate().any(|(index, stream)| index != of && stream.into.sql() == into)
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

    /// With the rows of the transaction of all streams went the room that was made for them,
    /// and where they were once more.
    fn narrow_shared(&mut self) {
        self.streams.iter_mut().filter(|stream| !stream.is_apart()).for_each(Stream::narrow);
        self.streams.iter_mut().for_each(|stream| stream.batch = None);
    }

    fn begin_shared(&mut self) -> Result<()> {
        if !self.is_shared_open {
            ahead::begin(&self.shared)?;
            self.is_shared_open = true;
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

    /// Forgets the rows of a stream since the last commit.
    pub fn rollback(&mut self, stream: usize) -> Result<()> {
        let undo =
            |connection: &Connection| execute(connection, "ROLLBACK", || "could not roll back".to_owned());
        if let Some(Own::Transaction(connection)) = self.lose_ahead(stream) {
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
    fn change_over(&self, stream: usize) -> Result<()> {
        let Stream { ledger, target, table, into, head, first, .. } = &self.streams[stream];
        ledger.change_over(&self.shared, target, head, &head.finished())?;
        ddl::replace(&self.shared, table, into)?;
        match first {
            Some(first) => First::forget(&self.shared, first, &target.first_key()),
            None => Ok(()),
        }
    }

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
        let changed = staged.iter().try_for_each(|stream| {
            self.change_over(*stream).map_err(|error| error.in_stream(self.name(*stream)))
        });
        if let Err(error) = changed {
            self.undo_shared();
            return Err(error);
        }
        self.end_shared()?;
        for stream in staged {
            let stream = &mut self.streams[stream];
            stream.head = stream.head.finished();
            stream.is_staged = false;
            stream.first = None;
            stream.into = stream.table.clone();
        }
        Ok(())
    }
}

impl Stream {
    /// Whether its rows are in a transaction that the others have no part in.
    fn is_apart(&self) -> bool {
        matches!(self.own, Some(Own::Transaction(_)))
    }

    /// The columns as they were before the transaction that is lost.
    fn narrow(&mut self) {
        self.held = Arc::clone(&self.committed);
        self.has_deleted.set(false);
    }

    /// The columns as they are, now that the transaction is committed.
    fn settle(&mut self) {
        self.committed = Arc::clone(&self.held);
        self.has_deleted.set(false);
    }
}
