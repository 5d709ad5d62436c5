//! An entry of a pipeline's `streams`: a name, or a name and how its table is kept.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::mode::WriteMode;
use crate::sink::REJECTED_MAX_MAX;
use crate::table::Metadata;

/// A stream and how the sink keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChoice {
    /// The stream's name.
    pub stream: String,
    /// The stream's best mode when absent.
    pub mode: Option<WriteMode>,
    /// The pipeline's when absent.
    pub table_prefix: Option<String>,
    /// The pipeline's when absent.
    pub metadata: Option<MetadataColumns>,
    /// The pipeline's when absent.
    pub rejected_max: Option<u64>,
    /// Whether other pipelines may write to the table too.
    pub shared: bool,
}

/// The columns about a row that a table has behind its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetadataColumns {
    /// Those of a destination of Airbyte's.
    Airbyte,
    /// None.
    None,
}

impl MetadataColumns {
    pub(super) fn columns(self) -> Vec<Metadata> {
        match self {
            Self::Airbyte => Metadata::ALL.to_vec(),
            Self::None => Vec::new(),
        }
    }
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Long {
    /// The stream's name.
    stream: String,
    /// How rows are kept: `append` adds every row, `append_dedup` replaces the row
    /// with the same key, `overwrite` replaces the table at the end of the run.
    /// The stream's best mode when absent.
    mode: Option<WriteMode>,
    /// What the table's name begins with, in place of the pipeline's `table_prefix`.
    #[serde(default)]
    #[schemars(regex(pattern = super::PREFIX_PATTERN))]
    table_prefix: Option<String>,
    /// The columns about a row that the table has, in place of the pipeline's `metadata`.
    #[serde(default)]
    metadata: Option<MetadataColumns>,
    /// How many rows without a primary key that tells them apart may go into
    /// `_tapeline_rejected` in a run, in place of the pipeline's `rejected_max`.
    #[serde(default)]
    #[schemars(range(max = REJECTED_MAX_MAX))]
    rejected_max: Option<u64>,
    /// Whether other pipelines may write to the table too, which must say so as well: only
    /// for streams that are read ticker by ticker, in the mode `append_dedup`.
    #[serde(default)]
    shared: bool,
}

impl<'de> Deserialize<'de> for RawChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = RawChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a stream, or {stream: name, mode: append}")
    }

    fn visit_str<E>(self, name: &str) -> Result<RawChoice, E> {
        Ok(RawChoice {
            stream: name.to_owned(),
            mode: None,
            table_prefix: None,
            metadata: None,
            rejected_max: None,
            shared: false,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawChoice, A::Error> {
        let Long { stream, mode, table_prefix, metadata, rejected_max, shared } =
            Long::deserialize(MapAccessDeserializer::new(map))?;
        Ok(RawChoice { stream, mode, table_prefix, metadata, rejected_max, shared })
    }
}

impl JsonSchema for RawChoice {
    fn schema_name() -> Cow<'static, str> {
        "Stream".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = Long::json_schema(generator);
        json_schema!({
            "description": "A stream's name, or its name and how its table is kept.",
            "anyOf": [{ "type": "string" }, long]
        })
    }
}
