//! From rows of text to columns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::scan::{self, LastDate};
use super::{Columns, Texts, Validity, Values};
use crate::batch::{Cause, Change, Rows};
use crate::canonical::{mended, push_unescaped};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::numbers::{tell_beside, unfit_key};
use crate::table::{ColumnType, EXTRA_COLUMN, Need, Table, Width};

/// Decodes the canonical rows of one table.
#[derive(Debug)]
pub struct Decoder {
    table: String,
    plans: Vec<Plan>,
    /// By the name as JSON writes it, without its quotes.
    by_name: HashMap<Vec<u8>, usize>,
    extra: Option<usize>,
    /// The columns' types now: decimals widen with the values that come, and nanoseconds
    /// become microseconds.
    types: Mutex<Vec<ColumnType>>,
}

/// What became of rows.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    /// They are columns.
    Columns(Columns),
    /// These columns of nanoseconds have times that those do not reach. Microseconds would,
    /// and these rows need nothing finer: the sink [settles](Decoder::settle) whether its
    /// table can have them, and the rows are decoded again.
    Unsettled(Vec<usize>),
}

/// What the decoder knows of a column.
#[derive(Debug)]
struct Plan {
    name: String,
    ty: ColumnType,
    /// `"name":`, as JSON writes it.
    pattern: Vec<u8>,
    is_key: bool,
    /// Whether it is settled that a column of nanoseconds stays one.
    keeps_nanos: AtomicBool,
    /// Whether it was told already that a value of this column is kept beside it.
    is_told: AtomicBool,
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
    /// Values that their column does not hold, or not to the last digit, as their text:
    /// times that 64 bits of nanoseconds do not reach or that have more digits than
    /// microseconds, numbers that no decimal or double holds.
    beyond: Vec<(Change, Vec<u8>)>,
    /// For each column the width that its decimals need; another one than the column
    /// has is a reason to begin anew.
    widths: Vec<Option<Width>>,
}

impl Decoder {
    /// A decoder for rows of `table`, which are `merged` by its key or added as they are.
    pub fn new(table: &Table, merged: bool) -> Self {
        let plan = |column: &crate::table::Column| Plan {
            name: column.name.clone(),
            ty: column.ty,
            pattern: format!("{}:", serde_json::Value::from(column.name.as_str())).into_bytes(),
            is_key: merged && table.key.contains(&column.name),
            keeps_nanos: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        };
        let plans: Vec<Plan> = table.columns.iter().map(plan).collect();
        let key = |plan: &Plan| plan.pattern[1..plan.pattern.len() - 2].to_vec();
        Self {
            table: table.name.clone(),
            by_name: plans.iter().enumerate().map(|(index, plan)| (key(plan), index)).collect(),
            plans,
            extra: table.position(EXTRA_COLUMN),
            types: Mutex::new(table.columns.iter().map(|column| column.ty).collect()),
        }
    }

    /// Decodes all rows, or none.
    ///
    /// A column of decimals is as wide as its widest value needs, at least as the table
    /// says, and as it was before: a sink that is handed one wider than its own widens
    /// that. A time that 64-bit nanoseconds do not reach, in a column that is settled to
    /// have them, and a number that no decimal holds which also holds those before it,
    /// becomes NULL, its text goes into [`EXTRA_COLUMN`] under the column's name, and the
    /// cell is listed in [`Columns::changes`]. So is a time that a column of microseconds
    /// holds without its last digits.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] for a row that is not canonical, [`ErrorKind::Table`] for
    /// such a value in a key by which rows are merged.
    pub fn decode(&self, rows: &Rows) -> Result<Decoded> {
        for text in rows.texts() {
            std::str::from_utf8(text)
                .map_err(|error| self.fault("holds bytes that are not UTF-8").caused_by(error))?;
        }
        loop {
            let (mut work, types) = self.begin(rows.len());
            for (index, text) in rows.iter().enumerate() {
                self.row(&mut work, index, text)?;
            }
            if self.widen(&types, &work.widths) {
                continue;
            }
            let unsettled = self.unsettled(&work);
            if unsettled.is_empty() {
                return self.finish(work, rows).map(Decoded::Columns);
            }
            return Ok(Decoded::Unsettled(unsettled));
        }
    }

    /// The columns that [`Decoded::Unsettled`] lists.
    fn unsettled(&self, work: &Work) -> Vec<usize> {
        let mut columns: Vec<usize> = work.beyond.iter().map(|(change, _)| change.column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.retain(|column| match &work.columns[*column] {
            Values::Timestamp(times) => {
                !self.plans[*column].keeps_nanos.load(Ordering::Relaxed)
                    && times.iter().all(|time| time % 1000 == 0)
            }
            _ => false,
        });
        columns
    }

    /// Settles of a column of nanoseconds whether it has microseconds from now on.
    pub fn settle(&self, column: &str, in_micros: bool) {
        let Some(index) = self.plans.iter().position(|plan| plan.name == column) else { return };
        if in_micros {
            let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
            types[index] = ColumnType::TimestampMicros;
        } else {
            self.plans[index].keeps_nanos.store(true, Ordering::Relaxed);
        }
    }

    fn begin(&self, rows: usize) -> (Work, Vec<ColumnType>) {
        let types = self.types.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let width = |ty: &ColumnType| match ty {
            ColumnType::Decimal(width) => Some(*width),
            _ => None,
        };
        let work = Work {
            columns: types.iter().map(|ty| Values::zeros(*ty, rows)).collect(),
            validity: types.iter().map(|_| Validity::nulls(rows)).collect(),
            successors: (0..=self.plans.len()).map(|index| index % self.plans.len().max(1)).collect(),
            last_date: LastDate::default(),
            beyond: Vec::new(),
            widths: types.iter().map(width).collect(),
        };
        (work, types)
    }

    /// Widens the columns that need it; returns whether one did.
    fn widen(&self, types: &[ColumnType], widths: &[Option<Width>]) -> bool {
        let mut wider = types.to_vec();
        for (ty, width) in wider.iter_mut().zip(widths) {
            if let Some(width) = width {
                *ty = ColumnType::Decimal(*width);
            }
        }
        let widens = wider != types;
        if widens {
            *self.types.lock().unwrap_or_else(PoisonError::into_inner) = wider;
        }
        widens
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
            Values::Decimal(width, values) => {
                let number;
                (number, end) = scan::decimal(text, start)?;
                match number.narrow(*width) {
                    Some(value) => values[row] = value,
                    None => work.does_not_fit(row, column, number.need(), &text[start..end]),
                }
            }
            Values::WideDecimal(width, values) => {
                let number;
                (number, end) = scan::decimal(text, start)?;
                match number.wide(*width) {
                    Some(value) => values[row] = value,
                    None => work.does_not_fit(row, column, number.need(), &text[start..end]),
                }
            }
            Values::Double(values) => {
                let number;
                (number, end) = scan::decimal(text, start)?;
                match number.double() {
                    Some(value) => values[row] = value,
                    None => work.goes_beside(row, column, &text[start..end]),
                }
            }
            Values::Date(values) => (values[row], end) = scan::date(text, start, &mut work.last_date)?,
            Values::Timestamp(values) => {
                let time;
                (time, end) = scan::timestamp(text, start, &mut work.last_date)?;
                if let Some(time) = time.nanos() {
                    values[row] = time;
                } else {
                    work.goes_beside(row, column, &text[start..end]);
                }
            }
            Values::Micros(values) => {
                let time;
                (time, end) = scan::timestamp(text, start, &mut work.last_date)?;
                values[row] = time.micros();
                if time.is_cut_by_micros() {
                    work.is_cut(row, column, &text[start..end]);
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
            self.tell(change.column, &text);
            changes.push(change);
        }
        changes.sort_by_key(|change| (change.row, change.column));
        let (notes, deletes) = (rows.notes().to_vec(), rows.deletes().to_vec());
        let Work { columns, validity, .. } = work;
        Ok(Columns { rows: rows.len(), columns, validity, changes, notes, deletes })
    }

    /// Says of the first value of a column that it is kept beside it.
    fn tell(&self, column: usize, text: &[u8]) {
        let plan = &self.plans[column];
        if plan.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let (table, column) = (&self.table, &plan.name);
        match text.first() {
            Some(b'"') => tracing::warn!(
                table,
                column,
                "a time does not fit beside the column's others, because nanoseconds reach from 1677-09-22 to \
                 2262-04-11: such times are NULL there, or cut to microseconds where others lie outside of these \
                 days; they are listed in _airbyte_meta and kept in additional_properties"
            ),
            _ => tell_beside(table, column, plan.ty),
        }
    }

    /// Keeps the text of a value that its column cannot hold in [`EXTRA_COLUMN`].
    fn keep_beside(&self, work: &mut Work, cell: Change, value: &[u8]) -> Result<()> {
        let plan = &self.plans[cell.column];
        let Some(extra) = self.extra.filter(|_| !plan.is_key) else {
            return Err(match value.first() {
                Some(b'"') => self.unfit_time(&plan.name),
                _ => unfit_key(&self.table, &plan.name),
            });
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

    fn unfit_time(&self, column: &str) -> Error {
        Error::new(ErrorKind::Table, format!("`{column}` of table {} holds a time that does not fit", self.table))
            .hint("times with nanoseconds reach from 1677-09-22 to 2262-04-11, others have microseconds: make it text in the stream's schema, or choose the mode append")
    }

    fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::bug(format!("rows of table {} are not canonical: {what}", self.table))
    }
}

impl Work {
    /// Widens the column for a number, or keeps it beside where no decimal holds it
    /// together with the others.
    #[cold]
    fn does_not_fit(&mut self, row: usize, column: usize, need: Option<Need>, text: &[u8]) {
        let width = &mut self.widths[column];
        match need.and_then(|need| width.as_ref()?.with(need)) {
            Some(wider) => *width = Some(wider),
            None => self.goes_beside(row, column, text),
        }
    }

    /// Keeps a time beside what its column holds of it.
    #[cold]
    fn is_cut(&mut self, row: usize, column: usize, text: &[u8]) {
        self.beyond.push((Change { row, column, cause: Cause::Cut }, text.to_vec()));
    }

    #[cold]
    fn goes_beside(&mut self, row: usize, column: usize, text: &[u8]) {
        self.validity[column].unset(row);
        let change = Change { row, column, cause: Cause::Destination };
        self.beyond.push((change, text.to_vec()));
    }
}

impl Values {
    fn zeros(ty: ColumnType, rows: usize) -> Self {
        let texts = || Texts { bytes: Vec::new(), spans: vec![(0, 0); rows] };
        match ty {
            ColumnType::Text => Self::Text(texts()),
            ColumnType::Boolean => Self::Boolean(vec![false; rows]),
            ColumnType::Integer => Self::Integer(vec![0; rows]),
            ColumnType::Decimal(width) if width.is_narrow() => Self::Decimal(width, vec![0; rows]),
            ColumnType::Decimal(width) => Self::WideDecimal(width, vec![0; rows]),
            ColumnType::Double => Self::Double(vec![0.0; rows]),
            ColumnType::Date => Self::Date(vec![0; rows]),
            ColumnType::Timestamp => Self::Timestamp(vec![0; rows]),
            ColumnType::TimestampMicros => Self::Micros(vec![0; rows]),
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
