//! One answer of the API: its envelope and its rows.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use bytes::Bytes;

use super::json::{Malformed, Scanner, Value, unescape};
use super::transcode::Transcoder;
use crate::batch::Rows;
use crate::catalog::RowsAt;
use crate::error::{Error, ErrorKind, Result};

/// What an answer holds.
#[derive(Debug)]
pub(super) struct Answer {
    /// The rows, repetitions left out.
    pub rows: Rows,
    /// How many rows were left out because they repeat one of this page or the one before.
    pub repeated: usize,
    /// Where the next page is.
    pub next_url: Option<String>,
}

/// Reads an answer that came with HTTP 200.
///
/// # Errors
/// [`ErrorKind::Response`] when it is not whole, or says that it is no answer;
/// what its status says otherwise.
pub(super) fn read(
    body: &Bytes,
    rows_at: RowsAt,
    transcoder: &mut Transcoder,
    guard: &mut RepeatGuard,
) -> Result<Answer> {
    if std::str::from_utf8(body).is_err() {
        return Err(Error::new(ErrorKind::Response, "the answer is not UTF-8 text"));
    }
    let mut reader =
        Reader { scanner: Scanner::new(body), rows_at, transcoder, guard, answer: empty(body.len()) };
    guard_page(reader.guard, body);
    let envelope = reader.envelope().map_err(|error| not_whole(&error, body.len()))?;
    let answer = reader.answer;
    envelope.judge(rows_at)?;
    Ok(Answer { next_url: envelope.next_url, ..answer })
}

fn guard_page(guard: &mut RepeatGuard, body: &Bytes) {
    guard.begin(body.clone());
}

fn empty(body: usize) -> Answer {
    // Rows grow by their labels: the text of bars about doubles.
    Answer { rows: Rows::with_capacity(body * 2, body / 90), repeated: 0, next_url: None }
}

fn not_whole(error: &Malformed, length: usize) -> Error {
    Error::new(ErrorKind::Response, format!("the answer of {length} bytes is cut or not JSON: {error}"))
}

/// What stands around the rows.
#[derive(Debug, Default)]
struct Envelope {
    status: Option<String>,
    message: Option<String>,
    next_url: Option<String>,
    has_rows: bool,
}

impl Envelope {
    /// Whether the answer is one.
    fn judge(&self, rows_at: RowsAt) -> Result<()> {
        let status = self.status.as_deref();
        let message = self.message.as_deref().unwrap_or("without a message");
        match status {
            // DELAYED: the plan sees the market 15 minutes late; the data is valid.
            Some("OK" | "DELAYED") => {}
            None if self.has_rows => {}
            None => return Err(Error::new(ErrorKind::Response, "the answer has neither a status nor rows")),
            Some("NOT_FOUND") => {
                return Err(Error::new(ErrorKind::NotFound, format!("not found: {message}")));
            }
            Some("NOT_AUTHORIZED") => {
                return Err(Error::new(
                    ErrorKind::NotEntitled,
                    format!("the plan does not include this: {message}"),
                ));
            }
            Some(status) => {
                return Err(Error::new(
                    ErrorKind::Response,
                    format!("the answer has status {status}: {message}"),
                ));
            }
        }
        if rows_at == RowsAt::ResultsObject && !self.has_rows {
            return Err(Error::new(ErrorKind::Response, "the answer has no `results`"));
        }
        Ok(())
    }
}

struct Reader<'a, 'b> {
    scanner: Scanner<'a>,
    rows_at: RowsAt,
    transcoder: &'b mut Transcoder,
    guard: &'b mut RepeatGuard,
    answer: Answer,
}

impl Reader<'_, '_> {
    fn envelope(&mut self) -> Result<Envelope, Malformed> {
        let mut envelope = Envelope::default();
        if self.rows_at == RowsAt::Root && self.scanner.peek() == Some(b'[') {
            self.rows()?;
            envelope.has_rows = true;
        } else {
            self.object(&mut envelope)?;
        }
        self.scanner.end()?;
        Ok(envelope)
    }

    fn object(&mut self, envelope: &mut Envelope) -> Result<(), Malformed> {
        self.scanner.expect(b'{', "an object")?;
        if self.scanner.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.scanner.string()?;
            self.scanner.expect(b':', "`:`")?;
            match (key, self.scanner.peek()) {
                (b"results", Some(b'[')) if self.rows_at == RowsAt::Results => {
                    self.rows()?;
                    envelope.has_rows = true;
                }
                (b"results", Some(b'{')) if self.rows_at == RowsAt::ResultsObject => {
                    self.row()?;
                    envelope.has_rows = true;
                }
                _ => {
                    if let Value::String(content) = self.scanner.value()? {
                        let text = || Some(unescape(content).into_owned());
                        match key {
                            b"status" => envelope.status = text(),
                            b"error" | b"message" => envelope.message = text(),
                            b"next_url" if !content.is_empty() => envelope.next_url = text(),
                            _ => {}
                        }
                    }
                }
            }
            if !self.scanner.take(b',') {
                return self.scanner.expect(b'}', "`,` or `}`");
            }
        }
    }

    fn rows(&mut self) -> Result<(), Malformed> {
        self.scanner.expect(b'[', "an array")?;
        if self.scanner.take(b']') {
            return Ok(());
        }
        loop {
            self.row()?;
            if !self.scanner.take(b',') {
                return self.scanner.expect(b']', "`,` or `]`");
            }
        }
    }

    fn row(&mut self) -> Result<(), Malformed> {
        self.scanner.peek();
        let start = self.scanner.offset();
        self.transcoder.row(&mut self.scanner, &mut self.answer.rows)?;
        if !self.guard.is_new(start, self.scanner.offset()) {
            self.answer.rows.remove_last();
            self.answer.repeated += 1;
        }
        Ok(())
    }
}

/// Finds rows that are, byte for byte, a row of the same page or the page before:
/// the API repeats rows at page borders, and its key is part of each row.
#[derive(Debug, Default)]
pub(super) struct RepeatGuard {
    current: PageRows,
    before: PageRows,
    hasher: foldhash::fast::FixedState,
}

#[derive(Debug, Default)]
struct PageRows {
    body: Bytes,
    rows: HashMap<u64, (u32, u32), BuildHasherDefault<AlreadyHashed>>,
}

impl PageRows {
    fn holds(&self, hash: u64, row: &[u8]) -> bool {
        self.rows.get(&hash).is_some_and(|(start, end)| &self.body[*start as usize..*end as usize] == row)
    }
}

impl RepeatGuard {
    /// A page begins; the same page again (a retry) replaces itself.
    fn begin(&mut self, body: Bytes) {
        self.current = PageRows { body, rows: HashMap::default() };
    }

    /// The page is complete: the next one is compared with it.
    pub(super) fn accept(&mut self) {
        self.before = std::mem::take(&mut self.current);
    }

    fn is_new(&mut self, start: usize, end: usize) -> bool {
        let row = &self.current.body[start..end];
        let hash = self.hasher.hash_one(row);
        if self.before.holds(hash, row) || self.current.holds(hash, row) {
            return false;
        }
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else {
            return true;
        };
        self.current.rows.insert(hash, (start, end));
        true
    }
}

/// Passes a hash through.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
