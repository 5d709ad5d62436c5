//! The Polygon.io (now Massive) REST API as a source of slices.

mod client;
mod estimate;
mod page;
mod plan;
mod probe;
#[cfg(test)]
mod recorded;
mod repeat;
mod request;
mod slice;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::calendar;
use crate::catalog::{Sizes, Stream};
use crate::checkpoint::{Checkpoint, Options};
use crate::clock::Clock;
use crate::config::source::SourceConfig;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::source::{Estimate, Plan, Reading, Slice, Source};

use client::Client;
use plan::SlicePlan;
use slice::PolygonSlice;
pub use slice::part;

/// As many slices of a stream are read at the same time as requests may be made
/// while one of them is answered, were it to take this long.
const LATENCY_MS: u64 = 600;

/// But so many at least: while one is committed the next one is read.
const CONCURRENCY_MIN: u64 = 2;

/// And no more, whatever the plan allows: each has a connection of its own.
const CONCURRENCY_MAX: u64 = 64;

/// The API under one key.
#[derive(Debug)]
pub struct PolygonSource {
    client: Arc<Client>,
    as_of: Timestamp,
}

/// What a probe of the key found.
#[derive(Debug)]
pub struct Probe {
    /// Streams that the key's plan does not include, with the vendor's reason.
    pub lacking: Vec<(String, Error)>,
}

impl PolygonSource {
    /// A client for this configuration, which sees the market as of now for as long
    /// as it lives. Nothing is requested yet.
    ///
    /// # Errors
    /// When the TLS set-up of the machine cannot be used.
    pub fn new(config: SourceConfig, clock: Clock, observer: Arc<dyn Observer>) -> Result<Self> {
        let client = Arc::new(Client::new(config, observer)?);
        Ok(Self { client, as_of: clock.now() })
    }

    /// Tries the key with as few requests as tell what it may read: at most five on
    /// the free plan.
    ///
    /// # Errors
    /// When the key is refused, the API cannot be reached, or a ticker does not exist.
    pub async fn probe(&self) -> Result<Probe> {
        probe::probe(&self.client, calendar::day_of(self.as_of)).await
    }

    /// Requests a minute that the plan allows.
    pub fn requests_per_minute(&self) -> u32 {
        self.client.limiter().per_minute()
    }
}

#[async_trait]
impl Source for PolygonSource {
    fn options(&self, stream: &Stream) -> Options {
        let is_bars = stream.spec.sizes == Sizes::Bars || stream.spec.path.contains("/aggs/");
        if is_bars {
            Options::from([("adjusted".to_owned(), self.client.config().adjusted.to_string())])
        } else {
            Options::new()
        }
    }

    fn concurrency(&self) -> usize {
        let meanwhile = u64::from(self.requests_per_minute()) * LATENCY_MS / 60_000;
        meanwhile.clamp(CONCURRENCY_MIN, CONCURRENCY_MAX) as usize
    }

    async fn open(&self, stream: &Stream, have: &Checkpoint, reading: Reading) -> Result<Box<dyn Plan>> {
        Ok(Box::new(PolygonPlan {
            client: Arc::clone(&self.client),
            stream: Arc::new(stream.clone()),
            slices: SlicePlan::new(stream, self.client.config(), have, reading, self.as_of)?,
            as_of: self.as_of,
        }))
    }
}

/// The slices of a stream, with what they need to be read.
struct PolygonPlan {
    client: Arc<Client>,
    stream: Arc<Stream>,
    slices: SlicePlan,
    as_of: Timestamp,
}

#[async_trait]
impl Plan for PolygonPlan {
    fn estimate(&self) -> Estimate {
        self.slices.estimate()
    }

    async fn next(&mut self, failed: &HashSet<Arc<str>>) -> Result<Option<Box<dyn Slice>>> {
        let slice = |planned| -> Box<dyn Slice> {
            Box::new(PolygonSlice {
                client: Arc::clone(&self.client),
                stream: Arc::clone(&self.stream),
                planned,
                as_of: self.as_of,
            })
        };
        Ok(self.slices.next(failed).map(slice))
    }
}
