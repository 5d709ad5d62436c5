//! Reads one slice: its pages, one after the other.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::client::{Client, Intake, continuation};
use super::page::{Answer, PageReader};
use super::plan::{Asked, PlannedSlice};
use super::request::{Values, target};
use crate::batch::{Bound, Extent};
use crate::calendar;
use crate::canonical::Transcoder;
use crate::catalog::{ColumnType, Derived, Partition, Stream};
use crate::checkpoint::{Cover, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Event;
use crate::source::{Page, Pages, Room, Slice};

/// More pages than this are not a slice: a day of the busiest ticker has about 60.
const PAGES_MAX: usize = 20_000;

/// This many pages without a new row are paging without end.
const BARREN_PAGES_MAX: usize = 50;

/// A slice of the API.
pub(super) struct PolygonSlice {
    pub client: Arc<Client>,
    pub stream: Arc<Stream>,
    pub planned: PlannedSlice,
    pub as_of: Timestamp,
}

#[async_trait]
impl Slice for PolygonSlice {
    fn partition(&self) -> &Arc<str> {
        &self.planned.partition
    }

    async fn read(mut self: Box<Self>, pages: &Pages) -> Result<Cover> {
        loop {
            match self.read_days(pages).await {
                Err(error) if error.kind() == ErrorKind::NotYet => {
                    if !self.leave_out_today() {
                        return Ok(Cover::Part);
                    }
                }
                outcome => {
                    let rows = outcome.map_err(|error| self.located(error))?;
                    if rows == 0 && self.planned.is_first {
                        self.assert_ticker_exists().await.map_err(|error| self.located(error))?;
                    }
                    return Ok(self.planned.cover);
                }
            }
        }
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
    /// Reads all pages and returns the number of rows.
    async fn read_days(&self, pages: &Pages) -> Result<u64> {
        let mut reader = PageReader::new(self.stream.spec.rows_at, self.transcoder());
        let mut visited = HashSet::new();
        let mut next = Some(target(self.stream.spec, &self.values()));
        let mut rows = 0;
        let mut barren = 0;
        while let Some(target) = next.take() {
            visited.insert(target.clone());
            if visited.len() > PAGES_MAX {
                return Err(endless(format!("more than {PAGES_MAX} pages")));
            }
            let mut room = pages.room().await;
            let paged = Paged { reader: &mut reader, visited: &visited, room: &mut room };
            let (answer, following) = self.page(&target, paged).await?;
            reader.accept();
            if answer.repeated > 0 {
                self.warn(&format!(
                    "{} rows repeat rows of the page before; they are left out",
                    answer.repeated
                ));
            }
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
            next = following;
        }
        Ok(rows)
    }

    /// One page, and where the next one is.
    async fn page(&self, target: &str, mut paged: Paged<'_>) -> Result<(Answer, Option<String>)> {
        let is_continuation = paged.visited.len() > 1;
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
        }
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
        Transcoder::new(self.stream.spec, &self.stream.table, &constants)
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
    visited: &'a HashSet<String>,
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
        let next = answer.next_url.as_deref().map(continuation).transpose()?;
        if next.as_ref().is_some_and(|next| self.visited.contains(next)) {
            return Err(Error::new(
                ErrorKind::Response,
                "the answer's `next_url` leads back to a page that was read",
            ));
        }
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
