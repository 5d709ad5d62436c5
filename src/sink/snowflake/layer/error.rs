//! What the server's error codes mean.

use std::fmt;

use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// An answer with `success: false`.
#[derive(Debug)]
pub(super) struct ServerError {
    code: String,
    message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ServerError {}

/// The code of the server's answer, when `error` is one.
pub(in crate::sink::snowflake) fn server_code(error: &Error) -> Option<&str> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<ServerError>().map(|error| error.code.as_str())
}

/// Whether the server refused a statement because a name is not there, or is there already: as
/// when somebody else changes a table meanwhile.
pub(in crate::sink::snowflake) fn is_about_a_name(error: &Error) -> bool {
    matches!(server_code(error), Some("000904" | "002002" | "002003" | "002025" | "002043"))
}

/// The code in an answer: at the top, or for a statement also in its data.
pub(super) fn code_of(answer: &Value) -> Option<String> {
    [&answer["code"], &answer["data"]["errorCode"]].into_iter().find_map(|code| match code {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The error for an answer with `success: false`.
pub(super) fn from_answer(answer: &Value) -> Error {
    let code = code_of(answer).unwrap_or_else(|| "unknown code".to_owned());
    let said = answer["message"].as_str().filter(|text| !text.is_empty()).unwrap_or("no message");
    let message = said.replace(['\n', '\r'], " ");
    // Some messages already begin with their code and SQL state.
    let message = message.strip_prefix(&format!("{code} ")).unwrap_or(&message).to_owned();
    let (kind, hint) = meaning(&code, &message);
    let error = Error::new(kind, format!("snowflake answered {code}: {message}"));
    let error = match hint {
        Some(hint) => error.hint(hint),
        None => error,
    };
    error.caused_by(ServerError { code, message })
}

/// Kind and hint of a code. Unknown codes are refusals: asking again does not help.
fn meaning(code: &str, message: &str) -> (ErrorKind, Option<&'static str>) {
    match code {
        "390100" => (ErrorKind::Sink, Some("check `user` and `password`, or the key that the user has")),
        "390101" | "390102" | "390103" | "390106" => {
            (ErrorKind::Sink, Some("check `user` and `password` or `private_key`"))
        }
        "390144" | "394300" | "394301" | "394302" | "394303" | "394304" => (
            ErrorKind::Sink,
            Some(
                "check `account`, `user` and `private_key`; the user needs the key's public half (ALTER USER … SET RSA_PUBLIC_KEY)",
            ),
        ),
        "390186" | "390189" => {
            (ErrorKind::Sink, Some("check `role`: it must exist and be granted to the user"))
        }
        "390201" if message.contains("requested warehouse") => (
            ErrorKind::Sink,
            Some("check `warehouse`: it must exist, and the role must be allowed to use it"),
        ),
        "390201" if message.contains("requested database") => {
            (ErrorKind::Sink, Some("check `database`: it must exist, and the role must be allowed to use it"))
        }
        "390201" => (
            ErrorKind::Sink,
            Some(
                "check `warehouse`, `database` and `role`: each must exist, and the role must be allowed to use it",
            ),
        ),
        "390422" => (ErrorKind::Sink, Some("the account's network policy does not allow this address")),
        "000606" => (
            ErrorKind::Sink,
            Some("check `warehouse`: it must exist, and the role must be allowed to use it"),
        ),
        "002003" | "002043" => (
            ErrorKind::Sink,
            Some(
                "check `database`, `schema` and `warehouse`: each must exist, and the role must be allowed to use it",
            ),
        ),
        "003001" => (ErrorKind::Sink, Some("grant the right to the role in `role`, or choose another one")),
        // The session is gone; a new one goes on from the stored progress.
        "390104" | "390110" | "390111" | "390112" | "390113" | "390114" | "390115" | "390195" => {
            (ErrorKind::SinkUnavailable, None)
        }
        // A lock that was held too long, a statement that was cancelled, a fault inside the server.
        "000604" | "000605" | "000625" | "000628" | "000630" | "261000" | "300002" => {
            (ErrorKind::SinkUnavailable, None)
        }
        _ => (ErrorKind::Sink, None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_becomes_one_sentence() {
        let answer = json!({"code": "390100", "message": "Incorrect username or password", "success": false});
        let error = from_answer(&answer);
        assert_eq!(error.kind(), ErrorKind::Sink);
        assert_eq!(
            error.user_message(),
            "snowflake answered 390100: Incorrect username or password (hint: check `user` and `password`, or the key that the user has)"
        );
        assert_eq!(server_code(&error), Some("390100"));
    }

    #[test]
    fn the_code_is_said_once() {
        let answer = json!({"data": {"errorCode": "002003"}, "message": "002003 (42S02): no\nsuch table", "success": false});
        assert!(from_answer(&answer).to_string().ends_with("002003: (42S02): no such table"));
    }
}
