//! When and how long to wait before something is tried again.
//!
//! `backoff`, the crate that the project was planned with, is unmaintained
//! (RUSTSEC-2025-0012); `backon` is the successor that the advisory names. Its
//! jitter only adds to a delay, so full jitter is drawn here.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Tries after the first one.
const RETRIES_MAX: usize = 8;
/// All delays together. Kept below what an operator waits before they look.
const TOTAL_MAX: Duration = Duration::from_secs(300);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(30);

/// Upper bounds of the delays: doubled each time, bounded in number and in sum.
pub fn policy() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_factor(2.0)
        .with_max_delay(DELAY_MAX)
        .with_max_times(RETRIES_MAX)
        .with_total_delay(Some(TOTAL_MAX))
}

/// Time that all tries of a request may wait for the server together: one that sends a byte
/// a second is given up after its first try, one that is silent after all of them.
pub const WAITED_MAX: Duration = Duration::from_secs(300);

/// The tries of one request.
#[derive(Debug)]
pub struct Tries {
    delays: ExponentialBackoff,
    count: usize,
    waited: Duration,
    waited_max: Duration,
}

impl Tries {
    /// So many as `retries` says, and no more once they waited for so long.
    pub fn new(retries: ExponentialBuilder, waited_max: Duration) -> Self {
        Self { delays: retries.build(), count: 0, waited: Duration::ZERO, waited_max }
    }

    /// One failed that waited for the server for so long.
    pub fn failed(&mut self, waited: Duration) {
        self.count += 1;
        self.waited += waited;
    }

    /// How many failed.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How long all of them waited for the server.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether they waited for as long as they may.
    pub fn is_over(&self) -> bool {
        self.waited >= self.waited_max
    }

    /// The delay before another one; none when there is no other.
    pub fn delay(&mut self) -> Option<Duration> {
        if self.is_over() { None } else { self.delays.next().map(jittered) }
    }
}

/// A delay anywhere below `bound`: full jitter spreads clients that failed together.
fn jittered(bound: Duration) -> Duration {
    bound.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_end() {
        let delays: Vec<_> = policy().build().collect();
        assert_eq!(delays.len(), RETRIES_MAX);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(delays.iter().sum::<Duration>() <= TOTAL_MAX);
        assert!((0..100).all(|_| jittered(FIRST_DELAY) <= FIRST_DELAY));
    }

    #[test]
    fn tries_end_by_their_number_or_by_what_they_waited() {
        let mut quick = Tries::new(policy(), WAITED_MAX);
        while quick.delay().is_some() {
            quick.failed(Duration::ZERO);
        }
        assert_eq!((quick.count(), quick.is_over()), (RETRIES_MAX, false));
        let mut slow = Tries::new(policy(), WAITED_MAX);
        slow.failed(WAITED_MAX / 2);
        assert!(slow.delay().is_some());
        slow.failed(WAITED_MAX / 2);
        assert!(slow.is_over() && slow.delay().is_none());
        assert_eq!((slow.count(), slow.waited()), (2, WAITED_MAX));
    }
}
