//! The messages that we emit. RECORD is not here: it is written as text by
//! [`super::sink`], because a serde pass over each row would cost more than all else.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::descriptor::StreamDescriptor;
use crate::error::FailureType;

/// One line of stdout.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Message<'a> {
    /// Something a person may want to read.
    Log {
        /// The line.
        log: Log<'a>,
    },
    /// What the connector tells of itself.
    Trace {
        /// The trace.
        trace: Trace<'a>,
    },
    /// Progress past the records before it.
    State {
        /// The progress.
        state: State<'a>,
    },
    /// The answer to `spec`.
    Spec {
        /// The specification.
        spec: &'a Specification,
    },
    /// The answer to `check`.
    ConnectionStatus {
        /// The outcome.
        #[serde(rename = "connectionStatus")]
        connection_status: ConnectionStatus,
    },
    /// The answer to `discover`.
    Catalog {
        /// The streams.
        catalog: &'a super::catalog::AirbyteCatalog,
    },
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something that a user should look at.
    Warn,
    /// What is going on.
    Info,
}

/// The payload of a LOG.
#[derive(Debug, Serialize)]
pub struct Log<'a> {
    /// How much it matters.
    pub level: Level,
    /// One sentence.
    pub message: &'a str,
}

/// The payload of a TRACE. Each has the moment that it was emitted, in
/// milliseconds since the UNIX epoch.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trace<'a> {
    /// A failure.
    Error {
        /// When.
        emitted_at: i64,
        /// The failure.
        error: ErrorTrace<'a>,
    },
    /// How many rows are to come.
    Estimate {
        /// When.
        emitted_at: i64,
        /// The estimate.
        estimate: Estimate<'a>,
    },
    /// Where a stream is in its life.
    StreamStatus {
        /// When.
        emitted_at: i64,
        /// The status.
        stream_status: StreamStatus<'a>,
    },
}

/// A failure, for the user and for those who mend it.
#[derive(Debug, Serialize)]
pub struct ErrorTrace<'a> {
    /// One sentence for the user.
    pub message: &'a str,
    /// The same with its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_message: Option<&'a str>,
    /// Who can mend it.
    #[serde(serialize_with = "failure_type")]
    pub failure_type: FailureType,
    /// The stream concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_descriptor: Option<&'a StreamDescriptor>,
}

fn failure_type<S: serde::Serializer>(failure: &FailureType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(failure.as_str())
}

/// How many rows a stream will have in this run.
#[derive(Debug, Serialize)]
pub struct Estimate<'a> {
    /// The stream's name.
    pub name: &'a str,
    /// Always of one stream: the protocol forbids mixing it with an estimate of the sync.
    #[serde(rename = "type")]
    pub kind: EstimateKind,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<&'a str>,
    /// Rows.
    pub row_estimate: u64,
}

/// What an [`Estimate`] speaks of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EstimateKind {
    /// One stream.
    Stream,
}

/// Where a stream is in its life.
#[derive(Debug, Serialize)]
pub struct StreamStatus<'a> {
    /// The stream.
    pub stream_descriptor: &'a StreamDescriptor,
    /// The status.
    pub status: Status,
    /// Why it is so, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<[Reason; 1]>,
}

/// The statuses of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It begins.
    Started,
    /// Its first record is about to come, or it goes on.
    Running,
    /// All of it was read.
    Complete,
    /// It ended before its end.
    Incomplete,
}

/// Why a stream is in its status.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// It waits for the API's rate limit.
    RateLimited {
        /// Until when.
        rate_limited: RateLimited,
    },
}

/// When a rate limit lets the next request pass.
#[derive(Debug, Serialize)]
pub struct RateLimited {
    /// Milliseconds since the UNIX epoch.
    pub quota_reset: i64,
}

/// The payload of a STATE, always of one stream.
#[derive(Debug, Serialize)]
pub struct State<'a> {
    /// Always STREAM.
    #[serde(rename = "type")]
    pub kind: StateKind,
    /// The stream and its progress.
    pub stream: StreamState<'a>,
    /// How many records this STATE speaks for.
    #[serde(rename = "sourceStats")]
    pub source_stats: Stats,
}

/// What a STATE speaks of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StateKind {
    /// One stream.
    Stream,
}

/// The progress of a stream.
#[derive(Debug, Serialize)]
pub struct StreamState<'a> {
    /// The stream.
    pub stream_descriptor: &'a StreamDescriptor,
    /// Its progress, opaque to everyone else.
    pub stream_state: &'a RawValue,
}

/// What a source or a destination says in a STATE of the records before it.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// Records of the stream since its previous STATE. A float because the
    /// protocol wants a decimal point.
    #[serde(rename = "recordCount")]
    pub record_count: f64,
}

/// The payload of CONNECTION_STATUS.
#[derive(Debug, Serialize)]
pub struct ConnectionStatus {
    /// Whether the configuration works.
    pub status: Outcome,
    /// One sentence about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a configuration works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// It does.
    Succeeded,
    /// It does not, and the user can mend it.
    Failed,
}

/// The payload of SPEC.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Specification {
    /// Where a user reads about the connector.
    pub documentation_url: &'static str,
    /// The JSON Schema of the configuration.
    pub connection_specification: Value,
    /// Whether streams can be read or written incrementally.
    pub supports_incremental: bool,
    /// Of a destination: what it can do with the rows that it has.
    #[serde(rename = "supported_destination_sync_modes", skip_serializing_if = "<[_]>::is_empty")]
    pub supported_destination_sync_modes: &'static [&'static str],
    /// The protocol's version.
    #[serde(rename = "protocol_version")]
    pub protocol_version: &'static str,
}
