//! Bars: what a span of the tape comes to.

use jiff::ToSpan;
use jiff::civil::{Date, date};

use crate::catalog::{BarSize, Timespan};

use super::columns::{Columns, Fact};
use super::days::day_number;
use super::decimal::{Decimal, divide};
use super::dice::mix;
use super::splits::Factor;
use super::tape::Trade;

/// Digits after the point: prices, volumes, and price times volume.
const PRICE_SCALE: u32 = 4;
const VOLUME_SCALE: u32 = 6;

/// The sum of some trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Milliseconds since the UNIX epoch.
    pub start_ms: i64,
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
    /// Millionths of shares.
    pub volume: i128,
    /// Price units times millionths of shares.
    pub notional: i128,
    pub trades: i64,
    /// How many base bars (seconds, minutes or days) it is made of.
    pub base: usize,
}

impl Bar {
    fn of(start_ms: i64, trade: &Trade) -> Self {
        Self {
            start_ms,
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume: trade.size.into(),
            notional: i128::from(trade.price) * i128::from(trade.size),
            trades: 1,
            base: 1,
        }
    }

    /// Adds a later bar.
    fn add(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
        self.notional += later.notional;
        self.trades += later.trades;
        self.base += later.base;
    }

    /// The bar in shares of after the splits that `factor` stands for.
    pub fn adjusted(self, factor: Factor) -> Self {
        if factor == Factor::ONE {
            return self;
        }
        let price = |units: i64| {
            let adjusted = divide(i128::from(units) * factor.numerator, factor.denominator);
            i64::try_from(adjusted).unwrap_or(i64::MAX).max(1)
        };
        Self {
            open: price(self.open),
            high: price(self.high),
            low: price(self.low),
            close: price(self.close),
            volume: divide(self.volume * factor.denominator, factor.numerator).max(1),
            ..self
        }
    }
}

/// The bars of `step_ms` that count at `as_of_ns`, from a day's trades in order.
/// `day_start_ms` is the day's midnight: bars begin at multiples of the step from there.
pub fn fold_trades(trades: &[Trade], day_start_ms: i64, step_ms: i64, as_of_ns: i64) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    for trade in trades.iter().filter(|trade| trade.counts(as_of_ns)) {
        let start_ms = floor_to(trade.sip_ns / 1_000_000, day_start_ms, step_ms);
        let bar = Bar::of(start_ms, trade);
        match bars.last_mut().filter(|last| last.start_ms == start_ms) {
            Some(last) => {
                last.add(&bar);
                last.base = 1;
            }
            None => bars.push(bar),
        }
    }
    bars
}

/// Joins bars of one day to bars of `step_ms`.
pub fn fold_bars(bars: &[Bar], day_start_ms: i64, step_ms: i64) -> Vec<Bar> {
    let mut folded: Vec<Bar> = Vec::new();
    for bar in bars {
        let start_ms = floor_to(bar.start_ms, day_start_ms, step_ms);
        match folded.last_mut().filter(|last| last.start_ms == start_ms) {
            Some(last) => last.add(bar),
            None => folded.push(Bar { start_ms, ..*bar }),
        }
    }
    folded
}

/// Joins all bars to one that begins at `start_ms`.
pub fn join(bars: impl IntoIterator<Item = Bar>, start_ms: i64) -> Option<Bar> {
    let mut bars = bars.into_iter();
    let mut joined = Bar { start_ms, ..bars.next()? };
    for bar in bars {
        joined.add(&bar);
    }
    Some(joined)
}

/// `moment` moved back to a multiple of `step` from `origin`.
pub fn floor_to(moment: i64, origin: i64, step: i64) -> i64 {
    origin + (moment - origin).div_euclid(step) * step
}

/// Milliseconds in a bar of less than a day.
pub fn step_ms(size: BarSize) -> Option<i64> {
    let unit = match size.timespan {
        Timespan::Second => 1_000,
        Timespan::Minute => 60_000,
        Timespan::Hour => 3_600_000,
        Timespan::Day | Timespan::Week | Timespan::Month | Timespan::Quarter | Timespan::Year => return None,
    };
    Some(unit * i64::from(size.multiplier))
}

/// The first day of the bar of a day or more that holds `day`. Weeks begin on
/// Sunday; several units are counted from 1970, weeks from its first Sunday.
pub fn bucket_start(size: BarSize, day: Date) -> Date {
    let count = i64::from(size.multiplier);
    let number = day_number(day);
    match months(size.timespan) {
        Some(unit) => {
            let index = i64::from(day.year()) * 12 + i64::from(day.month()) - 1;
            let origin = 1970 * 12;
            let first = origin + (index - origin).div_euclid(unit * count) * unit * count;
            month_day(first)
        }
        None => {
            let (length, origin) = if size.timespan == Timespan::Week { (7 * count, 3) } else { (count, 0) };
            let first = origin + (number - origin).div_euclid(length) * length;
            day.saturating_sub((number - first).days())
        }
    }
}

/// The first day of the bar after the one that begins at `start`.
pub fn next_bucket(size: BarSize, start: Date) -> Date {
    let count = i64::from(size.multiplier);
    match months(size.timespan) {
        Some(unit) => start.saturating_add((unit * count).months()),
        None if size.timespan == Timespan::Week => start.saturating_add((7 * count).days()),
        None => start.saturating_add(count.days()),
    }
}

fn months(timespan: Timespan) -> Option<i64> {
    match timespan {
        Timespan::Month => Some(1),
        Timespan::Quarter => Some(3),
        Timespan::Year => Some(12),
        Timespan::Second | Timespan::Minute | Timespan::Hour | Timespan::Day | Timespan::Week => None,
    }
}

fn month_day(index: i64) -> Date {
    let year = i16::try_from(index.div_euclid(12)).unwrap_or(1970);
    let month = i8::try_from(index.rem_euclid(12) + 1).unwrap_or(1);
    date(year, month, 1)
}

/// A bar as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarFact {
    /// The ticker, in grouped daily bars only.
    pub symbol: Option<String>,
    /// The time that is shown.
    pub time_ms: i64,
    pub bar: Bar,
    pub vwap: Option<Decimal>,
    pub transactions: Option<i64>,
    pub is_otc: bool,
}

impl BarFact {
    /// The fact of a bar. Once in about 60 bars the vendor has no `vw` or no `n`;
    /// `key` is the security's, and the same bar always lacks the same.
    pub fn new(bar: Bar, size: BarSize, key: u64, is_otc: bool) -> Self {
        let unit = size.timespan as u64;
        let name = mix(&[key, bar.start_ms.unsigned_abs(), unit, u64::from(size.multiplier)]);
        let digits = if key.is_multiple_of(3) { 6 } else { 4 };
        // Price units are 10^-4, volumes 10^-6 and their product 10^-10.
        let vwap = Decimal::ratio(bar.notional, bar.volume * 10_i128.pow(PRICE_SCALE), digits);
        Self {
            symbol: None,
            time_ms: bar.start_ms,
            bar,
            vwap: (!name.is_multiple_of(61)).then_some(vwap),
            transactions: (!name.is_multiple_of(67)).then_some(bar.trades),
            is_otc,
        }
    }
}

impl Fact for BarFact {
    fn tell(&self, columns: &mut impl Columns) {
        let price = |units: i64| Decimal::new(units.into(), PRICE_SCALE);
        if let Some(symbol) = &self.symbol {
            columns.text("T", symbol);
        }
        columns.decimal("v", Decimal::new(self.bar.volume, VOLUME_SCALE));
        if let Some(vwap) = self.vwap {
            columns.decimal("vw", vwap);
        }
        columns.decimal("o", price(self.bar.open));
        columns.decimal("c", price(self.bar.close));
        columns.decimal("h", price(self.bar.high));
        columns.decimal("l", price(self.bar.low));
        columns.millis("t", self.time_ms);
        if let Some(transactions) = self.transactions {
            columns.integer("n", transactions);
        }
        if self.is_otc {
            columns.boolean("otc", true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bars_begin_where_the_vendors_do() {
        let start = |size: &str, day: Date| bucket_start(size.parse().unwrap(), day);
        assert_eq!(start("1week", date(2024, 6, 28)), date(2024, 6, 23));
        assert_eq!(start("1week", date(2024, 6, 23)), date(2024, 6, 23));
        assert_eq!(start("1month", date(2024, 6, 28)), date(2024, 6, 1));
        assert_eq!(start("1quarter", date(2024, 6, 28)), date(2024, 4, 1));
        assert_eq!(start("1year", date(2024, 6, 28)), date(2024, 1, 1));
        for size in ["1day", "3day", "2week", "1month", "5month", "2quarter", "1year"] {
            let size: BarSize = size.parse().unwrap();
            let first = bucket_start(size, date(2024, 6, 28));
            let next = next_bucket(size, first);
            assert!(first <= date(2024, 6, 28) && date(2024, 6, 28) < next, "{size}");
            assert_eq!(bucket_start(size, next), next, "{size}");
            assert_eq!(bucket_start(size, next.yesterday().unwrap()), first, "{size}");
        }
    }
}
