//! What became of a run.

use jiff::civil::Date;

use crate::error::{Error, FailureType, Scope};

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
    /// The failure that decides the exit code: the one that reaches furthest, and of those
    /// the one that somebody has to mend before one that may pass. The first of equals.
    pub fn worst(&self) -> Option<&Error> {
        let streams = self.streams.iter().flat_map(|stream| &stream.errors);
        self.error.iter().chain(streams).rev().max_by_key(|error| weight(error))
    }

    /// As [`Report::worst`], keeping only that.
    pub fn into_worst(self) -> Option<Error> {
        let streams = self.streams.into_iter().flat_map(|stream| stream.errors);
        let errors: Vec<Error> = self.error.into_iter().chain(streams).collect();
        errors.into_iter().rev().max_by_key(weight)
    }

    /// Rows made durable by this run.
    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }
}

fn weight(error: &Error) -> (Scope, FailureType) {
    let policy = error.kind().policy();
    (policy.scope, policy.failure_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind::{self, *};

    #[test]
    fn the_failure_that_reaches_furthest_decides_and_then_the_one_to_mend() {
        let of = |run: Option<ErrorKind>, streams: &[&[ErrorKind]]| {
            let number = std::cell::Cell::new(0);
            let error = |kind: ErrorKind| Error::new(kind, number.replace(number.get() + 1).to_string());
            let stream = |kinds: &&[ErrorKind]| {
                let errors = kinds.iter().map(|kind| error(*kind)).collect();
                StreamReport { errors, ..StreamReport::new("s") }
            };
            let report = Report { streams: streams.iter().map(stream).collect(), error: run.map(error) };
            let told = report.worst().map(|error| (error.kind(), error.to_string()));
            assert_eq!(report.into_worst().map(|error| (error.kind(), error.to_string())), told);
            told.map(|(kind, _)| kind)
        };
        assert_eq!(of(None, &[&[], &[]]), None);
        assert_eq!(of(None, &[&[NotFound], &[Unavailable]]), Some(Unavailable), "a stream before a ticker");
        assert_eq!(of(Some(Interrupted), &[&[NotEntitled]]), Some(Interrupted), "the run before a stream");
        for order in [[NotFound, Mismatch, Unanswered], [Unanswered, NotFound, Mismatch]] {
            assert_eq!(of(None, &[&order[..1], &order[1..]]), Some(NotFound), "2 before 1 before 3");
        }
        assert_eq!(of(None, &[&[Unanswered], &[Refused, Mismatch]]), Some(Refused), "the first of equals");
    }
}
