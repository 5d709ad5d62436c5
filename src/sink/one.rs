//! A sink used for one stream at a time whose progress is one text: what tests and
//! small programs want.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Move, Portion, Sink, StreamId, Target};
use crate::error::{Error, Result};

/// [`Sink`] for a stream by itself, whose only shard is the whole of it.
#[async_trait]
pub trait OneStream: Sink {
    /// Opens a stream and returns its progress.
    ///
    /// # Errors
    /// As [`Sink::open`], also what keeps only this stream from being opened.
    async fn open_one(&mut self, target: &Target) -> Result<(StreamId, Option<String>)> {
        let opened = self.open(std::slice::from_ref(target)).await?.pop();
        let opened = opened.ok_or_else(|| Error::bug("a sink opened nothing"))??;
        let mut progress = opened.progress;
        Ok((opened.id, progress.text.or_else(|| progress.positions.remove(""))))
    }

    /// Makes all rows written so far and the stream's progress durable.
    ///
    /// # Errors
    /// As [`Sink::commit`], also what the warehouse refuses the stream for.
    async fn commit_one(&mut self, stream: StreamId, progress: &str) -> Result<()> {
        let moves = vec![Move { shard: Arc::from(""), position: Some(progress.to_owned()) }];
        let text = || progress.to_owned();
        let mut refused = self.commit(&[Portion::new(stream, moves, &text)]).await?;
        refused.pop().map_or(Ok(()), |(_, error)| Err(error))
    }
}

impl<S: Sink + ?Sized> OneStream for S {}
