//! What became of a run.

use jiff::civil::Date;

use crate::error::Error;

/// What became of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the jobs.
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
    /// Rows that the table cannot hold, which this run put where such rows are kept.
    pub rejected: u64,
    /// Slices made durable by this run.
    pub slices: u64,
    /// The day that every partition with progress has reached, this run's or an
    /// earlier one's; none for a stream without days.
    pub reached: Option<Date>,
    /// Failures: of partitions, or of the whole stream.
    pub errors: Vec<Error>,
}

impl StreamReport {
    pub(super) fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), rows: 0, rejected: 0, slices: 0, reached: None, errors: Vec::new() }
    }
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
