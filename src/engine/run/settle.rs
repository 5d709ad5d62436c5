//! What of the streams under way is committed when, and which of them are finished.

use tokio::time::Instant;

use super::{Failure, Run};
use crate::engine::feed::Feed;
use crate::engine::finish::finish;
use crate::engine::stream::{Committed, StreamRun, text_of};
use crate::failpoint;
use crate::observe;
use crate::sink::{Joins, Portion, StreamId};

impl Run<'_> {
    /// Commits what is covered, of streams that are worth it or of all, and finishes the
    /// streams that ended.
    pub(super) async fn settle(&mut self, feed: &mut dyn Feed, all: bool) -> Result<(), Failure> {
        let is_due = |stream: &StreamRun, index: usize, run: &Self| {
            stream.is_dirty()
                && (all || run.ended.contains(&index) || stream.uncommitted() >= run.sink.worth(stream.id))
        };
        let dirty: Vec<usize> = (0..self.streams.len())
            .filter(|index| self.streams[*index].as_ref().is_some_and(|stream| is_due(stream, *index, self)))
            .collect();
        let together = if self.joins == Joins::One { 1 } else { dirty.len().max(1) };
        for streams in dirty.chunks(together) {
            self.commit(streams, feed).await?;
        }
        self.finish_ended().await?;
        let left: Vec<u64> = self
            .streams
            .iter()
            .flatten()
            .filter(|stream| stream.is_dirty())
            .map(StreamRun::uncommitted)
            .collect();
        self.uncommitted = left.iter().sum();
        self.dirty = left.len();
        self.sunk = 0;
        if !left.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            return Ok(());
        }
        self.since = None;
        feed.committed().map_err(Failure::Feed)
    }

    /// Makes what is covered of these streams durable together with the progress past it.
    async fn commit(&mut self, dirty: &[usize], feed: &mut dyn Feed) -> Result<(), Failure> {
        for index in dirty {
            if let Some(batch) = self.stream(*index)?.take_covered() {
                self.write(*index, batch).await?;
            }
            let name = self.names[*index].clone();
            let moved = self.stream(*index)?.move_checkpoint();
            moved.map_err(|error| Failure::Sink(error.in_stream(&name)))?;
        }
        failpoint::pass();
        let committed = {
            let streams: Vec<&StreamRun> =
                dirty.iter().filter_map(|index| self.streams[*index].as_ref()).collect();
            let texts: Vec<_> = streams.iter().map(|stream| text_of(&stream.checkpoint)).collect();
            let portions: Vec<Portion<'_>> =
                streams.iter().zip(&texts).map(|(stream, text)| stream.portion(text)).collect();
            self.sink.commit(&portions).await
        };
        let refused = committed.map_err(Failure::Sink)?;
        failpoint::pass();
        for (id, error) in refused {
            let is = |index: &&usize| self.streams[**index].as_ref().is_some_and(|stream| stream.id == id);
            if let Some(index) = dirty.iter().find(is).copied() {
                feed.dropped(index);
                self.end_failed(index, error);
            }
        }
        for index in dirty {
            if self.told.contains(index) {
                continue;
            }
            let Committed { rows, rejected, slices } = self.stream(*index)?.committed();
            self.reports[*index].rows += rows;
            self.reports[*index].rejected += rejected;
            self.reports[*index].slices += slices;
            self.event(&observe::Event::Committed { stream: &self.names[*index], rows });
        }
        Ok(())
    }

    /// Ends the runs of streams that were read to their end and committed.
    async fn finish_ended(&mut self) -> Result<(), Failure> {
        let is_committed =
            |index: &usize| self.streams[*index].as_ref().is_none_or(|stream| !stream.is_dirty());
        let ended: Vec<usize> = self.ended.iter().copied().filter(is_committed).collect();
        ended.iter().for_each(|index| {
            self.ended.remove(index);
        });
        let whole = |index: &&usize| {
            self.streams[**index].as_ref().filter(|stream| stream.is_whole()).map(|stream| stream.id)
        };
        let finished: Vec<StreamId> = ended.iter().filter_map(|index| whole(&index)).collect();
        let mut refused = finish(self.sink, &finished).await.map_err(Failure::Sink)?;
        for index in ended {
            let Some(stream) = self.streams[index].take() else { continue };
            if let Some(error) = refused.remove(&stream.id) {
                self.reports[index].reached = stream.checkpoint.reached();
                self.end_failed(index, error);
                continue;
            }
            self.reports[index].reached = stream.checkpoint.reached();
            self.told.insert(index);
            self.tell_rejected(index);
            let name = &self.names[index];
            let rows = self.reports[index].rows;
            if stream.is_whole() {
                self.event(&observe::Event::StreamFinished { stream: name, rows });
            } else if stream.keeps_what_was() {
                let message =
                    "not all of it could be read, so that nothing takes the place of what was there";
                self.event(&observe::Event::Warning { stream: Some(name), message });
            }
            if let Some(error) = stream.failure(name, &self.reports[index].errors) {
                self.event(&observe::Event::StreamFailed { stream: name, error: &error });
            }
        }
        Ok(())
    }

    /// At the end of a run: commits what is covered and takes back everything else.
    pub(super) async fn keep_covered(&mut self, feed: &mut dyn Feed) -> Result<(), Failure> {
        for index in 0..self.streams.len() {
            if self.streams[index].is_none() || self.ended.contains(&index) {
                continue;
            }
            let rows = self.forget_uncovered(index).await?;
            if rows > 0 {
                self.event(&observe::Event::Forgotten { stream: &self.names[index], rows });
            }
        }
        self.settle(feed, true).await?;
        for index in 0..self.streams.len() {
            if let Some(stream) = &self.streams[index] {
                self.reports[index].reached = stream.checkpoint.reached();
                self.tell_rejected(index);
            }
        }
        Ok(())
    }
}
