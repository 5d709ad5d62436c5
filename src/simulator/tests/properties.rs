//! What must be true of any seed, ticker and day.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan;
use jiff::civil::{Date, date};
use proptest::prelude::*;
use serde_json::Value;

use crate::calendar;

use super::super::bars::BarFact;
use super::super::decimal::divide;
use super::super::market::{BarQuery, Market};
use super::super::price;
use super::super::splits::{Split, Splits};
use super::super::tape::{self, SHARE, Trade};
use super::super::truth::Question;
use super::super::universe::Universe;
use super::rows;

/// Listings of a market: all of the named ones and some that are made up.
const TICKERS: usize = 70;

/// The trading day that many days after the first of 2023, 300 at most: before the
/// default day, in whose shares sizes are drawn.
fn day(number: i64) -> Date {
    calendar::next_trading_day(date(2023, 1, 2).saturating_add(number.days()))
}

/// The tape of a listing whose security has these splits only.
fn tape_with(splits: &[(Date, i64, i64)], seed: u64, listing: usize, day: Date) -> Vec<Trade> {
    let universe = Universe::new(seed, TICKERS);
    let split = |(execution_date, from, to): &(Date, i64, i64)| Split {
        id: execution_date.to_string(),
        symbol: universe.listings[listing].symbol.clone(),
        security: universe.listings[listing].security,
        execution_date: *execution_date,
        from: *from,
        to: *to,
        announced: calendar::day_start(execution_date.saturating_sub(20.days())),
        deleted: None,
    };
    let splits = Splits::from_list(splits.iter().map(split).collect(), &universe);
    tape::trades(seed, &universe, &splits, listing, day)
}

fn day_bars(
    market: &Market,
    listing: usize,
    size: &str,
    day: Date,
    adjusted: bool,
    later: i64,
) -> Vec<BarFact> {
    let query = BarQuery {
        symbol: market.universe.listings[listing].symbol.clone(),
        size: size.parse().unwrap(),
        from_ms: calendar::day_start(day).as_millisecond(),
        to_ms: calendar::day_start(day.tomorrow().unwrap()).as_millisecond() - 1,
        adjusted,
        descending: false,
        as_of: calendar::day_start(day.saturating_add(later.days())),
    };
    market.bars(query).collect()
}

fn prices(fact: &BarFact) -> [i64; 4] {
    [fact.bar.open, fact.bar.high, fact.bar.low, fact.bar.close]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One share became `to / from` shares: before that day there are so many fewer of
    /// them in each trade, and each costs so much more. Nothing else differs.
    #[test]
    fn a_split_changes_how_many_shares_and_what_they_cost(
        seed in 0..50_u64,
        listing in 0..TICKERS,
        number in 0..300_i64,
        (from, to) in prop::sample::select(vec![(100, 200), (100, 1000), (200, 300), (800, 100), (1000, 100), (100, 105)]),
    ) {
        let day = day(number);
        let plain = tape_with(&[], seed, listing, day);
        let split = tape_with(&[(day.tomorrow().unwrap(), from, to)], seed, listing, day);
        let since = tape_with(&[(day, from, to)], seed, listing, day);
        prop_assert_eq!(plain.len(), split.len());
        for ((plain, split), since) in plain.iter().zip(&split).zip(&since) {
            prop_assert_eq!((plain.sip_ns, plain.sequence, plain.id), (split.sip_ns, split.sequence, split.id));
            prop_assert_eq!((plain.price, plain.size), (since.price, since.size));
            // Sizes are whole shares, prices whole cents with up to a cent above.
            let expected = plain.size * from / to;
            prop_assert!((split.size - expected).abs() <= SHARE + SHARE * from / to, "{plain:?} {split:?}");
            let expected = plain.price * to / from;
            prop_assert!((split.price - expected).abs() <= 200 + 200 * to / from, "{plain:?} {split:?}");
        }
    }

    /// Raw bars are as traded for ever; adjusted ones have prices times the factor and
    /// volumes through it, so that what was turned over is the same.
    #[test]
    fn adjusted_bars_have_more_shares_that_cost_less(
        seed in 0..20_u64,
        listing in 0..TICKERS,
        number in 0..300_i64,
        later in 2..900_i64,
        size in prop::sample::select(vec!["1minute", "1hour", "1day"]),
    ) {
        let (market, day) = (Market::new(seed, TICKERS), day(number));
        let as_of = calendar::day_start(day.saturating_add(later.days()));
        // The symbol can be another one's on that day.
        let Some(listing) = market.universe.holder(&market.universe.listings[listing].symbol, day) else { return Ok(()) };
        let factor = market.splits.factor(market.universe.listings[listing].security, day, as_of);
        let raw = day_bars(&market, listing, size, day, false, later);
        prop_assert_eq!(&raw, &day_bars(&market, listing, size, day, false, 2));
        let adjusted = day_bars(&market, listing, size, day, true, later);
        prop_assert_eq!(raw.len(), adjusted.len());
        for (raw, adjusted) in raw.iter().zip(&adjusted) {
            let price = |units: i64| divide(i128::from(units) * factor.numerator, factor.denominator).max(1);
            prop_assert_eq!(prices(adjusted).map(i128::from), prices(raw).map(price));
            // To the millionth of a share.
            let back = divide(adjusted.bar.volume * factor.numerator, factor.denominator);
            let rounding = 1 + factor.numerator / factor.denominator;
            prop_assert!((back - raw.bar.volume).abs() <= rounding, "{factor:?} {raw:?} {adjusted:?}");
            prop_assert_eq!((raw.bar.notional, raw.transactions), (adjusted.bar.notional, adjusted.transactions));
        }
    }

    /// A block is large for its ticker: neither more than 30 of its largest usual trades,
    /// nor worth more than 60 million dollars.
    #[test]
    fn sizes_are_in_proportion_to_the_ticker(seed in 0..50_u64, listing in 0..TICKERS, number in 0..300_i64) {
        let universe = Universe::new(seed, TICKERS);
        let security = universe.security_of(listing);
        let largest = security.lot() * security.activity.lots();
        for trade in tape_with(&[], seed, listing, day(number)) {
            prop_assert!(trade.size <= largest * 30 * SHARE, "{} {trade:?}", universe.listings[listing].symbol);
            let dollars = i128::from(trade.size) * i128::from(trade.price) / i128::from(SHARE * price::UNITS);
            prop_assert!(dollars <= 60_000_000, "{} {trade:?}", universe.listings[listing].symbol);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// On an exchange and day no two trades of the market have one id, and a ticker's go
    /// up with the time; what the catalogue calls the key is one.
    #[test]
    fn trade_ids_are_unique_on_their_exchange_and_day(seed in 0..1000_u64, number in 0..300_i64) {
        let (market, day) = (Market::new(seed, 300), day(number));
        let (mut ids, mut trades) = (BTreeSet::new(), 0);
        let mut exchanges_of: BTreeMap<u64, BTreeSet<i64>> = BTreeMap::new();
        for listing in 0..market.universe.listings.len() {
            let mut last: BTreeMap<i64, u64> = BTreeMap::new();
            let mut keys = BTreeSet::new();
            for trade in market.tape(listing, day).iter() {
                prop_assert!(ids.insert((trade.exchange, trade.id)), "{trade:?}");
                prop_assert!(last.insert(trade.exchange, trade.id).is_none_or(|before| before < trade.id));
                prop_assert!(keys.insert((trade.sip_ns, trade.sequence, trade.exchange, trade.id)));
                exchanges_of.entry(trade.id).or_default().insert(trade.exchange);
                trades += 1;
            }
        }
        prop_assert!(trades > 1_000, "{trades} trades");
        // Without its exchange an id says nothing, as at the vendor.
        prop_assert!(exchanges_of.values().any(|exchanges| exchanges.len() > 1));
    }

    /// Whatever news, dividends and splits name at a moment is a ticker of the reference then.
    #[test]
    fn every_ticker_that_is_named_is_listed(seed in 0..1000_u64, tickers in 1..400_usize, number in 0..7_600_i64) {
        let market = Market::new(seed, tickers);
        // From 2004 on: the early days have the most that are not listed yet.
        let as_of = calendar::day_start(date(2004, 1, 2).saturating_add(number.days()));
        let ask = |stream: &str, days: i64| -> Vec<Value> {
            let question = Question {
                stream: stream.to_owned(),
                as_of,
                start_date: Some(calendar::day_of(as_of).saturating_sub(days.days())),
                end_date: None,
                tickers: Vec::new(),
                adjusted: false,
            };
            rows(&market, &question).iter().map(|row| serde_json::from_str(row).unwrap()).collect()
        };
        let listed: BTreeSet<String> =
            ask("tickers", 0).iter().map(|row| row["ticker"].as_str().unwrap().to_owned()).collect();
        let named = |row: &Value, column: &str| match &row[column] {
            Value::Array(tickers) => tickers.iter().map(|ticker| ticker.as_str().unwrap().to_owned()).collect(),
            ticker => vec![ticker.as_str().unwrap().to_owned()],
        };
        for (stream, column, days) in
            [("news", "tickers", 60), ("dividends", "ticker", 400), ("splits", "ticker", 2_000), ("stock_daily_bars", "ticker", 5)]
        {
            for row in ask(stream, days) {
                for ticker in named(&row, column) {
                    prop_assert!(listed.contains(&ticker), "{stream} of {as_of} name {ticker}: {row}");
                }
            }
        }
    }
}

/// Ten new shares for one: ten times as many change hands, adjusted as many as before.
#[test]
fn volumes_go_on_over_a_split_when_they_are_adjusted() {
    let market = Market::new(7, 60);
    let as_of = calendar::day_start(date(2024, 6, 29));
    let volume = |from: Date, to: Date, adjusted: bool| {
        let query = BarQuery {
            symbol: "NVDA".to_owned(),
            size: "1day".parse().unwrap(),
            from_ms: calendar::day_start(from).as_millisecond(),
            to_ms: calendar::day_start(to).as_millisecond(),
            adjusted,
            descending: false,
            as_of,
        };
        market.bars(query).map(|fact| fact.bar.volume).sum::<i128>()
    };
    let (before, after) = ((date(2024, 5, 24), date(2024, 6, 7)), (date(2024, 6, 10), date(2024, 6, 25)));
    let times =
        |adjusted| volume(after.0, after.1, adjusted) as f64 / volume(before.0, before.1, adjusted) as f64;
    assert!((5.0..20.0).contains(&times(false)), "raw volumes became {} times as large", times(false));
    assert!((0.5..2.0).contains(&times(true)), "adjusted volumes became {} times as large", times(true));
}

/// Shares outstanding split as well; the company is worth what it was.
#[test]
fn shares_outstanding_split_too() {
    let market = Market::new(7, 60);
    let details = |day: Date| -> Value {
        let question = Question {
            stream: "ticker_details".to_owned(),
            as_of: calendar::at(day, jiff::civil::time(17, 0, 0, 0)),
            start_date: None,
            end_date: None,
            tickers: vec!["NVDA".to_owned()],
            adjusted: false,
        };
        serde_json::from_str(&rows(&market, &question)[0]).unwrap()
    };
    let (before, after) = (details(date(2024, 6, 7)), details(date(2024, 6, 10)));
    let times = |column: &str| after[column].as_f64().unwrap() / before[column].as_f64().unwrap();
    for column in ["share_class_shares_outstanding", "weighted_shares_outstanding", "round_lot"] {
        assert!((9.99..10.01).contains(&times(column)), "{column}: {before} {after}");
    }
    assert!((0.8..1.25).contains(&times("market_cap")), "{before} {after}");
}
