//! Streams under way: takes what a feed says of them, and settles with the sink.

mod settle;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::feed::{Arrival, Event, Feed};
use super::report::{Report, StreamReport};
use super::stream::StreamRun;
use super::{Engine, stopped};
use crate::batch::Batch;
use crate::checkpoint::Cover;
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::failpoint;
use crate::observe;
use crate::sink::{Joins, REJECTED, Sink};
use crate::table::Column;

/// Bytes of all streams' rows that wait until they are covered, besides what one may have.
const HELD_MAX: usize = 24 << 20;

/// Covered rows of this size are worth a batch of their own: the sink works on it while
/// the next ones come. Fewer wait for company, or for the commit.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of rows that several streams have in one transaction: a sink that has to leave
/// one of them out loads those of the others again.
const SHARED_BYTES_MAX: usize = 32 << 20;

enum Failure {
    /// The source failed, or was asked to stop: what is covered is kept.
    Feed(Error),
    /// The sink failed: it is not to be used any more.
    Sink(Error),
}

/// Streams under way.
pub(super) struct Run<'a> {
    engine: &'a Engine,
    pub sink: &'a mut dyn Sink,
    names: Vec<String>,
    streams: Vec<Option<StreamRun>>,
    reports: Vec<StreamReport>,
    /// Bytes that wait in all streams.
    held: usize,
    /// Covered rows that are not committed, and streams that ended and are not finished.
    uncommitted: u64,
    /// How many streams they are of, and the bytes of them that the sink has.
    dirty: usize,
    sunk: usize,
    /// What the sink makes durable together.
    joins: Joins,
    ended: BTreeSet<usize>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Streams of which it was told how they ended.
    told: BTreeSet<usize>,
    /// Whether the feed says of every stream how it ended.
    pub must_end: bool,
}

impl<'a> Run<'a> {
    pub fn new<'n>(engine: &'a Engine, sink: &'a mut dyn Sink, names: impl Iterator<Item = &'n str>) -> Self {
        let names: Vec<String> = names.map(str::to_owned).collect();
        Self {
            engine,
            joins: sink.abilities().joins,
            sink,
            streams: names.iter().map(|_| None).collect(),
            reports: names.iter().map(|name| StreamReport::new(name)).collect(),
            names,
            held: 0,
            uncommitted: 0,
            dirty: 0,
            sunk: 0,
            ended: BTreeSet::new(),
            since: None,
            told: BTreeSet::new(),
            must_end: false,
        }
    }

    pub fn begin(&mut self, index: usize, stream: StreamRun) {
        self.reports[index].reached = stream.checkpoint.reached();
        self.streams[index] = Some(stream);
    }

    fn event(&self, event: &observe::Event<'_>) {
        self.engine.observer.event(event);
    }

    fn stream(&mut self, index: usize) -> Result<&mut StreamRun, Failure> {
        let name = &self.names[index];
        let gone = || Failure::Sink(Error::bug(format!("stream {name} goes on after its end")));
        self.streams[index].as_mut().ok_or_else(gone)
    }

    /// Takes events until nothing more comes, then says what became of it all.
    pub async fn drive(mut self, feed: &mut dyn Feed, mut stop: watch::Receiver<bool>) -> Report {
        let mut outcome = self.take(feed, &mut stop).await;
        if !matches!(outcome, Err(Failure::Sink(_))) {
            let kept = self.keep_covered(feed).await;
            if let (Ok(()), Err(failure)) | (Err(Failure::Feed(_)), Err(failure @ Failure::Sink(_))) =
                (&outcome, kept)
            {
                outcome = Err(failure);
            }
        }
        match outcome {
            Ok(()) if self.must_end && self.told.len() < self.names.len() => {
                self.broken(Error::bug("reading a stream ended unexpectedly"))
            }
            Ok(()) => Report { streams: self.reports, error: None },
            Err(Failure::Feed(error) | Failure::Sink(error)) => self.broken(error),
        }
    }

    /// Ends the run before its end, and with it every stream that did not end before: one
    /// of them tells why.
    pub fn broken(self, error: Error) -> Report {
        let open: Vec<usize> = (0..self.names.len()).filter(|index| !self.told.contains(index)).collect();
        let is_named = |index: &&usize| error.stream() == Some(self.names[**index].as_str());
        let teller = open.iter().find(is_named).or(open.first()).copied();
        for index in open {
            let stream = &self.names[index];
            self.event(&match teller == Some(index) {
                true => observe::Event::StreamFailed { stream, error: &error },
                false => observe::Event::StreamStopped { stream, error: &error },
            });
        }
        Report { streams: self.reports, error: Some(error) }
    }

    async fn take(&mut self, feed: &mut dyn Feed, stop: &mut watch::Receiver<bool>) -> Result<(), Failure> {
        loop {
            let event = tokio::select! {
                biased;
                () = stopped(stop) => return Err(Failure::Feed(interrupted())),
                () = due(self.since, self.engine.policy.interval) => {
                    self.settle(feed, true).await?;
                    continue;
                }
                event = feed.next() => event.map_err(Failure::Feed)?,
            };
            let Some((index, event)) = event else { return Ok(()) };
            self.on(index, event, feed).await?;
        }
    }

    async fn on(&mut self, index: usize, event: Event, feed: &mut dyn Feed) -> Result<(), Failure> {
        match event {
            // Of a stream that the sink refused.
            event if self.told.contains(&index) && !matches!(event, Event::Passed) => Ok(()),
            Event::Started(estimate) => {
                let stream = &self.names[index];
                let (slices, rows_estimate) = (estimate.slices, estimate.rows);
                self.event(&observe::Event::StreamStarted { stream, slices, rows_estimate });
                Ok(())
            }
            Event::Rows(arrival) => self.rows(index, *arrival, feed).await,
            Event::Grown(more) => self.grown(index, &more, feed).await,
            Event::Passed if self.streams.iter().flatten().any(StreamRun::is_dirty) => {
                self.since.get_or_insert_with(Instant::now);
                Ok(())
            }
            Event::Passed => feed.committed().map_err(Failure::Feed),
            Event::Covered { partition, cover } => self.covered(index, &partition, cover, feed).await,
            Event::PartitionFailed { partition, error, given_up } => {
                self.forget_uncovered(index).await?;
                let error = error.in_stream(&self.names[index]);
                let stream = &self.names[index];
                self.event(&observe::Event::PartitionFailed { stream, partition: &partition, error: &error });
                self.stream(index)?.partition_failed(partition, error.kind(), given_up);
                self.reports[index].errors.push(error);
                Ok(())
            }
            Event::Ended(outcome) => self.ended(index, outcome, feed).await,
        }
    }

    async fn rows(&mut self, index: usize, arrival: Arrival, feed: &mut dyn Feed) -> Result<(), Failure> {
        let stream = self.stream(index)?;
        let (more, held) = stream.add(arrival);
        let told =
            stream.rejects().map(|rejects| (rejects.tell_first().map(str::to_owned), rejects.too_many()));
        let (first, too_many) = told.unwrap_or_default();
        self.held += more;
        if let Some(reason) = first {
            let message = format!("{reason}: the row goes into {REJECTED}, and so do others like it");
            self.event(&observe::Event::Warning { stream: Some(&self.names[index]), message: &message });
        }
        if let Some(error) = too_many {
            return self.give_up(index, error, feed).await;
        }
        if held > self.engine.stream_held_max {
            self.make_room(index, feed).await?;
        } else if self.held > HELD_MAX.max(2 * self.engine.stream_held_max) {
            let largest = |index: &usize| self.streams[*index].as_ref().map_or(0, StreamRun::held);
            let largest = (0..self.streams.len()).max_by_key(largest).unwrap_or(index);
            self.make_room(largest, feed).await?;
        }
        Ok(())
    }

    /// Gives a stream's table columns. What is covered is committed before: no rows wait in
    /// the sink then but those ahead.
    async fn grown(&mut self, index: usize, more: &[Column], feed: &mut dyn Feed) -> Result<(), Failure> {
        self.settle(feed, true).await?;
        // It may have been refused.
        if self.told.contains(&index) {
            return Ok(());
        }
        let name = self.names[index].clone();
        let stream = self.stream(index)?;
        let (id, table) = (stream.id, stream.grown(more));
        let table = table.map_err(|error| Failure::Sink(error.in_stream(&name)))?;
        failpoint::pass();
        match self.sink.evolve(id, Arc::clone(&table)).await {
            Ok(()) => {
                self.stream(index)?.grow(table);
                Ok(())
            }
            Err(error) if error.kind().policy().scope == Scope::Run => {
                Err(Failure::Sink(error.in_stream(&name)))
            }
            Err(error) => self.give_up(index, error, feed).await,
        }
    }

    /// Ends a stream that its source goes on with.
    async fn give_up(&mut self, index: usize, error: Error, feed: &mut dyn Feed) -> Result<(), Failure> {
        self.forget_uncovered(index).await?;
        self.settle(feed, true).await?;
        // What was complete may have been refused, with the source told.
        if !self.told.contains(&index) {
            feed.dropped(index);
        }
        self.fail(index, error).map_err(Failure::Feed)
    }

    async fn covered(
        &mut self,
        index: usize,
        partition: &Arc<str>,
        cover: Cover,
        feed: &mut dyn Feed,
    ) -> Result<(), Failure> {
        let stream = self.stream(index)?;
        let was_ahead = stream.is_ahead();
        if was_ahead && let Some(batch) = stream.take_ahead() {
            self.write(index, batch).await?;
        }
        let stream = self.stream(index)?;
        let was_clean = !stream.is_dirty();
        let rows = stream.cover(partition, cover);
        let is_worth_a_batch = stream.covered_bytes() >= BATCH_BYTES;
        self.uncommitted += rows.added;
        self.dirty += usize::from(was_clean);
        self.since.get_or_insert_with(Instant::now);
        let name = &self.names[index];
        self.event(&observe::Event::SliceRead { stream: name, partition, rows: rows.of_slice });
        if is_worth_a_batch && let Some(batch) = self.stream(index)?.take_covered() {
            self.write(index, batch).await?;
        }
        let is_much = self.joins != Joins::One && self.dirty > 1 && self.sunk > SHARED_BYTES_MAX;
        // A transaction of a stream's own holds nothing else.
        if was_ahead || is_much || self.is_due(index) {
            self.settle(feed, was_ahead || is_much).await
        } else {
            Ok(())
        }
    }

    async fn ended(&mut self, index: usize, outcome: Result<()>, feed: &mut dyn Feed) -> Result<(), Failure> {
        self.forget_uncovered(index).await?;
        match outcome {
            Ok(()) => {
                self.stream(index)?.give_up();
                self.ended.insert(index);
                self.since.get_or_insert_with(Instant::now);
                if self.is_due(index) { self.settle(feed, false).await } else { Ok(()) }
            }
            Err(error) => {
                // What was complete before the failure is kept.
                self.settle(feed, true).await?;
                self.fail(index, error).map_err(Failure::Feed)
            }
        }
    }

    /// Ends a stream with its failure, which is returned if it concerns all of them.
    pub fn fail(&mut self, index: usize, error: Error) -> Result<()> {
        if error.kind().policy().scope == Scope::Run {
            return Err(error.in_stream(&self.names[index]));
        }
        // What was complete may have been refused meanwhile: that was told then.
        if !self.told.contains(&index) {
            self.end_failed(index, error);
        }
        Ok(())
    }

    /// Says how many rows of a stream that ends were rejected.
    fn tell_rejected(&self, index: usize) {
        let rejected = self.reports[index].rejected;
        if rejected > 0 {
            let message =
                format!("{rejected} rows have no primary key that tells them apart and are in {REJECTED}");
            self.event(&observe::Event::Warning { stream: Some(&self.names[index]), message: &message });
        }
    }

    /// Ends a stream with its failure, which says nothing of the others.
    pub fn end_failed(&mut self, index: usize, error: Error) {
        let error = error.in_stream(&self.names[index]);
        self.tell_rejected(index);
        self.event(&observe::Event::StreamFailed { stream: &self.names[index], error: &error });
        self.told.insert(index);
        self.ended.remove(&index);
        let held = self.streams[index].take().map_or(0, |stream| stream.held());
        self.held = self.held.saturating_sub(held);
        self.reports[index].errors.push(error);
    }

    fn is_due(&self, index: usize) -> bool {
        let waiting = self.uncommitted + self.ended.len() as u64;
        let is_worth = |stream: &StreamRun| {
            stream.uncommitted() >= self.sink.worth(stream.id).max(1) || self.ended.contains(&index)
        };
        let is_full = matches!(self.joins, Joins::Many(most) if self.dirty >= most);
        (waiting >= self.engine.policy.rows || is_full) && self.streams[index].as_ref().is_some_and(is_worth)
    }

    /// Hands the rows of a stream that wait to the sink.
    async fn make_room(&mut self, index: usize, feed: &mut dyn Feed) -> Result<(), Failure> {
        // A commit may refuse the stream, which ends it.
        while let Some(stream) = self.streams[index].as_mut().filter(|stream| stream.held() > 0) {
            match stream.spill() {
                Some(batch) => self.write(index, batch).await?,
                None => self.settle(feed, true).await?,
            }
        }
        Ok(())
    }

    async fn write(&mut self, index: usize, batch: Batch) -> Result<(), Failure> {
        let bytes = batch.rows.bytes();
        self.held = self.held.saturating_sub(bytes);
        self.sunk += if batch.ahead { 0 } else { bytes };
        let id = self.stream(index)?.id;
        failpoint::pass();
        let taken = self.sink.write(id, batch).await;
        taken.map_err(|error| Failure::Sink(error.in_stream(&self.names[index])))?;
        failpoint::pass();
        Ok(())
    }

    /// Takes back the rows of a stream that are not covered.
    async fn forget_uncovered(&mut self, index: usize) -> Result<u64, Failure> {
        let stream = self.stream(index)?;
        let (id, before, is_ahead) = (stream.id, stream.held(), stream.is_ahead());
        let forgotten = stream.forget_uncovered();
        let after = stream.held();
        self.held = self.held.saturating_sub(before - after);
        if is_ahead {
            let rolled_back = self.sink.rollback(id).await;
            rolled_back.map_err(|error| Failure::Sink(error.in_stream(&self.names[index])))?;
        }
        Ok(forgotten)
    }
}

/// Returns when what waits has waited long enough; never when nothing waits.
async fn due(since: Option<Instant>, interval: Duration) {
    match since {
        Some(since) => tokio::time::sleep_until(since + interval).await,
        None => std::future::pending().await,
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped on request; everything read so far is kept")
        .hint("run the same command again to go on where it stopped")
}
