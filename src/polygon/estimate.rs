//! How many rows a slice will have, and how many requests a stream takes, where the
//! calendar tells.

use jiff::civil::Date;

use crate::calendar;
use crate::catalog::{BarSize, Partition, RowsAt, Stream, Timespan, Window};
use crate::config::source::SourceConfig;

use super::plan::{Asked, PlannedSlice, trading_days_per_page};

/// Hours of a day with extended trading, 04:00 to 20:00.
const HOURS_PER_DAY: u64 = 16;

/// About how many rows the slice has: for bars the most that there can be, one for
/// each moment of extended trading; a quiet ticker has fewer.
pub(super) fn rows(stream: &Stream, planned: &PlannedSlice) -> Option<u64> {
    match (stream.size, planned.days) {
        (Some(size), Some(Asked { from, to: Some(to) })) => {
            let trading_days = calendar::trading_days(from, to).count() as u64;
            Some(bars(size, trading_days))
        }
        _ if stream.spec.rows_at == RowsAt::ResultsObject => Some(1),
        _ => None,
    }
}

/// About how many requests a stream takes of which nothing was read before, with one for
/// each page that can be told beforehand. `today` is the last day.
pub fn requests(stream: &Stream, config: &SourceConfig, today: Date) -> u64 {
    let partitions = match stream.spec.partition {
        Partition::None => 1,
        Partition::Values(values) => values.len(),
        Partition::Ticker => config.tickers.len(),
    };
    let (from, to) = (config.start_date, config.end_date.unwrap_or(today).min(today));
    let trading_days = || calendar::trading_days(from, to).count() as u64;
    let calendar_days = || from.until(to).map_or(0, |span| u64::try_from(span.get_days() + 1).unwrap_or(0));
    let windows = match stream.spec.window {
        Window::Whole => 1,
        Window::TradingDays(days) => trading_days().div_ceil(u64::from(days)),
        Window::CalendarDays(days) | Window::CalendarDaysOpen(days) => {
            calendar_days().div_ceil(u64::from(days))
        }
        Window::BarsPerPage => {
            trading_days().div_ceil(u64::from(stream.size.map_or(1, trading_days_per_page)))
        }
    };
    partitions as u64 * windows
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

    /// The planner is the oracle: of a stream that was never read it plans as many.
    #[test]
    fn as_many_requests_as_are_planned() {
        use crate::checkpoint::Checkpoint;
        use crate::clock::Clock;
        use crate::source::Reading;
        let now = "2024-06-29T12:00:00Z".parse().unwrap();
        for end in [None, Some("2024-03-15")] {
            let config = serde_json::json!({"api_key": "k-of-estimate-tests", "start_date": "2023-11-01", "end_date": end,
                "plan": {"type": "paid"}, "tickers": ["A", "B", "C"], "bar_sizes": ["1second", "1minute", "1day"]});
            let config = SourceConfig::from_json(config, Clock::Fixed(now)).unwrap();
            for stream in crate::catalog::streams(&config.bar_sizes) {
                let nothing = Checkpoint::new(Default::default());
                let planned =
                    super::super::plan::slices(&stream, &config, &nothing, Reading::Mutable, now).unwrap();
                let foreseen = requests(&stream, &config, crate::calendar::day_of(now));
                assert_eq!(foreseen, planned.len() as u64, "{} {end:?}", stream.name);
            }
        }
    }

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
