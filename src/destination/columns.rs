//! From a stream's JSON Schema to the table that holds its records.
//!
//! Numbers are decimals, because prices are not floats; their columns widen with them.
//! Moments without an offset are taken as UTC. What has several types, or one that no
//! column has, is kept as JSON. Nothing is dropped: a field that has no column, or a
//! value that does not fit its column, goes into [`EXTRA_COLUMN`].

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use crate::batch::Cause;
use crate::canonical::{FieldForm, Transcoder};
use crate::table::{Column, ColumnType, EXTRA_COLUMN, Kind, Metadata, Table, TimeUnit, Width};

/// Beginnings of names that are ours and Airbyte's.
const RESERVED: [&str; 2] = ["_airbyte_", "_tapeline_"];

/// The table of a stream with this schema.
pub(super) fn table(name: &str, schema: &Value, key: Vec<String>) -> Table {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let mut names = HashSet::from([EXTRA_COLUMN.to_owned()]);
    let mut columns = Vec::new();
    for (name, schema) in properties {
        let folded = folded(name);
        let reserved = RESERVED.iter().any(|beginning| folded.starts_with(beginning));
        // Warehouses fold the case of names: a second column of the same would be the first.
        if name.is_empty() || name.contains('\0') || reserved || !names.insert(folded) {
            continue;
        }
        let doc = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        columns.push(Column { name: name.clone(), ty: column_type(schema), doc: doc.to_owned() });
    }
    columns.push(Column {
        name: EXTRA_COLUMN.to_owned(),
        ty: ColumnType::Json,
        doc: "Fields that have no column, and values that did not fit their column.".to_owned(),
    });
    Table {
        name: name.to_owned(),
        columns,
        key,
        cursor: None,
        version: None,
        metadata: Metadata::ALL.to_vec(),
    }
}

/// A name as every warehouse may take it. Snowflake's are upper case, where ß is SS
/// and ı is I, DuckDB's the same in any case: names that fold alike cannot be told apart.
pub(super) fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

/// What turns a stream's records into rows of its table, of whose key these columns may be
/// NULL, and looks which are deletes, by the column that says when they were deleted.
pub(super) fn transcoder(table: &Table, null_in_key: &[usize], deleted_at: Option<usize>) -> Transcoder {
    let transcoder = of_table(table).null_in_key(null_in_key);
    match deleted_at {
        Some(column) => transcoder.watching(column),
        None => transcoder,
    }
}

fn of_table(table: &Table) -> Transcoder {
    let form = |column: &Column| {
        let kind = match column.ty {
            ColumnType::Text => Kind::Text,
            ColumnType::Boolean => Kind::Boolean,
            ColumnType::Integer => Kind::Integer,
            ColumnType::Decimal(width) => Kind::Decimal(width),
            ColumnType::Double => Kind::Decimal(Width::UNKNOWN),
            ColumnType::Date => Kind::Date,
            ColumnType::Timestamp | ColumnType::TimestampMicros => Kind::Time(TimeUnit::Iso8601),
            ColumnType::Json => Kind::Json,
        };
        (column.name.clone(), kind)
    };
    let fields: Vec<(String, Kind)> =
        table.columns.iter().filter(|column| column.name != EXTRA_COLUMN).map(form).collect();
    let forms = fields.iter().map(|(name, kind)| FieldForm { source: name, name, kind: *kind });
    // A record from another destination's table has them too.
    Transcoder::of(forms, table, Cause::Destination).ignoring(Metadata::ALL.map(Metadata::column).to_vec())
}

/// The type of a column for values of this schema
/// [https://docs.airbyte.com/understanding-airbyte/supported-data-types].
fn column_type(schema: &Value) -> ColumnType {
    let mut types = BTreeSet::new();
    collect(schema, &mut types);
    types.remove("null");
    let integers = types.contains("integer");
    if types.contains("number") {
        types.remove("integer");
    }
    let mut types = types.into_iter();
    let (Some(only), None) = (types.next(), types.next()) else { return ColumnType::Json };
    let said = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    match only {
        "string" => match (said("airbyte_type"), said("format")) {
            ("timestamp_with_timezone" | "timestamp_without_timezone", _) => ColumnType::Timestamp,
            // A time of the day has no type that all warehouses share.
            ("time_with_timezone" | "time_without_timezone", _) => ColumnType::Text,
            (_, "date-time") => ColumnType::Timestamp,
            (_, "date") => ColumnType::Date,
            _ => ColumnType::Text,
        },
        "boolean" => ColumnType::Boolean,
        "integer" => ColumnType::Integer,
        "number" if said("airbyte_type") == "integer" && !integers => ColumnType::Integer,
        "number" => ColumnType::Decimal(Width::UNKNOWN),
        _ => ColumnType::Json,
    }
}

/// The types that values of a schema may have. Branches count only by their type:
/// formats inside of them do not make a column of another type.
fn collect<'a>(schema: &'a Value, types: &mut BTreeSet<&'a str>) {
    match schema.get("type") {
        Some(Value::String(one)) => {
            types.insert(one);
        }
        Some(Value::Array(several)) => types.extend(several.iter().filter_map(Value::as_str)),
        _ => {}
    }
    for branches in ["oneOf", "anyOf"].iter().filter_map(|key| schema.get(key)?.as_array()) {
        branches.iter().for_each(|branch| collect(branch, types));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::batch::Rows;
    use crate::canonical::Scanner;

    #[test]
    fn types_are_those_that_lose_nothing() {
        for (schema, expected) in [
            (json!({"type": "string"}), ColumnType::Text),
            (json!({"type": ["null", "string"]}), ColumnType::Text),
            (json!({"type": "string", "format": "date"}), ColumnType::Date),
            (json!({"type": "string", "format": "date-time"}), ColumnType::Timestamp),
            (
                json!({"type": ["string"], "format": "date-time", "airbyte_type": "timestamp_without_timezone"}),
                ColumnType::Timestamp,
            ),
            (
                json!({"type": "string", "format": "time", "airbyte_type": "time_without_timezone"}),
                ColumnType::Text,
            ),
            (json!({"type": ["null", "integer"]}), ColumnType::Integer),
            (json!({"type": "number", "airbyte_type": "integer"}), ColumnType::Integer),
            (json!({"type": ["null", "number"]}), ColumnType::Decimal(Width::UNKNOWN)),
            (json!({"type": ["integer", "number"]}), ColumnType::Decimal(Width::UNKNOWN)),
            (json!({"type": "boolean"}), ColumnType::Boolean),
            (json!({"type": "object"}), ColumnType::Json),
            (json!({"type": ["null", "array", "object"]}), ColumnType::Json),
            (json!({"type": ["string", "integer"]}), ColumnType::Json),
            (json!({"oneOf": [{"type": "null"}, {"type": "string"}]}), ColumnType::Text),
            (json!({"anyOf": [{"type": "boolean"}, {"type": "string"}]}), ColumnType::Json),
            (json!({}), ColumnType::Json),
            (json!(true), ColumnType::Json),
        ] {
            assert_eq!(column_type(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn what_cannot_be_a_column_is_kept_beside() {
        let schema = json!({"properties": {"id": {"type": "integer"}, "ID": {"type": "string"}, "": {"type": "string"},
            "_airbyte_meta": {"type": "object"}, "_tapeline_n": {"type": "integer"},
            "additional_properties": {"type": "object"}, "say \"hi\"": {"type": "string", "description": "d"}}});
        let table = table("s", &schema, vec!["id".to_owned()]);
        let names: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "say \"hi\"", EXTRA_COLUMN]);
        assert_eq!(table.columns[1].doc, "d");
        let mut rows = Rows::default();
        let mut transcoder = of_table(&table);
        for record in [
            r#"{"id": 1, "ID": "x", "say \"hi\"": "there", "_airbyte_meta": {}, "_tapeline_n": 5, "": null}"#,
            r#"{"additional_properties": {"a": [1, 2]}, "id": 9223372036854775808}"#,
            r#"{"additional_properties": {}, "_airbyte_raw_id": "u"}"#,
            r#"{"additional_properties": "text", "id": "7"}"#,
        ] {
            transcoder.row(&mut Scanner::new(record.as_bytes()), &mut rows).unwrap();
        }
        let rows_text: Vec<_> = rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect();
        assert_eq!(
            rows_text,
            [
                r#"{"id":1,"say \"hi\"":"there","additional_properties":{"ID":"x","_tapeline_n":5,"":null}}"#,
                r#"{"additional_properties":{"a":[1,2],"id":9223372036854775808}}"#,
                "{}",
                r#"{"id":7,"additional_properties":{"additional_properties":"text"}}"#,
            ]
        );
        assert_eq!(rows.changes().len(), 1);
        assert_eq!(rows.changes()[0].cause, Cause::Destination);
    }

    #[test]
    fn names_that_are_one_in_upper_case_are_one_column() {
        let text = json!({"type": "string"});
        let schema =
            json!({"properties": {"straße": text, "strasse": text, "STRASSE": text, "_aırbyte_meta": text}});
        let table = table("s", &schema, Vec::new());
        let names: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["straße", EXTRA_COLUMN]);
    }

    #[test]
    fn values_in_the_forms_that_sources_have() {
        let schema = json!({"properties": {"at": {"type": "string", "format": "date-time"}, "price": {"type": "number"}}});
        let table = table("s", &schema, Vec::new());
        let mut rows = Rows::default();
        let mut transcoder = of_table(&table);
        for record in [
            r#"{"at":"2024-01-02T09:30:00+01:00","price":101.50}"#,
            r#"{"at":"2024-01-02T09:30:00.123456789","price":"101.500000000"}"#,
            r#"{"at":"2024-01-02 09:30:00","price":1e3}"#,
            r#"{"at":"2024-01-02","price":1e-30}"#,
        ] {
            transcoder.row(&mut Scanner::new(record.as_bytes()), &mut rows).unwrap();
        }
        let rows_text: Vec<_> = rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect();
        assert_eq!(
            rows_text,
            [
                r#"{"at":"2024-01-02T08:30:00Z","price":101.50}"#,
                r#"{"at":"2024-01-02T09:30:00.123456789Z","price":101.500000000}"#,
                r#"{"at":"2024-01-02T09:30:00Z","price":1000}"#,
                r#"{"at":"2024-01-02T00:00:00Z","price":0.000000000000000000000000000001}"#,
            ]
        );
    }
}
