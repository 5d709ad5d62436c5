//! What travels from a source to a sink: rows, and the span that they cover.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::table::Table;

pub use rows::{Cause, Change, Keyless, Lack, Note, Rows};

mod rows;

/// Rows of one table on their way into a sink.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose rows these are.
    pub table: Arc<Table>,
    /// The rows.
    pub rows: Rows,
    /// When they were fetched.
    pub extracted_at: ExtractedAt,
    /// Which rows are of which slices: in the order of the rows, and of all of them where
    /// the engine made the batch.
    pub units: Vec<Unit>,
    /// The parts of the table that slices are the whole of whose first rows are here.
    pub replaces: Vec<Extent>,
    /// Whether the source has not said yet that it will not send these rows again:
    /// they may have to be taken back on their own.
    pub ahead: bool,
}

impl Batch {
    /// Rows that were fetched at these moments, of no unit.
    pub fn new(table: Arc<Table>, rows: Rows, extracted_at: ExtractedAt) -> Self {
        Self { table, rows, extracted_at, units: Vec::new(), replaces: Vec::new(), ahead: false }
    }
}

/// The rows of a batch that are of one slice.
///
/// With the position that its shard was committed at, it names each row before anything
/// of it is durable: whoever goes on after a crash begins there, reads the same slices and
/// gives the rows the same names, however they are cut into batches. Names of files and
/// tokens against repetition can be made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Index of its first row in the batch.
    pub row: usize,
    /// The shard that moves past it: a ticker, or empty for the whole stream.
    pub shard: Arc<str>,
    /// How many slices of the shard lie between where it was committed and this one.
    pub slice: u64,
    /// How many rows of the slice are in batches before this one.
    pub before: u64,
}

/// A row that its table cannot hold. It goes, as text, where such rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The shard that moves past it: a ticker, or empty for the whole stream.
    pub shard: Arc<str>,
    /// Why.
    pub reason: String,
    /// The row in its canonical form, where it has one.
    pub row: String,
}

/// When rows were fetched, milliseconds since the UNIX epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtractedAt {
    /// All of them.
    All(i64),
    /// Each of them.
    Each(Vec<i64>),
}

impl ExtractedAt {
    /// Adds when `more` rows were fetched that come after the first `rows` ones.
    pub fn append(&mut self, rows: usize, more: Self, more_rows: usize) {
        match (&mut *self, more) {
            (_, _) if more_rows == 0 => {}
            (all, more) if rows == 0 => *all = more,
            (Self::All(at), Self::All(other)) if *at == other => {}
            (_, more) => {
                let mut each = std::mem::take(self).into_each(rows);
                each.append(&mut more.into_each(more_rows));
                *self = Self::Each(each);
            }
        }
    }

    /// Forgets those of these rows, which ascend.
    pub fn remove(&mut self, rows: impl Iterator<Item = usize>) {
        if let Self::Each(each) = self {
            let (mut index, mut rows) = (0, rows.peekable());
            each.retain(|_| {
                index += 1;
                rows.next_if_eq(&(index - 1)).is_none()
            });
        }
    }

    /// Takes off the moments from the `at`th row on.
    pub fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::All(all) => Self::All(*all),
            Self::Each(each) => Self::Each(each.split_off(at)),
        }
    }

    fn into_each(self, rows: usize) -> Vec<i64> {
        match self {
            Self::All(at) => vec![at; rows],
            Self::Each(each) => each,
        }
    }

    /// When the row with this index was fetched.
    pub fn of(&self, row: usize) -> i64 {
        match self {
            Self::All(at) => *at,
            Self::Each(each) => each[row],
        }
    }
}

impl Default for ExtractedAt {
    fn default() -> Self {
        Self::All(0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_one_as_long_as_they_are_the_same() {
        let mut at = ExtractedAt::default();
        at.append(0, ExtractedAt::All(5), 2);
        at.append(2, ExtractedAt::All(5), 1);
        assert_eq!(at, ExtractedAt::All(5));
        at.append(3, ExtractedAt::Each(vec![7, 8]), 2);
        at.append(5, ExtractedAt::All(9), 1);
        at.append(6, ExtractedAt::All(10), 0);
        assert_eq!(at, ExtractedAt::Each(vec![5, 5, 5, 7, 8, 9]));
        assert_eq!(at.split_off(4), ExtractedAt::Each(vec![8, 9]));
        at.remove([1, 3].into_iter());
        assert_eq!(at, ExtractedAt::Each(vec![5, 5]));
    }
}
