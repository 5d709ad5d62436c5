//! Messages as another connector emits them, one JSON object a line.
//!
//! Platforms and clients send every key of a message, most of them null, and keys
//! that the protocol does not know, some of them twice: only what is needed is
//! read, and nothing of the rest is judged.

mod state;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::descriptor::StreamDescriptor;
use crate::canonical::{Malformed, Moment, Scanner, Value, mended, unescape};
use crate::error::{Error, ErrorKind, Result};

pub use state::ForeignState;

/// A moment whose number is smaller is in seconds: as milliseconds it would be before
/// March 1973. The units after them begin a thousand times later each.
const SECONDS_END: u64 = 100_000_000_000;
const MILLISECONDS_END: u64 = 1000 * SECONDS_END;
const MICROSECONDS_END: u64 = 1000 * MILLISECONDS_END;

/// What some programs begin a text in UTF-8 with. It says nothing.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a line holds that has a message, or a part of one, somewhere on it.
const MARKS: [&[u8]; 6] = [
    b"\"RECORD\"",
    b"\"STATE\"",
    b"\"record\"",
    b"\"emitted_at\"",
    b"\"stream_descriptor\"",
    b"\"stream_state\"",
];

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
    pub changes: Cow<'a, str>,
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

/// Reads a line. Text that is no JSON object is not a message: some connectors print to
/// stdout what belongs into a log. Text that may hold one is an error all the same.
///
/// # Errors
/// [`ErrorKind::Response`] when a message breaks off, lacks what it must have, or has
/// anything else beside it on its line.
pub fn parse(line: &[u8]) -> Result<Incoming<'_>> {
    let line = without_mark(line);
    let mut scanner = Scanner::new(line);
    if scanner.peek() != Some(b'{') {
        return no_message(line);
    }
    let mut message = RawMessage::default();
    message.read(&mut scanner).map_err(|broken| message.error(line, broken))?;
    if scanner.peek().is_some() {
        let what = format!("has something after its end, at column {}", scanner.offset() + 1);
        return Err(fault(what).hint("the source must write one message a line, and nothing else on it"));
    }
    message.judge()
}

fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// A line that is no object.
fn no_message(line: &[u8]) -> Result<Incoming<'_>> {
    let has = |text: &[u8]| memchr::memmem::find(line, text).is_some();
    if has(b"\0") {
        return Err(Error::new(ErrorKind::Response, "the source wrote NUL bytes where a message is due")
            .hint("the text is damaged or not UTF-8; look at the source and at what lies between it and this program"));
    }
    if MARKS.iter().any(|mark| has(mark)) {
        return Err(Error::new(ErrorKind::Response, "the source wrote a message with other text before it")
            .hint("the source must write one message a line, and nothing else on it"));
    }
    Ok(Incoming::Other)
}

fn fault(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Response, format!("a message of the source {what}"))
}

/// Why a message cannot be read.
enum Broken {
    /// It is not JSON.
    Json(Malformed),
    /// It is JSON, and this is what is wrong with it.
    Wrong(String),
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self::Json(malformed)
    }
}

/// The parts of a message that are needed. Values are as they were written.
#[derive(Debug, Default)]
struct RawMessage<'a> {
    kind: Option<Value<'a>>,
    has_record: bool,
    record: RawRecord<'a>,
    state: Option<&'a [u8]>,
    trace: Option<&'a [u8]>,
}

#[derive(Debug, Default)]
struct RawRecord<'a> {
    stream: Option<Value<'a>>,
    namespace: Option<Value<'a>>,
    /// Where `data` begins, and its text once all of it was read.
    data_at: Option<usize>,
    data: Option<&'a [u8]>,
    emitted_at: Option<Value<'a>>,
    meta: Option<&'a [u8]>,
}

/// Sets what may be there once: of two that differ one would be lost.
fn once<T>(place: &mut Option<T>, value: T, member: &str) -> Result<(), Broken> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Broken::Wrong(format!("has `{member}` twice"))),
    }
}

/// Reads a value; none for null. Also returns its text.
fn value<'a>(scanner: &mut Scanner<'a>) -> Result<Option<(Value<'a>, &'a [u8])>, Broken> {
    let value = scanner.value()?;
    Ok((value != Value::Null).then(|| (value, scanner.last_value())))
}

/// Goes through the members of an object, whose values `member` reads.
fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&mut Scanner<'a>, &'a [u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    scanner.expect(b'{', "an object")?;
    if scanner.take(b'}') {
        return Ok(());
    }
    loop {
        let key = scanner.string()?;
        scanner.expect(b':', "`:`")?;
        member(scanner, key)?;
        if !scanner.take(b',') {
            return Ok(scanner.expect(b'}', "`,` or `}`")?);
        }
    }
}

impl<'a> RawMessage<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Broken> {
        members(scanner, |scanner, key| {
            if key == b"record" && scanner.peek() == Some(b'{') {
                if std::mem::replace(&mut self.has_record, true) {
                    return Err(Broken::Wrong("has `record` twice".to_owned()));
                }
                return self.record.read(scanner);
            }
            let Some((value, text)) = value(scanner)? else { return Ok(()) };
            match key {
                b"type" => once(&mut self.kind, value, "type"),
                b"record" => Err(Broken::Wrong("has a `record` that is no object".to_owned())),
                b"state" => once(&mut self.state, text, "state"),
                b"trace" => once(&mut self.trace, text, "trace"),
                _ => Ok(()),
            }
        })
    }

    /// What the message says.
    fn judge(self) -> Result<Incoming<'a>> {
        let kind = match self.kind {
            Some(Value::String(kind)) => unescape(kind),
            _ => return Err(fault("has no `type`")),
        };
        match &*kind {
            "RECORD" if !self.has_record => Err(fault("has no `record`")),
            "RECORD" => {
                let stream = self.record.stream_name();
                let record = self.record.judge();
                record.map(Incoming::Record).map_err(|error| match stream {
                    Some(stream) => error.in_stream(&stream),
                    None => error,
                })
            }
            "STATE" => {
                let state = self.state.ok_or_else(|| fault("has no `state`"))?;
                ForeignState::parse(state).map(Incoming::State).map_err(malformed)
            }
            "TRACE" => {
                let Some(trace) = self.trace else { return Ok(Incoming::Other) };
                let trace: RawTrace<'_> = serde_json::from_slice(trace).map_err(malformed)?;
                Ok(trace.stream_status.map_or(Incoming::Other, status))
            }
            _ if self.has_record || self.state.is_some() => {
                Err(fault("has a `record` or a `state`, and a `type` that is neither RECORD nor STATE"))
            }
            _ => Ok(Incoming::Other),
        }
    }

    /// What is wrong with a line that could not be read, and where.
    #[cold]
    fn error(&self, line: &[u8], broken: Broken) -> Error {
        let malformed = match broken {
            Broken::Wrong(what) => return self.named(fault(what)),
            Broken::Json(malformed) => malformed,
        };
        let field = self.record.data_at.filter(|_| self.record.data.is_none());
        let place = match field.map(|start| broken_field(line, start)) {
            Some(Some(field)) => format!(", in the field {field:?} of `record.data`"),
            Some(None) => ", in `record.data`".to_owned(),
            None => String::new(),
        };
        let (at, end) = (malformed.offset, line.trim_ascii_end().len());
        let error = if at >= end {
            fault(format!("breaks off in the middle{place}"))
        } else {
            fault(format!("is not JSON at column {}{place}: expected {}", at + 1, malformed.expected))
        };
        self.named(error)
    }

    fn named(&self, error: Error) -> Error {
        match self.record.stream_name() {
            Some(stream) => error.context(format_args!("stream {stream:?}")).in_stream(&stream),
            None => error,
        }
    }
}

/// The name of the field, of an object that begins at `start`, whose value is not JSON.
fn broken_field(line: &[u8], start: usize) -> Option<String> {
    let mut scanner = Scanner::new(&line[start..]);
    let mut field = None;
    let _broken = members(&mut scanner, |scanner, key| {
        field = Some(unescape(key).into_owned());
        value(scanner)?;
        field = None;
        Ok(())
    });
    field
}

/// The error of an input's last line, which has no line feed: where its JSON breaks off,
/// the source died while it wrote, and that may pass.
pub fn cut_off(line: &[u8], error: Error) -> Error {
    let breaks_off =
        serde_json::from_slice::<IgnoredAny>(without_mark(line)).is_err_and(|error| error.is_eof());
    if breaks_off { error.of_kind(ErrorKind::Unavailable) } else { error }
}

fn malformed(error: serde_json::Error) -> Error {
    // serde_json names line and column; a value it shows could be anything.
    fault(match error.classify() {
        serde_json::error::Category::Eof => "breaks off in the middle".to_owned(),
        serde_json::error::Category::Syntax => "is not JSON in its `state` or `trace`".to_owned(),
        _ => "lacks something, or has something of another type, in its `state` or `trace`".to_owned(),
    })
}

fn status(status: RawStatus<'_>) -> Incoming<'static> {
    let end = match &*status.status {
        "COMPLETE" => Some(End::Complete),
        "INCOMPLETE" => Some(End::Incomplete),
        _ => None,
    };
    Incoming::Status { stream: status.stream_descriptor, end }
}

impl<'a> RawRecord<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Broken> {
        members(scanner, |scanner, key| {
            if key == b"data" {
                scanner.peek();
                self.data_at = Some(scanner.offset());
            }
            let Some((value, text)) = value(scanner)? else { return Ok(()) };
            match key {
                b"stream" => once(&mut self.stream, value, "record.stream"),
                b"namespace" => once(&mut self.namespace, value, "record.namespace"),
                b"data" => once(&mut self.data, text, "record.data"),
                b"emitted_at" => once(&mut self.emitted_at, value, "record.emitted_at"),
                b"meta" => once(&mut self.meta, text, "record.meta"),
                _ => Ok(()),
            }
        })
    }

    fn stream_name(&self) -> Option<Cow<'a, str>> {
        match self.stream {
            Some(Value::String(name)) => Some(unescape(name)),
            _ => None,
        }
    }

    fn judge(self) -> Result<Record<'a>> {
        let lacks =
            |member: &str| fault(format!("lacks `record.{member}`, or has something of another type there"));
        let stream = self.stream_name().ok_or_else(|| lacks("stream"))?;
        let namespace = match self.namespace {
            None => None,
            Some(Value::String(namespace)) => Some(unescape(namespace)),
            Some(_) => return Err(lacks("namespace")),
        };
        let emitted_at = self.emitted_at.ok_or_else(|| lacks("emitted_at"))?;
        let emitted_at = milliseconds(emitted_at).ok_or_else(|| {
            fault("has a `record.emitted_at` that is no moment")
                .hint("it must be the time of reading in milliseconds since 1970")
        })?;
        let changes = self.meta.map_or(Ok(Cow::Borrowed("")), changes)?;
        Ok(Record { stream, namespace, data: self.data.ok_or_else(|| lacks("data"))?, emitted_at, changes })
    }
}

/// The members of the list of changes in a record's `meta`.
fn changes(meta: &[u8]) -> Result<Cow<'_, str>> {
    let mut list = None;
    if meta.first() == Some(&b'{') {
        let read = members(&mut Scanner::new(meta), |scanner, key| {
            if let Some((_, text)) = value(scanner)?
                && key == b"changes"
            {
                list = Some(text);
            }
            Ok(())
        });
        read.map_err(|_| fault("has a `record.meta` that cannot be read"))?;
    }
    let members = list.and_then(|list| list.strip_prefix(b"[")?.strip_suffix(b"]"));
    if members.unwrap_or_default().trim_ascii().is_empty() {
        return Ok(Cow::Borrowed(""));
    }
    // It becomes part of a JSON value of ours.
    let list = String::from_utf8_lossy(&mended(list.unwrap_or_default())).into_owned();
    Ok(Cow::Owned(list[1..list.len() - 1].to_owned()))
}

/// Milliseconds since 1970 of a moment in seconds, milliseconds, microseconds or
/// nanoseconds, whichever brings it near our days, or of one that is text.
fn milliseconds(moment: Value<'_>) -> Option<i64> {
    let number = match moment {
        Value::Number(number) => number,
        Value::String(content) => {
            if let Some(moment) = Moment::parse(content) {
                return Some(moment.seconds * 1000 + i64::from(moment.nanos / 1_000_000));
            }
            content
        }
        _ => return None,
    };
    let text = std::str::from_utf8(number).ok()?;
    let milliseconds = match text.parse::<i64>() {
        Ok(whole) => match whole.unsigned_abs() {
            0..SECONDS_END => whole * 1000,
            SECONDS_END..MILLISECONDS_END => whole,
            MILLISECONDS_END..MICROSECONDS_END => whole.div_euclid(1000),
            MICROSECONDS_END.. => whole.div_euclid(1_000_000),
        },
        Err(_) => {
            let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
            let scale = match number.abs() {
                size if size < SECONDS_END as f64 => 1e3,
                size if size < MILLISECONDS_END as f64 => 1.0,
                size if size < MICROSECONDS_END as f64 => 1e-3,
                size if size <= i64::MAX as f64 => 1e-6,
                _ => return None,
            };
            (number * scale).floor() as i64
        }
    };
    Timestamp::from_millisecond(milliseconds).is_ok().then_some(milliseconds)
}

#[cfg(test)]
mod tests;
