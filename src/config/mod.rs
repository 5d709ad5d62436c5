//! What users configure. Each type is parsed as written, then validated into a
//! type that cannot be wrong; its JSON Schema is what `spec` prints.

pub mod destination;
pub mod environment;
pub mod explain;
pub mod pipeline;
pub mod schema;
mod secrets;
pub mod source;
mod yaml;

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::Clock;
use crate::error::{Error, Result};
use source::SourceConfig;

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
pub fn read_text(path: &Path, what: &str) -> Result<String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        let (problem, hint) = match error.kind() {
            io::ErrorKind::NotFound => {
                (format!("{what} {shown} does not exist"), "a relative path begins at the working directory")
            }
            io::ErrorKind::IsADirectory => {
                (format!("{what} {shown} is a folder"), "name the file in it that is meant")
            }
            _ => (format!("cannot read {what} {shown}"), "it must be a text file that this user may read"),
        };
        Error::config(problem).hint(hint).caused_by(error)
    })?;
    let is_utf_16 = matches!(bytes.as_slice(), [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, _, ..] | [_, 0, ..]);
    let text = String::from_utf8(bytes).ok().filter(|_| !is_utf_16).ok_or_else(|| {
        let encoding = if is_utf_16 { "UTF-16" } else { "another encoding" };
        Error::config(format!("{what} {shown} is a text in {encoding}, not in UTF-8"))
            .hint("save it as UTF-8; editors ask for the encoding when they save under another name")
    })?;
    // Some editors of Windows put it before every text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads a JSON file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file.
pub fn read_json(path: &Path, what: &str) -> Result<Value> {
    let text = read_text(path, what)?;
    if text.trim().is_empty() {
        return Err(Error::config(format!("{what} {} is empty", path.display()))
            .hint("it must hold a JSON object; docs/ and catalogs/ have examples"));
    }
    serde_json::from_str(&text).map_err(|error| {
        if yaml::Document::parse(&text).is_ok_and(|document| is_pipeline(&document.value)) {
            return a_pipeline(what, path);
        }
        // serde_json names line and column, never the content.
        Error::config(format!("{what} {} is not JSON: {error}", path.display()))
            .hint("look at the brackets, the commas and the quotes up to that place")
    })
}

/// Reads the configuration of the source from a JSON file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file or the field.
pub fn read_source(path: &Path, clock: Clock) -> Result<SourceConfig> {
    const WHAT: &str = "the configuration";
    let value = read_json(path, WHAT)?;
    if is_pipeline(&value) {
        return Err(a_pipeline(WHAT, path));
    }
    SourceConfig::from_json(value, clock)
}

fn is_pipeline(value: &Value) -> bool {
    value.get("source").is_some() && value.get("sink").is_some()
}

fn a_pipeline(what: &str, path: &Path) -> Error {
    Error::config(format!("{what} {} is a pipeline", path.display())).hint(
        "`tapeline sync` runs it; Airbyte's commands take what stands under `source.polygon` of it, as a JSON file",
    )
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
