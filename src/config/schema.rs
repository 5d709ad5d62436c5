//! The JSON Schema of a configuration type, in the form that Airbyte accepts.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::error::{Error, Result};

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

/// Checks `value` against the schema of `T`, which is what a platform checks
/// before it starts the program. The type's own parsing and validation says more
/// clearly what is wrong and comes first; this is the net below it.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the first field that is wrong and
/// no value.
pub fn conform<T: JsonSchema>(value: &Value, what: &str) -> Result<()> {
    let validator = jsonschema::draft7::new(&of::<T>())
        .map_err(|error| Error::bug(format!("the schema of {what} is not one: {error}")))?;
    match validator.iter_errors(value).next() {
        None => Ok(()),
        Some(error) => {
            let path = error.instance_path().to_string();
            let place = match path.trim_start_matches('/').replace('/', ".") {
                path if path.is_empty() => what.to_owned(),
                path => format!("`{path}` of {what}"),
            };
            Err(Error::config(format!("{place}: {}", error.masked()))
                .hint("`tapeline spec` prints what it may be"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::RawSourceConfig;

    #[test]
    fn a_value_beyond_the_schema_is_named_and_not_shown() {
        let conform = |config: Value| conform::<RawSourceConfig>(&config, "the configuration");
        let good = json!({"api_key": "k", "plan": {"type": "custom", "requests_per_minute": 7},
            "start_date": "2024-01-02", "tickers": ["AAPL"], "later": "versions may have more"});
        conform(good.clone()).unwrap();
        for (field, value, expected) in [
            (
                "api_key",
                json!(98_765_432),
                r#"`api_key` of the configuration: value is not of type "string""#,
            ),
            (
                "tickers",
                json!(["A", 1]),
                r#"`tickers.1` of the configuration: value is not of type "string""#,
            ),
        ] {
            let mut config = good.clone();
            config[field] = value;
            assert_eq!(conform(config).unwrap_err().to_string(), expected);
        }
    }
}
