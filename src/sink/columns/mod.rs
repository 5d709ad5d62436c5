//! Canonical rows as columns: the one place where a sink that needs columns
//! gets them from.
//!
//! Exact by construction: a decimal goes from its text to a scaled integer, a
//! time from its text to nanoseconds, and no float is in between. The decoder
//! expects rows that are canonical as [`crate::batch::Rows`] says; one that is
//! not is a fault of this program and never decoded by guessing.

mod decode;
mod keys;
mod scan;
#[cfg(test)]
mod tests;

use crate::batch::{Change, Note};
use crate::table::{ColumnType, Width};

pub use decode::{Decoded, Decoder};
pub use keys::Extremes;

/// The start of the first day that 64 bits of nanoseconds hold in whole:
/// 1677-09-22. DuckDB splits a time into day and clock and overflows before it.
pub const EARLIEST: i64 = -106_751 * 86_400 * 1_000_000_000;

/// Rows decoded to columns, in the order of their table's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    rows: usize,
    columns: Vec<Values>,
    validity: Vec<Validity>,
    changes: Vec<Change>,
    notes: Vec<Note>,
    deletes: Vec<usize>,
}

/// The values of a column. A row that is NULL holds a zero.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Strings, without JSON's escapes.
    Text(Texts),
    /// Booleans.
    Boolean(Vec<bool>),
    /// Integers.
    Integer(Vec<i64>),
    /// Decimals of so few digits that 64 bits hold them, times 10 to the power of the
    /// width's scale.
    Decimal(Width, Vec<i64>),
    /// Decimals of more digits, as well.
    WideDecimal(Width, Vec<i128>),
    /// Finite doubles.
    Double(Vec<f64>),
    /// Days since 1970-01-01.
    Date(Vec<i32>),
    /// Nanoseconds since 1970-01-01T00:00:00Z, [`EARLIEST`] or later and before
    /// `i64::MAX`, which warehouses use as infinity.
    Timestamp(Vec<i64>),
    /// Microseconds since then, of the years 1 to 9999.
    Micros(Vec<i64>),
    /// JSON text.
    Json(Texts),
}

/// Strings, one a row. Equal neighbours share their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    /// Start and length in `bytes`.
    spans: Vec<(u32, u32)>,
}

impl Texts {
    /// The text of a row, UTF-8.
    pub fn get(&self, row: usize) -> &[u8] {
        let (start, len) = self.spans[row];
        &self.bytes[start as usize..start as usize + len as usize]
    }

    /// Where a row's text lies: equal spans are equal texts.
    pub fn span(&self, row: usize) -> (u32, u32) {
        self.spans[row]
    }
}

/// Which rows of a column are not NULL: a bit a row, from the lowest bit of the
/// first word, as Arrow and DuckDB have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    words: Vec<u64>,
}

impl Validity {
    fn nulls(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)] }
    }

    fn set(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    fn unset(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// Whether the row is not NULL.
    pub fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// The bits; those past the last row are zero.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    fn kept(&self, keep: &[u32]) -> Self {
        let mut kept = Self::nulls(keep.len());
        for (index, row) in keep.iter().enumerate() {
            if self.get(*row as usize) {
                kept.set(index);
            }
        }
        kept
    }
}

impl Columns {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The values of a column, by its index in the table.
    pub fn values(&self, column: usize) -> &Values {
        &self.columns[column]
    }

    /// The type that a column of a table must have for the values, where columns of one kind
    /// have several and the one that it `has` is not enough.
    pub fn needs(&self, column: usize, has: ColumnType) -> Option<ColumnType> {
        match &self.columns[column] {
            Values::Decimal(width, _) | Values::WideDecimal(width, _) => Some(ColumnType::Decimal(*width)),
            Values::Timestamp(times)
                if has == ColumnType::TimestampMicros && times.iter().all(|nanos| nanos % 1000 == 0) =>
            {
                None
            }
            Values::Timestamp(_) => Some(ColumnType::Timestamp),
            Values::Micros(_) => Some(ColumnType::TimestampMicros),
            _ => None,
        }
    }

    /// Which rows of a column are not NULL.
    pub fn validity(&self, column: usize) -> &Validity {
        &self.validity[column]
    }

    /// The cells that are NULL although the source sent a value, by row.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What foreign sources said of rows, by row.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The rows that are deletes, ascending.
    pub fn deletes(&self) -> &[usize] {
        &self.deletes
    }

    /// Keeps the rows whose indices `keep` lists in ascending order.
    fn retain(&mut self, keep: &[u32]) {
        fn pick<T: Copy>(values: &mut Vec<T>, keep: &[u32]) {
            *values = keep.iter().map(|row| values[*row as usize]).collect();
        }
        for values in &mut self.columns {
            match values {
                Values::Text(texts) | Values::Json(texts) => pick(&mut texts.spans, keep),
                Values::Boolean(values) => pick(values, keep),
                Values::Integer(values) | Values::Timestamp(values) | Values::Micros(values) => {
                    pick(values, keep);
                }
                Values::Decimal(_, values) => pick(values, keep),
                Values::WideDecimal(_, values) => pick(values, keep),
                Values::Double(values) => pick(values, keep),
                Values::Date(values) => pick(values, keep),
            }
        }
        for validity in &mut self.validity {
            *validity = validity.kept(keep);
        }
        let moved = |row: &mut usize| match keep.binary_search(&(*row as u32)) {
            Ok(index) => {
                *row = index;
                true
            }
            Err(_) => false,
        };
        self.changes.retain_mut(|change| moved(&mut change.row));
        self.notes.retain_mut(|note| moved(&mut note.row));
        self.deletes.retain_mut(moved);
        self.rows = keep.len();
    }
}
