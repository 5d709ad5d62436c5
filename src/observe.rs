//! What a run tells those who watch: a person's terminal, a log, Airbyte's
//! stdout. Observers never decide anything.

use std::fmt::Debug;
use std::time::Duration;

use crate::error::Error;

/// Something that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stream begins; `slices` are still to be read.
    StreamStarted {
        /// Its name.
        stream: &'a str,
        /// Slices still to be read.
        slices: u64,
        /// How many rows that is, where it can be told beforehand.
        rows_estimate: Option<u64>,
    },
    /// A request was answered.
    Request {
        /// The stream that it was for; none for a probe.
        stream: Option<&'a str>,
        /// Bytes of the body, decompressed.
        bytes: u64,
    },
    /// A request failed and is sent again after `delay`.
    Retry {
        /// Why.
        error: &'a Error,
        /// The pause.
        delay: Duration,
    },
    /// Requests wait for the rate limit.
    RateLimited {
        /// The stream that waits; none for a probe.
        stream: Option<&'a str>,
        /// For how long, from now.
        delay: Duration,
    },
    /// A slice was read and handed to the sink.
    SliceRead {
        /// Its stream.
        stream: &'a str,
        /// Its ticker, or empty.
        partition: &'a str,
        /// Its rows.
        rows: u64,
    },
    /// Rows and progress became durable.
    Committed {
        /// The stream.
        stream: &'a str,
        /// Rows since the last commit.
        rows: u64,
    },
    /// A partition failed and the others go on.
    PartitionFailed {
        /// Its stream.
        stream: &'a str,
        /// Its ticker.
        partition: &'a str,
        /// Why.
        error: &'a Error,
    },
    /// All of a stream was read.
    StreamFinished {
        /// Its name.
        stream: &'a str,
        /// Rows of this run.
        rows: u64,
    },
    /// A stream ended before its end.
    StreamFailed {
        /// Its name.
        stream: &'a str,
        /// Why.
        error: &'a Error,
    },
    /// A stream ended before its end because the run did; another one tells why.
    StreamStopped {
        /// Its name.
        stream: &'a str,
        /// What ended the run.
        error: &'a Error,
    },
    /// Rows that nothing covers are not kept: the source sends them again.
    Forgotten {
        /// The stream.
        stream: &'a str,
        /// How many.
        rows: u64,
    },
    /// Something a user should know: a range that the plan clipped, a row dropped as a repetition.
    Warning {
        /// The stream concerned.
        stream: Option<&'a str>,
        /// One sentence.
        message: &'a str,
    },
}

/// Watches a run. Called from several tasks; must return quickly.
pub trait Observer: Send + Sync + Debug {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}
