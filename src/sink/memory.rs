//! A sink for tests, which holds those who use it to the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::abilities::tests::ALL;
use super::{Abilities, Joins, Opened, Portion, Sink, Stored, StreamId, Target};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::table::Table;

/// Keeps what is durable apart from what is not, by stream. Opened again, it goes on
/// with what is durable.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) abilities: Abilities,
    pub(crate) opens: usize,
    pub(crate) streams: Vec<Kept>,
    pub(crate) writes: usize,
    pub(crate) commits: usize,
    pub(crate) rollbacks: usize,
    /// The commit that fails, counted from 1.
    pub(crate) fail_commit: Option<usize>,
    /// Streams that cannot be opened, and the error's kind.
    pub(crate) refused: Vec<(String, ErrorKind)>,
    /// Streams that are refused when they are committed.
    pub(crate) unloadable: Vec<String>,
    /// Streams whose runs cannot be ended, and the error's kind.
    pub(crate) unfinishable: Vec<(String, ErrorKind)>,
    /// Streams whose tables cannot learn columns.
    pub(crate) rigid: Vec<String>,
    /// As in [`Sink::worth`].
    pub(crate) worth: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            abilities: ALL,
            opens: 0,
            streams: Vec::new(),
            writes: 0,
            commits: 0,
            rollbacks: 0,
            fail_commit: None,
            refused: Vec::new(),
            unloadable: Vec::new(),
            unfinishable: Vec::new(),
            rigid: Vec::new(),
            worth: 0,
        }
    }
}

/// A stream of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) name: String,
    /// With a minus before those that are deletes.
    pub(crate) durable: Vec<String>,
    /// Each as [`ExtractedAt`](crate::batch::ExtractedAt) says of it.
    pub(crate) extracted_at: Vec<i64>,
    pub(crate) positions: BTreeMap<Arc<str>, String>,
    pub(crate) finished: usize,
    /// The shards, reasons and texts of those that were rejected, each once.
    pub(crate) rejected: BTreeSet<[String; 3]>,
    /// The columns of its table.
    pub(crate) columns: usize,
    /// Rows of the transaction of all streams, and of its own.
    open: Vec<(String, i64)>,
    own: Vec<(String, i64)>,
}

impl Kept {
    /// Rows that are not durable.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty() || !self.own.is_empty()
    }

    fn keep(&mut self, rows: Vec<(String, i64)>) {
        for (row, at) in rows {
            self.durable.push(row);
            self.extracted_at.push(at);
        }
    }
}

impl Memory {
    /// The stream of this name.
    pub(crate) fn of(&self, name: &str) -> &Kept {
        self.streams.iter().find(|stream| stream.name == name).expect("a stream that was opened")
    }
}

#[async_trait]
impl Sink for Memory {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    async fn open(&mut self, targets: &[Target]) -> Result<Vec<Result<Opened>>> {
        self.opens += 1;
        let mut opened = Vec::new();
        for target in targets {
            if let Some((_, kind)) = self.refused.iter().find(|(stream, _)| *stream == target.stream) {
                opened.push(Err(Error::new(*kind, "scripted")));
                continue;
            }
            let is = |stream: &Kept| stream.name == target.stream;
            let index = self.streams.iter().position(is).unwrap_or_else(|| {
                self.streams.push(Kept { name: target.stream.clone(), ..Kept::default() });
                self.streams.len() - 1
            });
            let stream = &mut self.streams[index];
            (stream.open, stream.own) = (Vec::new(), Vec::new());
            stream.columns = target.table.columns.len();
            let progress = Stored { positions: stream.positions.clone(), text: None };
            opened.push(Ok(Opened { id: StreamId(index), mode: target.mode, progress }));
        }
        Ok(opened)
    }

    async fn evolve(&mut self, stream: StreamId, table: Arc<Table>) -> Result<()> {
        assert!(self.streams.iter().all(|stream| stream.open.is_empty()), "rows wait for a commit");
        let stream = &mut self.streams[stream.0];
        if self.rigid.contains(&stream.name) {
            return Err(Error::new(ErrorKind::Table, "scripted"));
        }
        assert!(table.columns.len() > stream.columns, "no column more");
        stream.columns = table.columns.len();
        Ok(())
    }

    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<()> {
        self.writes += 1;
        assert_eq!(batch.table.columns.len(), self.streams[stream.0].columns, "rows of another table");
        let of_units = batch.units.first().is_some_and(|unit| unit.row == 0);
        assert!(of_units || batch.rows.is_empty(), "rows of no unit");
        let stream = &mut self.streams[stream.0];
        let rows = batch.rows.iter().enumerate().map(|(index, row)| {
            let sign = if batch.rows.deletes().contains(&index) { "-" } else { "" };
            let text = std::str::from_utf8(row).expect("text");
            (format!("{sign}{text}"), batch.extracted_at.of(index))
        });
        if batch.ahead {
            assert!(stream.open.is_empty(), "rows ahead of others that are not committed");
            stream.own.extend(rows);
        } else {
            assert!(stream.own.is_empty(), "rows behind others that were written ahead");
            stream.open.extend(rows);
        }
        Ok(())
    }

    async fn commit(&mut self, portions: &[Portion<'_>]) -> Result<Vec<(StreamId, Error)>> {
        self.commits += 1;
        if self.fail_commit == Some(self.commits) {
            return Err(Error::new(ErrorKind::Sink, "scripted"));
        }
        let joins_one = self.abilities.joins == Joins::One;
        assert!(!joins_one || portions.len() == 1, "several streams in one commit");
        for (index, stream) in self.streams.iter().enumerate().filter(|_| !joins_one) {
            let is_named = portions.iter().any(|portion| portion.stream.0 == index);
            assert!(is_named || stream.open.is_empty(), "{} is left out of a commit", stream.name);
        }
        let mut refused = Vec::new();
        for portion in portions {
            let stream = &mut self.streams[portion.stream.0];
            if self.unloadable.contains(&stream.name) {
                (stream.open, stream.own) = (Vec::new(), Vec::new());
                refused.push((portion.stream, Error::new(ErrorKind::Sink, "scripted")));
                continue;
            }
            let rows = stream.own.drain(..).chain(stream.open.drain(..)).collect();
            stream.keep(rows);
            let rejected = portion.rejected.iter();
            stream.rejected.extend(
                rejected
                    .map(|reject| [&reject.shard, reject.reason.as_str(), &reject.row].map(str::to_owned)),
            );
            for moved in &portion.moves {
                match &moved.position {
                    Some(position) => stream.positions.insert(Arc::clone(&moved.shard), position.clone()),
                    None => stream.positions.remove(&moved.shard),
                };
            }
        }
        Ok(refused)
    }

    async fn rollback(&mut self, stream: StreamId) -> Result<()> {
        self.rollbacks += 1;
        self.streams[stream.0].own.clear();
        Ok(())
    }

    async fn finish(&mut self, streams: &[StreamId]) -> Result<()> {
        for stream in streams {
            let stream = &mut self.streams[stream.0];
            assert!(!stream.is_open(), "finished with rows that were not committed");
            if let Some((_, kind)) = self.unfinishable.iter().find(|(name, _)| *name == stream.name) {
                return Err(Error::new(*kind, "scripted"));
            }
            stream.finished += 1;
        }
        Ok(())
    }

    fn worth(&self, _: StreamId) -> u64 {
        self.worth
    }
}
