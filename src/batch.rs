//! What travels from a source to a sink: rows, and the span that they cover.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;

use crate::catalog::Table;

/// Rows of one table in their canonical form.
///
/// Canonical means: one JSON object a row without line breaks; every key is a
/// column of the table; an absent key or `null` is SQL's NULL; each value is of
/// its column's type exactly as [`crate::catalog::ColumnType`] says, so a sink
/// need not check it; text is UTF-8 without half a surrogate pair, no object has a key
/// twice, and numbers within JSON are near a double; numbers are the text that the API sent (an exponent
/// written out), so none was ever rounded.
///
/// A row can be a delete: where rows replace those with the same key, the one with its key
/// goes and none comes; elsewhere it is a row as any other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rows {
    // In parts of one size but for the first, whatever the size of a page: they are free
    // one by one and used again.
    parts: Vec<Part>,
    len: usize,
    changes: Vec<Change>,
    notes: Vec<Note>,
    deletes: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// Bytes of text after which a new part begins.
const PART_BYTES: usize = 1 << 20;

/// And the first part: few rows take little, also where many pages are under way.
const FIRST_PART_BYTES: usize = 120 << 10;

/// What the last row of a part may have beyond that without another allocation.
const PART_SLACK: usize = 4 << 10;

/// Bytes of a bar, the shortest of the rows that come in great numbers.
const BAR_BYTES: usize = 150;

/// Rows of less than this are copied into a part that is there: half of a part would
/// lie empty behind them at most.
const COPIED_MAX: usize = PART_BYTES / 2;

/// Parts that wait to be used again. Given back to the allocator they cost a tenth
/// of the time of reading, in memory that the system clears anew, and at times
/// some of it lies unused, because those who make rows and those who write them
/// are different threads.
static SPARE: Mutex<Vec<(Vec<u8>, Vec<usize>)>> = Mutex::new(Vec::new());

/// So many wait and no more.
const SPARE_MAX: usize = 64;

impl Part {
    fn new() -> Self {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (text, ends) = spare.unwrap_or_else(|| {
            (Vec::with_capacity(PART_BYTES + PART_SLACK), Vec::with_capacity(PART_BYTES / BAR_BYTES))
        });
        Self { text, ends }
    }

    /// The first of several, or the only one.
    fn first() -> Self {
        Self {
            text: Vec::with_capacity(FIRST_PART_BYTES + PART_SLACK),
            ends: Vec::with_capacity(FIRST_PART_BYTES / BAR_BYTES),
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..end - 1])
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let (mut text, mut ends) = (std::mem::take(&mut self.text), std::mem::take(&mut self.ends));
        // It was the first, a row longer than a part made it grow, or it is a copy and as
        // long as its text.
        if text.capacity() != PART_BYTES + PART_SLACK {
            return;
        }
        text.clear();
        ends.clear();
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push((text, ends));
        }
    }
}

/// A value that is not in its column as it was sent: the column is NULL and the value,
/// as it was sent, in `additional_properties`, or the value was [mended](Cause::Mended) or
/// [cut](Cause::Cut).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Index of the row in its [`Rows`].
    pub row: usize,
    /// Index of the column in its table.
    pub column: usize,
    /// Who could not represent the value.
    pub cause: Cause,
}

/// Who could not represent a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The source's value is not of its column's type.
    Source,
    /// The warehouse's column cannot hold it.
    Destination,
    /// The warehouse's column holds all but the last digits of a time, and they are kept
    /// as a value that it cannot hold.
    Cut,
    /// The source sent what JSON or no warehouse has, and what is nearest to it is
    /// there: of a field that came twice the last value, U+FFFD for what is no
    /// character, text for what is no number or nests too deep.
    Mended,
}

impl Cause {
    /// Airbyte's word for it [airbyte_protocol.yaml, AirbyteRecordMessageMetaChange].
    pub fn reason(self) -> &'static str {
        match self {
            Self::Source | Self::Mended => "SOURCE_SERIALIZATION_ERROR",
            Self::Destination => "DESTINATION_TYPECAST_ERROR",
            Self::Cut => "DESTINATION_FIELD_SIZE_LIMITATION",
        }
    }

    /// Airbyte's word for what became of the value.
    pub fn change(self) -> &'static str {
        match self {
            Self::Source | Self::Destination => "NULLED",
            Self::Cut | Self::Mended => "TRUNCATED",
        }
    }
}

/// What a foreign source says of a row: members of the list `changes` of Airbyte's
/// metadata, as JSON text with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Index of the row in its [`Rows`].
    pub row: usize,
    /// The text, not empty.
    pub changes: Box<str>,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.texts().map(<[u8]>::len).sum()
    }

    /// The text of all rows in order, in pieces of whole rows, one a line, each with
    /// its line feed.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| part.text.as_slice())
    }

    /// The rows in order, each a JSON object without its line feed.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().flat_map(Part::rows)
    }

    /// The rows in order in several pieces, of which each is freed on its own.
    pub fn into_pieces(self) -> impl Iterator<Item = Self> {
        let mut changes = self.changes.into_iter().peekable();
        let mut notes = self.notes.into_iter().peekable();
        let mut deletes = self.deletes.into_iter().peekable();
        let mut end = 0;
        self.parts.into_iter().map(move |part| {
            let (start, len) = (end, part.ends.len());
            end += len;
            let of_part = std::iter::from_fn(|| changes.next_if(|change| change.row < end));
            let changes = of_part.map(|change| Change { row: change.row - start, ..change }).collect();
            let of_part = std::iter::from_fn(|| notes.next_if(|note| note.row < end));
            let notes = of_part.map(|note| Note { row: note.row - start, ..note }).collect();
            let of_part = std::iter::from_fn(|| deletes.next_if(|row| *row < end));
            let deletes = of_part.map(|row| row - start).collect();
            Self { parts: vec![part], len, changes, notes, deletes }
        })
    }

    /// The values that did not fit, in the order of their rows.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What foreign sources said of rows, in the order of the rows.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The rows that are deletes, ascending.
    pub fn deletes(&self) -> &[usize] {
        &self.deletes
    }

    /// The buffer to append the next row's text to; call [`Rows::end_row`] after it.
    /// What is in it before belongs to other rows.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.last().text
    }

    #[inline]
    fn last(&mut self) -> &mut Part {
        if self.parts.is_empty() {
            self.parts.push(Part::first());
        }
        self.parts.last_mut().expect("one was pushed")
    }

    /// Ends the row whose text was appended to [`Rows::buffer`].
    pub fn end_row(&mut self) {
        let full = if self.parts.len() > 1 { PART_BYTES } else { FIRST_PART_BYTES };
        let part = self.last();
        part.text.push(b'\n');
        part.ends.push(part.text.len());
        if part.text.len() >= full {
            self.parts.push(Part::new());
        }
        self.len += 1;
    }

    /// Takes back the text of a row that was begun and not ended.
    pub fn abandon_row(&mut self) {
        if let Some(part) = self.parts.last_mut() {
            part.text.truncate(part.ends.last().copied().unwrap_or(0));
        }
        while self.changes.pop_if(|change| change.row >= self.len).is_some() {}
        while self.notes.pop_if(|note| note.row >= self.len).is_some() {}
        while self.deletes.pop_if(|row| *row >= self.len).is_some() {}
    }

    /// Takes back the text of a row that began at `start` of [`Rows::buffer`], and what
    /// was noted of its values; what its source said of it stays.
    pub fn restart_row(&mut self, start: usize) {
        self.buffer().truncate(start);
        while self.changes.pop_if(|change| change.row >= self.len).is_some() {}
    }

    /// The text of the last row.
    pub fn last_row(&self) -> Option<&[u8]> {
        let part = self.parts.iter().rev().find(|part| !part.ends.is_empty())?;
        part.rows().last()
    }

    /// Takes back the last whole row.
    pub fn remove_last(&mut self) {
        self.parts.pop_if(|part| part.ends.is_empty());
        if let Some(part) = self.parts.last_mut() {
            part.ends.pop();
            self.len -= 1;
        }
        self.abandon_row();
    }

    /// Notes that `column` of the row being written did not fit.
    pub fn note_change(&mut self, column: usize, cause: Cause) {
        self.changes.push(Change { row: self.len, column, cause });
    }

    /// Notes what a foreign source said of the row being written; see [`Note`].
    pub fn note(&mut self, changes: &str) {
        self.notes.push(Note { row: self.len, changes: changes.into() });
    }

    /// Makes the last whole row a delete.
    pub fn delete_last(&mut self) {
        self.deletes.extend(self.len.checked_sub(1));
    }

    /// Takes off the rows from the `at`th on.
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self::default();
        for text in self.iter().skip(at) {
            rest.push(text);
        }
        let changes = self.changes.iter().filter(|change| change.row >= at);
        rest.changes.extend(changes.map(|change| Change { row: change.row - at, ..*change }));
        let notes = self.notes.iter().filter(|note| note.row >= at);
        rest.notes.extend(notes.map(|note| Note { row: note.row - at, ..note.clone() }));
        rest.deletes.extend(self.deletes.iter().filter(|row| **row >= at).map(|row| row - at));
        while self.len > at {
            self.remove_last();
        }
        rest
    }

    /// Appends all rows of `more`. Many are moved, few are copied, so that the rows of
    /// a thousand small pages do not take a thousand parts.
    pub fn append(&mut self, mut more: Self) {
        let before = self.len;
        if more.bytes() < COPIED_MAX {
            more.iter().for_each(|row| self.push(row));
        } else {
            self.parts.pop_if(|part| part.ends.is_empty());
            self.parts.append(&mut more.parts);
            self.len += more.len;
        }
        self.changes
            .extend(more.changes.drain(..).map(|change| Change { row: before + change.row, ..change }));
        self.notes.extend(more.notes.drain(..).map(|note| Note { row: before + note.row, ..note }));
        self.deletes.extend(more.deletes.drain(..).map(|row| before + row));
    }

    /// Appends one whole row given as text.
    pub fn push(&mut self, row: &[u8]) {
        self.buffer().extend_from_slice(row);
        self.end_row();
    }
}

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
    fn rows_lie_in_parts_and_none_is_cut() {
        let row = |index: usize| format!("{index:04}{}", "x".repeat(996)).into_bytes();
        let mut rows = Rows::default();
        assert!(rows.is_empty() && rows.iter().next().is_none());
        for index in 0..2500 {
            rows.push(&row(index));
        }
        assert_eq!((rows.len(), rows.bytes()), (2500, 2500 * 1001));
        assert!(rows.iter().eq((0..2500).map(row)));
        let parts: Vec<&[u8]> = rows.texts().collect();
        assert_eq!(parts.len(), 4);
        assert!(parts[0].len() <= FIRST_PART_BYTES + PART_SLACK, "few rows take little");
        assert!(parts.iter().all(|part| part.ends_with(b"x\n") && part.len() <= PART_BYTES + PART_SLACK));
    }

    #[test]
    fn pieces_keep_their_rows_and_changes() {
        let row = vec![b'x'; PART_BYTES / 2];
        let mut rows = Rows::default();
        for index in 0..5 {
            rows.buffer().extend_from_slice(&row);
            if index != 2 {
                rows.note_change(index, Cause::Source);
            }
            rows.end_row();
            if index != 3 {
                rows.delete_last();
            }
        }
        let pieces: Vec<Rows> = rows.into_pieces().collect();
        let told = |piece: &Rows| -> Vec<(usize, usize)> {
            piece.changes().iter().map(|change| (change.row, change.column)).collect()
        };
        assert_eq!(pieces.iter().map(Rows::len).collect::<Vec<_>>(), [1, 2, 2, 0]);
        assert_eq!(
            pieces.iter().map(told).collect::<Vec<_>>(),
            [vec![(0, 0)], vec![(0, 1)], vec![(0, 3), (1, 4)], vec![]]
        );
        assert!(pieces.iter().flat_map(Rows::iter).all(|text| text == row));
        let deletes: Vec<&[usize]> = pieces.iter().map(Rows::deletes).collect();
        assert_eq!(deletes, [&[0][..], &[0, 1], &[1], &[]]);
    }

    #[test]
    fn rows_are_split_with_what_was_said_of_them() {
        let mut rows = Rows::default();
        for index in 0..5 {
            rows.buffer().extend_from_slice(format!("{{\"n\":{index}}}").as_bytes());
            rows.note_change(index, Cause::Destination);
            rows.note("{}");
            rows.end_row();
            rows.delete_last();
        }
        let rest = rows.split_off(3);
        assert_eq!((rows.deletes(), rest.deletes()), (&[0, 1, 2][..], &[0, 1][..]));
        assert!(rows.iter().eq([b"{\"n\":0}", b"{\"n\":1}", b"{\"n\":2}"]));
        assert!(rest.iter().eq([b"{\"n\":3}", b"{\"n\":4}"]));
        let told = |rows: &Rows| -> Vec<_> {
            rows.changes()
                .iter()
                .zip(rows.notes())
                .map(|(change, note)| (change.row, change.column, note.row))
                .collect()
        };
        assert_eq!(
            (told(&rows), told(&rest)),
            (vec![(0, 0, 0), (1, 1, 1), (2, 2, 2)], vec![(0, 3, 0), (1, 4, 1)])
        );
    }

    #[test]
    fn few_rows_are_copied_and_many_moved_and_what_was_said_goes_along() {
        let page = |count: usize, bytes: usize| {
            let mut rows = Rows::default();
            for index in 0..count {
                rows.buffer().extend(std::iter::repeat_n(b'x', bytes));
                rows.note_change(index, Cause::Source);
                rows.note("{}");
                rows.end_row();
                rows.delete_last();
            }
            rows
        };
        let mut all = Rows::default();
        let mut sizes = Vec::new();
        for (count, bytes) in [(2, 10), (0, 0), (3, COPIED_MAX), (1, 20), (1, PART_BYTES)] {
            all.append(page(count, bytes));
            sizes.extend(std::iter::repeat_n(bytes, count));
        }
        assert_eq!(all.len(), sizes.len());
        assert!(all.iter().map(<[u8]>::len).eq(sizes));
        let rows: Vec<usize> = all.changes().iter().map(|change| change.row).collect();
        assert_eq!(rows, (0..7).collect::<Vec<_>>());
        assert!(all.notes().iter().map(|note| note.row).eq(rows.iter().copied()));
        assert_eq!(all.deletes(), rows);
    }

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
    }

    #[test]
    fn rows_are_taken_back_also_across_parts() {
        let mut rows = Rows::default();
        rows.push(b"{}");
        rows.push(&vec![b'x'; PART_BYTES]);
        rows.note_change(1, Cause::Source);
        rows.buffer().extend_from_slice(b"begun");
        rows.abandon_row();
        assert_eq!((rows.len(), rows.changes().len()), (2, 0));
        rows.delete_last();
        rows.remove_last();
        assert_eq!(rows.deletes(), [] as [usize; 0]);
        rows.push(b"[]");
        assert!(rows.iter().eq([b"{}", b"[]"]));
        rows.remove_last();
        rows.remove_last();
        assert!(rows.is_empty() && rows.bytes() == 0);
    }
}
