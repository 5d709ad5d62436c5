//! The rows of one stream on their way into the sink, by what the source's STATEs
//! say of them.
//!
//! Rows before a STATE may be committed with it; rows after it may not, because a
//! source that dies sends them again. So rows wait here until a STATE covers them.
//! Where too many come without one they go into the sink's transaction ahead of it,
//! and the transaction holds nothing else.

use std::sync::Arc;

use crate::batch::{Batch, ExtractedAt, Rows};
use crate::catalog::Table;
use crate::checkpoint::Cover;

/// Rows that wait, and how many of those in the sink are not committed.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// Rows that wait.
    pub rows: Rows,
    emitted_at: Vec<i64>,
    /// How many of those that wait a STATE covers.
    covered: usize,
    /// Rows of the sink's open transaction that a STATE covers.
    sunk: u64,
    /// And those that none covers yet.
    ahead: u64,
}

/// What must happen before a buffer that is full has room again.
#[derive(Debug)]
pub(super) enum Spill {
    /// These rows go into the sink.
    Write(Rows, ExtractedAt),
    /// The transaction must be committed first.
    Commit,
}

impl Buffer {
    /// Notes when the row was emitted that was just added to `rows`.
    pub fn added(&mut self, emitted_at: i64) {
        self.emitted_at.push(emitted_at);
    }

    /// A STATE covers everything up to here. Returns how many rows that adds.
    pub fn cover(&mut self) -> u64 {
        let more = (self.rows.len() - self.covered) as u64 + self.ahead;
        self.covered = self.rows.len();
        self.sunk += std::mem::take(&mut self.ahead);
        more
    }

    /// What to do to make room.
    pub fn spill(&mut self) -> Spill {
        if self.covered > 0 {
            let (rows, emitted_at) = self.take_covered();
            return Spill::Write(rows, emitted_at);
        }
        if self.sunk > 0 {
            return Spill::Commit;
        }
        self.ahead += self.rows.len() as u64;
        Spill::Write(std::mem::take(&mut self.rows), ExtractedAt::Each(std::mem::take(&mut self.emitted_at)))
    }

    /// The covered rows that wait; they count as being in the sink from here on.
    pub fn take_covered(&mut self) -> (Rows, ExtractedAt) {
        let rest =
            if self.covered < self.rows.len() { self.rows.split_off(self.covered) } else { Rows::default() };
        let rows = std::mem::replace(&mut self.rows, rest);
        let rest = self.emitted_at.split_off(self.covered);
        let emitted_at = std::mem::replace(&mut self.emitted_at, rest);
        self.sunk += std::mem::take(&mut self.covered) as u64;
        (rows, ExtractedAt::Each(emitted_at))
    }

    /// Whether covered rows are not committed.
    pub fn is_dirty(&self) -> bool {
        self.covered > 0 || self.sunk > 0
    }

    /// Whether the sink holds rows that no STATE covers.
    pub fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// The transaction was committed. Returns how many rows it held.
    pub fn committed(&mut self) -> u64 {
        std::mem::take(&mut self.sunk)
    }

    /// Forgets the rows that no STATE covers; returns how many they were. Those of
    /// them that the sink holds have to be rolled back.
    pub fn forget_uncovered(&mut self) -> u64 {
        let waiting = self.rows.len() - self.covered;
        if waiting > 0 {
            drop(self.rows.split_off(self.covered));
            self.emitted_at.truncate(self.covered);
        }
        waiting as u64 + std::mem::take(&mut self.ahead)
    }
}

/// Rows as the sink takes them.
pub(super) fn batch(table: &Arc<Table>, rows: Rows, extracted_at: ExtractedAt) -> Batch {
    Batch { table: Arc::clone(table), rows, extracted_at, covers: Cover::Part, replaces: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(buffer: &mut Buffer, rows: std::ops::Range<i64>) {
        for row in rows {
            buffer.rows.push(row.to_string().as_bytes());
            buffer.added(row);
        }
    }

    fn told((rows, extracted_at): (Rows, ExtractedAt)) -> Vec<i64> {
        let ExtractedAt::Each(emitted_at) = extracted_at else { panic!("of all rows") };
        let texts: Vec<i64> =
            rows.iter().map(|row| std::str::from_utf8(row).unwrap().parse().unwrap()).collect();
        assert_eq!(texts, emitted_at);
        emitted_at
    }

    fn written(buffer: &mut Buffer) -> Vec<i64> {
        match buffer.spill() {
            Spill::Write(rows, extracted_at) => told((rows, extracted_at)),
            Spill::Commit => panic!("a commit first"),
        }
    }

    #[test]
    fn only_covered_rows_are_written_while_there_are_any() {
        let mut buffer = Buffer::default();
        add(&mut buffer, 0..3);
        assert_eq!(buffer.cover(), 3);
        add(&mut buffer, 3..5);
        assert_eq!(written(&mut buffer), [0, 1, 2]);
        assert!(buffer.is_dirty() && !buffer.is_ahead());
        // The rest may not join them in their transaction.
        assert!(matches!(buffer.spill(), Spill::Commit));
        assert_eq!(buffer.committed(), 3);
        assert_eq!(written(&mut buffer), [3, 4]);
        assert!(buffer.is_ahead() && !buffer.is_dirty());
        add(&mut buffer, 5..6);
        assert_eq!(buffer.cover(), 3);
        assert!(buffer.is_dirty() && !buffer.is_ahead());
        assert_eq!(told(buffer.take_covered()), [5]);
        assert_eq!(buffer.committed(), 3);
    }

    #[test]
    fn what_no_state_covers_is_forgotten() {
        let mut buffer = Buffer::default();
        add(&mut buffer, 0..2);
        buffer.cover();
        add(&mut buffer, 2..5);
        assert_eq!(buffer.forget_uncovered(), 3);
        assert_eq!(told(buffer.take_covered()), [0, 1]);
        buffer.committed();
        add(&mut buffer, 5..7);
        assert_eq!(written(&mut buffer), [5, 6]);
        add(&mut buffer, 7..8);
        assert!(buffer.is_ahead());
        assert_eq!(buffer.forget_uncovered(), 3);
        assert!(!buffer.is_ahead() && !buffer.is_dirty() && buffer.rows.is_empty());
    }
}
