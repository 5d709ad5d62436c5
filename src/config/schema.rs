//! The JSON Schema of a configuration type, in the form that Airbyte accepts,
//! and a check of a configuration against it that says clearly what is wrong.

use jsonschema::error::ValidationErrorKind;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::nearest;
use crate::error::{Error, Result};

/// Longer values are cut in a message.
const SHOWN_MAX: usize = 60;

/// The schema of `T`: draft 7, no references, every object open, as Airbyte's
/// acceptance tests want it.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    adapt(&mut schema);
    schema
}

fn adapt(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    // Integer formats are schemars' own; the bounds beside them say the same.
    if map.get("format").and_then(Value::as_str).is_some_and(|format| !matches!(format, "date" | "date-time"))
    {
        map.remove("format");
    }
    if map.get("default").is_some_and(Value::is_null) {
        map.remove("default");
    }
    if map.contains_key("properties") || map.contains_key("oneOf") {
        map.insert("type".to_owned(), json!("object"));
        map.insert("additionalProperties".to_owned(), json!(true));
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(adapt);
    }
    if let Some(Value::Array(branches)) = map.get_mut("oneOf") {
        branches.iter_mut().for_each(adapt);
    }
    if let Some(items) = map.get_mut("items") {
        adapt(items);
    }
}

/// Checks `value` against the schema of `T`. Unlike the schema, which a platform
/// may extend, it refuses unknown fields: they are typing errors.
///
/// Patterns and formats are left to the type's own validation, which knows what
/// was meant.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the first field that is wrong.
pub fn check<T: JsonSchema>(value: &Value, what: &str) -> Result<()> {
    check_value(&of::<T>(), value, "", what)
}

fn check_value(schema: &Value, value: &Value, path: &str, what: &str) -> Result<()> {
    if let Some(branches) = schema["oneOf"].as_array() {
        let branch = choose(branches, value, path, what)?;
        return check_value(branch, value, path, what);
    }
    match (schema["properties"].as_object(), value) {
        (Some(properties), Value::Object(fields)) => {
            check_names(schema, properties, fields, path, what)?;
            for (name, value) in fields {
                check_value(&properties[name], value, &join(path, name), what)?;
            }
            Ok(())
        }
        _ => check_leaf(schema, value, path, what),
    }
}

/// Chooses the branch of a `oneOf` by the one field that is a constant in each.
fn choose<'a>(branches: &'a [Value], value: &Value, path: &str, what: &str) -> Result<&'a Value> {
    let tag = |branch: &'a Value| {
        let mut properties = branch["properties"].as_object().into_iter().flatten();
        properties.find_map(|(name, schema)| Some((name.as_str(), schema["const"].as_str()?)))
    };
    let tags: Vec<(&str, &str)> = branches.iter().filter_map(tag).collect();
    let Some((name, _)) = tags.first() else {
        return Err(Error::bug("a oneOf of the schema has no tag"));
    };
    let words: Vec<&str> = tags.iter().map(|(_, word)| *word).collect();
    let all = words.join(", ");
    let field = join(path, name);
    match value.get(name) {
        Some(Value::String(chosen)) => match words.iter().position(|word| word == chosen) {
            Some(index) => Ok(&branches[index]),
            None => {
                let error = Error::config(format!("`{field}` of {what} is {chosen:?}, not one of {all}"));
                Err(match nearest(chosen, words.into_iter()) {
                    Some(nearest) => error.hint(format!("did you mean {nearest:?}?")),
                    None => error,
                })
            }
        },
        Some(_) => Err(Error::config(format!("`{field}` of {what} must be one of {all}"))),
        None if value.is_object() => {
            Err(Error::config(format!("`{field}` of {what} is missing"))
                .hint(format!("set it to one of {all}")))
        }
        None => Err(Error::config(format!("`{path}` of {what} must be an object"))
            .hint(format!("write it as {{\"{name}\": \"{}\"}}; {name} is one of {all}", words[0]))),
    }
}

/// Refuses unknown names first: one that is missing is often one that is misspelt.
fn check_names(
    schema: &Value,
    properties: &Map<String, Value>,
    fields: &Map<String, Value>,
    path: &str,
    what: &str,
) -> Result<()> {
    if let Some(unknown) = fields.keys().find(|name| !properties.contains_key(*name)) {
        let error = Error::config(format!("{what} has no field `{}`", join(path, unknown)));
        let absent = properties.keys().filter(|name| !fields.contains_key(*name)).map(String::as_str);
        return Err(match nearest(unknown, absent) {
            Some(nearest) => error.hint(format!("did you mean `{}`?", join(path, nearest))),
            None => {
                let names: Vec<_> = properties.keys().map(String::as_str).collect();
                error.hint(format!("its fields are {}", names.join(", ")))
            }
        });
    }
    let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match required.find(|name| !fields.contains_key(*name)) {
        None => Ok(()),
        Some(missing) => {
            let error = Error::config(format!("`{}` of {what} is missing", join(path, missing)));
            Err(match properties[missing]["description"].as_str() {
                Some(description) => error.hint(description.trim_end_matches('.').to_owned()),
                None => error,
            })
        }
    }
}

fn check_leaf(schema: &Value, value: &Value, path: &str, what: &str) -> Result<()> {
    let validator = jsonschema::draft7::new(schema)
        .map_err(|error| Error::bug(format!("the schema of `{path}` is not one: {error}")))?;
    let meant_elsewhere = |kind: &ValidationErrorKind| {
        matches!(kind, ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Format { .. })
    };
    let Some(error) = validator.iter_errors(value).find(|error| !meant_elsewhere(error.kind())) else {
        return Ok(());
    };
    // "/0" of "tickers" is `tickers[0]`.
    let within: String =
        error.instance_path().to_string().split('/').skip(1).map(|index| format!("[{index}]")).collect();
    let place = if path.is_empty() { what.to_owned() } else { format!("`{path}{within}` of {what}") };
    let secret = schema["airbyte_secret"] == json!(true);
    let long = error.instance().to_string().len() > SHOWN_MAX;
    let problem = if secret || long { error.masked().to_string() } else { error.to_string() };
    Err(Error::config(format!("{place}: {problem}")))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::RawSourceConfig;

    fn problem(config: Value) -> String {
        check::<RawSourceConfig>(&config, "the configuration").unwrap_err().user_message()
    }

    #[test]
    fn each_mistake_is_one_clear_sentence() {
        let full = json!({"api_key": "k", "plan": {"type": "custom", "requests_per_minute": 7},
            "start_date": "2024-01-02", "end_date": "2024-06-28", "tickers": ["AAPL"],
            "bar_sizes": ["1minute"], "adjusted": false, "base_url": "http://127.0.0.1:1"});
        check::<RawSourceConfig>(&full, "the configuration").unwrap();
        for (field, value, expected) in [
            ("tickers", json!("AAPL"), r#"`tickers` of the configuration: "AAPL" is not of type "array""#),
            ("tickers", json!(["A", 1]), r#"`tickers[1]` of the configuration: 1 is not of type "string""#),
            ("adjusted", json!("no"), r#"`adjusted` of the configuration: "no" is not of type "boolean""#),
            (
                "api_key",
                json!(98_765_432),
                r#"`api_key` of the configuration: value is not of type "string""#,
            ),
            (
                "plan",
                json!({"type": "fre"}),
                r#"`plan.type` of the configuration is "fre", not one of free, paid, custom (hint: did you mean "free"?)"#,
            ),
            (
                "plan",
                json!("free"),
                r#"`plan` of the configuration must be an object (hint: write it as {"type": "free"}; type is one of free, paid, custom)"#,
            ),
            (
                "plan",
                json!({}),
                "`plan.type` of the configuration is missing (hint: set it to one of free, paid, custom)",
            ),
            (
                "plan",
                json!({"type": "custom"}),
                "`plan.requests_per_minute` of the configuration is missing (hint: Requests in any 60 seconds)",
            ),
            (
                "plan",
                json!({"type": "custom", "requests_per_minute": 0}),
                "`plan.requests_per_minute` of the configuration: 0 is less than the minimum of 1",
            ),
            (
                "plan",
                json!({"type": "free", "requests_per_minute": 1}),
                "the configuration has no field `plan.requests_per_minute` (hint: its fields are type)",
            ),
            (
                "ticker",
                json!(["A"]),
                "the configuration has no field `ticker` (hint: its fields are api_key, plan, start_date, end_date, tickers, bar_sizes, adjusted, base_url)",
            ),
        ] {
            let mut config = full.clone();
            config[field] = value;
            assert_eq!(problem(config), expected);
        }
        assert_eq!(
            problem(json!({"api_key": "k", "star_date": "2024-01-02"})),
            "the configuration has no field `star_date` (hint: did you mean `start_date`?)"
        );
        assert_eq!(
            problem(json!({"api_key": "k"})),
            "`start_date` of the configuration is missing (hint: First trading day to read, in New York, inclusive)"
        );
        assert_eq!(problem(json!([])), r#"the configuration: [] is not of type "object""#);
    }
}
