//! What users configure. Each type is parsed as written, then validated into a
//! type that cannot be wrong; its JSON Schema is what `spec` prints.

pub mod destination;
pub mod environment;
pub mod explain;
pub mod pipeline;
pub mod schema;
pub mod source;
mod yaml;

use std::io;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Reads a JSON value into a configuration type. `what` names it for people.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the path of the field.
pub fn parse<T: DeserializeOwned>(value: Value, what: &str) -> Result<T> {
    parse_at(value, what).map_err(|(_, error)| error)
}

/// [`parse`] that also says at which path the mistake is.
fn parse_at<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, (String, Error)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let sentence = explain::explain(&path, &error.inner().to_string(), what);
        (path, sentence)
    })
}

/// Reads a text file. `what` names it for people.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file.
pub fn read_text(path: &std::path::Path, what: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        let (problem, hint) = match error.kind() {
            io::ErrorKind::NotFound => {
                (format!("{what} {path} does not exist"), "a relative path begins at the working directory")
            }
            _ => (format!("cannot read {what} {path}"), "it must be a text file that this user may read"),
        };
        Error::config(problem).hint(hint).caused_by(error)
    })
}

/// Reads a JSON file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file.
pub fn read_json(path: &std::path::Path, what: &str) -> Result<Value> {
    let text = read_text(path, what)?;
    serde_json::from_str(&text).map_err(|error| {
        // serde_json names line and column, never the content.
        Error::config(format!("{what} {} is not JSON: {error}", path.display()))
            .hint("look at the brackets, the commas and the quotes up to that place")
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
