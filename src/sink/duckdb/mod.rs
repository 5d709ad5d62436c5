//! DuckDB, embedded: the default sink.
//!
//! Rows are decoded on the runtime's blocking threads and loaded by one thread
//! that owns the database, so fetching, decoding and loading go on side by
//! side. At most three batches are in memory at a time: one being loaded, one
//! waiting, one being decoded.
//!
//! # Guarantees
//! The rows and the progress that [`Sink::commit`] is given, of all streams, become
//! durable together in one transaction; rows that were written ahead of what their
//! source vouches for have one of their own. A killed process
//! leaves a file that opens as of the last commits. Rows of
//! [`WriteMode::Overwrite`] collect in a table of their own, which takes the
//! place of the old one in a transaction when the run finishes.
//!
//! # Types
//! Decimals are as narrow as the table says, in columns that widen in the transaction
//! of the rows that need it; times `TIMESTAMP_NS` in UTC. The first time that 64
//! bits of nanoseconds do not reach (before 1677-09-22 or after 2262-04-11) makes a
//! `TIMESTAMP` of its column, which has the years 1 to 9999 and microseconds, if nothing
//! there is finer; a finer time that comes later is cut. Else it is NULL in its column. In
//! both cases the time is kept in `additional_properties` and noted in `_airbyte_meta`; in
//! a key column it is an error.

mod ahead;
mod check;
mod client;
mod ddl;
mod evolve;
mod feed;
mod look;
mod merge;
mod open;
mod progress;
mod quarantine;
mod rewrite;
#[cfg(test)]
mod tests;
mod worker;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::columns::{Decoded, Decoder};
use super::numbers::Numbers;
use super::{Abilities, Durability, Joins, Look, Opened, Portion, Sink, StreamId, Target};
use crate::batch::{Batch, Extent};
use crate::error::{Error, ErrorKind, Result};
use crate::table::Table;
use client::Access;
use feed::Load;
use worker::Command;
use write::OwnedPortion;

/// An embedded DuckDB database.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "DuckDB")]
pub struct DuckDbConfig {
    /// The database file, such as `market.duckdb`. It is created when it does not
    /// exist; its folder is not.
    #[schemars(title = "File", length(min = 1), extend("examples" = ["market.duckdb"], "order" = 0))]
    pub path: String,
    /// The schema that holds the tables. It is created when it does not exist.
    #[serde(default = "default_schema")]
    #[schemars(title = "Schema", length(min = 1), extend("order" = 1))]
    pub schema: String,
    /// How much memory DuckDB may take for its buffers, in megabytes. Beyond it,
    /// it writes to a folder beside the file.
    #[serde(default = "default_memory_limit_mb")]
    #[schemars(title = "Memory limit (MB)", range(min = client::MEMORY_LIMIT_MB_MIN), extend("order" = 2))]
    pub memory_limit_mb: u32,
    /// How many threads DuckDB may use. When absent, one a processor less one, which
    /// reads the API.
    #[serde(default)]
    #[schemars(title = "Threads", range(min = 1), extend("order" = 3))]
    pub threads: Option<u16>,
    /// As what numbers with a fraction are kept: `decimal`, exact, or `double`, rounded.
    #[serde(default)]
    #[schemars(title = "Numbers", extend("order" = 4))]
    pub numbers: Numbers,
}

fn default_schema() -> String {
    "polygon".to_owned()
}

/// A load of a million bars is as fast with 64; the rest is for joins when many
/// rows of a large table are replaced.
fn default_memory_limit_mb() -> u32 {
    512
}

impl DuckDbConfig {
    /// The default configuration for a file.
    pub fn of(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            schema: default_schema(),
            memory_limit_mb: default_memory_limit_mb(),
            threads: None,
            numbers: Numbers::Decimal,
        }
    }
}

/// The sink. Dropping it closes the file, waits for that, and forgets what was
/// not committed.
#[derive(Debug)]
pub struct DuckDbSink {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    streams: Vec<Stream>,
    /// Set by the worker when a write failed.
    failed: Arc<AtomicBool>,
}

/// What DuckDB can do. It holds at least a block of memory for each table of a
/// transaction.
const ABILITIES: Abilities = Abilities {
    sink: "DuckDB",
    durability: Durability::Together,
    joins: Joins::Many(100),
    replaces_by_key: true,
    deletes: true,
    swaps: true,
    evolves: true,
    derives: true,
};

/// What this side of the channel knows of a stream.
#[derive(Debug)]
struct Stream {
    target: Arc<Target>,
    decoder: Arc<Decoder>,
    /// The key's columns where rows replace each other, else empty.
    key: Arc<[usize]>,
    /// Whether a write did not come to its end, so that rows may be missing.
    is_torn: bool,
}

impl DuckDbSink {
    /// Opens the database file, creating it if need be.
    ///
    /// # Errors
    /// When the file cannot be opened for writing, or another process has it open.
    pub async fn connect(config: &DuckDbConfig) -> Result<Self> {
        Self::start(config, Access::Write).await
    }

    /// Opens the database file only to [look](Sink::look) at it: it is not created.
    ///
    /// # Errors
    /// As [`DuckDbSink::connect`].
    pub async fn peek(config: &DuckDbConfig) -> Result<Self> {
        Self::start(config, Access::Look).await
    }

    async fn start(config: &DuckDbConfig, access: Access) -> Result<Self> {
        // One command waits while another one runs.
        let (commands, receiver) = mpsc::channel(1);
        let (ready, opened) = oneshot::channel();
        let config = config.clone();
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let thread = std::thread::Builder::new()
            .name("duckdb".to_owned())
            .spawn(move || worker::run(&config, access, flag, ready, receiver))
            .map_err(|error| Error::bug("could not start a thread").caused_by(error))?;
        let sink = Self { commands: Some(commands), thread: Some(thread), streams: Vec::new(), failed };
        opened.await.map_err(gone)??;
        Ok(sink)
    }

    /// What it can do; see [`Sink::abilities`].
    pub const fn able() -> Abilities {
        ABILITIES
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(gone)?
    }

    /// Refuses to go on with a transaction that may lack rows.
    fn whole(&self) -> Result<()> {
        if self.streams.iter().any(|stream| stream.is_torn) {
            return Err(Error::bug("a write did not come to its end, and its stream was not rolled back"));
        }
        Ok(())
    }

    /// Settles which of a stream's columns have microseconds from now on, for all
    /// streams of its table.
    async fn settle(&self, stream: usize, columns: Vec<usize>, ahead: bool) -> Result<()> {
        let asked = columns.clone();
        let can = self.ask(|reply| Command::InMicros { stream, columns: asked, ahead, reply }).await?;
        let of = &self.streams[stream].target;
        let place = |target: &Target| (target.schema.clone(), target.table.name.clone());
        for same in self.streams.iter().filter(|other| place(&other.target) == place(of)) {
            for column in &columns {
                same.decoder.settle(&of.table.columns[*column].name, can.contains(column));
            }
        }
        Ok(())
    }

    async fn tell(&self, command: Command) -> Result<()> {
        let commands = self.commands.as_ref().ok_or_else(|| Error::bug("the sink is closed"))?;
        commands.send(command).await.map_err(gone)
    }
}

/// Makes columns of a batch, or gives it back with those that are to be settled before.
fn decoded(
    decoder: &Decoder,
    key: &[usize],
    target: &Target,
    mut batch: Batch,
) -> Result<std::result::Result<Load, (Batch, Vec<usize>)>> {
    match decoder.decode(&batch.rows)? {
        Decoded::Unsettled(columns) => Ok(Err((batch, columns))),
        Decoded::Columns(mut columns) => {
            let version = target.table.version().and_then(|name| target.table.position(name));
            let kept = if key.is_empty() { None } else { columns.keep_last(key, version) };
            Ok(Ok(Load::new(columns, kept.as_deref(), target, &mut batch)))
        }
    }
}

fn gone<E>(_: E) -> Error {
    Error::bug("the thread that holds the database has ended")
}

impl Drop for DuckDbSink {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Sink for DuckDbSink {
    fn abilities(&self) -> Abilities {
        ABILITIES
    }

    async fn open(&mut self, targets: &[Target]) -> Result<Vec<Result<Opened>>> {
        let targets = targets.to_vec();
        let streams = self.ask(|reply| Command::Open { targets, reply }).await?;
        let opened = streams.into_iter().map(|stream| {
            let (index, target, held, progress) = stream?;
            let table = &target.table;
            let key = match target.mode.replaces_by_key() {
                true => table.key.iter().filter_map(|name| table.position(name)).collect(),
                false => Arc::from([]),
            };
            let decoder = Arc::new(Decoder::new(&held, target.replaces_by_key()));
            let mode = target.mode;
            self.streams.push(Stream { target, decoder, key, is_torn: false });
            Ok(Opened { id: StreamId(index), mode, progress })
        });
        Ok(opened.collect())
    }

    async fn look(&mut self, targets: &[Target]) -> Result<Vec<Look>> {
        let targets = targets.to_vec();
        self.ask(|reply| Command::Look { targets, reply }).await
    }

    async fn count(&mut self, target: &Target, parts: &[Extent]) -> Result<u64> {
        let (target, parts) = (Box::new(target.clone()), parts.to_vec());
        self.ask(|reply| Command::Count { target, parts, reply }).await
    }

    async fn try_rights(&mut self) -> Result<()> {
        self.ask(|reply| Command::TryRights { reply }).await
    }

    async fn evolve(&mut self, stream: StreamId, table: Arc<Table>) -> Result<()> {
        self.whole()?;
        let (target, held) = self.ask(|reply| Command::Evolve { stream: stream.0, table, reply }).await?;
        let state = &mut self.streams[stream.0];
        state.decoder = Arc::new(Decoder::new(&held, target.replaces_by_key()));
        state.target = target;
        Ok(())
    }

    /// Not cancel-safe: whether the rows of a dropped call were taken is unknown;
    /// roll back.
    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<()> {
        let state = &mut self.streams[stream.0];
        state.is_torn = true;
        let (decoder, key) = (Arc::clone(&state.decoder), Arc::clone(&state.key));
        let target = Arc::clone(&state.target);
        if self.failed.load(Ordering::Acquire) {
            self.ask(|reply| Command::Flush { reply }).await?;
        }
        let (ahead, mut batch) = (batch.ahead, batch);
        let load = loop {
            let (decoder, key, target) = (Arc::clone(&decoder), Arc::clone(&key), Arc::clone(&target));
            let decode = move || decoded(&decoder, &key, &target, batch);
            let decoded = tokio::task::spawn_blocking(decode)
                .await
                .map_err(|error| Error::bug("decoding rows failed").caused_by(error))?;
            match decoded {
                Ok(Ok(load)) => break Ok(Box::new(load)),
                // The commit tells of this stream what DuckDB would refuse.
                Err(error) if error.kind() == ErrorKind::Table => break Err(error),
                Err(error) => return Err(error),
                Ok(Err((undecided, columns))) => {
                    self.settle(stream.0, columns, ahead).await?;
                    batch = undecided;
                }
            }
        };
        self.tell(Command::Write { stream: stream.0, load, ahead }).await?;
        self.streams[stream.0].is_torn = false;
        Ok(())
    }

    async fn commit(&mut self, portions: &[Portion<'_>]) -> Result<Vec<(StreamId, Error)>> {
        self.whole()?;
        let owned = |portion: &Portion<'_>| OwnedPortion {
            stream: portion.stream.0,
            moves: portion.moves.clone(),
            rejected: portion.rejected.to_vec(),
        };
        let portions = portions.iter().map(owned).collect();
        let refused = self.ask(|reply| Command::Commit { portions, reply }).await?;
        Ok(refused.into_iter().map(|(stream, error)| (StreamId(stream), error)).collect())
    }

    async fn rollback(&mut self, stream: StreamId) -> Result<()> {
        self.ask(|reply| Command::Rollback { stream: stream.0, reply }).await?;
        self.streams[stream.0].is_torn = false;
        Ok(())
    }

    async fn finish(&mut self, streams: &[StreamId]) -> Result<()> {
        self.whole()?;
        let streams = streams.iter().map(|stream| stream.0).collect();
        self.ask(|reply| Command::Finish { streams, reply }).await
    }
}
