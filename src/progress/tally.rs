//! What was counted in a run, and what follows from it. No I/O, no clock.

use std::time::{Duration, Instant};

use crate::error::ErrorKind;
use crate::observe::Event;

/// Counts of a run.
#[derive(Debug)]
pub struct Tally {
    /// The run's name.
    pub run: String,
    /// Streams that will be run.
    pub streams_total: usize,
    /// In the order in which they began.
    pub streams: Vec<StreamTally>,
    /// Requests answered, also those of no stream.
    pub requests: u64,
    /// Requests that the plan allows a minute.
    pub requests_per_minute: u32,
    /// When the run began.
    pub began: Instant,
    waiting: Option<Waiting>,
    /// When a retry was last told.
    retry_told: Option<Instant>,
}

/// A retry is told at most this often.
const RETRY_TOLD_EVERY: Duration = Duration::from_secs(5);

/// Counts of a stream.
#[derive(Debug)]
pub struct StreamTally {
    /// Its name.
    pub name: String,
    /// Slices to read.
    pub slices_total: u64,
    /// Slices read.
    pub slices: u64,
    /// Rows read.
    pub rows: u64,
    /// Requests answered.
    pub requests: u64,
    /// Partitions that failed while the others went on.
    pub partitions_failed: u64,
    /// When it began.
    pub began: Instant,
    /// When and how it ended.
    pub ended: Option<(Instant, End)>,
    /// The last line of it in a log.
    pub(super) told: Option<Told>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it was read.
    Finished,
    /// Something went wrong.
    Failed,
    /// The user asked to stop.
    Stopped,
}

/// A line that was written to a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// When.
    pub(super) at: Instant,
    /// Whether it said that nothing moves.
    pub(super) was_pause: bool,
}

/// Why nothing is moving.
#[derive(Debug, Clone)]
pub enum Waiting {
    /// For the rate limit, until then.
    RateLimit(Instant),
    /// For the next try of a request that failed, until then.
    Retry(Instant),
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(run: &str, streams_total: usize, requests_per_minute: u32, now: Instant) -> Self {
        Self {
            run: run.to_owned(),
            streams_total,
            streams: Vec::with_capacity(streams_total),
            requests: 0,
            requests_per_minute: requests_per_minute.max(1),
            began: now,
            waiting: None,
            retry_told: None,
        }
    }

    /// Whether no retry was told for a while; then this one is.
    pub(super) fn is_retry_worth_telling(&mut self, now: Instant) -> bool {
        let told = self.retry_told;
        let is_due = told.is_none_or(|told| now.saturating_duration_since(told) >= RETRY_TOLD_EVERY);
        if is_due {
            self.retry_told = Some(now);
        }
        is_due
    }

    /// Counts an event.
    pub fn apply(&mut self, event: &Event<'_>, now: Instant) {
        match event {
            Event::StreamStarted { stream, slices, .. } => {
                let stream = self.stream_mut(stream, now);
                stream.slices_total = *slices;
                stream.began = now;
            }
            Event::Request { stream, .. } => {
                self.requests += 1;
                if let Some(stream) = stream {
                    self.stream_mut(stream, now).requests += 1;
                }
            }
            Event::Retry { delay, .. } => self.waiting = Some(Waiting::Retry(now + *delay)),
            Event::RateLimited { delay, .. } => self.waiting = Some(Waiting::RateLimit(now + *delay)),
            Event::SliceRead { stream, rows, .. } => {
                let stream = self.stream_mut(stream, now);
                stream.slices += 1;
                stream.rows += rows;
            }
            Event::PartitionFailed { stream, .. } => self.stream_mut(stream, now).partitions_failed += 1,
            Event::StreamFinished { stream, .. } => self.end(stream, End::Finished, now),
            Event::StreamFailed { stream, error } | Event::StreamStopped { stream, error } => {
                let is_stop = error.kind() == ErrorKind::Interrupted;
                self.end(stream, if is_stop { End::Stopped } else { End::Failed }, now);
            }
            Event::Committed { .. } | Event::Warning { .. } | Event::Forgotten { .. } => {}
        }
    }

    fn end(&mut self, stream: &str, end: End, now: Instant) {
        self.stream_mut(stream, now).ended = Some((now, end));
        self.waiting = None;
    }

    /// The counts of a stream; none before it began.
    pub fn stream(&self, name: &str) -> Option<&StreamTally> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    pub(super) fn stream_mut(&mut self, name: &str, now: Instant) -> &mut StreamTally {
        let index = self.streams.iter().position(|stream| stream.name == name).unwrap_or_else(|| {
            self.streams.push(StreamTally::new(name, now));
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }

    /// The stream that is being read.
    pub fn active(&self) -> Option<&StreamTally> {
        self.streams.iter().rev().find(|stream| stream.ended.is_none())
    }

    /// Rows read.
    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }

    /// Why nothing is moving, and for how long still.
    pub fn waiting(&self, now: Instant) -> Option<(&'static str, Duration)> {
        let (what, until) = match self.waiting.as_ref()? {
            Waiting::RateLimit(until) => ("for the rate limit", until),
            Waiting::Retry(until) => ("to try again", until),
        };
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some((what, left))
    }
}

impl StreamTally {
    fn new(name: &str, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            slices_total: 0,
            slices: 0,
            rows: 0,
            requests: 0,
            partitions_failed: 0,
            began: now,
            ended: None,
            told: None,
        }
    }

    /// How long it has been running, or ran.
    pub fn elapsed(&self, now: Instant) -> Duration {
        self.ended.map_or(now, |(ended, _)| ended).saturating_duration_since(self.began)
    }

    /// Rows a second.
    pub fn pace(&self, now: Instant) -> f64 {
        let elapsed = self.elapsed(now).as_secs_f64();
        if elapsed > 0.0 { self.rows as f64 / elapsed } else { 0.0 }
    }

    /// How long it will still take: as long as the rate limit makes the requests of
    /// the slices left take, or as they took so far, whichever is longer. None
    /// while there is nothing to go by.
    pub fn left(&self, requests_per_minute: u32, now: Instant) -> Option<Duration> {
        let slices_left = self.slices_total.saturating_sub(self.slices) as f64;
        if self.slices_total == 0 || self.ended.is_some() {
            return None;
        }
        let requests_a_slice = match self.slices {
            0 => 1.0,
            slices => (self.requests as f64 / slices as f64).max(1.0),
        };
        let by_limit = slices_left * requests_a_slice * 60.0 / f64::from(requests_per_minute.max(1));
        let by_pace = match self.slices {
            0 => 0.0,
            slices => slices_left * self.elapsed(now).as_secs_f64() / slices as f64,
        };
        let seconds = by_limit.max(by_pace);
        (seconds >= 1.0).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(slices: u64) -> Event<'static> {
        Event::StreamStarted { stream: "splits", slices, rows_estimate: None }
    }

    fn slice(rows: u64) -> Event<'static> {
        Event::SliceRead { stream: "splits", partition: "", rows }
    }

    const REQUEST: Event<'_> = Event::Request { stream: Some("splits"), bytes: 1 };

    #[test]
    fn the_rate_limit_decides_the_eta_until_the_pace_is_slower() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 1, 5, begin);
        tally.apply(&started(126), begin);
        let left = |tally: &Tally, now| tally.streams[0].left(5, now);
        assert_eq!(left(&tally, begin), Some(Duration::from_secs(126 * 12)));
        // A burst of five at once: 121 slices left, 12 s each, whatever the pace was.
        for _ in 0..5 {
            tally.apply(&REQUEST, begin);
            tally.apply(&slice(100), begin + Duration::from_secs(1));
        }
        assert_eq!(left(&tally, begin + Duration::from_secs(1)), Some(Duration::from_secs(121 * 12)));
        // Slower than the limit: 5 slices in 100 s.
        assert_eq!(left(&tally, begin + Duration::from_secs(100)), Some(Duration::from_secs(121 * 20)));
        // Two requests a slice take twice as long.
        for _ in 0..5 {
            tally.apply(&REQUEST, begin);
        }
        assert_eq!(left(&tally, begin + Duration::from_secs(1)), Some(Duration::from_secs(121 * 24)));
    }

    #[test]
    fn waiting_ends_with_its_time_and_not_with_an_answer_under_way() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 1, 5, begin);
        let delay = Duration::from_secs(37);
        tally.apply(&Event::RateLimited { stream: Some("splits"), delay }, begin);
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(tally.waiting(after(7)), Some(("for the rate limit", Duration::from_secs(30))));
        assert_eq!(tally.waiting(after(37)), None);
        tally.apply(&REQUEST, after(1));
        assert_eq!(tally.waiting(after(7)), Some(("for the rate limit", Duration::from_secs(30))));
    }

    #[test]
    fn counts_add_up() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 2, 5, begin);
        tally.apply(&Event::Request { stream: None, bytes: 1 }, begin);
        tally.apply(&started(2), begin);
        tally.apply(&REQUEST, begin);
        tally.apply(&slice(40), begin);
        tally.apply(&slice(2), begin);
        assert_eq!((tally.requests, tally.rows(), tally.streams[0].requests), (2, 42, 1));
        assert_eq!(tally.active().map(|stream| stream.slices), Some(2));
        tally.apply(&Event::StreamFinished { stream: "splits", rows: 42 }, begin + Duration::from_secs(2));
        assert!(tally.active().is_none());
        assert_eq!(tally.streams[0].pace(begin + Duration::from_secs(9)), 21.0);
        let error = crate::error::Error::bug("x");
        tally.apply(&Event::StreamFailed { stream: "news", error: &error }, begin);
        assert_eq!(tally.stream("news").unwrap().ended, Some((begin, End::Failed)));
    }
}
