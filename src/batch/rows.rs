//! Rows as text, and what was said of some of them.

use std::sync::{Mutex, PoisonError};

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
    keyless: Vec<Keyless>,
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

/// A row without a primary key that is one. NULL stands in the column: where rows replace
/// those with the same key it would be one with others that are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyless {
    /// Index of the row in its [`Rows`].
    pub row: usize,
    /// Index of the key's column in its table.
    pub column: usize,
    /// What is wrong with it.
    pub lack: Lack,
}

/// Why a column of the primary key has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The source sent none, or null.
    Absent,
    /// The source's value is not of its column's type.
    Misfit,
    /// It is a number with more digits than [`Width::KEY`](crate::catalog::Width::KEY) has.
    Digits,
    /// It is not as it was sent: it held what no text or no JSON may hold, or was there twice.
    Mended,
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
        let mut keyless = self.keyless.into_iter().peekable();
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
            let of_part = std::iter::from_fn(|| keyless.next_if(|keyless| keyless.row < end));
            let keyless = of_part.map(|keyless| Keyless { row: keyless.row - start, ..keyless }).collect();
            Self { parts: vec![part], len, changes, notes, deletes, keyless }
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

    /// The rows without a primary key, ascending, each once.
    pub fn keyless(&self) -> &[Keyless] {
        &self.keyless
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
        while self.keyless.pop_if(|keyless| keyless.row >= self.len).is_some() {}
    }

    /// Takes back the text of a row that began at `start` of [`Rows::buffer`], and what
    /// was noted of its values; what its source said of it stays.
    pub fn restart_row(&mut self, start: usize) {
        self.buffer().truncate(start);
        while self.changes.pop_if(|change| change.row >= self.len).is_some() {}
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

    /// Notes that the row being written has no primary key; once a row.
    pub fn note_keyless(&mut self, column: usize, lack: Lack) {
        self.keyless.push(Keyless { row: self.len, column, lack });
    }

    /// Takes out the rows without a primary key: each with its text.
    pub fn take_keyless(&mut self) -> Vec<(Keyless, Box<[u8]>)> {
        let keyless = std::mem::take(&mut self.keyless);
        let is_left = |row: usize| keyless.binary_search_by_key(&row, |keyless| keyless.row).is_err();
        // How many of the rows before one are left.
        let place = |row: usize| row - keyless.partition_point(|keyless| keyless.row < row);
        let (mut left, mut taken) = (Self::default(), Vec::with_capacity(keyless.len()));
        let mut next = keyless.iter().peekable();
        for (index, text) in self.iter().enumerate() {
            match next.next_if(|keyless| keyless.row == index) {
                Some(keyless) => taken.push((*keyless, text.into())),
                None => left.push(text),
            }
        }
        let changes = self.changes.iter().filter(|change| is_left(change.row));
        left.changes = changes.map(|change| Change { row: place(change.row), ..*change }).collect();
        let notes = self.notes.iter().filter(|note| is_left(note.row));
        left.notes = notes.map(|note| Note { row: place(note.row), ..note.clone() }).collect();
        left.deletes = self.deletes.iter().filter(|row| is_left(**row)).map(|row| place(*row)).collect();
        *self = left;
        taken
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
        let keyless = self.keyless.iter().filter(|keyless| keyless.row >= at);
        rest.keyless.extend(keyless.map(|keyless| Keyless { row: keyless.row - at, ..*keyless }));
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
        let keyless = more.keyless.drain(..);
        self.keyless.extend(keyless.map(|keyless| Keyless { row: before + keyless.row, ..keyless }));
    }

    /// Appends one whole row given as text.
    pub fn push(&mut self, row: &[u8]) {
        self.buffer().extend_from_slice(row);
        self.end_row();
    }
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
            if index == 2 {
                rows.note_keyless(index, Lack::Absent);
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
        let keyless: Vec<_> = pieces.iter().flat_map(Rows::keyless).collect();
        assert_eq!(keyless, [&Keyless { row: 1, column: 2, lack: Lack::Absent }]);
        assert_eq!(pieces[1].keyless().len(), 1);
    }

    #[test]
    fn rows_are_split_with_what_was_said_of_them() {
        let mut rows = Rows::default();
        for index in 0..5 {
            rows.buffer().extend_from_slice(format!("{{\"n\":{index}}}").as_bytes());
            rows.note_change(index, Cause::Destination);
            rows.note("{}");
            rows.note_keyless(index, Lack::Misfit);
            rows.end_row();
            rows.delete_last();
        }
        let rest = rows.split_off(3);
        let keyless =
            |rows: &Rows| -> Vec<_> { rows.keyless().iter().map(|of| (of.row, of.column)).collect() };
        assert_eq!((keyless(&rows), keyless(&rest)), (vec![(0, 0), (1, 1), (2, 2)], vec![(0, 3), (1, 4)]));
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
                rows.note_keyless(index, Lack::Absent);
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
        assert!(all.keyless().iter().map(|keyless| keyless.row).eq(rows));
    }

    #[test]
    fn rows_without_a_key_are_taken_out_and_the_others_stay_what_they_are() {
        let mut rows = Rows::default();
        for index in 0..6 {
            rows.buffer().extend_from_slice(format!("{{\"n\":{index}}}").as_bytes());
            rows.note_change(index, Cause::Source);
            rows.note("{}");
            if index % 3 == 1 {
                rows.note_keyless(0, Lack::Misfit);
            }
            rows.end_row();
            if index > 1 {
                rows.delete_last();
            }
        }
        let taken = rows.take_keyless();
        let told: Vec<_> = taken.iter().map(|(keyless, text)| (keyless.row, &**text)).collect();
        assert_eq!(told, [(1, &b"{\"n\":1}"[..]), (4, b"{\"n\":4}")]);
        let left: Vec<&[u8]> = rows.iter().collect();
        assert_eq!(left, [&b"{\"n\":0}"[..], b"{\"n\":2}", b"{\"n\":3}", b"{\"n\":5}"]);
        let changes: Vec<_> = rows.changes().iter().map(|change| (change.row, change.column)).collect();
        assert_eq!(changes, [(0, 0), (1, 2), (2, 3), (3, 5)]);
        assert!(rows.notes().iter().map(|note| note.row).eq(0..4));
        assert_eq!((rows.deletes(), rows.keyless().len(), rows.len()), (&[1, 2, 3][..], 0, 4));
    }

    #[test]
    fn rows_are_taken_back_also_across_parts() {
        let mut rows = Rows::default();
        rows.push(b"{}");
        rows.push(&vec![b'x'; PART_BYTES]);
        rows.note_change(1, Cause::Source);
        rows.note_keyless(0, Lack::Absent);
        rows.buffer().extend_from_slice(b"begun");
        rows.abandon_row();
        assert_eq!((rows.len(), rows.changes().len(), rows.keyless().len()), (2, 0, 0));
        rows.delete_last();
        rows.remove_last();
        assert_eq!((rows.deletes().len(), rows.keyless().len()), (0, 0));
        rows.push(b"[]");
        assert!(rows.iter().eq([b"{}", b"[]"]));
        rows.remove_last();
        rows.remove_last();
        assert!(rows.is_empty() && rows.bytes() == 0);
    }
}
