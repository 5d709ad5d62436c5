//! The catalogue that `discover` prints, and the one that `read` is given.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::catalog::{Derived, Stream};
use crate::config::explain::suggest;
use crate::error::{Error, Result};
use crate::mode::WriteMode;
use crate::table::{Column, ColumnType, EXTRA_COLUMN};

use super::descriptor::StreamDescriptor;

/// What `discover` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AirbyteCatalog {
    /// In the order of our catalogue.
    pub streams: Vec<AirbyteStream>,
}

/// A stream as `discover` describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AirbyteStream {
    /// Its name.
    pub name: String,
    /// The JSON Schema of its records.
    pub json_schema: Value,
    /// How it can be read.
    pub supported_sync_modes: Vec<SyncMode>,
    /// Whether the source chooses the cursor: always, where there is one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub source_defined_cursor: bool,
    /// The path of the cursor column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_cursor_field: Vec<String>,
    /// The paths of the key columns.
    pub source_defined_primary_key: Vec<[String; 1]>,
    /// Whether a full refresh goes on where an earlier attempt stopped.
    pub is_resumable: bool,
}

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// All of it.
    FullRefresh,
    /// What is new since the passed state.
    Incremental,
}

impl AirbyteCatalog {
    /// The catalogue of these streams.
    pub fn of(streams: &[Stream]) -> Self {
        Self { streams: streams.iter().map(AirbyteStream::of).collect() }
    }
}

impl AirbyteStream {
    /// The description of a stream.
    pub fn of(stream: &Stream) -> Self {
        let incremental = stream.spec.is_incremental();
        let mut supported_sync_modes = vec![SyncMode::FullRefresh];
        if incremental {
            supported_sync_modes.push(SyncMode::Incremental);
        }
        Self {
            name: stream.name.clone(),
            json_schema: json_schema(stream),
            supported_sync_modes,
            source_defined_cursor: incremental,
            default_cursor_field: stream.table.cursor.iter().cloned().collect(),
            source_defined_primary_key: stream.table.key.iter().map(|column| [column.clone()]).collect(),
            is_resumable: incremental,
        }
    }
}

/// The keyword of a property of the primary key in which null is a value: our own, since
/// neither JSON Schema nor Airbyte's protocol says such a thing.
pub(crate) const NULL_IN_KEY: &str = "null_in_key";

/// The keyword of a cursor that does not say which of two rows with one key is the later,
/// our own as well: a day or moment that may be corrected to an earlier one.
pub(crate) const IS_VERSION: &str = "is_version";

fn json_schema(stream: &Stream) -> Value {
    let property = |column: &Column| {
        // What the request says is always there. Anything that the API says may be
        // missing one day, key columns included.
        let always = stream.spec.derived.iter().any(|derived| match derived {
            Derived::Ticker => column.name == "ticker",
            Derived::Date => column.name == "date",
        });
        let mut schema = column_schema(column, !always);
        if stream.spec.null_in_key.contains(&column.name.as_str()) {
            schema[NULL_IN_KEY] = true.into();
        }
        let is_cursor = stream.table.cursor.as_ref() == Some(&column.name);
        if is_cursor && !stream.table.key.contains(&column.name) {
            schema[IS_VERSION] = false.into();
        }
        (column.name.clone(), schema)
    };
    let properties: Map<String, Value> = stream.table.columns.iter().map(property).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "description": stream.spec.doc,
        "additionalProperties": true,
        "properties": properties,
    })
}

fn column_schema(column: &Column, nullable: bool) -> Value {
    let mut types: Vec<&str> = if nullable { vec!["null"] } else { vec![] };
    let mut more = Map::new();
    match column.ty {
        ColumnType::Text => types.push("string"),
        ColumnType::Boolean => types.push("boolean"),
        ColumnType::Integer => {
            types.push("integer");
            more.insert("airbyte_type".to_owned(), json!("integer"));
        }
        ColumnType::Decimal(_) | ColumnType::Double => types.push("number"),
        ColumnType::Date => {
            types.push("string");
            more.insert("format".to_owned(), json!("date"));
        }
        ColumnType::Timestamp | ColumnType::TimestampMicros => {
            types.push("string");
            more.insert("format".to_owned(), json!("date-time"));
            more.insert("airbyte_type".to_owned(), json!("timestamp_with_timezone"));
        }
        ColumnType::Json if column.name == EXTRA_COLUMN => {
            types.push("object");
            more.insert("additionalProperties".to_owned(), json!(true));
        }
        ColumnType::Json => types.extend(["array", "object"]),
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), if types.len() == 1 { json!(types[0]) } else { json!(types) });
    schema.append(&mut more);
    schema.insert("description".to_owned(), json!(column.doc));
    Value::Object(schema)
}

/// A stream that `read` is asked for.
#[derive(Debug)]
pub struct Selected {
    /// The stream.
    pub stream: Stream,
    /// Its name and namespace as messages must name it.
    pub descriptor: StreamDescriptor,
    /// How it is read.
    pub sync_mode: SyncMode,
    /// What the destination does with rows that it has: it decides whether days
    /// that may still change are read.
    pub mode: WriteMode,
}

/// A configured catalogue as it is written. Every key may be null, unknown keys
/// are ignored: platforms send more, and more nulls, than they need.
#[derive(Debug, Deserialize)]
struct RawCatalog {
    #[serde(deserialize_with = "nullable")]
    streams: Vec<RawStream>,
}

/// The key itself must be there: without it the file is another one.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawStream>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Deserialize)]
struct RawStream {
    stream: StreamDescriptor,
    sync_mode: Option<String>,
    destination_sync_mode: Option<String>,
    primary_key: Option<Vec<Vec<String>>>,
}

/// The streams that a configured catalogue selects, in its order.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] when it names a stream that is not in
/// `streams`, a stream twice, or a mode that does not exist.
pub fn select(catalog: Value, streams: &[Stream]) -> Result<Vec<Selected>> {
    let raw: RawCatalog = crate::config::parse(catalog, "the configured catalogue")?;
    let mut selected: Vec<Selected> = Vec::new();
    for raw in raw.streams {
        let name = &raw.stream.name;
        if selected.iter().any(|selected| selected.stream.name == *name) {
            return Err(Error::config(format!("the catalogue configures stream {name} twice"))
                .hint("keep one of the two"));
        }
        let stream = streams.iter().find(|stream| stream.name == *name);
        let stream = stream.ok_or_else(|| unknown(name, streams))?;
        assert_key(raw.primary_key.as_deref().unwrap_or_default(), stream)?;
        let sync_mode = sync_mode(raw.sync_mode.as_deref(), stream)?;
        selected.push(Selected {
            sync_mode,
            mode: write_mode(raw.destination_sync_mode.as_deref(), sync_mode, name)?,
            stream: stream.clone(),
            descriptor: raw.stream,
        });
    }
    Ok(selected)
}

/// Checks that a primary key is one of the stream's columns: a destination would refuse
/// it after everything was read.
fn assert_key(key: &[Vec<String>], stream: &Stream) -> Result<()> {
    let columns = || stream.table.columns.iter().map(|column| column.name.as_str());
    match key.iter().find(|path| !matches!(path.as_slice(), [column] if columns().any(|name| name == column)))
    {
        None => Ok(()),
        Some(path) => Err(Error::config(format!(
            "`{}` of the primary key of stream {} is no column of it",
            path.join("."),
            stream.name
        ))
        .hint(suggest(&path.join("."), columns().collect::<Vec<_>>()))),
    }
}

fn unknown(name: &str, streams: &[Stream]) -> Error {
    let names = streams.iter().map(|stream| stream.name.as_str());
    Error::config(format!("the configured catalogue names stream {name:?}, which does not exist"))
        .hint(suggest(name, names))
}

fn sync_mode(mode: Option<&str>, stream: &Stream) -> Result<SyncMode> {
    let name = &stream.name;
    match mode {
        // The protocol's default.
        None | Some("full_refresh") => Ok(SyncMode::FullRefresh),
        Some("incremental") if stream.spec.is_incremental() => Ok(SyncMode::Incremental),
        // PyAirbyte asks every stream for it, and Airbyte's own connectors then read in full.
        Some("incremental") => Ok(SyncMode::FullRefresh),
        Some(other) => Err(Error::config(format!("sync_mode {other:?} of stream {name} does not exist"))
            .hint("use full_refresh or incremental")),
    }
}

fn write_mode(mode: Option<&str>, sync_mode: SyncMode, name: &str) -> Result<WriteMode> {
    match (mode, sync_mode) {
        // The protocol's default.
        (None | Some("append"), _) => Ok(WriteMode::Append),
        (Some("overwrite"), SyncMode::FullRefresh) => Ok(WriteMode::Overwrite),
        // All of these can take a row that they already have: days that may still
        // change are read again.
        (Some("overwrite" | "append_dedup" | "update" | "soft_delete"), _) => Ok(WriteMode::AppendDedup),
        (Some(other), _) => {
            Err(Error::config(format!("destination_sync_mode {other:?} of stream {name} does not exist"))
                .hint("use append, append_dedup or overwrite"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::streams;
    use crate::error::ErrorKind;
    use crate::table::Width;

    fn selected(stream: &Value) -> Result<Vec<Selected>> {
        select(json!({ "streams": [stream] }), &streams(&["1minute".parse().unwrap()]))
    }

    #[test]
    fn nulls_and_unknown_keys_are_ignored() {
        let stream = json!({"stream": {"name": "stock_bars_1_minute", "namespace": null, "json_schema": null,
                "supported_sync_modes": null, "default_cursor_field": null, "is_file_based": null, "new": 1},
            "sync_mode": null, "destination_sync_mode": null, "cursor_field": null, "primary_key": null,
            "generation_id": null, "minimum_generation_id": null, "sync_id": null, "include_files": null});
        let selected = selected(&stream).unwrap().remove(0);
        assert_eq!((selected.sync_mode, selected.mode), (SyncMode::FullRefresh, WriteMode::Append));
        assert_eq!(selected.descriptor.namespace, None);
        let none: Vec<Stream> = Vec::new();
        assert!(select(json!({"streams": null}), &none).unwrap().is_empty());
    }

    #[test]
    fn what_the_source_cannot_do_is_refused() {
        let named = |name: &str| json!({"stream": {"name": name}, "sync_mode": "full_refresh"});
        let refused = |catalog: Value| {
            let error = select(catalog, &streams(&["1minute".parse().unwrap()])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            error.user_message()
        };
        for (catalog, expected) in [
            (
                json!({"streams": [named("stock_bars")]}),
                "\"stock_bars\", which does not exist (hint: did you mean `stock_bars_1_minute`?)",
            ),
            (json!({"streams": [named("splits"), named("splits")]}), "stream splits twice"),
            (
                json!({"streams": [{"stream": {"name": "splits"}, "sync_mode": "INVALID"}]}),
                "sync_mode \"INVALID\" of stream splits",
            ),
            (
                json!({"streams": [{"stream": {"name": "splits"}, "destination_sync_mode": "upsert"}]}),
                "\"upsert\" of stream splits",
            ),
            (
                json!({"streams": [{"stream": {"name": "splits"}, "primary_key": [["id"], ["tickr"]]}]}),
                "`tickr` of the primary key of stream splits is no column of it (hint: did you mean `ticker`?)",
            ),
            (
                json!({"streams": [{"stream": {"name": "splits"}, "primary_key": [["id", "deep"]]}]}),
                "`id.deep` of the primary key of stream splits is no column of it",
            ),
            (
                json!({"streams": [{"stream": {"name": null}}]}),
                "`streams[0].stream.name` of the configured catalogue",
            ),
            (json!({"streams": 5}), "`streams` of the configured catalogue"),
            (json!({"type": "CATALOG"}), "`streams` of the configured catalogue is missing"),
            (json!([]), "the configured catalogue"),
        ] {
            let message = refused(catalog);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_catalogue_keeps_its_order_and_decides_the_mode() {
        let stream = |name: &str, sync_mode: &str, destination: &str| json!({"stream": {"name": name, "namespace": "n"}, "sync_mode": sync_mode, "destination_sync_mode": destination});
        let catalog = json!({"streams": [
            stream("news", "incremental", "overwrite"),
            stream("splits", "full_refresh", "overwrite"),
            stream("stock_trades", "incremental", "append"),
            stream("dividends", "incremental", "append_dedup"),
            stream("exchanges", "incremental", "overwrite"),
        ]});
        let selected = select(catalog, &streams(&[])).unwrap();
        let modes: Vec<_> =
            selected.iter().map(|selected| (selected.stream.name.as_str(), selected.mode)).collect();
        assert_eq!(
            modes,
            [
                ("news", WriteMode::AppendDedup),
                ("splits", WriteMode::Overwrite),
                ("stock_trades", WriteMode::Append),
                ("dividends", WriteMode::AppendDedup),
                // It has no cursor: it is read in full.
                ("exchanges", WriteMode::Overwrite),
            ]
        );
        assert_eq!(selected[0].descriptor.namespace.as_deref(), Some("n"));
    }

    #[test]
    fn each_column_type_has_its_schema() {
        let column =
            |ty, name: &str| column_schema(&Column { name: name.to_owned(), ty, doc: "d".to_owned() }, true);
        for (ty, expected) in [
            (ColumnType::Text, json!({"type": ["null", "string"], "description": "d"})),
            (ColumnType::Boolean, json!({"type": ["null", "boolean"], "description": "d"})),
            (
                ColumnType::Integer,
                json!({"type": ["null", "integer"], "airbyte_type": "integer", "description": "d"}),
            ),
            (ColumnType::Decimal(Width::PRICE), json!({"type": ["null", "number"], "description": "d"})),
            (ColumnType::Date, json!({"type": ["null", "string"], "format": "date", "description": "d"})),
            (
                ColumnType::Timestamp,
                json!({"type": ["null", "string"], "format": "date-time",
                    "airbyte_type": "timestamp_with_timezone", "description": "d"}),
            ),
            (ColumnType::Json, json!({"type": ["null", "array", "object"], "description": "d"})),
        ] {
            assert_eq!(column(ty, "c"), expected);
        }
        assert_eq!(column(ColumnType::Json, EXTRA_COLUMN)["type"], json!(["null", "object"]));
    }
}
