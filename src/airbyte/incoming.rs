//! Messages as another connector emits them, one JSON object a line.
//!
//! Platforms and clients send every key of a message, most of them null, and keys
//! that the protocol does not know, some of them twice: only what is needed is
//! read, and nothing of the rest is judged.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::descriptor::StreamDescriptor;
use super::messages::Stats;
use crate::error::{Error, ErrorKind, Result};

/// Smaller moments are seconds: so many milliseconds after 1970 it was March 1973.
const MILLISECONDS_MIN: f64 = 1e11;

/// A message that a destination acts on.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A record.
    Record(Record<'a>),
    /// Progress past the records before it.
    State(ForeignState),
    /// A stream begins, goes on or ends.
    Status {
        /// Which stream.
        stream: StreamDescriptor,
        /// How it ended; none as long as it goes on.
        end: Option<End>,
    },
    /// Anything else.
    Other,
}

/// How a stream of the source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it was read.
    Complete,
    /// It ended before its end.
    Incomplete,
}

/// A record.
#[derive(Debug, PartialEq)]
pub struct Record<'a> {
    /// The stream's name.
    pub stream: Cow<'a, str>,
    /// Its namespace.
    pub namespace: Option<Cow<'a, str>>,
    /// The JSON text of its data.
    pub data: &'a [u8],
    /// When it was read, milliseconds since the UNIX epoch.
    pub emitted_at: i64,
    /// Members of the list of changes that the source made, empty for none.
    pub changes: &'a str,
}

/// A STATE of any source: opaque, kept as it came.
#[derive(Debug, Clone)]
pub struct ForeignState {
    /// The members of the state in their order, each value byte for byte.
    members: Vec<(String, Box<RawValue>)>,
    /// The stream that it speaks of; none when it speaks of all.
    pub stream: Option<StreamDescriptor>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    record: Option<RawRecord<'a>>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
    #[serde(borrow)]
    trace: Option<RawTrace<'a>>,
}

#[derive(Deserialize)]
struct RawRecord<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
    emitted_at: f64,
    #[serde(borrow)]
    meta: Option<RawMeta<'a>>,
}

#[derive(Deserialize)]
struct RawMeta<'a> {
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawTrace<'a> {
    #[serde(borrow)]
    stream_status: Option<RawStatus<'a>>,
}

#[derive(Deserialize)]
struct RawStatus<'a> {
    stream_descriptor: StreamDescriptor,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

/// Reads a line. A line that is no JSON object is not a message: some connectors
/// print to stdout what belongs into a log.
///
/// # Errors
/// [`ErrorKind::Response`] when a message breaks off or lacks what it must have.
pub fn parse(line: &[u8]) -> Result<Incoming<'_>> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Ok(Incoming::Other);
    }
    let message: RawMessage<'_> = serde_json::from_slice(line).map_err(malformed)?;
    let lacking =
        |member: &str| Error::new(ErrorKind::Response, format!("a message of the source has no `{member}`"));
    match &*message.kind {
        "RECORD" => Ok(Incoming::Record(message.record.ok_or_else(|| lacking("record"))?.into())),
        "STATE" => {
            let state = message.state.ok_or_else(|| lacking("state"))?;
            ForeignState::parse(state).map(Incoming::State).map_err(malformed)
        }
        "TRACE" => Ok(message.trace.and_then(|trace| trace.stream_status).map_or(Incoming::Other, status)),
        _ => Ok(Incoming::Other),
    }
}

/// The error of an input's last line, which has no line feed: where its JSON breaks off,
/// the source died while it wrote, and that may pass.
pub fn cut_off(line: &[u8], error: Error) -> Error {
    let breaks_off = serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof());
    if breaks_off { error.of_kind(ErrorKind::Unavailable) } else { error }
}

fn malformed(error: serde_json::Error) -> Error {
    // serde_json names line and column; a value it shows could be anything.
    let what = match error.classify() {
        serde_json::error::Category::Eof => "breaks off in the middle".to_owned(),
        serde_json::error::Category::Syntax => format!("is not JSON at column {}", error.column()),
        _ => format!("lacks something, or has something of another type, at column {}", error.column()),
    };
    Error::new(ErrorKind::Response, format!("a message of the source {what}"))
}

fn status(status: RawStatus<'_>) -> Incoming<'static> {
    let end = match &*status.status {
        "COMPLETE" => Some(End::Complete),
        "INCOMPLETE" => Some(End::Incomplete),
        _ => None,
    };
    Incoming::Status { stream: status.stream_descriptor, end }
}

impl<'a> From<RawRecord<'a>> for Record<'a> {
    fn from(raw: RawRecord<'a>) -> Self {
        let scale = if raw.emitted_at.abs() < MILLISECONDS_MIN { 1000.0 } else { 1.0 };
        let changes = raw.meta.and_then(|meta| meta.changes).map_or("", RawValue::get);
        let list = changes.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        Self {
            stream: raw.stream,
            namespace: raw.namespace,
            data: raw.data.get().as_bytes(),
            emitted_at: (raw.emitted_at * scale) as i64,
            changes: list.unwrap_or_default().trim(),
        }
    }
}

impl ForeignState {
    fn parse(text: &RawValue) -> serde_json::Result<Self> {
        let Members(members) = serde_json::from_str(text.get())?;
        let get = |key: &str| {
            let found = members.iter().rev().find(|(name, _)| name == key);
            found.map(|(_, value)| value.get()).filter(|value| *value != "null")
        };
        let kind: Option<String> = get("type").map(serde_json::from_str).transpose()?;
        let of_stream = match kind.as_deref() {
            Some(kind) => kind == "STREAM",
            None => get("stream").is_some(),
        };
        #[derive(Deserialize)]
        struct Stream {
            stream_descriptor: StreamDescriptor,
        }
        let stream = match of_stream {
            false => None,
            true => {
                let stream: Stream = serde_json::from_str(get("stream").unwrap_or("null"))?;
                Some(stream.stream_descriptor)
            }
        };
        Ok(Self { members, stream })
    }

    /// The state as JSON, to be stored.
    pub fn text(&self) -> String {
        serde_json::to_string(&Echo { state: self, records: None }).expect("texts always serialise")
    }

    /// The message that says that the state and its `records` are durable: the state
    /// as it came, with the destination's count.
    pub fn echo(&self, records: u64) -> impl Serialize {
        #[derive(Serialize)]
        struct Message<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            state: Echo<'a>,
        }
        Message { kind: "STATE", state: Echo { state: self, records: Some(records) } }
    }
}

/// Our count in a state. One that came with it is another destination's.
const STATS: &str = "destinationStats";

struct Echo<'a> {
    state: &'a ForeignState,
    records: Option<u64>,
}

impl Serialize for Echo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.state.members.iter().filter(|(name, _)| name != STATS) {
            map.serialize_entry(name, value)?;
        }
        if let Some(records) = self.records {
            map.serialize_entry(STATS, &Stats { record_count: records as f64 })?;
        }
        map.end()
    }
}

/// An object as its members, repeated keys included.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record<'_> {
        match parse(line.as_bytes()).unwrap() {
            Incoming::Record(record) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_in_all_its_spellings() {
        let plain = record(
            r#"{"type":"RECORD","record":{"stream":"s","data":{"a":1.50},"emitted_at":1719581400123}}"#,
        );
        assert_eq!(
            (&*plain.stream, plain.data, plain.emitted_at),
            ("s", b"{\"a\":1.50}".as_slice(), 1_719_581_400_123)
        );
        let nulls = record(
            r#" {"log":null,"record": {"namespace":null,"meta":null,"file_reference":null,"emitted_at":1795226036.5,
              "data": {}, "stream":"a\"b"},"state":null,"trace":null,"type":"RECORD","global_":1,"global_":2}"#,
        );
        assert_eq!((&*nulls.stream, nulls.emitted_at, nulls.changes), ("a\"b", 1_795_226_036_500, ""));
        let changed = record(
            r#"{"type":"RECORD","record":{"stream":"s","namespace":"n","data":{},"emitted_at":1,
              "meta":{"changes":[ {"field":"a","change":"TRUNCATED","reason":"PLATFORM_RECORD_SIZE_LIMITATION"} ]}}}"#,
        );
        assert_eq!(changed.namespace.as_deref(), Some("n"));
        assert_eq!(
            changed.changes,
            r#"{"field":"a","change":"TRUNCATED","reason":"PLATFORM_RECORD_SIZE_LIMITATION"}"#
        );
        let none =
            r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":1,"meta":{"changes":[]}}}"#;
        assert_eq!(record(none).changes, "");
    }

    #[test]
    fn a_state_is_echoed_byte_for_byte() {
        let line = r#"{"type":"STATE","record":null,"state":{"type":"STREAM","data":null,"global_":1,"global_":2,
            "stream":{"stream_descriptor":{"name":"s","namespace":"n"},"stream_state":{"at": 1.50,"n":12345678901234567890}},
            "destinationStats":null,"sourceStats":{"recordCount":2.0},"id":7}}"#;
        let Incoming::State(state) = parse(line.as_bytes()).unwrap() else { panic!("no state") };
        let descriptor = StreamDescriptor { name: "s".to_owned(), namespace: Some("n".to_owned()) };
        assert_eq!(state.stream, Some(descriptor));
        let kept = r#""type":"STREAM","data":null,"global_":1,"global_":2,"stream":{"stream_descriptor":{"name":"s","namespace":"n"},"stream_state":{"at": 1.50,"n":12345678901234567890}},"sourceStats":{"recordCount":2.0},"id":7"#;
        let echo = serde_json::to_string(&state.echo(2)).unwrap();
        assert_eq!(
            echo,
            format!(r#"{{"type":"STATE","state":{{{kept},"destinationStats":{{"recordCount":2.0}}}}}}"#)
        );
        assert_eq!(state.text(), format!("{{{kept}}}"));
    }

    #[test]
    fn states_of_all_streams_have_several_forms() {
        for state in [
            r#"{"type":"GLOBAL","global":{"stream_states":[]}}"#,
            r#"{"type":"GLOBAL","global":null,"global_":{},"stream":null}"#,
            r#"{"type":"LEGACY","data":{"cursor":1}}"#,
            r#"{"data":{"cursor":1},"stream":null}"#,
        ] {
            let line = format!(r#"{{"type":"STATE","state":{state}}}"#);
            let Incoming::State(state) = parse(line.as_bytes()).unwrap() else { panic!("{line}") };
            assert_eq!(state.stream, None, "{line}");
        }
    }

    #[test]
    fn statuses_and_everything_else() {
        let status = |status: &str| {
            let line = format!(
                r#"{{"type":"TRACE","trace":{{"type":"STREAM_STATUS","emitted_at":1795226037.35,"error":null,
                "stream_status":{{"stream_descriptor":{{"name":"s"}},"status":"{status}","reasons":null}}}}}}"#
            );
            match parse(line.as_bytes()).unwrap() {
                Incoming::Status { stream, end } => (stream.name, end),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(status("STARTED"), ("s".to_owned(), None));
        assert_eq!(status("COMPLETE"), ("s".to_owned(), Some(End::Complete)));
        assert_eq!(status("INCOMPLETE"), ("s".to_owned(), Some(End::Incomplete)));
        for line in [
            "",
            "starting the JVM",
            r#"{"type":"LOG","log":{"level":"INFO","message":"m"}}"#,
            r#"{"type":"TRACE","trace":{"type":"ESTIMATE","emitted_at":1.5,"estimate":{}}}"#,
            r#"{"type":"NEW","new":1}"#,
        ] {
            assert!(matches!(parse(line.as_bytes()), Ok(Incoming::Other)), "{line}");
        }
    }

    #[test]
    fn a_cut_or_lacking_message_is_an_error_that_shows_no_value() {
        for (line, expected) in [
            (r#"{"type":"RECORD","record":{"stream":"s","data":{"a":"hunter2"#, "breaks off in the middle"),
            (r#"{"type":"RECORD","record":{"stream":"hunter2"}}"#, "lacks something"),
            (r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":"hunter2"}}"#, "another type"),
            (r#"{"type":"RECORD"}"#, "has no `record`"),
            (r#"{"type":"STATE","state":null}"#, "has no `state`"),
            (r#"{"type":"STATE","state":{"type":"STREAM"}}"#, "another type"),
            (r#"{"type":"RECORD",}"#, "is not JSON at column 18"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Response);
            assert!(
                error.report().contains(expected) && !error.report().contains("hunter2"),
                "{}",
                error.report()
            );
        }
    }
}
