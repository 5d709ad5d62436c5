//! One answer of the API: its envelope and its rows, read as the text comes in,
//! so that no page is in memory twice.

mod envelope;

use std::borrow::Cow;

use super::client::Intake;
use super::repeat::RepeatGuard;
use crate::batch::Rows;
use crate::canonical::{Malformed, Scanner, Transcoder, Value, unescape};
use crate::catalog::{RowsAt, StreamSpec};
use crate::error::{Error, ErrorKind, Result};

pub(super) use envelope::{Asked, Days, is_same_ticker, other_ticker};
use envelope::{Envelope, Found};

/// What an answer holds.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The rows, repetitions left out.
    pub rows: Rows,
    /// How many rows were left out because they repeat one of this page or the one before.
    pub repeated: usize,
    /// Where the next page is.
    pub next_url: Option<String>,
    /// Whether it has as many rows as one can have: more must follow, or could.
    pub is_full: bool,
}

/// Reads the answers of one slice, which came with HTTP 200.
#[derive(Debug)]
pub(super) struct PageReader {
    rows_at: RowsAt,
    asked: Asked,
    transcoder: Transcoder,
    guard: RepeatGuard,
    text: Incoming,
    place: Place,
    envelope: Envelope,
    answer: Answer,
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
    pub(super) fn new(spec: &'static StreamSpec, transcoder: Transcoder, asked: Asked) -> Self {
        Self {
            rows_at: spec.rows_at,
            asked,
            transcoder,
            guard: RepeatGuard::default(),
            text: Incoming::default(),
            place: Place::default(),
            envelope: Envelope::new(spec),
            answer: Answer::default(),
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
    fn advance(&mut self) -> Malformed {
        let text = std::mem::take(&mut self.text.pending);
        let mut scanner = match std::str::from_utf8(&text) {
            // What is no UTF-8 is mended in its rows. A character that is cut at the end is
            // whole with the next piece, and in no value that ends here.
            Err(error) if error.error_len().is_some() => Scanner::foreign(&text),
            _ => Scanner::new(&text),
        };
        let mut whole = 0;
        let stopped = loop {
            match self.step(&mut scanner) {
                Ok(()) => whole = scanner.offset(),
                Err(stopped) => break stopped,
            }
        };
        let offset = self.text.passed + stopped.offset;
        self.text.keep(text, whole);
        Malformed { offset, ..stopped }
    }

    /// One step through the text, or none: after an error everything is as before.
    fn step(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        self.place = match self.place {
            Place::Start if self.rows_at == RowsAt::Root && scanner.take(b'[') => {
                self.envelope.note_rows();
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
        // A key may be written with escapes.
        let plain = if key.contains(&b'\\') { unescape(key) } else { Cow::Borrowed("") };
        let key = if plain.is_empty() { key } else { plain.as_bytes() };
        match (key, scanner.peek()) {
            (b"results", Some(b'[')) if self.rows_at == RowsAt::Results => {
                scanner.expect(b'[', "an array")?;
                self.envelope.note_rows();
                return Ok(Place::FirstRow);
            }
            (b"results", Some(b'{')) if self.rows_at == RowsAt::ResultsObject => {
                self.row(scanner)?;
                self.envelope.note_rows();
            }
            _ => {
                let value = whole_value(scanner)?;
                self.envelope.note(key, value);
            }
        }
        Ok(Place::AfterMember)
    }

    /// What the rows of the answer say.
    fn found(&mut self) -> Found {
        let rows = (self.answer.rows.len() + self.answer.repeated) as u64;
        let of_a_row = |row: &[u8]| {
            let row: serde_json::Value = serde_json::from_slice(row).ok()?;
            row["ticker"].as_str().map(str::to_owned)
        };
        let is_object = self.rows_at == RowsAt::ResultsObject;
        let ticker = self.answer.rows.iter().next().filter(|_| is_object).and_then(of_a_row);
        Found { rows, ticker, days: self.transcoder.take_days() }
    }

    #[inline]
    fn row(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        if scanner.peek().is_some_and(|byte| byte != b'{') {
            return self.no_row(scanner);
        }
        let start = scanner.offset();
        self.transcoder.row(scanner, &mut self.answer.rows)?;
        if !self.guard.is_new(scanner.slice(start)) {
            self.answer.rows.remove_last();
            self.answer.repeated += 1;
        }
        Ok(())
    }

    /// A value in the place of a row that is no object.
    #[cold]
    fn no_row(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        let value = whole_value(scanner)?;
        self.envelope.note_no_row(value);
        Ok(())
    }
}

/// The next value, when what follows it is there: only that tells a number from the
/// beginning of one.
fn whole_value<'a>(scanner: &mut Scanner<'a>) -> Result<Value<'a>, Malformed> {
    let value = scanner.value()?;
    match scanner.peek() {
        Some(_) => Ok(value),
        None => Err(Malformed { expected: "`,` or the end of what it is in", offset: scanner.offset() }),
    }
}

impl Intake for PageReader {
    type Output = Answer;

    fn begin(&mut self) {
        self.guard.begin();
        self.text = Incoming::default();
        self.place = Place::default();
        self.envelope.clear();
        self.answer = Answer::default();
        // Those of an answer that was cut are of no interest.
        let _days = self.transcoder.take_days();
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.text.pending.extend_from_slice(piece);
        if self.text.pending.len() >= self.text.worth {
            self.advance();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Answer> {
        let stopped = self.advance();
        let rest = &self.text.pending;
        if self.place != Place::End || !rest.trim_ascii().is_empty() {
            let length = self.text.passed + rest.len();
            return Err(Error::new(
                ErrorKind::Response,
                format!("the answer of {length} bytes is cut or not JSON: {stopped}"),
            ));
        }
        let found = self.found();
        self.envelope.judge(&self.asked, &found)?;
        let answer = std::mem::take(&mut self.answer);
        let is_full = self.envelope.is_full(found.rows);
        Ok(Answer { next_url: self.envelope.next_url.take(), is_full, ..answer })
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

#[cfg(test)]
mod tests;
