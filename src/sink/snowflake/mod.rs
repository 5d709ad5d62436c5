//! Snowflake, through the crate `snowflake-api` and one middleware layer.
//!
//! # The way of a row
//! Rows are written as compressed JSON files to a stage that only this session
//! sees. `commit` opens a transaction, copies the files into a temporary table,
//! takes the typed rows from there into the target (INSERT; or DELETE of what the
//! source has no more, and MERGE by key), does so for each stream, moves the progress
//! and commits: rows and progress of all streams are one transaction. In a staged [`WriteMode`] the target of a run
//! is a table beside the real one; `finish` replaces the contents of the real one,
//! again together with the progress.
//!
//! # Guarantees
//! The progress moves only from the version that this sink saw when it opened
//! the stream, and only while the loaded rows are in the same transaction; after
//! COMMIT it is read back. See [`progress`].

mod change;
mod check;
mod claim;
mod client;
mod commit;
mod config;
mod ddl;
mod evolve;
mod grow;
mod layer;
mod leftovers;
mod look;
mod merge;
mod names;
mod open;
mod progress;
mod quarantine;
mod statement;
mod step;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::claim::Claim;
use self::client::{Client, Warehouse};
pub use self::config::SnowflakeConfig;
use self::ddl::{Place, STAGE};
use self::layer::Patience;
use self::merge::Upsert;
use self::names::ident;
use self::open::Opening;
use self::progress::{First, Provided};
use self::statement::Statement;
use self::write::{File, Writer};
use super::lifecycle::Head;
use super::numbers::Numbers;
use super::shards::Versions;
use super::{
    Abilities, Durability, Joins, Look, Opened, Portion, Sink, StreamId, Target, WriteMode, first_key,
};
use crate::batch::{Batch, Extent};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::retry;
use crate::table::Table;

/// Compressed bytes of all streams together that may wait in memory.
const WAITING_BYTES_MAX: usize = 3 * write::FILE_BYTES_MAX;

/// What Snowflake can do.
const ABILITIES: Abilities = Abilities {
    sink: "Snowflake",
    durability: Durability::Together,
    joins: Joins::Many(100),
    replaces_by_key: true,
    deletes: true,
    swaps: true,
    evolves: true,
    derives: true,
};

/// A session with Snowflake that takes rows.
pub struct SnowflakeSink {
    session: Box<dyn Warehouse>,
    place: Place,
    streams: Vec<Stream>,
    upsert: Upsert,
    numbers: Numbers,
    /// Keeps this session's files apart from everybody else's on servers whose
    /// temporary stages are not private.
    folder: String,
    /// Whether files are taken from the stage as soon as they are committed.
    cleans_stage: bool,
}

struct Stream {
    /// With the mode that rows are written in, and the types that the columns of `into` have.
    target: Target,
    /// Where its tables are, also those of its progress.
    place: Place,
    /// Full name of the table that readers see.
    table: String,
    /// Full name of the table that rows go to until `finish`.
    into: String,
    /// As it was last committed.
    head: Head,
    generation: i64,
    /// Whether rows go to a table that will replace the other.
    is_staged: bool,
    /// The stored shards with their versions.
    versions: Versions,
    /// Where version 1 kept the progress that the next commit takes over.
    first: Option<String>,
    writer: Option<Writer>,
    /// Lines and files uploaded since the last commit.
    lines: u64,
    files: u64,
    /// Parts of the table that the lines are the whole of.
    replaced: Vec<Extent>,
    /// Counts folders, so that rolled back files are never copied.
    attempt: u64,
}

impl SnowflakeSink {
    /// Signs in, and creates the schema where needed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] or [`ErrorKind::Sink`], naming the field that is wrong.
    pub async fn connect(config: &SnowflakeConfig) -> Result<Self> {
        config.validate()?;
        let place = Place { database: config.database.clone(), schema: config.schema.clone() };
        let client = Box::new(Client::new(config, retry::policy(), Patience::default())?);
        let sink = Self::over(client, place, &config.warehouse).await?;
        Ok(Self { numbers: config.numbers, ..sink })
    }

    /// Signs in only to [look](Sink::look) at what is there: nothing is created.
    ///
    /// # Errors
    /// As [`SnowflakeSink::connect`].
    pub async fn peek(config: &SnowflakeConfig) -> Result<Self> {
        config.validate()?;
        let place = Place { database: config.database.clone(), schema: config.schema.clone() };
        let session = Client::new(config, retry::policy(), Patience::default())?;
        ddl::use_warehouse(&session, &config.warehouse).await?;
        Ok(Self { numbers: config.numbers, ..Self::with(Box::new(session), place) })
    }

    /// What it can do; see [`Sink::abilities`].
    pub const fn able() -> Abilities {
        ABILITIES
    }

    async fn over(session: Box<dyn Warehouse>, place: Place, warehouse: &str) -> Result<Self> {
        place.prepare(session.as_ref(), warehouse).await?;
        Ok(Self::with(session, place))
    }

    fn with(session: Box<dyn Warehouse>, place: Place) -> Self {
        Self {
            session,
            place,
            streams: Vec::new(),
            upsert: Upsert::Merge,
            numbers: Numbers::Decimal,
            folder: Uuid::new_v4().simple().to_string(),
            cleans_stage: true,
        }
    }

    /// Runs one statement and returns its rows as text. A query must cast its
    /// columns to VARCHAR; others come back as NULL.
    ///
    /// # Errors
    /// As the statement fails.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.session.execute(Statement::new(sql)).await
    }

    fn stream(&mut self, id: StreamId) -> Result<&mut Stream> {
        self.streams.get_mut(id.0).ok_or_else(|| Error::bug("a stream that was not opened"))
    }

    async fn run(&self, sql: impl Into<String>) -> Result<()> {
        self.session.execute(Statement::new(sql)).await.map(|_| ())
    }

    /// `@stage/session/stream/attempt/`: where the files of the open transaction are.
    fn files_of(&self, id: StreamId) -> Result<String> {
        let stream = self.opened(id)?;
        Ok(format!("@{}/{}/{}/{}-{}/", ident(STAGE), self.folder, id.0, stream.head.version, stream.attempt))
    }

    async fn upload(&mut self, id: StreamId, file: File) -> Result<()> {
        let place = self.files_of(id)?;
        let stream = self.stream(id)?;
        let name = format!("{:06}.json.gz", stream.files);
        stream.files += 1;
        stream.lines += file.lines;
        self.session.upload(&place, &name, Bytes::from(file.bytes)).await
    }

    /// Uploads what waits of a stream.
    async fn flush(&mut self, id: StreamId) -> Result<()> {
        let stream = self.stream(id)?;
        let file = stream.writer.as_mut().ok_or_else(broken)?.take()?;
        match file {
            Some(file) => self.upload(id, file).await,
            None => Ok(()),
        }
    }

    /// Keeps the sum of all waiting bytes within its bound.
    async fn make_room(&mut self) -> Result<()> {
        loop {
            let waiting = |stream: &Stream| stream.writer.as_ref().map_or(0, Writer::bytes);
            let sum: usize = self.streams.iter().map(waiting).sum();
            let largest = (0..self.streams.len()).max_by_key(|index| waiting(&self.streams[*index]));
            match largest {
                Some(index) if sum > WAITING_BYTES_MAX => self.flush(StreamId(index)).await?,
                _ => return Ok(()),
            }
        }
    }

    fn opened(&self, id: StreamId) -> Result<&Stream> {
        self.streams.get(id.0).ok_or_else(|| Error::bug("a stream that was not opened"))
    }

    /// Takes files off the stage; Snowflake does it itself when the session ends.
    async fn clean(&mut self, files: &str) {
        if self.cleans_stage
            && let Err(error) = self.run(format!("REMOVE {files}")).await
        {
            tracing::debug!(error = error.report(), "leaving files on the stage until the session ends");
            self.cleans_stage = false;
        }
    }
}

/// Drops the table of a run that is over.
async fn discard(session: &dyn Warehouse, next: &str) {
    if let Err(error) = drop_table(session, next).await {
        tracing::warn!(
            error = error.report(),
            table = next,
            "could not drop the table of a run that is over"
        );
    }
}

async fn drop_table(session: &dyn Warehouse, table: &str) -> Result<()> {
    session.execute(Statement::new(format!("DROP TABLE IF EXISTS {table}"))).await.map(drop)
}

fn broken() -> Error {
    Error::bug("a stream is used after its rows failed to be written")
}

/// A stream of a pipeline, for the names of what is its own.
fn mark(target: &Target) -> String {
    mark_of(&target.first_key())
}

fn mark_of(key: &str) -> String {
    Sha256::digest(key).iter().take(4).map(|byte| format!("{byte:02X}")).collect()
}

/// The table that an overwritten stream is collected in, one for each pipeline.
fn next_table(target: &Target) -> String {
    next_of(&target.pipeline, &target.stream, &target.table.name)
}

/// As [`next_table`], of any stream that writes to the table.
fn next_of(pipeline: &str, stream: &str, table: &str) -> String {
    format!("_TAPELINE_NEXT_{table}_{}", mark_of(&first_key(pipeline, stream)))
}

#[async_trait]
impl Sink for SnowflakeSink {
    fn abilities(&self) -> Abilities {
        ABILITIES
    }

    async fn open(&mut self, targets: &[Target]) -> Result<Vec<Result<Opened>>> {
        let mut opening = Opening::new(self.session.as_ref(), &self.place, self.numbers);
        opening.begin().await?;
        let mut opened = Vec::new();
        let mut streams = Vec::new();
        for target in targets {
            let stream = open::of_stream(opening.open(target).await, target);
            opened.push(stream.map(|(stream, progress)| {
                let mode = stream.target.mode;
                streams.push(stream);
                Opened { id: StreamId(self.streams.len() + streams.len() - 1), mode, progress }
            }));
        }
        self.streams.append(&mut streams);
        Ok(opened)
    }

    async fn look(&mut self, targets: &[Target]) -> Result<Vec<Look>> {
        let held = |target: &Target| Target { table: self.numbers.table(&target.table), ..target.clone() };
        let targets: Vec<Target> = targets.iter().map(held).collect();
        look::look(self.session.as_ref(), &self.place, &targets).await
    }

    async fn count(&mut self, target: &Target, parts: &[Extent]) -> Result<u64> {
        look::count(self.session.as_ref(), &self.place, target, parts).await
    }

    async fn try_rights(&mut self) -> Result<()> {
        check::try_rights(self.session.as_ref(), &self.place).await
    }

    async fn evolve(&mut self, stream: StreamId, table: Arc<Table>) -> Result<()> {
        self.grow(stream, &table).await
    }

    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<()> {
        let open = self.stream(stream)?;
        let mut writer = open.writer.take().ok_or_else(broken)?;
        if open.target.mode == WriteMode::AppendDedup {
            open.replaced.extend(batch.replaces.iter().cloned());
        }
        let work = tokio::task::spawn_blocking(move || writer.push(&batch).map(|files| (writer, files)));
        let (writer, files) =
            work.await.or_fail(ErrorKind::Bug, || "compressing rows failed unexpectedly".to_owned())??;
        self.stream(stream)?.writer = Some(writer);
        for file in files {
            self.upload(stream, file).await?;
        }
        self.make_room().await?;
        Ok(())
    }

    async fn commit(&mut self, portions: &[Portion<'_>]) -> Result<Vec<(StreamId, Error)>> {
        self.commit_all(portions).await
    }

    async fn rollback(&mut self, stream: StreamId) -> Result<()> {
        let files = self.files_of(stream)?;
        let open = self.stream(stream)?;
        let uploaded = open.files > 0;
        open.attempt += 1;
        open.writer.get_or_insert_with(|| Writer::new(&open.target));
        open.begin();
        if uploaded {
            self.clean(&files).await;
        }
        Ok(())
    }

    async fn finish(&mut self, streams: &[StreamId]) -> Result<()> {
        for stream in streams {
            let open = self.opened(*stream)?;
            if open.lines > 0 || !open.writer.as_ref().is_some_and(Writer::is_empty) {
                return Err(Error::bug("a stream is finished with rows that were not committed"));
            }
            if open.is_staged {
                self.change_over(*stream).await?;
            }
        }
        Ok(())
    }
}

impl SnowflakeSink {
    /// Makes the rows that a run collected beside the table the table.
    async fn change_over(&mut self, id: StreamId) -> Result<()> {
        let session = self.session.as_ref();
        let Stream { target, place, table, into, head, generation, first, .. } = self.opened(id)?;
        let name = &target.table.name;
        let existing = place.columns(session, name).await?;
        let retypes = !evolve::fits(&existing, &target.table);
        if retypes {
            // Nobody else's: what follows is no part of the transaction that would tell.
            progress::must_be_at(session, place, target, *head).await?;
            self.run(evolve::republish(table, into, &target.table)).await?;
            for comment in evolve::comments(table, &target.table) {
                self.run(comment).await?;
            }
        } else {
            let claim = Claim { session, place, name, target, head: *head };
            evolve::fit(&claim, &target.table).await?;
        }
        let replaced = async {
            self.run("BEGIN TRANSACTION").await?;
            if !retypes {
                self.run(merge::replace(table, into, &target.table)).await?;
            }
            let provided = Provided::Finished(merge::is_replaced(table, into, &target.table, *generation));
            progress::advance(session, place, target, *head, provided, None).await?;
            progress::change_over(session, place, target, head.moved()).await?;
            match first {
                Some(first) => {
                    session.execute(First::forget(first, place, target, head.moved())).await.map(drop)
                }
                None => Ok(()),
            }
        };
        if let Err(error) = replaced.await {
            let error = progress::rolled_back(session, error).await;
            return Err(self.unless_overtaken(Some(id), error).await);
        }
        if let Err(error) = self.run("COMMIT").await {
            return Err(progress::rolled_back(session, error).await);
        }
        progress::must_be_at(session, place, target, head.finished()).await?;
        discard(session, into).await;
        let open = self.stream(id)?;
        open.head = open.head.finished();
        open.is_staged = false;
        open.first = None;
        open.into = open.table.clone();
        Ok(())
    }
}

impl Stream {
    /// The name of the table that rows go to.
    fn name(&self) -> String {
        if self.is_staged { next_table(&self.target) } else { self.target.table.name.clone() }
    }

    /// Its table called `name`, to be changed.
    fn claim<'a>(&'a self, session: &'a dyn Warehouse, name: &'a str) -> Claim<'a> {
        Claim { session, place: &self.place, name, target: &self.target, head: self.head }
    }

    /// What was committed is where the next commit begins.
    fn advanced(&mut self, portion: &Portion<'_>) {
        self.head.version += 1;
        self.first = None;
        self.versions.advance(&portion.moves);
        self.begin();
    }

    /// Forgets what the last transaction held.
    fn begin(&mut self) {
        self.lines = 0;
        self.files = 0;
        self.replaced.clear();
        if let Some(writer) = &mut self.writer {
            writer.reset();
        }
    }
}

#[cfg(test)]
mod tests;
