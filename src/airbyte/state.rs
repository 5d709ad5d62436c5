//! The states that `read` emits and is given.
//!
//! A stream's state is its progress as it is, with one addition: the platform
//! fails a sync in which two states in a row are the same although records came
//! between them. Rows of the day under way move no progress, so a state that would
//! repeat the last one counts its repetitions under [`REPEAT`].

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};

/// The passed progress of each stream, on one line, by the stream's name.
pub type PassedStates = HashMap<String, String>;

/// How often the progress was told before in the same sync; absent for never.
const REPEAT: &str = "repeat";

/// The state that holds `progress`, told `repeats` times before.
///
/// # Errors
/// [`ErrorKind::Bug`] when the progress is not JSON.
pub(super) fn stored(progress: &str, repeats: u64) -> Result<Box<RawValue>> {
    let text = match progress.strip_suffix('}') {
        Some(open) if repeats > 0 => format!("{open},\"{REPEAT}\":{repeats}}}"),
        _ => progress.to_owned(),
    };
    RawValue::from_string(text).map_err(|error| Error::bug("progress is not JSON").caused_by(error))
}

/// Reads a state file's text: a list of states of streams, or a sync's STATE lines
/// one after the other; of several of a stream the last counts. An empty file,
/// `null`, `{}` and `[]` mean that there is none, and so does a stream whose state
/// is null or empty. Streams are found by name: a namespace is the user's choice.
///
/// # Errors
/// [`ErrorKind::State`] when it holds anything else.
pub fn parse(text: &str) -> Result<PassedStates> {
    let mut messages = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        match value.map_err(|error| malformed(&format!("it is not JSON: {error}")))? {
            Value::Null => {}
            Value::Object(map) if map.is_empty() => {}
            Value::Object(map) => messages.push(Value::Object(map)),
            Value::Array(list) => messages.extend(list),
            other => return Err(malformed(&format!("it is {}, not a list", type_name(&other)))),
        }
    }
    let mut states = PassedStates::new();
    for (index, message) in messages.iter().enumerate() {
        // A line of a sync's output holds the state one level deeper.
        let message = message.get("state").filter(|state| state.is_object()).unwrap_or(message);
        match stream_state(message, index)? {
            (name, Some(state)) => states.insert(name, state),
            (name, None) => states.remove(&name),
        };
    }
    Ok(states)
}

/// The stream and its progress, if it has any.
fn stream_state(message: &Value, index: usize) -> Result<(String, Option<String>)> {
    let get = |value: &Value, key: &str| value.get(key).filter(|value| !value.is_null()).cloned();
    let state_type = get(message, "type");
    let stream = get(message, "stream");
    let other = match state_type.as_ref().and_then(Value::as_str) {
        Some("STREAM") => None,
        None if stream.is_some() && state_type.is_none() => None,
        // The type that the protocol assumes when none is given.
        None => Some("LEGACY"),
        Some(other) => Some(other),
    };
    if let Some(other) = other {
        return Err(malformed(&format!(
            "entry {index} is a {other} state, and this source's states are of type STREAM"
        )));
    }
    let name = stream
        .as_ref()
        .and_then(|stream| get(stream, "stream_descriptor"))
        .and_then(|descriptor| get(&descriptor, "name"))
        .and_then(|name| name.as_str().map(str::to_owned))
        .ok_or_else(|| malformed(&format!("entry {index} does not name its stream")))?;
    match stream.as_ref().and_then(|stream| get(stream, "stream_state")) {
        None => Ok((name, None)),
        Some(Value::Object(state)) if state.is_empty() => Ok((name, None)),
        // Written anew, it is one line whatever the file looks like.
        Some(Value::Object(mut state)) => {
            state.shift_remove(REPEAT);
            Ok((name, Some(Value::Object(state).to_string())))
        }
        Some(other) => {
            Err(malformed(&format!("the state of stream {name} is {}, not an object", type_name(&other))))
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::State, format!("the state cannot be used: {what}"))
        .hint("pass the STATE messages of the last sync, or none to read everything anew")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_state_has_many_forms() {
        for text in ["", " \n", "null", "{}", "[]"] {
            assert!(parse(text).unwrap().is_empty(), "{text:?}");
        }
        let descriptor = json!({"name": "s", "namespace": null});
        for state in [json!(null), json!({})] {
            let message = json!([{"type": "STREAM", "stream": {"stream_descriptor": descriptor, "stream_state": state},
                "global": null, "data": null, "sourceStats": null, "destinationStats": null}]);
            assert!(parse(&message.to_string()).unwrap().is_empty(), "{message}");
        }
    }

    #[test]
    fn a_state_is_one_line_and_comes_as_its_message_or_its_line() {
        let state = json!({"type": "STREAM", "stream": {"stream_descriptor": {"name": "s"},
            "stream_state": {"version": 1, "complete": {"": "2024-01-02T00:00:00Z"}, "repeat": 3}}, "unknown": 1});
        let expected = r#"{"version":1,"complete":{"":"2024-01-02T00:00:00Z"}}"#;
        let untyped = json!({"stream": state["stream"]});
        let line = json!({"type": "STATE", "state": state});
        for text in [
            format!("{:#}", json!([state])),
            state.to_string(),
            json!([untyped]).to_string(),
            line.to_string(),
        ] {
            assert_eq!(parse(&text).unwrap()["s"], expected, "{text}");
        }
    }

    #[test]
    fn the_last_state_of_a_stream_counts() {
        let line = |state: Value| {
            json!({"type": "STATE", "state": {"type": "STREAM",
                "stream": {"stream_descriptor": {"name": "s"}, "stream_state": state}}})
        };
        let lines = format!("{}\n{}\n", line(json!({"version": 1})), line(json!({"version": 2})));
        assert_eq!(parse(&lines).unwrap()["s"], r#"{"version":2}"#);
        assert!(parse(&format!("{lines}{}", line(json!(null)))).unwrap().is_empty());
    }

    #[test]
    fn what_is_none_is_refused() {
        let of = |state: Value| json!([{"type": "STREAM", "stream": {"stream_descriptor": {"name": "s"}, "stream_state": state}}]);
        for (text, expected) in [
            ("{".to_owned(), "it is not JSON"),
            ("5".to_owned(), "it is a number, not a list"),
            (
                r#"[{"type": "GLOBAL", "global": {"stream_states": []}}]"#.to_owned(),
                "entry 0 is a GLOBAL state",
            ),
            (r#"[{"type": "GLOBAL", "global_": {}}]"#.to_owned(), "entry 0 is a GLOBAL state"),
            (r#"[{"data": {"cursor": 1}}]"#.to_owned(), "entry 0 is a LEGACY state"),
            (r#"{"cursor": 1}"#.to_owned(), "entry 0 is a LEGACY state"),
            (r#"[{"type": "STREAM", "stream": 5}]"#.to_owned(), "entry 0 does not name its stream"),
            (r#"[{"type": "STREAM", "stream": null}]"#.to_owned(), "entry 0 does not name its stream"),
            (of(json!("text")).to_string(), "the state of stream s is a string, not an object"),
        ] {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State, "{text}");
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_repetition_differs() {
        assert_eq!(stored(r#"{"version":1}"#, 0).unwrap().get(), r#"{"version":1}"#);
        assert_eq!(stored(r#"{"version":1}"#, 2).unwrap().get(), r#"{"version":1,"repeat":2}"#);
        assert_eq!(stored("nonsense", 1).unwrap_err().kind(), ErrorKind::Bug);
    }
}
