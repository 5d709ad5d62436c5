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

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::calendar;
use crate::catalog::{Sizes, Stream};
use crate::checkpoint::{Checkpoint, Options};
use crate::clock::Clock;
use crate::config::source::{Plan, SourceConfig};
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::source::{Reading, Slice, Source};

use client::Client;
pub use estimate::requests;
use slice::PolygonSlice;

/// Slices read at the same time on a plan with room for it: enough to hide the
/// latency of the API, few enough that their pages stay below 50 MB.
const CONCURRENCY: usize = 3;

/// And where the rate limit is what takes the time.
const CONCURRENCY_LIMITED: usize = 2;

/// Up to this many requests a minute the rate limit is what takes the time.
const LIMITED_PER_MINUTE: u32 = 120;

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
        match self.client.config().plan {
            Plan::Paid {} => CONCURRENCY,
            _ if self.requests_per_minute() > LIMITED_PER_MINUTE => CONCURRENCY,
            _ => CONCURRENCY_LIMITED,
        }
    }

    async fn slices(
        &self,
        stream: &Stream,
        checkpoint: &Checkpoint,
        reading: Reading,
    ) -> Result<Vec<Box<dyn Slice>>> {
        let planned = plan::slices(stream, self.client.config(), checkpoint, reading, self.as_of)?;
        Ok(planned
            .into_iter()
            .map(|planned| -> Box<dyn Slice> {
                Box::new(PolygonSlice {
                    client: Arc::clone(&self.client),
                    stream: stream.clone(),
                    planned,
                    as_of: self.as_of,
                })
            })
            .collect())
    }
}
