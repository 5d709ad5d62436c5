//! One answer of the API: its envelope and its rows, read as the text comes in,
//! so that no page is in memory twice.

use super::client::Intake;
use super::repeat::RepeatGuard;
use crate::batch::Rows;
use crate::canonical::Transcoder;
use crate::canonical::{Malformed, Scanner, Value, unescape};
use crate::catalog::RowsAt;
use crate::error::{Error, ErrorKind, Result};

/// What an answer holds.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The rows, repetitions left out.
    pub rows: Rows,
    /// How many rows were left out because they repeat one of this page or the one before.
    pub repeated: usize,
    /// Where the next page is.
    pub next_url: Option<String>,
}

/// Reads the answers of one slice, which came with HTTP 200.
#[derive(Debug)]
pub(super) struct PageReader {
    rows_at: RowsAt,
    transcoder: Transcoder,
    guard: RepeatGuard,
    text: Incoming,
    place: Place,
    envelope: Envelope,
    answer: Answer,
    /// Whether a row's key has a value that does not fit it.
    bad_key: bool,
}

/// The end of the text that came in so far.
#[derive(Debug, Default)]
struct Incoming {
    pending: Vec<u8>,
    /// Bytes before `pending`.
    passed: usize,
    /// With less than this there is no point in trying again: what is pending was
    /// not whole, and reading it anew for each piece would take the square of its
    /// length.
    worth: usize,
}

/// What comes next in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Start,
    FirstMember,
    Member,
    AfterMember,
    FirstRow,
    Row,
    AfterRow,
    End,
}

impl PageReader {
    pub(super) fn new(rows_at: RowsAt, transcoder: Transcoder) -> Self {
        Self {
            rows_at,
            transcoder,
            guard: RepeatGuard::default(),
            text: Incoming::default(),
            place: Place::default(),
            envelope: Envelope::default(),
            answer: Answer::default(),
            bad_key: false,
        }
    }

    /// Bytes of the rows and of the text that is not yet rows.
    pub(super) fn held(&self) -> usize {
        self.answer.rows.bytes() + self.text.pending.len()
    }

    /// The page that was read last counts: the next one is compared with it.
    pub(super) fn accept(&mut self) {
        self.guard.accept();
    }

    /// Reads as far as the pending text goes; says why it goes no further.
    fn advance(&mut self) -> Result<Malformed> {
        let text = std::mem::take(&mut self.text.pending);
        let mut scanner = Scanner::new(&text);
        let mut whole = 0;
        let stopped = loop {
            match self.step(&mut scanner) {
                Ok(()) => whole = scanner.offset(),
                Err(stopped) => break stopped,
            }
        };
        if std::str::from_utf8(&text[..whole]).is_err() {
            return Err(Error::new(ErrorKind::Response, "the answer is not UTF-8 text"));
        }
        let offset = self.text.passed + stopped.offset;
        self.text.keep(text, whole);
        Ok(Malformed { offset, ..stopped })
    }

    /// One step through the text, or none: after an error everything is as before.
    fn step(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        self.place = match self.place {
            Place::Start if self.rows_at == RowsAt::Root && scanner.take(b'[') => {
                self.envelope.has_rows = true;
                Place::FirstRow
            }
            Place::Start => {
                scanner.expect(b'{', "an object")?;
                Place::FirstMember
            }
            Place::FirstMember if scanner.take(b'}') => Place::End,
            Place::FirstMember | Place::Member => self.member(scanner)?,
            Place::AfterMember if scanner.take(b',') => Place::Member,
            Place::AfterMember => {
                scanner.expect(b'}', "`,` or `}`")?;
                Place::End
            }
            Place::FirstRow if scanner.take(b']') => self.after_rows(),
            Place::FirstRow | Place::Row => {
                self.row(scanner)?;
                Place::AfterRow
            }
            Place::AfterRow if scanner.take(b',') => Place::Row,
            Place::AfterRow => {
                scanner.expect(b']', "`,` or `]`")?;
                self.after_rows()
            }
            Place::End => {
                let expected = "the end of the text";
                return Err(Malformed { expected, offset: scanner.offset() });
            }
        };
        Ok(())
    }

    fn after_rows(&self) -> Place {
        if self.rows_at == RowsAt::Root { Place::End } else { Place::AfterMember }
    }

    fn member(&mut self, scanner: &mut Scanner<'_>) -> Result<Place, Malformed> {
        let key = scanner.string()?;
        scanner.expect(b':', "`:`")?;
        match (key, scanner.peek()) {
            (b"results", Some(b'[')) if self.rows_at == RowsAt::Results => {
                scanner.expect(b'[', "an array")?;
                self.envelope.has_rows = true;
                return Ok(Place::FirstRow);
            }
            (b"results", Some(b'{')) if self.rows_at == RowsAt::ResultsObject => {
                self.row(scanner)?;
                self.envelope.has_rows = true;
            }
            _ => {
                let value = scanner.value()?;
                // Only what follows tells a number from the beginning of one.
                if scanner.peek().is_none() {
                    return Err(Malformed { expected: "`,` or `}`", offset: scanner.offset() });
                }
                self.envelope.note(key, value);
            }
        }
        Ok(Place::AfterMember)
    }

    #[inline]
    fn row(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        scanner.peek();
        let start = scanner.offset();
        self.transcoder.row(scanner, &mut self.answer.rows)?;
        self.bad_key |= self.transcoder.key_misfit().is_some();
        if !self.guard.is_new(scanner.slice(start)) {
            self.answer.rows.remove_last();
            self.answer.repeated += 1;
        }
        Ok(())
    }
}

impl Intake for PageReader {
    type Output = Answer;

    fn begin(&mut self) {
        self.guard.begin();
        self.text = Incoming::default();
        self.place = Place::default();
        self.envelope = Envelope::default();
        self.answer = Answer::default();
        self.bad_key = false;
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.text.pending.extend_from_slice(piece);
        if self.text.pending.len() >= self.text.worth {
            self.advance()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Answer> {
        let stopped = self.advance()?;
        let rest = &self.text.pending;
        if self.place != Place::End || !rest.trim_ascii().is_empty() {
            let length = self.text.passed + rest.len();
            return Err(Error::new(
                ErrorKind::Response,
                format!("the answer of {length} bytes is cut or not JSON: {stopped}"),
            ));
        }
        let envelope = std::mem::take(&mut self.envelope);
        envelope.judge(self.rows_at)?;
        if self.bad_key {
            return Err(Error::new(
                ErrorKind::Response,
                "a row's primary key has a value of another type than it always had",
            )
            .hint("nothing of this slice is kept; report it if it stays so"));
        }
        let answer = std::mem::take(&mut self.answer);
        Ok(Answer { next_url: envelope.next_url, ..answer })
    }
}

impl Incoming {
    /// Keeps what follows the first `whole` bytes of `text`.
    fn keep(&mut self, mut text: Vec<u8>, whole: usize) {
        text.drain(..whole);
        self.passed += whole;
        self.worth = 2 * text.len();
        self.pending = text;
    }
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
    fn note(&mut self, key: &[u8], value: Value<'_>) {
        let Value::String(content) = value else { return };
        let text = || Some(unescape(content).into_owned());
        match key {
            b"status" => self.status = text(),
            b"error" | b"message" => self.message = text(),
            b"next_url" if !content.is_empty() => self.next_url = text(),
            _ => {}
        }
    }

    /// Whether the answer is one.
    ///
    /// # Errors
    /// [`ErrorKind::Response`] when it says that it is none; what its status says otherwise.
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

#[cfg(test)]
mod tests;
