//! A run's progress for a person: bars at a terminal, lines in a log.
//!
//! Everything goes to stderr, and nothing of a row's content does.

mod bars;
mod lines;
mod screen;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::MultiProgress;

use crate::error::ErrorKind;
use crate::observe::{Event, Observer};
use crate::telemetry::LogFormat;
use crate::terminal;

use bars::Bars;
use lines::Lines;
pub use tally::{End, StreamTally, Tally};

/// When to draw bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum When {
    /// At a terminal, unless the log is JSON.
    #[default]
    Auto,
    /// Never; a log still has lines.
    Never,
    /// Also where there is no terminal.
    Always,
}

impl When {
    fn draws(self, format: LogFormat) -> bool {
        match self {
            Self::Auto => format == LogFormat::Text && is_terminal(),
            Self::Never => false,
            Self::Always => true,
        }
    }
}

/// Whether bars can be drawn on stderr and taken away again.
fn is_terminal() -> bool {
    terminal::is_at_stderr() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Watches a run, counts, and shows.
#[derive(Debug)]
pub struct Progress {
    tally: Arc<Mutex<Tally>>,
    view: View,
}

#[derive(Debug)]
enum View {
    Bars(Bars),
    Lines(Lines),
}

impl Progress {
    /// Progress of a run named `run` over this many streams, at a rate of at most
    /// `requests_per_minute`.
    pub fn new(
        run: &str,
        streams: usize,
        requests_per_minute: u32,
        when: When,
        format: LogFormat,
    ) -> Arc<Self> {
        let tally = Arc::new(Mutex::new(Tally::new(run, streams, requests_per_minute, Instant::now())));
        let view = match when.draws(format) {
            true => View::Bars(Bars::new(&tally)),
            false => View::Lines(Lines::new(format)),
        };
        Arc::new(Self { tally, view })
    }

    /// Where bars are drawn, for a log that must not write through them.
    pub fn screen(&self) -> Option<MultiProgress> {
        match &self.view {
            View::Bars(bars) => Some(bars.screen()),
            View::Lines(_) => None,
        }
    }

    /// What was counted so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Ends the showing: takes the bars away.
    pub fn finish(&self) {
        match &self.view {
            View::Bars(bars) => bars.finish(),
            View::Lines(_) => {}
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut tally = self.tally();
        tally.apply(event, now);
        tell(event, &mut tally, now);
        match &self.view {
            View::Bars(bars) => {
                let shown = bars::shown(event, &tally, now);
                // Drawing takes the lock itself.
                drop(tally);
                if let Some(shown) = shown {
                    bars.show(shown);
                }
            }
            View::Lines(lines) => lines.show(event, &mut tally, now),
        }
    }
}

/// What a log says in either view. Failures of streams are told at the run's end,
/// once and in full.
fn tell(event: &Event<'_>, tally: &mut Tally, now: Instant) {
    match event {
        Event::Warning { stream: Some(stream), message } => tracing::warn!(stream, "{stream}: {message}"),
        Event::Warning { stream: None, message } => tracing::warn!("{message}"),
        Event::Retry { error, delay } => {
            let message = error.report().replace("\n  caused by", ", caused by");
            let delay = seconds(*delay);
            // A limit is waited for, and shown as that; a server in trouble fails in many places at once.
            if error.kind() != ErrorKind::RateLimited && tally.is_retry_worth_telling(now) {
                tracing::warn!("{message}; again in {delay} s");
            } else {
                tracing::debug!("{message}; again in {delay} s");
            }
        }
        Event::PartitionFailed { stream, partition, error } => {
            tracing::debug!(stream, partition, "{stream}: {partition} failed: {}", error.user_message());
        }
        Event::StreamStarted { .. }
        | Event::Request { .. }
        | Event::RateLimited { .. }
        | Event::SliceRead { .. }
        | Event::Committed { .. }
        | Event::StreamFinished { .. }
        | Event::StreamFailed { .. }
        | Event::StreamStopped { .. }
        | Event::Forgotten { .. } => {}
    }
}

/// To a tenth: more is noise in a log.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    // A count is a count also after a panic elsewhere.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
