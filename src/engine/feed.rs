//! What the engine takes: what a source of any kind says of any of its streams, in order.

use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::{Extent, ExtractedAt, Rows};
use crate::checkpoint::Cover;
use crate::error::{Error, Result};
use crate::source::{Estimate, Page};
use crate::table::Column;

/// Something that a source says of a stream.
#[derive(Debug)]
pub enum Event {
    /// It begins, and there is so much to read.
    Started(Estimate),
    /// Here are rows, which nothing covers yet.
    Rows(Box<Arrival>),
    /// The stream's table has these columns more, behind those before: rows that come from
    /// here on may have values there. Only of streams whose target
    /// [grows](crate::sink::Target::grows).
    Grown(Vec<Column>),
    /// Everything up to here is covered: a slice of a partition ends.
    Covered {
        /// The partition; empty for the whole stream.
        partition: Arc<str>,
        /// What moves once the rows are durable.
        cover: Cover,
    },
    /// A point that covers nothing of any stream; whoever said it wants to know when
    /// everything before it is durable.
    Passed,
    /// What came since the stream was last covered is void, and nothing more comes of
    /// this partition. The others go on.
    PartitionFailed {
        /// The partition.
        partition: Arc<str>,
        /// Why.
        error: Error,
        /// What counts as tried once the others were read.
        given_up: Option<Cover>,
    },
    /// Nothing more comes: all of it was read, or why not. What came since it was last
    /// covered is void.
    Ended(Result<()>),
}

/// Rows of one page.
#[derive(Debug)]
pub struct Arrival {
    /// The partition that they are of; empty for the whole stream.
    pub partition: Arc<str>,
    /// The rows.
    pub rows: Rows,
    /// When they were fetched.
    pub extracted_at: ExtractedAt,
    /// On a slice's first page, when the slice's rows are all that the source has
    /// of a part of the table: that part.
    pub replaces: Option<Extent>,
}

impl Arrival {
    /// Those of a page of a partition.
    pub(super) fn of(partition: Arc<str>, page: Page) -> Self {
        let Page { rows, extracted_at_ms, replaces } = page;
        Self { partition, rows, extracted_at: ExtractedAt::All(extracted_at_ms), replaces }
    }
}

/// A source of events, of several streams by their index.
#[async_trait]
pub trait Feed: Send {
    /// What comes next; none when nothing comes of any stream.
    ///
    /// # Errors
    /// When the whole input is not what it must be.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn next(&mut self) -> Result<Option<(usize, Event)>>;

    /// The sink refused a stream: nothing more of it is wanted, and what was said of it
    /// since it was last durable never is.
    fn dropped(&mut self, index: usize);

    /// Everything that was said to be covered so far is durable, but of dropped streams.
    ///
    /// # Errors
    /// When nobody wants to know any more, so that nothing more should be written.
    fn committed(&mut self) -> Result<()> {
        Ok(())
    }
}
