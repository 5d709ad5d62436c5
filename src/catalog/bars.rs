//! Bars (aggregates) of stocks.

use std::fmt;
use std::str::FromStr;

use super::spec::{Capability, Change, Derived, Field, Partition, RowsAt, Sizes, StreamSpec, Window};
use crate::error::{Error, Result};
use crate::mode::WriteMode;
use crate::table::TimeUnit;

/// Grouped daily bars: the whole market's day in one request.
pub const STOCK_DAILY_BARS: StreamSpec = StreamSpec {
    name: "stock_daily_bars",
    doc: "One bar a trading day for every US stock, the whole market in one request a day.",
    path: "/v2/aggs/grouped/locale/us/market/stocks/{date}",
    query: &[("adjusted", "{adjusted}"), ("include_otc", "false")],
    rows_at: RowsAt::Results,
    counted_by: &["resultsCount", "count"],
    resume: None,
    sizes: Sizes::None,
    partition: Partition::None,
    window: Window::TradingDays(1),
    // The row's own time is the session's close, not the day's start: the day is the key.
    derived: &[Derived::Date],
    fields: &[
        Field::text("T", "ticker", "Ticker symbol, case-sensitive."),
        Field::price("o", "open", "Price of the first trade, US dollars."),
        Field::price("h", "high", "Highest price, US dollars."),
        Field::price("l", "low", "Lowest price, US dollars."),
        Field::price("c", "close", "Price of the last trade, US dollars."),
        Field::volume("v", "volume", "Shares traded; can be fractional."),
        Field::price("vw", "vwap", "Volume-weighted average price, US dollars."),
        Field::integer("n", "transactions", "Number of trades."),
        Field::time("t", "timestamp", TimeUnit::Millis, "Close of the session that the bar covers."),
        Field::boolean("otc", "otc", "True for an over-the-counter ticker; absent otherwise."),
    ],
    key: &["ticker", "date"],
    null_in_key: &[],
    cursor: Some("date"),
    change: Change::Lookback { days: 5 },
    best_mode: WriteMode::AppendDedup,
    needs: Capability::Basic,
};

/// Bars of one ticker, of a chosen size.
pub const STOCK_BARS: StreamSpec = StreamSpec {
    name: "stock_bars",
    doc: "Bars of the configured tickers, of one configured size.",
    path: "/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}",
    query: &[("adjusted", "{adjusted}"), ("sort", "asc"), ("limit", "50000")],
    rows_at: RowsAt::Results,
    counted_by: &["resultsCount", "count"],
    resume: Some("timestamp"),
    sizes: Sizes::Bars,
    partition: Partition::Ticker,
    window: Window::BarsPerPage,
    derived: &[Derived::Ticker],
    fields: &[
        Field::time("t", "timestamp", TimeUnit::Millis, "Start of the bar."),
        Field::price("o", "open", "Price of the first trade, US dollars."),
        Field::price("h", "high", "Highest price, US dollars."),
        Field::price("l", "low", "Lowest price, US dollars."),
        Field::price("c", "close", "Price of the last trade, US dollars."),
        Field::volume("v", "volume", "Shares traded; can be fractional."),
        Field::price("vw", "vwap", "Volume-weighted average price, US dollars."),
        Field::integer("n", "transactions", "Number of trades."),
        Field::boolean("otc", "otc", "True for an over-the-counter ticker; absent otherwise."),
    ],
    key: &["ticker", "timestamp"],
    null_in_key: &[],
    cursor: Some("timestamp"),
    change: Change::Lookback { days: 5 },
    best_mode: WriteMode::AppendDedup,
    needs: Capability::IntradayBars,
};

/// A unit of bar sizes, the API's `timespan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timespan {
    /// `second`
    Second,
    /// `minute`
    Minute,
    /// `hour`
    Hour,
    /// `day`, from midnight in New York.
    Day,
    /// `week`, from Sunday's midnight in New York.
    Week,
    /// `month`
    Month,
    /// `quarter`
    Quarter,
    /// `year`
    Year,
}

impl Timespan {
    const ALL: [Self; 8] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Quarter,
        Self::Year,
    ];

    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// Whether bars of this unit lie within a day.
    pub const fn is_intraday(self) -> bool {
        matches!(self, Self::Second | Self::Minute | Self::Hour)
    }
}

/// The size of a bar: `1minute`, `5minute`, `1day`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BarSize {
    /// How many units, at least 1.
    pub multiplier: u16,
    /// The unit.
    pub timespan: Timespan,
}

impl BarSize {
    /// As in a stream's name: `1_minute`.
    pub fn suffix(self) -> String {
        format!("{}_{}", self.multiplier, self.timespan.as_str())
    }

    /// The pattern that `spec` prints.
    pub const PATTERN: &'static str = "^[1-9][0-9]{0,3}(second|minute|hour|day|week|month|quarter|year)$";
}

impl fmt::Display for BarSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.multiplier, self.timespan.as_str())
    }
}

impl FromStr for BarSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let multiplier = number.parse().ok().filter(|multiplier| (1..=9999).contains(multiplier));
        let timespan = Timespan::ALL.into_iter().find(|timespan| timespan.as_str() == unit);
        match (multiplier, timespan) {
            (Some(multiplier), Some(timespan)) if !number.starts_with('0') => {
                Ok(Self { multiplier, timespan })
            }
            _ => Err(Error::config(format!("`bar_sizes` holds {text:?}, which is not a bar size"))
                .hint("write a number and a unit, such as 1minute, 5minute, 1hour or 1day")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for text in ["1second", "5minute", "1hour", "1day", "2week", "1month", "1quarter", "1year"] {
            assert_eq!(text.parse::<BarSize>().unwrap().to_string(), text);
        }
        for text in ["", "minute", "0minute", "01minute", "1", "1Minute", "1 minute", "-1day", "10000day"] {
            assert!(text.parse::<BarSize>().is_err(), "{text:?}");
        }
    }
}
