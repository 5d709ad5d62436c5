//! Commits: rows and progress of the streams that are named, in one transaction.

use std::sync::Arc;

use super::ddl::LOAD;
use super::layer::server_code;
use super::merge::{self, Upsert};
use super::names::ident;
use super::progress::{self, First, Provided};
use super::write::Writer;
use super::{SnowflakeSink, Stream, broken, evolve, quarantine};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sink::{BATCH, Portion, StreamId};

/// What ended a transaction, and the stream whose statement it was.
type Failed = (Option<StreamId>, Error);

/// Whether the server's refusal of a stream's statement, in a commit of so many streams, says
/// nothing of the others. A fault of the server may pass: a stream that is alone is tried again
/// with all.
fn is_of_stream(error: &Error, streams: usize) -> bool {
    server_code(error).is_some() && (error.kind() == ErrorKind::Sink || streams > 1)
}

impl SnowflakeSink {
    /// [`Sink::commit`](crate::sink::Sink::commit).
    pub(super) async fn commit_all(&mut self, portions: &[Portion<'_>]) -> Result<Vec<(StreamId, Error)>> {
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
            let is_refusal = is_of_stream(&error, portions.len());
            let error = self.unless_overtaken(stream, error).await;
            let is_its_own = is_refusal || error.kind() == ErrorKind::Conflict;
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

    /// Widens the columns that the rows of a stream need wider: before the transaction
    /// begins, because it is DDL.
    async fn widen(&mut self, id: StreamId) -> Result<()> {
        let stream = self.opened(id)?;
        let writer = stream.writer.as_ref().ok_or_else(broken)?;
        writer.keys_must_fit()?;
        let widths = writer.widths();
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
    /// whose columns cannot be widened, or not for a key.
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
            let is_refusal = error.kind() == ErrorKind::Table || is_of_stream(&error, portions.len());
            let error = self.unless_overtaken(Some(portion.stream), error).await;
            let is_its_own = is_refusal || error.kind() == ErrorKind::Conflict;
            if !is_its_own {
                return Err(error);
            }
            refused.push((portion.stream, error));
        }
        Ok((wide, refused))
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
            self.clear(stream).await?;
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
        let moved = head.moved();
        let shards = stream.versions.moving(&portion.moves);
        progress::move_shards(session, place, target, stream.is_staged, moved, &shards).await?;
        if let Some(first) = &stream.first {
            session.execute(First::forget(first, place, target, moved)).await?;
        }
        Ok(())
    }

    /// Deletes what the rows of the transaction take the place of. Whose transaction was given
    /// up would delete what another process wrote since; what follows moves the rows of the load
    /// table, which has none then.
    async fn clear(&self, stream: &Stream) -> Result<()> {
        for statement in merge::clear(&stream.into, &stream.replaced) {
            let statement = progress::while_at(statement, &stream.place, &stream.target, stream.head);
            self.session.execute(statement).await?;
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
        self.clear(stream).await?;
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
            match progress::must_be_at(self.session.as_ref(), place, target, head.moved()).await {
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
    pub(super) async fn unless_overtaken(&self, stream: Option<StreamId>, failed: Error) -> Error {
        let Some(stream) = stream.and_then(|id| self.streams.get(id.0)) else { return failed };
        let session = self.session.as_ref();
        let (name, Stream { target, place, head, .. }) = (stream.name(), stream);
        let failed = stream.claim(session, &name).unless_changing(failed).await;
        progress::unless_overtaken(session, place, target, *head, failed).await.in_stream(target.name())
    }
}
