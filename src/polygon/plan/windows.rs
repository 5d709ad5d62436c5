//! Days cut into windows, each of which is made when it is asked for: a plan of
//! millions takes no more memory and no more time to begin than a plan of one.

use jiff::Span as Days;
use jiff::civil::Date;

use crate::calendar;

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// So many trading days; closed days belong to the window before them.
    Trading(u32),
    /// So many days.
    Calendar(u32),
}

/// Cuts days into windows of a length.
#[derive(Debug)]
pub(super) struct Cutter {
    length: Length,
    /// All trading days that can be asked about, where windows are made of them.
    trading: Vec<Date>,
}

/// Adjoining windows, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    from: Date,
    to: Date,
    /// Where the first trading day is in the cutter's list.
    first: usize,
    /// Trading days, or days.
    days: u64,
    /// How many windows there are.
    pub(super) count: u64,
}

impl Cutter {
    /// A cutter of days from `from` to `to`, both inclusive.
    pub(super) fn new(length: Length, from: Date, to: Date) -> Self {
        let trading = match length {
            Length::Trading(_) => calendar::trading_days(from, to).collect(),
            Length::Calendar(_) => Vec::new(),
        };
        Self { length, trading }
    }

    /// The windows from `from` to `to`, both inclusive. There is none when no
    /// trading day is among them: they are covered by a later window.
    pub(super) fn windows(&self, from: Date, to: Date) -> Windows {
        let first = self.trading.partition_point(|day| *day < from);
        let (days, length) = match self.length {
            _ if from > to => (0, 1),
            Length::Trading(length) => {
                let last = self.trading.partition_point(|day| *day <= to);
                ((last - first) as u64, length)
            }
            Length::Calendar(length) => (days_between(from, to), length),
        };
        Windows { from, to, first, days, count: days.div_ceil(u64::from(length)) }
    }

    /// A window's first and last day, by its number in time, below their count.
    pub(super) fn window(&self, windows: &Windows, number: u64) -> (Date, Date) {
        let is_last = number + 1 == windows.count;
        let first = if number == 0 { windows.from } else { self.begin(windows, number) };
        let last = if is_last { windows.to } else { yesterday(self.begin(windows, number + 1)) };
        (first, last)
    }

    /// Where a window begins that is not the first.
    fn begin(&self, windows: &Windows, number: u64) -> Date {
        match self.length {
            Length::Trading(length) => self.trading[windows.first + (number * u64::from(length)) as usize],
            Length::Calendar(length) => {
                let days = number.saturating_mul(u64::from(length)).min(windows.days);
                windows.from.saturating_add(Days::new().days(days.cast_signed()))
            }
        }
    }

    /// The first trading day from `from` on in its window; `from` where windows are
    /// of days.
    pub(super) fn first_asked(&self, from: Date) -> Date {
        let first = self.trading.partition_point(|day| *day < from);
        self.trading.get(first).copied().unwrap_or(from)
    }
}

impl Windows {
    /// Trading days in all of them, or days.
    pub(super) fn days(&self) -> u64 {
        self.days
    }
}

/// Days from the first to the last, both inclusive.
fn days_between(from: Date, to: Date) -> u64 {
    let days = from.until(to).map_or(0, |span| i64::from(span.get_days()));
    days.unsigned_abs() + 1
}

pub(super) fn yesterday(day: Date) -> Date {
    day.yesterday().unwrap_or(day)
}

pub(super) fn tomorrow(day: Date) -> Date {
    day.tomorrow().unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn after(days: i64) -> Date {
        date(2024, 1, 1).saturating_add(Days::new().days(days))
    }

    proptest! {
        /// Whatever the length, windows join without a gap from the first day to the
        /// last, and each but the last holds as many days as it may.
        #[test]
        fn windows_cover_their_days_once(
            from in 0i64..400,
            length in -3i64..400,
            window in 1u32..80,
            is_trading in any::<bool>(),
        ) {
            let (from, to) = (after(from), after(from + length));
            let kind = if is_trading { Length::Trading(window) } else { Length::Calendar(window) };
            let cutter = Cutter::new(kind, after(-30), after(900));
            let windows = cutter.windows(from, to);
            let days = |from, to| match kind {
                Length::Trading(_) => calendar::trading_days(from, to).count() as u64,
                Length::Calendar(_) if from > to => 0,
                Length::Calendar(_) => days_between(from, to),
            };
            prop_assert_eq!(windows.days(), days(from, to));
            prop_assert_eq!(windows.count == 0, days(from, to) == 0);
            let mut next = from;
            for number in 0..windows.count {
                let (first, last) = cutter.window(&windows, number);
                prop_assert_eq!(first, next);
                prop_assert!(first <= last);
                let is_last = number + 1 == windows.count;
                if !is_last {
                    prop_assert_eq!(days(first, last), u64::from(window));
                } else {
                    prop_assert_eq!(last, to);
                    prop_assert!((1..=u64::from(window)).contains(&days(first, last)));
                }
                next = tomorrow(last);
            }
        }
    }
}
