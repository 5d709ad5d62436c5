//! The Polygon.io (now Massive) REST API as a source of slices.

mod client;
mod continuation;
mod estimate;
mod page;
mod plan;
mod probe;
#[cfg(test)]
mod recorded;
mod repeat;
mod request;
mod rows;
mod slice;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::calendar;
use crate::catalog::{Partition, Sizes, Stream, StreamSpec, streams};
use crate::checkpoint::{Checkpoint, Options};
use crate::clock::{Clock, NOW_VARIABLE};
use crate::config::source::SourceConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::source::{Estimate, Plan, Reading, Slice, Source};

use client::{CLOCKS_DIFFER_MAX, Client, ClockCheck};
use plan::SlicePlan;
#[cfg(test)]
pub(crate) use rows::transcoder;
use slice::PolygonSlice;
pub use slice::part;

/// As many slices of a stream are read at the same time as requests may be made
/// while one of them is answered, were it to take this long.
const LATENCY_MS: u64 = 500;

/// But so many at least: while one is committed the next one is read.
const CONCURRENCY_MIN: u64 = 2;

/// And no more, whatever the plan allows: each has a connection of its own.
const CONCURRENCY_MAX: u64 = 48;

/// The API under one key.
#[derive(Debug)]
pub struct PolygonSource {
    client: Arc<Client>,
    /// All that this configuration has.
    streams: Vec<Arc<Stream>>,
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
        let streams = streams(&config.bar_sizes).into_iter().map(Arc::new).collect();
        Ok(Self { client: Arc::new(Client::new(config, ClockCheck::new(clock), observer)?), streams })
    }

    /// Refuses streams that cannot be read with this configuration, before the first
    /// of them is begun.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] naming them.
    pub fn assert_ready<'a>(&self, streams: impl IntoIterator<Item = &'a Stream>) -> Result<()> {
        let needy = |stream: &&Stream| stream.spec.partition == Partition::Ticker;
        let needy: Vec<&str> = streams.into_iter().filter(needy).map(|stream| stream.name.as_str()).collect();
        if needy.is_empty() || !self.client.config().tickers.is_empty() {
            return Ok(());
        }
        let (last, others) = needy.split_last().expect("one at least");
        let names = if others.is_empty() {
            format!("{last} is")
        } else {
            format!("{} and {last} are", others.join(", "))
        };
        Err(Error::config(format!("`tickers` is empty, and {names} read ticker by ticker"))
            .hint("list tickers in the source, such as `tickers: [AAPL]`, or leave the streams out"))
    }

    fn stream(&self, name: &str) -> Result<&Arc<Stream>> {
        let found = self.streams.iter().find(|stream| stream.name == name);
        found.ok_or_else(|| Error::bug(format!("the API has no stream {name}")))
    }

    /// What a run would read, told without a request.
    ///
    /// # Errors
    /// As those of [`Source::open`], by this machine's clock alone.
    pub fn estimate(&self, stream: &Stream, have: &Checkpoint, reading: Reading) -> Result<Estimate> {
        self.ahead(stream, have)?;
        let slices = SlicePlan::new(stream, self.client.config(), have, reading, self.client.as_of())?;
        Ok(slices.estimate())
    }

    /// Refuses progress that was made as of a moment which has not come: a machine
    /// whose clock was ahead counted days as read that were not over. How far it was
    /// right nobody knows.
    fn ahead(&self, stream: &Stream, checkpoint: &Checkpoint) -> Result<()> {
        let limit = self.client.as_of() + CLOCKS_DIFFER_MAX + CLOCKS_DIFFER_MAX;
        let made = plan::made_as_of(stream, self.client.config(), checkpoint);
        let Some(made) = made.filter(|made| *made > limit) else {
            return Ok(());
        };
        let [made, now] = [made, self.client.as_of()].map(|moment| moment.strftime("%FT%TZ").to_string());
        let anew = "read the stream anew, all of it, with `tapeline reset` or without its state";
        let error = |message, hint| Err(Error::new(ErrorKind::State, message).hint(hint));
        match self.client.is_as_of_chosen() {
            true => error(
                format!("the progress was made as of {made}, which is later than {NOW_VARIABLE}, {now}"),
                format!("set it to a later moment or unset it; else {anew}"),
            ),
            false => error(
                format!(
                    "the progress was made as of {made}, and it is {now} now: the clock of the machine that made it was ahead"
                ),
                format!("days that it says were read may be missing: {anew}"),
            ),
        }
    }

    /// Tries the key with as few requests as tell what it may read: at most five on
    /// the free plan.
    ///
    /// # Errors
    /// When the key is refused, the API cannot be reached, or a ticker does not exist.
    pub async fn probe(&self) -> Result<Probe> {
        probe::probe(&self.client, calendar::day_of(self.client.as_of())).await
    }

    /// Requests a minute that the plan allows.
    pub fn requests_per_minute(&self) -> u32 {
        self.client.limiter().per_minute()
    }
}

#[async_trait]
impl Source for PolygonSource {
    fn options(&self, stream: &str) -> Options {
        let is_bars = |spec: &StreamSpec| spec.sizes == Sizes::Bars || spec.path.contains("/aggs/");
        if self.stream(stream).is_ok_and(|stream| is_bars(stream.spec)) {
            Options::from([("adjusted".to_owned(), self.client.config().adjusted.to_string())])
        } else {
            Options::new()
        }
    }

    fn concurrency(&self) -> usize {
        let meanwhile = u64::from(self.requests_per_minute()) * LATENCY_MS / 60_000;
        meanwhile.clamp(CONCURRENCY_MIN, CONCURRENCY_MAX) as usize
    }

    async fn open(&self, stream: &str, have: &Checkpoint, reading: Reading) -> Result<Box<dyn Plan>> {
        let stream = self.stream(stream)?;
        if let Err(error) = self.ahead(stream, have) {
            // It may be this machine's clock that is wrong.
            self.client.confirm_clock().await?;
            return Err(error);
        }
        let as_of = self.client.as_of();
        Ok(Box::new(PolygonPlan {
            client: Arc::clone(&self.client),
            stream: Arc::clone(stream),
            slices: SlicePlan::new(stream, self.client.config(), have, reading, as_of)?,
            as_of,
            refused: Arc::default(),
        }))
    }
}

/// The slices of a stream, with what they need to be read.
struct PolygonPlan {
    client: Arc<Client>,
    stream: Arc<Stream>,
    slices: SlicePlan,
    as_of: Timestamp,
    /// How many partitions in a row the API did not answer.
    refused: Arc<AtomicUsize>,
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
                refused: Arc::clone(&self.refused),
            })
        };
        Ok(self.slices.next(failed).map(slice))
    }
}
