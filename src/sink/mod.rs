//! Where rows go. A sink sees tables, rows and opaque progress; it knows
//! nothing of Polygon or Airbyte.
//!
//! # Contract
//! [`Sink::open`] for all streams of a run, then any number of [`Sink::write`], each
//! followed sooner or later by a [`Sink::commit`] or [`Sink::rollback`], then
//! [`Sink::finish`]. Rows written since the last commit, of all streams, and the moves
//! given to `commit` become durable in one transaction, or not at all, whatever
//! happens to the process. A sink may hold rows in memory until `commit`, but
//! its memory must not grow with the number of rows between two commits beyond
//! a fixed bound: it spills to its staging area.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::{Batch, Change, Extent, Reject};
use crate::error::{Error, ErrorKind, Result};
pub use crate::mode::WriteMode;
use crate::table::{Column, ColumnType, Metadata, Table};
pub use abilities::{Abilities, Durability, Joins, refuse};
pub use look::{Look, WrittenBy};
pub use shardless::Shardless;

pub(crate) mod abilities;
pub mod columns;
pub mod duckdb;
mod lifecycle;
mod look;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod model;
pub mod numbers;
mod ownership;
mod quarantine;
mod shardless;
mod shards;
pub mod snowflake;

/// A stream as the sink has to hold it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Who writes: with `stream`, under what the progress is stored.
    pub pipeline: String,
    /// The stream's name, once in a pipeline.
    pub stream: String,
    /// Name, columns and key.
    pub table: Arc<Table>,
    /// What happens to rows that are there already.
    pub mode: WriteMode,
    /// The schema of the table, where it is another one than the sink's.
    pub schema: Option<String>,
    /// The run that the rows are of, where somebody else counts the runs.
    pub run: Option<Run>,
    /// Whether other pipelines may write to the table too, if they say so as well: by
    /// the same key, in parts of the table that do not replace each other.
    pub shared: bool,
    /// Whether the source may say on the way that the table has grown.
    pub grows: bool,
    /// Whether the source may say of a row that it is a delete.
    pub deletes: bool,
    /// Statements that a commit with rows of the stream runs behind them in their
    /// transaction, in this order; [`BATCH`] in one stands for the rows.
    pub derived: Vec<Arc<str>>,
    /// Rows without a primary key, where rows replace those with the same key, that may be
    /// rejected in a run: one more fails the stream.
    pub rejected_max: u64,
}

/// [`Target::rejected_max`], where nobody says another.
pub const REJECTED_MAX: u64 = 1_000;

/// The most that [`Target::rejected_max`] may be: a list in a statement of Snowflake's has
/// 16,384 members at most [docs.snowflake.com, IN].
pub const REJECTED_MAX_MAX: u64 = 10_000;

impl Target {
    /// A table in the sink's schema whose runs the sink counts itself.
    pub fn new(
        pipeline: impl Into<String>,
        stream: impl Into<String>,
        table: Arc<Table>,
        mode: WriteMode,
    ) -> Self {
        let (pipeline, stream) = (pipeline.into(), stream.into());
        Self {
            pipeline,
            stream,
            table,
            mode,
            schema: None,
            run: None,
            shared: false,
            grows: false,
            deletes: false,
            derived: Vec::new(),
            rejected_max: REJECTED_MAX,
        }
    }

    /// Whether a row takes the place of the one with its key, and a delete takes that away.
    pub(crate) fn replaces_by_key(&self) -> bool {
        self.mode.replaces_by_key() && !self.table.key.is_empty()
    }

    /// What messages call the stream. A platform does by its table's name.
    pub(crate) fn name(&self) -> &str {
        if self.pipeline == AIRBYTE { &self.table.name } else { &self.stream }
    }

    /// Under what progress of version 1 was stored.
    pub(crate) fn first_key(&self) -> String {
        first_key(&self.pipeline, &self.stream)
    }
}

/// Under what version 1 stored the progress of a stream.
pub(crate) fn first_key(pipeline: &str, stream: &str) -> String {
    match pipeline {
        AIRBYTE => format!("{AIRBYTE}:{stream}"),
        pipeline => format!("{pipeline}/{stream}"),
    }
}

/// In a [derived](Target::derived) statement: a subquery of the rows that the transaction
/// brings, to be named by whoever uses it (`FROM {batch} AS b`).
///
/// It has the table's columns and, where the table has it, [`Metadata::ExtractedAt`]. Where rows replace others by
/// key it has one row a key, as it came last, and none for a key whose last row is a
/// delete. It may have rows that lose in the table to what has a greater version there,
/// and it does not tell what was replaced.
pub const BATCH: &str = "{batch}";

/// Who writes when an Airbyte platform does, which does not say for which connection.
pub const AIRBYTE: &str = "airbyte";

/// The table of rows that their own cannot hold, one in each schema of tables.
pub const REJECTED: &str = "_tapeline_rejected";

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

/// The end of a row's metadata; see [`Run::meta_head`].
pub(crate) const META_TAIL: &str = "]}";

/// What becomes of a change in a row's metadata.
pub(crate) fn change_text(table: &Table, change: &Change) -> String {
    let field = table.columns.get(change.column).map_or("", |column| column.name.as_str());
    let field = serde_json::Value::from(field);
    let (change, reason) = (change.cause.change(), change.cause.reason());
    format!("{{\"field\":{field},\"change\":\"{change}\",\"reason\":\"{reason}\"}}")
}

/// Says of how many rows of a batch values did not fit their column as they were sent,
/// where the table has no column that lists them; `first` are those of one row.
pub(crate) fn tell_changes(table: &Table, rows: usize, first: &str) {
    if rows > 0 && !table.has(Metadata::Changes) {
        tracing::warn!(
            table = table.name,
            rows,
            first,
            "values did not fit their columns as sent, and the table has no column that lists them"
        );
    }
}

/// Refuses a table, called `place` in messages, in which a column by which rows are told apart,
/// or the newest one is, would become text of what has many: rows that come again would not find
/// themselves. `has_many` gives name and type of such a column.
///
/// # Errors
/// [`ErrorKind::Table`] naming the column.
pub(crate) fn keys_must_stay(
    target: &Target,
    place: &str,
    has_many: impl Fn(&Column) -> Option<(String, String)>,
) -> Result<()> {
    let table = &target.table;
    let is_text = |column: &&Column| matches!(column.ty, ColumnType::Text | ColumnType::Json);
    let names = table.key.iter().chain(&table.version).filter(|_| target.replaces_by_key());
    let columns = names.filter_map(|name| table.columns.iter().find(|column| column.name == *name));
    let Some((column, have)) = columns.filter(is_text).find_map(has_many) else { return Ok(()) };
    let message = format!("the column {column} of {place} is {have}, and the key of its rows is to be text");
    Err(Error::new(ErrorKind::Table, message).hint(
        "as text the same value can be written in several ways, so that a row would be there twice: keep the column's \
         type, or rename the table to have it loaded anew",
    ))
}

/// A stream opened in a sink: its index in the order of opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub usize);

/// A stream that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// By what it is named from here on.
    pub id: StreamId,
    /// How its rows are written: as the target says, or, where a run of overwriting goes on
    /// that somebody else counts, by key.
    pub mode: WriteMode,
    /// What the last commits stored.
    pub progress: Stored,
}

/// Progress as a sink gives it back, verbatim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Where each shard is; empty when nothing was committed.
    pub positions: BTreeMap<Arc<str>, String>,
    /// Progress that is one text: Airbyte's STATE, or what version 1 of this program
    /// stored. The next commit must move every shard that it speaks of.
    pub text: Option<String>,
}

impl Stored {
    /// Whether nothing was committed.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.text.is_none()
    }
}

/// Where a shard is once a commit is durable.
///
/// A shard is the unit of progress: a ticker, a partition of a topic, a file's day,
/// or, by the name of the empty text, the whole stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: Arc<str>,
    /// Its position, opaque; none forgets the shard.
    pub position: Option<String>,
}

/// What of a stream becomes durable in a commit, besides its rows.
pub struct Portion<'a> {
    /// The stream.
    pub stream: StreamId,
    /// The shards that moved, each once.
    pub moves: Vec<Move>,
    /// Rows that the table cannot hold: they go where such rows are kept.
    pub rejected: &'a [Reject],
    /// All of the stream's progress after that as one text, for a sink that tells it.
    pub text: &'a (dyn Fn() -> String + Sync),
}

impl<'a> Portion<'a> {
    /// Of a stream without rejected rows.
    pub fn new(stream: StreamId, moves: Vec<Move>, text: &'a (dyn Fn() -> String + Sync)) -> Self {
        Self { stream, moves, rejected: &[], text }
    }
}

impl std::fmt::Debug for Portion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Portion").field("stream", &self.stream).field("moves", &self.moves).finish()
    }
}

/// A warehouse, or anything else that rows can be written to.
#[async_trait]
pub trait Sink: Send {
    /// What it can do. Targets that ask more must be [refused](refuse) before they are opened.
    fn abilities(&self) -> Abilities;

    /// Creates or widens what each target needs and returns the progress that the
    /// last commits stored, in the order of the targets. From here on nobody else who
    /// has one of the streams open can commit.
    ///
    /// In a [staged mode](WriteMode::is_staged) the progress is that of an unfinished
    /// run, which goes on; after a finished one there is none and a new generation
    /// begins. Where somebody else counts the runs, an unfinished run of another
    /// generation is thrown away, and rows of the generation that the table is
    /// wholly of are added to it. In both cases, of going on and of adding, rows replace
    /// those with the same key, if the table has one.
    ///
    /// # Errors
    /// When no stream can be opened. A table that cannot be created, whose columns cannot
    /// take the rows or that belongs to another pipeline is an error of its stream only.
    async fn open(&mut self, targets: &[Target]) -> Result<Vec<Result<Opened>>>;

    /// Tells what is known of each target without opening it: nobody who has one open is
    /// kept from committing, and nothing is created. A sink that keeps nothing tells nothing.
    ///
    /// # Errors
    /// When tables or progress cannot be read. What would keep a stream from being
    /// opened is part of the answer.
    async fn look(&mut self, targets: &[Target]) -> Result<Vec<Look>> {
        Ok(targets.iter().map(|_| Look::default()).collect())
    }

    /// Counts the rows of a target's table in parts of it, which do not overlap; of all of
    /// it when none is named.
    ///
    /// # Errors
    /// When the table cannot be read. One that is not there has no rows.
    async fn count(&mut self, _target: &Target, _parts: &[Extent]) -> Result<u64> {
        Ok(0)
    }

    /// Tries whether tables could be created in the sink's schema, and leaves none behind.
    ///
    /// # Errors
    /// What is refused.
    async fn try_rights(&mut self) -> Result<()> {
        Ok(())
    }

    /// Gives the table of a stream the columns that `table` has behind those before: rows
    /// that come from here on may have values there. They stay whatever becomes of the rows.
    /// Called of streams whose target [grows](Target::grows), and while no rows of any stream
    /// wait for a commit but those ahead.
    ///
    /// # Errors
    /// When the table cannot have them: it has another column of that name, or somebody else
    /// took the stream over. Of the stream no rows are to be written then.
    async fn evolve(&mut self, _stream: StreamId, _table: Arc<Table>) -> Result<()> {
        Err(Error::bug("a sink whose tables cannot learn columns was asked to"))
    }

    /// Adds rows to the open transaction: of all streams, or, if they are
    /// [ahead](Batch::ahead), one of the stream's own, which then holds nothing else. In
    /// [`WriteMode::AppendDedup`] the rows that the table held before the transaction in
    /// the parts that the batch [replaces](Batch::replaces) go with it; the parts of one
    /// transaction do not overlap. Other modes have nothing to replace.
    ///
    /// # Errors
    /// Nothing of the open transaction is durable then; roll back or drop the sink.
    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<()>;

    /// Makes durable, together, the rows written so far, what is
    /// [derived](Target::derived) of them, and the moves of the streams
    /// that are named: of one alone, if the sink [joins](Joins) no more. Rows ahead are part
    /// of it where their stream is named, and stay where it is not. Returns the streams that
    /// the warehouse refuses or that somebody else took over: of them nothing is durable but
    /// what the other one goes on from, and they are not to be used any more; the others are.
    ///
    /// Rejected rows are part of the transaction. The same one of a stream is kept once, also
    /// when it comes again.
    ///
    /// # Errors
    /// After an error it is unknown whether the commit took place. The caller
    /// must not go on with this sink: a new one reads the stored progress.
    async fn commit(&mut self, portions: &[Portion<'_>]) -> Result<Vec<(StreamId, Error)>>;

    /// Forgets the rows of a stream that were written ahead since the last commit that
    /// named it.
    ///
    /// # Errors
    /// As [`Sink::commit`].
    async fn rollback(&mut self, stream: StreamId) -> Result<()>;

    /// Ends the streams' run. In a [staged mode](WriteMode::is_staged) the new rows become the
    /// table here, atomically, and the next `open` begins a new generation.
    /// Called only when all of the stream was read and committed.
    ///
    /// # Errors
    /// When one of them could not be ended, also because somebody else took it over. Each may
    /// be ended again by itself then, those that were ended among them.
    async fn finish(&mut self, streams: &[StreamId]) -> Result<()>;

    /// How many rows a commit of this stream is worth: a commit after fewer would write
    /// more progress than rows.
    fn worth(&self, _stream: StreamId) -> u64 {
        0
    }
}
