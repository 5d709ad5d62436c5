//! What is known of a target without opening it.

use super::Stored;
use crate::error::Error;

/// What is known of a target without opening it.
#[derive(Debug, Default)]
pub struct Look {
    /// Whether the table is there.
    pub table: bool,
    /// What would keep [`super::Sink::open`] from opening it.
    pub obstacle: Option<Error>,
    /// The streams that write to the table, the target's own among them if it does.
    pub owners: Vec<WrittenBy>,
    /// Rows of the table that readers see.
    pub rows: u64,
    /// When the stream's progress last moved, RFC 3339 in UTC.
    pub updated_at: Option<String>,
    /// How far the rows of the table are that readers see.
    pub progress: Stored,
    /// How far a run is that collects its rows beside the table, if one is unfinished.
    pub unfinished: Option<Stored>,
}

/// A stream that writes to a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrittenBy {
    /// Its pipeline, or [`super::AIRBYTE`].
    pub pipeline: String,
    /// The stream.
    pub stream: String,
    /// Whether it says that others may write to the table too.
    pub shared: bool,
}
