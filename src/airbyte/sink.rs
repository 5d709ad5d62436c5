//! Stdout as a sink: rows become RECORDs, a commit becomes a STATE.
//!
//! A row that was written cannot be taken back. When a slice is rolled back its
//! records stay before the next STATE's count but outside its progress, so they
//! are read again: records are delivered at least once, as the protocol has it,
//! and a destination that dedups by key holds each once.

use std::sync::Arc;

use async_trait::async_trait;

use super::descriptor::StreamDescriptor;
use super::messages::{Message, State, StateKind, Stats, StreamState};
use super::output::Output;
use super::state;
use super::status::Statuses;
use crate::batch::{Batch, Change, ExtractedAt, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{
    Abilities, Durability, Joins, Opened, Portion, Sink, Stored, StreamId, Target, change_text,
};
use crate::table::Table;

/// Bytes of progress that a record is worth: 4 are 2 % of a record of 200.
const PROGRESS_BYTES_PER_RECORD: usize = 4;

/// A stream as the platform wants it read.
#[derive(Debug)]
pub struct StreamSetup {
    /// Its name and namespace.
    pub descriptor: StreamDescriptor,
    /// The progress that the platform passed, on one line; none begins anew.
    pub passed: Option<String>,
    /// The progress of a stream of which nothing was read.
    pub initial: String,
}

/// Writes RECORD and STATE.
#[derive(Debug)]
pub struct AirbyteSink {
    output: Arc<Output>,
    statuses: Arc<Statuses>,
    setups: Vec<StreamSetup>,
    open: Vec<OpenStream>,
}

#[derive(Debug)]
struct OpenStream {
    descriptor: StreamDescriptor,
    /// A RECORD up to its data.
    prefix: Vec<u8>,
    /// What the next STATE holds if nothing more is committed.
    progress: String,
    /// What the last STATE of this run held.
    told: Option<String>,
    /// States before the next one that held the same.
    repeats: u64,
    /// Records since the last STATE.
    records: u64,
}

impl AirbyteSink {
    /// A sink for these streams and no others.
    pub fn new(output: Arc<Output>, statuses: Arc<Statuses>, setups: Vec<StreamSetup>) -> Self {
        Self { output, statuses, setups, open: Vec::new() }
    }

    fn open_stream(&mut self, target: &Target) -> Result<Opened> {
        let name = &target.stream;
        self.statuses.started(name);
        let setup = self
            .setups
            .iter()
            .find(|setup| setup.descriptor.name == *name)
            .ok_or_else(|| Error::bug(format!("stream {name} was not set up")))?;
        self.open.push(OpenStream {
            descriptor: setup.descriptor.clone(),
            prefix: record_prefix(&setup.descriptor),
            progress: setup.passed.clone().unwrap_or_else(|| setup.initial.clone()),
            told: None,
            repeats: 0,
            records: 0,
        });
        let progress = Stored { text: setup.passed.clone(), ..Stored::default() };
        Ok(Opened { id: StreamId(self.open.len() - 1), mode: target.mode, progress })
    }

    /// Emits a STATE if it says anything: the platform need not hear one twice.
    fn tell(&mut self, stream: StreamId) -> Result<()> {
        let stream = &mut self.open[stream.0];
        if stream.records > 0 || stream.told.as_ref() != Some(&stream.progress) {
            self.statuses.running(&stream.descriptor.name);
            stream.emit_state(&self.output)?;
        }
        self.output.lines().check()
    }
}

impl OpenStream {
    /// Emits the progress with the records since the last time.
    fn emit_state(&mut self, output: &Output) -> Result<()> {
        self.repeats = if self.told.as_ref() == Some(&self.progress) { self.repeats + 1 } else { 0 };
        let stream_state = state::stored(&self.progress, self.repeats)?;
        #[expect(clippy::cast_precision_loss, reason = "the protocol counts in doubles")]
        let record_count = self.records as f64;
        output.message(&Message::State {
            state: State {
                kind: StateKind::Stream,
                stream: StreamState { stream_descriptor: &self.descriptor, stream_state: &stream_state },
                source_stats: Stats { record_count },
            },
        });
        self.told = Some(self.progress.clone());
        self.records = 0;
        Ok(())
    }
}

#[async_trait]
impl Sink for AirbyteSink {
    /// What a destination does with the records is not this sink's, nor is what it was
    /// told of their columns.
    fn abilities(&self) -> Abilities {
        Abilities {
            sink: "Airbyte's stdout",
            durability: Durability::ByReader,
            joins: Joins::One,
            replaces_by_key: false,
            deletes: false,
            swaps: false,
            evolves: false,
            derives: false,
        }
    }

    async fn open(&mut self, targets: &[Target]) -> Result<Vec<Result<Opened>>> {
        Ok(targets.iter().map(|target| self.open_stream(target)).collect())
    }

    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<()> {
        let stream = &mut self.open[stream.0];
        self.statuses.running(&stream.descriptor.name);
        let Batch { table, rows, extracted_at, .. } = batch;
        if !rows.deletes().is_empty() {
            let message = "Airbyte's protocol has no deletes, and a row of the source is one";
            return Err(Error::new(ErrorKind::StreamConfig, message)
                .hint("write to a warehouse with `tapeline sync`")
                .in_stream(&stream.descriptor.name));
        }
        let count = rows.len() as u64;
        let mut first = 0;
        // What was written is freed while the rest waits for the reader.
        for rows in rows.into_pieces() {
            let mut records = records(&stream.prefix, &table, &rows, first, &extracted_at);
            self.output.lines().fill(|buffer, bytes| records.append(buffer, bytes)).await?;
            first += rows.len();
        }
        stream.records += count;
        Ok(())
    }

    /// Does not wait until the STATE is read: it lies behind its records in the
    /// same pipe.
    async fn commit(&mut self, portions: &[Portion<'_>]) -> Result<Vec<(StreamId, Error)>> {
        for portion in portions {
            self.open[portion.stream.0].progress = (portion.text)();
            self.tell(portion.stream)?;
        }
        Ok(Vec::new())
    }

    async fn rollback(&mut self, _: StreamId) -> Result<()> {
        Ok(())
    }

    /// Every stream ends with a STATE, also when there was nothing to read.
    async fn finish(&mut self, streams: &[StreamId]) -> Result<()> {
        streams.iter().try_for_each(|stream| self.tell(*stream))
    }

    /// With ten thousand partitions a STATE has tens of kilobytes, and one after each
    /// small slice would be more of it than of records.
    fn worth(&self, stream: StreamId) -> u64 {
        let told = self.open[stream.0].told.as_ref().map_or(0, String::len);
        (told / PROGRESS_BYTES_PER_RECORD) as u64
    }
}

/// The rows of a batch as RECORDs, appended piece by piece.
struct Records<'a, I> {
    prefix: &'a [u8],
    /// A RECORD from its `emitted_at` on, and that moment.
    suffix: Vec<u8>,
    emitted_at: i64,
    table: &'a Table,
    rows: I,
    /// The index in the batch of the first row.
    first: usize,
    extracted_at: &'a ExtractedAt,
    /// Of the rows that are left.
    changes: &'a [Change],
}

fn records<'a>(
    prefix: &'a [u8],
    table: &'a Table,
    rows: &'a Rows,
    first: usize,
    extracted_at: &'a ExtractedAt,
) -> Records<'a, impl Iterator<Item = (usize, &'a [u8])>> {
    let emitted_at = if rows.is_empty() { 0 } else { extracted_at.of(first) };
    Records {
        prefix,
        suffix: suffix(emitted_at),
        emitted_at,
        table,
        rows: rows.iter().enumerate(),
        first,
        extracted_at,
        changes: rows.changes(),
    }
}

fn suffix(emitted_at: i64) -> Vec<u8> {
    format!(",\"emitted_at\":{emitted_at}}}}}\n").into_bytes()
}

impl<'a, I: Iterator<Item = (usize, &'a [u8])>> Records<'a, I> {
    /// Appends RECORDs of about `bytes`; false when none are left.
    fn append(&mut self, buffer: &mut Vec<u8>, bytes: usize) -> bool {
        let end = buffer.len() + bytes;
        while buffer.len() < end {
            let Some((index, row)) = self.rows.next() else { return false };
            buffer.extend_from_slice(self.prefix);
            buffer.extend_from_slice(row);
            let changed = self.changes.iter().take_while(|change| change.row == index).count();
            if changed > 0 {
                self.append_meta(buffer, changed);
            }
            let emitted_at = self.extracted_at.of(self.first + index);
            if emitted_at != self.emitted_at {
                self.emitted_at = emitted_at;
                self.suffix = suffix(emitted_at);
            }
            buffer.extend_from_slice(&self.suffix);
        }
        true
    }

    /// Names the columns whose value did not fit.
    #[cold]
    fn append_meta(&mut self, buffer: &mut Vec<u8>, changed: usize) {
        let (of_row, rest) = self.changes.split_at(changed);
        self.changes = rest;
        buffer.extend_from_slice(br#","meta":{"changes":["#);
        for (index, change) in of_row.iter().enumerate() {
            if index > 0 {
                buffer.push(b',');
            }
            buffer.extend_from_slice(change_text(self.table, change).as_bytes());
        }
        buffer.extend_from_slice(b"]}");
    }
}

fn record_prefix(stream: &StreamDescriptor) -> Vec<u8> {
    let quoted = |text: &str| serde_json::to_string(text).expect("a string always serialises");
    let namespace = stream
        .namespace
        .as_deref()
        .map(|namespace| format!(r#""namespace":{},"#, quoted(namespace)))
        .unwrap_or_default();
    format!(r#"{{"type":"RECORD","record":{{{namespace}"stream":{},"data":"#, quoted(&stream.name))
        .into_bytes()
}

#[cfg(test)]
mod tests;
