//! Answers in the form that the crate insists on.

use reqwest::Response;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// What the crate gets in place of the session's tokens.
const PLACEHOLDER: &str = "kept-by-the-layer";
/// A validity that keeps the crate from renewing by its own clock: the layer
/// renews when the server says so.
const FOR_EVER: i64 = i64::MAX;
/// Column types that the crate knows; anything else it could not even skip.
const KNOWN_TYPES: [&str; 13] = [
    "fixed",
    "real",
    "text",
    "date",
    "variant",
    "timestamp_ltz",
    "timestamp_ntz",
    "timestamp_tz",
    "object",
    "binary",
    "time",
    "boolean",
    "array",
];

/// The crate's answer to a login: its fields, without a secret.
pub(super) fn login(answer: &mut Value) {
    let old = answer["data"].take();
    *answer = json!({
        "code": null,
        "message": null,
        "success": true,
        "data": {
            "token": PLACEHOLDER,
            "masterToken": PLACEHOLDER,
            "sessionId": old["sessionId"].as_i64().unwrap_or_default(),
            "serverVersion": old["serverVersion"].as_str().unwrap_or_default(),
            "parameters": [],
            "sessionInfo": {
                "databaseName": old["sessionInfo"]["databaseName"].as_str(),
                "schemaName": old["sessionInfo"]["schemaName"].as_str(),
                "warehouseName": old["sessionInfo"]["warehouseName"].as_str(),
                "roleName": old["sessionInfo"]["roleName"].as_str().unwrap_or_default(),
            },
            "masterValidityInSeconds": FOR_EVER,
            "validityInSeconds": FOR_EVER,
        },
    });
}

/// The crate's answer to a statement.
///
/// # Errors
/// [`ErrorKind::Sink`] for rows as JSON text of which more are in parts: the crate would leave
/// those out without a word. Snowflake has parts with the rows that it gives as Arrow, which
/// is what the crate asks for.
pub(super) fn query(data: Value) -> Result<Response> {
    let has = |field: &str| data[field].as_array().is_some_and(|items| !items.is_empty());
    if !data["rowset"].is_null() && has("chunks") {
        let message = "snowflake answered with rows as JSON in parts, which are not understood";
        return Err(Error::new(ErrorKind::Sink, message).hint("nothing of the answer was used; report it"));
    }
    let mut fields = match data {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let total = fields.get("total").and_then(Value::as_i64).unwrap_or_default();
    let defaults = json!({
        "parameters": [],
        "rowtype": [],
        "total": total,
        "returned": total,
        "queryId": "",
        "finalRoleName": "",
        "statementTypeId": 0,
        "version": 1,
    });
    if let Value::Object(defaults) = defaults {
        for (name, default) in defaults {
            let field = fields.entry(name).or_insert(Value::Null);
            if field.is_null() {
                *field = default;
            }
        }
    }
    if let Some(Value::Array(columns)) = fields.get_mut("rowtype") {
        columns.iter_mut().for_each(column);
    }
    response(&json!({ "code": null, "message": null, "success": true, "data": fields }))
}

fn column(column: &mut Value) {
    if !column["type"].as_str().is_some_and(|ty| KNOWN_TYPES.contains(&ty)) {
        column["type"] = json!("text");
    }
    if !column["nullable"].is_boolean() {
        column["nullable"] = json!(true);
    }
}

/// A response with `answer` as its body.
pub(super) fn response(answer: &Value) -> Result<Response> {
    let response = http::Response::builder()
        .header("content-type", "application/json")
        .body(answer.to_string())
        .or_fail(ErrorKind::Bug, || "cannot build a response".to_owned())?;
    Ok(Response::from(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_the_crate_would_leave_out_are_an_error() {
        let of = |rowset: Value, chunks: Value| query(json!({ "rowset": rowset, "chunks": chunks })).is_err();
        assert!(of(json!([["1"]]), json!([{ "url": "x" }])));
        assert!(!of(json!([["1"]]), json!([])));
        assert!(!of(Value::Null, json!([{ "url": "x" }])));
    }
}
