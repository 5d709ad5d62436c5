//! Reads slices ahead of the one that is being committed.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, unconstrained};

use crate::checkpoint::Cover;
use crate::error::{Error, Result};
use crate::source::{Ahead, Lane, Page, PageReceiver, Pages, Plan, Room, Slice};

/// What comes of the current slice.
pub(super) enum Fetched {
    /// More rows, and the room that they take until the engine has them.
    Page(Box<Page>, Room),
    /// Its end, and what it covers.
    End(Cover),
}

/// Slices that are begun before the engine takes them, read or not: when the one
/// whose turn it is takes long, so many others are read meanwhile. Their rows are
/// bounded by [`Ahead`], and a slice without rows is little.
const BEGUN_MAX: usize = 512;

/// Keeps a number of slices under way and yields their pages in the plan's order.
pub(super) struct Fetcher {
    plan: Box<dyn Plan>,
    /// Why the plan has no more slices: its end, or a failure that is still to be told.
    planned: Option<Result<()>>,
    running: VecDeque<Running>,
    current: Option<Running>,
    /// Lets as many slices be read at the same time as the source wants.
    reading: Arc<Semaphore>,
    /// Bounds what the slices have read, with those of other streams.
    lane: Arc<Lane>,
    /// Slices that were begun.
    begun: u64,
    /// Partitions that had failed when slices were last dropped.
    failed: usize,
}

struct Running {
    partition: Arc<str>,
    given_up: Option<Cover>,
    pages: PageReceiver,
    task: JoinHandle<Result<Cover>>,
}

/// Whoever is not taken any more is not read any more.
impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetcher {
    /// A fetcher of the slices of `plan`, of which `concurrency` are read at the same
    /// time, within the bound that they share with other streams.
    pub(super) fn new(plan: Box<dyn Plan>, concurrency: usize, ahead: &Arc<Ahead>) -> Self {
        Self {
            plan,
            planned: None,
            running: VecDeque::new(),
            current: None,
            reading: Arc::new(Semaphore::new(concurrency.max(1))),
            lane: ahead.lane(),
            begun: 0,
            failed: 0,
        }
    }

    /// Makes the next slice current, skipping those of failed partitions. False at
    /// the end of the plan.
    ///
    /// # Errors
    /// When the plan could not be made any further, once all before it was taken.
    ///
    /// # Cancel safety
    /// Nothing is lost: a slice that was planned is under way.
    pub(super) async fn start_next(&mut self, failed: &HashSet<Arc<str>>) -> Result<bool> {
        self.current = None;
        self.drop_failed(failed);
        while self.planned.is_none() && self.running.len() < BEGUN_MAX {
            match self.plan.next(failed).await {
                Ok(Some(slice)) => self.begin(slice),
                end => self.planned = Some(end.map(drop)),
            }
        }
        self.current = self.running.pop_front();
        match &self.current {
            Some(current) => current.pages.take_turn(),
            None => self.planned.replace(Ok(())).unwrap_or(Ok(()))?,
        }
        Ok(self.current.is_some())
    }

    /// Reads a slice as soon as those begun before it let it.
    fn begin(&mut self, slice: Box<dyn Slice>) {
        let (sender, pages) = Pages::channel(&self.lane, self.begun);
        self.begun += 1;
        let (partition, given_up) = (Arc::clone(slice.partition()), slice.given_up());
        // Slices queue up here, in the plan's order: tasks run in any, and one whose
        // turn it is must not wait behind others that wait for it.
        let mut leave = Box::pin(unconstrained(Arc::clone(&self.reading).acquire_owned()));
        let leave_now = leave.as_mut().now_or_never();
        let task = tokio::spawn(async move {
            let _reading = match leave_now {
                Some(leave) => leave,
                None => leave.await,
            };
            slice.read(&sender).await
        });
        self.running.push_back(Running { partition, given_up, pages, task });
    }

    fn drop_failed(&mut self, failed: &HashSet<Arc<str>>) {
        if failed.len() == self.failed {
            return;
        }
        self.failed = failed.len();
        self.running.retain(|running| !failed.contains(&running.partition));
    }

    /// The partition of the current slice.
    pub(super) fn partition(&self) -> &Arc<str> {
        &self.current.as_ref().expect("called between start_next and the slice's end").partition
    }

    /// What the current slice covers when its partition alone fails.
    pub(super) fn given_up(&self) -> Option<Cover> {
        self.current.as_ref().and_then(|current| current.given_up.clone())
    }

    /// The next page of the current slice, or its end.
    ///
    /// # Cancel safety
    /// Nothing is lost: a page that was not returned stays in the channel.
    pub(super) async fn next(&mut self) -> Result<Fetched> {
        let current = self.current.as_mut().expect("called between start_next and the slice's end");
        if let Some((page, room)) = current.pages.next().await {
            return Ok(Fetched::Page(Box::new(page), room));
        }
        let outcome = (&mut current.task).await;
        // A finished task must not be awaited again.
        self.current = None;
        match outcome {
            Ok(outcome) => outcome.map(Fetched::End),
            Err(panic) => Err(Error::bug("reading a slice failed unexpectedly").caused_by(panic)),
        }
    }
}

#[cfg(test)]
mod tests;
