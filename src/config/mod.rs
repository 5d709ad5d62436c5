//! What users configure. Each type is parsed as written, then validated into a
//! type that cannot be wrong; its JSON Schema is what `spec` prints.

pub mod source;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Reads a JSON value into a configuration type. `what` names it for people.
///
/// # Errors
/// [`ErrorKind::Config`], naming the path of the field.
pub fn parse<T: DeserializeOwned>(value: Value, what: &str) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { what.to_owned() } else { format!("`{path}` of {what}") };
        Error::config(format!("{place}: {}", error.inner()))
    })
}

/// Reads a JSON file.
///
/// # Errors
/// [`ErrorKind::Config`], naming the file.
pub fn read_json(path: &std::path::Path, what: &str) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .or_fail(ErrorKind::Config, || format!("cannot read {what} {}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| {
        // serde_json names line and column, never the content.
        Error::config(format!("{what} {} is not JSON: {error}", path.display()))
    })
}

/// Drops the keys that an Airbyte platform or test adds: they begin with `_`.
/// A key set to null is as good as absent.
pub(crate) fn without_platform_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(key, value)| !key.starts_with('_') && !value.is_null()).collect(),
        ),
        other => other,
    }
}
