//! What an answer that is not a 200 means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::secret;

/// A server that asks for a longer pause gets this one.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// More of a server's text than this is not shown.
const MESSAGE_MAX: usize = 300;

/// The vendor's have 32 characters.
const REQUEST_ID_MAX: usize = 64;

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// The error for an answer that is whole and readable and none to what was asked for.
pub(in crate::polygon) fn mismatch(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Mismatch, message)
        .hint("nothing of it is kept; check `base_url`, and report it to the vendor if it stays so")
}

/// Whether the status says all that matters, whoever gave it.
pub(super) fn is_gateways(status: StatusCode) -> bool {
    matches!(status.as_u16(), 300..=399 | 408 | 429 | 500..)
}

/// The first character of a body that is not a blank.
pub(super) fn first_character(body: &[u8]) -> Option<u8> {
    body.iter().find(|byte| !byte.is_ascii_whitespace()).copied()
}

/// The error for an answer that something else than the API gave: the API's are
/// JSON, or empty. A 5xx is a gateway's, a 429 may be one's, and a redirect has an
/// error of its own.
/// `first` is as [`first_character`] says.
pub(super) fn foreign(status: StatusCode, first: Option<u8>) -> Option<Error> {
    let (kind, what) = match first {
        Some(b'{' | b'[') => return None,
        _ if is_gateways(status) => return None,
        None if status.is_success() => (ErrorKind::Response, "an empty body"),
        None => return None,
        Some(b'<') => (refused_or_not(status), "a web page"),
        Some(_) => (refused_or_not(status), "a text"),
    };
    let message = format!("HTTP {} came with {what} in place of the API's JSON", status.as_u16());
    let hint = "check `base_url`; a proxy, a firewall or a login page may answer in place of the API";
    Some(Error::new(kind, message).hint(hint))
}

/// The error for a port that speaks TLS and was asked without it, as its server says.
pub(super) fn speaks_tls(status: StatusCode, body: &[u8]) -> Option<Error> {
    const SAID: [&[u8]; 2] = [b"HTTPS port", b"HTTPS server"];
    let is_said = || SAID.iter().any(|said| memchr::memmem::find(body, said).is_some());
    (status == StatusCode::BAD_REQUEST && is_said()).then(|| plain_to_tls().caused_by("the server says so"))
}

/// The error for a connection that failed because one side speaks TLS and the other
/// does not.
pub(super) fn wrong_scheme(error: &reqwest::Error, scheme: &str) -> Option<Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let said = error.to_string();
        match scheme {
            "https" if said.contains("InvalidContentType") => {
                return Some(
                    Error::config("`base_url` says https, and the port does not speak TLS")
                        .hint("write http:// if that is meant, or another port"),
                );
            }
            "https"
                if said.contains("certificate")
                    && (said.contains("xpired") || said.contains("NotValidYet")) =>
            {
                return Some(Error::config("the certificate at `base_url` is not valid at this time").hint(
                    format!("check this machine's clock, which says {}", Timestamp::now().strftime("%FT%TZ")),
                ));
            }
            // TLS answers a plain request with an alert, which is no line of HTTP.
            "http" if said.contains("invalid HTTP version") => return Some(plain_to_tls()),
            _ => cause = error.source(),
        }
    }
    None
}

fn plain_to_tls() -> Error {
    Error::config("`base_url` says http, and the port speaks TLS").hint("write https://, or another port")
}

/// A good status may come with the API's answer the next time, a refusal will not.
fn refused_or_not(status: StatusCode) -> ErrorKind {
    if status.is_success() { ErrorKind::Response } else { ErrorKind::Refused }
}

/// The error that a status and body stand for.
pub(in crate::polygon) fn failure(status: StatusCode, body: &[u8], request_id: Option<&str>) -> Error {
    let parsed: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let parsed = parsed.unwrap_or_default();
    let said = parsed.error.or(parsed.message).map(|text| shortened(&text, MESSAGE_MAX));
    let says = said.as_ref().map_or(String::new(), |text| format!(": {text}"));
    let error = match status.as_u16() {
        401 => Error::new(ErrorKind::Credentials, format!("the API refuses `api_key`{says}"))
            .hint("copy the key from your account's dashboard"),
        403 if said.as_ref().is_some_and(|text| text.contains("before end of day")) => {
            Error::new(ErrorKind::NotYet, format!("the plan serves a day after its end{says}"))
        }
        403 => {
            Error::new(ErrorKind::NotEntitled, format!("the plan of `api_key` does not include this{says}"))
                .hint("leave the stream out, or choose a plan that has it")
        }
        404 if parsed.status.as_deref() == Some("NOT_FOUND") => {
            Error::new(ErrorKind::NotFound, format!("the API does not know it{says}"))
        }
        404 => Error::new(ErrorKind::Refused, "the API has no such endpoint").hint("check `base_url`"),
        429 => Error::new(ErrorKind::RateLimited, format!("the API is asked too often{says}")).hint(
            "set `plan` to what your account may do, and do not use the key elsewhere at the same time",
        ),
        408 | 500..=599 => {
            Error::new(ErrorKind::Unavailable, format!("the API failed with HTTP {status}{says}"))
        }
        300..=399 => Error::new(
            ErrorKind::Refused,
            format!("the API redirects with HTTP {status}, which is not followed"),
        )
        .hint("set `base_url` to the address that it redirects to"),
        _ => Error::new(ErrorKind::Refused, format!("the API refuses the request with HTTP {status}{says}")),
    };
    match request_id {
        Some(id) => error.caused_by(format!("X-Request-Id {id}")),
        None => error,
    }
}

/// `X-Request-Id`: what the vendor's support asks for. Not the body's `request_id`.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    Some(shortened(id, REQUEST_ID_MAX))
}

/// The pause that a `Retry-After` asks for, in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default()
        }
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// One line of at most so many characters. Secrets go first: of one that is cut nobody
/// could tell any more that it is one.
pub(in crate::polygon) fn shortened(text: &str, characters_max: usize) -> String {
    let text = secret::redact(text);
    let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match one_line.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn kind(status: u16, body: &str) -> ErrorKind {
        failure(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None).kind()
    }

    #[test]
    fn bodies_are_read_as_the_vendor_writes_them() {
        use ErrorKind::*;
        assert_eq!(
            kind(401, r#"{"status":"ERROR","request_id":"1","error":"Unknown API Key"}"#),
            Credentials
        );
        assert_eq!(
            kind(
                403,
                r#"{"status":"NOT_AUTHORIZED","message":"Attempted to request today's data before end of day. Please upgrade"}"#
            ),
            NotYet
        );
        assert_eq!(
            kind(403, r#"{"status":"NOT_AUTHORIZED","message":"You are not entitled to this data."}"#),
            NotEntitled
        );
        assert_eq!(kind(404, r#"{"status":"NOT_FOUND","message":"Ticker not found."}"#), NotFound);
        assert_eq!(kind(404, "404 page not found"), Refused);
        assert_eq!(kind(429, ""), RateLimited);
        assert_eq!(kind(504, "<html><body>504 Gateway Time-out</body></html>"), Unavailable);
        assert_eq!(
            kind(
                400,
                r#"{"status":"ERROR","error":"The parameter 'to' cannot be a time that occurs before 'from'"}"#
            ),
            Refused
        );
        assert_eq!(kind(302, ""), Refused);
    }

    #[test]
    fn what_is_not_the_apis_is_told_from_what_is() {
        let foreign = |status: u16, body: &str| {
            foreign(StatusCode::from_u16(status).unwrap(), first_character(body.as_bytes()))
                .map(|error| error.kind())
        };
        for (status, body, expected) in [
            (200, " \n<!DOCTYPE html><html>Sign in</html>", Some(ErrorKind::Response)),
            (200, "It works!", Some(ErrorKind::Response)),
            (200, "", Some(ErrorKind::Response)),
            (403, "<html>Blocked by your company</html>", Some(ErrorKind::Refused)),
            (404, "404 page not found", Some(ErrorKind::Refused)),
            (200, "\n[]", None),
            (403, r#"{"status":"NOT_AUTHORIZED"}"#, None),
            (404, "", None),
            (429, "slow down", None),
            (504, "<html>504 Gateway Time-out</html>", None),
            (302, "<html>Moved</html>", None),
        ] {
            assert_eq!(foreign(status, body), expected, "{status} {body}");
        }
    }

    /// What is left of a key by the bounds could not be told from other text.
    #[test]
    fn a_key_that_the_server_echoes_is_gone_before_the_text_is_cut() {
        let key = Secret::new("k-answer.rs-0123456789");
        for length in 0..2 * MESSAGE_MAX {
            let text = format!("{}{}", "x".repeat(length), key.expose());
            let body = serde_json::json!({ "error": text }).to_string();
            let headers = HeaderMap::from_iter([("x-request-id".parse().unwrap(), text.parse().unwrap())]);
            let id = request_id(&headers);
            let report = failure(StatusCode::UNAUTHORIZED, body.as_bytes(), id.as_deref()).report();
            assert!(!report.contains("k-a"), "{report}");
        }
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date_and_bounded() {
        let header = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(header("7"), Some(Duration::from_secs(7)));
        assert_eq!(header("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(header("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(header("soon"), None);
    }
}
