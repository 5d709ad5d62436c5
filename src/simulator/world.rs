//! What is simulated: a market, the time in it, and what was asked so far.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::Config;
use super::market::Market;
use super::stats::Stats;

/// What the server answers from, and what those who run it look at.
pub struct World {
    pub market: Market,
    pub stats: Stats,
    now: Mutex<Timestamp>,
}

impl World {
    /// A world in which nothing was asked yet.
    pub fn new(config: &Config) -> Self {
        Self {
            market: Market::new(config.seed, config.tickers),
            stats: Stats::default(),
            now: Mutex::new(config.now),
        }
    }

    /// The simulated time.
    pub fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the simulated time.
    pub fn set_now(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
