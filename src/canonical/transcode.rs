//! Objects to canonical rows, in one pass over their bytes.
//!
//! The hot path of the program: no number is parsed, hardly a key is hashed. Rows of a
//! page have their keys in the same order, so each key is first compared with the
//! one that stood there in the row before.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::json::{Malformed, Scanner, Value, unescape};
use super::mend::{self, Nesting};
use super::moment::{Moment, MomentWriter, date_text, parse_date};
use super::value::{integer, is_number, push_decimal};
use crate::batch::{Cause, Lack, Rows};
use crate::catalog::{EXTRA_COLUMN, Field, Kind, Need, StreamSpec, Table, TimeUnit, Width};
use crate::secret::{self, Finder};

/// Turns objects into the canonical rows of one table.
#[derive(Debug)]
pub(crate) struct Transcoder {
    fields: Vec<FieldPlan>,
    /// Where in `fields` a key is, for those that stand at another place than before.
    by_source: HashMap<Vec<u8>, usize>,
    /// `"ticker":"AAPL",`: what the request knows.
    constants: Vec<u8>,
    /// Keys that are left out.
    ignored: Vec<&'static str>,
    /// Who is to blame for a value that does not fit.
    cause: Cause,
    /// What no row may hold.
    secrets: Finder,
    /// The field whose key stood at this place in the row before.
    order: Vec<usize>,
    moments: MomentWriter,
    nesting: Nesting,
    /// Where fields are kept that have no column.
    extra_column: Option<usize>,
    /// Unknown fields and misfits of the row under way as they came, each followed by
    /// a comma.
    extra: Vec<u8>,
    /// Whether one of them is not what it was.
    is_extra_changed: bool,
    /// In which row each field was seen last, counted by `row_number`.
    seen: Vec<u64>,
    row_number: u64,
    /// Places in the row under way whose key comes again later.
    superseded: Vec<usize>,
    has_superseded: bool,
    /// The column of the primary key that a value in the row under way did not fit.
    key_misfit: Option<(usize, Lack)>,
    /// Fields where NULL would merge rows that are not the same.
    needed: Vec<usize>,
    /// In which row each field of the key, and the one that is watched, was filled last, as `seen`.
    filled: Vec<u64>,
    /// The field of which rows are told apart by whether they have a value.
    watched: usize,
    /// For members that had to be written anew.
    scratch: Vec<u8>,
    /// The field that says which day a row is of.
    day_field: usize,
    /// What it says of the row under way, in seconds since the UNIX epoch.
    day: Option<i64>,
    days: Option<RangeInclusive<i64>>,
}

/// Whether a value fits its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Whole,
    /// It is there, but not as it was sent.
    Mended,
    Not,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Appended,
    /// It has a field twice, and is as if it had not been begun.
    Repeats,
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
    /// Whether it is noted of a row that it has a value here: of keys, and where it is watched.
    is_noted: bool,
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
        let null_in_key: Vec<usize> =
            spec.null_in_key.iter().filter_map(|column| table.position(column)).collect();
        let mut transcoder =
            Self::of(spec.fields.iter().map(form), table, Cause::Source).null_in_key(&null_in_key);
        transcoder.day_field = spec.day_field().unwrap_or(UNKNOWN);
        // The server was told the key, and may say it again.
        transcoder.secrets = Finder::new();
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
            let is_key = table.key.iter().any(|key| *key == field.name || *key == nanos);
            FieldPlan {
                source: source[1..source.len() - 1].to_vec(),
                kind: field.kind,
                label: label(field.name),
                nanos_label: label(&nanos),
                is_key,
                is_noted: is_key,
                column: table.position(field.name).expect("every field has a column"),
            }
        };
        let fields: Vec<FieldPlan> = fields.map(plan).collect();
        let needed = (0..fields.len()).filter(|field| fields[*field].is_key).collect();
        let sources = fields.iter().enumerate();
        Self {
            by_source: sources.map(|(index, field)| (field.source.clone(), index)).collect(),
            seen: vec![0; fields.len()],
            filled: vec![0; fields.len()],
            watched: UNKNOWN,
            fields,
            constants: Vec::new(),
            ignored: Vec::new(),
            cause,
            secrets: Finder::default(),
            order: Vec::new(),
            moments: MomentWriter::default(),
            nesting: Nesting::default(),
            extra_column: table.position(EXTRA_COLUMN),
            extra: Vec::new(),
            is_extra_changed: false,
            row_number: 0,
            superseded: Vec::new(),
            has_superseded: false,
            key_misfit: None,
            needed,
            scratch: Vec::new(),
            day_field: UNKNOWN,
            day: None,
            days: None,
        }
    }

    /// From when until when the rows were since this was asked last, in seconds since
    /// the UNIX epoch, by [`StreamSpec::day_field`]; a date is its midnight in UTC.
    pub(crate) fn take_days(&mut self) -> Option<RangeInclusive<i64>> {
        self.days.take()
    }

    /// Leaves out these keys.
    pub(crate) fn ignoring(mut self, keys: Vec<&'static str>) -> Self {
        self.ignored = keys;
        self
    }

    /// Takes NULL for a value in these columns of the primary key.
    pub(crate) fn null_in_key(mut self, columns: &[usize]) -> Self {
        self.needed.retain(|field| !columns.contains(&self.fields[*field].column));
        self
    }

    /// Looks whether rows have a value in this column.
    pub(crate) fn watching(mut self, column: usize) -> Self {
        self.watched = self.fields.iter().position(|field| field.column == column).unwrap_or(UNKNOWN);
        if let Some(field) = self.fields.get_mut(self.watched) {
            field.is_noted = true;
        }
        self
    }

    /// Whether the last row had a value in the column that is watched, fitting or not.
    pub(crate) fn has_watched(&self) -> bool {
        self.filled.get(self.watched) == Some(&self.row_number)
    }

    /// What the row under way lacks of its primary key: NULL there would merge rows that
    /// are not the same.
    fn key_lack(&self) -> Option<(usize, Lack)> {
        let is_absent = |field: &&usize| self.filled[**field] != self.row_number;
        let absent = || {
            let field = self.needed.iter().find(is_absent)?;
            Some((self.fields[*field].column, Lack::Absent))
        };
        self.key_misfit.or_else(absent)
    }

    /// Reads one row, an object, and appends it. Of a field that it has twice the last
    /// value counts, and the change is noted. So is a primary key that is none; a field that
    /// fills no column of it is as good as there.
    ///
    /// # Errors
    /// When the text is not a JSON object. The row is not appended then.
    pub(crate) fn row(&mut self, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Malformed> {
        let mut start = scanner.clone();
        let mut outcome = self.object(scanner, rows);
        if outcome == Ok(Outcome::Repeats) {
            outcome = self.find_superseded(start.clone(), rows).and_then(|()| {
                std::mem::swap(scanner, &mut start);
                self.object(scanner, rows)
            });
            self.superseded.clear();
            self.has_superseded = false;
        }
        if outcome.is_err() {
            rows.abandon_row();
        }
        outcome.map(drop)
    }

    fn object(&mut self, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<Outcome, Malformed> {
        scanner.expect(b'{', "a row, as an object")?;
        // What was odd before the row is nothing of its own.
        scanner.take_odd();
        self.extra.clear();
        self.is_extra_changed = false;
        let out = rows.buffer();
        let begin = out.len();
        out.push(b'{');
        out.extend_from_slice(&self.constants);
        self.row_number += 1;
        self.key_misfit = None;
        self.day = None;
        let mut place = 0;
        if !scanner.take(b'}') {
            loop {
                let key = scanner.string()?;
                scanner.expect(b':', "`:`")?;
                let field = self.field(key, place);
                let value = scanner.value()?;
                let is_odd = scanner.take_odd() || self.holds_secret(field, key, value);
                if self.has_superseded && self.superseded.binary_search(&place).is_ok() {
                    // Noted when it was found.
                } else if field == UNKNOWN {
                    self.unknown_member(key, value, scanner.last_value(), is_odd);
                } else if std::mem::replace(&mut self.seen[field], self.row_number) == self.row_number {
                    rows.restart_row(begin);
                    return Ok(Outcome::Repeats);
                } else if is_odd {
                    self.odd_member(field, key, scanner.last_value(), rows);
                } else {
                    let fit = self.value(field, value, rows.buffer());
                    self.note_day(field, fit, value);
                    if fit == Fit::Whole && self.fields[field].is_noted && value != Value::Null {
                        self.filled[field] = self.row_number;
                    }
                    if fit != Fit::Whole {
                        self.changed(field, fit, key, scanner.last_value(), rows);
                    }
                }
                place += 1;
                if !scanner.take(b',') {
                    scanner.expect(b'}', "`,` or `}`")?;
                    break;
                }
            }
        }
        self.close(rows);
        Ok(Outcome::Appended)
    }

    /// Notes what became of a field's value, and keeps one that did not fit. In a key even
    /// a mended one is a misfit: two that were not the same may be now.
    #[cold]
    fn changed(&mut self, field: usize, fit: Fit, key: &[u8], text: &[u8], rows: &mut Rows) {
        let FieldPlan { column, is_key, kind, .. } = self.fields[field];
        rows.note_change(column, if fit == Fit::Mended { Cause::Mended } else { self.cause });
        let is_number = || Scanner::new(text).value().is_ok_and(|value| number(value).is_some());
        let lack = match (fit, kind) {
            (Fit::Mended, _) => Lack::Mended,
            (_, Kind::Decimal(_)) if is_number() => Lack::Digits,
            _ => Lack::Misfit,
        };
        self.key_misfit = self.key_misfit.or(is_key.then_some((column, lack)));
        if field == self.watched {
            self.filled[field] = self.row_number;
        }
        if fit == Fit::Not {
            self.keep_extra(key, text);
        }
    }

    /// Whether a member holds what no row may: the member is odd then.
    #[inline(always)]
    fn holds_secret(&self, field: usize, key: &[u8], value: Value<'_>) -> bool {
        let is_in_value = match value {
            Value::String(text) | Value::Nested(text) => self.secrets.finds(text),
            // The digits of a secret may be those of any number.
            Value::Number(_) | Value::Boolean(_) | Value::Null => false,
        };
        is_in_value || (field == UNKNOWN && self.secrets.finds(key))
    }

    /// Blots out the secrets in what a member was mended to, from `start` on. Returns
    /// whether there was one.
    fn hide_secrets(&self, mended: &mut Vec<u8>, start: usize) -> bool {
        if !self.secrets.finds(&mended[start..]) {
            return false;
        }
        let text = String::from_utf8_lossy(&mended[start..]);
        let hidden = secret::redact_json(&text).into_owned();
        mended.truncate(start);
        mended.extend_from_slice(hidden.as_bytes());
        true
    }

    /// A field's value that not every reader of JSON takes, or that holds a secret.
    #[cold]
    fn odd_member(&mut self, field: usize, key: &[u8], text: &[u8], rows: &mut Rows) {
        let mut mended = std::mem::take(&mut self.scratch);
        mended.clear();
        let mut is_changed = mend::push_value(&mut mended, text, &mut self.nesting);
        is_changed |= self.hide_secrets(&mut mended, 0);
        let value = Scanner::new(&mended).value().unwrap_or(Value::Null);
        let fit = match self.value(field, value, rows.buffer()) {
            // A number beyond a double is text elsewhere; where numbers are meant it is itself.
            Fit::Whole if is_changed && !matches!(self.fields[field].kind, Kind::Decimal(_)) => Fit::Mended,
            fit => fit,
        };
        self.note_day(field, fit, value);
        if fit != Fit::Whole {
            self.changed(field, fit, key, &mended, rows);
        } else if value != Value::Null {
            self.filled[field] = self.row_number;
        }
        self.scratch = mended;
    }

    /// A member that is no field.
    fn unknown_member(&mut self, key: &[u8], value: Value<'_>, text: &[u8], is_odd: bool) {
        if !is_odd {
            return self.keep_unknown(key, value, text);
        }
        let mut mended = std::mem::take(&mut self.scratch);
        mended.clear();
        let mut is_changed = mend::push_content(&mut mended, key);
        is_changed |= self.hide_secrets(&mut mended, 0);
        let end = mended.len();
        is_changed |= mend::push_value(&mut mended, text, &mut self.nesting);
        is_changed |= self.hide_secrets(&mut mended, end);
        let (key, text) = mended.split_at(end);
        self.keep_unknown(key, Scanner::new(text).value().unwrap_or(Value::Null), text);
        self.is_extra_changed |= is_changed;
        self.scratch = mended;
    }

    /// Finds the members whose key comes again later in the row.
    #[cold]
    fn find_superseded(&mut self, mut scanner: Scanner<'_>, rows: &mut Rows) -> Result<(), Malformed> {
        let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
        scanner.expect(b'{', "a row, as an object")?;
        for place in 0.. {
            let key = scanner.string()?;
            scanner.expect(b':', "`:`")?;
            scanner.value()?;
            if let Some(earlier) = last.insert(unescape(key).into_owned().into_bytes(), place) {
                self.superseded.push(earlier);
                match self.field(key, place) {
                    UNKNOWN => self.note_extra(rows),
                    field => rows.note_change(self.fields[field].column, Cause::Mended),
                }
            }
            if !scanner.take(b',') {
                break;
            }
        }
        self.superseded.sort_unstable();
        self.has_superseded = true;
        Ok(())
    }

    /// Notes of which day the row is, where the field says that.
    #[inline(always)]
    fn note_day(&mut self, field: usize, fit: Fit, value: Value<'_>) {
        if field == self.day_field && fit != Fit::Not {
            self.day = self.day_of(value);
        }
    }

    #[inline]
    fn day_of(&self, value: Value<'_>) -> Option<i64> {
        match (self.fields[self.day_field].kind, value) {
            (_, Value::Null) => None,
            (Kind::Date, Value::String(day)) => midnight(day),
            _ => Some(self.moments.last),
        }
    }

    fn note_extra(&self, rows: &mut Rows) {
        if let Some(column) = self.extra_column {
            rows.note_change(column, Cause::Mended);
        }
    }

    fn close(&mut self, rows: &mut Rows) {
        if let Some(second) = self.day {
            self.days = Some(match self.days.take() {
                Some(days) => second.min(*days.start())..=second.max(*days.end()),
                None => second..=second,
            });
        }
        if !self.extra.is_empty() {
            self.close_extra(rows);
        }
        let out = rows.buffer();
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.push(b'}');
        if let Some((column, lack)) = self.key_lack() {
            rows.note_keyless(column, lack);
        }
        rows.end_row();
    }

    /// Appends what has no column. A key that is there twice, because the source has a
    /// field of that name and keeps others as we do, is there once now.
    fn close_extra(&mut self, rows: &mut Rows) {
        self.extra.pop();
        self.extra.push(b'}');
        let out = rows.buffer();
        out.extend_from_slice(format!("\"{EXTRA_COLUMN}\":").as_bytes());
        let told = self.nesting.push(out, &self.extra);
        out.push(b',');
        if told.is_changed || self.is_extra_changed {
            self.note_extra(rows);
        }
    }

    /// The field of a key that stands at `place` in its row.
    #[inline(always)]
    fn field(&mut self, key: &[u8], place: usize) -> usize {
        if let Some(&field) = self.order.get(place)
            && field != UNKNOWN
            && self.fields[field].source == key
        {
            return field;
        }
        self.look_up(key, place)
    }

    fn look_up(&mut self, key: &[u8], place: usize) -> usize {
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
        match value {
            Value::Null if key == EXTRA_COLUMN.as_bytes() => {}
            Value::Nested([b'{', members @ .., b'}']) if key == EXTRA_COLUMN.as_bytes() => {
                if !members.trim_ascii().is_empty() {
                    self.begin_extra();
                    self.extra.extend_from_slice(members);
                    self.extra.push(b',');
                }
            }
            _ => self.keep_extra(key, text),
        }
    }

    fn begin_extra(&mut self) {
        if self.extra.is_empty() {
            self.extra.push(b'{');
        }
    }

    fn keep_extra(&mut self, key: &[u8], value: &[u8]) {
        self.begin_extra();
        self.extra.push(b'"');
        self.extra.extend_from_slice(key);
        self.extra.extend_from_slice(b"\":");
        self.extra.extend_from_slice(value);
        self.extra.push(b',');
    }

    /// Appends a known field with its label and a comma; nothing when the value does
    /// not fit the field's type.
    // Called once more for odd members: that must not keep it out of the loop.
    #[inline(always)]
    fn value(&mut self, field: usize, value: Value<'_>, out: &mut Vec<u8>) -> Fit {
        if value == Value::Null {
            return Fit::Whole;
        }
        let field = &self.fields[field];
        let start = out.len();
        out.extend_from_slice(&field.label);
        let text = out.len();
        let fits = match field.kind {
            Kind::Decimal(_) => push_number(out, value) && (!field.is_key || fits_key(&out[text..])),
            Kind::Time(unit) => push_moment(out, value, unit, &mut self.moments, &field.nanos_label),
            Kind::Integer => push_integer(out, value),
            Kind::Text => push_text(out, value),
            Kind::Boolean => push_boolean(out, value),
            Kind::Date => push_date(out, value),
            Kind::Json => {
                if let Value::Nested(text) = value
                    && self.nesting.push(out, text).is_changed
                {
                    out.push(b',');
                    return Fit::Mended;
                }
                push_json(out, value)
            }
        };
        if fits {
            out.push(b',');
            Fit::Whole
        } else {
            out.truncate(start);
            Fit::Not
        }
    }
}

/// The second of a day's midnight in UTC.
fn midnight(day: &[u8]) -> Option<i64> {
    parse_date(day).map(|day| i64::from(day) * 86_400)
}

/// The digits of a number, also when it was sent as a string.
fn number(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Number(number) => Some(number),
        Value::String(content) if is_number(content) => Some(content),
        _ => None,
    }
}

/// Whether a number may be part of a primary key.
fn fits_key(number: &[u8]) -> bool {
    Need::of(number).is_some_and(|need| Width::KEY.holds(need))
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
        TimeUnit::Rfc3339 | TimeUnit::Iso8601 => {
            let Value::String(content) = value else { return false };
            let is_absolute = unit == TimeUnit::Rfc3339;
            let moment = if is_absolute { Moment::parse_absolute(content) } else { Moment::parse(content) };
            return moment.is_some_and(|moment| moments.push(out, moment.seconds, moment.nanos));
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
    let Value::String(content) = value else { return false };
    let Some(text) = parse_date(content).and_then(|day| date_text(i64::from(day))) else {
        return false;
    };
    push_quoted(out, &text);
    true
}

/// Appends any value but an array or object that had to be mended.
fn push_json(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::Nested(_) => {}
        Value::String(content) => push_quoted(out, content),
        Value::Number(number) => out.extend_from_slice(number),
        Value::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Null => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::catalog::streams;
    use crate::secret::Secret;

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
    fn a_secret_that_the_server_repeats_is_in_no_row() {
        const KEY: &str = "sK/every+where9";
        let _known = Secret::new(KEY);
        let base64 = STANDARD.encode(KEY);
        let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        let row = r#"{"id":"of K","price":"a K","size":1.10,"conditions":["K",1.10],"K":1,"x":{"K":[1.10]},"y":"z"}"#;
        for form in [KEY, &KEY.replace('/', "\\/"), &escaped, &KEY.to_uppercase(), &base64] {
            let (found, rows) = transcode("stock_trades", &row.replace('K', form));
            assert_eq!(
                found,
                r#"{"ticker":"BRK.B","id":"of ***","size":1.10,"conditions":["***",1.10],"additional_properties":{"price":"a ***","***":1,"x":{"***":[1.10]},"y":"z"}}"#
            );
            let causes: Vec<Cause> = rows.changes().iter().map(|change| change.cause).collect();
            assert_eq!(causes, [Cause::Mended, Cause::Source, Cause::Mended, Cause::Mended]);
            // Two that differed may be the same now.
            assert_eq!(rows.keyless()[0].lack, Lack::Mended);
        }
        let (_, rows) = transcode("stock_trades", &row.replace('K', "key"));
        assert_eq!(rows.changes().len(), 1, "the price that is none");
    }

    /// What rows of a stream lack of their keys, each read by itself.
    fn lacks(stream: &str, rows: &[&str]) -> Vec<Option<(String, Lack)>> {
        let streams = streams(&["1minute".parse().unwrap()]);
        let stream = streams.iter().find(|candidate| candidate.name == stream).unwrap();
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[]);
        let lack = |row: &&str| {
            let mut read = Rows::default();
            transcoder.row(&mut Scanner::new(row.as_bytes()), &mut read).unwrap();
            let name = |column: usize| stream.table.columns[column].name.clone();
            read.keyless().first().map(|keyless| (name(keyless.column), keyless.lack))
        };
        rows.iter().map(lack).collect()
    }

    #[test]
    fn a_key_that_is_none_is_told() {
        let mended = |column: &str| Some((column.to_owned(), Lack::Mended));
        let misfit = |column: &str| Some((column.to_owned(), Lack::Misfit));
        let absent = |column: &str| Some((column.to_owned(), Lack::Absent));
        let whole = r#"{"price":"x","sip_timestamp":1,"sequence_number":2,"exchange":3,"id":"4"}"#;
        let found = lacks(
            "stock_trades",
            &[
                whole,
                &whole.replace(":1,", ":1.5,"),
                &whole.replace(":2", ":\"soon\""),
                &whole.replace("\"4\"", r#""\ud800""#),
                &whole.replace("\"4\"", r#""\u00e9""#),
                &whole.replace("\"4\"", "NaN"),
                &whole.replace(":1,", ":null,"),
                &whole.replace("\"sequence_number\"", "\"none\""),
                // Not every trade has one: NULL is a value there.
                &whole.replace("\"id\"", "\"none\""),
                whole,
            ],
        );
        let expected = [
            None,
            misfit("sip_timestamp"),
            misfit("sequence_number"),
            mended("id"),
            None,
            mended("id"),
            absent("sip_timestamp"),
            absent("sequence_number"),
            None,
            None,
        ];
        assert_eq!(found, expected);
        // It is NULL there for whatever is not delisted.
        let ticker = r#"{"ticker":"A","market":"stocks","delisted_utc":null,"active":true}"#;
        assert_eq!(lacks("tickers", &[ticker, "{}"])[0], None, "{:?}", lacks("tickers", &[ticker]));
    }

    #[test]
    fn a_number_in_a_key_has_digits_that_a_column_can_be_widened_to() {
        let streams = streams(&[]);
        let stream = streams.iter().find(|stream| stream.name == "stock_trades").unwrap();
        let mut table = (*stream.table).clone();
        table.key = vec!["price".to_owned()];
        let mut transcoder = Transcoder::new(stream.spec, &table, &[]);
        let mut of = |price: &str| {
            let mut rows = Rows::default();
            let row = format!(r#"{{"price":{price},"size":{price}}}"#);
            transcoder.row(&mut Scanner::new(row.as_bytes()), &mut rows).unwrap();
            let is_there = rows.iter().next().unwrap().windows(6).any(|part| part == br#""size""#);
            (rows.keyless().first().map(|keyless| keyless.lack), is_there)
        };
        for price in ["0", "-1.5", "1e19", "\"12345678901234567890.123456789012345678\"", "1e-18"] {
            assert_eq!(of(price), (None, true), "{price}");
        }
        for price in ["1e20", "1e-19", "1e300", "-1e-300", "1111111111222222222233333333334444444444"] {
            assert_eq!(of(price), (Some(Lack::Digits), true), "{price}");
        }
        for (price, lack) in [("true", Lack::Misfit), ("\"x\"", Lack::Misfit), ("null", Lack::Absent)] {
            assert_eq!(of(price).0, Some(lack), "{price}");
        }
    }

    /// The row, and what was noted: columns that are NULL with `-`, mended ones with `~`.
    fn noted(text: &[u8]) -> (String, Vec<String>) {
        let streams = streams(&[]);
        let stream = streams.iter().find(|stream| stream.name == "stock_trades").unwrap();
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[]);
        let mut rows = Rows::default();
        rows.note("{\"field\":\"theirs\"}");
        transcoder.row(&mut Scanner::foreign(text), &mut rows).unwrap();
        assert_eq!((rows.len(), rows.notes().len()), (1, 1));
        let row = String::from_utf8(rows.iter().next().unwrap().to_vec()).unwrap();
        let note = |change: &crate::batch::Change| {
            let mark = if change.cause == Cause::Mended { "~" } else { "-" };
            format!("{mark}{}", stream.table.columns[change.column].name)
        };
        (row, rows.changes().iter().map(note).collect())
    }

    #[test]
    fn of_a_field_that_comes_twice_the_last_counts() {
        for (text, row, notes) in [
            (r#"{"price":1,"size":3,"price":2}"#, r#"{"size":3,"price":2}"#, &["~price"][..]),
            (
                r#"{"price":1,"\u0070rice":"x"}"#,
                r#"{"additional_properties":{"price":"x"}}"#,
                &["~price", "-price"],
            ),
            (
                r#"{"u":1,"size":3,"u":2}"#,
                r#"{"size":3,"additional_properties":{"u":2}}"#,
                &["~additional_properties"],
            ),
            (
                r#"{"u":1,"price":1,"u":{"a":1,"a":2},"price":2,"price":3}"#,
                r#"{"price":3,"additional_properties":{"u":{"a":2}}}"#,
                &["~price", "~price", "~additional_properties", "~additional_properties"],
            ),
            (
                r#"{"additional_properties":{"u":1,"price":0},"u":2,"price":"x"}"#,
                r#"{"additional_properties":{"u":2,"price":"x"}}"#,
                &["-price", "~additional_properties"],
            ),
            (r#"{"conditions":[{"a":1,"a":2}]}"#, r#"{"conditions":[{"a":2}]}"#, &["~conditions"]),
        ] {
            let (found, mut noted) = noted(text.as_bytes());
            let mut notes = notes.to_vec();
            notes.sort_unstable();
            noted.sort_unstable();
            assert_eq!(
                (found.as_str(), noted),
                (row, notes.iter().map(|note| (*note).to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_not_all_warehouses_take_is_mended_and_noted() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let in_a_column = format!("{{\"conditions\":{deep}}}");
        let beside = format!("{{\"u\":{deep}}}");
        for (text, row, notes) in [
            (&br#"{"id":"a\ud800"}"#[..], r#"{"id":"a\ufffd"}"#.to_owned(), &["~id"][..]),
            (br#"{"id":"\ud83d\ude00\u0000"}"#, r#"{"id":"\ud83d\ude00\u0000"}"#.to_owned(), &[]),
            (b"{\"id\":\"a\xff\"}", "{\"id\":\"a\u{fffd}\"}".to_owned(), &["~id"]),
            (b"{\"id\":\"a\x01\nb\"}", r#"{"id":"a\u0001\u000ab"}"#.to_owned(), &[]),
            (
                br#"{"price":NaN,"id":-Infinity}"#,
                r#"{"id":"-Infinity","additional_properties":{"price":"NaN"}}"#.to_owned(),
                &["-price", "~id"],
            ),
            // Whether a column holds it is the sink's to say.
            (br#"{"price":1e400}"#, r#"{"price":1e400}"#.to_owned(), &[]),
            (br#"{"size":1e-999999999999}"#, r#"{"size":1e-999999999999}"#.to_owned(), &[]),
            (
                br#"{"u":[1e400]}"#,
                r#"{"additional_properties":{"u":["1e400"]}}"#.to_owned(),
                &["~additional_properties"],
            ),
            (
                br#"{"u\ud800":1}"#,
                "{\"additional_properties\":{\"u\u{fffd}\":1}}".to_owned(),
                &["~additional_properties"],
            ),
            (in_a_column.as_bytes(), format!(r#"{{"conditions":"{deep}"}}"#), &["~conditions"]),
            (
                beside.as_bytes(),
                format!(r#"{{"additional_properties":{{"u":"{deep}"}}}}"#),
                &["~additional_properties"],
            ),
        ] {
            let (found, mut noted) = noted(text);
            noted.sort_unstable_by_key(|note| note.starts_with('~'));
            let row = row.replace("\u{fffd}", r"\ufffd");
            assert_eq!(found.replace("\u{fffd}", r"\ufffd"), row, "{}", text.escape_ascii());
            assert_eq!(noted, notes, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_days_of_rows_are_told_once() {
        let streams = streams(&["1minute".parse().unwrap()]);
        let of = |name: &str, rows: &[&str]| {
            let stream = streams.iter().find(|stream| stream.name == name).unwrap();
            let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[]);
            let mut read = Rows::default();
            for row in rows {
                transcoder.row(&mut Scanner::new(row.as_bytes()), &mut read).unwrap();
            }
            let days = transcoder.take_days();
            assert_eq!(transcoder.take_days(), None);
            days
        };
        assert_eq!(
            of("stock_bars_1_minute", &[r#"{"t":3999}"#, r#"{"t":-1}"#, r#"{"t":null}"#]),
            Some(-1..=3)
        );
        assert_eq!(
            of("splits", &[r#"{"execution_date":"1970-01-03"}"#, r#"{"execution_date":"soon"}"#]),
            Some(172_800..=172_800)
        );
        assert_eq!(of("stock_daily_bars", &[r#"{"t":5000,"T":"A"}"#]), Some(5..=5));
        assert_eq!(of("news", &[r#"{"published_utc":"1970-01-01T00:01:00Z"}"#, "{}"]), Some(60..=60));
        assert_eq!(
            of(
                "stock_trades",
                &[
                    r#"{"participant_timestamp":9000000000,"sip_timestamp":8000000000,"trf_timestamp":7000000000}"#
                ]
            ),
            Some(8..=8)
        );
        assert_eq!(of("tickers", &[r#"{"last_updated_utc":"1970-01-01T00:01:00Z"}"#]), None);
        // Also when it is written as hardly anybody does.
        assert_eq!(of("stock_bars_1_minute", &[r#"{"t":4000e+000}"#]), Some(4..=4));

        // A row that is cut says nothing: its number may be cut as well.
        let stream = streams.iter().find(|stream| stream.name == "stock_bars_1_minute").unwrap();
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[]);
        let mut scanner = Scanner::new(br#"{"t":3"#);
        assert!(transcoder.row(&mut scanner, &mut Rows::default()).is_err());
        transcoder.row(&mut Scanner::new(br#"{"o":1}"#), &mut Rows::default()).unwrap();
        assert_eq!(transcoder.take_days(), None);
    }

    #[test]
    fn an_empty_row_and_a_row_cut_short() {
        assert_eq!(transcode("exchanges", "{}").0, "{}");
        let streams = streams(&[]);
        let stream = streams.iter().find(|stream| stream.name == "exchanges").unwrap();
        let mut transcoder = Transcoder::new(stream.spec, &stream.table, &[]);
        let mut rows = Rows::default();
        for bad in [r#"{"id":1"#, r#"{"id":1,}"#, r#"{"id":1,"id":2"#, r#"{"id":1,"id":2]"#, "[]"] {
            assert!(transcoder.row(&mut Scanner::new(bad.as_bytes()), &mut rows).is_err(), "{bad}");
            assert!(rows.is_empty() && rows.bytes() == 0 && rows.changes().is_empty());
        }
    }
}
