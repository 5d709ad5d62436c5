//! An answer: rows in the vendor's envelope, or a refusal in the vendor's words.

use crate::batch::Rows;

use super::columns::{ApiRow, Fact, write_text};
use super::faults::FaultKind;

/// Where `next_url` points, whatever address the server has, as the vendor's does.
const NEXT_URL_HOST: &str = "https://api.massive.com";

/// How the rows stand in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `"results": [..]`, absent when there are none.
    Array,
    /// `"results": [..]`, also when there are none.
    ArrayAlways,
    /// `"results": {..}`
    Object,
    /// The answer is an array.
    Root,
}

/// One page of an endpoint, before it is text.
#[derive(Debug)]
pub struct Page {
    pub shape: Shape,
    /// Fields before `results`, each with its JSON.
    pub head: Vec<(&'static str, String)>,
    pub rows: Rows,
    pub status: &'static str,
    /// Whether `count` says how many rows the page has.
    pub counts: bool,
    /// Path and query of the next page.
    pub next: Option<String>,
    /// The host that `next_url` names.
    pub next_host: String,
    /// How many rows `count` says that there are, when that is another number.
    pub claims: Option<usize>,
    /// A fault of what stands around the rows.
    pub odd: Option<FaultKind>,
}

impl Page {
    /// An empty page.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            head: Vec::new(),
            rows: Rows::default(),
            status: "OK",
            counts: false,
            next: None,
            next_host: NEXT_URL_HOST.to_owned(),
            claims: None,
            odd: None,
        }
    }

    /// Adds a row; `salt` varies how its numbers are written.
    pub fn push(&mut self, fact: &impl Fact, salt: u64) {
        ApiRow::write(fact, salt, self.rows.buffer());
        self.rows.end_row();
    }

    /// The answer's text.
    pub fn render(&self, request_id: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rows.bytes() + 512);
        if self.shape == Shape::Root {
            self.render_rows(&mut out);
            return out;
        }
        out.push(b'{');
        if self.odd == Some(FaultKind::SecondStatus) {
            field(&mut out, "status", b"\"ERROR\"");
            field(&mut out, "error", b"\"the query could not be completed\"");
        }
        for (name, value) in &self.head {
            field(&mut out, name, value.as_bytes());
        }
        self.render_results(&mut out);
        field(&mut out, "status", format!("\"{}\"", self.status).as_bytes());
        field(&mut out, "request_id", format!("\"{request_id}\"").as_bytes());
        if self.counts {
            field(&mut out, "count", self.claims.unwrap_or(self.rows.len()).to_string().as_bytes());
        }
        self.render_next(&mut out);
        out.push(b'}');
        out
    }

    fn render_next(&self, out: &mut Vec<u8>) {
        let instead: &[u8] = match self.odd {
            Some(FaultKind::NextUrlNumber) => b"2",
            Some(FaultKind::NextUrlObject) => b"{\"cursor\":\"YXA9MQ\"}",
            Some(FaultKind::NextUrlText) => b"\"https://[no host]/?cursor=YXA9MQ\"",
            Some(FaultKind::NextUrlElsewhere) => b"\"https://api.massive.com/v3/quotes/AAPL?cursor=YXA9MQ\"",
            _ => b"",
        };
        if !instead.is_empty() {
            field(out, "next_url", instead);
        } else if let Some(next) = &self.next {
            field(out, "next_url", b"");
            write_text(out, &format!("{}{next}", self.next_host));
        }
    }

    fn render_results(&self, out: &mut Vec<u8>) {
        let instead: &[u8] = match self.odd {
            Some(FaultKind::ResultsObject) => b"{\"rows\":[]}",
            Some(FaultKind::ResultsText) => b"\"none\"",
            Some(FaultKind::ResultsNumber) => b"0",
            Some(FaultKind::ResultsNumbers) => b"[1,2]",
            Some(FaultKind::NoResults) => return,
            _ => b"",
        };
        if !instead.is_empty() {
            return field(out, "results", instead);
        }
        let times = if self.odd == Some(FaultKind::ResultsTwice) { 2 } else { 1 };
        if self.shape == Shape::Object || self.shape == Shape::ArrayAlways || !self.rows.is_empty() {
            for _ in 0..times {
                field(out, "results", b"");
                self.render_rows(out);
            }
        }
    }

    fn render_rows(&self, out: &mut Vec<u8>) {
        if self.shape == Shape::Object {
            out.extend_from_slice(self.rows.iter().next().unwrap_or(b"{}"));
            return;
        }
        out.push(b'[');
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(row);
        }
        out.push(b']');
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
}

/// Why a request gets no page. The texts are the vendor's where they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 400
    BadRequest(String),
    /// 401
    NoKey,
    /// 401
    UnknownKey,
    /// 403: the plan lacks this kind of data.
    NotEntitled,
    /// 403: the plan serves a day only after its end.
    NotYet,
    /// 403: the plan lacks this timeframe.
    Timeframe,
    /// 404: there is no such ticker.
    NoTicker,
    /// 404: there is no such path.
    NoPath,
    /// 429
    TooMany,
}

impl Refusal {
    /// A 400 with this text.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    /// Status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NoKey | Self::UnknownKey => 401,
            Self::NotEntitled | Self::NotYet | Self::Timeframe => 403,
            Self::NoTicker | Self::NoPath => 404,
            Self::TooMany => 429,
        }
    }

    /// The answer's text; that of an unknown path is not JSON.
    pub fn render(&self, request_id: &str) -> Vec<u8> {
        let (status, name, text) = match self {
            Self::BadRequest(message) => ("ERROR", "error", message.as_str()),
            Self::NoKey => ("ERROR", "error", "API Key was not provided"),
            Self::UnknownKey => ("ERROR", "error", "Unknown API Key"),
            Self::NotEntitled => (
                "NOT_AUTHORIZED",
                "message",
                "You are not entitled to this data. Please upgrade your plan at https://polygon.io/pricing",
            ),
            Self::NotYet => (
                "NOT_AUTHORIZED",
                "message",
                "Attempted to request today's data before end of day. Please upgrade your plan at https://polygon.io/pricing",
            ),
            Self::Timeframe => (
                "NOT_AUTHORIZED",
                "message",
                "Your plan doesn't include this data timeframe. Please upgrade your plan at https://polygon.io/pricing",
            ),
            Self::NoTicker => ("NOT_FOUND", "message", "Ticker not found."),
            Self::NoPath => return b"404 page not found\n".to_vec(),
            Self::TooMany => (
                "ERROR",
                "error",
                "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. https://polygon.io/pricing",
            ),
        };
        let mut out =
            format!("{{\"status\":\"{status}\",\"request_id\":\"{request_id}\",\"{name}\":").into_bytes();
        write_text(&mut out, text);
        out.push(b'}');
        out
    }
}
