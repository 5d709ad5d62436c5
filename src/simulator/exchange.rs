//! What is asked of the server and what it answers, before it goes over the wire.

use hyper::body::Incoming;
use hyper::{Method, Request, header};
use url::form_urlencoded;

use super::faults::Fault;

/// An answer before it goes over the wire.
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Seconds of a Retry-After header.
    pub retry_after: Option<u32>,
    /// What the wire does to it.
    pub wire_fault: Option<Fault>,
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", body, retry_after: None, wire_fault: None }
    }
}

/// One request, as far as the answers need it.
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub key: Option<String>,
    pub takes_gzip: bool,
}

impl Asked {
    /// What of a request the answers need.
    pub fn of(request: &Request<Incoming>) -> Self {
        let uri = request.uri();
        let text =
            |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let query = uri.query().unwrap_or_default().to_owned();
        let bearer =
            text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        let in_query = || {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == "apiKey").map(|(_, value)| value.into_owned())
        };
        Self {
            method: request.method().clone(),
            path: uri.path().to_owned(),
            key: bearer.or_else(in_query).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()),
            takes_gzip: text(header::ACCEPT_ENCODING).is_some_and(|value| value.contains("gzip")),
            query,
        }
    }

    /// The parameter of an administrative request.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.into_owned())
    }
    /// Path and query, without the key.
    pub fn without_key(&self) -> String {
        let kept: Vec<&str> =
            self.query.split('&').filter(|part| !part.is_empty() && !part.starts_with("apiKey=")).collect();
        if kept.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, kept.join("&")) }
    }
}
