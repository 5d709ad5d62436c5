//! Where rows go. A sink sees tables, rows and opaque progress; it knows
//! nothing of Polygon or Airbyte.
//!
//! # Contract
//! For each stream: [`Sink::open`], then any number of [`Sink::write`] each
//! followed sooner or later by [`Sink::commit`] or [`Sink::rollback`], then
//! [`Sink::finish`]. Rows written since the last commit and the progress given
//! to `commit` become durable in one transaction, or not at all, whatever
//! happens to the process. A sink may hold rows in memory until `commit`, but
//! its memory must not grow with the number of rows between two commits beyond
//! a fixed bound: it spills to its staging area.

use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::Batch;
use crate::catalog::Table;
use crate::error::Result;
pub use crate::mode::WriteMode;

pub mod columns;
pub mod duckdb;
pub mod snowflake;

/// A stream as the sink has to hold it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Under what the progress is stored: unique for a pipeline and stream.
    pub progress_key: String,
    /// Name, columns and key.
    pub table: Arc<Table>,
    /// What happens to rows that are there already.
    pub mode: WriteMode,
}

/// A stream opened in a sink: its index in the order of opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub usize);

/// What a sink says of rows that it took. Cumulative: `Durable` speaks of
/// everything that the stream was given before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "progress may only move after `Durable`"]
pub enum Receipt {
    /// Taken, and lost if the process dies now.
    Accepted,
    /// Survives a crash, together with the progress.
    Durable,
}

/// A warehouse, or anything else that rows can be written to.
#[async_trait]
pub trait Sink: Send {
    /// Creates or widens what `target` needs and returns the progress that the
    /// last commit stored, verbatim; `None` when there is none.
    ///
    /// In [`WriteMode::Overwrite`] the progress is that of an unfinished run, which
    /// goes on; after a finished one it is `None` and a new generation begins.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Sink`] when the table cannot be created or its
    /// columns cannot take the rows.
    async fn open(&mut self, target: &Target) -> Result<(StreamId, Option<String>)>;

    /// Adds rows to the open transaction of the stream. In [`WriteMode::AppendDedup`]
    /// the rows that the table held before the transaction in the part that the batch
    /// [replaces](Batch::replaces) go with it; the parts of one transaction do not
    /// overlap. Other modes have nothing to replace.
    ///
    /// # Errors
    /// Nothing of the open transaction is durable then; roll back or drop the sink.
    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<Receipt>;

    /// Makes the rows written so far and `progress` durable, together.
    ///
    /// # Errors
    /// After an error it is unknown whether the commit took place. The caller
    /// must not go on with this sink: a new one reads the stored progress.
    async fn commit(&mut self, stream: StreamId, progress: &str) -> Result<Receipt>;

    /// Forgets the rows written since the last commit.
    ///
    /// # Errors
    /// As [`Sink::commit`].
    async fn rollback(&mut self, stream: StreamId) -> Result<()>;

    /// Ends the stream's run. In [`WriteMode::Overwrite`] the new rows become the
    /// table here, atomically, and the next `open` begins a new generation.
    /// Called only when all of the stream was read.
    ///
    /// # Errors
    /// As [`Sink::commit`].
    async fn finish(&mut self, stream: StreamId) -> Result<()>;
}
