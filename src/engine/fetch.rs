//! Reads slices ahead of the one that is being committed.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::checkpoint::Cover;
use crate::error::{Error, Result};
use crate::source::{Ahead, Page, PageReceiver, Pages, Slice};

/// What comes of the current slice.
pub(super) enum Fetched {
    /// More rows.
    Page(Page),
    /// Its end, and what it covers.
    End(Cover),
}

/// Keeps a number of slices under way and yields their pages in the plan's order.
pub(super) struct Fetcher {
    waiting: VecDeque<Box<dyn Slice>>,
    running: VecDeque<Running>,
    current: Option<Running>,
    concurrency: usize,
    /// Bounds what the slices have read together.
    ahead: Arc<Ahead>,
    /// Slices that were begun.
    begun: usize,
}

struct Running {
    partition: Arc<str>,
    given_up: Option<Cover>,
    pages: PageReceiver,
    task: JoinHandle<Result<Cover>>,
}

impl Fetcher {
    pub(super) fn new(slices: Vec<Box<dyn Slice>>, concurrency: usize) -> Self {
        Self {
            waiting: slices.into(),
            running: VecDeque::new(),
            current: None,
            concurrency: concurrency.max(1),
            ahead: Arc::default(),
            begun: 0,
        }
    }

    /// Makes the next slice current, skipping those of failed partitions. False at
    /// the end of the plan.
    pub(super) fn start_next(&mut self, failed: &HashSet<Arc<str>>) -> bool {
        self.current = None;
        self.waiting.retain(|slice| !failed.contains(slice.partition()));
        self.running.retain(|running| {
            let keep = !failed.contains(&running.partition);
            if !keep {
                running.task.abort();
            }
            keep
        });
        while self.running.len() < self.concurrency
            && let Some(slice) = self.waiting.pop_front()
        {
            let (sender, pages) = Pages::channel(&self.ahead, self.begun);
            self.begun += 1;
            let partition = Arc::clone(slice.partition());
            let given_up = slice.given_up();
            let task = tokio::spawn(async move { slice.read(&sender).await });
            self.running.push_back(Running { partition, given_up, pages, task });
        }
        self.current = self.running.pop_front();
        if let Some(current) = &self.current {
            current.pages.take_turn();
        }
        self.current.is_some()
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
        if let Some(page) = current.pages.next().await {
            return Ok(Fetched::Page(page));
        }
        let outcome = (&mut current.task).await;
        // A finished task must not be awaited again.
        self.current = None;
        match outcome {
            Ok(outcome) => outcome.map(Fetched::End),
            Err(panic) => Err(Error::bug("reading a slice failed unexpectedly").caused_by(panic)),
        }
    }

    /// Ends everything that is under way.
    pub(super) async fn abort(&mut self) {
        for running in self.current.take().into_iter().chain(self.running.drain(..)) {
            running.task.abort();
            // An aborted task ends at its next await; its outcome no longer matters.
            let _ended = running.task.await;
        }
        self.waiting.clear();
    }
}
