//! The rate limit of a key: one limiter, shared by everything that uses the key.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::source::Plan;

/// Requests in any 60 seconds on the free plan [vendor documentation].
const FREE_PER_MINUTE: u32 = 5;

/// Requests a second on a paid plan [vendor: "stay under 100 requests per second"].
const PAID_PER_SECOND: u32 = 95;

/// A window, a little longer than the 60 seconds of the limit: the server counts
/// when a request arrives, and a network never delays two requests equally.
const WINDOW: Duration = Duration::from_millis(60_500);

/// A limit up to this many a minute is kept by a ring of cells, which lets a short
/// run go at once; above it requests are spread evenly.
const RING_MAX: u32 = 60;

type Cell = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<std::time::Instant>>;

/// The runtime's clock, which a test can pause and move.
#[derive(Debug, Clone, Copy)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

/// Lets requests of one key pass as its plan allows.
///
/// Up to 60 requests a minute each cell of a ring lets one request pass a
/// window, so the n-th request waits for the (n − limit)-th to be a window ago:
/// never more than the limit in any window, and no wait while there were fewer.
#[derive(Debug)]
pub struct Limiter {
    cells: Vec<Cell>,
    next: AtomicUsize,
    order: tokio::sync::Mutex<()>,
    paused_until: watch::Sender<Option<Instant>>,
    per_minute: u32,
}

impl Limiter {
    /// The limiter for a plan.
    pub fn new(plan: Plan) -> Arc<Self> {
        let (quota, cells, per_minute) = match plan {
            Plan::Free {} => (window_quota(), FREE_PER_MINUTE, FREE_PER_MINUTE),
            Plan::Paid {} => (
                Quota::per_second(NonZeroU32::new(PAID_PER_SECOND).expect("not zero"))
                    .allow_burst(NonZeroU32::MIN),
                1,
                PAID_PER_SECOND * 60,
            ),
            Plan::Custom { requests_per_minute } if requests_per_minute.get() <= RING_MAX => {
                (window_quota(), requests_per_minute.get(), requests_per_minute.get())
            }
            Plan::Custom { requests_per_minute } => (
                Quota::with_period(WINDOW / requests_per_minute.get()).expect("a period above zero"),
                1,
                requests_per_minute.get(),
            ),
        };
        Arc::new(Self {
            cells: (0..cells).map(|_| RateLimiter::direct_with_clock(quota, RuntimeClock)).collect(),
            next: AtomicUsize::new(0),
            order: tokio::sync::Mutex::new(()),
            paused_until: watch::Sender::new(None),
            per_minute,
        })
    }

    /// Requests a minute in the long run.
    pub fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Waits until a request may be sent. `waiting` is told once when that takes
    /// longer than a second, with the moment of the next try.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing, or the one permit that it waited for.
    pub async fn acquire(&self, waiting: impl Fn(Instant)) {
        // Tickets are handed out in order: one waits at the cell, the rest behind it.
        let _turn = self.order.lock().await;
        let cell = &self.cells[self.next.load(Ordering::Relaxed) % self.cells.len()];
        loop {
            self.wait_for_pause(&waiting).await;
            match cell.check() {
                Ok(()) => break,
                Err(not_until) => {
                    let wait = not_until.wait_time_from(RuntimeClock.now());
                    let until = Instant::now() + wait;
                    if wait > Duration::from_secs(1) {
                        waiting(until);
                    }
                    tokio::time::sleep_until(until).await;
                }
            }
        }
        self.next.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops all requests of the key for `duration`: the server said that it is
    /// asked too often. A longer pause that is under way stays.
    pub fn pause(&self, duration: Duration) {
        let until = Instant::now() + duration;
        self.paused_until.send_if_modified(|current| {
            let later = current.is_none_or(|current| current < until);
            if later {
                *current = Some(until);
            }
            later
        });
    }

    /// How long to stop after a 429 that does not say: until a window has passed
    /// for one request of the limit.
    pub fn default_pause(&self) -> Duration {
        WINDOW / self.per_minute.min(60)
    }

    async fn wait_for_pause(&self, waiting: &impl Fn(Instant)) {
        loop {
            let until = *self.paused_until.borrow();
            match until {
                Some(until) if until > Instant::now() => {
                    waiting(until);
                    tokio::time::sleep_until(until).await;
                }
                _ => return,
            }
        }
    }
}

fn window_quota() -> Quota {
    Quota::with_period(WINDOW).expect("a period above zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the timing of the callers, no window of 60 seconds holds more than
    /// the free plan's 5 requests, and none is slower than it has to be.
    #[tokio::test(start_paused = true)]
    async fn never_more_than_five_in_any_sixty_seconds() {
        let limiter = Limiter::new(Plan::Free {});
        let mut sent = Vec::new();
        for request in 0..200_u64 {
            tokio::time::sleep(Duration::from_millis(fastrand::Rng::with_seed(request).u64(0..20_000))).await;
            limiter.acquire(|_| {}).await;
            sent.push(Instant::now());
        }
        for window in sent.windows(6) {
            assert!(window[5] - window[0] > Duration::from_secs(60), "{:?}", window[5] - window[0]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_reaches_the_limit_within_three_percent() {
        let limiter = Limiter::new(Plan::Free {});
        let begin = Instant::now();
        for _ in 0..501 {
            limiter.acquire(|_| {}).await;
        }
        let ideal = Duration::from_secs(500 * 12);
        let taken = begin.elapsed();
        assert!(taken >= ideal && taken.as_secs_f64() < ideal.as_secs_f64() * 1.03, "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_stops_everyone() {
        let limiter = Limiter::new(Plan::Paid {});
        limiter.acquire(|_| {}).await;
        limiter.pause(Duration::from_secs(30));
        limiter.pause(Duration::from_secs(10));
        let begin = Instant::now();
        limiter.acquire(|_| {}).await;
        assert!(begin.elapsed() >= Duration::from_secs(30));
    }

    #[test]
    fn the_plans_allow_what_they_say() {
        assert_eq!(Limiter::new(Plan::Free {}).cells.len(), 5);
        let custom = |n| Plan::Custom { requests_per_minute: NonZeroU32::new(n).unwrap() };
        assert_eq!(Limiter::new(custom(10)).cells.len(), 10);
        assert_eq!(Limiter::new(custom(300)).cells.len(), 1);
        assert_eq!(Limiter::new(custom(300)).per_minute(), 300);
    }
}
