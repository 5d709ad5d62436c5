//! The stored form of progress: JSON on one line.
//!
//! `floor` is the position that every partition of `partitions` has reached, and
//! `ahead` the partitions beyond it, grouped by position; so are those of streams
//! without time by the moment of their last reading. Names are packed, see
//! [`super::names`]: twelve thousand level tickers take 38 KB.
//!
//! Version 1 had names as lists, and is read for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::names::{self, Packer};
use super::{Checkpoint, Options, Position, READ_ANEW};
use crate::error::{Error, ErrorKind, Result};

/// The version of the stored form. One that is not known is refused, never guessed at.
pub const STATE_VERSION: u32 = 2;

/// The stored form of `checkpoint`.
pub(super) fn write(checkpoint: &Checkpoint) -> String {
    serde_json::to_string(&StoredState::from(checkpoint)).expect("dates, strings and maps always serialise")
}

/// Reads the stored form of any version.
///
/// # Errors
/// [`ErrorKind::State`] when it is none, or was made under other options.
pub(super) fn read(text: &str, options: Options) -> Result<Checkpoint> {
    let Version { version } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    match version {
        1 => {
            let stored: StoredV1 = serde_json::from_str(text).map_err(|error| malformed(&error))?;
            let StoredV1 { floor, partitions, ahead, complete, .. } = stored;
            let floor = floor.map(|position| GroupV1 { position, partitions });
            let named =
                |group: GroupV1| (group.position, group.partitions.into_iter().map(Arc::from).collect());
            let groups = floor.into_iter().chain(ahead).map(named).collect();
            let whole = complete.into_iter().map(|(partition, as_of)| (partition.into(), as_of)).collect();
            of_groups(stored.options, options, groups, whole)
        }
        STATE_VERSION => {
            let stored: StoredState = serde_json::from_str(text).map_err(|error| malformed(&error))?;
            let StoredState { floor, partitions, ahead, complete, .. } = stored;
            let floor = floor.map(|position| Group { position, partitions });
            let positions = floor.into_iter().chain(ahead);
            let positions = positions.map(|group| Ok((group.position, unpacked(&group.partitions)?)));
            let mut whole = BTreeMap::new();
            for group in complete {
                whole.extend(unpacked(&group.partitions)?.into_iter().map(|name| (name, group.as_of)));
            }
            of_groups(stored.options, options, positions.collect::<Result<Vec<_>>>()?, whole)
        }
        version => Err(of_other_version(version)),
    }
}

fn of_other_version(version: u32) -> Error {
    let message =
        format!("the state has version {version}, this program reads version {STATE_VERSION} and older");
    Error::new(ErrorKind::State, message).hint(format!("use the program that wrote it, or {READ_ANEW}"))
}

/// What the position of a shard says.
pub(super) enum Stored {
    /// Of a stream of days.
    Span(Position),
    /// Of one that is not sliced by time: when it was read.
    Whole(Timestamp),
}

/// The position of a shard by itself.
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

/// The stored form of a shard's position.
pub(super) fn write_position(position: &Position, options: &Options) -> String {
    let Position { as_of, from, through } = *position;
    write_shard(as_of, Some(from), Some(through), options)
}

/// The stored form of when a shard without time was read.
pub(super) fn write_whole(as_of: Timestamp, options: &Options) -> String {
    write_shard(as_of, None, None, options)
}

fn write_shard(as_of: Timestamp, from: Option<Date>, through: Option<Date>, options: &Options) -> String {
    let options = options.clone();
    let stored = StoredPosition { version: STATE_VERSION, as_of, from, through, options };
    serde_json::to_string(&stored).expect("dates, strings and maps always serialise")
}

/// Reads the position of a shard.
///
/// # Errors
/// [`ErrorKind::State`] when it is none, or was made under other options than `options`.
pub(super) fn read_position(text: &str, options: &Options) -> Result<Stored> {
    let Version { version } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    // Version 1 had none.
    if version != STATE_VERSION {
        return Err(of_other_version(version));
    }
    let stored: StoredPosition = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if stored.options != *options {
        return Err(of_other_options(&stored.options, options));
    }
    match (stored.from, stored.through) {
        (Some(from), Some(through)) if from <= through => {
            Ok(Stored::Span(Position { as_of: stored.as_of, through, from }))
        }
        (None, None) => Ok(Stored::Whole(stored.as_of)),
        _ => Err(unusable("a span has one end, or ends before it begins")),
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredState {
    version: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: Options,
    /// What every one of `partitions` has reached at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<Position>,
    /// The partitions that `floor` speaks of, packed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    partitions: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<Group>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    complete: Vec<Complete>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    position: Position,
    /// Packed.
    partitions: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    as_of: Timestamp,
    /// Packed.
    partitions: String,
}

/// As version 1 was written; names are lists.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredV1 {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    floor: Option<Position>,
    /// `[""]` when the stream has no partitions.
    #[serde(default)]
    partitions: Vec<String>,
    #[serde(default)]
    ahead: Vec<GroupV1>,
    #[serde(default)]
    complete: BTreeMap<String, Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupV1 {
    position: Position,
    partitions: Vec<String>,
}

impl From<&Checkpoint> for StoredState {
    fn from(checkpoint: &Checkpoint) -> Self {
        let mut positions = grouped(&checkpoint.positions).into_iter();
        let (floor, partitions) = positions.next().unzip();
        Self {
            version: STATE_VERSION,
            options: checkpoint.options.clone(),
            floor,
            partitions: partitions.unwrap_or_default(),
            ahead: positions.map(|(position, partitions)| Group { position, partitions }).collect(),
            complete: grouped(&checkpoint.whole)
                .into_iter()
                .map(|(as_of, partitions)| Complete { as_of, partitions })
                .collect(),
        }
    }
}

/// The names of each value, packed.
fn grouped<V: Ord + Copy>(values: &BTreeMap<Arc<str>, V>) -> BTreeMap<V, String> {
    let mut groups: BTreeMap<V, Packer<'_>> = BTreeMap::new();
    for (name, value) in values {
        groups.entry(*value).or_default().push(name);
    }
    groups.into_iter().map(|(value, names)| (value, names.finish())).collect()
}

fn unpacked(text: &str) -> Result<Vec<Arc<str>>> {
    names::unpack(text).ok_or_else(|| unusable("the names of its partitions are no such list"))
}

fn of_groups(
    made_with: Options,
    options: Options,
    groups: Vec<(Position, Vec<Arc<str>>)>,
    whole: BTreeMap<Arc<str>, Timestamp>,
) -> Result<Checkpoint> {
    if made_with != options {
        return Err(of_other_options(&made_with, &options));
    }
    let mut positions = BTreeMap::new();
    for (position, partitions) in groups {
        if position.from > position.through {
            return Err(unusable("a span ends before it begins"));
        }
        positions.extend(partitions.into_iter().map(|partition| (partition, position)));
    }
    Ok(Checkpoint { options, positions, whole, foreign: None })
}

fn of_other_options(made_with: &Options, options: &Options) -> Error {
    let show = |options: &Options| {
        let list: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if list.is_empty() { "no options".to_owned() } else { list.join(", ") }
    };
    Error::new(
        ErrorKind::State,
        format!("the state was made with {}, the configuration says {}", show(made_with), show(options)),
    )
    .hint(format!("set the option back, or {READ_ANEW}"))
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
