//! The rate limit of a key: one limiter, shared by everything that uses the key.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Notify, watch};
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
    cells: Vec<Mutex<Cell>>,
    quota: Quota,
    next: AtomicUsize,
    /// Cells whose permit was given back, and what wakes the one that waits.
    given_back: Mutex<Vec<usize>>,
    is_given_back: Notify,
    order: tokio::sync::Mutex<()>,
    paused_until: watch::Sender<Option<Instant>>,
    per_minute: u32,
}

/// Leave to send one request.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    cell: usize,
    taken: Instant,
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
            cells: (0..cells).map(|_| Mutex::new(fresh(quota))).collect(),
            quota,
            next: AtomicUsize::new(0),
            given_back: Mutex::new(Vec::new()),
            is_given_back: Notify::new(),
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
    pub async fn acquire(&self, waiting: impl Fn(Instant)) -> Permit {
        // Tickets are handed out in order: one waits at the cell, the rest behind it.
        let _turn = self.order.lock().await;
        let next = self.next.load(Ordering::Relaxed) % self.cells.len();
        loop {
            self.wait_for_pause(&waiting).await;
            if let Some(cell) = self.take_given_back() {
                return Permit { cell, taken: Instant::now() };
            }
            let Some(wait) = self.take(next) else { break };
            let until = Instant::now() + wait;
            if wait > Duration::from_secs(1) {
                waiting(until);
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.is_given_back.notified() => {}
            }
        }
        self.next.fetch_add(1, Ordering::Relaxed);
        Permit { cell: next, taken: Instant::now() }
    }

    /// Takes back the permit of a request that never reached the server, which
    /// cannot have counted it. Where requests are spread evenly nothing is taken
    /// back: it would be a part of a second.
    pub fn give_back(&self, permit: Permit) {
        let is_ring = self.quota == window_quota();
        // Later than a window the cell may have let another request pass.
        if !is_ring || permit.taken.elapsed() >= WINDOW {
            return;
        }
        *self.cell(permit.cell) = fresh(self.quota);
        lock(&self.given_back).push(permit.cell);
        self.is_given_back.notify_one();
    }

    /// A cell whose permit was given back and that nobody has taken since.
    fn take_given_back(&self) -> Option<usize> {
        let mut given_back = lock(&self.given_back);
        while let Some(cell) = given_back.pop() {
            if self.take(cell).is_none() {
                return Some(cell);
            }
        }
        None
    }

    /// Takes the permit of a cell, or says how long it has none.
    fn take(&self, cell: usize) -> Option<Duration> {
        let checked = self.cell(cell).check();
        checked.err().map(|not_until| not_until.wait_time_from(RuntimeClock.now()))
    }

    fn cell(&self, index: usize) -> MutexGuard<'_, Cell> {
        lock(&self.cells[index])
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

fn fresh(quota: Quota) -> Cell {
    RateLimiter::direct_with_clock(quota, RuntimeClock)
}

/// What is behind it is whole after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            let _sent = limiter.acquire(|_| {}).await;
            sent.push(Instant::now());
        }
        assert_at_most_five_in_sixty_seconds(&sent);
    }

    fn assert_at_most_five_in_sixty_seconds(sent: &[Instant]) {
        for window in sent.windows(6) {
            assert!(window[5] - window[0] > Duration::from_secs(60), "{:?}", window[5] - window[0]);
        }
    }

    /// Requests that never reached the server, at random, between others.
    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_never_makes_a_sixth() {
        let limiter = Limiter::new(Plan::Free {});
        let mut random = fastrand::Rng::with_seed(7);
        let (mut sent, mut under_way) = (Vec::new(), Vec::new());
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(random.u64(0..9_000))).await;
            let permit = limiter.acquire(|_| {}).await;
            if random.bool() {
                sent.push(Instant::now());
            } else {
                under_way.push(permit);
            }
            if random.bool() && !under_way.is_empty() {
                limiter.give_back(under_way.swap_remove(random.usize(0..under_way.len())));
            }
        }
        assert!(sent.len() > 200, "{}", sent.len());
        assert_at_most_five_in_sixty_seconds(&sent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_reached_the_server_costs_nothing() {
        let limiter = Limiter::new(Plan::Free {});
        let begin = Instant::now();
        for _ in 0..100 {
            let permit = limiter.acquire(|_| {}).await;
            limiter.give_back(permit);
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // The limit is what it was: five at once, and the sixth a window later.
        for _ in 0..6 {
            let _sent = limiter.acquire(|_| {}).await;
        }
        assert!(begin.elapsed() >= WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_waits_takes_what_is_given_back() {
        let limiter = Limiter::new(Plan::Free {});
        let mut permits = Vec::new();
        for _ in 0..5 {
            permits.push(limiter.acquire(|_| {}).await);
        }
        let waiting = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move {
                let _sent = limiter.acquire(|_| {}).await;
                Instant::now()
            }
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        limiter.give_back(permits.remove(3));
        let now = Instant::now();
        assert_eq!(waiting.await.unwrap(), now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_reaches_the_limit_within_three_percent() {
        let limiter = Limiter::new(Plan::Free {});
        let begin = Instant::now();
        for _ in 0..501 {
            let _sent = limiter.acquire(|_| {}).await;
        }
        let ideal = Duration::from_secs(500 * 12);
        let taken = begin.elapsed();
        assert!(taken >= ideal && taken.as_secs_f64() < ideal.as_secs_f64() * 1.03, "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_stops_everyone() {
        let limiter = Limiter::new(Plan::Paid {});
        let _sent = limiter.acquire(|_| {}).await;
        limiter.pause(Duration::from_secs(30));
        limiter.pause(Duration::from_secs(10));
        let begin = Instant::now();
        let _sent = limiter.acquire(|_| {}).await;
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
