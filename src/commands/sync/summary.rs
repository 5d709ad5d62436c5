//! What a run did, for stdout: a table for people, or an object for machines.

use std::time::{Duration, Instant};

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use crate::calendar;
use crate::commands::connect::place;
use crate::config::pipeline::Pipeline;
use crate::engine::{Report, StreamReport};
use crate::error::Scope;
use crate::progress::{End, StreamTally, Tally};
use crate::terminal::table::{Align, Table};
use crate::terminal::{Paint, count, duration};

/// Days that the exchange is closed in a row, and more: a week in September 2001.
const CLOSED_MAX: i64 = 14;

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete,
    /// Some tickers failed, the others are complete.
    Partial,
    Failed,
    Stopped,
    /// The run ended before it.
    NotBegun,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::NotBegun => "not begun",
        }
    }
}

/// A stream's line.
#[derive(Debug)]
struct Line {
    stream: String,
    outcome: Outcome,
    rows: u64,
    /// Rows that went into the table of rejected rows.
    rejected: u64,
    requests: u64,
    reached: Option<String>,
    took: Duration,
}

impl Line {
    /// What became of the stream, and of rows that are not in its table.
    fn verdict(&self) -> String {
        match self.rejected {
            0 => self.outcome.as_str().to_owned(),
            rejected => format!("{}, {} rejected", self.outcome.as_str(), count(rejected)),
        }
    }
}

/// What a run did.
#[derive(Debug)]
pub(super) struct Summary {
    pipeline: String,
    place: String,
    lines: Vec<Line>,
    requests: u64,
    took: Duration,
}

impl Summary {
    /// Sums up a run that has ended now.
    pub(super) fn of(pipeline: &Pipeline, report: &Report, tally: &Tally) -> Self {
        let now = Instant::now();
        let lines = pipeline
            .streams
            .iter()
            .map(|choice| {
                let name = &choice.stream.name;
                let done = report.streams.iter().find(|done| done.stream == *name);
                let counts = tally.stream(name);
                Line {
                    stream: name.clone(),
                    outcome: outcome(done, counts),
                    rows: done.map_or(0, |done| done.rows),
                    rejected: done.map_or(0, |done| done.rejected),
                    requests: counts.map_or(0, |counts| counts.requests),
                    reached: done.and_then(|done| done.reached).map(|day| trading_day(day).to_string()),
                    took: counts.map_or(Duration::ZERO, |counts| counts.elapsed(now)),
                }
            })
            .collect();
        Self {
            pipeline: pipeline.name.clone(),
            place: place(&pipeline.sink),
            lines,
            requests: tally.requests,
            took: now.saturating_duration_since(tally.began),
        }
    }

    fn rows(&self) -> u64 {
        self.lines.iter().map(|line| line.rows).sum()
    }

    /// A table.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut table = Table::new(&[
            ("stream", Align::Left),
            ("rows", Align::Right),
            ("requests", Align::Right),
            ("reached", Align::Left),
            ("took", Align::Right),
            ("", Align::Left),
        ]);
        for line in &self.lines {
            table.row([
                line.stream.clone(),
                count(line.rows),
                count(line.requests),
                line.reached.clone().unwrap_or_default(),
                duration(line.took),
                line.verdict(),
            ]);
        }
        table.total([
            "total".to_owned(),
            count(self.rows()),
            count(self.requests),
            String::new(),
            duration(self.took),
        ]);
        let title = format!("{} → {}", self.pipeline, self.place);
        format!("{}\n{}", paint.bold(&title), table.render(paint))
    }

    /// One JSON object.
    pub(super) fn json(&self) -> Value {
        let streams: Vec<_> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "stream": line.stream,
                    "outcome": line.outcome.as_str().replace(' ', "_"),
                    "rows": line.rows,
                    "rejected": line.rejected,
                    "requests": line.requests,
                    "reached": line.reached,
                    "seconds": seconds(line.took),
                })
            })
            .collect();
        json!({
            "pipeline": self.pipeline,
            "sink": self.place,
            "streams": streams,
            "rows": self.rows(),
            "requests": self.requests,
            "seconds": seconds(self.took),
        })
    }
}

/// The last trading day up to a day: what is covered may end with closed days, and
/// nobody looks for bars of a Sunday.
fn trading_day(day: Date) -> Date {
    calendar::trading_days(day.saturating_sub(CLOSED_MAX.days()), day).last().unwrap_or(day)
}

fn outcome(done: Option<&StreamReport>, counts: Option<&StreamTally>) -> Outcome {
    let (Some(done), Some(counts)) = (done, counts) else { return Outcome::NotBegun };
    let only_partitions = done.errors.iter().all(|error| error.kind().policy().scope == Scope::Partition);
    match counts.ended {
        Some((_, End::Finished)) => Outcome::Complete,
        Some((_, End::Stopped)) => Outcome::Stopped,
        Some((_, End::Failed)) | None
            if counts.partitions_failed > 0 && only_partitions && done.slices > 0 =>
        {
            Outcome::Partial
        }
        Some((_, End::Failed)) | None => Outcome::Failed,
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn what_was_reached_is_a_trading_day() {
        for (day, reached) in [
            (date(2024, 6, 28), date(2024, 6, 28)),
            (date(2024, 6, 30), date(2024, 6, 28)),
            (date(2024, 7, 4), date(2024, 7, 3)),
            (date(2024, 12, 25), date(2024, 12, 24)),
        ] {
            assert_eq!(trading_day(day), reached, "{day}");
        }
    }
}
