//! From canonical rows to files: newline-delimited JSON, compressed.
//!
//! A line is the row itself with its number, time and metadata in front. Nulls
//! are left out, decimals become JSON strings: Snowflake keeps either form of a
//! number exactly, but not every JSON parser on the way does.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::merge::{LINE_DELETED, LINE_EXTRACTED_AT, LINE_META, LINE_NUMBER};
use crate::batch::{Batch, Cause, Change};
use crate::canonical::{Malformed, Scanner, Value, double, mended};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sink::numbers::{tell_beside, unfit_key};
use crate::sink::{META_TAIL, Run, Target, change_text, tell_changes};
use crate::table::{Column, ColumnType, Need, Table, Width};

/// Compressed bytes after which a file is uploaded. Snowflake reads files of this
/// size in parallel, and it bounds what waits in memory.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;

/// A file that is ready to go.
#[derive(Debug)]
pub(super) struct File {
    pub bytes: Vec<u8>,
    pub lines: u64,
}

/// The file that rows of one stream are being added to.
pub(super) struct Writer {
    numbers: Numbers,
    /// A line's metadata up to its changes.
    meta_head: String,
    table: Arc<Table>,
    file: GzEncoder<Vec<u8>>,
    lines: u64,
    /// Lines since the last commit, over all files: the order of writing.
    number: u64,
    /// Whether rows are merged by their key, and can be deletes, and whether one of those
    /// since the last commit is.
    merges: bool,
    has_deletes: bool,
    /// A column of the key by which rows are merged that a row since the last commit would
    /// have NULL in.
    unfit: Option<usize>,
    line: Vec<u8>,
    /// The members of the line's row.
    members: Vec<u8>,
    file_bytes_max: usize,
}

/// The columns of numbers, and how wide they have to be for the rows so far.
struct Numbers {
    /// By their names as JSON writes them, in quotes.
    by_name: HashMap<Box<[u8]>, usize>,
    types: Vec<ColumnType>,
    /// Of decimals: beginning with what the table says.
    widths: Vec<Option<Width>>,
    /// Values of the row that no column holds, with their columns.
    beside: Vec<(usize, Box<[u8]>)>,
    /// Columns of which the first such value was told.
    told: HashSet<usize>,
}

impl Numbers {
    fn of(table: &Table) -> Self {
        let width = |ty: ColumnType| match ty {
            ColumnType::Decimal(width) => Some(width),
            _ => None,
        };
        let types: Vec<ColumnType> = table.columns.iter().map(|column| column.ty).collect();
        let is_number =
            |(_, column): &(usize, &Column)| matches!(column.ty, ColumnType::Decimal(_) | ColumnType::Double);
        let named = |(index, column): (usize, &Column)| {
            (serde_json::Value::from(column.name.as_str()).to_string().into_bytes().into(), index)
        };
        Self {
            by_name: table.columns.iter().enumerate().filter(is_number).map(named).collect(),
            widths: types.iter().map(|ty| width(*ty)).collect(),
            types,
            beside: Vec::new(),
            told: HashSet::new(),
        }
    }

    /// Whether the column can hold the number, if need be when it was widened.
    fn take(&mut self, column: usize, number: &[u8]) -> bool {
        let holds = match (self.types[column], &mut self.widths[column]) {
            (ColumnType::Decimal(_), Some(width)) => match Need::of(number) {
                Some(need) if width.holds(need) => true,
                Some(need) => width.with(need).map(|wider| *width = wider).is_some(),
                None => false,
            },
            _ => double(number).is_some(),
        };
        if !holds {
            self.beside.push((column, number.into()));
        }
        holds
    }
}

impl Writer {
    pub fn new(target: &Target) -> Self {
        Self::with_files_of(target, FILE_BYTES_MAX)
    }

    fn with_files_of(target: &Target, file_bytes_max: usize) -> Self {
        let meta_head = Run::meta_head(target.run);
        Self {
            numbers: Numbers::of(&target.table),
            table: Arc::clone(&target.table),
            meta_head,
            file: encoder(),
            lines: 0,
            number: 0,
            merges: target.replaces_by_key(),
            has_deletes: false,
            unfit: None,
            line: Vec::new(),
            members: Vec::new(),
            file_bytes_max,
        }
    }

    /// Goes on with a table that has more columns. Lines that wait stay as they are.
    pub fn grow(&mut self, table: &Arc<Table>) {
        let before = std::mem::replace(&mut self.numbers, Numbers::of(table));
        for (width, needed) in self.numbers.widths.iter_mut().zip(before.widths) {
            if let (Some(has), Some(needed)) = (*width, needed) {
                *width = has.with(needed.need()).or(*width);
            }
        }
        self.table = Arc::clone(table);
    }

    /// How wide columns of decimals have to be for what was written.
    pub fn widths(&self) -> &[Option<Width>] {
        &self.numbers.widths
    }

    /// Whether one of the lines since the last commit is a delete.
    pub fn has_deletes(&self) -> bool {
        self.has_deletes
    }

    /// Compressed bytes that wait.
    pub fn bytes(&self) -> usize {
        self.file.get_ref().len()
    }

    /// Whether no line waits.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Adds a batch; returns the files that became full. Blocks for as long as
    /// compressing takes.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when a row is not canonical.
    pub fn push(&mut self, batch: &Batch) -> Result<Vec<File>> {
        let mut extracted_at = None;
        let mut changes = batch.rows.changes().iter().peekable();
        let mut notes = batch.rows.notes().iter().peekable();
        let deletes = if self.merges { batch.rows.deletes() } else { &[] };
        self.has_deletes |= !deletes.is_empty();
        let mut deletes = deletes.iter().peekable();
        let mut full = Vec::new();
        let (mut changed, mut first) = (0, String::new());
        for (index, row) in batch.rows.iter().enumerate() {
            let at_ms = batch.extracted_at.of(index);
            let at = match extracted_at {
                Some((ms, at)) if ms == at_ms => at,
                _ => jiff::Timestamp::from_millisecond(at_ms)
                    .or_fail(ErrorKind::Bug, || "rows from an impossible time".to_owned())?,
            };
            extracted_at = Some((at_ms, at));
            self.members.clear();
            push_members(&mut self.members, row, &mut self.numbers)?;
            self.unfit = self.unfit.or_else(|| self.key_without_value());
            let line = &mut self.line;
            line.clear();
            write!(line, "{{\"{LINE_NUMBER}\":{},\"{LINE_EXTRACTED_AT}\":\"{at}\",", self.number)
                .and_then(|()| write!(line, "\"{LINE_META}\":{}", self.meta_head))
                .or_fail(ErrorKind::Bug, || "cannot write to memory".to_owned())?;
            let head = line.len();
            while let Some(note) = notes.next_if(|note| note.row == index) {
                push_item(line, head, &note.changes);
            }
            while let Some(change) = changes.next_if(|change| change.row == index) {
                push_item(line, head, &change_text(&batch.table, change));
            }
            for (column, _) in &self.numbers.beside {
                if self.numbers.told.insert(*column) {
                    let Column { name, ty, .. } = &self.table.columns[*column];
                    tell_beside(&self.table.name, name, *ty);
                }
                let change = Change { row: index, column: *column, cause: Cause::Destination };
                push_item(line, head, &change_text(&batch.table, &change));
            }
            if line.len() > head {
                changed += 1;
                if first.is_empty() {
                    first = String::from_utf8_lossy(&line[head..]).into_owned();
                }
            }
            line.extend_from_slice(META_TAIL.as_bytes());
            if deletes.next_if_eq(&&index).is_some() {
                line.extend_from_slice(format!(",\"{LINE_DELETED}\":true").as_bytes());
            }
            line.extend_from_slice(&self.members);
            line.extend_from_slice(b"}\n");
            self.file.write_all(line).or_fail(ErrorKind::Bug, || "cannot compress".to_owned())?;
            self.lines += 1;
            self.number += 1;
            if self.bytes() >= self.file_bytes_max {
                full.extend(self.take()?);
            }
        }
        tell_changes(&self.table, changed, &first);
        Ok(full)
    }

    /// The column of the key, if rows are merged by it, that the row under way has NULL in
    /// because its number does not fit.
    fn key_without_value(&self) -> Option<usize> {
        let mut beside = self.numbers.beside.iter().map(|(column, _)| *column);
        beside.find(|column| self.merges && self.table.key.contains(&self.table.columns[*column].name))
    }

    /// Refuses rows that would be merged with others for a key that did not fit.
    ///
    /// # Errors
    /// [`ErrorKind::Table`] where there is one since the last commit.
    pub fn keys_must_fit(&self) -> Result<()> {
        match self.unfit {
            Some(column) => Err(unfit_key(&self.table.name, &self.table.columns[column].name)),
            None => Ok(()),
        }
    }

    /// Ends the file, if there is anything in it.
    pub fn take(&mut self) -> Result<Option<File>> {
        if self.lines == 0 {
            return Ok(None);
        }
        let bytes = std::mem::replace(&mut self.file, encoder())
            .finish()
            .or_fail(ErrorKind::Bug, || "cannot compress".to_owned())?;
        Ok(Some(File { bytes, lines: std::mem::take(&mut self.lines) }))
    }

    /// Forgets what waits and begins to count anew.
    pub fn reset(&mut self) {
        self.file = encoder();
        self.lines = 0;
        self.number = 0;
        self.has_deletes = false;
        self.unfit = None;
    }
}

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

/// Appends an item of a list that begins at `head`.
fn push_item(line: &mut Vec<u8>, head: usize, item: &str) {
    if line.len() > head {
        line.push(b',');
    }
    line.extend_from_slice(item.as_bytes());
}

/// [`crate::table::EXTRA_COLUMN`] as JSON writes it.
const EXTRA_KEY: &[u8] = b"\"additional_properties\"";

/// Appends the members of the object `row`, each with a comma before it. A number that
/// its column cannot hold goes into [`EXTRA_KEY`].
fn push_members(line: &mut Vec<u8>, row: &[u8], numbers: &mut Numbers) -> Result<()> {
    numbers.beside.clear();
    let mut extra = None;
    each_member(row, |key, value| {
        let column = numbers.by_name.get(key).copied();
        if key == EXTRA_KEY {
            extra = Some(value);
        } else if column.is_none_or(|column| numbers.take(column, value)) {
            push_member(line, key, value, column.is_some());
        }
    })?;
    if numbers.beside.is_empty() {
        extra.into_iter().for_each(|extra| push_member(line, EXTRA_KEY, extra, false));
        return Ok(());
    }
    let extra = extra.unwrap_or(b"{}");
    let head = extra
        .strip_suffix(b"}")
        .filter(|head| head.starts_with(b"{"))
        .ok_or_else(|| Error::bug("a row has no object beside its columns"))?;
    let mut object = head.to_vec();
    for (column, number) in &numbers.beside {
        let key = numbers.by_name.iter().find(|(_, index)| *index == column).map(|(key, _)| key);
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend_from_slice(key.map_or(&b""[..], |key| key));
        object.push(b':');
        object.extend_from_slice(number);
    }
    object.push(b'}');
    // No reader of JSON has to take a number beyond a double, and the source may have kept
    // something of the same name there.
    push_member(line, EXTRA_KEY, &mended(&object), false);
    Ok(())
}

fn push_member(line: &mut Vec<u8>, key: &[u8], value: &[u8], quotes: bool) {
    line.push(b',');
    line.extend_from_slice(key);
    line.push(b':');
    if quotes {
        line.push(b'"');
    }
    line.extend_from_slice(value);
    if quotes {
        line.push(b'"');
    }
}

/// Calls `take` with each member's key and value, except for nulls.
fn each_member<'a>(row: &'a [u8], mut take: impl FnMut(&'a [u8], &'a [u8])) -> Result<()> {
    let mut rest = Scanner::new(row);
    rest.expect(b'{', "an object").map_err(not_canonical)?;
    if rest.take(b'}') {
        return Ok(());
    }
    loop {
        rest.peek();
        let start = rest.offset();
        rest.string().map_err(not_canonical)?;
        let key = rest.slice(start);
        rest.expect(b':', "`:`").map_err(not_canonical)?;
        if rest.value().map_err(not_canonical)? != Value::Null {
            take(key, rest.last_value());
        }
        if !rest.take(b',') {
            return rest.expect(b'}', "`,` or `}`").map_err(not_canonical);
        }
    }
}

fn not_canonical(malformed: Malformed) -> Error {
    Error::bug("a row is not a JSON object").caused_by(malformed)
}

#[cfg(test)]
mod tests;
