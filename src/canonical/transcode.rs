//! Objects to canonical rows, in one pass over their bytes.
//!
//! The hot path of the program: no number is parsed, hardly a key is hashed. Rows of a
//! page have their keys in the same order, so each key is first compared with the
//! one that stood there in the row before.

mod extra;
mod hide;
mod plan;
mod push;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::json::{Malformed, Scanner, Value, unescape};
use super::mend::{self, Nesting};
use super::moment::MomentWriter;
use crate::batch::{Cause, Lack, Rows};
use crate::secret::Finder;
use crate::table::{EXTRA_COLUMN, Kind, Table};

use plan::{FieldPlan, label, quoted};
use push::{
    fits_key, midnight, number, push_boolean, push_date, push_integer, push_json, push_moment, push_number,
    push_text,
};

pub(crate) use plan::FieldForm;

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

/// The place of a key that is no field.
const UNKNOWN: usize = usize::MAX;

/// Keys whose place in the row is remembered.
const ORDER_MAX: usize = 4096;

impl Transcoder {
    /// For objects with these fields. `cause` is to blame for a value that does not
    /// fit its column.
    pub(crate) fn of<'a>(fields: impl Iterator<Item = FieldForm<'a>>, table: &Table, cause: Cause) -> Self {
        let fields: Vec<FieldPlan> = fields.map(|field| FieldPlan::of(field, table)).collect();
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
    /// the UNIX epoch, by the field of [`Transcoder::telling_days`]; a date is its midnight in UTC.
    pub(crate) fn take_days(&mut self) -> Option<RangeInclusive<i64>> {
        self.days.take()
    }

    /// Begins each row with these columns and their values, strings both.
    pub(crate) fn with_constants(mut self, constants: &[(&str, &str)]) -> Self {
        for (name, value) in constants {
            self.constants.extend(label(name));
            self.constants.extend(quoted(value));
            self.constants.push(b',');
        }
        self
    }

    /// Tells by this field, one of time, of which days rows are: see [`Transcoder::take_days`].
    pub(crate) fn telling_days(mut self, field: Option<usize>) -> Self {
        self.day_field = field.unwrap_or(UNKNOWN);
        self
    }

    /// Lets no row hold a secret of this process: whoever sends them was told one, and may
    /// say it again.
    pub(crate) fn hiding_secrets(mut self) -> Self {
        self.secrets = Finder::new();
        self
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

#[cfg(test)]
mod tests;
