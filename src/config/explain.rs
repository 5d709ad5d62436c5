//! Turns serde's messages into sentences that name the field, suggest the
//! nearest name, and never show a value.

use crate::error::{Error, listed};

/// Names at least this alike are suggested for each other.
const ALIKE_MIN: f64 = 0.8;

/// Letters that make a beginning: fewer begin too much.
const BEGINNING_MIN: usize = 4;

/// A longer list of names is of no help in a hint.
const NAMES_MAX: usize = 40;

/// The name among `known` that `name` was probably meant to be: one that it
/// begins (`stock_bars` of `stock_bars_1_minute`), else the one most alike.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let alike = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let begins = name.len() >= BEGINNING_MIN && candidate.starts_with(&name);
        if begins { 1.0 } else { strsim::jaro_winkler(&name, &candidate) }
    };
    known
        .into_iter()
        .map(|candidate| (alike(candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// A hint for a name that is not known: the nearest one, else all there are.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("did you mean `{nearest}`?");
    }
    let names: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "remove it".to_owned(),
        [only] => format!("write {only}"),
        several => format!("there are {}", listed(several, NAMES_MAX)),
    }
}

/// The sentence for a message of serde about the value at `path` (`.` is the
/// whole) of `what`.
pub(super) fn explain(path: &str, message: &str, what: &str) -> Error {
    let place = if path == "." { what.to_owned() } else { format!("`{path}` of {what}") };
    if let Some((name, known)) = unknown(message, "unknown field `") {
        let field = if path == "." { name } else { path };
        return Error::config(format!("unknown field `{field}` of {what}")).hint(suggest(name, known));
    }
    if let Some((name, known)) = unknown(message, "unknown variant `") {
        return Error::config(format!("{place} does not know `{name}`")).hint(suggest(name, known));
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let field = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
        return Error::config(format!("`{field}` of {what} is missing"));
    }
    let said = without_value(message);
    let error = Error::config(format!("{place}: {said}"));
    if message.ends_with("expected a string") {
        error.hint("put the value in quotes")
    } else if said.starts_with("a text stands where there should be a whole number") {
        error.hint("write the number without quotes")
    } else {
        error
    }
}

/// The name and the known ones of "unknown field `x`, expected one of `a`, `b`".
fn unknown<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let (name, rest) = message.strip_prefix(prefix)?.split_once('`')?;
    // Every second piece is between two backticks.
    Some((name, rest.split('`').skip(1).step_by(2).collect()))
}

/// "invalid type: string "…", expected a map" without the string, which may be a
/// key that stands in the wrong place, and without the names of Rust's types.
fn without_value(message: &str) -> String {
    let Some((found, expected)) =
        message.strip_prefix("invalid ").and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let map = ["struct ", "internally tagged enum ", "newtype variant", "map with a single key"];
    let expected = if map.iter().any(|kind| expected.starts_with(kind)) {
        match expected {
            "map with a single key" => "a map with one key",
            _ => "a map of its fields",
        }
    } else {
        in_words(expected)
    };
    if found.starts_with("length ") {
        return format!("a list stands where there should be {expected}");
    }
    match found.split_once(' ').map(|(_, value)| value) {
        Some("unit variant") | None => format!("there should be {expected}"),
        Some(value) if value.starts_with("string ") => {
            format!("a text stands where there should be {expected}")
        }
        Some(value) => format!("{value} stands where there should be {expected}"),
    }
}

/// What serde expects, without the names of Rust's types.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["start_date", "end_date", "tickers"];
        assert_eq!(nearest("startdate", known), Some("start_date"));
        assert_eq!(nearest("Tickers", known), Some("tickers"));
        assert_eq!(nearest("password", known), None);
    }

    #[test]
    fn a_far_name_gets_the_list_instead() {
        assert_eq!(suggest("startdate", ["start_date", "end_date"]), "did you mean `start_date`?");
        assert_eq!(suggest("x", ["start_date", "end_date"]), "there are `start_date`, `end_date`");
        assert_eq!(suggest("xyz", ["only"]), "write `only`");
        assert_eq!(suggest("x", []), "remove it");
    }

    #[test]
    fn serde_is_understood() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only the messages matter")]
        struct Sample {
            start_date: String,
            kind: Kind,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Free,
            Paid,
        }
        let fail = |value: serde_json::Value| {
            super::super::parse::<Sample>(value, "the sample").unwrap_err().user_message()
        };
        let cases = [
            (
                serde_json::json!({"start_dat": 1}),
                "unknown field `start_dat` of the sample (hint: did you mean `start_date`?)",
            ),
            (serde_json::json!({"kind": "free"}), "`start_date` of the sample is missing"),
            (
                serde_json::json!({"kind": "xyz"}),
                "`kind` of the sample does not know `xyz` (hint: there are `free`, `paid`)",
            ),
            (
                serde_json::json!({"start_date": true}),
                "`start_date` of the sample: boolean `true` stands where there should be a string \
                 (hint: put the value in quotes)",
            ),
            (serde_json::json!([]), "the sample: a list stands where there should be a map of its fields"),
            (
                serde_json::json!("sk-secret"),
                "the sample: a text stands where there should be a map of its fields",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(fail(value), expected);
        }
        let _ = (Kind::Free, Kind::Paid);
    }
}
