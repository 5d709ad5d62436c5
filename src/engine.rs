//! The one loop: slices from a source become batches of a sink, and progress
//! follows what is durable.
//!
//! # Guarantees
//! Slices are read concurrently and committed in the order of the plan. Progress
//! moves only in [`Sink::commit`], past slices of which every row was written
//! before. A slice that fails leaves nothing behind: a small one is held back
//! until it is complete; a large one is written in a transaction of its own,
//! which is rolled back.

mod fetch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::batch::{Batch, ExtractedAt};
use crate::catalog::Stream;
use crate::checkpoint::{Checkpoint, Cover};
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::failpoint;
use crate::observe::{Event, Observer};
use crate::sink::{Sink, StreamId, Target, WriteMode};
use crate::source::{Page, Reading, Source};

use fetch::{Fetched, Fetcher};

/// Bytes of a slice that are held back until it is complete; beyond it the slice
/// is written as it comes. 50,000 bars have 7 to 9 MB, and are better one
/// transaction with those before them.
const SLICE_HELD_MAX: usize = 12 << 20;

/// Bytes of progress that a row is worth: with ten thousand partitions the text of
/// the progress has a hundred kilobytes, and a commit after each small slice would
/// write more of it than of rows. 4 are 2 % of a row of 200.
const PROGRESS_BYTES_PER_ROW: usize = 4;

/// Failed partitions that a message names; a log has them all.
const FAILED_NAMED_MAX: usize = 5;

/// A stream to run: what is read and how it is kept.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is read.
    pub stream: Stream,
    /// How the sink keeps it.
    pub target: Target,
}

/// When rows are committed, besides at the end of a stream. Always between slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// After this many rows, or more where the progress itself is large.
    pub rows: u64,
    /// Or after this long.
    pub interval: Duration,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the jobs; streams that were not begun are missing.
    pub streams: Vec<StreamReport>,
    /// What ended the run before its end.
    pub error: Option<Error>,
}

/// What became of a stream.
#[derive(Debug)]
pub struct StreamReport {
    /// Its name.
    pub stream: String,
    /// Rows made durable by this run.
    pub rows: u64,
    /// Slices made durable by this run.
    pub slices: u64,
    /// The day that every partition with progress has reached, this run's or an
    /// earlier one's; none for a stream without days.
    pub reached: Option<Date>,
    /// Failures: of partitions, or of the whole stream.
    pub errors: Vec<Error>,
}

impl Report {
    /// The failure that decides the exit code: the one that reaches furthest.
    pub fn worst(&self) -> Option<&Error> {
        let streams = self.streams.iter().flat_map(|stream| &stream.errors);
        self.error.iter().chain(streams).max_by_key(|error| error.kind().policy().scope)
    }

    /// As [`Report::worst`], keeping only that.
    pub fn into_worst(self) -> Option<Error> {
        let streams = self.streams.into_iter().flat_map(|stream| stream.errors);
        self.error.into_iter().chain(streams).max_by_key(|error| error.kind().policy().scope)
    }

    /// Rows made durable by this run.
    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }
}

/// Runs streams from a source into a sink.
#[derive(Debug)]
pub struct Engine<'a, S: ?Sized> {
    source: &'a S,
    observer: Arc<dyn Observer>,
    policy: CommitPolicy,
    stop: watch::Receiver<bool>,
}

impl<'a, S: Source + ?Sized> Engine<'a, S> {
    /// An engine that ends at the next slice once `stop` becomes true.
    pub fn new(
        source: &'a S,
        observer: Arc<dyn Observer>,
        policy: CommitPolicy,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { source, observer, policy, stop }
    }

    /// Runs the jobs in order. A stream that fails does not stop the others unless
    /// its failure concerns all of them.
    pub async fn run(&self, sink: &mut dyn Sink, jobs: &[Job]) -> Report {
        let mut report = Report::default();
        for job in jobs {
            let name = &job.stream.name;
            let mut stream_report =
                StreamReport { stream: name.clone(), rows: 0, slices: 0, reached: None, errors: Vec::new() };
            let outcome = self.run_stream(sink, job, &mut stream_report).await;
            let fatal = outcome.map_err(|error| error.in_stream(name)).err();
            if let Some(error) = &fatal {
                self.observer.event(&Event::StreamFailed { stream: name, error });
            }
            let ends_run = fatal.as_ref().is_some_and(|error| error.kind().policy().scope == Scope::Run);
            if ends_run {
                report.error = fatal;
            } else {
                stream_report.errors.extend(fatal);
            }
            report.streams.push(stream_report);
            if ends_run {
                break;
            }
        }
        report
    }

    async fn run_stream(&self, sink: &mut dyn Sink, job: &Job, report: &mut StreamReport) -> Result<()> {
        let name = &job.stream.name;
        let (id, stored) = sink.open(&job.target).await?;
        let options = self.source.options(&job.stream);
        let blank = Checkpoint::new(options.clone());
        let checkpoint = match stored {
            None => blank.clone(),
            Some(text) => Checkpoint::from_json(&text, options)?,
        };
        let has_read = checkpoint != blank;
        report.reached = checkpoint.reached();
        let reading = match job.target.mode {
            WriteMode::Append => Reading::Once,
            WriteMode::AppendDedup => Reading::Mutable,
            WriteMode::Overwrite | WriteMode::OverwriteDedup => Reading::Snapshot,
        };
        let slices = self.source.slices(&job.stream, &checkpoint, reading).await?;
        self.observer.event(&Event::StreamStarted {
            stream: name,
            slices: slices.len(),
            rows_estimate: slices.iter().map(|slice| slice.rows_estimate()).sum(),
        });

        let mut run = StreamRun {
            sink,
            id,
            job,
            checkpoint,
            observer: &*self.observer,
            policy: self.policy,
            report,
            progress_bytes: 0,
            written: 0,
            uncommitted: Uncommitted::default(),
            failed: HashSet::new(),
            given_up: Vec::new(),
            has_read,
        };
        let mut fetcher = Fetcher::new(slices, self.source.concurrency());
        let outcome = run.take_slices(&mut fetcher, self.stop.clone()).await;
        fetcher.abort().await;
        match outcome {
            // What was complete before the failure is kept, unless the sink is what failed.
            Err(Failure::Fetch(error)) => {
                run.commit().await?;
                Err(error)
            }
            Err(Failure::Sink(error)) => Err(error),
            Ok(()) => run.finish().await,
        }
    }
}

enum Failure {
    Fetch(Error),
    Sink(Error),
}

/// Rows and covers that the sink was given and has not made durable.
#[derive(Debug)]
struct Uncommitted {
    rows: u64,
    covers: Vec<Cover>,
    since: Instant,
}

impl Default for Uncommitted {
    fn default() -> Self {
        Self { rows: 0, covers: Vec::new(), since: Instant::now() }
    }
}

/// A stream under way.
struct StreamRun<'a> {
    sink: &'a mut dyn Sink,
    id: StreamId,
    job: &'a Job,
    checkpoint: Checkpoint,
    observer: &'a dyn Observer,
    policy: CommitPolicy,
    report: &'a mut StreamReport,
    /// Bytes of the progress that was committed last.
    progress_bytes: usize,
    /// Rows of the current slice that the sink was given before the slice's end.
    written: u64,
    uncommitted: Uncommitted,
    /// Partitions that failed: their later slices would leave a gap.
    failed: HashSet<Arc<str>>,
    /// What they count as tried, once the others were read.
    given_up: Vec<Cover>,
    /// Whether a partition was read, by this run or an earlier one.
    has_read: bool,
}

impl StreamRun<'_> {
    async fn take_slices(
        &mut self,
        fetcher: &mut Fetcher,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        while fetcher.start_next(&self.failed) {
            let partition = Arc::clone(fetcher.partition());
            let given_up = fetcher.given_up();
            match self.take_slice(fetcher, &mut stop).await {
                Ok(()) => self.has_read = true,
                Err(Failure::Fetch(error)) if error.kind().policy().scope == Scope::Partition => {
                    let error = error.in_stream(&self.job.stream.name);
                    self.observer.event(&Event::PartitionFailed {
                        stream: &self.job.stream.name,
                        partition: &partition,
                        error: &error,
                    });
                    self.report.errors.push(error);
                    self.failed.insert(partition);
                    self.given_up.extend(given_up);
                }
                Err(failure) => return Err(failure),
            }
            let worth_it = (self.progress_bytes / PROGRESS_BYTES_PER_ROW) as u64;
            let due = self.uncommitted.rows >= self.policy.rows.max(worth_it)
                || self.uncommitted.since.elapsed() >= self.policy.interval;
            if due {
                self.commit().await.map_err(Failure::Sink)?;
            }
        }
        Ok(())
    }

    /// Takes the pages of the current slice until its end.
    async fn take_slice(
        &mut self,
        fetcher: &mut Fetcher,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let partition = Arc::clone(fetcher.partition());
        let mut held: Vec<Page> = Vec::new();
        let mut held_bytes = 0;
        let mut rows = 0;
        self.written = 0;
        loop {
            let fetched = tokio::select! {
                biased;
                () = stopped(stop) => Err(interrupted()),
                fetched = fetcher.next() => fetched,
            };
            match fetched {
                Ok(Fetched::Page(page)) => {
                    rows += page.rows.len() as u64;
                    held_bytes += page.rows.bytes();
                    held.push(page);
                    if held_bytes > SLICE_HELD_MAX {
                        self.write_parts(&mut held).await.map_err(Failure::Sink)?;
                        held_bytes = 0;
                    }
                }
                Ok(Fetched::End(cover)) => {
                    self.write_end(held, cover).await.map_err(Failure::Sink)?;
                    self.observer.event(&Event::SliceRead {
                        stream: &self.job.stream.name,
                        partition: &partition,
                        rows,
                    });
                    return Ok(());
                }
                Err(error) => {
                    if self.written > 0 {
                        self.sink.rollback(self.id).await.map_err(Failure::Sink)?;
                        self.uncommitted = Uncommitted::default();
                    }
                    return Err(Failure::Fetch(error));
                }
            }
        }
    }

    /// Writes pages of a slice that is too large to hold back. The slices before it
    /// are committed first, so that a rollback takes back nothing else.
    async fn write_parts(&mut self, held: &mut Vec<Page>) -> Result<()> {
        if self.written == 0 && !self.uncommitted.covers.is_empty() {
            self.commit().await?;
        }
        for page in held.drain(..) {
            self.write(page, Cover::Part).await?;
        }
        Ok(())
    }

    async fn write_end(&mut self, held: Vec<Page>, cover: Cover) -> Result<()> {
        let last = held.len().saturating_sub(1);
        for (index, page) in held.into_iter().enumerate() {
            let covers = if index == last { cover.clone() } else { Cover::Part };
            self.write(page, covers).await?;
        }
        self.uncommitted.rows += self.written;
        self.uncommitted.covers.push(cover);
        self.written = 0;
        Ok(())
    }

    async fn write(&mut self, page: Page, covers: Cover) -> Result<()> {
        self.written += page.rows.len() as u64;
        if page.rows.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            table: Arc::clone(&self.job.stream.table),
            rows: page.rows,
            extracted_at: ExtractedAt::All(page.extracted_at_ms),
            covers,
            replaces: page.replaces,
        };
        failpoint::pass();
        let _taken = self.sink.write(self.id, batch).await?;
        failpoint::pass();
        Ok(())
    }

    /// Makes what was written durable together with the progress past it.
    async fn commit(&mut self) -> Result<()> {
        if self.uncommitted.covers.is_empty() {
            return Ok(());
        }
        let mut checkpoint = self.checkpoint.clone();
        for cover in &self.uncommitted.covers {
            checkpoint.apply(cover)?;
        }
        let progress = checkpoint.to_json();
        self.progress_bytes = progress.len();
        failpoint::pass();
        self.sink.commit(self.id, &progress).await?.durable()?;
        failpoint::pass();
        self.checkpoint = checkpoint;
        self.report.reached = self.checkpoint.reached();
        let done = std::mem::take(&mut self.uncommitted);
        self.report.rows += done.rows;
        self.report.slices += done.covers.len() as u64;
        self.observer.event(&Event::Committed { stream: &self.job.stream.name, rows: done.rows });
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        // What fails a partition alone does not pass: the others do not wait for it.
        // Without any other there is nothing that could take the table's place.
        if self.has_read {
            self.uncommitted.covers.append(&mut self.given_up);
        }
        self.commit().await?;
        if self.failed.is_empty() || self.has_read {
            self.sink.finish(self.id).await?;
            self.observer
                .event(&Event::StreamFinished { stream: &self.job.stream.name, rows: self.report.rows });
        }
        if !self.failed.is_empty() {
            let error = self.partitions_failed();
            self.observer.event(&Event::StreamFailed { stream: &self.job.stream.name, error: &error });
        }
        Ok(())
    }

    /// The failures of partitions as one: each was told when it happened.
    fn partitions_failed(&self) -> Error {
        let mut names: Vec<&str> = self.failed.iter().map(AsRef::as_ref).collect();
        names.sort_unstable();
        let more = names.len().saturating_sub(FAILED_NAMED_MAX);
        names.truncate(FAILED_NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        // They differ in the partition and hardly in the reason: the last one tells it.
        let last = self.report.errors.last();
        let kind = last.map_or(ErrorKind::NotFound, Error::kind);
        let reason = last.map(|error| format!(": {}", error.user_message())).unwrap_or_default();
        Error::new(kind, format!("{}{more} could not be read{reason}", names.join(", ")))
            .in_stream(&self.job.stream.name)
    }
}

/// Returns once `stop` is true; never when nobody can set it any more.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped on request; everything read so far is kept")
        .hint("run the same command again to go on where it stopped")
}

#[cfg(test)]
mod tests;
