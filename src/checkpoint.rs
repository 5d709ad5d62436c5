//! The algebra of progress: what of a stream was read, and what a finished
//! slice adds to it. No I/O, no clock.
//!
//! A partition (a ticker) was read from a first to a last day without a gap, as
//! of a moment. A slice extends that span upwards or downwards. Days that were
//! read too soon after they happened are read again by later runs, because rows
//! come late; [`Position::resume_after`] says where that begins.
//!
//! Stored a position a shard in a warehouse, and as one text in Airbyte's STATE, `{floor, ahead}`: the position that every partition has
//! reached, and the partitions beyond it, grouped by position, so that ten
//! thousand tickers take a few bytes each.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::error::{Error, ErrorKind, Result};

/// The version of the stored form. Another one is refused, never guessed at.
pub const STATE_VERSION: u32 = 1;

/// The version of a shard's stored position. Another one is refused, too.
const POSITION_VERSION: u32 = 2;

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

    /// Where a partition is when days from `from` on are to be read again; none when
    /// nothing is left of it.
    pub fn rewound(&self, from: Date) -> Option<Self> {
        let before = from.yesterday().ok().filter(|before| *before >= self.from)?;
        Some(Self { through: self.through.min(before), ..*self })
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

/// A shard's position as a sink stores it, by itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPosition {
    version: u32,
    as_of: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    through: Option<Date>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: Options,
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

    /// How far each partition was read that is sliced by time, in order.
    pub fn positions(&self) -> impl Iterator<Item = (&Arc<str>, &Position)> {
        self.positions.iter()
    }

    /// Forgets what was read of a shard: days from `from` on, or without it, and where
    /// the shard is not sliced by time, all. Returns whether anything was.
    pub fn rewind(&mut self, shard: &str, from: Option<Date>) -> bool {
        let whole = self.whole.remove(shard).is_some();
        let Some(position) = self.positions.get(shard).copied() else { return whole };
        match from.and_then(|from| position.rewound(from)) {
            Some(left) if left == position => return whole,
            Some(left) => drop(self.positions.insert(Arc::from(shard), left)),
            None => drop(self.positions.remove(shard)),
        }
        true
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
        let (version, options) = (POSITION_VERSION, self.options.clone());
        let stored = match (self.positions.get(shard), self.whole.get(shard)) {
            (Some(Position { as_of, from, through }), _) => {
                StoredPosition { version, as_of: *as_of, from: Some(*from), through: Some(*through), options }
            }
            (None, Some(as_of)) => {
                StoredPosition { version, as_of: *as_of, from: None, through: None, options }
            }
            (None, None) => return None,
        };
        Some(serde_json::to_string(&stored).expect("dates, strings and maps always serialise"))
    }

    /// Reads the positions of shards that [`Checkpoint::stored_position`] wrote.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when one is none, or was made under other options than `options`.
    pub fn from_positions(stored: &BTreeMap<Arc<str>, String>, options: Options) -> Result<Self> {
        let mut checkpoint = Self::new(options);
        for (shard, text) in stored {
            must_have_version(text, POSITION_VERSION)?;
            let position: StoredPosition = serde_json::from_str(text).map_err(|error| malformed(&error))?;
            same_options(&position.options, &checkpoint.options)?;
            match (position.from, position.through) {
                (Some(from), Some(through)) if from <= through => {
                    let position = Position { as_of: position.as_of, through, from };
                    checkpoint.positions.insert(Arc::clone(shard), position);
                }
                (None, None) => {
                    checkpoint.whole.insert(Arc::clone(shard), position.as_of);
                }
                _ => return Err(unusable("a span has one end, or ends before it begins")),
            }
        }
        Ok(checkpoint)
    }

    /// The stored form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&Stored::from(self)).expect("dates, strings and maps always serialise")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the text is not a state of this version, or was
    /// made under other options than `options`.
    pub fn from_json(text: &str, options: Options) -> Result<Self> {
        must_have_version(text, STATE_VERSION)?;
        let stored: Stored = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        stored.into_checkpoint(options)
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

fn malformed(error: &serde_json::Error) -> Error {
    let said = error.to_string();
    let place = format!("line {} column {}", error.line(), error.column());
    unusable(&match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => format!("it is not JSON at {place}"),
        // serde names Rust's types when a value has another type.
        Category::Data if said.starts_with("invalid ") => format!("a value has another type at {place}"),
        Category::Data => said,
    })
}

fn unusable(what: &str) -> Error {
    Error::new(ErrorKind::State, format!("the state is not one that this program wrote: {what}"))
        .hint(format!("restore the state of the last sync, or {READ_ANEW}"))
}

/// # Errors
/// [`ErrorKind::State`] when a stored text is of another version, or says none.
fn must_have_version(text: &str, readable: u32) -> Result<()> {
    let Version { version } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if version == readable {
        return Ok(());
    }
    let message = format!("the state has version {version}, this program reads version {readable}");
    Err(Error::new(ErrorKind::State, message).hint(format!("use the program that wrote it, or {READ_ANEW}")))
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: Options,
    /// What every one of `partitions` has reached at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<Position>,
    /// The partitions that `floor` speaks of; `[""]` when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<Group>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    complete: BTreeMap<String, Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    position: Position,
    partitions: Vec<String>,
}

impl From<&Checkpoint> for Stored {
    fn from(checkpoint: &Checkpoint) -> Self {
        let mut groups: BTreeMap<Position, Vec<String>> = BTreeMap::new();
        for (partition, position) in &checkpoint.positions {
            groups.entry(*position).or_default().push(partition.to_string());
        }
        let mut groups = groups.into_iter();
        let (floor, partitions) = match groups.next() {
            Some((position, partitions)) => (Some(position), partitions),
            None => (None, Vec::new()),
        };
        Self {
            version: STATE_VERSION,
            options: checkpoint.options.clone(),
            floor,
            partitions,
            ahead: groups.map(|(position, partitions)| Group { position, partitions }).collect(),
            complete: checkpoint
                .whole
                .iter()
                .map(|(partition, as_of)| (partition.to_string(), *as_of))
                .collect(),
        }
    }
}

impl Stored {
    fn into_checkpoint(self, options: Options) -> Result<Checkpoint> {
        same_options(&self.options, &options)?;
        let mut positions = BTreeMap::new();
        let floor = self.floor.map(|position| Group { position, partitions: self.partitions });
        for group in floor.into_iter().chain(self.ahead) {
            if group.position.from > group.position.through {
                return Err(unusable("a span ends before it begins"));
            }
            for partition in group.partitions {
                positions.insert(partition.into(), group.position);
            }
        }
        let whole = self.complete.into_iter().map(|(partition, as_of)| (partition.into(), as_of)).collect();
        Ok(Checkpoint { options, positions, whole, foreign: None })
    }
}

/// # Errors
/// [`ErrorKind::State`] when progress was made under other options than those of now.
fn same_options(stored: &Options, now: &Options) -> Result<()> {
    if stored == now {
        return Ok(());
    }
    let show = |options: &Options| {
        let list: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if list.is_empty() { "no options".to_owned() } else { list.join(", ") }
    };
    let message = format!("the state was made with {}, the configuration says {}", show(stored), show(now));
    Err(Error::new(ErrorKind::State, message).hint(format!("set the option back, or {READ_ANEW}")))
}

#[cfg(test)]
mod tests;
