//! The configuration of the Airbyte destination.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::explain::suggest;
use super::pipeline::{COMMIT_ROWS, COMMIT_SECONDS, RawCommit, SinkConfig};
use crate::error::{Error, Result};
use crate::sink::duckdb::DuckDbConfig;
use crate::sink::snowflake::SnowflakeConfig;
use crate::sink::{REJECTED_MAX, REJECTED_MAX_MAX};

/// What messages call it.
const WHAT: &str = "the destination's configuration";
const PART: &str = "`sink` of the destination's configuration";

/// What to do when nothing better is known.
const HINT: &str = "`tapeline destination spec` prints what it may be";

/// The configuration as a user writes it.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "it is the schema; `DestinationConfig::from_json` reads the parts")]
#[schemars(title = "tapeline destination", description = "The warehouse that records go to.")]
pub struct RawDestinationConfig {
    /// Where records go.
    #[schemars(title = "Warehouse", extend("order" = 0))]
    sink: RawSink,
    /// When records are committed: always what STATEs cover, and all of it at the end.
    #[serde(default)]
    #[schemars(title = "Commits", extend("order" = 1))]
    commit: RawCommit,
    /// What becomes of a row that is deleted at the source, in streams with a primary key
    /// whose records have `_ab_cdc_deleted_at`: it goes, or it stays with the time of its deletion.
    #[serde(default)]
    #[schemars(title = "CDC deletion mode", extend("order" = 2))]
    cdc_deletion_mode: CdcDeletionMode,
    /// How many records of a stream without a primary key that tells them apart may go into
    /// `_tapeline_rejected` in a sync, where records replace those with the same key; one
    /// more fails the sync.
    #[serde(default = "rejected_max")]
    #[schemars(title = "Rejected records", range(max = REJECTED_MAX_MAX), extend("order" = 3))]
    rejected_max: u64,
}

fn rejected_max() -> u64 {
    REJECTED_MAX
}

/// What a record that says of its row that it is deleted does, in Airbyte's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum CdcDeletionMode {
    /// It takes the row away.
    #[default]
    #[serde(rename = "Hard delete")]
    Hard,
    /// It takes the row's place.
    #[serde(rename = "Soft delete")]
    Soft,
}

/// By hand, because platforms want a choice of words as one `enum`.
impl JsonSchema for CdcDeletionMode {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("CdcDeletionMode")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["Hard delete", "Soft delete"], "default": "Hard delete" })
    }
}

/// A sink as in a pipeline; Airbyte wants the choice as a field.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "as above")]
#[serde(tag = "type")]
enum RawSink {
    /// A schema in Snowflake.
    #[serde(rename = "snowflake")]
    Snowflake(Box<SnowflakeConfig>),
    /// A DuckDB file.
    #[serde(rename = "duckdb")]
    DuckDb(DuckDbConfig),
}

/// The kinds of sinks.
const KINDS: [&str; 2] = ["snowflake", "duckdb"];

/// The configuration, validated.
#[derive(Debug, Clone)]
pub struct DestinationConfig {
    /// Where records go, to the schema of this configuration unless their stream has
    /// a namespace.
    pub sink: SinkConfig,
    /// Rows after which a commit follows.
    pub commit_rows: u64,
    /// Time after which a commit follows.
    pub commit_interval: Duration,
    /// What becomes of rows that are deleted at the source.
    pub cdc_deletion_mode: CdcDeletionMode,
    /// How many records of a stream a sync may reject, as [`crate::sink::Target::rejected_max`].
    pub rejected_max: u64,
}

impl DestinationConfig {
    /// Reads a configuration from JSON.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`], naming the field.
    pub fn from_json(value: Value) -> Result<Self> {
        Self::read(value).map_err(|error| error.or_hint(|| HINT.to_owned()))
    }

    fn read(value: Value) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            sink: Map<String, Value>,
            #[serde(default)]
            commit: RawCommit,
            #[serde(default)]
            cdc_deletion_mode: CdcDeletionMode,
            #[serde(default = "rejected_max")]
            rejected_max: u64,
        }
        let value = super::without_platform_keys(value);
        let Outer { sink, commit, cdc_deletion_mode, rejected_max } = super::parse(value.clone(), WHAT)?;
        let mut sink = super::without_platform_keys(Value::Object(sink));
        let kind = sink.as_object_mut().and_then(|sink| sink.shift_remove("type"));
        let sink = match kind.as_ref().and_then(Value::as_str) {
            Some("snowflake") => {
                let config: SnowflakeConfig = super::parse(sink.clone(), PART)?;
                config.validate()?;
                conform::<SnowflakeConfig>(&sink, PART)?;
                SinkConfig::Snowflake(Box::new(config))
            }
            Some("duckdb") => {
                let config = super::parse(sink.clone(), PART)?;
                conform::<DuckDbConfig>(&sink, PART)?;
                SinkConfig::DuckDb(config)
            }
            Some(other) => {
                return Err(Error::config(format!("`sink.type` of {WHAT} does not know `{other}`"))
                    .hint(suggest(other, KINDS)));
            }
            None => {
                return Err(
                    Error::config(format!("`sink.type` of {WHAT} is missing")).hint(suggest("", KINDS))
                );
            }
        };
        conform::<RawDestinationConfig>(&value, WHAT)?;
        super::secrets::assert_apart(&value, WHAT).map_err(|(_, error)| error)?;
        let commit_rows = commit.rows.unwrap_or(COMMIT_ROWS);
        let commit_interval = Duration::from_secs(commit.seconds.unwrap_or(COMMIT_SECONDS));
        Ok(Self { sink, commit_rows, commit_interval, cdc_deletion_mode, rejected_max })
    }

    /// The schema of streams without a namespace.
    pub fn schema(&self) -> &str {
        match &self.sink {
            SinkConfig::Snowflake(config) => &config.schema,
            SinkConfig::DuckDb(config) => &config.schema,
        }
    }
}

fn conform<T: JsonSchema>(value: &Value, what: &str) -> Result<()> {
    super::schema::conform::<T>(value, what).map_err(|error| error.hint(HINT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_sink_is_read_as_in_a_pipeline() {
        let config = DestinationConfig::from_json(
            json!({"sink": {"type": "duckdb", "path": "a.duckdb", "threads": null}, "__injected": 1}),
        );
        let SinkConfig::DuckDb(config) = config.unwrap().sink else { panic!("another sink") };
        assert_eq!((config.path.as_str(), config.schema.as_str()), ("a.duckdb", "polygon"));
        let deletes = |more: Value| {
            let mut config = json!({"sink": {"type": "duckdb", "path": "a"}});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            DestinationConfig::from_json(config).unwrap().cdc_deletion_mode
        };
        assert_eq!(deletes(json!({})), CdcDeletionMode::Hard);
        assert_eq!(deletes(json!({"cdc_deletion_mode": "Soft delete"})), CdcDeletionMode::Soft);
        let snowflake = json!({"sink": {"type": "snowflake", "account": "a", "user": "u", "warehouse": "w",
            "database": "d", "schema": "s", "password": "hunter2-destination"}});
        DestinationConfig::from_json(snowflake).unwrap();
        assert_eq!(crate::secret::redact("not hunter2-destination"), "not ***");
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_shown() {
        for (config, expected) in [
            (json!({}), "`sink` of the destination's configuration is missing"),
            (
                json!({"sink": {"path": "a"}}),
                "`sink.type` of the destination's configuration is missing (hint: there are `snowflake`, `duckdb`)",
            ),
            (
                json!({"sink": {"type": "snowflak"}}),
                "does not know `snowflak` (hint: did you mean `snowflake`?)",
            ),
            (
                json!({"sink": {"type": "duckdb"}}),
                "`path` of `sink` of the destination's configuration is missing",
            ),
            (
                json!({"sink": {"type": "duckdb", "pth": "a"}}),
                "unknown field `pth` of `sink` of the destination's configuration (hint: did you mean `path`?)",
            ),
            (
                json!({"sink": {"type": "duckdb", "path": "a"}, "cdc_deletion_mode": "soft_delete"}),
                "`cdc_deletion_mode` of the destination's configuration",
            ),
            (
                json!({"skin": {}}),
                "unknown field `skin` of the destination's configuration (hint: did you mean `sink`?)",
            ),
            (
                json!({"sink": {"type": "duckdb", "path": "a", "memory_limit_mb": 1}}),
                "`memory_limit_mb` of `sink` of the destination's configuration: value is less than the minimum of 64",
            ),
            (
                json!({"sink": {"type": "snowflake", "account": "a", "user": "u", "warehouse": "w", "database": "d",
                "password": "hunter2-twice", "private_key": "hunter2-twice"}}),
                "more than one way to sign in",
            ),
        ] {
            let error = DestinationConfig::from_json(config.clone()).unwrap_err();
            let message = error.user_message();
            assert!(message.contains(expected), "{config}: {message}");
            assert!(!error.report().contains("hunter2"));
        }
    }
}
