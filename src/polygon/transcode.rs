//! The API's rows to canonical rows, in one pass over the page's bytes.
//!
//! The hot path of the program: no number is parsed, no key is hashed. Rows of a
//! page have their keys in the same order, so each key is first compared with the
//! one that stood there in the row before.

use super::json::{Malformed, Scanner, Value, push_compact, unescape};
use super::value::{MomentWriter, integer, is_date, is_number, push_decimal};
use crate::batch::Rows;
use crate::catalog::{EXTRA_COLUMN, Kind, StreamSpec, Table, TimeUnit};

/// Turns rows of one slice of a stream into canonical rows.
#[derive(Debug)]
pub(super) struct Transcoder {
    fields: Vec<FieldPlan>,
    /// `"ticker":"AAPL",`: what the request knows.
    constants: Vec<u8>,
    /// The field whose key stood at this place in the row before.
    order: Vec<usize>,
    moments: MomentWriter,
    /// Unknown fields and misfits of the row under way, each followed by a comma.
    extra: Vec<u8>,
}

#[derive(Debug)]
struct FieldPlan {
    source: &'static [u8],
    kind: Kind,
    /// `"open":`
    label: Vec<u8>,
    /// `"sip_timestamp_ns":`, for nanoseconds.
    nanos_label: Vec<u8>,
    column: usize,
}

/// The place of a field that the catalogue does not know.
const UNKNOWN: usize = usize::MAX;

impl Transcoder {
    /// `constants` are columns and their values, strings both.
    pub(super) fn new(spec: &'static StreamSpec, table: &Table, constants: &[(&str, &str)]) -> Self {
        let label = |name: &str| format!("{}:", serde_json::Value::from(name)).into_bytes();
        let fields = spec
            .fields
            .iter()
            .map(|field| FieldPlan {
                source: field.source.as_bytes(),
                kind: field.kind,
                label: label(field.name),
                nanos_label: label(&format!("{}_ns", field.name)),
                column: table.position(field.name).expect("every field has a column"),
            })
            .collect();
        let constants = constants.iter().fold(Vec::new(), |mut text, (name, value)| {
            text.extend(label(name));
            text.extend(serde_json::Value::from(*value).to_string().into_bytes());
            text.push(b',');
            text
        });
        Self { fields, constants, order: Vec::new(), moments: MomentWriter::default(), extra: Vec::new() }
    }

    /// Reads one row, an object, and appends it.
    ///
    /// # Errors
    /// When the text is not a JSON object, or names a field twice. The row is not appended then.
    pub(super) fn row(&mut self, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Malformed> {
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
        let mut seen = 0_u64;
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
                    self.keep_extra(key, scanner.slice(start));
                } else {
                    let bit = 1 << field;
                    if seen & bit != 0 {
                        return Err(Malformed { expected: "each field of a row once", offset: start });
                    }
                    seen |= bit;
                    if !self.value(field, value, rows.buffer()) {
                        self.keep_extra(key, scanner.slice(start));
                        rows.note_change(self.fields[field].column);
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
        let found = self.fields.iter().position(|field| field.source == key).or_else(|| {
            // A key may be written with escapes.
            let text = key.contains(&b'\\').then(|| unescape(key))?;
            self.fields.iter().position(|field| field.source == text.as_bytes())
        });
        let field = found.unwrap_or(UNKNOWN);
        if place < self.order.len() {
            self.order[place] = field;
        } else if place == self.order.len() && place < 64 {
            self.order.push(field);
        }
        field
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
            Kind::Decimal => push_number(out, value),
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
    number(value).is_some_and(|number| push_decimal(out, number))
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
            r#"{"ticker":"BRK.B","additional_properties":{"o":"abc","n":1.5,"c":1e300,"new":{"a":[1,null]},"t":"soon"}}"#
        );
        assert_eq!(rows.changes().len(), 4);
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
