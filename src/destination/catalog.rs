//! The configured catalogue as a destination reads it: for each stream a table and
//! what happens to the rows that are there.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::columns;
use crate::airbyte::catalog::{IS_VERSION, NULL_IN_KEY};
use crate::airbyte::descriptor::StreamDescriptor;
use crate::error::{Error, Result};
use crate::sink::{AIRBYTE, Run, Target, WriteMode};
use crate::table::{ColumnType, Table};

/// A stream that records may come of.
#[derive(Debug)]
pub struct Configured {
    /// Its name and namespace as messages name it.
    pub descriptor: StreamDescriptor,
    /// How the sink holds it.
    pub target: Target,
    /// Columns in which NULL is a value, where they are of the key: the stream's schema
    /// says so by [`NULL_IN_KEY`].
    pub null_in_key: Vec<usize>,
    /// The column whose value makes a record a delete, where deletes take rows away.
    pub deleted_at: Option<usize>,
}

impl Configured {
    /// Keeps records that are deletes as rows.
    pub fn keep_deleted(&mut self) {
        self.deleted_at = None;
        self.target.deletes = false;
    }
}

/// What the columns begin with that Airbyte's sources of change data add.
const CDC: &str = "_ab_cdc_";

/// The one that says of a record that its row is gone.
const CDC_DELETED_AT: &str = "_ab_cdc_deleted_at";

/// Every key may be null, unknown keys are ignored.
#[derive(Debug, Deserialize)]
struct RawCatalog {
    streams: Vec<RawConfigured>,
}

#[derive(Debug, Deserialize)]
struct RawConfigured {
    stream: RawStream,
    destination_sync_mode: Option<String>,
    primary_key: Option<Vec<Vec<String>>>,
    cursor_field: Option<Vec<String>>,
    generation_id: Option<i64>,
    minimum_generation_id: Option<i64>,
    sync_id: Option<i64>,
    destination_object_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawStream {
    name: String,
    namespace: Option<String>,
    json_schema: Option<Value>,
    source_defined_primary_key: Option<Vec<Vec<String>>>,
}

/// The streams of a configured catalogue, in its order. Those without a namespace
/// go to `schema`.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the stream and what is wrong with it.
pub fn configured(catalog: Value, schema: &str) -> Result<Vec<Configured>> {
    let raw: RawCatalog = crate::config::parse(catalog, "the configured catalogue").map_err(|error| {
        error.or_hint(|| "it must be a ConfiguredAirbyteCatalog of Airbyte's protocol".to_owned())
    })?;
    let mut tables: HashMap<String, String> = HashMap::new();
    let mut streams = Vec::new();
    for raw in raw.streams {
        let name = raw.stream.name.clone();
        let stream = stream(raw, schema).map_err(|error| error.in_stream(&name))?;
        if let Some(other) = tables.insert(stream.target.stream.clone(), name.clone()) {
            return Err(Error::config(format!("the streams {other} and {name} would have the same table"))
                .hint("names that differ only in case are one name in a warehouse, and without a namespace a stream goes to the configured schema: give one of the streams a prefix or a namespace"));
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// The name under which the progress of a table is stored. Names that a warehouse takes
/// for the same have the same, others never do: the first slash ends the schema.
fn stored_name(schema: &str, table: &str) -> String {
    let schema = schema.replace('%', "%25").replace('/', "%2F");
    columns::folded(&format!("{schema}/{table}"))
}

fn stream(raw: RawConfigured, default_schema: &str) -> Result<Configured> {
    let mode = mode(&raw)?;
    let table = table(&raw, mode)?;
    let null_in_key = null_in_key(&raw.stream, &table);
    let deleted_at = table.position(CDC_DELETED_AT).filter(|_| mode.replaces_by_key());
    let run = raw.generation_id.filter(|generation| *generation > 0);
    // Where nobody counts, nobody goes on with an overwritten stream either: each run is one of its own.
    let run = run.or_else(|| mode.is_staged().then(|| Timestamp::now().as_millisecond()));
    let RawStream { name, namespace, .. } = raw.stream;
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    let stored_name = stored_name(namespace.as_deref().unwrap_or(default_schema), &table.name);
    Ok(Configured {
        target: Target {
            schema: namespace.clone(),
            run: run.map(|generation| Run { generation, sync: raw.sync_id }),
            deletes: deleted_at.is_some(),
            ..Target::new(AIRBYTE, stored_name, Arc::new(table), mode)
        },
        descriptor: StreamDescriptor { name, namespace },
        null_in_key,
        deleted_at,
    })
}

fn null_in_key(stream: &RawStream, table: &Table) -> Vec<usize> {
    let is_value = |name: &str| keyword(stream, name, NULL_IN_KEY) == Some(true);
    (0..table.columns.len()).filter(|column| is_value(&table.columns[*column].name)).collect()
}

fn mode(raw: &RawConfigured) -> Result<WriteMode> {
    let dedups = match raw.destination_sync_mode.as_deref() {
        // The protocol's default.
        None | Some("append" | "overwrite") => false,
        Some("append_dedup") => true,
        Some(other) => {
            return Err(Error::config(format!(
                "destination_sync_mode {other:?} of stream {} is not supported",
                raw.stream.name
            ))
            .hint("use append, append_dedup or overwrite"));
        }
    };
    Ok(match (dedups, truncates(raw)?) {
        (false, false) => WriteMode::Append,
        (true, false) => WriteMode::AppendDedup,
        (false, true) => WriteMode::Overwrite,
        (true, true) => WriteMode::OverwriteDedup,
    })
}

/// The stream's table, with a key where rows replace each other. An overwritten one
/// has it too, if it can: it is of use to a refresh that goes on.
fn table(raw: &RawConfigured, mode: WriteMode) -> Result<Table> {
    let stream = &raw.stream;
    let name = raw.destination_object_name.as_ref().unwrap_or(&stream.name);
    if name.is_empty() || name.contains('\0') || name.to_lowercase().starts_with("_tapeline_") {
        return Err(Error::config(format!("{name:?} cannot be the name of a table"))
            .hint("give the stream another name or a prefix"));
    }
    let none = Value::Null;
    let table = columns::table(name, stream.json_schema.as_ref().unwrap_or(&none), Vec::new());
    let given = raw.primary_key.as_ref().filter(|key| !key.is_empty());
    let paths = given.or(stream.source_defined_primary_key.as_ref()).map_or(&[][..], Vec::as_slice);
    let key = if mode.replaces_by_key() {
        key(&stream.name, paths, &table)?
    } else if raw.destination_sync_mode.as_deref() == Some("overwrite") {
        key(&stream.name, paths, &table).unwrap_or_default()
    } else {
        Vec::new()
    };
    let version = if mode.replaces_by_key() { version(raw, &table) } else { None };
    Ok(Table { key, version, ..table })
}

/// The cursor, where its order says which of two rows with one key is the later.
fn version(raw: &RawConfigured, table: &Table) -> Option<String> {
    let [cursor] = raw.cursor_field.as_deref()? else { return None };
    let has_order = match table.columns[table.position(cursor)?].ty {
        ColumnType::Text
        | ColumnType::Integer
        | ColumnType::Decimal(_)
        | ColumnType::Double
        | ColumnType::Date
        | ColumnType::Timestamp
        | ColumnType::TimestampMicros => true,
        ColumnType::Boolean | ColumnType::Json => false,
    };
    // A source of change data sends in the order of its log, whatever cursor of the row's
    // own was chosen, and a delete need not have that.
    let is_of_log = table.position(CDC_DELETED_AT).is_none() || cursor.starts_with(CDC);
    let is_denied = keyword(&raw.stream, cursor, IS_VERSION) == Some(false);
    (has_order && is_of_log && !is_denied).then(|| cursor.clone())
}

/// What a property's schema says by a keyword of ours.
fn keyword(stream: &RawStream, property: &str, keyword: &str) -> Option<bool> {
    stream.json_schema.as_ref()?["properties"][property][keyword].as_bool()
}

/// Whether rows of earlier generations go when the stream is complete: as the
/// generations say, and where the platform does not count them, as the mode says.
fn truncates(raw: &RawConfigured) -> Result<bool> {
    match (raw.generation_id.unwrap_or(0), raw.minimum_generation_id.unwrap_or(0)) {
        (0, 0) => Ok(raw.destination_sync_mode.as_deref() == Some("overwrite")),
        (_, 0) => Ok(false),
        (generation, minimum) if generation == minimum => Ok(true),
        (generation, minimum) => Err(Error::config(format!(
            "stream {} is to keep rows from generation {minimum} on while generation {generation} is written",
            raw.stream.name
        ))
        .hint("a refresh keeps all earlier rows or none: `minimum_generation_id` is 0 or `generation_id`")),
    }
}

/// The columns of a primary key, which is given as paths.
fn key(stream: &str, paths: &[Vec<String>], table: &Table) -> Result<Vec<String>> {
    if paths.is_empty() {
        return Err(Error::config(format!("stream {stream} has the mode append_dedup and no primary key"))
            .hint("choose a primary key for it, or the mode append"));
    }
    let column = |path: &Vec<String>| match path.as_slice() {
        [column] if table.position(column).is_some() => Ok(column.clone()),
        [column] => {
            Err(Error::config(format!("`{column}` of the primary key of stream {stream} is no column of it"))
                .hint("choose a key of fields that the stream's schema has"))
        }
        nested => Err(Error::config(format!(
            "the primary key of stream {stream} names the nested field `{}`",
            nested.join(".")
        ))
        .hint("choose a key of top-level fields")),
    };
    paths.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn one(more: Value) -> Result<Configured> {
        let mut stream = json!({"stream": {"name": "s", "namespace": null, "json_schema":
            {"properties": {"id": {"type": "integer"}}}, "source_defined_primary_key": null, "is_file_based": null},
            "sync_mode": "incremental", "destination_sync_mode": "append_dedup", "primary_key": [["id"]],
            "cursor_field": null, "generation_id": 3, "minimum_generation_id": 0, "sync_id": 9, "include_files": null});
        for (key, value) in more.as_object().unwrap() {
            stream[key] = value.clone();
        }
        configured(json!({ "streams": [stream] }), "main").map(|mut streams| streams.remove(0))
    }

    #[test]
    fn generations_decide_before_the_mode_does() {
        for (more, mode, generation) in [
            (json!({}), WriteMode::AppendDedup, Some(3)),
            (json!({"minimum_generation_id": 3}), WriteMode::OverwriteDedup, Some(3)),
            (
                json!({"minimum_generation_id": 3, "destination_sync_mode": "append"}),
                WriteMode::Overwrite,
                Some(3),
            ),
            (
                json!({"minimum_generation_id": 3, "destination_sync_mode": "overwrite"}),
                WriteMode::Overwrite,
                Some(3),
            ),
            (json!({"destination_sync_mode": null}), WriteMode::Append, Some(3)),
            (json!({"destination_sync_mode": "overwrite"}), WriteMode::Append, Some(3)),
            (json!({"destination_sync_mode": "append", "generation_id": 0}), WriteMode::Append, None),
        ] {
            let target = one(more.clone()).unwrap().target;
            assert_eq!((target.mode, target.run.map(|run| run.generation)), (mode, generation), "{more}");
        }
    }

    #[test]
    fn uncounted_runs_that_overwrite_are_generations_of_their_own() {
        for more in
            [json!({"generation_id": null, "minimum_generation_id": null}), json!({"generation_id": 0})]
        {
            let mut more = more;
            more["destination_sync_mode"] = json!("overwrite");
            let target = one(more).unwrap().target;
            assert_eq!(target.mode, WriteMode::Overwrite);
            assert!(target.run.unwrap().generation > 1_577_836_800_000);
        }
    }

    #[test]
    fn an_overwritten_table_has_a_key_where_it_can() {
        for (more, expected) in [
            (json!({}), &["id"][..]),
            (json!({"primary_key": null}), &[]),
            (json!({"primary_key": [["a", "b"]]}), &[]),
            (json!({"primary_key": [["other"]]}), &[]),
            (json!({"destination_sync_mode": "append"}), &[]),
        ] {
            let mut all = json!({"destination_sync_mode": "overwrite"});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(one(all).unwrap().target.table.key, expected, "{more}");
        }
    }

    #[test]
    fn a_namespace_is_a_schema_and_a_name_of_its_own_a_table() {
        let stream = json!({"name": "s", "namespace": "raw", "json_schema": {"properties": {"id": {"type": "string"}}},
            "source_defined_primary_key": [["id"]]});
        let configured =
            one(json!({"stream": stream, "destination_object_name": "t", "primary_key": []})).unwrap();
        assert_eq!(configured.target.first_key(), "airbyte:raw/t");
        let Target { schema, table, stream, run, .. } = configured.target;
        assert_eq!((schema.as_deref(), table.name.as_str(), stream.as_str()), (Some("raw"), "t", "raw/t"));
        assert_eq!(table.key, ["id"]);
        assert_eq!(run.unwrap().sync, Some(9));
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        for (more, expected) in [
            (json!({"minimum_generation_id": 2}), "keep rows from generation 2 on while generation 3"),
            (json!({"destination_sync_mode": "upsert"}), "\"upsert\" of stream s is not supported"),
            (json!({"primary_key": null}), "append_dedup and no primary key"),
            (json!({"primary_key": [["a", "b"]]}), "the nested field `a.b`"),
            (json!({"primary_key": [["other"]]}), "`other` of the primary key of stream s is no column"),
            (json!({"destination_object_name": "_TAPELINE_NEXT_s"}), "cannot be the name of a table"),
            (
                json!({"stream": {"name": ""}, "destination_sync_mode": "append"}),
                "\"\" cannot be the name of a table",
            ),
            (
                json!({"stream": {"namespace": "n"}}),
                "`streams[0].stream.name` of the configured catalogue is missing",
            ),
        ] {
            let error = one(more.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.user_message().contains(expected), "{more}: {}", error.user_message());
        }
        let stream = |name: &str| json!({"stream": {"name": name, "json_schema": {}}, "destination_sync_mode": "append"});
        let in_main = json!({"stream": {"name": "trades", "namespace": "Main"}});
        for other in [stream("trades"), in_main] {
            let error = configured(json!({"streams": [stream("Trades"), other]}), "MAIN").unwrap_err();
            assert!(error.user_message().contains("Trades and trades would have the same table"));
        }
        assert!(configured(json!({"streams": [stream("straße"), stream("strasse")]}), "main").is_err());
        assert!(configured(json!({"streams": []}), "main").unwrap().is_empty());
    }

    #[test]
    fn no_two_tables_share_their_progress() {
        let keys = [("a", "b/c"), ("a/b", "c"), ("a%2fb", "c"), ("a", "b"), ("a%25", "b"), ("a%", "b")]
            .map(|(schema, table)| stored_name(schema, table));
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len(), "{keys:?}");
        assert_eq!(stored_name("Main", "Trades"), "main/trades");
    }

    #[test]
    fn deletes_are_those_of_a_source_of_change_data_where_rows_replace_each_other() {
        let text = json!({"type": ["null", "string"]});
        let stream = |name: &str| json!({"name": "s", "json_schema": {"properties": {"id": {"type": "integer"}, name: text}}});
        for (more, expected) in [
            (json!({"stream": stream("_ab_cdc_deleted_at")}), Some(1)),
            (json!({"stream": stream("_ab_cdc_deleted_at"), "minimum_generation_id": 3}), Some(1)),
            (json!({"stream": stream("_ab_cdc_updated_at")}), None),
            (json!({"stream": stream("_ab_cdc_deleted_at"), "destination_sync_mode": "append"}), None),
            (json!({"stream": stream("_ab_cdc_deleted_at"), "destination_sync_mode": "overwrite"}), None),
        ] {
            let mut configured = one(more.clone()).unwrap();
            assert_eq!(configured.deleted_at, expected, "{more}");
            configured.keep_deleted();
            assert_eq!(configured.deleted_at, None);
        }
    }

    #[test]
    fn the_cursor_is_the_version_where_it_has_an_order_and_is_meant_so() {
        let properties = json!({
            "id": {"type": "integer"}, "n": {"type": "integer"}, "price": {"type": "number"},
            "day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "date-time"},
            "text": {"type": "string"}, "flag": {"type": "boolean"}, "object": {"type": "object"},
            "moved": {"type": "string", "format": "date", "is_version": false},
            "_ab_cdc_lsn": {"type": "number"},
        });
        let version = |cursor: &[&str], mode: &str, is_cdc: bool| {
            let mut properties = properties.clone();
            if is_cdc {
                properties["_ab_cdc_deleted_at"] = json!({"type": "string"});
            }
            let stream = json!({"name": "s", "json_schema": {"properties": properties}});
            let more = json!({"stream": stream, "cursor_field": cursor, "destination_sync_mode": mode});
            one(more).unwrap().target.table.version.clone()
        };
        for cursor in ["n", "price", "day", "at", "text", "_ab_cdc_lsn"] {
            assert_eq!(version(&[cursor], "append_dedup", false).as_deref(), Some(cursor));
            assert_eq!(version(&[cursor], "append", false), None);
            let of_log = version(&[cursor], "append_dedup", true);
            assert_eq!(of_log.is_some(), cursor == "_ab_cdc_lsn", "{cursor}");
        }
        for cursor in [&["flag"][..], &["object"], &["moved"], &["gone"], &["object", "n"], &[]] {
            assert_eq!(version(cursor, "append_dedup", false), None, "{cursor:?}");
        }
    }

    #[test]
    fn null_is_a_value_of_a_key_where_the_schema_says_so() {
        let properties = json!({
            "id": {"type": ["null", "integer"]},
            "gone": {"type": ["null", "string"], "null_in_key": true},
            "left": {"type": ["null", "string"], "null_in_key": false},
        });
        let streams = json!({"streams": [{
            "stream": {"name": "s", "json_schema": {"properties": properties}},
            "destination_sync_mode": "append_dedup",
            "primary_key": [["id"], ["gone"], ["left"]],
        }]});
        let stream = configured(streams, "main").unwrap().remove(0);
        let columns = &stream.target.table.columns;
        let names: Vec<_> = stream.null_in_key.iter().map(|column| &columns[*column].name).collect();
        assert_eq!(names, ["gone"]);
    }
}
