//! Where rows come from, as the engine sees it: slices that yield pages.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::batch::{Extent, Rows};
use crate::catalog::Stream;
use crate::checkpoint::{Checkpoint, Cover, Options};
use crate::error::{Error, ErrorKind, Result};

pub use ahead::{AHEAD_BYTES_MAX, Ahead, Room};

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

/// A source of rows.
#[async_trait]
pub trait Source: Send + Sync {
    /// Options that shape the rows of a stream; see [`Options`].
    fn options(&self, stream: &Stream) -> Options;

    /// How many slices may be read at the same time.
    fn concurrency(&self) -> usize;

    /// What is still to be read of a stream, in the order in which it must be
    /// committed. Slices of one partition join without a gap.
    ///
    /// # Errors
    /// When the stream cannot be read with this configuration.
    async fn slices(
        &self,
        stream: &Stream,
        checkpoint: &Checkpoint,
        reading: Reading,
    ) -> Result<Vec<Box<dyn Slice>>>;
}

/// A piece of a stream: the unit of progress.
#[async_trait]
pub trait Slice: Send {
    /// The ticker, or empty.
    fn partition(&self) -> &Arc<str>;

    /// About how many rows it has, where that can be told without a request.
    fn rows_estimate(&self) -> Option<u64> {
        None
    }

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
    ahead: Arc<Ahead>,
    slice: usize,
    // Unbounded, because every page in it has a room.
    sender: mpsc::UnboundedSender<(Page, Room)>,
}

/// Where the engine takes the pages of a slice.
#[derive(Debug)]
pub struct PageReceiver {
    ahead: Arc<Ahead>,
    slice: usize,
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
    /// A place for the pages of a slice, by its number in the plan.
    pub fn channel(ahead: &Arc<Ahead>, slice: usize) -> (Self, PageReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ahead = || Arc::clone(ahead);
        (Self { ahead: ahead(), slice, sender }, PageReceiver { ahead: ahead(), slice, receiver })
    }

    /// Waits until there is room for another page: to be called before it is read.
    pub async fn room(&self) -> Room {
        self.ahead.room(self.slice).await
    }

    /// Sends a page.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when nobody reads any more.
    pub fn send(&self, mut room: Room, page: Page) -> Result<()> {
        room.fit(page.rows.bytes());
        self.sender
            .send((page, room))
            .map_err(|_| Error::new(ErrorKind::Interrupted, "the reader of this slice is gone"))
    }
}

impl PageReceiver {
    /// Says that this slice is the one being read now.
    pub fn take_turn(&self) {
        self.ahead.turn(self.slice);
    }

    /// The next page; none when the slice sends no more. Its room is free then: the
    /// engine bounds what it holds itself.
    ///
    /// # Cancel safety
    /// Nothing is lost: a page that was not returned stays.
    pub async fn next(&mut self) -> Option<Page> {
        self.receiver.recv().await.map(|(page, _room)| page)
    }
}

#[cfg(test)]
pub(crate) mod scripted;
