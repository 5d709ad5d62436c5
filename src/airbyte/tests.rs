//! What is checked in is what the types say.

use std::path::Path;

use serde_json::{Value, json};

use super::catalog::AirbyteCatalog;
use super::spec;
use crate::catalog::streams;
use crate::clock::Clock;
use crate::config::source::SourceConfig;

/// Compares a file of the repository with what it has to hold; with `UPDATE=1` in
/// the environment it is written instead.
fn assert_checked_in(path: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is out of date: run `UPDATE=1 cargo test checked_in`", path.display());
}

/// The catalogue of a configuration that leaves the bar sizes out.
fn default_catalog() -> Value {
    let config = json!({"api_key": "k-of-airbyte-tests", "start_date": "2024-01-02"});
    let config = SourceConfig::from_json(config, Clock::System).unwrap();
    serde_json::to_value(AirbyteCatalog::of(&streams(&config.bar_sizes))).unwrap()
}

fn configured(incremental: bool) -> Value {
    let stream = |stream: &Value| {
        let modes = stream["supported_sync_modes"].as_array().unwrap();
        let (sync_mode, destination) = if incremental && modes.contains(&json!("incremental")) {
            ("incremental", "append_dedup")
        } else {
            ("full_refresh", "overwrite")
        };
        json!({"stream": stream, "sync_mode": sync_mode, "destination_sync_mode": destination,
            "cursor_field": stream["default_cursor_field"], "primary_key": stream["source_defined_primary_key"]})
    };
    let catalog = default_catalog();
    let streams: Vec<Value> = catalog["streams"].as_array().unwrap().iter().map(stream).collect();
    json!({ "streams": streams })
}

#[test]
fn the_specifications_are_checked_in() {
    assert_checked_in("spec/source.json", &serde_json::to_value(spec::source()).unwrap());
    assert_checked_in("spec/destination.json", &serde_json::to_value(spec::destination()).unwrap());
}

#[test]
fn the_catalogues_are_checked_in() {
    assert_checked_in("catalogs/catalog.json", &default_catalog());
    assert_checked_in("catalogs/configured_incremental.json", &configured(true));
    assert_checked_in("catalogs/configured_full_refresh.json", &configured(false));
}

/// The rules of Airbyte's acceptance tests that a change of a configuration type
/// breaks most easily.
#[test]
fn the_specifications_keep_airbytes_rules() {
    fn walk(schema: &Value, path: &str) {
        let Value::Object(map) = schema else { return };
        for forbidden in ["$ref", "anyOf", "allOf", "not", "if", "$defs", "definitions", "patternProperties"]
        {
            assert!(!map.contains_key(forbidden), "{path} has {forbidden}");
        }
        match &schema["type"] {
            Value::String(_) => {}
            Value::Array(types) => {
                assert!(types.len() == 2 && types.contains(&json!("null")), "{path}: {types:?}")
            }
            other => panic!("{path} has type {other}"),
        }
        assert_ne!(schema["additionalProperties"], json!(false), "{path}");
        if let Some(branches) = schema["oneOf"].as_array() {
            assert_eq!(schema["type"], "object", "{path}");
            let tags = branches.iter().map(|branch| &branch["properties"]["type"]["const"]);
            assert!(tags.clone().all(Value::is_string), "{path}");
            branches.iter().for_each(|branch| {
                assert!(branch["title"].is_string(), "{path}");
                walk(branch, path);
            });
        }
        let mut orders = Vec::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            orders.extend(property["order"].as_u64());
            if property["const"].is_null() {
                assert!(property["title"].is_string() && property["description"].is_string(), "{path}");
            }
            walk(property, &path);
        }
        let mut unique = orders.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), orders.len(), "{path}: two properties have one order");
    }
    let schema = spec::source().connection_specification;
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["properties"]["api_key"]["airbyte_secret"], true);
    walk(&schema, "spec");
    walk(&spec::destination().connection_specification, "destination");
}
