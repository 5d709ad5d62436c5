//! The layer against a server that answers from a script.

mod patience;
mod stage;

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_ipc57::writer::StreamWriter;
use arrow57::{ArrayRef, RecordBatch, StringArray};
use axum::body::Body;
use axum::extract::{Request as Incoming, State};
use axum::response::{IntoResponse, Response as Outgoing};
use backon::ExponentialBuilder;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::super::SnowflakeConfig;
use super::super::client::{Client, Warehouse};
use super::super::config::tests::{KEY, pem};
use super::super::statement::Statement;
use super::encryption::tests::decrypt;
use super::{Patience, server_code};
use crate::error::{Error, ErrorKind};

const PASSWORD: &str = "hunter2-hunter2";
const TOKEN: &str = "token-one";
const MASTER: &str = "master-one";

/// One request as the server saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

enum Reply {
    Json(Value),
    Status(u16, &'static str),
    /// Part of an answer, then the connection breaks.
    Broken,
    /// A body that its headers call gzip.
    Gzip(Vec<u8>),
    /// One byte after the other, [`DRIP`] apart; then the end, or no end.
    Drip(Vec<u8>),
    DripOn,
    Late(Duration, Box<Reply>),
    Never,
}

#[derive(Default)]
struct Script {
    replies: VecDeque<Reply>,
    seen: Vec<Seen>,
}

const DRIP: Duration = Duration::from_millis(5);

type Shared = Arc<Mutex<Script>>;

struct Server {
    script: Shared,
    url: String,
}

async fn answer(State(script): State<Shared>, request: Incoming) -> Outgoing {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query =
        url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query,
        headers: head.headers,
        body,
    };
    let reply = {
        let mut script = script.lock().unwrap();
        script.seen.push(seen);
        script.replies.pop_front()
    };
    match reply {
        Some(Reply::Late(time, reply)) => {
            tokio::time::sleep(time).await;
            outgoing(*reply).await
        }
        Some(reply) => outgoing(reply).await,
        None => (http::StatusCode::IM_A_TEAPOT, "the script is over").into_response(),
    }
}

async fn outgoing(reply: Reply) -> Outgoing {
    match reply {
        Reply::Json(value) => value.to_string().into_response(),
        Reply::Status(status, text) => {
            (http::StatusCode::from_u16(status).unwrap(), [("retry-after", "0"), ("etag", "\"1\"")], text)
                .into_response()
        }
        Reply::Broken => {
            let parts = [Ok("{\"success\""), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures::stream::iter(parts)).into_response()
        }
        Reply::Gzip(body) => ([("content-encoding", "gzip")], body).into_response(),
        Reply::Drip(body) => drip(body),
        Reply::DripOn => drip(std::iter::repeat(b' ')),
        Reply::Late(..) | Reply::Never => std::future::pending().await,
    }
}

fn drip(bytes: impl IntoIterator<Item = u8, IntoIter: Send + 'static>) -> Outgoing {
    let pieces = futures::stream::unfold(bytes.into_iter(), async |mut bytes| {
        let byte = bytes.next()?;
        tokio::time::sleep(DRIP).await;
        Some((Ok::<_, std::io::Error>(vec![byte]), bytes))
    });
    Body::from_stream(pieces).into_response()
}

impl Server {
    async fn start() -> Self {
        let script = Shared::default();
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { script, url }
    }

    /// A server that lets the user in and then answers with `replies`.
    async fn with(replies: impl IntoIterator<Item = Reply>) -> Self {
        let server = Self::start().await;
        server.script.lock().unwrap().replies.push_back(Reply::Json(login()));
        server.then(replies);
        server
    }

    fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().replies.extend(replies);
    }

    fn config(&self) -> SnowflakeConfig {
        serde_json::from_value(json!({
            "account": "xy1.eu-west-1", "user": "me", "password": PASSWORD, "warehouse": "w", "database": "d",
            "role": "r", "host": self.url,
        }))
        .unwrap()
    }

    fn client(&self) -> Client {
        client(&self.config())
    }

    fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }
}

fn client(config: &SnowflakeConfig) -> Client {
    patient(config, Patience::default())
}

fn patient(config: &SnowflakeConfig, patience: Patience) -> Client {
    let quick = ExponentialBuilder::new().with_min_delay(Duration::from_millis(1)).with_max_times(4);
    Client::new(config, quick, patience).unwrap()
}

fn login() -> Value {
    json!({"success": true, "data": {"token": TOKEN, "masterToken": MASTER}})
}

fn rows(rows: &Value) -> Reply {
    Reply::Json(
        json!({"success": true, "data": {"rowset": rows, "total": 1, "rowtype": [{"name": "v", "type": "vector"}]}}),
    )
}

fn refusal(code: &str, message: &str) -> Reply {
    Reply::Json(json!({"success": false, "code": code, "message": message, "data": null}))
}

/// The error that a refusal with this code becomes.
pub(in crate::sink::snowflake) fn refused_with(code: &str) -> Error {
    super::error::from_answer(&json!({"code": code, "message": "no", "success": false}))
}

fn assert_silent(error: &Error) {
    for text in [error.report(), format!("{error:?}")] {
        // As it leaves the process.
        let text = crate::secret::redact(&text);
        assert!([PASSWORD, TOKEN, MASTER].iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

#[tokio::test]
async fn a_session_that_expired_is_renewed_and_the_statement_sent_again() {
    let server = Server::with([
        refusal("390112", "Your session has expired"),
        Reply::Json(
            json!({"success": true, "data": {"sessionToken": "token-two", "masterToken": "master-two"}}),
        ),
        rows(&json!([["7"]])),
        rows(&json!([["8"]])),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.execute(Statement::new("SELECT 7")).await.unwrap(), [[Some("7".to_owned())]]);
    assert_eq!(client.execute(Statement::new("SELECT 8")).await.unwrap(), [[Some("8".to_owned())]]);
    let [login, first, renewal, again, next] = server.seen().try_into().unwrap();
    assert_eq!(login.path, "/session/v1/login-request");
    assert_eq!(login.query["databaseName"], "D");
    let data = &login.json()["data"];
    assert_eq!((&data["ACCOUNT_NAME"], &data["LOGIN_NAME"]), (&json!("XY1"), &json!("ME")));
    assert_eq!(data["SESSION_PARAMETERS"]["TIMEZONE"], json!("UTC"));
    assert_eq!(data["SESSION_PARAMETERS"]["CLIENT_VALIDATE_DEFAULT_PARAMETERS"], json!(true));
    assert_eq!(first.header("authorization"), "Snowflake Token=\"token-one\"");
    assert_eq!(renewal.path, "/session/token-request");
    assert_eq!(renewal.header("authorization"), "Snowflake Token=\"master-one\"");
    assert_eq!(renewal.json(), json!({"oldSessionToken": "token-one", "requestType": "RENEW"}));
    assert_eq!(again.header("authorization"), "Snowflake Token=\"token-two\"");
    assert_eq!(again.query["requestId"], first.query["requestId"]);
    assert_ne!(again.query["request_guid"], first.query["request_guid"]);
    assert_eq!(again.body, first.body);
    assert_eq!(next.header("authorization"), "Snowflake Token=\"token-two\"");
    assert_ne!(next.query["requestId"], first.query["requestId"]);
}

#[tokio::test]
async fn a_long_statement_is_asked_for_until_it_is_done() {
    let running = |code: &str| {
        Reply::Json(
            json!({"success": true, "code": code, "data": {"getResultUrl": "/queries/01-a/result?x=1"}}),
        )
    };
    let server = Server::with([
        running("333334"),
        running("333333"),
        Reply::Status(502, "<html>"),
        rows(&json!([["1"]])),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.execute(Statement::new("MERGE")).await.unwrap().len(), 1);
    let [_, asked, first, second, third] = server.seen().try_into().unwrap();
    assert_eq!(asked.method, "POST");
    for poll in [first, second, third] {
        assert_eq!((poll.method.as_str(), poll.path.as_str()), ("GET", "/queries/01-a/result"));
        assert_eq!(poll.query["x"], "1");
        assert_eq!(poll.header("authorization"), "Snowflake Token=\"token-one\"");
    }
}

#[tokio::test]
async fn a_retry_keeps_its_request_id() {
    let server = Server::with([
        Reply::Status(503, "busy"),
        Reply::Status(429, "slow"),
        Reply::Broken,
        rows(&json!([["1"]])),
    ])
    .await;
    let client = server.client();
    client.execute(Statement::new("INSERT")).await.unwrap();
    let seen = server.seen();
    let tries = &seen[1..];
    assert_eq!(tries.len(), 4);
    for (count, request) in tries.iter().enumerate() {
        assert_eq!(request.query["requestId"], tries[0].query["requestId"]);
        assert_eq!(request.query.get("retryCount").cloned(), (count > 0).then(|| count.to_string()));
        assert_eq!(request.body, tries[0].body);
    }
    assert_eq!(tries[1].query["retryReason"], "503");
    assert_eq!(tries[2].query["retryReason"], "429");
}

#[tokio::test]
async fn tries_end() {
    let server = Server::with((0..9).map(|_| Reply::Status(503, "busy"))).await;
    let error = server.client().execute(Statement::new("SELECT 1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SinkUnavailable);
    assert_eq!(
        error.to_string(),
        "no answer from Snowflake at 127.0.0.1: HTTP status 503 Service Unavailable (5 tries)"
    );
    assert_silent(&error);
}

#[tokio::test]
async fn values_go_beside_the_sql() {
    let server = Server::with([rows(&json!([["1"]]))]).await;
    let statement = Statement::new("UPDATE t SET a = ? WHERE b = ?").text("it's").integer(-5);
    server.client().execute(statement).await.unwrap();
    let body = server.seen()[1].json();
    assert_eq!(body["sqlText"], "UPDATE t SET a = ? WHERE b = ?");
    assert_eq!(
        body["bindings"],
        json!({
            "1": {"type": "TEXT", "value": "it's"},
            "2": {"type": "FIXED", "value": "-5"},
        })
    );
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_loses_its_secrets() {
    let cases = [
        (
            refusal("390100", &format!("Incorrect password {PASSWORD}")),
            ErrorKind::Sink,
            "390100",
            "`password`",
        ),
        (refusal("000606", "No active warehouse selected"), ErrorKind::Sink, "000606", "`warehouse`"),
        (
            refusal("390114", "Authentication token has expired"),
            ErrorKind::SinkUnavailable,
            "390114",
            "snowflake",
        ),
        (
            refusal("390201", "The requested warehouse does not exist or not authorized."),
            ErrorKind::Sink,
            "390201",
            "check `warehouse`",
        ),
        (refusal("003001", "Insufficient privileges"), ErrorKind::Sink, "003001", "`role`"),
    ];
    for (reply, kind, code, named) in cases {
        let server = Server::with([reply]).await;
        let error = server.client().execute(Statement::new("SELECT 1")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        assert_eq!(server_code(&error), Some(code));
        assert!(error.user_message().contains(named), "{}", error.user_message());
        assert_silent(&error);
    }
}

#[tokio::test]
async fn an_explained_failure_is_not_tried_again() {
    let server = Server::with([Reply::Status(
        500,
        r#"{"success": false, "code": "261000", "message": "no", "data": null}"#,
    )])
    .await;
    let error = server.client().execute(Statement::new("X")).await.unwrap_err();
    assert_eq!(server_code(&error), Some("261000"));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_said_so() {
    let server = Server::start().await;
    server.then([Reply::Status(403, "<html>Forbidden</html>")]);
    let error = server.client().execute(Statement::new("SELECT 1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink);
    assert!(error.user_message().contains("check `account`"), "{}", error.user_message());
    assert_silent(&error);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start().await;
    server.then([Reply::Status(307, "elsewhere")]);
    let error = server.client().execute(Statement::new("SELECT 1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_key_signs_the_login() {
    let server = Server::with([rows(&json!([["1"]]))]).await;
    let mut config = server.config();
    config.password = None;
    config.private_key = Some(crate::secret::Secret::new(pem("PRIVATE KEY", KEY)));
    client(&config).execute(Statement::new("SELECT 1")).await.unwrap();
    let body = server.seen()[0].json();
    assert_eq!(body["data"]["AUTHENTICATOR"], "SNOWFLAKE_JWT");
    let claims = body["data"]["TOKEN"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["sub"], "XY1.ME");
    assert!(claims["iss"].as_str().unwrap().starts_with("XY1.ME.SHA256:"));
    assert!(!body.to_string().contains(&KEY[..40]));
}

#[test]
fn the_crate_gets_no_token() {
    let mut answer = login();
    super::patch::login(&mut answer);
    let text = answer.to_string();
    assert!(!text.contains(TOKEN) && !text.contains(MASTER), "{text}");
}
