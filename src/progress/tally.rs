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
    /// Until when a request that failed is not tried again.
    retry: Option<Instant>,
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
    /// When something of it last moved.
    moved: Instant,
    /// Until when it waits for the rate limit.
    limited: Option<Instant>,
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
            retry: None,
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
                stream.moved = now;
            }
            Event::Request { stream, .. } => {
                self.requests += 1;
                if let Some(stream) = stream {
                    let stream = self.stream_mut(stream, now);
                    stream.requests += 1;
                    stream.moved = now;
                }
            }
            Event::Retry { delay, .. } => self.retry = Some(now + *delay),
            Event::RateLimited { stream: Some(stream), delay } => {
                self.stream_mut(stream, now).limited = Some(now + *delay);
            }
            Event::SliceRead { stream, rows, .. } => {
                let stream = self.stream_mut(stream, now);
                stream.slices += 1;
                stream.rows += rows;
                stream.moved = now;
            }
            Event::PartitionFailed { stream, .. } => self.stream_mut(stream, now).partitions_failed += 1,
            Event::StreamFinished { stream, .. } => self.end(stream, End::Finished, now),
            Event::StreamFailed { stream, error } | Event::StreamStopped { stream, error } => {
                let is_stop = error.kind() == ErrorKind::Interrupted;
                self.end(stream, if is_stop { End::Stopped } else { End::Failed }, now);
            }
            Event::RateLimited { stream: None, .. }
            | Event::Committed { .. }
            | Event::Warning { .. }
            | Event::Forgotten { .. } => {}
        }
    }

    fn end(&mut self, stream: &str, end: End, now: Instant) {
        self.stream_mut(stream, now).ended = Some((now, end));
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

    /// The streams that are being read, in the order in which they began.
    pub fn active(&self) -> impl Iterator<Item = &StreamTally> {
        self.streams.iter().filter(|stream| stream.ended.is_none())
    }

    /// How long the run will still take: all streams begin at once. They share one rate
    /// limit, so what they wait for it adds up; where their own pace is what takes
    /// longer, they take as long as the slowest.
    /// It falls while one waits. None while there is nothing to go by.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let by_limit: f64 = self.active().map(StreamTally::requests_left).sum();
        let by_limit = by_limit * 60.0 / f64::from(self.requests_per_minute);
        let by_pace = self.active().map(StreamTally::seconds_left).fold(0.0, f64::max);
        let moved = self.active().map(|stream| stream.moved).max()?;
        after_waiting(by_limit.max(by_pace), moved, now)
    }

    /// Rows read.
    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }

    /// Why nothing is moving, and for how long still: every stream waits for the rate
    /// limit, or a request that failed is not tried again yet.
    pub fn waiting(&self, now: Instant) -> Option<(&'static str, Duration)> {
        let first = self.active().map(|stream| stream.limited(now).unwrap_or_default()).min();
        let limited = first.filter(|left| !left.is_zero());
        let retry =
            self.retry.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
        limited.map(|left| ("for the rate limit", left)).or(retry.map(|left| ("to try again", left)))
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
            moved: now,
            limited: None,
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

    /// How long it waits for the rate limit still, if it does.
    pub fn limited(&self, now: Instant) -> Option<Duration> {
        let left = self.limited?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// How long it will still take: as long as the rate limit makes the requests of
    /// the slices left take, or as they took so far, whichever is longer, less the time
    /// that has passed since something moved. None while there is nothing to go by.
    pub fn left(&self, requests_per_minute: u32, now: Instant) -> Option<Duration> {
        if self.slices_total == 0 || self.ended.is_some() {
            return None;
        }
        let by_limit = self.requests_left() * 60.0 / f64::from(requests_per_minute.max(1));
        after_waiting(by_limit.max(self.seconds_left()), self.moved, now)
    }

    /// Requests of the slices left, by how many those before took.
    fn requests_left(&self) -> f64 {
        let a_slice = match self.slices {
            0 => 1.0,
            slices => (self.requests as f64 / slices as f64).max(1.0),
        };
        self.slices_left() * a_slice
    }

    /// Seconds that the slices left take at the pace of those before.
    fn seconds_left(&self) -> f64 {
        let took = self.moved.saturating_duration_since(self.began).as_secs_f64();
        if self.slices == 0 { 0.0 } else { self.slices_left() * took / self.slices as f64 }
    }

    fn slices_left(&self) -> f64 {
        self.slices_total.saturating_sub(self.slices) as f64
    }
}

/// What was left when something moved for the last time, less what has passed since.
fn after_waiting(seconds: f64, moved: Instant, now: Instant) -> Option<Duration> {
    let left = seconds - now.saturating_duration_since(moved).as_secs_f64();
    // What takes longer than was thought is about to end for as long as it takes.
    (seconds >= 1.0).then(|| Duration::from_secs_f64(left.max(1.0)))
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
        // Two requests a slice take twice as long.
        for _ in 0..5 {
            tally.apply(&REQUEST, begin + Duration::from_secs(1));
        }
        assert_eq!(left(&tally, begin + Duration::from_secs(1)), Some(Duration::from_secs(121 * 24)));
        // Slower than the limit: 6 slices in 240 s.
        tally.apply(&slice(100), begin + Duration::from_secs(240));
        assert_eq!(left(&tally, begin + Duration::from_secs(240)), Some(Duration::from_secs(120 * 40)));
    }

    #[test]
    fn the_eta_falls_second_by_second_while_one_waits() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 1, 5, begin);
        tally.apply(&started(126), begin);
        tally.apply(&REQUEST, begin);
        tally.apply(&slice(100), begin);
        tally.apply(&Event::RateLimited { stream: Some("splits"), delay: Duration::from_secs(55) }, begin);
        for seconds in 0..60 {
            let now = begin + Duration::from_secs(seconds);
            let expected = Some(Duration::from_secs(125 * 12 - seconds));
            assert_eq!((tally.streams[0].left(5, now), tally.left(now)), (expected, expected));
        }
        assert_eq!(tally.left(begin + Duration::from_secs(9_999)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn the_eta_covers_all_streams_that_are_read_at_the_same_time() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 2, 60, begin);
        assert_eq!(tally.left(begin), None, "nothing has begun");
        tally.apply(&started(100), begin);
        assert_eq!(tally.left(begin), Some(Duration::from_secs(100)), "a request a second");
        tally.apply(&Event::StreamStarted { stream: "news", slices: 200, rows_estimate: None }, begin);
        assert_eq!(tally.left(begin), Some(Duration::from_secs(300)), "both at the same time");
        tally.apply(&Event::StreamFinished { stream: "splits", rows: 0 }, begin);
        assert_eq!(tally.left(begin), Some(Duration::from_secs(200)));
        // The slowest decides where the limit does not.
        let mut tally = Tally::new("p", 2, 6_000_000, begin);
        for stream in ["splits", "news"] {
            tally.apply(&Event::StreamStarted { stream, slices: 101, rows_estimate: None }, begin);
        }
        let after = |seconds| begin + Duration::from_secs(seconds);
        tally.apply(&slice(1), after(3));
        tally.apply(&Event::SliceRead { stream: "news", partition: "", rows: 1 }, after(3));
        assert_eq!(tally.left(after(3)), Some(Duration::from_secs(300)));
    }

    #[test]
    fn the_run_waits_when_every_stream_does() {
        let begin = Instant::now();
        let mut tally = Tally::new("p", 2, 5, begin);
        let wait = |stream, seconds| Event::RateLimited {
            stream: Some(stream),
            delay: Duration::from_secs(seconds),
        };
        for stream in ["splits", "news"] {
            tally.apply(&Event::StreamStarted { stream, slices: 9, rows_estimate: None }, begin);
        }
        tally.apply(&wait("splits", 40), begin);
        assert_eq!(tally.waiting(begin), None, "the other one moves");
        tally.apply(&wait("news", 30), begin);
        assert_eq!(tally.waiting(begin), Some(("for the rate limit", Duration::from_secs(30))));
        tally.apply(&Event::StreamFinished { stream: "news", rows: 0 }, begin);
        assert_eq!(tally.waiting(begin), Some(("for the rate limit", Duration::from_secs(40))));
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
        assert_eq!(tally.active().map(|stream| stream.slices).collect::<Vec<_>>(), [2]);
        tally.apply(&Event::StreamFinished { stream: "splits", rows: 42 }, begin + Duration::from_secs(2));
        assert_eq!(tally.active().count(), 0);
        assert_eq!(tally.streams[0].pace(begin + Duration::from_secs(9)), 21.0);
        let error = crate::error::Error::bug("x");
        tally.apply(&Event::StreamFailed { stream: "news", error: &error }, begin);
        assert_eq!(tally.stream("news").unwrap().ended, Some((begin, End::Failed)));
    }
}
