//! When and how long to wait before something is tried again.
//!
//! `backoff`, the crate that the project was planned with, is unmaintained
//! (RUSTSEC-2025-0012); `backon` is the successor that the advisory names. Its
//! jitter only adds to a delay, so full jitter is drawn here.

use std::time::Duration;

use backon::ExponentialBuilder;

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

/// A delay anywhere below `bound`: full jitter spreads clients that failed together.
pub fn jittered(bound: Duration) -> Duration {
    bound.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use backon::BackoffBuilder;

    use super::*;

    #[test]
    fn delays_grow_and_end() {
        let delays: Vec<_> = policy().build().collect();
        assert_eq!(delays.len(), RETRIES_MAX);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(delays.iter().sum::<Duration>() <= TOTAL_MAX);
        assert!((0..100).all(|_| jittered(FIRST_DELAY) <= FIRST_DELAY));
    }
}
