//! What happens in a run, as messages.

use std::sync::Arc;

use super::messages::{Estimate, EstimateKind, Level, Message, Trace};
use super::output::{Output, now_ms};
use super::status::Statuses;
use crate::observe::{Event, Observer};

/// Tells the platform what happens.
#[derive(Debug)]
pub struct AirbyteObserver {
    output: Arc<Output>,
    statuses: Arc<Statuses>,
}

impl AirbyteObserver {
    /// An observer that shares its statuses with the sink.
    pub fn new(output: Arc<Output>, statuses: Arc<Statuses>) -> Self {
        Self { output, statuses }
    }

    fn estimate(&self, stream: &str, row_estimate: u64) {
        let descriptor = self.statuses.descriptor(stream);
        let namespace = descriptor.as_ref().and_then(|descriptor| descriptor.namespace.as_deref());
        let estimate = Estimate { name: stream, kind: EstimateKind::Stream, namespace, row_estimate };
        let trace = Trace::Estimate { emitted_at: now_ms(), estimate };
        self.output.message(&Message::Trace { trace });
    }
}

impl Observer for AirbyteObserver {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::StreamStarted { stream, slices, rows_estimate } => {
                self.statuses.started(stream);
                self.output.log(Level::Info, &format!("{stream}: {slices} slices to read"));
                if let Some(rows) = rows_estimate {
                    self.estimate(stream, *rows);
                }
            }
            Event::Retry { error, delay } => {
                let message = format!("{error}; it is tried again in {:.1} s", delay.as_secs_f64());
                self.output.log(Level::Warn, &message);
            }
            Event::RateLimited { stream: Some(stream), delay } => self.statuses.rate_limited(stream, *delay),
            Event::RateLimited { stream: None, delay } => {
                let message = format!("waiting {:.0} s for the rate limit", delay.as_secs_f64());
                self.output.log(Level::Info, &message);
            }
            Event::PartitionFailed { stream, partition, error } => {
                self.output.log(Level::Warn, &format!("{stream}: {partition} failed: {}", error.report()));
            }
            Event::StreamFinished { stream, rows } => {
                self.output.log(Level::Info, &format!("{stream}: {rows} records"));
                self.statuses.completed(stream);
            }
            Event::StreamFailed { stream, error } => {
                self.statuses.failed(stream);
                self.output.error(error, self.statuses.descriptor(stream).as_ref());
            }
            Event::Warning { stream, message } => {
                let message = match stream {
                    Some(stream) => format!("{stream}: {message}"),
                    None => (*message).to_owned(),
                };
                self.output.log(Level::Warn, &message);
            }
            Event::StreamStopped { stream, .. } => self.statuses.failed(stream),
            // Too many to tell: records and states say the same.
            Event::Request { .. }
            | Event::SliceRead { .. }
            | Event::Committed { .. }
            | Event::Forgotten { .. } => {}
        }
    }
}
