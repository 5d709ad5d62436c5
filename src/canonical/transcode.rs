//! Objects to canonical rows, in one pass over their bytes.
//!
//! The hot path of the program: no number is parsed, hardly a key is hashed. Rows of a
//! page have their keys in the same order, so each key is first compared with the
//! one that stood there in the row before.

use std::collections::HashMap;

use super::json::{Malformed, Scanner, Value, push_compact, unescape};
use super::value::{MomentWriter, integer, is_date, is_number, push_decimal};
use crate::batch::{Cause, Rows};
use crate::catalog::{EXTRA_COLUMN, Field, Kind, StreamSpec, Table, TimeUnit};

/// Turns objects into the canonical rows of one table.
#[derive(Debug)]
pub(crate) struct Transcoder {
    fields: Vec<FieldPlan>,
    /// Where in `fields` a key is, for those that stand at another place than before.
    by_source: HashMap<Vec<u8>, usize>,
    /// `"ticker":"AAPL",`: what the request knows.
    constants: Vec<u8>,
    /// Keys that are left out.
    ignored: &'static [&'static str],
    /// Who is to blame for a value that does not fit.
    cause: Cause,
    /// The field whose key stood at this place in the row before.
    order: Vec<usize>,
    moments: MomentWriter,
    /// Unknown fields and misfits of the row under way, each followed by a comma.
    extra: Vec<u8>,
    /// In which row each field was seen last, counted by `row_number`.
    seen: Vec<u64>,
    row_number: u64,
    key_misfit: Option<usize>,
}

/// A field of the objects and the column that it goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldForm<'a> {
    /// The key in the object.
    pub source: &'a str,
    /// The column's name.
    pub name: &'a str,
    /// The form of its values.
    pub kind: Kind,
}

#[derive(Debug)]
struct FieldPlan {
    /// The key as JSON writes it, without its quotes.
    source: Vec<u8>,
    kind: Kind,
    /// `"open":`
    label: Vec<u8>,
    /// `"sip_timestamp_ns":`, for nanoseconds.
    nanos_label: Vec<u8>,
    column: usize,
    is_key: bool,
}

/// The place of a key that is no field.
const UNKNOWN: usize = usize::MAX;

/// Keys whose place in the row is remembered.
const ORDER_MAX: usize = 4096;

fn quoted(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

fn label(name: &str) -> Vec<u8> {
    [quoted(name).as_slice(), b":"].concat()
}

impl Transcoder {
    /// For rows of the API. `constants` are columns and their values, strings both.
    pub(crate) fn new(spec: &'static StreamSpec, table: &Table, constants: &[(&str, &str)]) -> Self {
        let form =
            |field: &'static Field| FieldForm { source: field.source, name: field.name, kind: field.kind };
        let mut transcoder = Self::of(spec.fields.iter().map(form), table, Cause::Source);
        for (name, value) in constants {
            transcoder.constants.extend(label(name));
            transcoder.constants.extend(quoted(value));
            transcoder.constants.push(b',');
        }
        transcoder
    }

    /// For objects with these fields. `cause` is to blame for a value that does not
    /// fit its column.
    pub(crate) fn of<'a>(fields: impl Iterator<Item = FieldForm<'a>>, table: &Table, cause: Cause) -> Self {
        let plan = |field: FieldForm<'_>| {
            let source = quoted(field.source);
            let nanos = format!("{}_ns", field.name);
            FieldPlan {
                source: source[1..source.len() - 1].to_vec(),
                kind: field.kind,
                label: label(field.name),
                nanos_label: label(&nanos),
                is_key: table.key.iter().any(|key| *key == field.name || *key == nanos),
                column: table.position(field.name).expect("every field has a column"),
            }
        };
        let fields: Vec<FieldPlan> = fields.map(plan).collect();
        let sources = fields.iter().enumerate();
        Self {
            by_source: sources.map(|(index, field)| (field.source.clone(), index)).collect(),
            seen: vec![0; fields.len()],
            fields,
            constants: Vec::new(),
            ignored: &[],
            cause,
            order: Vec::new(),
            moments: MomentWriter::default(),
            extra: Vec::new(),
            row_number: 0,
            key_misfit: None,
        }
    }

    /// Leaves out these keys.
    pub(crate) fn ignoring(mut self, keys: &'static [&'static str]) -> Self {
        self.ignored = keys;
        self
    }

    /// The column of the primary key that the value in the last row did not fit, if
    /// there was one: NULL in its place would merge rows that are not the same.
    pub(crate) fn key_misfit(&self) -> Option<usize> {
        self.key_misfit
    }

    /// Reads one row, an object, and appends it.
    ///
    /// # Errors
    /// When the text is not a JSON object, or names a field twice. The row is not appended then.
    pub(crate) fn row(&mut self, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Malformed> {
        let outcome = self.object(scanner, rows);
        if outcome.is_err() {
            rows.abandon_row();
        }
        outcome
    }

    fn object(&mut self, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Malformed> {
        scanner.expect(b'{', "a row, as an object")?;
        self.extra.clear();
        let out = rows.buffer();
        out.push(b'{');
        out.extend_from_slice(&self.constants);
        self.row_number += 1;
        self.key_misfit = None;
        let mut place = 0;
        if !scanner.take(b'}') {
            loop {
                let key = scanner.string()?;
                scanner.expect(b':', "`:`")?;
                let field = self.field(key, place);
                place += 1;
                let start = {
                    scanner.peek();
                    scanner.offset()
                };
                let value = scanner.value()?;
                if field == UNKNOWN {
                    self.keep_unknown(key, value, scanner.slice(start));
                } else {
                    if std::mem::replace(&mut self.seen[field], self.row_number) == self.row_number {
                        return Err(Malformed { expected: "each field of a row once", offset: start });
                    }
                    if !self.value(field, value, rows.buffer()) {
                        self.keep_extra(key, scanner.slice(start));
                        let FieldPlan { column, is_key, .. } = self.fields[field];
                        rows.note_change(column, self.cause);
                        self.key_misfit = self.key_misfit.or(is_key.then_some(column));
                    }
                }
                if !scanner.take(b',') {
                    scanner.expect(b'}', "`,` or `}`")?;
                    break;
                }
            }
        }
        self.close(rows);
        Ok(())
    }

    fn close(&mut self, rows: &mut Rows) {
        let out = rows.buffer();
        if !self.extra.is_empty() {
            self.extra.pop();
            out.extend_from_slice(format!("\"{EXTRA_COLUMN}\":{{").as_bytes());
            out.extend_from_slice(&self.extra);
            out.extend_from_slice(b"},");
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.push(b'}');
        rows.end_row();
    }

    /// The field of a key that stands at `place` in its row.
    #[inline]
    fn field(&mut self, key: &[u8], place: usize) -> usize {
        if let Some(&field) = self.order.get(place)
            && field != UNKNOWN
            && self.fields[field].source == key
        {
            return field;
        }
        let found = self.by_source.get(key).or_else(|| {
            // A key may be written with escapes.
            let text = key.contains(&b'\\').then(|| unescape(key))?;
            let plain = quoted(&text);
            self.by_source.get(&plain[1..plain.len() - 1])
        });
        let field = found.copied().unwrap_or(UNKNOWN);
        if place < self.order.len() {
            self.order[place] = field;
        } else if place == self.order.len() && place < ORDER_MAX {
            self.order.push(field);
        }
        field
    }

    /// Keeps a field that has no column. A source that keeps such fields as we do
    /// has them in an object of the same name: its members join ours.
    fn keep_unknown(&mut self, key: &[u8], value: Value<'_>, text: &[u8]) {
        if self.ignored.iter().any(|ignored| ignored.as_bytes() == key) {
            return;
        }
        if key != EXTRA_COLUMN.as_bytes() {
            return self.keep_extra(key, text);
        }
        match value {
            Value::Null => {}
            Value::Nested(object) if object.starts_with(b"{") => {
                let start = self.extra.len();
                push_compact(&mut self.extra, object);
                self.extra.pop();
                self.extra.remove(start);
                if self.extra.len() > start {
                    self.extra.push(b',');
                }
            }
            _ => self.keep_extra(key, text),
        }
    }

    fn keep_extra(&mut self, key: &[u8], value: &[u8]) {
        self.extra.push(b'"');
        self.extra.extend_from_slice(key);
        self.extra.extend_from_slice(b"\":");
        push_compact(&mut self.extra, value);
        self.extra.push(b',');
    }

    /// Appends a known field with its label and a comma. False, and nothing
    /// appended, when the value does not fit the field's type.
    #[inline]
    fn value(&mut self, field: usize, value: Value<'_>, out: &mut Vec<u8>) -> bool {
        if value == Value::Null {
            return true;
        }
        let field = &self.fields[field];
        let start = out.len();
        out.extend_from_slice(&field.label);
        let fits = match field.kind {
            Kind::Decimal(_) => push_number(out, value),
            Kind::Time(unit) => push_moment(out, value, unit, &mut self.moments, &field.nanos_label),
            Kind::Integer => push_integer(out, value),
            Kind::Text => push_text(out, value),
            Kind::Boolean => push_boolean(out, value),
            Kind::Date => push_date(out, value),
            Kind::Json => push_json(out, value),
        };
        if fits {
            out.push(b',');
        } else {
            out.truncate(start);
        }
        fits
    }
}

/// The digits of a number, also when it was sent as a string.
fn number(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Number(number) => Some(number),
        Value::String(content) if is_number(content) => Some(content),
        _ => None,
    }
}

#[inline]
fn push_number(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    number(value).map(|number| push_decimal(out, number)).is_some()
}

fn push_integer(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    let Some(number) = number(value) else {
        return false;
    };
    // Up to 18 digits always fit, and are copied as they are.
    if number.len() <= 18 && number.iter().all(u8::is_ascii_digit) {
        out.extend_from_slice(number);
        return true;
    }
    integer(number).is_some_and(|value| {
        out.extend_from_slice(value.to_string().as_bytes());
        true
    })
}

fn push_moment(
    out: &mut Vec<u8>,
    value: Value<'_>,
    unit: TimeUnit,
    moments: &mut MomentWriter,
    nanos_label: &[u8],
) -> bool {
    let (units_a_second, nanos_a_unit) = match unit {
        TimeUnit::Rfc3339 => {
            return matches!(value, Value::String(content) if moments.push_rfc3339(out, content));
        }
        TimeUnit::Iso8601 => {
            return matches!(value, Value::String(content) if moments.push_iso8601(out, content));
        }
        TimeUnit::Millis => (1_000, 1_000_000),
        TimeUnit::Nanos => (1_000_000_000, 1),
    };
    let Some(moment) = number(value).and_then(integer) else {
        return false;
    };
    let nanos = moment.rem_euclid(units_a_second) * nanos_a_unit;
    if !moments.push(out, moment.div_euclid(units_a_second), nanos as u32) {
        return false;
    }
    if unit == TimeUnit::Nanos {
        out.push(b',');
        out.extend_from_slice(nanos_label);
        out.extend_from_slice(moment.to_string().as_bytes());
    }
    true
}

fn push_quoted(out: &mut Vec<u8>, content: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(content);
    out.push(b'"');
}

fn push_text(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::String(content) | Value::Number(content) => push_quoted(out, content),
        Value::Boolean(value) => push_quoted(out, value.to_string().as_bytes()),
        Value::Null | Value::Nested(_) => return false,
    }
    true
}

fn push_boolean(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        _ => return false,
    }
    true
}

fn push_date(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::String(content) if is_date(content) => push_quoted(out, content),
        _ => return false,
    }
    true
}

fn push_json(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::Nested(text) => push_compact(out, text),
        Value::String(content) => push_quoted(out, content),
        Value::Number(number) => out.extend_from_slice(number),
        Value::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Null => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::streams;

    fn transcode(stream: &str, text: &str) -> (String, Rows) {
        let streams = streams(&["1minute".parse().unwrap()]);
        let stream = streams.iter().find(|candidate| candidate.name == stream).unwrap();
        let constants: &[(&str, &str)] =
            if stream.spec.derived.is_empty() { &[] } else { &[("ticker", "BRK.B")] };
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, constants);
        let mut rows = Rows::default();
        transcoder.row(&mut Scanner::new(text.as_bytes()), &mut rows).unwrap();
        let row = String::from_utf8(rows.iter().next().unwrap().to_vec()).unwrap();
        (row, rows)
    }

    #[test]
    fn a_bar_is_renamed_and_its_numbers_keep_their_text() {
        let (row, rows) = transcode(
            "stock_bars_1_minute",
            r#"{"v": 1748755.0, "vw":74.6099,"o":74.06,"c":75.0875,"h":75.15,"l":73.7975,"t":1577941200000,"n":1}"#,
        );
        assert_eq!(
            row,
            r#"{"ticker":"BRK.B","volume":1748755.0,"vwap":74.6099,"open":74.06,"close":75.0875,"high":75.15,"low":73.7975,"timestamp":"2020-01-02T05:00:00Z","transactions":1}"#
        );
        assert!(rows.changes().is_empty());
    }

    #[test]
    fn nanoseconds_stand_beside_their_moment() {
        let (row, _) = transcode(
            "stock_trades",
            r#"{"sip_timestamp":1651181822461979401,"conditions":[ 12 , 37 ],"decimal_size":"10.25"}"#,
        );
        assert_eq!(
            row,
            r#"{"ticker":"BRK.B","sip_timestamp":"2022-04-28T21:37:02.461979401Z","sip_timestamp_ns":1651181822461979401,"conditions":[12,37],"decimal_size":10.25}"#
        );
    }

    #[test]
    fn unknown_fields_and_misfits_are_kept() {
        let (row, rows) = transcode(
            "stock_bars_1_minute",
            r#"{"o":"abc","n":1.5,"c":1e300,"new":{"a": [1, null]},"h":null,"t":"soon"}"#,
        );
        assert_eq!(
            row,
            r#"{"ticker":"BRK.B","close":1e300,"additional_properties":{"o":"abc","n":1.5,"new":{"a":[1,null]},"t":"soon"}}"#
        );
        assert_eq!(rows.changes().len(), 3);
    }

    #[test]
    fn a_misfit_in_the_key_is_told() {
        let streams = streams(&[]);
        let stream = streams.iter().find(|stream| stream.name == "stock_trades").unwrap();
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[("ticker", "A")]);
        let mut rows = Rows::default();
        for (row, column) in [
            (r#"{"price":"x","sip_timestamp":1}"#, None),
            (r#"{"sip_timestamp":1.5}"#, Some("sip_timestamp")),
            (r#"{"sequence_number":"soon"}"#, Some("sequence_number")),
            (r#"{"sip_timestamp":null}"#, None),
        ] {
            transcoder.row(&mut Scanner::new(row.as_bytes()), &mut rows).unwrap();
            let told = transcoder.key_misfit().map(|column| stream.table.columns[column].name.as_str());
            assert_eq!(told, column, "{row}");
        }
    }

    #[test]
    fn an_empty_row_and_a_row_cut_short() {
        assert_eq!(transcode("exchanges", "{}").0, "{}");
        let streams = streams(&[]);
        let stream = streams.iter().find(|stream| stream.name == "exchanges").unwrap();
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[]);
        let mut rows = Rows::default();
        for bad in [r#"{"id":1"#, r#"{"id":1,}"#, r#"{"id":1,"id":2}"#, "[]", "{\"name\":\"a\nb\"}"] {
            assert!(transcoder.row(&mut Scanner::new(bad.as_bytes()), &mut rows).is_err(), "{bad}");
            assert!(rows.is_empty() && rows.bytes() == 0 && rows.changes().is_empty());
        }
    }
}
