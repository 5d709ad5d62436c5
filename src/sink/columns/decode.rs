//! From rows of text to columns.

use std::collections::HashMap;

use super::scan::{self, LastDate};
use super::{Columns, Texts, Validity, Values};
use crate::batch::{Cause, Change, Rows};
use crate::canonical::{mended, push_unescaped};
use crate::catalog::{ColumnType, EXTRA_COLUMN, Table};
use crate::error::{Error, ErrorKind, Result};

/// Decodes the canonical rows of one table.
#[derive(Debug)]
pub struct Decoder {
    table: String,
    plans: Vec<Plan>,
    /// By the name as JSON writes it, without its quotes.
    by_name: HashMap<Vec<u8>, usize>,
    extra: Option<usize>,
}

/// What the decoder knows of a column.
#[derive(Debug)]
struct Plan {
    name: String,
    /// `"name":`, as JSON writes it.
    pattern: Vec<u8>,
    ty: ColumnType,
    is_key: bool,
}

/// A batch being decoded.
struct Work {
    columns: Vec<Values>,
    validity: Vec<Validity>,
    /// The column that followed last time after each column; the first entry is
    /// for the start of a row. Rows of a page have their keys in one order, so
    /// this nearly always names the next key, and a comparison replaces a look-up.
    successors: Vec<usize>,
    last_date: LastDate,
    /// Times that 64 bits of nanoseconds do not hold, with their text in quotes.
    beyond: Vec<(Change, Vec<u8>)>,
}

impl Decoder {
    /// A decoder for rows of `table`.
    pub fn new(table: &Table) -> Self {
        let plan = |column: &crate::catalog::Column| Plan {
            name: column.name.clone(),
            pattern: format!("{}:", serde_json::Value::from(column.name.as_str())).into_bytes(),
            ty: column.ty,
            is_key: table.key.contains(&column.name),
        };
        let plans: Vec<Plan> = table.columns.iter().map(plan).collect();
        let key = |plan: &Plan| plan.pattern[1..plan.pattern.len() - 2].to_vec();
        Self {
            table: table.name.clone(),
            by_name: plans.iter().enumerate().map(|(index, plan)| (key(plan), index)).collect(),
            plans,
            extra: table.position(EXTRA_COLUMN),
        }
    }

    /// Decodes all rows, or none.
    ///
    /// A time that 64-bit nanoseconds do not reach becomes NULL, its text goes
    /// into [`EXTRA_COLUMN`] under the column's name, and the cell is listed in
    /// [`Columns::changes`].
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] for a row that is not canonical, [`ErrorKind::Sink`] for
    /// a time out of range in a key column, where NULL would merge rows.
    pub fn decode(&self, rows: &Rows) -> Result<Columns> {
        for text in rows.texts() {
            std::str::from_utf8(text)
                .map_err(|error| self.fault("holds bytes that are not UTF-8").caused_by(error))?;
        }
        let count = rows.len();
        let mut work = Work {
            columns: self.plans.iter().map(|plan| Values::zeros(plan.ty, count)).collect(),
            validity: self.plans.iter().map(|_| Validity::nulls(count)).collect(),
            successors: (0..=self.plans.len()).map(|index| index % self.plans.len().max(1)).collect(),
            last_date: LastDate::default(),
            beyond: Vec::new(),
        };
        for (index, text) in rows.iter().enumerate() {
            self.row(&mut work, index, text)?;
        }
        self.finish(work, rows)
    }

    fn row(&self, work: &mut Work, row: usize, text: &[u8]) -> Result<()> {
        if text == b"{}" {
            return Ok(());
        }
        if text.first() != Some(&b'{') {
            return Err(self.fault(format!("row {row} is not an object")));
        }
        let (mut position, mut before) = (1, 0);
        loop {
            let (column, start) = self.key(work, before, text, position).ok_or_else(|| {
                self.fault(format!("row {row} has a key at byte {position} that is no column"))
            })?;
            position = self.cell(work, row, column, text, start).map_err(|wrong| {
                self.fault(format!("row {row} has a wrong value in `{}`: {wrong}", self.plans[column].name))
            })?;
            before = column + 1;
            match text.get(position) {
                Some(b',') => position += 1,
                Some(b'}') if position + 1 == text.len() => return Ok(()),
                _ => return Err(self.fault(format!("row {row} breaks off at byte {position}"))),
            }
        }
    }

    /// The column of the key at `position`, and where its value starts.
    #[inline]
    fn key(&self, work: &mut Work, before: usize, text: &[u8], position: usize) -> Option<(usize, usize)> {
        let expected = work.successors[before];
        let pattern = &self.plans.get(expected)?.pattern;
        if text[position..].starts_with(pattern) {
            return Some((expected, position + pattern.len()));
        }
        let (name, _) = scan::string(text, position).ok()?;
        let column = *self.by_name.get(name)?;
        let end = position + self.plans[column].pattern.len();
        work.successors[before] = column;
        (text.get(end - 1) == Some(&b':')).then_some((column, end))
    }

    /// Reads a value into its cell; returns the position after it.
    #[inline]
    fn cell(
        &self,
        work: &mut Work,
        row: usize,
        column: usize,
        text: &[u8],
        start: usize,
    ) -> Result<usize, &'static str> {
        if text.get(start) == Some(&b'n') {
            work.validity[column].unset(row);
            return if text[start..].starts_with(b"null") { Ok(start + 4) } else { Err("not a value") };
        }
        work.validity[column].set(row);
        let end;
        match &mut work.columns[column] {
            Values::Text(texts) => end = texts.read_string(row, text, start)?,
            Values::Boolean(values) => (values[row], end) = scan::boolean(text, start)?,
            Values::Integer(values) => (values[row], end) = scan::integer(text, start)?,
            Values::Decimal(values) => (values[row], end) = scan::decimal(text, start)?,
            Values::Date(values) => (values[row], end) = scan::date(text, start, &mut work.last_date)?,
            Values::Timestamp(values) => {
                let time;
                (time, end) = scan::timestamp(text, start, &mut work.last_date)?;
                if let Some(time) = time {
                    values[row] = time;
                } else {
                    work.validity[column].unset(row);
                    let change = Change { row, column, cause: Cause::Destination };
                    work.beyond.push((change, text[start..end].to_vec()));
                }
            }
            Values::Json(texts) => end = texts.read_json(row, text, start)?,
        }
        Ok(end)
    }

    fn finish(&self, mut work: Work, rows: &Rows) -> Result<Columns> {
        let mut changes = rows.changes().to_vec();
        for (change, text) in std::mem::take(&mut work.beyond) {
            self.keep_beside(&mut work, change, &text)?;
            changes.push(change);
        }
        changes.sort_by_key(|change| (change.row, change.column));
        let notes = rows.notes().to_vec();
        Ok(Columns { rows: rows.len(), columns: work.columns, validity: work.validity, changes, notes })
    }

    /// Keeps the text of a value that its column cannot hold in [`EXTRA_COLUMN`].
    fn keep_beside(&self, work: &mut Work, cell: Change, value: &[u8]) -> Result<()> {
        let plan = &self.plans[cell.column];
        let Some(extra) = self.extra.filter(|_| !plan.is_key) else {
            return Err(Error::new(
                ErrorKind::Sink,
                format!("`{}` of table {} holds a time that does not fit", plan.name, self.table),
            )
            .hint("times with nanoseconds reach from 1677-09-22 to 2262-04-11"));
        };
        let Values::Json(texts) = &mut work.columns[extra] else {
            return Err(self.fault(format!("`{EXTRA_COLUMN}` is not a JSON column")));
        };
        let old = if work.validity[extra].get(cell.row) { texts.get(cell.row) } else { b"{}" };
        let Some(head) = old.strip_suffix(b"}").filter(|head| head.starts_with(b"{")) else {
            return Err(self.fault(format!("row {} has no object in `{EXTRA_COLUMN}`", cell.row)));
        };
        let comma: &[u8] = if head == b"{" { b"" } else { b"," };
        // The source may have kept something of the same name there.
        let text = mended(&[head, comma, &plan.pattern, value, b"}"].concat());
        texts
            .store(cell.row, |bytes| {
                bytes.extend_from_slice(&text);
                Ok(())
            })
            .map_err(|wrong| self.fault(wrong))?;
        work.validity[extra].set(cell.row);
        Ok(())
    }

    fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::bug(format!("rows of table {} are not canonical: {what}", self.table))
    }
}

impl Values {
    fn zeros(ty: ColumnType, rows: usize) -> Self {
        let texts = || Texts { bytes: Vec::new(), spans: vec![(0, 0); rows] };
        match ty {
            ColumnType::Text => Self::Text(texts()),
            ColumnType::Boolean => Self::Boolean(vec![false; rows]),
            ColumnType::Integer => Self::Integer(vec![0; rows]),
            ColumnType::Decimal => Self::Decimal(vec![0; rows]),
            ColumnType::Date => Self::Date(vec![0; rows]),
            ColumnType::Timestamp => Self::Timestamp(vec![0; rows]),
            ColumnType::Json => Self::Json(texts()),
        }
    }
}

impl Texts {
    /// Stores what `write` appends as the text of a row.
    fn store(
        &mut self,
        row: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        let fits = "a batch with more than 4 GiB of text in a column";
        let start = u32::try_from(start).map_err(|_| fits)?;
        let end = u32::try_from(self.bytes.len()).map_err(|_| fits)?;
        self.spans[row] = (start, end - start);
        Ok(())
    }

    fn read_string(&mut self, row: usize, text: &[u8], start: usize) -> Result<usize, &'static str> {
        let (raw, end) = scan::string(text, start)?;
        if raw.contains(&b'\\') {
            self.store(row, |bytes| {
                push_unescaped(bytes, raw);
                Ok(())
            })?;
        } else if row > 0 && self.get(row - 1) == raw {
            self.spans[row] = self.spans[row - 1];
        } else {
            self.store(row, |bytes| {
                bytes.extend_from_slice(raw);
                Ok(())
            })?;
        }
        Ok(end)
    }

    fn read_json(&mut self, row: usize, text: &[u8], start: usize) -> Result<usize, &'static str> {
        let (raw, end) = scan::value(text, start)?;
        self.store(row, |bytes| {
            bytes.extend_from_slice(raw);
            Ok(())
        })?;
        Ok(end)
    }
}
