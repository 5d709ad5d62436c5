//! Fields that have no column, and values that do not fit theirs: kept as they came.

use super::Transcoder;
use crate::batch::{Cause, Rows};
use crate::canonical::json::{Scanner, Value};
use crate::canonical::mend;
use crate::table::EXTRA_COLUMN;

impl Transcoder {
    /// A member that is no field.
    pub(super) fn unknown_member(&mut self, key: &[u8], value: Value<'_>, text: &[u8], is_odd: bool) {
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

    pub(super) fn keep_extra(&mut self, key: &[u8], value: &[u8]) {
        self.begin_extra();
        self.extra.push(b'"');
        self.extra.extend_from_slice(key);
        self.extra.extend_from_slice(b"\":");
        self.extra.extend_from_slice(value);
        self.extra.push(b',');
    }

    /// Appends what has no column. A key that is there twice, because the source has a
    /// field of that name and keeps others as we do, is there once now.
    pub(super) fn close_extra(&mut self, rows: &mut Rows) {
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

    pub(super) fn note_extra(&self, rows: &mut Rows) {
        if let Some(column) = self.extra_column {
            rows.note_change(column, Cause::Mended);
        }
    }
}
