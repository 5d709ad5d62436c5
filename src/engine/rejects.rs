//! Rows that their table cannot hold, on their way to where such rows are kept.
//!
//! They become durable with what covers them, as all rows do, and until then wait in
//! memory: rows are written ahead of what covers them, rejected ones are not.

use std::sync::Arc;

use super::feed::Arrival;
use crate::batch::{Keyless, Lack, Reject};
use crate::error::{Error, ErrorKind};
use crate::sink::REJECTED;
use crate::table::Table;

/// Bytes of a stream's rejected rows that may wait.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// The rejected rows of a stream.
#[derive(Debug)]
pub(super) struct Rejects {
    /// So many in a run fail the stream with the next one.
    max: u64,
    waiting: Vec<Reject>,
    /// Bytes of their text.
    bytes: usize,
    /// Of them, those that are covered.
    covered: usize,
    /// Those that are durable since the run began.
    durable: u64,
    /// Whether a person was told of the first.
    is_told: bool,
}

impl Rejects {
    pub fn new(max: u64) -> Self {
        Self { max, waiting: Vec::new(), bytes: 0, covered: 0, durable: 0, is_told: false }
    }

    /// Takes the rows without a primary key out of an arrival.
    pub fn take(&mut self, arrival: &mut Arrival, table: &Table) {
        let taken = arrival.rows.take_keyless();
        arrival.extracted_at.remove(taken.iter().map(|(keyless, _)| keyless.row));
        for (keyless, row) in taken {
            let (shard, reason) = (Arc::clone(&arrival.partition), reason(table, keyless));
            let row = String::from_utf8_lossy(&row).into_owned();
            self.bytes += row.len();
            self.waiting.push(Reject { shard, reason, row });
        }
    }

    /// Why the first of the run was rejected, told once.
    pub fn tell_first(&mut self) -> Option<&str> {
        let first = self.waiting.first().filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(&first.reason)
    }

    /// The failure of a stream of which more are rejected than may be.
    pub fn too_many(&self) -> Option<Error> {
        let count = self.durable + self.waiting.len() as u64;
        let bytes = self.bytes;
        let last = self.waiting.last().filter(|_| count > self.max || bytes > WAITING_BYTES_MAX)?;
        let message = match count > self.max {
            true => format!(
                "{}; of {count} rows that is so in this run, and at most {} may be rejected",
                last.reason, self.max
            ),
            false => format!("{}; rows of {bytes} bytes wait to be put into {REJECTED}", last.reason),
        };
        Some(Error::new(ErrorKind::StreamConfig, message).hint(format!(
            "look at the rows in {REJECTED}; correct the source, choose the mode append or, if it is right that they are left out, a greater `rejected_max`"
        )))
    }

    /// Everything up to here is covered.
    pub fn cover(&mut self) {
        self.covered = self.waiting.len();
    }

    /// Forgets those that are not covered.
    pub fn forget_uncovered(&mut self) {
        let forgotten = self.waiting.drain(self.covered..);
        self.bytes -= forgotten.map(|reject| reject.row.len()).sum::<usize>();
    }

    /// Those that the next commit makes durable.
    pub fn covered(&self) -> &[Reject] {
        &self.waiting[..self.covered]
    }

    /// The commit took place. Returns how many it made durable.
    pub fn committed(&mut self) -> u64 {
        let durable = std::mem::take(&mut self.covered);
        self.bytes -= self.waiting.drain(..durable).map(|reject| reject.row.len()).sum::<usize>();
        self.durable += durable as u64;
        durable as u64
    }
}

fn reason(table: &Table, keyless: Keyless) -> String {
    let column = table.columns.get(keyless.column).map_or("", |column| column.name.as_str());
    let what = match keyless.lack {
        Lack::Absent => "is absent or null",
        Lack::Misfit => "is not of the type that the stream's schema says",
        Lack::Digits => {
            "has more digits than a number in a key can have: 20 before the point and 18 after it"
        }
        Lack::Mended => {
            "could only be stored changed: it is there twice, or holds half a character, NUL or bytes that are no text"
        }
    };
    format!("`{column}` of the primary key {what}")
}
