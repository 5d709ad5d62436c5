//! What is still to be read of a stream, as slices. No I/O.
//!
//! Days before the current one in New York are over; the current one is over
//! after [`DAY_ENDS`], except on the free plan, which serves a day only once the
//! next has begun. A slice covers the closed days before its first trading day
//! too, so that no request is spent on them and no gap is left.

use std::sync::Arc;

use jiff::civil::{Date, Time, date};
use jiff::{Span as Days, Timestamp};

use crate::calendar;
use crate::catalog::{BarSize, Partition, Stream, Timespan, Window};
use crate::checkpoint::{Checkpoint, Cover, Position, Span};
use crate::config::source::{Plan, SourceConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::source::Reading;

/// When a trading day is over in New York: extended trading ends at 20:00.
const DAY_ENDS: Time = jiff::civil::time(20, 15, 0, 0);

/// Base aggregates that one page of bars holds at most [OpenAPI: limit].
const BASE_BARS_PER_PAGE: u32 = 50_000;

/// Minutes of a day with extended trading, 04:00 to 20:00.
const MINUTES_PER_DAY: u32 = 16 * 60;

/// The last day that a date can name here; an open window ends there.
const FAR_FUTURE: Date = date(9999, 12, 31);

/// A slice as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedSlice {
    /// The ticker, the value of [`Partition::Values`], or empty.
    pub partition: Arc<str>,
    /// The days that are asked for; `None` when the stream is not sliced by time.
    pub days: Option<Asked>,
    /// What is covered when all of it was read.
    pub cover: Cover,
    /// Whether nothing of the partition was read before.
    pub is_first: bool,
}

/// The days that a request asks for, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub from: Date,
    /// `None` when the window is open.
    pub to: Option<Date>,
}

/// Plans the slices of `stream`.
///
/// # Errors
/// [`ErrorKind::StreamConfig`] when the configuration lacks what the stream needs.
pub(super) fn slices(
    stream: &Stream,
    config: &SourceConfig,
    checkpoint: &Checkpoint,
    reading: Reading,
    as_of: Timestamp,
) -> Result<Vec<PlannedSlice>> {
    let partitions = partitions(stream, config)?;
    if let Window::Whole = stream.spec.window {
        return Ok(whole_slices(&partitions, checkpoint, reading, as_of));
    }
    let planner = Planner::new(stream, config, reading, as_of)?;
    Ok(partitions
        .iter()
        .flat_map(|partition| planner.partition(partition, checkpoint.position(partition)))
        .collect())
}

fn partitions(stream: &Stream, config: &SourceConfig) -> Result<Vec<Arc<str>>> {
    match stream.spec.partition {
        Partition::None => Ok(vec![Arc::from("")]),
        Partition::Values(values) => Ok(values.iter().map(|value| Arc::from(*value)).collect()),
        Partition::Ticker if config.tickers.is_empty() => Err(Error::new(
            ErrorKind::StreamConfig,
            format!("`tickers` is empty, and {} is read ticker by ticker", stream.name),
        )
        .hint("list tickers in the source, such as `tickers: [AAPL]`, or leave the stream out")),
        Partition::Ticker => Ok(config.tickers.clone()),
    }
}

/// A pass reads every partition once. A pass that was cut short goes on, as of its
/// own moment; a snapshot never reads a partition twice.
fn whole_slices(
    partitions: &[Arc<str>],
    checkpoint: &Checkpoint,
    reading: Reading,
    as_of: Timestamp,
) -> Vec<PlannedSlice> {
    let read: Vec<_> = partitions.iter().map(|partition| checkpoint.whole_as_of(partition)).collect();
    let pass = read.iter().flatten().max().copied();
    let is_cut_short = pass.is_some() && read.iter().any(|as_of| *as_of != pass);
    let moment = if is_cut_short { pass.unwrap_or(as_of) } else { as_of };
    partitions
        .iter()
        .zip(read)
        .filter(|(_, read)| match read {
            None => true,
            Some(_) if reading == Reading::Snapshot => false,
            Some(read) => *read != moment,
        })
        .map(|(partition, read)| PlannedSlice {
            partition: Arc::clone(partition),
            days: None,
            cover: Cover::Whole { partition: Arc::clone(partition), as_of: moment },
            is_first: read.is_none(),
        })
        .collect()
}

struct Planner {
    window: Window,
    size: Option<BarSize>,
    reading: Reading,
    as_of: Timestamp,
    start: Date,
    /// The last day that counts as read when a slice with it was.
    end: Date,
    /// The day under way, when it is read as far as it goes.
    today: Option<Date>,
    /// Whether rows after `end` belong to the stream.
    is_open: bool,
    lookback_days: u16,
}

impl Planner {
    fn new(stream: &Stream, config: &SourceConfig, reading: Reading, as_of: Timestamp) -> Result<Self> {
        let spec = stream.spec;
        let today = calendar::day_of(as_of);
        let is_free = matches!(config.plan, Plan::Free {});
        let is_trading = matches!(spec.window, Window::TradingDays(_) | Window::BarsPerPage);
        let today_is_over = is_trading && !is_free && as_of >= calendar::at(today, DAY_ENDS);
        let last_over = if today_is_over { today } else { yesterday(today) };
        let last_asked = config.end_date.unwrap_or(FAR_FUTURE);
        let reads_today = reading != Reading::Once
            && !today_is_over
            && !is_free
            && last_asked >= today
            && config.start_date <= today;
        // A snapshot is read once as of now: the day under way is as complete as it gets.
        let end = if reading == Reading::Snapshot && reads_today { today } else { last_over };
        let lookback_days = spec.lookback_days().max(stream.size.map_or(0, period_days));
        if reading == Reading::Once && stream.size.is_some_and(|size| period_days(size) > 1) {
            return Err(Error::new(
                ErrorKind::StreamConfig,
                format!("stream {} cannot be appended", stream.name),
            )
            .hint("bars longer than a day change until their end: use mode append_dedup or overwrite"));
        }
        Ok(Self {
            window: spec.window,
            size: stream.size,
            reading,
            as_of,
            start: config.start_date,
            end: end.min(last_asked),
            today: reads_today.then_some(today),
            // Rows that are only added must not be read each time until their day is over.
            is_open: matches!(spec.window, Window::CalendarDaysOpen(_))
                && reading != Reading::Once
                && last_asked >= today,
            lookback_days,
        })
    }

    fn partition(&self, partition: &Arc<str>, position: Option<&Position>) -> Vec<PlannedSlice> {
        let Some(position) = position else {
            return self.forward(partition, self.start, true);
        };
        let mut slices = self.backward(partition, position.from);
        if self.is_snapshot_to_the_end(position) {
            return slices;
        }
        let next = tomorrow(self.resume_after(position));
        let is_seen = self.as_of <= position.as_of;
        if next <= self.end || (!is_seen && (self.today.is_some() || self.is_open)) {
            slices.extend(self.forward(partition, next, false));
        }
        slices
    }

    /// Whether a snapshot's last slice was read, which also held everything to come:
    /// a second time it would add the same rows.
    fn is_snapshot_to_the_end(&self, position: &Position) -> bool {
        let day = calendar::day_of(position.as_of);
        let last = if self.today.is_some() { day } else { yesterday(day) };
        self.reading == Reading::Snapshot && self.is_open && position.through >= last
    }

    /// The last day that is not read again.
    fn resume_after(&self, position: &Position) -> Date {
        let is_seen = self.as_of <= position.as_of;
        match self.reading {
            Reading::Mutable if !is_seen => {
                position.resume_after(calendar::day_of(position.as_of), self.lookback_days)
            }
            _ => position.through,
        }
    }

    /// Slices from `from` to the end, ascending.
    fn forward(&self, partition: &Arc<str>, from: Date, is_first: bool) -> Vec<PlannedSlice> {
        let mut slices = Vec::new();
        for (from, through) in self.windows(from, self.end) {
            slices.push(self.slice(partition, from, through, is_first && slices.is_empty()));
        }
        self.extend_to_today(partition, from, is_first, &mut slices);
        slices
    }

    /// The last request also asks for the day under way, or for everything to come.
    fn extend_to_today(
        &self,
        partition: &Arc<str>,
        from: Date,
        is_first: bool,
        slices: &mut Vec<PlannedSlice>,
    ) {
        if self.is_open {
            if slices.is_empty() {
                slices.push(self.unfinished(partition, from, is_first));
            }
            if let Some(Asked { to, .. }) = slices.last_mut().and_then(|slice| slice.days.as_mut()) {
                *to = None;
            }
            return;
        }
        let Some(today) = self.today.filter(|today| *today > self.end && self.is_worth_a_request(*today))
        else {
            return;
        };
        match slices.last_mut().and_then(|slice| slice.days.as_mut()) {
            Some(asked) if self.window != Window::TradingDays(1) => asked.to = Some(today),
            _ => slices.push(self.unfinished(partition, today, is_first && slices.is_empty())),
        }
    }

    /// A slice of days that are not over: it covers nothing.
    fn unfinished(&self, partition: &Arc<str>, from: Date, is_first: bool) -> PlannedSlice {
        PlannedSlice {
            partition: Arc::clone(partition),
            days: Some(Asked { from, to: Some(from) }),
            cover: Cover::Part,
            is_first,
        }
    }

    /// Slices of the days before `first`, when the start was moved back: descending,
    /// so that each joins what was read.
    fn backward(&self, partition: &Arc<str>, first: Date) -> Vec<PlannedSlice> {
        if self.start >= first {
            return Vec::new();
        }
        let mut windows = self.windows(self.start, yesterday(first));
        // Closed days at the end belong to the last window.
        if let Some(last) = windows.last_mut() {
            last.1 = yesterday(first);
        }
        windows.into_iter().rev().map(|(from, through)| self.slice(partition, from, through, false)).collect()
    }

    fn slice(&self, partition: &Arc<str>, from: Date, through: Date, is_first: bool) -> PlannedSlice {
        let span = Span { partition: Arc::clone(partition), from, through, as_of: self.as_of };
        let first_asked = if self.is_trading() { self.first_trading_day(from) } else { from };
        PlannedSlice {
            partition: Arc::clone(partition),
            days: Some(Asked { from: first_asked, to: Some(through) }),
            cover: Cover::Slice(span),
            is_first,
        }
    }

    fn is_trading(&self) -> bool {
        matches!(self.window, Window::TradingDays(_) | Window::BarsPerPage)
    }

    fn is_worth_a_request(&self, day: Date) -> bool {
        !self.is_trading() || calendar::is_trading_day(day)
    }

    fn first_trading_day(&self, day: Date) -> Date {
        if calendar::is_trading_day(day) { day } else { calendar::next_trading_day(day) }
    }

    /// Adjoining windows from `from` to `to`. Windows of trading days without any
    /// are left out: the days are covered by a later window.
    fn windows(&self, from: Date, to: Date) -> Vec<(Date, Date)> {
        let length = match self.window {
            Window::TradingDays(days) => days,
            Window::CalendarDays(days) | Window::CalendarDaysOpen(days) => days,
            Window::BarsPerPage => self.size.map_or(1, trading_days_per_page),
            Window::Whole => return Vec::new(),
        };
        let mut windows: Vec<(Date, Date)> = Vec::new();
        let mut first = from;
        while first <= to {
            let last = if self.is_trading() {
                let mut days = calendar::trading_days(first, to);
                match days.by_ref().nth(length as usize) {
                    // The day before the first trading day that does not fit.
                    Some(next) => yesterday(next),
                    None => to,
                }
            } else {
                first.saturating_add(Days::new().days(i64::from(length) - 1)).min(to)
            };
            if !self.is_trading() || calendar::trading_days(first, last).next().is_some() {
                windows.push((first, last));
            }
            first = tomorrow(last);
        }
        windows
    }
}

/// Trading days whose bars fit in one page. `limit` counts base aggregates: minutes
/// for minutes and hours, days for all that is longer [vendor documentation].
pub(super) fn trading_days_per_page(size: BarSize) -> u32 {
    match size.timespan {
        Timespan::Second => 1,
        Timespan::Minute | Timespan::Hour => BASE_BARS_PER_PAGE / MINUTES_PER_DAY,
        Timespan::Day | Timespan::Week | Timespan::Month | Timespan::Quarter | Timespan::Year => {
            BASE_BARS_PER_PAGE
        }
    }
}

/// Days for which a bar of this size goes on changing after it began.
fn period_days(size: BarSize) -> u16 {
    let unit = match size.timespan {
        Timespan::Second | Timespan::Minute | Timespan::Hour => return 1,
        Timespan::Day => 1,
        Timespan::Week => 7,
        Timespan::Month => 31,
        Timespan::Quarter => 92,
        Timespan::Year => 366,
    };
    size.multiplier.saturating_mul(unit).saturating_add(if unit > 1 { 5 } else { 0 })
}

fn yesterday(day: Date) -> Date {
    day.yesterday().unwrap_or(day)
}

fn tomorrow(day: Date) -> Date {
    day.tomorrow().unwrap_or(day)
}

#[cfg(test)]
mod tests;
