//! What travels from a source to a sink: rows, and the span that they cover.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::catalog::Table;
use crate::checkpoint::Cover;

/// Rows of one table in their canonical form.
///
/// Canonical means: one JSON object a row without line breaks; every key is a
/// column of the table; an absent key or `null` is SQL's NULL; each value is of
/// its column's type exactly as [`crate::catalog::ColumnType`] says, so a sink
/// need not check it; numbers are the text that the API sent (an exponent
/// written out), so none was ever rounded.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rows {
    text: Vec<u8>,
    ends: Vec<usize>,
    changes: Vec<Change>,
}

/// A value that did not fit its column: the column is NULL, and the value, as
/// the API sent it, is in `additional_properties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Index of the row in its [`Rows`].
    pub row: usize,
    /// Index of the column in its table.
    pub column: usize,
}

impl Rows {
    /// No rows, with room for `bytes` of text.
    pub fn with_capacity(bytes: usize, rows: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows), changes: Vec::new() }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The text of all rows, one a line, each with its line feed.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The rows in order, each a JSON object without its line feed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.text[start..self.ends[index] - 1]
        })
    }

    /// The values that did not fit, in the order of their rows.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The buffer to append the next row's text to; call [`Rows::end_row`] after it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Ends the row whose text was appended to [`Rows::buffer`].
    pub fn end_row(&mut self) {
        self.text.push(b'\n');
        self.ends.push(self.text.len());
    }

    /// Takes back the text of a row that was begun and not ended.
    pub fn abandon_row(&mut self) {
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
        while self.changes.last().is_some_and(|change| change.row >= self.ends.len()) {
            self.changes.pop();
        }
    }

    /// Takes back the last whole row.
    pub fn remove_last(&mut self) {
        self.ends.pop();
        self.abandon_row();
    }

    /// Notes that `column` of the row being written did not fit.
    pub fn note_change(&mut self, column: usize) {
        self.changes.push(Change { row: self.ends.len(), column });
    }

    /// Appends one whole row given as text.
    pub fn push(&mut self, row: &[u8]) {
        self.text.extend_from_slice(row);
        self.end_row();
    }
}

/// Rows of one table and what of the source they cover.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose rows these are.
    pub table: Arc<Table>,
    /// The rows.
    pub rows: Rows,
    /// When they were fetched, milliseconds since the UNIX epoch.
    pub extracted_at_ms: i64,
    /// What is complete once these rows are durable. Progress moves by this and
    /// nothing else.
    pub covers: Cover,
    /// On the first batch of a slice: the part of the table that the slice's rows
    /// are the whole of.
    pub replaces: Option<Extent>,
}

/// A part of a table: the rows of a partition whose cursor lies in a stretch of
/// days or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// A column, and the value that the rows have in it; `None` when the rows of
    /// all partitions are meant.
    pub partition: Option<(String, Arc<str>)>,
    /// The column that the bounds speak of, of type date or timestamp.
    pub cursor: String,
    /// The first value, inclusive.
    pub from: Bound,
    /// The end, exclusive, of the same kind as `from`; `None` when it is open.
    pub until: Option<Bound>,
}

/// An end of an [`Extent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Of a date column.
    Day(Date),
    /// Of a timestamp column.
    Time(Timestamp),
}
