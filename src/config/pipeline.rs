//! A pipeline: a source, a sink, and which streams go from one to the other.

mod choice;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use schemars::transform::RecursiveTransform;
use serde::Deserialize;

use super::environment::{self, Lookup};
use super::explain::suggest;
use super::source::{RawSourceConfig, SourceConfig};
use super::yaml::{Document, Place};
use crate::catalog::Stream;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::mode::WriteMode;
use crate::sink::REJECTED_MAX_MAX;
use crate::sink::duckdb::DuckDbConfig;
use crate::sink::snowflake::SnowflakeConfig;
use crate::table::Table;

pub use choice::{MetadataColumns, RawChoice};

/// Rows after which a commit follows: seconds of work for any warehouse, and
/// little to read again after a crash.
pub(super) const COMMIT_ROWS: u64 = 1_000_000;

/// Seconds after which a commit follows. The free plan loses at most 5 requests
/// to a crash, and a warehouse is woken once a minute.
pub(super) const COMMIT_SECONDS: u64 = 60;

/// What the fields of a pipeline are fields of, for people.
const WHAT: &str = "the pipeline";

/// A pipeline as a user writes it. `${NAME}` in a text takes an environment variable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tapeline pipeline")]
pub struct RawPipeline {
    /// Name of the pipeline. Progress is stored under it in the sink: a pipeline
    /// with another name begins anew.
    #[schemars(title = "Name", regex(pattern = NAME_PATTERN), extend("examples" = ["us_stocks"]))]
    pub name: String,
    /// Where rows come from.
    #[schemars(title = "Source")]
    pub source: RawSource,
    /// Where rows go.
    #[schemars(title = "Sink")]
    pub sink: SinkConfig,
    /// What the names of all tables begin with, so that several pipelines can write to
    /// one schema: letters, digits and underscores.
    #[serde(default)]
    #[schemars(title = "Table prefix", regex(pattern = PREFIX_PATTERN), extend("examples" = ["us_"]))]
    pub table_prefix: Option<String>,
    /// The columns about a row that tables have behind their own: `airbyte` for
    /// `_airbyte_raw_id`, `_airbyte_extracted_at`, `_airbyte_meta` and
    /// `_airbyte_generation_id`, `none` for none. `airbyte` when absent.
    #[serde(default)]
    #[schemars(title = "Metadata")]
    pub metadata: Option<MetadataColumns>,
    /// How many rows of a stream without a primary key that tells them apart may go into
    /// `_tapeline_rejected` in a run, where rows replace those with the same key; one
    /// more fails the stream. 1000 when absent.
    #[serde(default)]
    #[schemars(title = "Rejected rows", range(max = REJECTED_MAX_MAX))]
    pub rejected_max: Option<u64>,
    /// The streams to read: their names, or `{stream: name, mode: append}` for
    /// another mode than the stream's best.
    #[schemars(title = "Streams", length(min = 1))]
    pub streams: Vec<RawChoice>,
    /// When rows are committed, besides at the end of a stream.
    #[serde(default)]
    #[schemars(title = "Commit")]
    pub commit: RawCommit,
}

const NAME_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_-]{0,62}$";
const NAME_MAX: usize = 63;

const PREFIX_PATTERN: &str = "^[A-Za-z0-9_]{0,63}$";
const PREFIX_MAX: usize = 63;

/// A source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawSource {
    /// The REST API of Polygon.io (now Massive).
    Polygon(Box<RawSourceConfig>),
}

/// A sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub enum SinkConfig {
    /// A DuckDB file.
    #[serde(rename = "duckdb")]
    DuckDb(DuckDbConfig),
    /// A schema in Snowflake.
    #[serde(rename = "snowflake")]
    Snowflake(Box<SnowflakeConfig>),
}

/// When rows are committed.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCommit {
    /// After this many rows: 1000000 when absent.
    #[schemars(title = "Rows", range(min = 1))]
    pub rows: Option<u64>,
    /// Or after this many seconds: 60 when absent.
    #[schemars(title = "Seconds", range(min = 1, max = 86400))]
    pub seconds: Option<u64>,
}

/// A pipeline, validated.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// The file that it was read from.
    pub path: PathBuf,
    /// Where rows come from.
    pub source: SourceConfig,
    /// Where rows go.
    pub sink: SinkConfig,
    /// In the order of the file; each stream once.
    pub streams: Vec<Choice>,
    /// Rows after which a commit follows.
    pub commit_rows: u64,
    /// Time after which a commit follows.
    pub commit_interval: Duration,
}

/// A stream of the catalogue and how the sink keeps it.
#[derive(Debug, Clone)]
pub struct Choice {
    /// What is read.
    pub stream: Stream,
    /// How it is kept.
    pub mode: WriteMode,
    /// Where it is kept: the stream's table, under the name that the pipeline gives it.
    pub table: Arc<Table>,
    /// How many rows a run may reject, as [`crate::sink::Target::rejected_max`].
    pub rejected_max: u64,
    /// Whether other pipelines may write to the table too.
    pub shared: bool,
}

impl Pipeline {
    /// Reads and checks a pipeline file; variables are those of the process.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the file, and the line and field where it can.
    pub fn read(path: &Path, clock: Clock) -> Result<Self> {
        let text = super::read_text(path, WHAT).map_err(|error| match path.exists() {
            true => error,
            false => error.hint("`tapeline init` writes one to start from"),
        })?;
        Self::parse(path, &text, &environment::process, clock)
    }

    /// Checks the text of a pipeline; `path` names it in messages.
    ///
    /// # Errors
    /// As [`Pipeline::read`].
    pub fn parse(path: &Path, text: &str, lookup: Lookup<'_>, clock: Clock) -> Result<Self> {
        let at = |place: Option<Place>, error: Error| match place {
            Some(place) => error.context(format_args!("{}:{place}", path.display())),
            None => error.context(path.display()),
        };
        let document = Document::parse(text).map_err(|(place, error)| at(place, error))?;
        let mut value = document.value.clone();
        validate::check_shape(&value).map_err(|(field, error)| at(document.place(&field), error))?;
        let substituted = environment::substitute(&mut value, lookup)
            .map_err(|(field, error)| at(document.place(&field), error.context(format_args!("`{field}`"))))?;
        let show = |(field, error): (String, Error)| {
            at(document.place(&field), error.redacted(|text| substituted.redact(text)))
        };
        let raw: RawPipeline = super::parse_at(value.clone(), WHAT)
            .map_err(|(field, error)| show((field.clone(), validate::with_example(&field, error))))?;
        super::secrets::assert_apart(&value, WHAT).map_err(show)?;
        raw.validate(path, clock).map_err(show)
    }

    /// Keeps only the streams that were named on the command line, by `option`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when one of them is not in the pipeline.
    pub fn select(&mut self, option: &str, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !self.streams.iter().any(|choice| choice.stream.name == *name) {
                let known: Vec<_> = self.streams.iter().map(|choice| choice.stream.name.as_str()).collect();
                return Err(Error::config(format!(
                    "`{option} {name}`: {} has no such stream",
                    self.path.display()
                ))
                .hint(suggest(name, known)));
            }
        }
        self.streams.retain(|choice| names.contains(&choice.stream.name));
        Ok(())
    }
}

/// The JSON Schema of a pipeline, for editors: it describes the file as it is
/// written, where a variable may stand for any text.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with_transform(RecursiveTransform(
        |schema: &mut schemars::Schema| {
            if let Some(serde_json::Value::String(pattern)) = schema.get_mut("pattern") {
                pattern.push_str(r"|\$\{");
                schema.remove("format");
            }
        },
    ));
    let mut schema = settings.into_generator().into_root_schema_for::<RawPipeline>().to_value();
    // A plan without fields may be its name here; platforms want one type a field.
    if let Some(plan) = schema.pointer_mut("/$defs/RawSourceConfig/properties/plan") {
        *plan = serde_json::json!({ "anyOf": [{ "enum": ["free", "paid"] }, plan.take()] });
    }
    schema
}

#[cfg(test)]
mod tests;
