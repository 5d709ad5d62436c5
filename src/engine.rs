//! The one loop: what sources say of their streams becomes batches of a sink, and
//! progress follows what is durable.
//!
//! # Guarantees
//! Progress moves only in [`Sink::commit`], past rows of which every one was written
//! before, and all streams' together. What a source took back or failed to end leaves
//! nothing behind: little of it is held back until it is covered; much is written in a
//! transaction of its own, which is rolled back. No stream waits for another one's
//! source.

mod feed;
mod fetch;
mod finish;
mod held;
mod rejects;
mod report;
mod run;
mod slices;
mod stream;
mod units;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::checkpoint::{Checkpoint, Options};
use crate::error::{ErrorKind, Result};
use crate::observe::Observer;
use crate::sink::{Opened, Sink, Stored, StreamId, Target, WriteMode, refuse};
use crate::source::{Reading, Source};

pub use feed::{Arrival, Event, Feed};
pub use report::{Report, StreamReport};

use run::Run;
use slices::{Slices, Wanted};
use stream::StreamRun;

/// Bytes of a stream's rows that wait until they are covered; beyond it they are
/// written as they come. 50,000 bars have 7 to 9 MB, and are better one
/// transaction with those before them.
const STREAM_HELD_MAX: usize = 12 << 20;

/// A stream to run: what is read and how it is kept.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is read, by the name that the source has for it.
    pub stream: String,
    /// How the sink keeps it.
    pub target: Target,
    /// How much is read: another than the target's mode asks for where whoever reads the
    /// rows from the sink keeps them by a mode of its own.
    pub reading: Reading,
}

/// When rows are committed, besides at the end of a run. Always of what is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// After this many rows, or more where the progress itself is large.
    pub rows: u64,
    /// Or this long after the first of them.
    pub interval: Duration,
}

/// Runs streams into a sink.
#[derive(Debug)]
pub struct Engine {
    observer: Arc<dyn Observer>,
    policy: CommitPolicy,
    stop: watch::Receiver<bool>,
    /// [`STREAM_HELD_MAX`], but in tests.
    stream_held_max: usize,
}

impl Engine {
    /// An engine that ends as soon as `stop` becomes true, with what is covered.
    pub fn new(observer: Arc<dyn Observer>, policy: CommitPolicy, stop: watch::Receiver<bool>) -> Self {
        Self { observer, policy, stop, stream_held_max: STREAM_HELD_MAX }
    }

    /// Holds back less of a stream, so that a test need not write megabytes.
    #[cfg(test)]
    pub(crate) fn holding(self, stream_held_max: usize) -> Self {
        Self { stream_held_max, ..self }
    }

    /// Reads the jobs' streams from a source, all at the same time. One that fails does
    /// not stop the others unless its failure concerns all of them.
    pub async fn read(&self, source: &Arc<dyn Source>, sink: &mut dyn Sink, jobs: &[Job]) -> Report {
        let targets: Vec<Target> = jobs.iter().map(|job| job.target.clone()).collect();
        let mut run = Run::new(self, sink, jobs.iter().map(|job| job.stream.as_str()));
        let abilities = run.sink.abilities();
        if let Err(error) = targets.iter().try_for_each(|target| refuse(&abilities, target)) {
            return run.broken(error);
        }
        let mut opened = match run.sink.open(&targets).await {
            Ok(opened) => opened,
            Err(error) => return run.broken(error),
        };
        // It is not one of them that is refused.
        let is_refused =
            |opened: &Result<Opened>| matches!(opened, Err(error) if error.kind() == ErrorKind::Sink);
        if opened.iter().all(is_refused)
            && let Some(Err(error)) = opened.pop()
        {
            return run.broken(error);
        }
        let mut wanted = Vec::new();
        for (index, (job, opened)) in jobs.iter().zip(opened).enumerate() {
            let options = source.options(&job.stream);
            let have = opened.and_then(|opened| {
                let have = checkpoint(&opened.progress, options)?;
                let target = Target { mode: opened.mode, ..job.target.clone() };
                let (is_text, replaces) = (opened.progress.text.is_some(), job.reading == Reading::Snapshot);
                run.begin(index, StreamRun::new(opened.id, &target, have.clone(), is_text, replaces));
                Ok(have)
            });
            match have {
                Ok(have) => {
                    wanted.push(Wanted { index, stream: job.stream.clone(), have, reading: job.reading })
                }
                Err(error) if error.kind() == ErrorKind::Sink => run.end_failed(index, error),
                Err(error) => {
                    if let Err(error) = run.fail(index, error) {
                        return run.broken(error);
                    }
                }
            }
        }
        run.must_end = true;
        run.drive(&mut Slices::start(source, wanted), self.stop.clone()).await
    }

    /// Takes what a feed says of streams that the sink has opened already.
    pub async fn take(
        &self,
        feed: &mut dyn Feed,
        sink: &mut dyn Sink,
        streams: &[(StreamId, &str, &Target)],
    ) -> Report {
        let mut run = Run::new(self, sink, streams.iter().map(|(_, name, _)| *name));
        for (index, (id, _, target)) in streams.iter().enumerate() {
            let replaces = target.mode.is_staged();
            run.begin(index, StreamRun::new(*id, target, Checkpoint::default(), false, replaces));
        }
        run.drive(feed, self.stop.clone()).await
    }
}

/// What a sink stored of a stream as progress.
///
/// # Errors
/// [`ErrorKind::State`] when it cannot be gone on with under these options.
pub(crate) fn checkpoint(stored: &Stored, options: Options) -> Result<Checkpoint> {
    match &stored.text {
        Some(text) => Checkpoint::from_json(text, options),
        None => Checkpoint::from_positions(&stored.positions, options),
    }
}

/// How much is read for a mode.
pub(crate) fn reading(mode: WriteMode) -> Reading {
    match mode {
        WriteMode::Append => Reading::Once,
        WriteMode::AppendDedup => Reading::Mutable,
        WriteMode::Overwrite | WriteMode::OverwriteDedup => Reading::Snapshot,
    }
}

/// Returns once `stop` is true; never when nobody can set it any more.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
