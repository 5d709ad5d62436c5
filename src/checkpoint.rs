//! The algebra of progress: what of a stream was read, and what a finished
//! slice adds to it. No I/O, no clock.
//!
//! A partition (a ticker) was read from a first to a last day without a gap, as
//! of a moment. A slice extends that span upwards or downwards. Days that were
//! read too soon after they happened are read again by later runs, because rows
//! come late; [`Position::resume_after`] says where that begins.
//!
//! Stored as a position a shard in a warehouse, and as one text in Airbyte's STATE.

mod names;
mod stored;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use stored::STATE_VERSION;
use stored::Stored;

/// The way out that is always there: in Airbyte, and in a pipeline.
const READ_ANEW: &str = "read the stream anew: clear it in Airbyte, or use `tapeline reset`";

/// How far one partition was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The moment as of which the latest reading saw the source.
    pub as_of: Timestamp,
    /// The last day read, inclusive.
    pub through: Date,
    /// The first day read, inclusive.
    pub from: Date,
}

impl Position {
    /// The last day that needs no second reading: the day itself for old days,
    /// `lookback_days` before `as_of` for days that were young when they were read.
    pub fn resume_after(&self, as_of_day: Date, lookback_days: u16) -> Date {
        let settled = as_of_day.saturating_sub(jiff::Span::new().days(i64::from(lookback_days) + 1));
        self.through.min(settled.max(self.from.yesterday().unwrap_or(self.from)))
    }
}

/// A finished slice of a partition: days, both inclusive, as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The ticker, or empty when the stream has no partitions.
    pub partition: Arc<str>,
    /// The first day read.
    pub from: Date,
    /// The last day read.
    pub through: Date,
    /// The moment as of which it was read.
    pub as_of: Timestamp,
}

/// What rows complete once they are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cover {
    /// Nothing yet: more rows of the same slice follow.
    Part,
    /// A slice: these rows are its last.
    Slice(Span),
    /// A partition of a stream that is not sliced by time.
    Whole {
        /// As in [`Span`].
        partition: Arc<str>,
        /// As in [`Span`].
        as_of: Timestamp,
    },
    /// A whole stream of a foreign source, whose progress is this text, never interpreted.
    Foreign(Arc<str>),
}

/// Options that shape a stream's rows. Progress made with others is not continued.
pub type Options = BTreeMap<String, String>;

/// The progress of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    options: Options,
    positions: BTreeMap<Arc<str>, Position>,
    whole: BTreeMap<Arc<str>, Timestamp>,
    foreign: Option<Arc<str>>,
}

impl Checkpoint {
    /// Nothing read yet, under these options.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// How far a partition was read.
    pub fn position(&self, partition: &str) -> Option<&Position> {
        self.positions.get(partition)
    }

    /// The last day that every partition with a position has reached.
    pub fn reached(&self) -> Option<Date> {
        self.positions.values().map(|position| position.through).min()
    }

    /// As of when a partition of a stream without time was last read in full.
    pub fn whole_as_of(&self, partition: &str) -> Option<Timestamp> {
        self.whole.get(partition).copied()
    }

    /// Adds what became durable; returns the shard that moved, if one did.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when the slice leaves a gap to what was read before:
    /// progress would claim days that nobody read. The checkpoint is unchanged.
    pub fn apply(&mut self, cover: &Cover) -> Result<Option<Arc<str>>> {
        let shard = match cover {
            Cover::Part => return Ok(None),
            Cover::Foreign(text) => {
                self.foreign = Some(Arc::clone(text));
                Arc::from("")
            }
            Cover::Whole { partition, as_of } => {
                self.whole.insert(Arc::clone(partition), *as_of);
                Arc::clone(partition)
            }
            Cover::Slice(span) => {
                let merged = match self.positions.get(&span.partition) {
                    None => first(span)?,
                    Some(position) => extended(position, span)?,
                };
                self.positions.insert(Arc::clone(&span.partition), merged);
                Arc::clone(&span.partition)
            }
        };
        Ok(Some(shard))
    }

    /// The shards that have a position.
    pub fn shards(&self) -> impl Iterator<Item = Arc<str>> {
        self.positions.keys().chain(self.whole.keys()).cloned()
    }

    /// A shard's position as a sink stores it; none before it has one.
    pub fn stored_position(&self, shard: &str) -> Option<String> {
        if let Some(text) = &self.foreign {
            return Some(text.to_string());
        }
        match (self.positions.get(shard), self.whole.get(shard)) {
            (Some(position), _) => Some(stored::write_position(position, &self.options)),
            (None, Some(as_of)) => Some(stored::write_whole(*as_of, &self.options)),
            (None, None) => None,
        }
    }

    /// Reads the positions of shards that [`Checkpoint::stored_position`] wrote.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when one is none, or was made under other options than `options`.
    pub fn from_positions(stored: &BTreeMap<Arc<str>, String>, options: Options) -> Result<Self> {
        let mut checkpoint = Self::new(options);
        for (shard, text) in stored {
            match stored::read_position(text, &checkpoint.options)? {
                Stored::Span(position) => drop(checkpoint.positions.insert(Arc::clone(shard), position)),
                Stored::Whole(as_of) => drop(checkpoint.whole.insert(Arc::clone(shard), as_of)),
            }
        }
        Ok(checkpoint)
    }

    /// The stored form.
    pub fn to_json(&self) -> String {
        stored::write(self)
    }

    /// Reads the stored form, of this version or an older one.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the text is not a state that this program knows, or
    /// was made under other options than `options`.
    pub fn from_json(text: &str, options: Options) -> Result<Self> {
        stored::read(text, options)
    }
}

fn first(span: &Span) -> Result<Position> {
    if span.from > span.through {
        return Err(Error::bug(format!(
            "a slice ends on {} before it begins on {}",
            span.through, span.from
        )));
    }
    Ok(Position { as_of: span.as_of, through: span.through, from: span.from })
}

fn extended(position: &Position, span: &Span) -> Result<Position> {
    first(span)?;
    let day_after = |date: Date| date.tomorrow().unwrap_or(date);
    if day_after(span.through) == position.from {
        return Ok(Position { from: span.from, ..*position });
    }
    if span.from <= day_after(position.through) && span.from >= position.from {
        // Days beyond `span.through` that an older reading saw are read again next:
        // the span that was seen as of `span.as_of` must have no gap.
        return Ok(Position { as_of: span.as_of, through: span.through, from: position.from });
    }
    Err(Error::bug(format!(
        "slice {}..{} of partition {:?} does not join {}..{}",
        span.from, span.through, span.partition, position.from, position.through
    )))
}

#[cfg(test)]
mod tests;
