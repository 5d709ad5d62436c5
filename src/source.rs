//! Where rows come from, as the engine sees it: slices that yield pages.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::batch::{Extent, Rows};
use crate::checkpoint::{Checkpoint, Cover, Options};
use crate::error::{Error, ErrorKind, Result};

pub use ahead::{AHEAD_BYTES_MAX, Ahead, Lane, Room};

mod ahead;

/// How much of what may still change is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Days that may have changed are read again, and the current day as far as
    /// it goes: for a sink that replaces rows by key.
    Mutable,
    /// Each day once, when it is over: for a sink that only adds.
    Once,
    /// Everything once, the current day as far as it goes: for a sink that replaces
    /// the whole. What was read is not read again until the next snapshot.
    Snapshot,
}

/// A source of rows. Of what its streams are nobody else knows more than their names, and
/// the tables that their rows are of.
#[async_trait]
pub trait Source: Send + Sync {
    /// Options that shape the rows of a stream; see [`Options`].
    fn options(&self, stream: &str) -> Options;

    /// How many slices of a stream may be read at the same time.
    fn concurrency(&self) -> usize;

    /// What is still to be read of a stream beyond what `have` says.
    ///
    /// # Errors
    /// When the stream cannot be read with this configuration.
    async fn open(&self, stream: &str, have: &Checkpoint, reading: Reading) -> Result<Box<dyn Plan>>;
}

/// A stream's slices, made one by one as they are asked for: what a plan takes in
/// memory grows with partitions and not with slices.
#[async_trait]
pub trait Plan: Send {
    /// What the plan held when it was made, told without making the slices.
    fn estimate(&self) -> Estimate;

    /// The next slice, in the order in which they must be committed; none at the
    /// end. Slices of one partition join without a gap, and those of partitions
    /// that `failed` are left out, because they would leave one.
    ///
    /// # Errors
    /// When the source has to be asked what there is, and does not answer.
    async fn next(&mut self, failed: &HashSet<Arc<str>>) -> Result<Option<Box<dyn Slice>>>;
}

/// How much there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Slices.
    pub slices: u64,
    /// About how many rows they have, where that can be told without a request.
    pub rows: Option<u64>,
}

/// A piece of a stream: the unit of progress.
#[async_trait]
pub trait Slice: Send {
    /// The ticker, or empty.
    fn partition(&self) -> &Arc<str>;

    /// What counts as tried when the slice fails for a reason of its partition alone.
    /// A pass over a stream without time would wait for that partition for ever.
    fn given_up(&self) -> Option<Cover> {
        None
    }

    /// Reads the slice, sending its rows page by page, and returns what is covered
    /// now: less than was asked for when the source does not have the end yet.
    ///
    /// # Errors
    /// When any part of the slice could not be read. Pages that were sent before
    /// belong to an unfinished slice then.
    async fn read(self: Box<Self>, pages: &Pages) -> Result<Cover>;
}

/// Where a slice sends its pages.
#[derive(Debug)]
pub struct Pages {
    lane: Arc<Lane>,
    slice: u64,
    // Unbounded, because every page in it has a room.
    sender: mpsc::UnboundedSender<(Page, Room)>,
}

/// Where the engine takes the pages of a slice.
#[derive(Debug)]
pub struct PageReceiver {
    lane: Arc<Lane>,
    slice: u64,
    receiver: mpsc::UnboundedReceiver<(Page, Room)>,
}

/// Rows of one page and when they were fetched.
#[derive(Debug)]
pub struct Page {
    /// The rows.
    pub rows: Rows,
    /// Milliseconds since the UNIX epoch.
    pub extracted_at_ms: i64,
    /// On a slice's first page, when the slice's rows are all that the source has
    /// of a part of the table: that part.
    pub replaces: Option<Extent>,
}

impl Pages {
    /// A place for the pages of a slice, by its number in the plan of its stream.
    pub fn channel(lane: &Arc<Lane>, slice: u64) -> (Self, PageReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let lane = || Arc::clone(lane);
        (Self { lane: lane(), slice, sender }, PageReceiver { lane: lane(), slice, receiver })
    }

    /// Waits until there is room for another page: to be called before it is read.
    pub async fn room(&self) -> Room {
        self.lane.room(self.slice).await
    }

    /// Sends a page; one without rows is as good as sent, and the reader never sees
    /// it.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when nobody reads any more.
    pub fn send(&self, mut room: Room, page: Page) -> Result<()> {
        room.fit(page.rows.bytes());
        if page.rows.is_empty() {
            return Ok(());
        }
        self.sender
            .send((page, room))
            .map_err(|_| Error::new(ErrorKind::Interrupted, "the reader of this slice is gone"))
    }
}

impl PageReceiver {
    /// Says that this slice is the one being read now.
    pub fn take_turn(&self) {
        self.lane.turn(self.slice);
    }

    /// The next page and its room; none when the slice sends no more.
    ///
    /// # Cancel safety
    /// Nothing is lost: a page that was not returned stays.
    pub async fn next(&mut self) -> Option<(Page, Room)> {
        self.receiver.recv().await
    }
}

#[cfg(test)]
pub(crate) mod scripted;
