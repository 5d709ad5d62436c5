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

use crate::batch::{Batch, Change};
use crate::catalog::Table;
use crate::error::{Error, Result};
pub use crate::mode::WriteMode;

pub mod columns;
pub mod duckdb;
pub mod numbers;
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
    /// The schema of the table, where it is another one than the sink's.
    pub schema: Option<String>,
    /// The run that the rows are of, where somebody else counts the runs.
    pub run: Option<Run>,
}

impl Target {
    /// A table in the sink's schema whose runs the sink counts itself.
    pub fn new(progress_key: impl Into<String>, table: Arc<Table>, mode: WriteMode) -> Self {
        Self { progress_key: progress_key.into(), table, mode, schema: None, run: None }
    }

    /// The mode of a run that goes on. Whoever counts the runs did not hear of the
    /// last commit when the process died before it told: its rows are sent again, and
    /// where they have a key they are there once.
    fn mode_going_on(&self) -> WriteMode {
        match self.mode {
            WriteMode::Overwrite if self.run.is_some() && !self.table.key.is_empty() => {
                WriteMode::OverwriteDedup
            }
            mode => mode,
        }
    }
}

/// A run as an Airbyte platform numbers it [airbyte_protocol.yaml, ConfiguredAirbyteStream].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// `generation_id`: rows of another generation than this one are those that a
    /// staged [`WriteMode`] replaces.
    pub generation: i64,
    /// `sync_id`, for the rows' metadata.
    pub sync: Option<i64>,
}

impl Run {
    /// The beginning of a row's metadata, up to the members of the list of changes.
    pub(crate) fn meta_head(run: Option<Self>) -> String {
        match run.and_then(|run| run.sync) {
            Some(sync) => format!("{{\"sync_id\":{sync},\"changes\":["),
            None => "{\"changes\":[".to_owned(),
        }
    }
}

/// Airbyte's column with an id of the row.
pub(crate) const RAW_ID: &str = "_airbyte_raw_id";
/// Airbyte's column with the time of fetching.
pub(crate) const EXTRACTED_AT: &str = "_airbyte_extracted_at";
/// Airbyte's column with the values that did not fit.
pub(crate) const META: &str = "_airbyte_meta";
/// Airbyte's column with the run that the row is of.
pub(crate) const GENERATION: &str = "_airbyte_generation_id";

/// The end of a row's metadata; see [`Run::meta_head`].
pub(crate) const META_TAIL: &str = "]}";

/// What becomes of a change in a row's metadata.
pub(crate) fn change_text(table: &Table, change: &Change) -> String {
    let field = table.columns.get(change.column).map_or("", |column| column.name.as_str());
    let field = serde_json::Value::from(field);
    format!("{{\"field\":{field},\"change\":\"NULLED\",\"reason\":\"{}\"}}", change.cause.reason())
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

impl Receipt {
    /// That a commit was one.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Bug`] when the sink only accepted it.
    pub(crate) fn durable(self) -> Result<()> {
        match self {
            Self::Durable => Ok(()),
            Self::Accepted => Err(Error::bug("the sink took a commit that is not durable")),
        }
    }
}

/// A warehouse, or anything else that rows can be written to.
#[async_trait]
pub trait Sink: Send {
    /// Creates or widens what `target` needs and returns the progress that the
    /// last commit stored, verbatim; `None` when there is none.
    ///
    /// In a [staged mode](WriteMode::is_staged) the progress is that of an unfinished
    /// run, which goes on; after a finished one it is `None` and a new generation
    /// begins. Where somebody else counts the runs, an unfinished run of another
    /// generation is thrown away, and rows of the generation that the table is
    /// wholly of are added to it. In both cases, of going on and of adding, rows replace
    /// those with the same key, if the table has one.
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

    /// Ends the stream's run. In a [staged mode](WriteMode::is_staged) the new rows become the
    /// table here, atomically, and the next `open` begins a new generation.
    /// Called only when all of the stream was read.
    ///
    /// # Errors
    /// As [`Sink::commit`].
    async fn finish(&mut self, stream: StreamId) -> Result<()>;
}
