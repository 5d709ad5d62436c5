//! A sink used for streams whose progress is one text each: what tests and small programs
//! want.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Move, Portion, Sink, StreamId, Target};
use crate::batch::Reject;
use crate::error::{Error, Result};

/// [`Sink`] for streams whose only shard is the whole of them.
#[async_trait]
pub trait Shardless: Sink {
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

    /// Opens streams together.
    ///
    /// # Errors
    /// As [`Sink::open`], also what keeps only one of them from being opened.
    async fn open_all(&mut self, targets: &[Target]) -> Result<Vec<StreamId>> {
        let opened = self.open(targets).await?;
        opened.into_iter().map(|opened| opened.map(|opened| opened.id)).collect()
    }

    /// Makes all rows written so far and the stream's progress durable.
    ///
    /// # Errors
    /// As [`Sink::commit`], also what the warehouse refuses the stream for.
    async fn commit_one(&mut self, stream: StreamId, progress: &str) -> Result<()> {
        let mut refused = self.commit_all(&[stream], progress).await?;
        refused.pop().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Makes all rows written so far durable with the progress of these streams, which is the
    /// same of each. Returns those that were refused.
    ///
    /// # Errors
    /// As [`Sink::commit`].
    async fn commit_all(&mut self, streams: &[StreamId], progress: &str) -> Result<Vec<(StreamId, Error)>> {
        let streams: Vec<(StreamId, &[Reject])> = streams.iter().map(|stream| (*stream, &[][..])).collect();
        self.commit_rejecting(&streams, progress).await
    }

    /// As [`Shardless::commit_all`], with the rows that were rejected of each stream.
    ///
    /// # Errors
    /// As [`Sink::commit`].
    async fn commit_rejecting(
        &mut self,
        streams: &[(StreamId, &[Reject])],
        progress: &str,
    ) -> Result<Vec<(StreamId, Error)>> {
        let text = || progress.to_owned();
        let moves = || vec![Move { shard: Arc::from(""), position: Some(progress.to_owned()) }];
        let portions: Vec<Portion<'_>> = streams
            .iter()
            .map(|(stream, rejected)| Portion { rejected, ..Portion::new(*stream, moves(), &text) })
            .collect();
        self.commit(&portions).await
    }
}

impl<S: Sink + ?Sized> Shardless for S {}
