//! Signing in, the session's tokens and their renewal, statements that take long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderValue;
use reqwest::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::super::statement::Bind;
use super::error::code_of;
use super::exchange::{Ask, Wire};
use super::patch;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The session's token has expired, its master token has not.
const SESSION_EXPIRED: &str = "390112";
/// The statement is still running; ask again at `getResultUrl`.
const STILL_RUNNING: [&str; 2] = ["333333", "333334"];
/// Renewals in the course of one statement: a token lives an hour.
const RENEWALS_MAX: u32 = 24;
/// The longest statement that is waited for; Snowflake's own limit is two days.
const STATEMENT_MAX: Duration = Duration::from_secs(6 * 3600);
/// How long to wait for the lock of a process that died between its UPDATE and
/// its COMMIT: Snowflake aborts such a transaction after some five minutes.
const LOCK_TIMEOUT_SECONDS: u32 = 1200;
/// The server holds a question for the result open; only one that does not is slowed down.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The tokens of the one session that the layer's client has.
#[derive(Default)]
pub(super) struct Session {
    tokens: Mutex<Option<Tokens>>,
}

struct Tokens {
    session: Secret,
    master: Secret,
}

impl Session {
    pub async fn login(&self, wire: &mut Wire<'_, '_>, request: &Request) -> Result<Response> {
        let mut ask = Ask::of(request);
        let mut body = ask.json()?;
        // The crate has signed it with the private key; it lets in whoever has it.
        let _known = body["data"]["TOKEN"].as_str().map(Secret::passing);
        describe_client(&mut body["data"]);
        ask.body = Bytes::from(body.to_string());
        let mut answer = wire.ask_for_success(&ask).await?;
        let data = &mut answer["data"];
        let token = |value: &Value| value.as_str().map(Secret::passing);
        let session = token(&data["token"]).ok_or_else(|| {
            Error::new(ErrorKind::Sink, "snowflake let the user in without a token")
                .hint("a second factor or single sign-on is not supported: use `private_key`")
        })?;
        let master = token(&data["masterToken"]).unwrap_or_else(|| Secret::passing(""));
        *self.tokens.lock().await = Some(Tokens { session, master });
        patch::login(&mut answer);
        patch::response(&answer)
    }

    pub async fn close(&self, wire: &mut Wire<'_, '_>, request: &Request) -> Result<Response> {
        let mut ask = Ask::of(request);
        ask.token = Some(self.token().await?);
        let _closed = wire.ask_for_success(&ask).await?;
        *self.tokens.lock().await = None;
        patch::response(&json!({ "data": null, "code": null, "message": null, "success": true }))
    }

    /// Runs a statement to its end and returns the answer's `data`.
    pub async fn query(&self, wire: &mut Wire<'_, '_>, request: &Request, binds: &[Bind]) -> Result<Value> {
        let mut ask = Ask::of(request);
        ask.body = statement_body(ask.json()?, binds)?;
        let started = Instant::now();
        let mut renewals = 0;
        loop {
            let asked = Instant::now();
            let token = self.token().await?;
            ask.token = Some(token.clone());
            let answer = wire.ask(&ask).await?;
            match code_of(&answer).as_deref() {
                Some(SESSION_EXPIRED) if renewals < RENEWALS_MAX => {
                    renewals += 1;
                    self.renew(wire, &token).await?;
                }
                Some(code) if STILL_RUNNING.contains(&code) => {
                    if started.elapsed() > STATEMENT_MAX {
                        return Err(too_long());
                    }
                    ask = result_question(&ask, &answer)?;
                    let pause = POLL_PAUSE_MAX.min(started.elapsed() / 10);
                    tokio::time::sleep(pause.saturating_sub(asked.elapsed())).await;
                }
                _ => return wire.succeeded(answer).map(|mut answer| answer["data"].take()),
            }
        }
    }

    async fn token(&self) -> Result<String> {
        let tokens = self.tokens.lock().await;
        let tokens = tokens.as_ref().ok_or_else(|| Error::bug("a statement before the login"))?;
        Ok(tokens.session.expose().to_owned())
    }

    /// Gets a new token in place of `expired`, unless another statement already did.
    async fn renew(&self, wire: &mut Wire<'_, '_>, expired: &str) -> Result<()> {
        let mut guard = self.tokens.lock().await;
        let tokens = guard.as_ref().ok_or_else(|| Error::bug("a renewal before the login"))?;
        if tokens.session.expose() != expired {
            return Ok(());
        }
        tracing::debug!("renewing the snowflake session");
        let ask = Ask {
            method: Method::POST,
            path: "/session/token-request".to_owned(),
            query: vec![("requestId".to_owned(), Uuid::new_v4().to_string())],
            accept: HeaderValue::from_static("application/snowflake"),
            token: Some(tokens.master.expose().to_owned()),
            body: json!({ "oldSessionToken": tokens.session.expose(), "requestType": "RENEW" })
                .to_string()
                .into(),
        };
        let answer = wire.ask_for_success(&ask).await?;
        let data = &answer["data"];
        let session = data["sessionToken"].as_str().ok_or_else(|| {
            Error::new(ErrorKind::SinkUnavailable, "snowflake renewed the session without a token")
        })?;
        let master = data["masterToken"].as_str().map_or_else(|| tokens.master.clone(), Secret::passing);
        *guard = Some(Tokens { session: Secret::passing(session), master });
        Ok(())
    }
}

/// Says who asks, and fixes every session setting that changes what a statement
/// means: an account or user may have other defaults.
fn describe_client(data: &mut Value) {
    let parameters = &mut data["SESSION_PARAMETERS"];
    let settings = json!({
        "AUTOCOMMIT": true,
        "TIMEZONE": "UTC",
        "DATE_INPUT_FORMAT": "AUTO",
        "TIMESTAMP_INPUT_FORMAT": "AUTO",
        "LOCK_TIMEOUT": LOCK_TIMEOUT_SECONDS,
        "ERROR_ON_NONDETERMINISTIC_MERGE": true,
        "QUERY_TAG": "tapeline",
    });
    if let (Value::Object(into), Value::Object(settings)) = (parameters, settings) {
        into.extend(settings);
    }
    data["CLIENT_ENVIRONMENT"]["APPLICATION"] = json!("tapeline");
    data["CLIENT_ENVIRONMENT"]["OS"] = json!(std::env::consts::OS);
    data["CLIENT_ENVIRONMENT"]["OS_VERSION"] = json!(std::env::consts::ARCH);
}

/// The crate's body with the values of the question marks, and without the line
/// comment that hides a PUT from the crate.
fn statement_body(mut body: Value, binds: &[Bind]) -> Result<Bytes> {
    let sql = body["sqlText"].as_str().ok_or_else(|| Error::bug("a statement without SQL"))?;
    let bare = sql.strip_prefix("--\n").unwrap_or(sql).to_owned();
    body["sqlText"] = Value::String(bare);
    if !binds.is_empty() {
        let values = binds.iter().enumerate().map(|(index, bind)| {
            let value = match bind {
                Bind::Text(text) => json!({ "type": "TEXT", "value": text }),
                Bind::Integer(number) => json!({ "type": "FIXED", "value": number.to_string() }),
            };
            ((index + 1).to_string(), value)
        });
        body["bindings"] = Value::Object(values.collect());
    }
    Ok(Bytes::from(body.to_string()))
}

/// The question for the result of a statement that is still running.
fn result_question(asked: &Ask, answer: &Value) -> Result<Ask> {
    let url = answer["data"]["getResultUrl"].as_str();
    let path = match url {
        // The server names a path; were it a whole URL, only its path would count.
        Some(url) => {
            url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]))
        }
        None if asked.method == Method::GET => asked.path.as_str(),
        None => {
            return Err(Error::new(
                ErrorKind::SinkUnavailable,
                "snowflake does not say where the result will be",
            ));
        }
    };
    Ok(Ask {
        method: Method::GET,
        path: path.to_owned(),
        query: Vec::new(),
        accept: asked.accept.clone(),
        token: None,
        body: Bytes::new(),
    })
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::SinkUnavailable,
        format!("a statement ran longer than {} hours", STATEMENT_MAX.as_secs() / 3600),
    )
    .hint("a larger warehouse runs it faster")
}
