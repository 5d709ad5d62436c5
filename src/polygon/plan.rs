//! What is still to be read of a stream, as slices. No I/O.
//!
//! Days before the current one in New York are over; the current one is over
//! after [`DAY_ENDS`], except on the free plan, which serves a day only once the
//! next has begun. A slice covers the closed days before its first trading day
//! too, so that no request is spent on them and no gap is left.
//!
//! Slices are made one by one as they are asked for. What a plan keeps is each
//! partition's position and the exchange's calendar.

mod windows;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, Time, date};

use super::estimate;
use crate::calendar;
use crate::catalog::{BarSize, Partition, Stream, Timespan, Window};
use crate::checkpoint::{Checkpoint, Cover, Position, Span};
use crate::config::source::{Plan, SourceConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Estimate, Reading};

use windows::{Cutter, Length, Windows, tomorrow, yesterday};

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

/// The slices of a stream that are still to be read, partition by partition.
#[derive(Debug)]
pub(super) struct SlicePlan {
    left: Left,
    estimate: Estimate,
}

#[derive(Debug)]
enum Left {
    /// Partitions that are not sliced by time, and whether nothing of them was read.
    Whole {
        as_of: Timestamp,
        partitions: std::vec::IntoIter<(Arc<str>, bool)>,
    },
    Days(Box<DaysLeft>),
}

/// Partitions that are sliced by time.
#[derive(Debug)]
struct DaysLeft {
    planner: Planner,
    /// Those that were not begun, and how far they were read before.
    partitions: std::vec::IntoIter<(Arc<str>, Option<Position>)>,
    /// The one under way, and how many of its slices were made.
    current: Option<(Arc<str>, PartitionDays, u64)>,
}

impl SlicePlan {
    /// What is still to be read of `stream`.
    ///
    /// # Errors
    /// [`ErrorKind::StreamConfig`] when the configuration lacks what the stream needs.
    pub(super) fn new(
        stream: &Stream,
        config: &SourceConfig,
        checkpoint: &Checkpoint,
        reading: Reading,
        as_of: Timestamp,
    ) -> Result<Self> {
        let partitions = partitions(stream, config)?;
        if let Window::Whole = stream.spec.window {
            let (as_of, partitions) = whole_pass(partitions, checkpoint, reading, as_of);
            let slices = partitions.len() as u64;
            let estimate = Estimate { slices, rows: estimate::rows(stream, slices, None) };
            return Ok(Self { left: Left::Whole { as_of, partitions: partitions.into_iter() }, estimate });
        }
        let partitions: Vec<_> = partitions
            .into_iter()
            .map(|partition| (Arc::clone(&partition), checkpoint.position(&partition).copied()))
            .collect();
        let positions = partitions.iter().filter_map(|(_, position)| position.as_ref());
        let planner = Planner::new(stream, config, reading, as_of, positions)?;
        let estimate = planner.estimate(stream, partitions.iter().map(|(_, position)| position.as_ref()));
        let left = DaysLeft { planner, partitions: partitions.into_iter(), current: None };
        Ok(Self { left: Left::Days(Box::new(left)), estimate })
    }

    /// What the plan held when it was made.
    pub(super) fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// The next slice, of no partition that `failed`.
    pub(super) fn next(&mut self, failed: &HashSet<Arc<str>>) -> Option<PlannedSlice> {
        match &mut self.left {
            Left::Whole { as_of, partitions } => {
                let (partition, is_first) = partitions.find(|(partition, _)| !failed.contains(partition))?;
                let cover = Cover::Whole { partition: Arc::clone(&partition), as_of: *as_of };
                Some(PlannedSlice { partition, days: None, cover, is_first })
            }
            Left::Days(left) => left.next(failed),
        }
    }
}

impl DaysLeft {
    fn next(&mut self, failed: &HashSet<Arc<str>>) -> Option<PlannedSlice> {
        loop {
            if let Some((partition, days, made)) = &mut self.current
                && *made < days.count()
                && !failed.contains(partition)
            {
                *made += 1;
                return Some(self.planner.slice_at(partition, days, *made - 1));
            }
            let (partition, position) = self.partitions.next()?;
            let days = self.planner.partition(position.as_ref());
            self.current = Some((partition, days, 0));
        }
    }
}

/// The latest moment as of which days of the stream were read.
pub(super) fn made_as_of(
    stream: &Stream,
    config: &SourceConfig,
    checkpoint: &Checkpoint,
) -> Option<Timestamp> {
    let positions = match stream.spec.partition {
        Partition::Ticker => config.tickers.iter().map(|ticker| checkpoint.position(ticker)).collect(),
        Partition::None => vec![checkpoint.position("")],
        Partition::Values(values) => values.iter().map(|value| checkpoint.position(value)).collect(),
    };
    positions.into_iter().flatten().map(|position| position.as_of).max()
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

/// What a pass over all partitions still reads, and as of when. It reads each once;
/// one that was cut short goes on, as of its own moment; a snapshot never reads a
/// partition twice.
fn whole_pass(
    partitions: Vec<Arc<str>>,
    checkpoint: &Checkpoint,
    reading: Reading,
    as_of: Timestamp,
) -> (Timestamp, Vec<(Arc<str>, bool)>) {
    let read: Vec<_> = partitions.iter().map(|partition| checkpoint.whole_as_of(partition)).collect();
    let pass = read.iter().flatten().max().copied();
    let is_cut_short = pass.is_some() && read.iter().any(|as_of| *as_of != pass);
    let moment = if is_cut_short { pass.unwrap_or(as_of) } else { as_of };
    let left = partitions
        .into_iter()
        .zip(read)
        .filter(|(_, read)| match read {
            None => true,
            Some(_) if reading == Reading::Snapshot => false,
            Some(read) => *read != moment,
        })
        .map(|(partition, read)| (partition, read.is_none()))
        .collect();
    (moment, left)
}

/// The days of a partition that are still to be read: first those before what was
/// read, descending, so that each slice joins it; then those after it.
#[derive(Debug, Clone, Copy)]
struct PartitionDays {
    backward: Windows,
    forward: Windows,
    /// The first day that is read forward.
    from: Date,
    /// Whether a slice of days that are not over follows.
    has_unfinished: bool,
    /// Whether nothing of the partition was read before.
    is_first: bool,
}

impl PartitionDays {
    /// How many slices there are.
    fn count(&self) -> u64 {
        self.backward.count + self.forward.count + u64::from(self.has_unfinished)
    }
}

#[derive(Debug)]
struct Planner {
    window: Window,
    cutter: Cutter,
    reading: Reading,
    as_of: Timestamp,
    start: Date,
    /// The last day that counts as read when a slice with it was.
    end: Date,
    /// The day under way, when it is read as far as it goes.
    today: Option<Date>,
    /// The same when it is after `end` and worth a request.
    unfinished: Option<Date>,
    /// Whether rows after `end` belong to the stream.
    is_open: bool,
    lookback_days: u16,
}

impl Planner {
    /// For partitions that were read as far as `positions`.
    fn new<'a>(
        stream: &Stream,
        config: &SourceConfig,
        reading: Reading,
        as_of: Timestamp,
        positions: impl Iterator<Item = &'a Position>,
    ) -> Result<Self> {
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
        let end = end.min(last_asked);
        let is_worth_a_request = !is_trading || calendar::is_trading_day(today);
        // The days that a window can begin or end on.
        let (mut first, mut last) = (config.start_date, today);
        for position in positions {
            first = first.min(position.from);
            last = last.max(position.from);
        }
        Ok(Self {
            window: spec.window,
            cutter: Cutter::new(length(spec.window, stream.size), first, last),
            reading,
            as_of,
            start: config.start_date,
            end,
            today: reads_today.then_some(today),
            unfinished: (reads_today && today > end && is_worth_a_request).then_some(today),
            // Rows that are only added must not be read each time until their day is over.
            is_open: matches!(spec.window, Window::CalendarDaysOpen(_))
                && reading != Reading::Once
                && last_asked >= today,
            lookback_days,
        })
    }

    fn partition(&self, position: Option<&Position>) -> PartitionDays {
        let nothing = self.cutter.windows(self.start, yesterday(self.start));
        let Some(position) = position else {
            return self.forward(self.start, nothing, true);
        };
        let backward = self.cutter.windows(self.start, yesterday(position.from));
        let next = tomorrow(self.resume_after(position));
        let only_backward =
            PartitionDays { backward, forward: nothing, from: next, has_unfinished: false, is_first: false };
        if self.is_snapshot_to_the_end(position) {
            return only_backward;
        }
        let is_seen = self.as_of <= position.as_of;
        if next <= self.end || (!is_seen && (self.today.is_some() || self.is_open)) {
            return self.forward(next, backward, false);
        }
        only_backward
    }

    /// Days before what was read, and those from `from` to the end.
    fn forward(&self, from: Date, backward: Windows, is_first: bool) -> PartitionDays {
        let forward = self.cutter.windows(from, self.end);
        let has_unfinished = if self.is_open {
            forward.count == 0
        } else {
            self.unfinished.is_some() && (forward.count == 0 || self.is_by_the_day())
        };
        PartitionDays { backward, forward, from, has_unfinished, is_first }
    }

    /// Whether each request is of one trading day.
    fn is_by_the_day(&self) -> bool {
        self.window == Window::TradingDays(1)
    }

    /// How many slices partitions at these positions have, and rows.
    fn estimate<'a>(
        &self,
        stream: &Stream,
        positions: impl Iterator<Item = Option<&'a Position>>,
    ) -> Estimate {
        let mut estimate = Estimate { slices: 0, rows: Some(0) };
        for position in positions {
            let days = self.partition(position);
            let reads_today = self.unfinished.is_some() && (days.forward.count > 0 || days.has_unfinished);
            let trading_days = days.backward.days() + days.forward.days() + u64::from(reads_today);
            let rows = estimate::rows(stream, days.count(), Some(trading_days).filter(|_| !self.is_open));
            estimate.slices += days.count();
            estimate.rows = estimate.rows.zip(rows).map(|(sum, rows)| sum + rows);
        }
        estimate
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

    /// A slice of a partition, by its number.
    fn slice_at(&self, partition: &Arc<str>, days: &PartitionDays, number: u64) -> PlannedSlice {
        let Some(number) = number.checked_sub(days.backward.count) else {
            let window = self.cutter.window(&days.backward, days.backward.count - 1 - number);
            return self.slice(partition, window, false);
        };
        let is_first = days.is_first && number == 0;
        if number == days.forward.count {
            return self.unfinished(partition, days.from, is_first);
        }
        let mut slice = self.slice(partition, self.cutter.window(&days.forward, number), is_first);
        // The last request also asks for the day under way, or for everything to come.
        if number + 1 == days.forward.count
            && let Some(asked) = &mut slice.days
        {
            match self.unfinished {
                _ if self.is_open => asked.to = None,
                Some(today) if !self.is_by_the_day() => asked.to = Some(today),
                _ => {}
            }
        }
        slice
    }

    /// A slice of days that are not over: it covers nothing.
    fn unfinished(&self, partition: &Arc<str>, from: Date, is_first: bool) -> PlannedSlice {
        let days = match self.unfinished {
            Some(today) if !self.is_open => Asked { from: today, to: Some(today) },
            _ => Asked { from, to: None },
        };
        PlannedSlice { partition: Arc::clone(partition), days: Some(days), cover: Cover::Part, is_first }
    }

    fn slice(&self, partition: &Arc<str>, (from, through): (Date, Date), is_first: bool) -> PlannedSlice {
        let span = Span { partition: Arc::clone(partition), from, through, as_of: self.as_of };
        PlannedSlice {
            partition: Arc::clone(partition),
            days: Some(Asked { from: self.cutter.first_asked(from), to: Some(through) }),
            cover: Cover::Slice(span),
            is_first,
        }
    }
}

/// How long a window is.
fn length(window: Window, size: Option<BarSize>) -> Length {
    match window {
        Window::TradingDays(days) => Length::Trading(days),
        Window::CalendarDays(days) | Window::CalendarDaysOpen(days) => Length::Calendar(days),
        Window::BarsPerPage => Length::Trading(size.map_or(1, trading_days_per_page)),
        Window::Whole => unreachable!("a stream that is not sliced by time has no windows"),
    }
}

/// Trading days whose bars fit in one page. `limit` counts base aggregates: minutes
/// for minutes and hours, days for all that is longer [vendor documentation].
fn trading_days_per_page(size: BarSize) -> u32 {
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

/// Days that a bar of this size spans, rounded up.
pub(super) fn bar_days(size: BarSize) -> i64 {
    let multiplier = i64::from(size.multiplier);
    match size.timespan {
        Timespan::Second => multiplier / 86_400 + 1,
        Timespan::Minute => multiplier / 1_440 + 1,
        Timespan::Hour => multiplier / 24 + 1,
        Timespan::Day => multiplier,
        Timespan::Week => 7 * multiplier,
        Timespan::Month => 31 * multiplier,
        Timespan::Quarter => 92 * multiplier,
        Timespan::Year => 366 * multiplier,
    }
}

#[cfg(test)]
mod tests;
