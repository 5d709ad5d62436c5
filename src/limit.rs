//! The rate limit of a key: one limiter, shared by everything that uses the key, and
//! fairly: of the streams that wait the one goes that went least recently, however
//! many requests another one has.

mod queue;

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

use queue::Queue;

/// Requests in any 60 seconds on the free plan [vendor documentation].
const FREE_PER_MINUTE: u32 = 5;

/// Requests a second on a paid plan [vendor: "stay under 100 requests per second"].
const PAID_PER_SECOND: u32 = 95;

/// Above a limit of a few requests a minute one that went late, because a clock ticks
/// in milliseconds and a machine is busy, is made up for: so much time's requests may
/// go at once.
const MADE_UP: Duration = Duration::from_millis(20);

/// Of the plan by the second one is made up for: 97 in any second at most.
const PAID_AT_ONCE: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

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
    queue: Arc<Queue>,
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
                    .allow_burst(PAID_AT_ONCE),
                1,
                PAID_PER_SECOND * 60,
            ),
            Plan::Custom { requests_per_minute } if requests_per_minute.get() <= RING_MAX => {
                (window_quota(), requests_per_minute.get(), requests_per_minute.get())
            }
            Plan::Custom { requests_per_minute } => (
                Quota::with_period(WINDOW / requests_per_minute.get())
                    .expect("a period above zero")
                    .allow_burst(at_once(requests_per_minute)),
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
            queue: Arc::default(),
            paused_until: watch::Sender::new(None),
            per_minute,
        })
    }

    /// Requests a minute in the long run.
    pub fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Waits until a request of `stream` may be sent. `waiting` is told once when that takes
    /// longer than a second, with the moment of the next try.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing, or the one permit that it waited for.
    pub async fn acquire(&self, stream: &str, waiting: impl Fn(Instant)) -> Permit {
        // One waits at the cell, the rest behind it.
        let _turn = self.queue.turn(stream).await;
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

/// How many requests may go at once where they are spread evenly: no window of 60
/// seconds holds more than the limit, because [`WINDOW`] is longer.
fn at_once(per_minute: NonZeroU32) -> NonZeroU32 {
    let made_up = u128::from(per_minute.get()) * MADE_UP.as_millis() / 60_000 + 2;
    let minute = u128::from(per_minute.get()) * 60_000 / WINDOW.as_millis();
    let spare = u128::from(per_minute.get()) - minute;
    NonZeroU32::new(made_up.min(spare) as u32).unwrap_or(NonZeroU32::MIN)
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
mod tests;
