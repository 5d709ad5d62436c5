//! The life of each stream as the platform follows it: STARTED, RUNNING, then
//! COMPLETE or INCOMPLETE, each once and in this order whatever fails when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::descriptor::StreamDescriptor;
use super::messages::{Message, RateLimited, Reason, Status, StreamStatus, Trace};
use super::output::{Output, now_ms};

/// Waits of a stream for the rate limit are told at most this often: a paid plan
/// may wait many times a second.
const RATE_LIMITED_EVERY: Duration = Duration::from_secs(5);

/// Emits STREAM_STATUS. Shared by the sink, which knows of records, and the
/// observer, which knows of everything else.
#[derive(Debug)]
pub struct Statuses {
    output: Arc<Output>,
    streams: Mutex<HashMap<String, Life>>,
}

#[derive(Debug)]
struct Life {
    descriptor: StreamDescriptor,
    phase: Phase,
    limited: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Started,
    Running,
    /// Running, and the last status said that it waits for the rate limit.
    Limited,
    Ended,
}

impl Statuses {
    /// Statuses of these streams.
    pub fn new(output: Arc<Output>, streams: impl IntoIterator<Item = StreamDescriptor>) -> Self {
        let life = |descriptor: StreamDescriptor| {
            (descriptor.name.clone(), Life { descriptor, phase: Phase::Waiting, limited: None })
        };
        Self { output, streams: Mutex::new(streams.into_iter().map(life).collect()) }
    }

    /// The stream begins.
    pub fn started(&self, stream: &str) {
        self.with(stream, |life| self.start(life));
    }

    /// A record of the stream is about to come.
    pub fn running(&self, stream: &str) {
        self.with(stream, |life| self.run(life));
    }

    /// The stream waits for the rate limit, for `delay` from now.
    pub fn rate_limited(&self, stream: &str, delay: Duration) {
        self.with(stream, |life| {
            self.start(life);
            let told = life.limited.is_some_and(|told| told.elapsed() < RATE_LIMITED_EVERY);
            if life.phase == Phase::Ended || told {
                return;
            }
            let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            let rate_limited = RateLimited { quota_reset: now_ms().saturating_add(delay_ms) };
            self.emit(&life.descriptor, Status::Running, Some(Reason::RateLimited { rate_limited }));
            life.limited = Some(Instant::now());
            life.phase = Phase::Limited;
        });
    }

    /// All of the stream was read.
    pub fn completed(&self, stream: &str) {
        self.with(stream, |life| {
            self.run(life);
            self.end(life, Status::Complete);
        });
    }

    /// The stream ended before its end.
    pub fn failed(&self, stream: &str) {
        self.with(stream, |life| {
            self.start(life);
            self.end(life, Status::Incomplete);
        });
    }

    /// The stream as messages name it.
    pub fn descriptor(&self, stream: &str) -> Option<StreamDescriptor> {
        let mut descriptor = None;
        self.with(stream, |life| descriptor = Some(life.descriptor.clone()));
        descriptor
    }

    fn start(&self, life: &mut Life) {
        if life.phase == Phase::Waiting {
            self.emit(&life.descriptor, Status::Started, None);
            life.phase = Phase::Started;
        }
    }

    fn run(&self, life: &mut Life) {
        self.start(life);
        if matches!(life.phase, Phase::Started | Phase::Limited) {
            self.emit(&life.descriptor, Status::Running, None);
            life.phase = Phase::Running;
        }
    }

    fn end(&self, life: &mut Life, status: Status) {
        if life.phase != Phase::Ended {
            self.emit(&life.descriptor, status, None);
            life.phase = Phase::Ended;
        }
    }

    fn with(&self, stream: &str, change: impl FnOnce(&mut Life)) {
        // A panic between two statuses leaves a map that is still true.
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(life) = streams.get_mut(stream) {
            change(life);
        }
    }

    fn emit(&self, stream_descriptor: &StreamDescriptor, status: Status, reason: Option<Reason>) {
        let reasons = reason.map(|reason| [reason]);
        let stream_status = StreamStatus { stream_descriptor, status, reasons };
        let trace = Trace::StreamStatus { emitted_at: now_ms(), stream_status };
        self.output.message(&Message::Trace { trace });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::airbyte::output::tests::Captured;

    /// The statuses that `live` leads to; one that waits for the rate limit has a `!`.
    fn story(live: impl FnOnce(&Statuses)) -> String {
        let (output, captured) = Captured::output();
        let descriptor = StreamDescriptor { name: "news".to_owned(), namespace: None };
        live(&Statuses::new(Arc::clone(&output), [descriptor]));
        let mut words = Vec::new();
        for line in captured.lines(&output) {
            let status = &line["trace"]["stream_status"];
            let reason = &status["reasons"][0];
            assert!(reason.is_null() || reason["type"] == "RATE_LIMITED");
            assert_eq!(reason.is_null(), !reason["rate_limited"]["quota_reset"].is_i64());
            words.push(format!(
                "{}{}",
                status["status"].as_str().unwrap(),
                if reason.is_null() { "" } else { "!" }
            ));
        }
        words.join(" ")
    }

    #[test]
    fn each_life_is_whole_and_in_order() {
        let delay = Duration::from_secs(12);
        assert_eq!(story(|statuses| statuses.completed("news")), "STARTED RUNNING COMPLETE");
        assert_eq!(story(|statuses| statuses.failed("news")), "STARTED INCOMPLETE");
        assert_eq!(story(|statuses| statuses.completed("another")), "");
        let limited = |statuses: &Statuses| {
            statuses.started("news");
            statuses.started("news");
            statuses.rate_limited("news", delay);
            statuses.rate_limited("news", delay);
            statuses.running("news");
            statuses.rate_limited("news", delay);
            statuses.running("news");
            statuses.completed("news");
            statuses.failed("news");
            statuses.running("news");
            statuses.rate_limited("news", delay);
        };
        assert_eq!(story(limited), "STARTED RUNNING! RUNNING COMPLETE");
        let never_let = |statuses: &Statuses| {
            statuses.rate_limited("news", delay);
            statuses.completed("news");
        };
        assert_eq!(story(never_let), "STARTED RUNNING! RUNNING COMPLETE");
    }
}
