//! Which slices the rows that wait are of.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::batch::Unit;

/// The units of the rows that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Units {
    waiting: VecDeque<Unit>,
    /// Of the slice that is not covered yet, once there are rows of it, the partition.
    open: Option<Arc<str>>,
    /// How many of its rows were taken.
    taken: u64,
    /// How many slices of each partition are covered and not committed.
    slices: HashMap<Arc<str>, u64>,
}

impl Units {
    /// So many rows of a partition come after the first `waiting` ones.
    pub fn add(&mut self, partition: &Arc<str>, waiting: usize, rows: usize) {
        if rows == 0 {
            return;
        }
        if self.open.as_ref() != Some(partition) {
            self.open = Some(Arc::clone(partition));
            self.taken = 0;
        } else if !self.waiting.is_empty() {
            return;
        }
        let slice = self.slices.get(partition).copied().unwrap_or(0);
        let unit = Unit { row: waiting, shard: Arc::clone(partition), slice, before: self.taken };
        self.waiting.push_back(unit);
    }

    /// A slice of the partition ends here.
    pub fn cover(&mut self, partition: &Arc<str>) {
        self.open = None;
        *self.slices.entry(Arc::clone(partition)).or_default() += 1;
    }

    /// Takes off those of the first `rows` rows; so many are left.
    pub fn take(&mut self, rows: usize, left: usize) -> Vec<Unit> {
        let mut taken = Vec::new();
        while self.waiting.front().is_some_and(|unit| unit.row < rows) {
            taken.extend(self.waiting.pop_front());
        }
        if let Some(last) = taken.last() {
            let rest = Unit { row: rows, before: last.before + (rows - last.row) as u64, ..last.clone() };
            if left == 0 {
                self.taken = rest.before;
            } else if self.waiting.front().is_none_or(|unit| unit.row > rows) {
                self.waiting.push_front(rest);
            }
        }
        self.waiting.iter_mut().for_each(|unit| unit.row -= rows);
        taken
    }

    /// What was covered is committed: the slice that goes on is the first behind it.
    pub fn committed(&mut self) {
        self.slices.clear();
        self.waiting.iter_mut().for_each(|unit| unit.slice = 0);
    }

    /// The rows from this one on are void, and with them their slice.
    pub fn forget_from(&mut self, row: usize) {
        self.open = None;
        self.waiting.retain(|unit| unit.row < row);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::feed::Arrival;
    use super::super::held::Held;
    use super::*;
    use crate::batch::{Batch, ExtractedAt, Rows};
    use crate::table::{Metadata, Table};

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// So many rows of the open slice.
        Rows(u64),
        /// Its end; the next one is of this partition.
        Cover(usize),
        /// Its failure.
        Forget,
        /// No room: covered rows go into the sink, else those ahead.
        Spill,
        Commit,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4_u64).prop_map(Step::Rows),
            3 => (0..3_usize).prop_map(Step::Cover),
            1 => Just(Step::Forget),
            2 => Just(Step::Spill),
            2 => Just(Step::Commit),
        ];
        proptest::collection::vec(step, 1..60)
    }

    /// Each row has its name as text: partition, slice of it since the beginning, place.
    fn named(partition: usize, slice: u64, row: u64) -> String {
        format!("{partition}/{slice}/{row}")
    }

    /// The names of a batch's rows by its units.
    fn names(batch: &Batch, committed: &[u64; 3]) -> Vec<String> {
        let name = |row: usize| {
            let unit = batch.units.iter().rev().find(|unit| unit.row <= row).unwrap();
            let partition: usize = unit.shard.parse().unwrap();
            named(partition, committed[partition] + unit.slice, unit.before + (row - unit.row) as u64)
        };
        (0..batch.rows.len()).map(name).collect()
    }

    fn arrival(partition: usize, slice: u64, rows: std::ops::Range<u64>) -> Arrival {
        let mut texts = Rows::default();
        rows.for_each(|row| texts.push(named(partition, slice, row).as_bytes()));
        let partition = Arc::from(partition.to_string());
        Arrival { partition, rows: texts, extracted_at: ExtractedAt::All(0), replaces: None }
    }

    proptest! {
        #[test]
        fn a_row_has_one_name_however_it_is_cut_into_batches(steps in steps()) {
            let table =
                Arc::new(Table { name: "t".to_owned(), columns: Vec::new(), key: Vec::new(), cursor: None, version: None, metadata: Metadata::ALL.to_vec() });
            let mut held = Held::default();
            let (mut covered, mut committed) = ([0_u64; 3], [0_u64; 3]);
            let (mut partition, mut row) = (0, 0);
            let mut batches: Vec<(Batch, [u64; 3])> = Vec::new();
            for step in steps {
                let is_ahead = held.is_ahead();
                match step {
                    Step::Rows(more) => {
                        held.add(arrival(partition, covered[partition], row..row + more));
                        row += more;
                    }
                    Step::Cover(next) => {
                        if is_ahead && held.bytes() > 0 && let Some(batch) = held.spill(&table) {
                            batches.push((batch, committed));
                        }
                        held.cover(&Arc::from(partition.to_string()));
                        covered[partition] += 1;
                        (partition, row) = (next, 0);
                    }
                    Step::Forget => {
                        held.forget_uncovered();
                        row = 0;
                    }
                    Step::Spill if held.bytes() > 0 => {
                        if let Some(batch) = held.spill(&table) {
                            batches.push((batch, committed));
                        }
                    }
                    Step::Spill => {}
                    Step::Commit => {}
                }
                // What was ahead is committed as soon as it is covered.
                if matches!(step, Step::Commit) && !held.is_ahead() || is_ahead && !held.is_ahead() {
                    batches.extend(held.take_covered(&table).map(|batch| (batch, committed)));
                    held.committed();
                    committed = covered;
                }
            }
            for (batch, committed) in &batches {
                let texts: Vec<_> = batch.rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect();
                prop_assert_eq!(names(batch, committed), texts);
                prop_assert!(batch.units.is_sorted_by_key(|unit| unit.row) && batch.units[0].row == 0);
            }
        }
    }
}
