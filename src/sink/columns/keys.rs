//! What a sink that replaces rows by key wants to know of a batch.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{Columns, Values};

/// The rows with the smallest and the greatest value of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extremes {
    /// Row of the smallest value.
    pub min: usize,
    /// Row of the greatest value.
    pub max: usize,
    /// Whether other rows are NULL.
    pub has_null: bool,
}

impl Columns {
    /// Keeps of each key's rows only the last, or of those the last with the greatest
    /// value in the column `version`. `key` holds column indices; NULL equals NULL and is
    /// the least. Returns which rows were kept, unless all were.
    pub fn keep_last(&mut self, key: &[usize], version: Option<usize>) -> Option<Vec<u32>> {
        if self.ascends(key) {
            return None;
        }
        let (bytes, ends) = self.encoded(key);
        let mut last = HashMap::with_capacity(self.rows);
        let mut start = 0;
        for (row, end) in ends.iter().enumerate() {
            let kept = last.entry(&bytes[start..*end]).or_insert(row as u32);
            let is_older = |version| self.compare(version, row, *kept as usize) == Ordering::Less;
            if !version.is_some_and(is_older) {
                *kept = row as u32;
            }
            start = *end;
        }
        if last.len() == self.rows {
            return None;
        }
        let mut keep: Vec<u32> = last.into_values().collect();
        keep.sort_unstable();
        self.retain(&keep);
        Some(keep)
    }

    /// Whether each row's key is greater than that of the row before it, as
    /// those of a page in order of time are: then no two are equal.
    fn ascends(&self, key: &[usize]) -> bool {
        (1..self.rows).all(|row| {
            let order = key.iter().map(|column| self.compare(*column, row - 1, row));
            order.fold(Ordering::Equal, Ordering::then) == Ordering::Less
        })
    }

    /// The order of two rows by one column, NULL first.
    fn compare(&self, column: usize, left: usize, right: usize) -> Ordering {
        let validity = &self.validity[column];
        match (validity.get(left), validity.get(right)) {
            (true, true) => {}
            (left, right) => return left.cmp(&right),
        }
        match &self.columns[column] {
            Values::Text(texts) | Values::Json(texts) => {
                if texts.span(left) == texts.span(right) {
                    return Ordering::Equal;
                }
                texts.get(left).cmp(texts.get(right))
            }
            Values::Boolean(values) => values[left].cmp(&values[right]),
            Values::Integer(values) | Values::Timestamp(values) | Values::Micros(values) => {
                values[left].cmp(&values[right])
            }
            Values::Decimal(_, values) => values[left].cmp(&values[right]),
            Values::WideDecimal(_, values) => values[left].cmp(&values[right]),
            // None of them is NaN.
            Values::Double(values) => values[left].partial_cmp(&values[right]).unwrap_or(Ordering::Equal),
            Values::Date(values) => values[left].cmp(&values[right]),
        }
    }

    /// Each row's key as bytes that are equal if and only if the keys are, and
    /// where each ends.
    fn encoded(&self, key: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::with_capacity(self.rows * key.len() * 12);
        let mut ends = Vec::with_capacity(self.rows);
        for row in 0..self.rows {
            for column in key {
                self.encode(*column, row, &mut bytes);
            }
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn encode(&self, column: usize, row: usize, out: &mut Vec<u8>) {
        out.push(u8::from(self.validity[column].get(row)));
        if !self.validity[column].get(row) {
            return;
        }
        match &self.columns[column] {
            Values::Text(texts) | Values::Json(texts) => {
                let text = texts.get(row);
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text);
            }
            Values::Boolean(values) => out.push(u8::from(values[row])),
            Values::Integer(values) | Values::Timestamp(values) | Values::Micros(values) => {
                out.extend_from_slice(&values[row].to_le_bytes());
            }
            Values::Decimal(_, values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Values::WideDecimal(_, values) => out.extend_from_slice(&values[row].to_le_bytes()),
            // -0.0 and 0.0 are one key, as they are to a warehouse.
            Values::Double(values) => out.extend_from_slice(&(values[row] + 0.0).to_le_bytes()),
            Values::Date(values) => out.extend_from_slice(&values[row].to_le_bytes()),
        }
    }

    /// The extremes of a column, text by its bytes; `None` when all rows are NULL.
    pub fn extremes(&self, column: usize) -> Option<Extremes> {
        let validity = &self.validity[column];
        let first = (0..self.rows).find(|row| validity.get(*row))?;
        let mut extremes = Extremes { min: first, max: first, has_null: first > 0 };
        for row in first + 1..self.rows {
            if !validity.get(row) {
                extremes.has_null = true;
            } else if self.compare(column, row, extremes.min) == Ordering::Less {
                extremes.min = row;
            } else if self.compare(column, row, extremes.max) == Ordering::Greater {
                extremes.max = row;
            }
        }
        Some(extremes)
    }
}
