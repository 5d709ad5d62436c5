//! What users configure. Each type is parsed as written, then validated into a
//! type that cannot be wrong; its JSON Schema is what `spec` prints.

pub mod destination;
pub mod environment;
pub mod explain;
pub mod pipeline;
mod repeated;
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

/// A JSON file that a command of Airbyte's is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonFile {
    /// The configuration of the source.
    Source,
    /// The configuration of the destination.
    Destination,
    /// The configured catalogue.
    Catalog,
}

impl JsonFile {
    /// What messages call it.
    const fn what(self) -> &'static str {
        match self {
            Self::Source | Self::Destination => "the configuration",
            Self::Catalog => "the configured catalogue",
        }
    }

    /// That it is a pipeline, and what of that is wanted.
    fn is_a_pipeline(self, path: &Path) -> Error {
        let part = match self {
            Self::Source => {
                "Airbyte's commands take what stands under `source.polygon` of it, as a JSON file"
            }
            Self::Destination => {
                "a destination's configuration is what stands under `sink` of it, as a JSON file such as \
                 `{\"sink\": {\"type\": \"duckdb\", \"path\": \"market.duckdb\"}}`"
            }
            Self::Catalog => {
                "a configured catalogue lists streams in Airbyte's words; catalogs/ has examples"
            }
        };
        Error::config(format!("{} {} is a pipeline", self.what(), path.display()))
            .hint(format!("`tapeline sync` runs it; {part}"))
    }
}

/// Reads a JSON file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file.
pub fn read_json(path: &Path, file: JsonFile) -> Result<Value> {
    let (what, shown) = (file.what(), path.display());
    let text = read_text(path, what)?;
    if text.trim().is_empty() {
        return Err(Error::config(format!("{what} {shown} is empty"))
            .hint("it must hold a JSON object; docs/ and catalogs/ have examples"));
    }
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        if yaml::Document::parse(&text).is_ok_and(|document| is_pipeline(&document.value)) {
            return file.is_a_pipeline(path);
        }
        // serde_json names line and column, never the content.
        Error::config(format!("{what} {shown} is not JSON: {error}"))
            .hint("look at the brackets, the commas and the quotes up to that place")
    })?;
    if is_pipeline(&value) {
        return Err(file.is_a_pipeline(path));
    }
    // A platform writes the catalogue, and copies schemas into it as they are.
    if file != JsonFile::Catalog {
        repeated::refuse(&text).map_err(|(place, error)| error.context(format_args!("{shown}:{place}")))?;
    }
    Ok(value)
}

/// Reads the configuration of the source from a JSON file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file or the field.
pub fn read_source(path: &Path, clock: Clock) -> Result<SourceConfig> {
    SourceConfig::from_json(read_json(path, JsonFile::Source)?, clock)
}

fn is_pipeline(value: &Value) -> bool {
    value.get("source").is_some() && value.get("sink").is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_told_which_part_of_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let json =
            r#"{"name": "p", "source": {"polygon": {}}, "sink": {"duckdb": {"path": "a"}}, "streams": []}"#;
        for text in [json, "name: p\nsource:\n  polygon: {}\nsink:\n  duckdb: {path: a}\n"] {
            std::fs::write(&path, text).unwrap();
            for (file, what, part) in [
                (JsonFile::Source, "the configuration", "what stands under `source.polygon` of it"),
                (JsonFile::Destination, "the configuration", "is what stands under `sink` of it"),
                (JsonFile::Catalog, "the configured catalogue", "catalogs/ has examples"),
            ] {
                let message = read_json(&path, file).unwrap_err().user_message();
                let expected = format!("{what} {} is a pipeline (hint: `tapeline sync` runs", path.display());
                assert!(message.starts_with(&expected) && message.contains(part), "{message}");
            }
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_in_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        std::fs::write(&path, "{\"api_key\": \"a\",\n \"api_key\": \"b\"}").unwrap();
        for file in [JsonFile::Source, JsonFile::Destination] {
            let message = read_json(&path, file).unwrap_err().user_message();
            let expected = format!("{}:2:10: `api_key` is there twice", path.display());
            assert!(message.starts_with(&expected), "{message}");
        }
        read_json(&path, JsonFile::Catalog).unwrap();
    }
}
