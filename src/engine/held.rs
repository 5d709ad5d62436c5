//! The rows of one stream on their way into the sink, by what the source says of them.
//!
//! A source says of rows that they are covered: it will not send them again once the
//! progress past them is stored. Rows before that may be committed with it; rows after it
//! may not, because a source that dies sends them again. So rows wait here until they
//! are covered. Where too many come before that they go into the sink ahead of it, in a
//! transaction that holds nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::{Batch, Extent, ExtractedAt, Rows};
use crate::table::Table;

use super::feed::Arrival;
use super::units::Units;

/// Rows that wait, and how many of those in the sink are not committed.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Rows that wait.
    rows: Rows,
    extracted_at: ExtractedAt,
    /// Parts of the table that slices are the whole of, and the row that each begins at.
    replaces: VecDeque<(usize, Extent)>,
    units: Units,
    /// How many of the rows that wait are covered.
    covered: usize,
    /// Bytes of the rows that wait, and of those that are covered.
    bytes: usize,
    covered_bytes: usize,
    /// Rows of the sink's open transaction that are covered.
    sunk: u64,
    /// And those that are not yet.
    ahead: u64,
}

impl Held {
    /// Adds rows that are not covered yet.
    pub fn add(&mut self, arrival: Arrival) {
        let Arrival { partition, rows, extracted_at, replaces } = arrival;
        self.units.add(&partition, self.rows.len(), rows.len());
        self.replaces.extend(replaces.map(|extent| (self.rows.len(), extent)));
        self.bytes += rows.bytes();
        self.extracted_at.append(self.rows.len(), extracted_at, rows.len());
        self.rows.append(rows);
    }

    /// Bytes of the rows that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of those that are covered.
    pub fn covered_bytes(&self) -> usize {
        self.covered_bytes
    }

    /// Everything up to here is covered, a slice of this partition at the end. Returns how
    /// many rows that adds.
    pub fn cover(&mut self, partition: &Arc<str>) -> u64 {
        self.units.cover(partition);
        let more = (self.rows.len() - self.covered) as u64 + self.ahead;
        self.covered = self.rows.len();
        self.covered_bytes = self.bytes;
        self.sunk += std::mem::take(&mut self.ahead);
        more
    }

    /// The rows that go into the sink to make room; none when the transaction must be
    /// committed first.
    pub fn spill(&mut self, table: &Arc<Table>) -> Option<Batch> {
        if self.covered > 0 {
            return self.take_covered(table);
        }
        if self.sunk > 0 {
            return None;
        }
        self.ahead += self.rows.len() as u64;
        Some(Batch { ahead: true, ..self.take(table, self.rows.len()) })
    }

    /// The covered rows that wait; they count as being in the sink from here on.
    pub fn take_covered(&mut self, table: &Arc<Table>) -> Option<Batch> {
        if self.covered == 0 {
            return None;
        }
        self.sunk += self.covered as u64;
        Some(self.take(table, self.covered))
    }

    fn take(&mut self, table: &Arc<Table>, rows: usize) -> Batch {
        let rest = if rows < self.rows.len() { self.rows.split_off(rows) } else { Rows::default() };
        let units = self.units.take(rows, rest.len());
        let taken = std::mem::replace(&mut self.rows, rest);
        let rest = self.extracted_at.split_off(rows);
        let extracted_at = std::mem::replace(&mut self.extracted_at, rest);
        let mut replaces = Vec::new();
        while self.replaces.front().is_some_and(|(row, _)| *row < rows) {
            replaces.extend(self.replaces.pop_front().map(|(_, extent)| extent));
        }
        self.replaces.iter_mut().for_each(|(row, _)| *row -= rows);
        self.covered = 0;
        self.covered_bytes = 0;
        self.bytes = self.rows.bytes();
        Batch { table: Arc::clone(table), rows: taken, extracted_at, units, replaces, ahead: false }
    }

    /// Whether covered rows are not committed.
    pub fn is_dirty(&self) -> bool {
        self.covered > 0 || self.sunk > 0
    }

    /// Whether the sink holds rows that are not covered.
    pub fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// The transaction was committed. Returns how many rows it held.
    pub fn committed(&mut self) -> u64 {
        self.units.committed();
        std::mem::take(&mut self.sunk)
    }

    /// Forgets the rows that are not covered; returns how many they were. Those of
    /// them that the sink holds have to be rolled back.
    pub fn forget_uncovered(&mut self) -> u64 {
        let waiting = self.rows.len() - self.covered;
        self.units.forget_from(self.covered);
        if waiting > 0 {
            drop(self.rows.split_off(self.covered));
            drop(self.extracted_at.split_off(self.covered));
            self.replaces.retain(|(row, _)| *row < self.covered);
            self.bytes = self.covered_bytes;
        }
        waiting as u64 + std::mem::take(&mut self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::batch::Bound;

    fn table() -> Arc<Table> {
        Arc::new(Table::new("t", Vec::new(), &[]))
    }

    fn shard() -> Arc<str> {
        Arc::from("A")
    }

    fn extent(day: i64) -> Extent {
        let day = date(2024, 1, i8::try_from(day).unwrap());
        Extent { partition: None, cursor: "d".to_owned(), from: Bound::Day(day), until: None }
    }

    /// Adds rows that carry their number as text, time and, the first, as extent.
    fn add(held: &mut Held, numbers: std::ops::Range<i64>) {
        let mut rows = Rows::default();
        numbers.clone().for_each(|number| rows.push(number.to_string().as_bytes()));
        let replaces = Some(extent(numbers.start + 1));
        held.add(Arrival {
            partition: shard(),
            rows,
            extracted_at: ExtractedAt::Each(numbers.collect()),
            replaces,
        });
    }

    fn told(batch: &Batch) -> Vec<i64> {
        let texts: Vec<i64> =
            batch.rows.iter().map(|row| std::str::from_utf8(row).unwrap().parse().unwrap()).collect();
        let times: Vec<i64> = (0..texts.len()).map(|row| batch.extracted_at.of(row)).collect();
        assert_eq!(texts, times);
        texts
    }

    fn written(held: &mut Held) -> Batch {
        held.spill(&table()).expect("no commit has to be first")
    }

    #[test]
    fn only_covered_rows_are_written_while_there_are_any() {
        let mut held = Held::default();
        add(&mut held, 0..3);
        assert_eq!(held.cover(&shard()), 3);
        add(&mut held, 3..5);
        let first = written(&mut held);
        assert_eq!((told(&first), first.ahead, first.replaces), (vec![0, 1, 2], false, vec![extent(1)]));
        assert!(held.is_dirty() && !held.is_ahead() && held.covered_bytes() == 0 && held.bytes() == 4);
        // The rest may not join them in their transaction.
        assert!(held.spill(&table()).is_none());
        assert_eq!(held.committed(), 3);
        let second = written(&mut held);
        assert_eq!((told(&second), second.ahead, second.replaces), (vec![3, 4], true, vec![extent(4)]));
        assert!(held.is_ahead() && !held.is_dirty());
        add(&mut held, 5..6);
        assert_eq!(held.cover(&shard()), 3);
        assert!(held.is_dirty() && !held.is_ahead());
        assert_eq!(told(&held.take_covered(&table()).unwrap()), [5]);
        assert_eq!(held.committed(), 3);
        assert!(held.take_covered(&table()).is_none());
    }

    #[test]
    fn what_is_not_covered_is_forgotten() {
        let mut held = Held::default();
        add(&mut held, 0..2);
        held.cover(&shard());
        add(&mut held, 2..5);
        assert_eq!(held.forget_uncovered(), 3);
        let kept = held.take_covered(&table()).unwrap();
        assert_eq!((told(&kept), kept.replaces), (vec![0, 1], vec![extent(1)]));
        held.committed();
        add(&mut held, 5..7);
        assert_eq!(told(&written(&mut held)), [5, 6]);
        add(&mut held, 7..8);
        assert!(held.is_ahead());
        assert_eq!(held.forget_uncovered(), 3);
        assert!(!held.is_ahead() && !held.is_dirty() && held.bytes() == 0);
    }
}
