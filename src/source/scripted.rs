//! A source for tests: slices that yield given rows and then end or fail.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::{Estimate, Page, Pages, Plan, Reading, Slice, Source};
use crate::batch::Rows;
use crate::checkpoint::{Checkpoint, Cover, Options, Span};
use crate::error::{Error, ErrorKind, Result};

/// When scripted rows were fetched.
pub(crate) const EXTRACTED_AT_MS: i64 = 1_700_000_000_000;

/// A slice that yields pages and then ends or fails.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) partition: Arc<str>,
    pub(crate) cover: Cover,
    /// Each a row a line.
    pub(crate) pages: Vec<Vec<u8>>,
    pub(crate) failure: Option<ErrorKind>,
    pub(crate) rows_estimate: Option<u64>,
}

/// A day of January 2024 of a partition.
pub(crate) fn slice(partition: &str, day: i8, pages: &[&[u8]]) -> Script {
    let day = jiff::civil::date(2024, 1, day);
    let partition: Arc<str> = partition.into();
    let span =
        Span { partition: Arc::clone(&partition), from: day, through: day, as_of: Timestamp::UNIX_EPOCH };
    script(partition, Cover::Slice(span), pages)
}

/// A partition that is not sliced by time.
pub(crate) fn whole(partition: &str, pages: &[&[u8]]) -> Script {
    let partition: Arc<str> = partition.into();
    let cover = Cover::Whole { partition: Arc::clone(&partition), as_of: Timestamp::UNIX_EPOCH };
    script(partition, cover, pages)
}

/// The day under way of a partition: its rows cover nothing.
pub(crate) fn unfinished(partition: &str, pages: &[&[u8]]) -> Script {
    script(partition.into(), Cover::Part, pages)
}

fn script(partition: Arc<str>, cover: Cover, pages: &[&[u8]]) -> Script {
    let pages = pages.iter().map(|page| page.to_vec()).collect();
    Script { partition, cover, pages, failure: None, rows_estimate: None }
}

/// The same, failing after its pages.
pub(crate) fn failing(script: Script, kind: ErrorKind) -> Script {
    Script { failure: Some(kind), ..script }
}

impl Script {
    /// Whether it is still to be read.
    fn is_todo(&self, checkpoint: &Checkpoint) -> bool {
        let before =
            |day: &Date| checkpoint.position(&self.partition).is_none_or(|position| position.through < *day);
        match &self.cover {
            Cover::Part | Cover::Foreign(_) => true,
            Cover::Slice(span) => before(&span.through),
            Cover::Whole { partition, .. } => checkpoint.whole_as_of(partition).is_none(),
        }
    }
}

#[async_trait]
impl Slice for Script {
    fn partition(&self) -> &Arc<str> {
        &self.partition
    }

    fn given_up(&self) -> Option<Cover> {
        Some(self.cover.clone()).filter(|cover| matches!(cover, Cover::Whole { .. }))
    }

    async fn read(self: Box<Self>, pages: &Pages) -> Result<Cover> {
        for page in &self.pages {
            let room = pages.room().await;
            let mut rows = Rows::default();
            page.split(|byte| *byte == b'\n').for_each(|row| rows.push(row));
            pages.send(room, Page { rows, extracted_at_ms: EXTRACTED_AT_MS, replaces: None })?;
        }
        match self.failure {
            Some(kind) => Err(Error::new(kind, "scripted")),
            None => Ok(self.cover),
        }
    }
}

/// Yields the slices of each stream that a checkpoint has not.
#[derive(Debug, Default)]
pub(crate) struct Scripted(pub(crate) HashMap<String, Vec<Script>>);

#[async_trait]
impl Source for Scripted {
    fn options(&self, _: &str) -> Options {
        Options::new()
    }

    fn concurrency(&self) -> usize {
        3
    }

    async fn open(&self, stream: &str, have: &Checkpoint, _: Reading) -> Result<Box<dyn Plan>> {
        let scripts = self.0.get(stream).cloned().unwrap_or_default();
        let todo: Vec<_> = scripts.into_iter().filter(|script| script.is_todo(have)).collect();
        let rows = todo.iter().map(|script| script.rows_estimate).sum();
        Ok(Box::new(Listed { rows, ..Listed::new(todo) }))
    }
}

/// A plan of slices that are there already.
pub(crate) struct Listed {
    slices: VecDeque<Box<dyn Slice>>,
    rows: Option<u64>,
}

impl Listed {
    pub(crate) fn new<S: Slice + 'static>(slices: impl IntoIterator<Item = S>) -> Self {
        let slices = slices.into_iter().map(|slice| Box::new(slice) as Box<dyn Slice>);
        Self { slices: slices.collect(), rows: None }
    }
}

#[async_trait]
impl Plan for Listed {
    fn estimate(&self) -> Estimate {
        Estimate { slices: self.slices.len() as u64, rows: self.rows }
    }

    async fn next(&mut self, failed: &HashSet<Arc<str>>) -> Result<Option<Box<dyn Slice>>> {
        while let Some(slice) = self.slices.pop_front() {
            if !failed.contains(slice.partition()) {
                return Ok(Some(slice));
            }
        }
        Ok(None)
    }
}
