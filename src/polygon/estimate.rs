//! How many rows slices will have, where the calendar tells.

use crate::catalog::{BarSize, RowsAt, Stream, Timespan};

/// Hours of a day with extended trading, 04:00 to 20:00.
const HOURS_PER_DAY: u64 = 16;

/// About how many rows so many slices have, which ask for `trading_days`: for bars
/// the most that there can be, one for each moment of extended trading; a quiet
/// ticker has fewer.
pub(super) fn rows(stream: &Stream, slices: u64, trading_days: Option<u64>) -> Option<u64> {
    match (stream.size, trading_days) {
        (Some(size), Some(trading_days)) => Some(bars(size, trading_days)),
        _ if slices == 0 => Some(0),
        _ if stream.spec.rows_at == RowsAt::ResultsObject => Some(slices),
        _ => None,
    }
}

/// Bars of that many trading days.
fn bars(size: BarSize, trading_days: u64) -> u64 {
    let multiplier = u64::from(size.multiplier);
    let intraday = |per_day: u64| per_day.div_ceil(multiplier) * trading_days;
    // Of the longer ones five trading days make a week, and so on.
    let longer = |days: u64| trading_days.div_ceil(days * multiplier);
    match size.timespan {
        Timespan::Second => intraday(HOURS_PER_DAY * 3600),
        Timespan::Minute => intraday(HOURS_PER_DAY * 60),
        Timespan::Hour => intraday(HOURS_PER_DAY),
        Timespan::Day => longer(1),
        Timespan::Week => longer(5),
        Timespan::Month => longer(21),
        Timespan::Quarter => longer(63),
        Timespan::Year => longer(252),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_counted_by_the_calendar() {
        for (size, expected) in [
            ("1minute", 960 * 10),
            ("7minute", 138 * 10),
            ("1hour", 160),
            ("1day", 10),
            ("1week", 2),
            ("1month", 1),
            ("1year", 1),
        ] {
            assert_eq!(bars(size.parse().unwrap(), 10), expected, "{size}");
        }
    }
}
