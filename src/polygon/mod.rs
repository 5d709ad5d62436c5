//! The Polygon.io (now Massive) REST API as a source of slices.

use std::sync::Arc;

use async_trait::async_trait;

use crate::catalog::Stream;
use crate::checkpoint::{Checkpoint, Options};
use crate::clock::Clock;
use crate::config::source::SourceConfig;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::source::{Reading, Slice, Source};

/// The API under one key.
#[derive(Debug)]
pub struct PolygonSource {
    config: SourceConfig,
}

/// What a probe of the key found.
#[derive(Debug)]
pub struct Probe {
    /// Streams that the key's plan does not include, with the vendor's reason.
    pub lacking: Vec<(String, Error)>,
}

impl PolygonSource {
    /// A client for this configuration. Nothing is requested yet.
    ///
    /// # Errors
    /// When the TLS set-up of the machine cannot be used.
    pub fn new(config: SourceConfig, _clock: Clock, _observer: Arc<dyn Observer>) -> Result<Self> {
        Ok(Self { config })
    }

    /// Tries the key with as few requests as tell what it may read.
    ///
    /// # Errors
    /// When the key is refused, the API cannot be reached, or a ticker does not exist.
    pub async fn probe(&self) -> Result<Probe> {
        let _ = &self.config;
        Err(Error::bug("not there yet"))
    }
}

#[async_trait]
impl Source for PolygonSource {
    fn options(&self, _stream: &Stream) -> Options {
        Options::new()
    }

    fn concurrency(&self) -> usize {
        4
    }

    async fn slices(&self, _: &Stream, _: &Checkpoint, _: Reading) -> Result<Vec<Box<dyn Slice>>> {
        Err(Error::bug("not there yet"))
    }
}
