//! Snowflake, through the crate `snowflake-api` and one middleware layer.
//!
//! # The way of a row
//! Rows are written as compressed JSON files to a stage that only this session
//! sees. `commit` opens a transaction, copies the files into a temporary table,
//! takes the typed rows from there into the target (INSERT; or DELETE of what the
//! source has no more, and MERGE by key), moves the progress and commits: rows and
//! progress are one transaction. In a staged [`WriteMode`] the target of a run
//! is a table beside the real one; `finish` replaces the contents of the real one,
//! again together with the progress.
//!
//! # Guarantees
//! The progress moves only from the version that this sink saw when it opened
//! the stream, and only while the loaded rows are in the same transaction; after
//! COMMIT it is read back. See [`progress`].

mod client;
mod config;
mod ddl;
mod evolve;
mod layer;
mod merge;
mod progress;
mod statement;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::client::{Client, Warehouse};
pub use self::config::SnowflakeConfig;
use self::ddl::{LOAD, Lifetime, Place, STAGE, ident};
use self::layer::server_code;
use self::merge::Upsert;
use self::progress::{Provided, Takeover};
use self::statement::Statement;
use self::write::{File, Writer};
use super::numbers::Numbers;
use super::{Receipt, Sink, StreamId, Target, WriteMode};
use crate::batch::{Batch, Extent};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::retry;

/// Compressed bytes of all streams together that may wait in memory.
const WAITING_BYTES_MAX: usize = 3 * write::FILE_BYTES_MAX;

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
    /// Its table has the types that the columns of `into` have.
    target: Target,
    /// Where its tables are, and the name of the one that rows go to.
    place: Place,
    name: String,
    /// Full name of the table that readers see.
    table: String,
    /// Full name of the table that rows go to until `finish`.
    into: String,
    version: i64,
    generation: i64,
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
    /// Signs in, and creates the schema and the table of progress where needed.
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

    async fn over(session: Box<dyn Warehouse>, place: Place, warehouse: &str) -> Result<Self> {
        place.prepare(session.as_ref(), warehouse).await?;
        progress::ensure(session.as_ref(), &place).await?;
        Ok(Self {
            session,
            place,
            streams: Vec::new(),
            upsert: Upsert::Merge,
            numbers: Numbers::Decimal,
            folder: Uuid::new_v4().simple().to_string(),
            cleans_stage: true,
        })
    }

    /// Runs one statement and returns its rows as text. A query must cast its
    /// columns to VARCHAR; others come back as NULL.
    ///
    /// # Errors
    /// As the statement fails.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.session.execute(Statement::new(sql)).await
    }

    /// Where the target's table is; creates its schema where needed.
    async fn place_of(&self, target: &Target) -> Result<Place> {
        let Some(schema) = target.schema.clone() else { return Ok(self.place.clone()) };
        let place = Place { schema, ..self.place.clone() };
        if place.ensure_schema(self.session.as_ref()).await? {
            self.place.enter(self.session.as_ref()).await?;
        }
        Ok(place)
    }

    /// Whether the rows of the generation that somebody else counts have replaced
    /// the table already: more of them are added to it.
    async fn is_replaced(&self, target: &Target, table: &str) -> Result<bool> {
        let Some(run) = target.run else { return Ok(false) };
        let session = self.session.as_ref();
        let row = progress::read(session, &self.place, &target.progress_key).await?;
        let is_finished = |row: progress::Row| {
            row.generation == run.generation && !(row.overwrite && row.progress.is_some())
        };
        if !row.is_some_and(is_finished) {
            return Ok(false);
        }
        let counts = self.query(&merge::is_wholly_of(table, run.generation)).await?;
        Ok(matches!(counts.first().map(Vec::as_slice),
            Some([Some(all), Some(of_run)]) if all == of_run && all != "0"))
    }

    fn stream(&mut self, id: StreamId) -> Result<&mut Stream> {
        self.streams.get_mut(id.0).ok_or_else(|| Error::bug("a stream that was not opened"))
    }

    async fn run(&self, sql: impl Into<String>) -> Result<()> {
        self.session.execute(Statement::new(sql)).await.map(|_| ())
    }

    /// `@stage/session/stream/attempt/`: where the files of the open transaction are.
    fn files_of(&self, id: StreamId) -> Result<String> {
        let stream = self.streams.get(id.0).ok_or_else(|| Error::bug("a stream that was not opened"))?;
        Ok(format!("@{}/{}/{}/{}-{}/", ident(STAGE), self.folder, id.0, stream.version, stream.attempt))
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
        let stream = self.streams.get(id.0).ok_or_else(|| Error::bug("a stream that was not opened"))?;
        let widths = stream.writer.as_ref().ok_or_else(broken)?.widths();
        let (session, table) = (self.session.as_ref(), &stream.target.table);
        let held = evolve::make_room(session, &stream.place, &stream.name, table, widths).await?;
        if let Some(held) = held {
            self.stream(id)?.target.table = Arc::new(held);
        }
        Ok(())
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
    async fn load(&self, id: StreamId, progress: &str) -> Result<()> {
        let stream = self.streams.get(id.0).ok_or_else(|| Error::bug("a stream that was not opened"))?;
        let table = &stream.target.table;
        let move_rows = match stream.target.mode.replaces_by_key() {
            true => merge::upsert(self.upsert, &stream.into, table, stream.generation),
            false => merge::append(&stream.into, table, stream.generation),
        };
        self.run("BEGIN TRANSACTION").await?;
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
        let lines = i64::try_from(stream.lines).or_fail(ErrorKind::Bug, || "too many rows".to_owned())?;
        let key = &stream.target.progress_key;
        let provided = Provided::Loaded(lines);
        progress::advance(self.session.as_ref(), &self.place, key, stream.version, Some(progress), provided)
            .await?;
        self.run(format!("DELETE FROM {}", ident(LOAD))).await?;
        self.run("COMMIT").await
    }

    /// [`Self::load`], with the other way of replacing rows when the server cannot
    /// MERGE inside a transaction.
    async fn load_or_fall_back(&mut self, id: StreamId, progress: &str) -> Result<()> {
        let Err(error) = self.load(id, progress).await else { return Ok(()) };
        let error = progress::rolled_back(self.session.as_ref(), error).await;
        let dedups = self.stream(id)?.target.mode.replaces_by_key();
        // Only test servers answer so to a MERGE; nothing of it was committed.
        if dedups && self.upsert == Upsert::Merge && server_code(&error) == Some("261000") {
            tracing::debug!(
                error = error.report(),
                "no MERGE in a transaction: deleting and inserting instead"
            );
            self.upsert = Upsert::DeleteInsert;
            let Err(error) = self.load(id, progress).await else { return Ok(()) };
            return Err(progress::rolled_back(self.session.as_ref(), error).await);
        }
        Err(error)
    }

    /// Drops the table of a run that is over.
    async fn discard(&self, next: &str) {
        if let Err(error) = self.run(format!("DROP TABLE IF EXISTS {next}")).await {
            tracing::warn!(
                error = error.report(),
                table = next,
                "could not drop the table of a run that is over"
            );
        }
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

fn broken() -> Error {
    Error::bug("a stream is used after its rows failed to be written")
}

/// The table that an overwritten stream is collected in, one for each pipeline.
fn next_table(target: &Target) -> String {
    let pipeline: String =
        Sha256::digest(&target.progress_key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("_TAPELINE_NEXT_{}_{pipeline}", target.table.name)
}

#[async_trait]
impl Sink for SnowflakeSink {
    async fn open(&mut self, target: &Target) -> Result<(StreamId, Option<String>)> {
        let session = self.session.as_ref();
        let table = &self.numbers.table(&target.table);
        let place = self.place_of(target).await?;
        let full_name = place.table(&table.name);
        let staged = target.mode.is_staged() && {
            place.create(session, &table.name, Lifetime::Lasting, table).await?;
            !self.is_replaced(target, &full_name).await?
        };
        let is_replaced = target.mode.is_staged() && !staged;
        let (name, lifetime) = match staged {
            // The table itself takes the new types when the run is finished.
            true => (next_table(target), Lifetime::OneRun),
            false => (table.name.clone(), Lifetime::Lasting),
        };
        ddl::tell_names(table);
        let (kept, held) = place.ensure(session, &name, lifetime, table).await?;
        let into = place.table(&name);
        let takeover = Takeover { staged, generation: target.run.map(|run| run.generation), kept };
        let claim = progress::claim(session, &self.place, &target.progress_key, takeover).await?;
        if claim.fresh {
            self.run(format!("DELETE FROM {into}")).await?;
        }
        let mut target = Target { table: Arc::new(held), ..target.clone() };
        if is_replaced || (staged && !claim.fresh) {
            target.mode = target.mode_going_on();
        }
        // A run that nobody goes on with, or one that died before it could drop its table.
        if !staged && (target.mode.is_staged() || claim.was_staged) {
            self.discard(&place.table(&next_table(&target))).await;
        }
        self.streams.push(Stream {
            table: full_name,
            into,
            version: claim.version,
            generation: claim.generation,
            writer: Some(Writer::new(&target)),
            target,
            place,
            name,
            lines: 0,
            files: 0,
            replaced: Vec::new(),
            attempt: 0,
        });
        Ok((StreamId(self.streams.len() - 1), claim.progress))
    }

    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<Receipt> {
        let open = self.stream(stream)?;
        let mut writer = open.writer.take().ok_or_else(broken)?;
        if open.target.mode == WriteMode::AppendDedup {
            open.replaced.extend(batch.replaces.clone());
        }
        let work = tokio::task::spawn_blocking(move || writer.push(&batch).map(|files| (writer, files)));
        let (writer, files) =
            work.await.or_fail(ErrorKind::Bug, || "compressing rows failed unexpectedly".to_owned())??;
        self.stream(stream)?.writer = Some(writer);
        for file in files {
            self.upload(stream, file).await?;
        }
        self.make_room().await?;
        Ok(Receipt::Accepted)
    }

    async fn commit(&mut self, stream: StreamId, progress: &str) -> Result<Receipt> {
        self.flush(stream).await?;
        let files = self.files_of(stream)?;
        let open = self.stream(stream)?;
        let (key, version, lines) = (open.target.progress_key.clone(), open.version, open.lines);
        if lines == 0 {
            let session = self.session.as_ref();
            progress::advance(session, &self.place, &key, version, Some(progress), Provided::Nothing).await?;
        } else {
            self.widen(stream).await?;
            self.load_or_fall_back(stream, progress).await?;
            progress::must_be_at(self.session.as_ref(), &self.place, &key, version + 1).await?;
            self.clean(&files).await;
        }
        let open = self.stream(stream)?;
        open.version += 1;
        open.begin();
        Ok(Receipt::Durable)
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

    async fn finish(&mut self, stream: StreamId) -> Result<()> {
        let open = self.stream(stream)?;
        if open.lines > 0 || !open.writer.as_ref().is_some_and(Writer::is_empty) {
            return Err(Error::bug("a stream is finished with rows that were not committed"));
        }
        if open.into == open.table {
            return Ok(());
        }
        let (key, version, generation) = (open.target.progress_key.clone(), open.version, open.generation);
        let (table, next, target) = (open.target.table.clone(), open.into.clone(), open.table.clone());
        let (place, name) = (open.place.clone(), table.name.clone());
        open.version += 1;
        let session = self.session.as_ref();
        let existing = place.columns(session, &name).await?;
        let retypes = !evolve::fits(&existing, &table);
        if retypes {
            // Nobody else's: what follows is no part of the transaction that would tell.
            progress::must_be_at(session, &self.place, &key, version).await?;
            self.run(evolve::republish(&target, &next, &table)).await?;
            for comment in evolve::comments(&target, &table) {
                self.run(comment).await?;
            }
        } else {
            place.ensure(session, &name, Lifetime::Lasting, &table).await?;
        }
        let replaced = async {
            self.run("BEGIN TRANSACTION").await?;
            if !retypes {
                self.run(merge::replace(&target, &next, &table)).await?;
            }
            let provided = Provided::Sql(merge::is_replaced(&target, &next, generation));
            progress::advance(session, &self.place, &key, version, None, provided).await?;
            self.run("COMMIT").await
        };
        if let Err(error) = replaced.await {
            return Err(progress::rolled_back(session, error).await);
        }
        progress::must_be_at(session, &self.place, &key, version + 1).await?;
        self.discard(&next).await;
        Ok(())
    }
}

impl Stream {
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
