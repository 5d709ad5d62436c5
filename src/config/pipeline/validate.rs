//! Checks a pipeline field by field. Each mistake comes with the path of the
//! field it is in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{
    COMMIT_ROWS, COMMIT_SECONDS, Choice, MetadataColumns, NAME_MAX, PREFIX_MAX, Pipeline, RawChoice,
    RawCommit, RawPipeline, RawSource, SinkConfig, WHAT,
};
use crate::catalog::{self, BarSize, Partition, STREAMS, Sizes, Stream};
use crate::clock::Clock;
use crate::config::explain::suggest;
use crate::config::source::SourceConfig;
use crate::error::{Error, Result};
use crate::mode::WriteMode;
use crate::sink::{REJECTED_MAX, REJECTED_MAX_MAX};
use crate::table::Table;

/// A mistake and the path of the field it is in.
type Misplaced = (String, Error);

/// Longer is a mistake: a crash would lose hours of requests.
const COMMIT_SECONDS_MAX: u64 = 86_400;

impl RawPipeline {
    /// Checks every field.
    pub(super) fn validate(self, path: &Path, clock: Clock) -> Result<Pipeline, Misplaced> {
        check_name(&self.name).map_err(|error| ("name".to_owned(), error))?;
        let source = match self.source {
            RawSource::Polygon(raw) => {
                raw.validate(clock).map_err(|error| inside("source.polygon", error))?
            }
        };
        match &self.sink {
            SinkConfig::DuckDb(config) if config.path.trim().is_empty() => {
                let error = Error::config("`path` of the duckdb sink is empty")
                    .hint("name a file, such as market.duckdb");
                return Err(("sink.duckdb.path".to_owned(), error));
            }
            SinkConfig::DuckDb(_) => {}
            SinkConfig::Snowflake(config) => {
                config.validate().map_err(|error| inside("sink.snowflake", error))?;
            }
        }
        let (commit_rows, commit_interval) = check_commit(self.commit)?;
        let prefix = self.table_prefix.as_deref().unwrap_or_default();
        check_prefix(prefix).map_err(|error| ("table_prefix".to_owned(), error))?;
        let metadata = self.metadata.unwrap_or(MetadataColumns::Airbyte);
        let rejected_max = self.rejected_max.unwrap_or(REJECTED_MAX);
        check_rejected_max(rejected_max).map_err(|error| ("rejected_max".to_owned(), error))?;
        let defaults = Defaults { prefix, metadata, rejected_max };
        Ok(Pipeline {
            name: self.name,
            path: path.to_owned(),
            streams: choose(&self.streams, &source, defaults)?,
            source,
            sink: self.sink,
            commit_rows,
            commit_interval,
        })
    }
}

/// Checks what can be told without the types of the fields, and better than they would.
pub(super) fn check_shape(value: &Value) -> Result<(), Misplaced> {
    if value.is_null() {
        let error = Error::config(format!("{WHAT} is empty"))
            .hint("`tapeline init` writes one to start from, with every field explained");
        return Err((String::new(), error));
    }
    let sink = value.get("sink").and_then(Value::as_object);
    let names: Vec<&str> = sink.into_iter().flat_map(|sink| sink.keys()).map(String::as_str).collect();
    let (known, other): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| SINKS.contains(name));
    let error = match (known.as_slice(), other.as_slice()) {
        ([], other) if other.contains(&"type") => {
            return Err(("sink.type".to_owned(), sink_with_type(&value["sink"]["type"])));
        }
        ([first, second, ..], _) => {
            Error::config(format!("`sink` of {WHAT} names two: `{first}` and `{second}`"))
                .hint("keep one of them, and write a second pipeline with another name for the other")
        }
        ([sink], [_, ..]) => Error::config(format!("`sink` of {WHAT} holds more than `{sink}`"))
            .hint(format!("indent the fields of the sink, so that they stand under `{sink}`")),
        _ => return Ok(()),
    };
    Err(("sink".to_owned(), error))
}

/// The mistake of a sink in the words of a destination's configuration.
fn sink_with_type(kind: &Value) -> Error {
    let name = kind.as_str().filter(|name| SINKS.contains(name)).unwrap_or(SINKS[0]);
    Error::config(format!(
        "`sink.type` of {WHAT}: a sink has no `type` here, as a destination's configuration does"
    ))
    .hint(format!(
        "put the other fields of `sink` under its name, as `sink: {{{name}: {{…}}}}`; \
             `tapeline destination` takes a destination's configuration as it is"
    ))
}

/// The names of the sinks.
const SINKS: [&str; 2] = ["duckdb", "snowflake"];

/// Adds an example to a mistake in the shape of the document.
pub(super) fn with_example(field: &str, error: Error) -> Error {
    let example = match field {
        "source" | "source.polygon" => {
            "write `source: {polygon: {api_key: \"${POLYGON_API_KEY}\", start_date: 2024-01-02}}`"
        }
        "sink" | "sink.duckdb" => "write one sink, such as `sink: {duckdb: {path: market.duckdb}}`",
        "." => "`tapeline init` writes a pipeline to start from, with every field explained",
        field if field.starts_with("streams[") => return error.or_hint(list_streams),
        _ => return error,
    };
    let misses_streams = field == "." && error.to_string().contains("`streams`");
    if misses_streams { error.or_hint(list_streams) } else { error.or_hint(|| example.to_owned()) }
}

fn list_streams() -> String {
    let names: Vec<_> = STREAMS
        .iter()
        .map(|spec| match spec.sizes {
            Sizes::None => spec.name.to_owned(),
            Sizes::Bars => format!("{0}_1_minute, {0}_1_day", spec.name),
        })
        .collect();
    format!("list the streams to read: {}", names.join(", "))
}

/// Puts the path of a section before the field that the message names first.
fn inside(section: &str, error: Error) -> Misplaced {
    let text = error.to_string();
    let field = text.split('`').nth(1).unwrap_or_default();
    (format!("{section}.{field}"), error)
}

fn check_name(name: &str) -> Result<()> {
    let well_formed = name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if well_formed {
        return Ok(());
    }
    Err(Error::config(format!("`name` {name:?} is not a name for a pipeline")).hint(format!(
        "begin with a letter and go on with letters, digits, `_` and `-`, at most {NAME_MAX} in all"
    )))
}

fn check_commit(commit: RawCommit) -> Result<(u64, Duration), Misplaced> {
    let wrong = |field: &str, message: &str, hint: &str| {
        Err((format!("commit.{field}"), Error::config(format!("`commit.{field}` {message}")).hint(hint)))
    };
    let rows = commit.rows.unwrap_or(COMMIT_ROWS);
    let seconds = commit.seconds.unwrap_or(COMMIT_SECONDS);
    if rows == 0 {
        return wrong("rows", "is 0", "write 1 or more, or leave it out");
    }
    if seconds == 0 || seconds > COMMIT_SECONDS_MAX {
        return wrong("seconds", "is not between 1 and 86400", "write 60, or leave it out");
    }
    Ok((rows, Duration::from_secs(seconds)))
}

/// What a table's name may begin with. Tables that begin as the program's own do would
/// be taken for them.
fn check_prefix(prefix: &str) -> Result<()> {
    let well_formed = prefix.len() <= PREFIX_MAX
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !prefix.to_ascii_lowercase().starts_with("_tapeline");
    if well_formed {
        return Ok(());
    }
    Err(Error::config(format!("`table_prefix` {prefix:?} cannot begin the name of a table")).hint(format!(
        "use letters, digits and `_`, at most {PREFIX_MAX} in all, and do not begin with _tapeline"
    )))
}

fn check_rejected_max(max: u64) -> Result<()> {
    if max <= REJECTED_MAX_MAX {
        return Ok(());
    }
    Err(Error::config(format!("`rejected_max` {max} is more than {REJECTED_MAX_MAX}"))
        .hint("more rows without a key than that are no exception: choose the mode append, which needs none"))
}

/// What holds of a stream that does not say it.
#[derive(Clone, Copy)]
struct Defaults<'a> {
    prefix: &'a str,
    metadata: MetadataColumns,
    rejected_max: u64,
}

fn choose(
    raw: &[RawChoice],
    source: &SourceConfig,
    defaults: Defaults<'_>,
) -> Result<Vec<Choice>, Misplaced> {
    if raw.is_empty() {
        return Err(("streams".to_owned(), Error::config("`streams` is empty").hint(list_streams())));
    }
    let known = catalog::streams(&source.bar_sizes);
    let mut chosen: Vec<Choice> = Vec::with_capacity(raw.len());
    for (index, entry) in raw.iter().enumerate() {
        let choice = choice(entry, &known, defaults)
            .and_then(|choice| apart(choice, &chosen))
            .map_err(|error| (format!("streams[{index}]"), error))?;
        chosen.push(choice);
    }
    Ok(chosen)
}

fn choice(entry: &RawChoice, known: &[Stream], defaults: Defaults<'_>) -> Result<Choice> {
    let stream = find(&entry.stream, known)?;
    let prefix = entry.table_prefix.as_deref().unwrap_or(defaults.prefix);
    check_prefix(prefix)?;
    let mode = entry.mode.unwrap_or(stream.spec.best_mode);
    if entry.shared {
        check_shared(&stream, mode)?;
    }
    let name = format!("{prefix}{}", stream.table.name);
    let metadata = entry.metadata.unwrap_or(defaults.metadata).columns();
    let table = Arc::new(Table { name, metadata, ..(*stream.table).clone() });
    let rejected_max = entry.rejected_max.unwrap_or(defaults.rejected_max);
    check_rejected_max(rejected_max)?;
    Ok(Choice { stream, mode, table, rejected_max, shared: entry.shared })
}

/// Refuses to share a table in which pipelines would replace each other's rows.
fn check_shared(stream: &Stream, mode: WriteMode) -> Result<()> {
    let name = &stream.name;
    let why = if mode != WriteMode::AppendDedup {
        format!("has the mode {}, and only rows of append_dedup replace each other by key", mode.as_str())
    } else if stream.table.key.is_empty() {
        "has no key".to_owned()
    } else if stream.spec.partition != Partition::Ticker {
        "is not read ticker by ticker: its days would replace those of the other pipeline".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::config(format!("`shared` of {name}: the stream {why}"))
        .hint("leave `shared` out, and give each pipeline a `table_prefix` or a schema of its own"))
}

/// Refuses a stream that was chosen before, and a table that another one has.
fn apart(choice: Choice, chosen: &[Choice]) -> Result<Choice> {
    let name = &choice.stream.name;
    if chosen.iter().any(|earlier| earlier.stream.name == *name) {
        return Err(Error::config(format!("`streams` names {name} twice"))
            .hint("keep one of the two: a table has one mode"));
    }
    let has_table = |earlier: &&Choice| earlier.table.name.eq_ignore_ascii_case(&choice.table.name);
    if let Some(earlier) = chosen.iter().find(has_table) {
        let message =
            format!("{name} and {} would both be the table {}", earlier.stream.name, choice.table.name);
        return Err(Error::config(message).hint("give one of them another `table_prefix`"));
    }
    Ok(choice)
}

fn find(name: &str, known: &[Stream]) -> Result<Stream> {
    known.iter().find(|stream| stream.name == name).cloned().ok_or_else(|| {
        let names = known.iter().map(|stream| stream.name.as_str());
        Error::config(format!("there is no stream `{name}`"))
            .hint(about_sizes(name, known).unwrap_or_else(|| suggest(name, names)))
    })
}

/// What to say about a stream that has sizes when the size is missing, is not
/// configured, or is none.
fn about_sizes(name: &str, known: &[Stream]) -> Option<String> {
    let sized: Vec<_> = STREAMS.iter().filter(|spec| spec.sizes == Sizes::Bars).collect();
    for spec in sized {
        let Some(suffix) = name.strip_prefix(spec.name) else { continue };
        let size: Option<BarSize> = suffix.replace('_', "").parse().ok();
        let configured: Vec<_> = known.iter().filter(|stream| stream.spec.name == spec.name).collect();
        return Some(match size {
            Some(size) if configured.iter().any(|stream| stream.size == Some(size)) => {
                format!("did you mean `{}_{}`?", spec.name, size.suffix())
            }
            Some(size) => {
                format!("`{}_{}` needs `{size}` in `bar_sizes` of the source", spec.name, size.suffix())
            }
            None if suffix.is_empty() => {
                let names: Vec<_> = configured.iter().map(|stream| format!("`{}`", stream.name)).collect();
                format!("there is one for each of the source's `bar_sizes`: {}", names.join(", "))
            }
            None => return None,
        });
    }
    None
}
