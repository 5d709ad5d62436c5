//! The messages on stdin as a feed of the engine.
//!
//! A STATE covers the records before it. It is echoed, byte for byte and in its order,
//! once the engine says that everything that was covered so far is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;

use super::catalog::Configured;
use super::routing::{self, Route, Routing};
use crate::airbyte::descriptor::StreamDescriptor;
use crate::airbyte::incoming::{self, End, ForeignState, Incoming, Record};
use crate::airbyte::messages::Level;
use crate::airbyte::output::Output;
use crate::airbyte::stdin::Blocks;
use crate::batch::{ExtractedAt, Rows};
use crate::canonical::{Scanner, Transcoder};
use crate::checkpoint::Cover;
use crate::engine::{Arrival, Event, Feed};
use crate::error::{Error, ErrorKind, Result, listed};

/// Bytes of a stream's records that are handed on together.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// How many times that all streams together may have.
const STREAMS_MAX: usize = 8;

/// The records of a sync.
pub(super) struct Records {
    input: Blocks,
    output: Arc<Output>,
    streams: Vec<Stream>,
    routing: Routing,
    /// Whether it was told that the source speaks of a stream that is not configured.
    has_told_unknown: bool,
    /// What is left of the block that is being read, and where in it.
    block: Vec<u8>,
    at: usize,
    line: u64,
    queue: VecDeque<Item>,
    /// States that the engine was told of and that are not echoed yet.
    states: Vec<Told>,
    /// Whether the sink refused a stream: a STATE of all streams is true no more.
    has_dropped: bool,
    /// Bytes of records that wait in all streams.
    bytes: usize,
    page_bytes: usize,
    end: Option<Result<()>>,
}

/// What goes to the engine, in order.
enum Item {
    Event(usize, Event),
    /// To be echoed after the event that follows is durable.
    State(Told),
}

/// A STATE, how many records came before it, and its stream; none when it is of all.
struct Told {
    state: ForeignState,
    records: u64,
    stream: Option<usize>,
}

struct Stream {
    configured: Configured,
    transcoder: Transcoder,
    rows: Rows,
    emitted_at: Vec<i64>,
    bytes: usize,
    /// Records since the stream's last STATE.
    records: u64,
    end: Option<End>,
    /// Whether the sink refused it: what comes of it is passed over.
    is_dropped: bool,
}

impl Records {
    pub fn new(input: Blocks, output: Arc<Output>, configured: Vec<Configured>, page_bytes: usize) -> Self {
        let routing = Routing::of(configured.iter().map(|stream| stream.descriptor.clone()));
        let transcoder = |stream: &Configured| {
            super::columns::transcoder(&stream.target.table, &stream.null_in_key, stream.deleted_at)
        };
        let stream = |configured: Configured| Stream {
            transcoder: transcoder(&configured),
            configured,
            rows: Rows::default(),
            emitted_at: Vec::new(),
            bytes: 0,
            records: 0,
            end: None,
            is_dropped: false,
        };
        Self {
            input,
            output,
            streams: configured.into_iter().map(stream).collect(),
            routing,
            has_told_unknown: false,
            block: Vec::new(),
            at: 0,
            line: 0,
            queue: VecDeque::new(),
            states: Vec::new(),
            has_dropped: false,
            bytes: 0,
            page_bytes,
            end: None,
        }
    }

    /// Whether every stream was read to its end.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], naming a stream that was not.
    pub fn judge(&self) -> Result<()> {
        let is_open = |stream: &&Stream| stream.end != Some(End::Complete);
        let open: Vec<&str> = self.streams.iter().filter(is_open).map(Stream::name).collect();
        let Some(first) = open.first() else { return Ok(()) };
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the source did not say that stream {} is complete", listed(&open, 1)),
        )
        .hint("look at the source's log; what its last STATE covers is kept, and the next sync goes on from there")
        .in_stream(first))
    }

    /// Reads the lines of the block until something is to be told.
    fn read_block(&mut self) {
        while self.queue.is_empty() && self.at < self.block.len() {
            let block = std::mem::take(&mut self.block);
            let rest = &block[self.at..];
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let length = line.len();
            self.line += 1;
            // Only the last line of the input can lack its line feed.
            let message = incoming::parse(line).map_err(|error| match end {
                None => incoming::cut_off(line, error),
                Some(_) => error,
            });
            let read = message.and_then(|message| self.message(message));
            self.at += length + 1;
            self.block = block;
            if let Err(error) = read {
                let hint = || "look at the source's log; what the echoed STATEs cover is kept".to_owned();
                let error = error.context(format_args!("line {} of the input", self.line)).or_hint(hint);
                self.end(Err(error));
            }
        }
    }

    /// Nothing more comes: what waits is handed on, so that it is counted.
    fn end(&mut self, outcome: Result<()>) {
        (0..self.streams.len()).for_each(|index| self.hand_on(index));
        self.block.clear();
        self.end = Some(outcome);
    }

    fn message(&mut self, message: Incoming<'_>) -> Result<()> {
        match message {
            Incoming::Record(record) => self.record(&record),
            Incoming::State(state) => self.state(state),
            Incoming::Status { stream, end: Some(end) } => {
                if let Some(index) = self.find(&stream)? {
                    self.stream_ends(index, end);
                }
                Ok(())
            }
            Incoming::Status { end: None, .. } | Incoming::Other => Ok(()),
        }
    }

    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        let index = self.routing.of_record(&record.stream, record.namespace.as_deref())?;
        let stream = &mut self.streams[index];
        if stream.is_dropped {
            return Ok(());
        }
        let bytes = record.data.len();
        stream.add(record)?;
        stream.bytes += bytes;
        self.bytes += bytes;
        if self.streams[index].bytes >= self.page_bytes {
            self.hand_on(index);
        } else if self.bytes >= STREAMS_MAX * self.page_bytes {
            let largest = (0..self.streams.len()).max_by_key(|index| self.streams[*index].bytes);
            self.hand_on(largest.unwrap_or(index));
        }
        Ok(())
    }

    /// Tells the engine of the records that wait.
    fn hand_on(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        self.bytes -= std::mem::take(&mut stream.bytes);
        if stream.rows.is_empty() {
            return;
        }
        let arrival = Arrival {
            partition: Arc::from(""),
            rows: std::mem::take(&mut stream.rows),
            extracted_at: ExtractedAt::Each(std::mem::take(&mut stream.emitted_at)),
            replaces: None,
        };
        self.queue.push_back(Item::Event(index, Event::Rows(Box::new(arrival))));
    }

    /// The stream of a STATE or a status; none when it is not configured, which is told
    /// once. No record of it can have come, so that nothing is lost with it.
    fn find(&mut self, stream: &StreamDescriptor) -> Result<Option<usize>> {
        match self.routing.find(stream)? {
            Route::To(index) => Ok(Some(index)),
            Route::Unknown => {
                if !std::mem::replace(&mut self.has_told_unknown, true) {
                    let (name, line) = (routing::told(stream), self.line);
                    self.output.log(
                        Level::Warn,
                        &format!("line {line} of the input speaks of the stream {name}, which the configured catalogue does not have: its STATEs are echoed, and nothing is written"),
                    );
                }
                Ok(None)
            }
        }
    }

    fn cover(&mut self, index: usize, cover: Cover) {
        self.hand_on(index);
        let partition = Arc::from("");
        self.queue.push_back(Item::Event(index, Event::Covered { partition, cover }));
    }

    fn state(&mut self, state: ForeignState) -> Result<()> {
        let (stream, covered) = match &state.stream {
            Some(stream) => {
                let index = self.find(stream)?;
                (index, index.into_iter().collect())
            }
            None => (None, (0..self.streams.len()).collect::<Vec<_>>()),
        };
        let text: Arc<str> = state.text().into();
        let mut records = 0;
        let mut last = None;
        for index in covered {
            if self.streams[index].end == Some(End::Complete) {
                continue;
            }
            records += std::mem::take(&mut self.streams[index].records);
            self.queue.extend(last);
            self.cover(index, Cover::Foreign(Arc::clone(&text)));
            last = self.queue.pop_back();
        }
        // Before the last event that it speaks of: the engine is told of both at once.
        self.queue.push_back(Item::State(Told { state, records, stream }));
        self.queue.push_back(last.unwrap_or(Item::Event(0, Event::Passed)));
        Ok(())
    }

    fn stream_ends(&mut self, index: usize, end: End) {
        let stream = &mut self.streams[index];
        if stream.end.is_some() {
            return;
        }
        stream.end = Some(end);
        if end == End::Incomplete {
            return;
        }
        if stream.records > 0 {
            self.cover(index, Cover::Part);
        }
        self.queue.push_back(Item::Event(index, Event::Ended(Ok(()))));
    }
}

#[async_trait]
impl Feed for Records {
    async fn next(&mut self) -> Result<Option<(usize, Event)>> {
        loop {
            match self.queue.pop_front() {
                Some(Item::Event(index, event)) => return Ok(Some((index, event))),
                Some(Item::State(told)) => {
                    let is_true = match told.stream {
                        Some(index) => !self.streams[index].is_dropped,
                        None => !self.has_dropped,
                    };
                    self.states.extend(is_true.then_some(told));
                }
                None if self.at < self.block.len() => self.read_block(),
                None => match self.end.take() {
                    Some(Ok(())) => {
                        self.end = Some(Ok(()));
                        return Ok(None);
                    }
                    Some(Err(error)) => {
                        self.end = Some(Ok(()));
                        return Err(error);
                    }
                    None => match self.input.next().await {
                        Ok(Some(block)) => (self.block, self.at) = (block, 0),
                        Ok(None) => self.end(Ok(())),
                        Err(error) => self.end(Err(error)),
                    },
                },
            }
        }
    }

    fn dropped(&mut self, index: usize) {
        self.has_dropped = true;
        let Some(stream) = self.streams.get_mut(index) else { return };
        stream.is_dropped = true;
        stream.rows = Rows::default();
        stream.emitted_at = Vec::new();
        self.bytes -= std::mem::take(&mut stream.bytes);
        self.states.retain(|told| told.stream.is_some_and(|of| of != index));
    }

    fn committed(&mut self) -> Result<()> {
        for Told { state, records, .. } in self.states.drain(..) {
            self.output.lines().verbatim(&state.echo(records));
        }
        // A platform that hears no echo any more must not be written for.
        self.output.lines().check()
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
        if !record.changes.is_empty() {
            self.rows.note(&record.changes);
        }
        let mut scanner = Scanner::foreign(record.data);
        self.transcoder.row(&mut scanner, &mut self.rows).map_err(|malformed| {
            fault(Error::new(ErrorKind::Response, "the data of a record cannot be read").caused_by(malformed))
        })?;
        if self.transcoder.has_watched() {
            self.rows.delete_last();
        }
        self.emitted_at.push(record.emitted_at);
        self.records += 1;
        Ok(())
    }
}
