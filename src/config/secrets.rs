//! Where secrets may stand in a configuration: in their own fields and nowhere else.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::secret;

/// The fields that hold one, in any configuration.
const FIELDS: [&str; 4] = ["api_key", "private_key", "private_key_password", "password"];

/// Checks that no other field holds the value of a secret: from there it would come
/// into the names of tables, into progress and into addresses, where it cannot be
/// taken out again. To be called when the secrets have been read.
///
/// # Errors
/// The path of the field, and [`crate::error::ErrorKind::Config`].
pub(super) fn assert_apart(value: &Value, what: &str) -> Result<(), (String, Error)> {
    match misplaced(value, &mut String::new()) {
        None => Ok(()),
        Some(path) => {
            let error = Error::config(format!("`{path}` of {what} holds the value of a key or password"))
                .hint("write a secret into its own field only; where it is meant to be a name too, choose another one");
            Err((path, error))
        }
    }
}

/// The path of the first text that holds a secret and is none.
fn misplaced(value: &Value, path: &mut String) -> Option<String> {
    let parent = path.len();
    let mut found = None;
    match value {
        Value::String(text) => found = secret::is_in(text).then(|| path.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                found = found.or_else(|| misplaced(item, path));
                path.truncate(parent);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())) {
                path.push_str(if parent == 0 { "" } else { "." });
                path.push_str(name);
                found = found.or_else(|| misplaced(field, path));
                path.truncate(parent);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::config::destination::RawDestinationConfig;
    use crate::config::{pipeline, schema, source};
    use crate::secret::Secret;

    #[test]
    fn the_fields_are_those_that_the_schemas_mark() {
        fn collect<'a>(schema: &'a Value, marked: &mut BTreeSet<&'a str>) {
            match schema {
                Value::Object(fields) => {
                    for (name, field) in fields {
                        if field["airbyte_secret"] == true {
                            marked.insert(name);
                        }
                        collect(field, marked);
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| collect(item, marked)),
                _ => {}
            }
        }
        let schemas = [
            pipeline::schema(),
            schema::of::<RawDestinationConfig>(),
            schema::of::<source::RawSourceConfig>(),
        ];
        let mut marked = BTreeSet::new();
        schemas.iter().for_each(|schema| collect(schema, &mut marked));
        assert_eq!(marked, BTreeSet::from(FIELDS));
    }

    #[test]
    fn a_secret_in_another_field_is_named_by_its_path() {
        let key = Secret::new("zq-config-secrets.rs+1");
        let whole = json!({"a": {"api_key": key.expose(), "tickers": ["A", "B"], "base_url": "http://h"}});
        assert_apart(&whole, "the sample").unwrap();
        for (place, text) in [
            ("/a/tickers/1", key.expose().to_owned()),
            ("/a/base_url", "http://h/zq-config-secrets.rs%2b1/x".to_owned()),
        ] {
            let mut value = whole.clone();
            *value.pointer_mut(place).unwrap() = Value::from(text);
            let (path, error) = assert_apart(&value, "the sample").unwrap_err();
            assert_eq!(path, place[1..].replace("/1", "[1]").replace('/', "."));
            let message = error.user_message();
            assert!(message.starts_with(&format!("`{path}` of the sample holds the value")), "{message}");
            assert!(!secret::is_in(&message), "{message}");
        }
    }
}
