//! From canonical rows to files: newline-delimited JSON, compressed.
//!
//! A line is the row itself with its number, time and metadata in front. Nulls
//! are left out, decimals become JSON strings: Snowflake keeps either form of a
//! number exactly, but not every JSON parser on the way does.

use std::collections::HashSet;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::merge::{LINE_EXTRACTED_AT, LINE_META, LINE_NUMBER};
use crate::batch::Batch;
use crate::canonical::{Malformed, Scanner, Value};
use crate::catalog::ColumnType;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sink::{META_TAIL, Run, Target, change_text};

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
    /// Names of decimal columns as JSON writes them, in quotes.
    decimals: HashSet<Box<[u8]>>,
    /// A line's metadata up to its changes.
    meta_head: String,
    file: GzEncoder<Vec<u8>>,
    lines: u64,
    /// Lines since the last commit, over all files: the order of writing.
    number: u64,
    line: Vec<u8>,
    file_bytes_max: usize,
}

impl Writer {
    pub fn new(target: &Target) -> Self {
        Self::with_files_of(target, FILE_BYTES_MAX)
    }

    fn with_files_of(target: &Target, file_bytes_max: usize) -> Self {
        let decimals = target
            .table
            .columns
            .iter()
            .filter(|column| column.ty == ColumnType::Decimal)
            .map(|column| serde_json::Value::from(column.name.as_str()).to_string().into_bytes().into())
            .collect();
        let meta_head = Run::meta_head(target.run);
        Self { meta_head, decimals, file: encoder(), lines: 0, number: 0, line: Vec::new(), file_bytes_max }
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
        let mut full = Vec::new();
        for (index, row) in batch.rows.iter().enumerate() {
            let at_ms = batch.extracted_at.of(index);
            let at = match extracted_at {
                Some((ms, at)) if ms == at_ms => at,
                _ => jiff::Timestamp::from_millisecond(at_ms)
                    .or_fail(ErrorKind::Bug, || "rows from an impossible time".to_owned())?,
            };
            extracted_at = Some((at_ms, at));
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
            line.extend_from_slice(META_TAIL.as_bytes());
            push_members(line, row, &self.decimals)?;
            line.extend_from_slice(b"}\n");
            self.file.write_all(line).or_fail(ErrorKind::Bug, || "cannot compress".to_owned())?;
            self.lines += 1;
            self.number += 1;
            if self.bytes() >= self.file_bytes_max {
                full.extend(self.take()?);
            }
        }
        Ok(full)
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

/// Appends the members of the object `row`, each with a comma before it.
fn push_members(line: &mut Vec<u8>, row: &[u8], decimals: &HashSet<Box<[u8]>>) -> Result<()> {
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
        let kind = rest.value().map_err(not_canonical)?;
        if kind != Value::Null {
            line.push(b',');
            line.extend_from_slice(key);
            line.push(b':');
            let quoted = matches!(kind, Value::Number(_)) && decimals.contains(key);
            if quoted {
                line.push(b'"');
            }
            line.extend_from_slice(rest.last_value());
            if quoted {
                line.push(b'"');
            }
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
