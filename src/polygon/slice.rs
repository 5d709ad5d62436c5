//! Reads one slice: its pages, one after the other.

use super::rows::transcoder;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::{Span as Days, Timestamp};

use super::client::{Client, Intake};
use super::continuation::Trail;
use super::page::{self, Answer, PageReader};
use super::plan::{Asked, PlannedSlice, bar_days};
use super::request::{Values, target};
use crate::batch::{Bound, Extent};
use crate::calendar;
use crate::canonical::Transcoder;
use crate::catalog::{Derived, Partition, Sizes, Stream};
use crate::checkpoint::{Cover, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Event;
use crate::source::{Page, Pages, Room, Slice};
use crate::table::ColumnType;

/// More pages than this are not a slice: a day of the busiest ticker has about 60.
const PAGES_MAX: usize = 20_000;

/// Days by which rows may lie outside of those asked for: time zones, and ranges that
/// the API is known to begin a day early.
const DAYS_OFF_MAX: i64 = 2;

/// This many partitions in a row that the API refuses are no matter of theirs.
const REFUSED_MAX: usize = 20;

/// A partition of which the answers are none after all tries, for each of which it waited,
/// counts as so many.
const UNANSWERED: usize = 5;

/// No bar begins before; the longest that can be configured has 9,999 years.
const FIRST_DAY: Date = jiff::civil::date(1, 1, 1);

/// This many pages without a new row are paging without end.
const BARREN_PAGES_MAX: usize = 50;

/// A slice of the API.
pub(super) struct PolygonSlice {
    pub client: Arc<Client>,
    pub stream: Arc<Stream>,
    pub planned: PlannedSlice,
    pub as_of: Timestamp,
    /// How many partitions of the stream in a row the API did not answer.
    pub refused: Arc<AtomicUsize>,
}

#[async_trait]
impl Slice for PolygonSlice {
    fn partition(&self) -> &Arc<str> {
        &self.planned.partition
    }

    fn given_up(&self) -> Option<Cover> {
        Some(self.planned.cover.clone()).filter(|cover| matches!(cover, Cover::Whole { .. }))
    }

    async fn read(mut self: Box<Self>, pages: &Pages) -> Result<Cover> {
        let outcome = self.read_what_there_is(pages).await.map_err(|error| self.located(error));
        match &outcome {
            Ok(_) => self.refused.store(0, Ordering::Relaxed),
            Err(error) => {
                let Some((weight, alone, all)) = reach(error.kind()) else { return outcome };
                let refused = self.refused.fetch_add(weight, Ordering::Relaxed) + weight;
                let is_of_stream = refused >= REFUSED_MAX || self.stream.spec.partition != Partition::Ticker;
                return outcome.map_err(|error| error.of_kind(if is_of_stream { all } else { alone }));
            }
        }
        outcome
    }
}

/// What a failure of one partition counts, what it is where it is the partition's, and what
/// where it is not: the whole stream fails. None where that does not depend on others.
fn reach(kind: ErrorKind) -> Option<(usize, ErrorKind, ErrorKind)> {
    match kind {
        ErrorKind::Refused | ErrorKind::Mismatch => Some((1, kind, ErrorKind::Response)),
        ErrorKind::Response => Some((UNANSWERED, ErrorKind::Mismatch, kind)),
        ErrorKind::Unavailable => Some((UNANSWERED, ErrorKind::Unanswered, kind)),
        _ => None,
    }
}

/// The part of a stream's table that days of a partition are, both inclusive; all days
/// to come without the last one. None when rows do not say of which day they are.
pub fn part(stream: &Stream, partition: &Arc<str>, from: Date, to: Option<Date>) -> Option<Extent> {
    let cursor = stream.table.cursor.clone()?;
    let end = to.map(|last| last.tomorrow().unwrap_or(last));
    let column = stream.table.position(&cursor)?;
    let is_date = stream.table.columns[column].ty == ColumnType::Date;
    let bound = |day| if is_date { Bound::Day(day) } else { Bound::Time(calendar::day_start(day)) };
    let has_ticker = stream.spec.partition == Partition::Ticker;
    Some(Extent {
        partition: has_ticker.then(|| ("ticker".to_owned(), Arc::clone(partition))),
        cursor,
        from: bound(from),
        until: end.map(bound),
    })
}

impl PolygonSlice {
    async fn read_what_there_is(&mut self, pages: &Pages) -> Result<Cover> {
        loop {
            let is_of_now = self.stream.spec.is_of_a_day() && self.planned.days.is_none();
            match self.read_days(pages).await {
                Err(error) if error.kind() == ErrorKind::NotYet => {
                    if !self.leave_out_today() {
                        return Ok(Cover::Part);
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound && is_of_now => {
                    self.read_last_day(pages).await?;
                    return Ok(self.planned.cover.clone());
                }
                outcome => {
                    if outcome? == 0 && self.planned.is_first {
                        self.assert_ticker_exists().await?;
                    }
                    return Ok(self.planned.cover.clone());
                }
            }
        }
    }

    /// Reads a delisted ticker as of a day when it lived: of now the API has nothing.
    async fn read_last_day(&mut self, pages: &Pages) -> Result<()> {
        let ticker = Arc::clone(&self.planned.partition);
        let last = super::probe::last_day(&self.client, &ticker).await?;
        // Whether the last day still counts the vendor does not say.
        for day in last.into_iter().flat_map(|day| [Ok(day), day.yesterday()]).flatten() {
            self.planned.days = Some(Asked { from: day, to: None });
            match self.read_days(pages).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                outcome => return outcome.map(drop),
            }
        }
        self.warn(&format!("the API lists {ticker} and has nothing else of it: it is left out"));
        Ok(())
    }

    /// Reads all pages and returns the number of rows.
    async fn read_days(&self, pages: &Pages) -> Result<u64> {
        let mut reader = PageReader::new(self.stream.spec, self.transcoder(), self.asked());
        let first = target(self.stream.spec, &self.values());
        let mut trail = Trail::new(self.stream.spec, &first);
        let mut next = Some(first);
        let mut rows = 0;
        let mut barren = 0;
        let mut is_resumed = false;
        while let Some(target) = next.take() {
            trail.visit(&target);
            if trail.len() > PAGES_MAX {
                return Err(endless(format!("more than {PAGES_MAX} pages")));
            }
            let mut room = pages.room().await;
            let paged = Paged { reader: &mut reader, trail: &trail, room: &mut room };
            let (answer, following) = self.page(&target, paged).await?;
            reader.accept();
            if is_resumed {
                self.assert_resumed(&answer)?;
            } else if answer.repeated > 0 {
                self.warn(&format!(
                    "{} rows repeat rows of the page before; they are left out",
                    answer.repeated
                ));
            }
            is_resumed = following.is_none() && answer.is_full;
            next = if is_resumed { Some(self.resumed(&answer)?) } else { following };
            let page = Page {
                rows: answer.rows,
                extracted_at_ms: Timestamp::now().as_millisecond(),
                replaces: if rows == 0 { self.extent() } else { None },
            };
            barren = if page.rows.is_empty() { barren + 1 } else { 0 };
            if barren > BARREN_PAGES_MAX {
                return Err(endless(format!("{barren} pages without a new row")));
            }
            rows += page.rows.len() as u64;
            pages.send(room, page)?;
        }
        Ok(rows)
    }

    /// The request that asks whether rows follow a full page that names no next one:
    /// from its last row on, that row included. By chance a last page is full; one
    /// whose `next_url` got lost looks the same.
    fn resumed(&self, answer: &Answer) -> Result<String> {
        let resume = || {
            let row: serde_json::Value = serde_json::from_slice(answer.rows.iter().last()?).ok()?;
            let value = &row[self.stream.spec.resume?];
            match value.as_str() {
                Some(text) if self.stream.spec.sizes == Sizes::Bars => {
                    let moment: Timestamp = text.parse().ok()?;
                    Some(moment.as_millisecond().to_string())
                }
                Some(text) => Some(text.to_owned()),
                None => value.as_i64().map(|number| number.to_string()),
            }
        };
        let resume = resume().ok_or_else(|| self.cut_off("has no row to go on from"))?;
        Ok(target(self.stream.spec, &Values { resume: Some(&resume), ..self.values() }))
    }

    /// What was asked from the last row on must begin with that row: an answer that
    /// does not is none to what was asked.
    fn assert_resumed(&self, answer: &Answer) -> Result<()> {
        if answer.repeated == 0 || (answer.is_full && answer.rows.is_empty()) {
            return Err(self.cut_off("cannot be gone on from"));
        }
        if !answer.rows.is_empty() {
            self.warn(&format!(
                "a full page named no next one, and {} rows were found behind it",
                answer.rows.len()
            ));
        }
        Ok(())
    }

    fn cut_off(&self, what: &str) -> Error {
        let limit = self.stream.spec.limit().unwrap_or_default();
        Error::new(
            ErrorKind::Response,
            format!("a page is full with its {limit} rows, names no next page and {what}"),
        )
        .hint("rows would be lost, so nothing of this slice is kept; try again later, and report it if it stays so")
    }

    /// One page, and where the next one is.
    async fn page(&self, target: &str, mut paged: Paged<'_>) -> Result<(Answer, Option<String>)> {
        let is_continuation = paged.trail.len() > 1;
        match self.client.fetch(target, Some(&self.stream.name), &mut paged).await {
            // The API gave this address itself: that it refuses it is a fault of its paging.
            Err(error)
                if is_continuation && matches!(error.kind(), ErrorKind::Refused | ErrorKind::NotYet) =>
            {
                Err(Error::new(ErrorKind::Response, "the API refuses the continuation that it gave")
                    .hint("try again later; nothing of this slice is kept")
                    .caused_by(error))
            }
            outcome => outcome,
        }
    }

    /// The part of the table that the days asked for are. A slice without a single
    /// row replaces nothing: an outage of the API would look the same.
    fn extent(&self) -> Option<Extent> {
        let Asked { from, to } = self.planned.days?;
        part(&self.stream, &self.planned.partition, from, to)
    }

    fn values(&self) -> Values<'_> {
        let partition = Some(&*self.planned.partition);
        let days = self.planned.days;
        Values {
            ticker: partition.filter(|_| self.stream.spec.partition == Partition::Ticker),
            value: partition.filter(|_| matches!(self.stream.spec.partition, Partition::Values(_))),
            size: self.stream.size,
            adjusted: self.client.config().adjusted,
            from: days.map(|days| days.from),
            to: days.and_then(|days| days.to),
            resume: None,
        }
    }

    /// What the answers must be of.
    fn asked(&self) -> page::Asked {
        let is_of_ticker = self.stream.spec.partition == Partition::Ticker;
        let is_of_one_day = self.stream.spec.derived.contains(&Derived::Date);
        let days = self.planned.days.map(|days| {
            if is_of_one_day { page::Days::Of(days.from) } else { page::Days::Within(self.around(days)) }
        });
        page::Asked { ticker: is_of_ticker.then(|| self.planned.partition.to_string()), days }
    }

    /// Seconds within which rows of these days are. The API's days are off by one at
    /// times, and a bar that covers the first day begins before it.
    fn around(&self, Asked { from, to }: Asked) -> RangeInclusive<i64> {
        let margin = Days::new().days(DAYS_OFF_MAX + self.stream.size.map_or(0, bar_days));
        let midnight = |day: Date| calendar::day_start(day).as_second();
        let end =
            to.map_or(i64::MAX, |last| midnight(last.saturating_add(Days::new().days(DAYS_OFF_MAX + 1))));
        midnight(from.saturating_sub(margin).max(FIRST_DAY))..=end
    }

    fn transcoder(&self) -> Transcoder {
        let date = self.planned.days.map(|days| days.from.to_string()).unwrap_or_default();
        let constants: Vec<(&str, &str)> = self
            .stream
            .spec
            .derived
            .iter()
            .map(|derived| match derived {
                Derived::Ticker => ("ticker", &*self.planned.partition),
                Derived::Date => ("date", date.as_str()),
            })
            .collect();
        transcoder(self.stream.spec, &self.stream.table, &constants)
    }

    /// Shortens the slice so that it ends before the current day. False when
    /// nothing is left of it.
    fn leave_out_today(&mut self) -> bool {
        let Some(Asked { from, to }) = self.planned.days else {
            return false;
        };
        let Ok(last) = calendar::day_of(self.as_of).yesterday() else {
            return false;
        };
        if last < from || to.is_some_and(|to| to <= last) {
            return false;
        }
        self.planned.days = Some(Asked { from, to: Some(last) });
        if let Cover::Slice(Span { through, .. }) = &mut self.planned.cover {
            *through = (*through).min(last);
        }
        true
    }

    /// Bars and trades of a ticker that does not exist are an empty answer, like
    /// those of a quiet one: only the reference tells them apart.
    async fn assert_ticker_exists(&self) -> Result<()> {
        if self.stream.spec.partition != Partition::Ticker {
            return Ok(());
        }
        super::probe::ticker_exists(&self.client, &self.planned.partition).await
    }

    fn located(&self, error: Error) -> Error {
        let error = error.in_stream(&self.stream.name);
        if self.stream.spec.partition == Partition::Ticker && error.kind() == ErrorKind::NotFound {
            return super::probe::no_such_ticker(&self.planned.partition).caused_by(error);
        }
        error
    }

    fn warn(&self, message: &str) {
        self.client.observer().event(&Event::Warning { stream: Some(&self.stream.name), message });
    }
}

/// Reads a page and where the next one is, which must be a page not read yet.
struct Paged<'a> {
    reader: &'a mut PageReader,
    trail: &'a Trail,
    room: &'a mut Room,
}

impl Intake for Paged<'_> {
    type Output = (Answer, Option<String>);

    fn begin(&mut self) {
        self.reader.begin();
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.reader.take(piece)
    }

    fn end(&mut self) -> Result<Self::Output> {
        let answer = self.reader.end()?;
        let next = answer.next_url.as_deref().map(|next_url| self.trail.follow(next_url)).transpose()?;
        Ok((answer, next))
    }

    async fn room(&mut self) {
        self.room.grow(self.reader.held()).await;
    }

    async fn alone(&mut self) {
        self.room.alone().await;
    }
}

fn endless(what: String) -> Error {
    Error::new(ErrorKind::Response, format!("the API's paging does not end: {what}"))
        .hint("try again later; nothing of this slice is kept")
}
