//! One stream under way: what waits, what is covered, how far it is.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::feed::Arrival;
use super::held::Held;
use super::rejects::Rejects;
use crate::batch::{Batch, Extent};
use crate::checkpoint::{Checkpoint, Cover};
use crate::error::{Error, ErrorKind, Result, listed};
use crate::sink::{Move, Portion, StreamId, Target};
use crate::table::{Column, Table};

/// Failed partitions that a message names; a log has them all.
const FAILED_NAMED_MAX: usize = 5;

/// A stream under way.
pub(super) struct StreamRun {
    pub id: StreamId,
    /// As of the last commit, or the one being made.
    pub checkpoint: Checkpoint,
    /// Whether what is read takes the place of what was there, once all of it is read.
    replaces: bool,
    /// Partitions that failed.
    failed: HashSet<Arc<str>>,
    /// Whether the source may have more of one of them.
    is_cut: bool,
    /// What they count as tried, once the others were read.
    given_up: Vec<Cover>,
    /// Whether a partition was read, by this run or an earlier one.
    has_read: bool,
    table: Arc<Table>,
    /// Whether it may learn columns.
    grows: bool,
    held: Held,
    /// The rows that the table cannot hold, where rows replace those with the same key.
    rejects: Option<Rejects>,
    /// The part of the table that a slice is the whole of whose rows were all rejected so far.
    extent: Option<Extent>,
    /// Rows since the last cover.
    of_slice: u64,
    /// What the next commit covers.
    covers: Vec<Cover>,
    slices: u64,
    /// Covered rows that are not committed.
    uncommitted: u64,
    /// Shards that the next commit moves.
    moved: BTreeSet<Arc<str>>,
}

/// How many rows a cover is about.
pub(super) struct Covered {
    /// Of its slice.
    pub of_slice: u64,
    /// That were not covered before.
    pub added: u64,
}

/// What a commit made durable of a stream.
pub(super) struct Committed {
    pub rows: u64,
    pub rejected: u64,
    pub slices: u64,
}

impl StreamRun {
    /// `is_text` says that the progress was stored as one text: the next commit moves
    /// every shard of it.
    /// What is read may be what `replaces` all that was there.
    pub fn new(id: StreamId, target: &Target, checkpoint: Checkpoint, is_text: bool, replaces: bool) -> Self {
        let moved = if is_text { checkpoint.shards().collect() } else { BTreeSet::new() };
        let has_read = checkpoint.shards().next().is_some();
        Self {
            id,
            checkpoint,
            replaces,
            failed: HashSet::new(),
            is_cut: false,
            given_up: Vec::new(),
            has_read,
            table: Arc::clone(&target.table),
            grows: target.grows,
            held: Held::default(),
            rejects: target.replaces_by_key().then(|| Rejects::new(target.rejected_max)),
            extent: None,
            of_slice: 0,
            covers: Vec::new(),
            slices: 0,
            uncommitted: 0,
            moved,
        }
    }

    /// Adds rows; returns their bytes and those that wait now.
    pub fn add(&mut self, mut arrival: Arrival) -> (usize, usize) {
        let before = self.held.bytes();
        if let Some(rejects) = self.rejects.as_mut().filter(|_| !arrival.rows.keyless().is_empty()) {
            rejects.take(&mut arrival, &self.table);
        }
        arrival.replaces = arrival.replaces.or(self.extent.take());
        if arrival.rows.is_empty() {
            self.extent = arrival.replaces;
            return (0, before);
        }
        self.of_slice += arrival.rows.len() as u64;
        self.held.add(arrival);
        (self.held.bytes() - before, self.held.bytes())
    }

    /// The table with columns that it learns.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when it may not, or has one of them.
    pub fn grown(&self, more: &[Column]) -> Result<Arc<Table>> {
        let grown = self.table.grown(more).filter(|_| self.grows);
        let names: Vec<&str> = more.iter().map(|column| column.name.as_str()).collect();
        let told = || Error::bug(format!("a table cannot learn the columns {}", names.join(", ")));
        grown.map(Arc::new).ok_or_else(told)
    }

    /// The sink has given its table columns. Rows that wait have no values there.
    pub fn grow(&mut self, table: Arc<Table>) {
        self.table = table;
    }

    /// The rows that the table cannot hold.
    pub fn rejects(&mut self) -> Option<&mut Rejects> {
        self.rejects.as_mut()
    }

    /// Bytes that wait.
    pub fn held(&self) -> usize {
        self.held.bytes()
    }

    /// Bytes of the covered rows that wait.
    pub fn covered_bytes(&self) -> usize {
        self.held.covered_bytes()
    }

    /// Everything up to here is covered, a slice of this partition at the end.
    pub fn cover(&mut self, partition: &Arc<str>, cover: Cover) -> Covered {
        let added = self.held.cover(partition);
        self.rejects.iter_mut().for_each(Rejects::cover);
        self.extent = None;
        self.has_read = true;
        // Of a foreign source's progress only the last counts.
        if matches!(cover, Cover::Foreign(_)) {
            self.covers.clear();
        }
        self.covers.push(cover);
        self.slices += 1;
        self.uncommitted += added;
        Covered { of_slice: std::mem::take(&mut self.of_slice), added }
    }

    /// Nothing more comes of a partition, of which the source may have more.
    pub fn partition_failed(&mut self, partition: Arc<str>, error: ErrorKind, given_up: Option<Cover>) {
        self.failed.insert(partition);
        self.is_cut |= error != ErrorKind::NotFound;
        self.given_up.extend(given_up);
    }

    /// All of the stream was read that can be. What fails a partition alone does not
    /// pass: the others do not wait for it.
    pub fn give_up(&mut self) {
        if self.is_whole() {
            self.covers.append(&mut self.given_up);
        }
    }

    /// Whether the run of a stream that was read to its end is one. Of a stream of which
    /// nothing could be read, or not all that the source has, there is nothing that could take
    /// the place of what was there.
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty() || (self.has_read && !(self.replaces && self.is_cut))
    }

    /// Whether what was there stays, although more was read.
    pub fn keeps_what_was(&self) -> bool {
        self.replaces && !self.is_whole()
    }

    /// As in [`Held::spill`]. A cover without rows of its own has to be committed before
    /// rows that it does not cover may be in a transaction that names the stream.
    pub fn spill(&mut self) -> Option<Batch> {
        if self.held.covered_bytes() == 0 && self.is_dirty() {
            return None;
        }
        self.held.spill(&self.table)
    }

    /// As in [`Held::take_covered`].
    pub fn take_covered(&mut self) -> Option<Batch> {
        self.held.take_covered(&self.table)
    }

    /// The rows that wait of a stream that wrote others ahead: they join them.
    pub fn take_ahead(&mut self) -> Option<Batch> {
        if self.held.bytes() == 0 {
            return None;
        }
        self.held.spill(&self.table)
    }

    /// Whether the sink holds rows that are not covered.
    pub fn is_ahead(&self) -> bool {
        self.held.is_ahead()
    }

    /// As in [`Held::forget_uncovered`].
    pub fn forget_uncovered(&mut self) -> u64 {
        self.of_slice = 0;
        self.rejects.iter_mut().for_each(Rejects::forget_uncovered);
        self.extent = None;
        self.held.forget_uncovered()
    }

    /// Whether anything is covered that is not committed.
    pub fn is_dirty(&self) -> bool {
        self.held.is_dirty() || !self.covers.is_empty()
    }

    /// Covered rows that are not committed.
    pub fn uncommitted(&self) -> u64 {
        self.uncommitted
    }

    /// Moves the checkpoint past what is covered, for the commit that is about to be made.
    pub fn move_checkpoint(&mut self) -> Result<()> {
        for cover in self.covers.drain(..) {
            self.moved.extend(self.checkpoint.apply(&cover)?);
        }
        Ok(())
    }

    /// What the commit that is about to be made has of it, besides rows.
    pub fn portion<'a>(&'a self, text: &'a (dyn Fn() -> String + Sync)) -> Portion<'a> {
        let rejected = self.rejects.as_ref().map_or(&[][..], Rejects::covered);
        Portion { rejected, ..Portion::new(self.id, self.moves(), text) }
    }

    /// Where the shards that moved are now.
    fn moves(&self) -> Vec<Move> {
        let position = |shard: &Arc<str>| {
            let position = self.checkpoint.stored_position(shard)?;
            Some(Move { shard: Arc::clone(shard), position: Some(position) })
        };
        self.moved.iter().filter_map(position).collect()
    }

    /// The commit took place. Returns what it made durable.
    pub fn committed(&mut self) -> Committed {
        self.moved.clear();
        self.uncommitted = 0;
        Committed {
            rows: self.held.committed(),
            rejected: self.rejects.as_mut().map_or(0, Rejects::committed),
            slices: std::mem::take(&mut self.slices),
        }
    }

    /// The failures of partitions as one: each was told when it happened.
    pub fn failure(&self, name: &str, errors: &[Error]) -> Option<Error> {
        if self.failed.is_empty() {
            return None;
        }
        let mut names: Vec<&str> = self.failed.iter().map(AsRef::as_ref).collect();
        names.sort_unstable();
        // They differ in the partition and hardly in the reason: the last one tells it.
        let last = errors.last();
        let kind = last.map_or(ErrorKind::NotFound, Error::kind);
        let reason = last.map(|error| format!(": {}", error.user_message())).unwrap_or_default();
        let message = format!("{} could not be read{reason}", listed(&names, FAILED_NAMED_MAX));
        Some(Error::new(kind, message).in_stream(name))
    }
}

/// All of a stream's progress as one text.
pub(super) fn text_of(checkpoint: &Checkpoint) -> impl Fn() -> String + Sync {
    || checkpoint.to_json()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::batch::{Bound, ExtractedAt, Lack, Rows};
    use crate::sink::WriteMode;

    /// A stream of a table with this key.
    fn stream(key: &[&str], rejected_max: u64) -> StreamRun {
        let table = Table::new("t", Vec::new(), key);
        let target =
            Target { rejected_max, ..Target::new("p", "s", Arc::new(table), WriteMode::AppendDedup) };
        StreamRun::new(StreamId(0), &target, Checkpoint::default(), false, false)
    }

    fn part() -> Extent {
        let from = Bound::Day(date(2024, 1, 2));
        Extent { partition: None, cursor: "d".to_owned(), from, until: None }
    }

    /// Rows of a page, the first so many of them without a key.
    fn arrival(keyless: usize, rows: usize, replaces: Option<Extent>) -> Arrival {
        let mut all = Rows::default();
        for row in 0..rows {
            if row < keyless {
                all.note_keyless(0, Lack::Absent);
            }
            all.push(b"{}");
        }
        Arrival { partition: Arc::from("A"), rows: all, extracted_at: ExtractedAt::All(0), replaces }
    }

    fn cover(stream: &mut StreamRun) {
        stream.cover(&Arc::from("A"), Cover::Foreign("{}".into()));
    }

    /// What a slice is the whole of goes with the first of its rows that are written.
    #[test]
    fn a_page_whose_rows_were_all_rejected_leaves_its_part_to_the_next_one() {
        let mut stream = stream(&["k"], 9);
        stream.add(arrival(2, 2, Some(part())));
        stream.add(arrival(1, 3, None));
        cover(&mut stream);
        let batch = stream.take_covered().unwrap();
        assert_eq!((batch.rows.len(), batch.replaces), (2, vec![part()]));

        // The next slice has a part of its own, or none.
        for end in [cover, |stream: &mut StreamRun| assert_eq!(stream.forget_uncovered(), 0)] {
            stream.add(arrival(2, 2, Some(part())));
            end(&mut stream);
            stream.add(arrival(0, 1, None));
            cover(&mut stream);
            assert_eq!(stream.take_covered().unwrap().replaces, []);
        }
    }

    #[test]
    fn so_many_are_rejected_in_a_run_over_all_its_commits() {
        let mut stream = stream(&["k"], 3);
        for (more, may) in [(2, true), (1, true), (0, true), (1, false)] {
            stream.add(arrival(more, more + 1, None));
            assert_eq!(stream.rejects().unwrap().too_many().is_none(), may);
            cover(&mut stream);
            assert_eq!(stream.committed().rejected, more as u64);
        }
    }

    /// A row that replaces no other is one whatever its key is.
    #[test]
    fn nothing_is_rejected_where_rows_are_added() {
        let mut stream = stream(&[], 0);
        stream.add(arrival(2, 3, None));
        assert!(stream.rejects().is_none());
        cover(&mut stream);
        assert_eq!(stream.take_covered().unwrap().rows.len(), 3);
    }
}
