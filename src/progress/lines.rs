//! Lines in a log: for people, or fields for machines.

use std::time::{Duration, Instant};

use super::seconds;
use super::tally::{StreamTally, Tally, Told};
use crate::error::ErrorKind;
use crate::observe::Event;
use crate::telemetry::LogFormat;
use crate::terminal::{count, counted, duration, short};

/// A stream has a line at most this often, besides its first and its last.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The lines.
#[derive(Debug)]
pub(super) struct Lines {
    format: LogFormat,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Started,
    Going,
    Waiting,
    Finished,
    Failed,
    Stopped,
}

impl Line {
    fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Going => "running",
            Self::Waiting => "rate_limited",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl Lines {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format }
    }

    pub(super) fn show(&self, event: &Event<'_>, tally: &mut Tally, now: Instant) {
        let Some((stream, line)) = due(event, tally, now) else { return };
        tally.stream_mut(stream, now).told = Some(Told { at: now, was_pause: line == Line::Waiting });
        let requests_per_minute = tally.requests_per_minute;
        let waiting = tally.waiting(now).map(|(_, left)| left);
        let Some(stream) = tally.stream(stream) else { return };
        match self.format {
            LogFormat::Text => tracing::info!("{}", text(stream, line, requests_per_minute, waiting, now)),
            LogFormat::Json => {
                let eta_seconds = stream.left(requests_per_minute, now).map(seconds);
                tracing::info!(
                    stream = stream.name,
                    state = line.as_str(),
                    slices = stream.slices,
                    slices_total = stream.slices_total,
                    rows = stream.rows,
                    requests = stream.requests,
                    rows_per_second = stream.pace(now).round(),
                    elapsed_seconds = seconds(stream.elapsed(now)),
                    eta_seconds,
                    waiting_seconds = waiting.filter(|_| line == Line::Waiting).map(seconds),
                    "progress"
                );
            }
        }
    }
}

/// Whether an event is worth a line now, and of which stream.
fn due<'a>(event: &'a Event<'a>, tally: &Tally, now: Instant) -> Option<(&'a str, Line)> {
    let (stream, line) = match event {
        Event::StreamStarted { stream, .. } => return Some((stream, Line::Started)),
        Event::StreamFinished { stream, .. } => return Some((stream, Line::Finished)),
        Event::StreamFailed { stream, error } | Event::StreamStopped { stream, error }
            if error.kind() == ErrorKind::Interrupted =>
        {
            return Some((stream, Line::Stopped));
        }
        Event::StreamFailed { stream, .. } | Event::StreamStopped { stream, .. } => {
            return Some((stream, Line::Failed));
        }
        Event::SliceRead { stream, .. } => (*stream, Line::Going),
        Event::RateLimited { stream: Some(stream), .. } => (*stream, Line::Waiting),
        Event::Request { .. }
        | Event::RateLimited { stream: None, .. }
        | Event::Retry { .. }
        | Event::Committed { .. }
        | Event::PartitionFailed { .. }
        | Event::Forgotten { .. }
        | Event::Warning { .. } => return None,
    };
    let told = tally.stream(stream).and_then(|stream| stream.told);
    let is_old = told.is_none_or(|told| now.saturating_duration_since(told.at) >= LINE_EVERY);
    // Why nothing will move for a while is worth a line at once.
    let is_pause = line == Line::Waiting
        && told.is_some_and(|told| !told.was_pause)
        && tally.waiting(now).is_some_and(|(_, left)| left >= LINE_EVERY);
    (is_old || is_pause).then_some((stream, line))
}

/// `stock_trades: 42 of 126 slices, 42,000 rows, 42 requests, 12k rows/s, ETA 16 m 48 s`
fn text(
    stream: &StreamTally,
    line: Line,
    requests_per_minute: u32,
    waiting: Option<Duration>,
    now: Instant,
) -> String {
    let mut parts = vec![match line {
        Line::Started => format!("{}: {} to read", stream.name, counted(stream.slices_total, "slice")),
        Line::Going | Line::Waiting => {
            format!("{}: {} of {}", stream.name, count(stream.slices), counted(stream.slices_total, "slice"))
        }
        Line::Finished => format!("{}: finished", stream.name),
        Line::Failed => format!("{}: failed", stream.name),
        Line::Stopped => format!("{}: stopped", stream.name),
    }];
    if line != Line::Started {
        parts.push(counted(stream.rows, "row"));
        parts.push(counted(stream.requests, "request"));
    }
    match line {
        Line::Going => parts.push(format!("{} rows/s", short(stream.pace(now)))),
        Line::Finished | Line::Failed | Line::Stopped => parts.push(duration(stream.elapsed(now))),
        Line::Started | Line::Waiting => {}
    }
    if let Some(left) = stream.left(requests_per_minute, now) {
        parts.push(format!("ETA {}", duration(left)));
    }
    if let (Line::Waiting, Some(left)) = (line, waiting) {
        parts.push(format!("waiting {} for the rate limit", duration(left)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_spaced_but_the_first_and_the_last_are_always_there() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 1, 5, begin);
        let mut lines = Vec::new();
        let mut show = |event: &Event<'_>, after: f64| {
            let now = begin + Duration::from_secs_f64(after);
            tally.apply(event, now);
            if let Some((stream, line)) = due(event, &tally, now) {
                tally.stream_mut(stream, now).told = Some(Told { at: now, was_pause: line == Line::Waiting });
                let waiting = tally.waiting(now).map(|(_, left)| left);
                lines.push(text(tally.stream(stream).unwrap(), line, 5, waiting, now));
            }
        };
        show(&Event::StreamStarted { stream: "news", slices: 400, rows_estimate: None }, 0.0);
        for slice in 0..100 {
            let after = f64::from(slice) * 0.1;
            show(&Event::Request { stream: Some("news"), bytes: 1 }, after);
            show(&Event::SliceRead { stream: "news", partition: "", rows: 1_000 }, after);
        }
        for after in [9.95, 10.0] {
            show(&Event::RateLimited { stream: Some("news"), delay: Duration::from_secs(50) }, after);
        }
        show(&Event::StreamFinished { stream: "news", rows: 100_000 }, 11.0);
        assert_eq!(
            lines,
            [
                "news: 400 slices to read, ETA 1 h 20 m",
                "news: 51 of 400 slices, 51,000 rows, 51 requests, 10k rows/s, ETA 1 h 9 m",
                "news: 100 of 400 slices, 100,000 rows, 100 requests, ETA 1 h 0 m, waiting 50 s for the rate limit",
                "news: finished, 100,000 rows, 100 requests, 11 s",
            ]
        );
    }
}
