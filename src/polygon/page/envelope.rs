//! What stands around the rows of an answer, and whether the answer is one to what
//! was asked for.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::calendar;
use crate::canonical::{Value, integer, unescape};
use crate::catalog::{RowsAt, StreamSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::polygon::client::{mismatch, shortened};

/// What a request asked for, as far as its answer says it back.
#[derive(Debug, Clone, Default)]
pub(in crate::polygon) struct Asked {
    /// The ticker, as it was configured.
    pub ticker: Option<String>,
    /// The days of which rows are.
    pub days: Option<Days>,
}

/// Days that were asked for.
#[derive(Debug, Clone)]
pub(in crate::polygon) enum Days {
    /// Seconds since the UNIX epoch within which rows are, with whatever the API is
    /// known to be off by.
    Within(RangeInclusive<i64>),
    /// This day in New York and no other: rows do not say which one they are of but by
    /// their time, and get the day that was asked for as a column.
    Of(Date),
}

/// How many rows were in the answer, and what they say themselves.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub rows: u64,
    /// The ticker of the one row of [`RowsAt::ResultsObject`].
    pub ticker: Option<String>,
    /// Seconds since the UNIX epoch between which the rows are.
    pub days: Option<RangeInclusive<i64>>,
}

/// More of a ticker than this is not shown: none that can be configured is longer.
const TICKER_MAX: usize = 32;

/// Members that are read; a second one of a name would hide the first.
const KNOWN: [&str; 8] =
    ["results", "status", "error", "message", "next_url", "ticker", "queryCount", "resultsCount"];

/// What stands around the rows.
#[derive(Debug)]
pub(super) struct Envelope {
    spec: &'static StreamSpec,
    status: Option<String>,
    message: Option<String>,
    ticker: Option<String>,
    /// The largest number of rows that the answer says it has, and by which member.
    counted: Option<(&'static str, u64)>,
    /// `queryCount`: of bars, the base aggregates that a limit counts.
    base: Option<u64>,
    pub next_url: Option<String>,
    pub has_rows: bool,
    seen: Vec<&'static str>,
    twice: Option<&'static str>,
    /// What a member has in place of what is due there.
    odd: Option<String>,
}

impl Envelope {
    pub(super) fn new(spec: &'static StreamSpec) -> Self {
        Self {
            spec,
            status: None,
            message: None,
            ticker: None,
            counted: None,
            base: None,
            next_url: None,
            has_rows: false,
            seen: Vec::new(),
            twice: None,
            odd: None,
        }
    }

    /// Another answer begins.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.spec);
    }

    /// The rows begin.
    pub(super) fn note_rows(&mut self) {
        self.has_rows = true;
        self.note_name(b"results");
    }

    /// A value among the rows that is none.
    pub(super) fn note_no_row(&mut self, value: Value<'_>) {
        let place = if self.spec.rows_at == RowsAt::Root { "array" } else { "`results`" };
        self.odd.get_or_insert_with(|| {
            format!("{place} holds {} where rows, which are objects, are due", what(value))
        });
    }

    /// A member that is not the rows.
    pub(super) fn note(&mut self, key: &[u8], value: Value<'_>) {
        self.note_name(key);
        match (key, value) {
            (b"results", Value::Null) => {}
            // An object in the place of an array is odd itself.
            (b"results", _) if self.spec.rows_at == RowsAt::Root => {}
            (b"results", value) => self.note_odd("results", value, self.due()),
            (b"next_url", Value::String(content)) if !content.is_empty() => self.note_next_url(text(content)),
            (b"next_url", Value::String(_) | Value::Null) => {}
            (b"next_url", value) => self.note_odd("next_url", value, "the address of the next page is"),
            (b"status", Value::String(content)) => {
                self.status.get_or_insert_with(|| text(content));
            }
            (b"status", Value::Null) => {}
            (b"status", value) => self.note_odd("status", value, "a text is"),
            (b"error" | b"message", Value::String(content)) => self.message = Some(text(content)),
            (b"ticker", Value::String(content)) => self.ticker = Some(text(content)),
            (b"queryCount", value) => self.base = number(value),
            (key, value) => self.note_count(key, value),
        }
    }

    /// What is no character is U+FFFD here, and the address another one.
    fn note_next_url(&mut self, address: String) {
        if address.contains(char::REPLACEMENT_CHARACTER) {
            self.odd.get_or_insert_with(|| "`next_url` holds what is no character".to_owned());
        }
        self.next_url = Some(address);
    }

    fn note_name(&mut self, key: &[u8]) {
        let counts = self.spec.counted_by.iter();
        let Some(name) = KNOWN.iter().chain(counts).find(|name| name.as_bytes() == key).copied() else {
            return;
        };
        if self.seen.contains(&name) {
            self.twice.get_or_insert(name);
        }
        self.seen.push(name);
    }

    fn note_odd(&mut self, name: &str, value: Value<'_>, due: &str) {
        self.odd.get_or_insert_with(|| format!("`{name}` is {} where {due} due", what(value)));
    }

    fn note_count(&mut self, key: &[u8], value: Value<'_>) {
        let name = self.spec.counted_by.iter().find(|name| name.as_bytes() == key);
        if let (Some(name), Some(count)) = (name, number(value))
            && self.counted.is_none_or(|(_, known)| known < count)
        {
            self.counted = Some((name, count));
        }
    }

    /// Whether so many rows fill the page.
    pub(super) fn is_full(&self, rows: u64) -> bool {
        self.spec.limit().is_some_and(|limit| rows.max(self.base.unwrap_or_default()) >= limit)
    }

    /// Whether the answer is one to what was `asked`.
    ///
    /// # Errors
    /// What its status says, when that is not good; [`ErrorKind::Response`] when rows
    /// are missing, [`ErrorKind::Mismatch`] when it answers something else.
    pub(super) fn judge(&self, asked: &Asked, found: &Found) -> Result<()> {
        if let Some(name) = self.twice {
            return Err(mismatch(format!("the answer has `{name}` twice")));
        }
        self.judge_status()?;
        if let Some(odd) = &self.odd {
            return Err(mismatch(format!("the answer's {odd}")));
        }
        self.judge_ticker(asked, found)?;
        self.judge_rows(found)?;
        judge_days(asked, found)
    }

    fn judge_status(&self) -> Result<()> {
        let message = self.message.as_deref().unwrap_or("without a message");
        match self.status.as_deref() {
            // DELAYED: the plan sees the market 15 minutes late; the data is valid.
            Some("OK" | "DELAYED") => Ok(()),
            None if self.has_rows || self.odd.is_some() => Ok(()),
            None => Err(Error::new(ErrorKind::Response, "the answer has neither a status nor rows")),
            Some("NOT_FOUND") => Err(Error::new(ErrorKind::NotFound, format!("not found: {message}"))),
            Some("NOT_AUTHORIZED") => {
                Err(Error::new(ErrorKind::NotEntitled, format!("the plan does not include this: {message}")))
            }
            Some(status) => {
                Err(Error::new(ErrorKind::Response, format!("the answer has status {status}: {message}")))
            }
        }
    }

    fn judge_ticker(&self, asked: &Asked, found: &Found) -> Result<()> {
        let Some(asked) = asked.ticker.as_deref() else {
            return Ok(());
        };
        match self.ticker.as_ref().or(found.ticker.as_ref()) {
            Some(ticker) if !is_same_ticker(asked, ticker) => Err(other_ticker(asked, ticker)),
            _ => Ok(()),
        }
    }

    fn judge_rows(&self, found: &Found) -> Result<()> {
        match self.counted {
            Some((name, count)) if count > found.rows => Err(Error::new(
                ErrorKind::Response,
                format!("the answer has {} rows of the {count} that its `{name}` says", found.rows),
            )
            .hint("it was tried several times, and nothing of it is kept; report it if it stays so")),
            _ if self.has_rows || self.spec.rows_at == RowsAt::Results => Ok(()),
            // Nothing was asked for that could be missing.
            _ if self.spec.rows_at == RowsAt::Root => {
                Err(mismatch("the answer is an object where an array of rows is due"))
            }
            _ => Err(mismatch("the answer has no `results`")),
        }
    }

    /// What is due under `results`.
    fn due(&self) -> &'static str {
        if self.spec.rows_at == RowsAt::ResultsObject { "an object is" } else { "rows are" }
    }
}

fn judge_days(asked: &Asked, found: &Found) -> Result<()> {
    let (Some(asked), Some(found)) = (&asked.days, &found.days) else {
        return Ok(());
    };
    let ends = [*found.start(), *found.end()];
    match asked {
        Days::Of(day) => {
            let other = ends.into_iter().map(day_in_new_york).find(|found| *found != Some(*day));
            other.map_or(Ok(()), |other| {
                let other = other.map_or_else(no_day, |day| day.to_string());
                Err(mismatch(format!("the answer has a row of {other}, and {day} was asked for")))
            })
        }
        Days::Within(days) => {
            let far = ends.into_iter().find(|second| !days.contains(second));
            far.map_or(Ok(()), |far| {
                let [far, first, last] = [far, *days.start(), *days.end()].map(day_in_utc);
                let told = format!("the answer has a row of {far}, far outside of the days asked for");
                Err(mismatch(format!("{told} ({first} to {last})")))
            })
        }
    }
}

fn day_in_new_york(second: i64) -> Option<Date> {
    Timestamp::from_second(second).ok().map(calendar::day_of)
}

/// The day of a bound, or of a date, which is its midnight in UTC.
fn day_in_utc(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| no_day(), |moment| moment.strftime("%F").to_string())
}

fn no_day() -> String {
    "no day".to_owned()
}

/// Whether two spellings are one ticker. The API upper-cases what has no upper-case
/// letter, and may write an index with its prefix or without it; a lower-case letter
/// among others tells share classes apart (`KIMpL`).
pub(in crate::polygon) fn is_same_ticker(asked: &str, answered: &str) -> bool {
    let bare = |ticker: &str| ticker.strip_prefix("I:").unwrap_or(ticker).to_owned();
    let (asked, answered) = (bare(asked), bare(answered));
    let is_mixed = |ticker: &str| {
        ticker.contains(|c: char| c.is_ascii_lowercase()) && ticker.contains(|c: char| c.is_ascii_uppercase())
    };
    asked == answered || (asked.eq_ignore_ascii_case(&answered) && !is_mixed(&asked) && !is_mixed(&answered))
}

/// The error for an answer that is of another ticker.
pub(in crate::polygon) fn other_ticker(asked: &str, answered: &str) -> Error {
    let answered = shortened(answered, TICKER_MAX);
    mismatch(format!("{asked} was asked for, and the answer is of {answered}"))
}

fn text(content: &[u8]) -> String {
    unescape(content).into_owned()
}

/// A count, also when it was written as a text.
fn number(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Number(number) | Value::String(number) => {
            integer(number).and_then(|count| u64::try_from(count).ok())
        }
        _ => None,
    }
}

fn what(value: Value<'_>) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Null => "null",
        Value::Nested(text) if text.starts_with(b"[") => "an array",
        Value::Nested(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_is_the_same_in_another_spelling_and_no_other() {
        for (asked, answered, same) in [
            ("AAPL", "AAPL", true),
            ("aapl", "AAPL", true),
            ("I:SPX", "SPX", true),
            ("SPX", "I:SPX", true),
            ("AAPL", "MSFT", false),
            ("AAPL", "AAP", false),
            ("AAPL", "", false),
            ("KIMpL", "KIMpL", true),
            ("KIMpL", "KIMPL", false),
            ("KIMPL", "KIMpL", false),
            ("BRK.A", "BRK.B", false),
            ("X:BTCUSD", "BTCUSD", false),
        ] {
            assert_eq!(is_same_ticker(asked, answered), same, "{asked} {answered}");
        }
    }
}
