//! The Airbyte destination: records of any source from stdin into a sink.
//!
//! # Guarantees
//! A STATE is echoed, byte for byte and in its order, once the records before it
//! are durable, and never otherwise. Records that no STATE covers are committed
//! only when their stream is complete; when the source dies they are rolled back,
//! because it sends them again. A process that dies between a commit and its echo
//! has the source send those records again too: `append` then holds them twice, as
//! the protocol has it, and so does a refresh without a key; `append_dedup`, and a
//! refresh that goes on with a key, hold them once.
//!
//! In `append_dedup` the record that comes last wins. Sources send records in the
//! order of their cursor; nothing is compared here, so that a correction whose
//! cursor did not move is not lost.

mod buffer;
pub mod catalog;
mod columns;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::airbyte::descriptor::StreamDescriptor;
use crate::airbyte::incoming::{self, End, ForeignState, Incoming, Record};
use crate::airbyte::messages::Level;
use crate::airbyte::output::Output;
use crate::airbyte::stdin::Blocks;
use crate::batch::{ExtractedAt, Rows};
use crate::canonical::{Scanner, Transcoder};
use crate::engine::{CommitPolicy, stopped};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::sink::{Receipt, Sink, StreamId};

use buffer::{Buffer, Spill};
use catalog::Configured;

/// Bytes of a stream's records that wait for a STATE or for company.
const STREAM_BYTES_MAX: usize = 8 << 20;

/// How many times that all streams together may have.
const STREAMS_MAX: usize = 4;

/// Writes the records of one sync.
pub struct Destination<'a> {
    sink: &'a mut dyn Sink,
    output: Arc<Output>,
    policy: CommitPolicy,
    streams: Vec<Stream>,
    by_descriptor: HashMap<StreamDescriptor, usize>,
    /// The stream of the last record: the next one is nearly always of the same.
    last: usize,
    /// States that are not echoed yet, and how many records came before each.
    states: Vec<(Arc<ForeignState>, u64)>,
    /// When the first of them came.
    waiting_since: Option<Instant>,
    /// Rows that they cover and that are not committed.
    covered: u64,
    /// Bytes of records that wait in all streams.
    bytes: usize,
    stream_bytes_max: usize,
    line: u64,
}

struct Stream {
    configured: Configured,
    id: StreamId,
    transcoder: Transcoder,
    buffer: Buffer,
    bytes: usize,
    /// Records since the stream's last STATE.
    records: u64,
    committed: u64,
    /// The last STATE that covers it.
    state: Option<Arc<ForeignState>>,
    end: Option<End>,
}

impl<'a> Destination<'a> {
    /// Opens the streams in the sink.
    ///
    /// # Errors
    /// When a table cannot be created or cannot take the stream's records.
    pub async fn open(
        sink: &'a mut dyn Sink,
        output: Arc<Output>,
        policy: CommitPolicy,
        configured: Vec<Configured>,
    ) -> Result<Self> {
        let mut streams = Vec::new();
        let mut by_descriptor = HashMap::new();
        for configured in configured {
            let name = &configured.descriptor.name;
            let table = &configured.target.table;
            let opened = sink.open(&configured.target).await.map_err(|error| error.in_stream(name));
            let (id, progress) = opened?;
            if configured.target.mode.is_staged() && progress.is_some() {
                output.log(
                    Level::Info,
                    &format!("{name}: rows of this generation are kept, and more are added"),
                );
            }
            by_descriptor.insert(configured.descriptor.clone(), streams.len());
            streams.push(Stream {
                id,
                transcoder: columns::transcoder(table),
                buffer: Buffer::default(),
                bytes: 0,
                records: 0,
                committed: 0,
                state: None,
                end: None,
                configured,
            });
        }
        Ok(Self {
            sink,
            output,
            policy,
            streams,
            by_descriptor,
            last: 0,
            states: Vec::new(),
            waiting_since: None,
            covered: 0,
            bytes: 0,
            stream_bytes_max: STREAM_BYTES_MAX,
            line: 0,
        })
    }

    /// Writes what comes until the input ends or `stop` becomes true, then says what
    /// became of each stream.
    ///
    /// # Errors
    /// What kept it from writing everything. What the echoed STATEs cover is durable.
    pub async fn run(mut self, mut input: Blocks, mut stop: watch::Receiver<bool>) -> Result<()> {
        match self.take(&mut input, &mut stop).await {
            // After it the sink is not to be used.
            Err(Failure::Sink(error)) => Err(error),
            Err(Failure::Input(error)) => {
                self.end().await?;
                Err(error)
            }
            Ok(()) => {
                self.end().await?;
                self.judge()
            }
        }
    }

    async fn take(&mut self, input: &mut Blocks, stop: &mut watch::Receiver<bool>) -> Result<(), Failure> {
        loop {
            let block = tokio::select! {
                biased;
                () = stopped(stop) => return Err(Failure::Input(interrupted())),
                () = due(self.waiting_since, self.policy) => {
                    self.commit().await.map_err(Failure::Sink)?;
                    continue;
                }
                block = input.next() => block.map_err(Failure::Input)?,
            };
            let Some(block) = block else { return Ok(()) };
            for line in block.split(|byte| *byte == b'\n') {
                self.line += 1;
                // Only the last line of the input can lack its line feed.
                let is_last = !block.ends_with(b"\n") && line.as_ptr_range().end == block.as_ptr_range().end;
                let message = incoming::parse(line).map_err(|error| match is_last {
                    true => incoming::cut_off(line, error),
                    false => error,
                });
                self.message(message.map_err(|error| self.input(error))?).await?;
            }
            // The last line feed of a block ends a line and begins none.
            self.line -= u64::from(block.ends_with(b"\n"));
        }
    }

    /// The error of the line that is being read.
    fn input(&self, error: Error) -> Failure {
        let hint = || "look at the source's log; what the echoed STATEs cover is kept".to_owned();
        Failure::Input(error.context(format_args!("line {} of the input", self.line)).or_hint(hint))
    }

    async fn message(&mut self, message: Incoming<'_>) -> Result<(), Failure> {
        match message {
            Incoming::Record(record) => self.record(&record).await,
            Incoming::State(state) => self.state(state).await,
            Incoming::Status { stream, end: Some(end) } => {
                let index = self.find(&stream).map_err(|error| self.input(error))?;
                self.stream_ends(index, end).await.map_err(Failure::Sink)
            }
            Incoming::Status { end: None, .. } | Incoming::Other => Ok(()),
        }
    }

    async fn record(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        let index = self.stream_of(record).map_err(|error| self.input(error))?;
        let stream = &mut self.streams[index];
        let added = stream.add(record);
        added.map_err(|error| self.input(error))?;
        let bytes = record.data.len();
        self.streams[index].bytes += bytes;
        self.bytes += bytes;
        if self.streams[index].bytes >= self.stream_bytes_max {
            self.make_room(index).await.map_err(Failure::Sink)?;
        } else if self.bytes >= STREAMS_MAX * self.stream_bytes_max {
            let largest = (0..self.streams.len()).max_by_key(|index| self.streams[*index].bytes);
            self.make_room(largest.unwrap_or(index)).await.map_err(Failure::Sink)?;
        }
        Ok(())
    }

    fn stream_of(&mut self, record: &Record<'_>) -> Result<usize> {
        let is = |stream: &Stream| {
            let descriptor = &stream.configured.descriptor;
            descriptor.name == record.stream && descriptor.namespace.as_deref() == record.namespace.as_deref()
        };
        if !self.streams.get(self.last).is_some_and(is) {
            let namespace = record.namespace.as_ref().map(|namespace| namespace.clone().into_owned());
            let descriptor = StreamDescriptor { name: record.stream.clone().into_owned(), namespace };
            self.last = self.find(&descriptor)?;
        }
        Ok(self.last)
    }

    fn find(&self, descriptor: &StreamDescriptor) -> Result<usize> {
        self.by_descriptor.get(descriptor).copied().ok_or_else(|| {
            let namespace = descriptor.namespace.as_ref();
            let place = namespace.map(|namespace| format!(" of namespace {namespace:?}")).unwrap_or_default();
            let name = &descriptor.name;
            Error::new(
                ErrorKind::Response,
                format!(
                    "the source names a stream {name:?}{place} that the configured catalogue does not have"
                ),
            )
            .hint("read and write with the same configured catalogue")
        })
    }

    /// Notes a STATE, and commits when enough is covered.
    async fn state(&mut self, state: ForeignState) -> Result<(), Failure> {
        let of = match &state.stream {
            Some(stream) => {
                let index = self.find(stream).map_err(|error| self.input(error))?;
                index..index + 1
            }
            None => 0..self.streams.len(),
        };
        let state = Arc::new(state);
        let mut records = 0;
        for stream in &mut self.streams[of] {
            stream.state = Some(Arc::clone(&state));
            self.covered += stream.buffer.cover();
            records += std::mem::take(&mut stream.records);
        }
        self.states.push((state, records));
        self.waiting_since.get_or_insert_with(Instant::now);
        if self.covered >= self.policy.rows {
            self.commit().await.map_err(Failure::Sink)?;
        }
        Ok(())
    }

    async fn stream_ends(&mut self, index: usize, end: End) -> Result<()> {
        let stream = &mut self.streams[index];
        if stream.end.is_some() {
            return Ok(());
        }
        stream.end = Some(end);
        if end == End::Incomplete {
            return Ok(());
        }
        self.covered += stream.buffer.cover();
        self.commit().await?;
        let stream = &self.streams[index];
        failpoint::pass();
        self.sink.finish(stream.id).await.map_err(|error| error.in_stream(stream.name()))?;
        self.output.log(Level::Info, &format!("{}: {} records written", stream.name(), stream.committed));
        Ok(())
    }

    /// Hands rows of a stream to the sink.
    async fn make_room(&mut self, index: usize) -> Result<()> {
        loop {
            match self.streams[index].buffer.spill() {
                Spill::Commit => self.commit().await?,
                Spill::Write(rows, emitted_at) => return self.write(index, rows, emitted_at).await,
            }
        }
    }

    async fn write(&mut self, index: usize, rows: Rows, emitted_at: ExtractedAt) -> Result<()> {
        let stream = &mut self.streams[index];
        let left = stream.buffer.rows.bytes();
        self.bytes = self.bytes.saturating_sub(stream.bytes) + left;
        stream.bytes = left;
        if rows.is_empty() {
            return Ok(());
        }
        let batch = buffer::batch(&stream.configured.target.table, rows, emitted_at);
        failpoint::pass();
        let taken = self.sink.write(stream.id, batch).await;
        let _accepted = taken.map_err(|error| error.in_stream(stream.name()))?;
        failpoint::pass();
        Ok(())
    }

    /// Commits what STATEs cover, then echoes them.
    async fn commit(&mut self) -> Result<()> {
        for index in 0..self.streams.len() {
            if !self.streams[index].buffer.is_dirty() {
                continue;
            }
            let (rows, emitted_at) = self.streams[index].buffer.take_covered();
            self.write(index, rows, emitted_at).await?;
            let stream = &mut self.streams[index];
            let progress = stream.state.as_ref().map_or_else(|| "{}".to_owned(), |state| state.text());
            failpoint::pass();
            let committed = self.sink.commit(stream.id, &progress).await.and_then(Receipt::durable);
            committed.map_err(|error| error.in_stream(stream.name()))?;
            stream.committed += stream.buffer.committed();
            failpoint::pass();
        }
        for (state, records) in self.states.drain(..) {
            self.output.lines().verbatim(&state.echo(records));
        }
        self.waiting_since = None;
        self.covered = 0;
        // A platform that hears no echo any more must not be written for.
        self.output.lines().check()
    }

    /// Commits what is covered and takes back everything else.
    async fn end(&mut self) -> Result<()> {
        for stream in &mut self.streams {
            let is_ahead = stream.buffer.is_ahead();
            let forgotten = stream.buffer.forget_uncovered();
            if is_ahead {
                self.sink.rollback(stream.id).await.map_err(|error| error.in_stream(stream.name()))?;
            }
            if forgotten > 0 {
                self.output.log(
                    Level::Warn,
                    &format!("{}: {forgotten} records after the last STATE are not kept: the source sends them again", stream.name()),
                );
            }
        }
        self.commit().await
    }

    /// Whether every stream was read to its end.
    fn judge(&self) -> Result<()> {
        let mut open =
            self.streams.iter().filter(|stream| stream.end != Some(End::Complete)).map(Stream::name);
        let Some(first) = open.next() else { return Ok(()) };
        let more = open.count();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the source did not say that stream {first}{more} is complete"),
        )
        .hint("look at the source's log; what its last STATE covers is kept, and the next sync goes on from there")
        .in_stream(first))
    }
}

impl Stream {
    fn name(&self) -> &str {
        &self.configured.descriptor.name
    }

    /// Adds a record to the rows that wait.
    fn add(&mut self, record: &Record<'_>) -> Result<()> {
        let fault = |error: Error| error.in_stream(&record.stream);
        if self.end.is_some() {
            return Err(fault(Error::new(ErrorKind::Response, "a record came after the end of its stream")));
        }
        let rows = &mut self.buffer.rows;
        if !record.changes.is_empty() {
            rows.note(record.changes);
        }
        let mut scanner = Scanner::new(record.data);
        self.transcoder.row(&mut scanner, rows).map_err(|malformed| {
            fault(Error::new(ErrorKind::Response, "the data of a record cannot be read").caused_by(malformed))
        })?;
        if let Some(column) = self.transcoder.key_misfit() {
            let column = &self.configured.target.table.columns[column].name;
            rows.remove_last();
            return Err(fault(
                Error::new(ErrorKind::StreamConfig, format!("a record's `{column}`, which is of the primary key, is not of the type that the stream's schema says"))
                    .hint("correct the schema in the source, choose another primary key, or the mode append"),
            ));
        }
        self.buffer.added(record.emitted_at);
        self.records += 1;
        Ok(())
    }
}

enum Failure {
    /// The input is not what it must be, or its reader was asked to stop.
    Input(Error),
    /// The sink failed.
    Sink(Error),
}

/// Returns when states have waited long enough; never when none wait.
async fn due(waiting_since: Option<Instant>, policy: CommitPolicy) {
    match waiting_since {
        Some(since) => tokio::time::sleep_until(since + policy.interval).await,
        None => std::future::pending().await,
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped on request")
        .hint("what the echoed STATEs cover is kept; the next sync goes on from there")
}
