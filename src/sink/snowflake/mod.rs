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
mod client;
mod config;
mod ddl;
mod evolve;
mod grow;
mod layer;
mod leftovers;
mod look;
mod merge;
mod open;
mod progress;
mod quarantine;
mod statement;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::change::Claim;
use self::client::{Client, Warehouse};
pub use self::config::SnowflakeConfig;
use self::ddl::{LOAD, Place, STAGE, ident};
use self::layer::server_code;
use self::merge::Upsert;
use self::open::Opening;
use self::progress::{First, Provided};
use self::statement::Statement;
use self::write::{File, Writer};
use super::lifecycle::Head;
use super::numbers::Numbers;
use super::shards::Versions;
use super::{Abilities, BATCH, Durability, Joins, Look, Opened, Portion, Sink, StreamId, Target, WriteMode};
use crate::batch::{Batch, Extent};
use crate::catalog::Table;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::retry;

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

/// What ended a transaction, and the stream whose statement it was.
type Failed = (Option<StreamId>, Error);

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
        let client = Box::new(Client::new(config, retry::policy())?);
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
        let session = Client::new(config, retry::policy())?;
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

    /// Widens the columns that the rows of a stream need wider: before the transaction
    /// begins, because it is DDL.
    async fn widen(&mut self, id: StreamId) -> Result<()> {
        let stream = self.opened(id)?;
        let widths = stream.writer.as_ref().ok_or_else(broken)?.widths();
        let (name, table) = (stream.name(), &stream.target.table);
        let claim = stream.claim(self.session.as_ref(), &name);
        if !evolve::has_room(table, widths) {
            // Whoever took the stream over may be loading into the columns.
            claim.must_hold().await?;
        }
        let held = evolve::make_room(&claim, table, widths).await?;
        if let Some(held) = held {
            self.stream(id)?.target.table = Arc::new(held);
        }
        Ok(())
    }

    /// Widens for all streams of a commit. Returns those that can be loaded, and those
    /// whose columns cannot be widened.
    async fn widen_all<'a, 'b>(
        &mut self,
        portions: &'a [Portion<'b>],
    ) -> Result<(Vec<&'a Portion<'b>>, Vec<(StreamId, Error)>)> {
        let (mut wide, mut refused) = (Vec::new(), Vec::new());
        for portion in portions {
            let Err(error) = self.widen(portion.stream).await else {
                wide.push(portion);
                continue;
            };
            let is_of_stream = error.kind() == ErrorKind::Table || server_code(&error).is_some();
            let error = self.unless_overtaken(Some(portion.stream), error).await;
            let is_its_own = (is_of_stream && portions.len() > 1) || error.kind() == ErrorKind::Conflict;
            if !is_its_own {
                return Err(error);
            }
            refused.push((portion.stream, error));
        }
        Ok((wide, refused))
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

    /// The transaction of [`Sink::commit`], up to and including COMMIT.
    async fn load(&self, portions: &[&Portion<'_>]) -> Result<(), Failed> {
        self.run("BEGIN TRANSACTION").await.map_err(|error| (None, error))?;
        for portion in portions {
            let stream = self.opened(portion.stream).map_err(|error| (None, error))?;
            let loaded = self.load_stream(portion.stream, stream, portion).await;
            loaded.map_err(|error| (Some(portion.stream), error.in_stream(stream.target.name())))?;
        }
        self.run("COMMIT").await.map_err(|error| (None, error))
    }

    /// The part of the transaction that one stream has.
    async fn load_stream(&self, id: StreamId, stream: &Stream, portion: &Portion<'_>) -> Result<()> {
        let session = self.session.as_ref();
        let Stream { target, place, head, .. } = stream;
        let mut provided = Provided::Nothing;
        if stream.lines == 0 && !stream.replaced.is_empty() {
            for statement in merge::clear(&stream.into, &stream.replaced) {
                session.execute(statement).await?;
            }
            let (condition, values) = merge::is_clear(&stream.into, &stream.replaced);
            provided = Provided::Cleared(condition, values);
        }
        if stream.lines > 0 {
            self.move_rows(id, stream).await?;
            let lines = i64::try_from(stream.lines).or_fail(ErrorKind::Bug, || "too many rows".to_owned())?;
            provided = Provided::Loaded(lines);
        }
        let kept = quarantine::add(session, place, target, portion.rejected).await?;
        progress::advance(session, place, target, *head, provided, kept.as_deref()).await?;
        if stream.lines > 0 {
            self.run(format!("DELETE FROM {}", ident(LOAD))).await?;
        }
        let shards = stream.versions.moving(&portion.moves);
        progress::move_shards(session, place, target, stream.is_staged, head.epoch, &shards).await?;
        if let Some(first) = &stream.first {
            session.execute(First::forget(first, &target.first_key())).await?;
        }
        Ok(())
    }

    /// From the stage into the stream's table.
    async fn move_rows(&self, id: StreamId, stream: &Stream) -> Result<()> {
        let table = &stream.target.table;
        let has_deletes = stream.writer.as_ref().is_some_and(Writer::has_deletes);
        let move_rows = match stream.target.replaces_by_key() {
            true => merge::upsert(self.upsert, &stream.into, table, stream.generation, has_deletes),
            false => merge::append(&stream.into, table, stream.generation),
        };
        self.run(format!(
            "COPY INTO {} FROM {} FILE_FORMAT = (TYPE = JSON COMPRESSION = GZIP)",
            ident(LOAD),
            self.files_of(id)?
        ))
        .await?;
        for statement in merge::clear(&stream.into, &stream.replaced) {
            self.session.execute(statement).await?;
        }
        for sql in move_rows {
            self.run(sql).await?;
        }
        if !stream.target.derived.is_empty() {
            let batch = merge::batch(table, stream.target.replaces_by_key(), has_deletes);
            for statement in &stream.target.derived {
                self.run(statement.replace(BATCH, &batch)).await?;
            }
        }
        Ok(())
    }

    /// [`Self::load`], with the other way of replacing rows when the server cannot
    /// MERGE inside a transaction.
    async fn load_or_fall_back(&mut self, portions: &[&Portion<'_>]) -> Result<(), Failed> {
        let Err((stream, error)) = self.load(portions).await else { return Ok(()) };
        let error = progress::rolled_back(self.session.as_ref(), error).await;
        // Only test servers answer so to a MERGE; nothing of it was committed.
        if self.upsert == Upsert::Merge && server_code(&error) == Some("261000") {
            tracing::debug!(
                error = error.report(),
                "no MERGE in a transaction: deleting and inserting instead"
            );
            self.upsert = Upsert::DeleteInsert;
            let Err((stream, error)) = self.load(portions).await else { return Ok(()) };
            return Err((stream, progress::rolled_back(self.session.as_ref(), error).await));
        }
        Err((stream, error))
    }

    /// Checks after COMMIT that it took place. Returns the streams that were taken over
    /// since: what was committed of them is where the other one went on.
    async fn read_back(&self, portions: &[&Portion<'_>]) -> Result<Vec<(StreamId, Error)>> {
        let mut overtaken = Vec::new();
        for portion in portions {
            let Stream { target, place, head, .. } = self.opened(portion.stream)?;
            let committed = Head { version: head.version + 1, ..*head };
            match progress::must_be_at(self.session.as_ref(), place, target, committed).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    overtaken.push((portion.stream, error.in_stream(target.name())));
                }
                committed => committed?,
            }
        }
        Ok(overtaken)
    }

    /// `failed`, unless the stream whose statement it was has been taken over. Where it is
    /// no stream's, as of a COMMIT, the row may have moved because of this very sink.
    async fn unless_overtaken(&self, stream: Option<StreamId>, failed: Error) -> Error {
        let Some(stream) = stream.and_then(|id| self.streams.get(id.0)) else { return failed };
        let session = self.session.as_ref();
        let (name, Stream { target, place, head, .. }) = (stream.name(), stream);
        let failed = stream.claim(session, &name).unless_changing(failed).await;
        progress::unless_overtaken(session, place, target, *head, failed).await.in_stream(target.name())
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
    if let Err(error) = session.execute(Statement::new(format!("DROP TABLE IF EXISTS {next}"))).await {
        tracing::warn!(
            error = error.report(),
            table = next,
            "could not drop the table of a run that is over"
        );
    }
}

fn broken() -> Error {
    Error::bug("a stream is used after its rows failed to be written")
}

/// A stream of a pipeline, for the names of what is its own.
fn mark(target: &Target) -> String {
    Sha256::digest(target.first_key()).iter().take(4).map(|byte| format!("{byte:02X}")).collect()
}

/// The table that an overwritten stream is collected in, one for each pipeline.
fn next_table(target: &Target) -> String {
    format!("_TAPELINE_NEXT_{}_{}", target.table.name, mark(target))
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

    async fn try_rights(&mut self, targets: &[Target]) -> Result<()> {
        look::try_rights(self.session.as_ref(), &self.place, targets).await
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
        for portion in portions {
            self.flush(portion.stream).await?;
        }
        let (mut portions, mut refused) = self.widen_all(portions).await?;
        if portions.is_empty() {
            return Ok(refused);
        }
        // What is refused of one stream takes the transaction of all with it: its files
        // stay where they are, and those of the others are taken again.
        while !portions.is_empty()
            && let Err((stream, error)) = self.load_or_fall_back(&portions).await
        {
            let is_of_server = portions.len() > 1 && server_code(&error).is_some();
            let error = self.unless_overtaken(stream, error).await;
            let is_its_own = is_of_server || error.kind() == ErrorKind::Conflict;
            let Some(stream) = stream.filter(|_| is_its_own) else { return Err(error) };
            // A transaction that could not be undone would be the next one's beginning.
            self.run("ROLLBACK").await?;
            portions.retain(|portion| portion.stream != stream);
            refused.push((stream, error));
        }
        let overtaken = self.read_back(&portions).await?;
        portions.retain(|portion| overtaken.iter().all(|(stream, _)| *stream != portion.stream));
        refused.extend(overtaken);
        for portion in portions {
            let files = self.files_of(portion.stream)?;
            if self.opened(portion.stream)?.lines > 0 {
                self.clean(&files).await;
            }
            self.stream(portion.stream)?.advanced(portion);
        }
        Ok(refused)
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
            progress::change_over(session, place, target).await?;
            match first {
                Some(first) => session.execute(First::forget(first, &target.first_key())).await.map(drop),
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
