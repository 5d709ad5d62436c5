//! Rows as text, and what was said of some of them.

mod part;

use part::{FIRST_PART_BYTES, PART_BYTES, Part};

/// Rows of less than this are copied into a part that is there: half of a part would
/// lie empty behind them at most.
const COPIED_MAX: usize = PART_BYTES / 2;

/// Rows of one table in their canonical form.
///
/// Canonical means: one JSON object a row without line breaks; every key is a
/// column of the table; an absent key or `null` is SQL's NULL; each value is of
/// its column's type exactly as [`crate::table::ColumnType`] says, so a sink
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
    /// It is a number with more digits than [`Width::KEY`](crate::table::Width::KEY) has.
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
mod tests;
