//! One exchange with the server: send, retry, read JSON.
//!
//! A retry sends the same `requestId`, so that Snowflake answers with the result
//! of a statement that it ran already instead of running it twice; `retryCount`
//! tells it to look.

use std::time::Duration;

use backon::ExponentialBuilder;
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, StatusCode};
use reqwest_middleware::Next;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::error;
use super::patience::{Missed, Patience, again, told};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Tries;

/// A longer Retry-After than this is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Where to ask, and how often.
pub(super) struct Exchange {
    host: Url,
    retries: ExponentialBuilder,
    patience: Patience,
}

/// A request to the server, to be sent as often as needed.
pub(super) struct Ask {
    pub method: Method,
    /// Path below the host, and the query of the original request.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub accept: HeaderValue,
    /// The token to sign with.
    pub token: Option<String>,
    pub body: Bytes,
}

/// The way down from the layer to the network.
pub(super) struct Wire<'a, 'n> {
    pub exchange: &'a Exchange,
    pub next: Next<'n>,
    pub extensions: &'a mut http::Extensions,
}

impl Exchange {
    pub fn new(host: Url, retries: ExponentialBuilder, patience: Patience) -> Self {
        Self { host, retries, patience }
    }

    /// The URL of a path on the configured host; nothing else of `path` counts.
    fn url(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.host.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
        url.set_query(query);
        url
    }
}

impl Ask {
    /// The same question as the crate's own request, to the configured host.
    pub fn of(request: &Request) -> Self {
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        Self {
            method: request.method().clone(),
            path: request.url().path().to_owned(),
            query: request
                .url()
                .query_pairs()
                .into_owned()
                .filter(|(name, _)| name != "request_guid")
                .collect(),
            accept: request
                .headers()
                .get(ACCEPT)
                .cloned()
                .unwrap_or(HeaderValue::from_static("application/json")),
            token: None,
            body: Bytes::copy_from_slice(body),
        }
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::bug("a request without JSON").caused_by(error))
    }
}

impl Wire<'_, '_> {
    /// Sends `ask` until it is answered with JSON, whatever that says.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Value> {
        let mut tries = Tries::new(self.exchange.retries, self.exchange.patience.waited);
        let mut last: Option<StatusCode> = None;
        loop {
            let asked = Instant::now();
            let missed = match self.once(ask, tries.count(), last).await {
                Ok(answer) => return Ok(answer),
                Err(missed) => missed,
            };
            if again(&mut tries, &missed, asked.elapsed()).await.is_none() {
                return Err(self.give_up(&missed, &tries));
            }
            last = missed.status;
        }
    }

    async fn once(&mut self, ask: &Ask, tries: usize, last: Option<StatusCode>) -> Result<Value, Missed> {
        let request = self.request(ask, tries, last);
        let patience = self.exchange.patience;
        let asked = Instant::now();
        let response = patience.begin(self.next.clone().run(request, self.extensions)).await?;
        let status = response.status();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs))
            .filter(|wait| *wait <= RETRY_AFTER_MAX);
        let body = patience.body(response, asked, patience.answer).await?;
        let parsed: Result<Value, _> = serde_json::from_slice(&body);
        match parsed {
            // An error that the server explains is an answer, with whatever status it comes.
            Ok(answer) if answer.get("success").is_some() => Ok(answer),
            _ if status.is_success() => Err(Missed {
                status: Some(status),
                ..Missed::below_http("the answer is not the JSON that Snowflake sends".to_owned())
            }),
            _ => Err(Missed { wait, ..Missed::status(status) }),
        }
    }

    /// Gets a part of a large result from the cloud's storage: `request` is signed, and
    /// no message may hold its URL.
    pub async fn part(&mut self, request: &Request) -> Result<Bytes> {
        let patience = self.exchange.patience;
        let mut tries = Tries::new(self.exchange.retries, patience.waited);
        loop {
            let asked = Instant::now();
            let missed = match self.part_once(request, asked).await {
                Ok(part) => return Ok(part.into()),
                Err(missed) => missed,
            };
            if again(&mut tries, &missed, asked.elapsed()).await.is_none() {
                let reason = missed.reason + &told(&tries);
                return Err(Error::new(
                    ErrorKind::SinkUnavailable,
                    format!("the storage of Snowflake's results did not give a part of one: {reason}"),
                )
                .hint("check that this machine reaches the storage, and try again later"));
            }
        }
    }

    async fn part_once(&mut self, request: &Request, asked: Instant) -> Result<Vec<u8>, Missed> {
        let patience = self.exchange.patience;
        let mut again = Request::new(request.method().clone(), request.url().clone());
        again.headers_mut().clone_from(request.headers());
        again.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let response = patience.begin(self.next.clone().run(again, self.extensions)).await?;
        if !response.status().is_success() {
            return Err(Missed::status(response.status()));
        }
        patience.body(response, asked, patience.part).await
    }

    fn request(&self, ask: &Ask, tries: usize, last: Option<StatusCode>) -> Request {
        let mut url = self.exchange.url(&ask.path);
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(&ask.query);
            query.append_pair("request_guid", &Uuid::new_v4().to_string());
            if tries > 0 {
                query.append_pair("retryCount", &tries.to_string());
                query.append_pair("retryReason", last.as_ref().map_or("0", StatusCode::as_str));
            }
        }
        let mut request = Request::new(ask.method.clone(), url);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, ask.accept.clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(token) = &ask.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Snowflake Token=\"{token}\""))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if ask.method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(ask.body.clone().into());
        }
        request
    }

    fn give_up(&self, missed: &Missed, tries: &Tries) -> Error {
        let host = self.exchange.host.host_str().unwrap_or_default();
        let message = format!("no answer from Snowflake at {host}: {}{}", missed.reason, told(tries));
        match missed.status {
            Some(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => Error::new(ErrorKind::Sink, message)
                .hint("check `account` (or `host`): there is no such account at this address"),
            Some(status) if status.is_redirection() => Error::new(ErrorKind::Sink, message)
                .hint("check `account` (or `host`): the server redirects, and redirects are not followed"),
            _ => Error::new(ErrorKind::SinkUnavailable, message)
                .hint("check `account` (or `host`) and the network"),
        }
    }

    /// [`Wire::ask`], where an answer with `success: false` is an error.
    pub async fn ask_for_success(&mut self, ask: &Ask) -> Result<Value> {
        let answer = self.ask(ask).await?;
        self.succeeded(answer)
    }

    /// The answer, if it reports success.
    pub fn succeeded(&self, answer: Value) -> Result<Value> {
        if answer["success"].as_bool() == Some(true) { Ok(answer) } else { Err(error::from_answer(&answer)) }
    }
}
