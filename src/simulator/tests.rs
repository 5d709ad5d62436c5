//! Invariants of the market: what must be true of any seed.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::api::{self, Call};
use super::bars::BarFact;
use super::market::{BarQuery, Market};
use super::page::Page;
use super::plan::{Access, HistoryPolicy, Plan};
use super::query::Query;
use super::truth::{self, Question};

mod paging;
mod properties;
mod wire;

const SYMBOLS: &[&str] = &["AAPL", "BRK.A", "nan", "KIMpL", "META", "SQ"];

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn question(stream: &str, as_of: Timestamp) -> Question {
    Question {
        stream: stream.to_owned(),
        as_of,
        start_date: None,
        end_date: None,
        tickers: SYMBOLS.iter().map(|symbol| (*symbol).to_owned()).collect(),
        adjusted: false,
    }
}

fn rows(market: &Market, question: &Question) -> Vec<String> {
    let text = String::from_utf8(truth::tell(market, question).unwrap()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn bars(market: &Market, symbol: &str, size: &str, day: Date, as_of: Timestamp) -> Vec<BarFact> {
    let query = BarQuery {
        symbol: symbol.to_owned(),
        size: size.parse().unwrap(),
        from_ms: calendar::day_start(day).as_millisecond(),
        to_ms: calendar::day_start(day.tomorrow().unwrap()).as_millisecond() - 1,
        adjusted: false,
        descending: false,
        as_of,
    };
    market.bars(query).collect()
}

#[test]
fn a_seed_is_a_market() {
    let as_of = at("2024-06-28T21:00:00Z");
    for stream in
        ["stock_trades", "stock_bars_5_minute", "stock_daily_bars", "tickers", "ticker_details", "splits"]
    {
        let of = |seed| rows(&Market::new(seed, 60), &question(stream, as_of));
        assert_eq!(of(7), of(7), "{stream}");
        assert_ne!(of(7), of(8), "{stream}");
    }
}

#[test]
fn every_stream_has_a_truth_in_the_catalogues_columns() {
    let market = Market::new(7, 60);
    let sizes = ["1second", "1minute", "1hour", "1day", "1week", "1month"].map(|size| size.parse().unwrap());
    for stream in crate::catalog::streams(&sizes) {
        let rows = rows(&market, &question(&stream.name, at("2024-06-28T21:00:00Z")));
        assert!(!rows.is_empty(), "{}", stream.name);
        for row in rows {
            let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(&row).unwrap();
            for (name, value) in &fields {
                assert!(stream.table.position(name).is_some(), "{} has no column {name}", stream.name);
                assert!(!value.is_null(), "{row}");
            }
            for key in stream.table.key.iter().filter(|key| *key != "delisted_utc") {
                assert!(fields.contains_key(key), "{row} has no {key}");
            }
        }
    }
}

#[test]
fn keys_are_unique() {
    let market = Market::new(7, 60);
    let sizes = ["1minute", "1day"].map(|size| size.parse().unwrap());
    for stream in crate::catalog::streams(&sizes) {
        let asked = Question {
            start_date: Some(date(2024, 3, 1)),
            ..question(&stream.name, at("2024-06-28T21:00:00Z"))
        };
        let rows = rows(&market, &asked);
        let keyed = upserted(BTreeMap::new(), &rows, &stream.table.key);
        assert_eq!(keyed.len(), rows.len(), "{}", stream.name);
    }
}

#[test]
fn bars_agree_with_each_other() {
    let market = Market::new(7, 60);
    let as_of = at("2024-06-28T21:00:00Z");
    for day in calendar::trading_days(date(2024, 6, 3), date(2024, 6, 28)) {
        let grouped = market.grouped(day, false, false, as_of);
        for symbol in SYMBOLS {
            let minutes = bars(&market, symbol, "1minute", day, as_of);
            let days = bars(&market, symbol, "1day", day, as_of);
            let hours = bars(&market, symbol, "1hour", day, as_of);
            let volume = |facts: &[BarFact]| facts.iter().map(|fact| fact.bar.volume).sum::<i128>();
            assert_eq!(volume(&minutes), volume(&days), "{symbol} {day}");
            assert_eq!(volume(&hours), volume(&days), "{symbol} {day}");
            assert!(days.len() <= 1 && days.is_empty() == minutes.is_empty());
            for fact in minutes.iter().chain(&days).chain(&hours) {
                let bar = &fact.bar;
                assert!(
                    bar.high >= bar.open.max(bar.close) && bar.low <= bar.open.min(bar.close) && bar.low > 0
                );
            }
            let group = grouped.iter().find(|fact| fact.symbol.as_deref() == Some(*symbol));
            assert_eq!(group.map(|fact| fact.bar), days.first().map(|fact| fact.bar), "{symbol} {day}");
            if let (Some(group), Some(bar)) = (group, days.first()) {
                assert_eq!(BarFact { symbol: None, time_ms: bar.time_ms, ..group.clone() }, *bar);
            }
        }
    }
}

#[test]
fn late_and_cancelled_trades_rewrite_bars() {
    let market = Market::new(7, 60);
    let of = |as_of: &str| {
        let asked = Question {
            start_date: Some(date(2024, 6, 24)),
            end_date: Some(date(2024, 6, 24)),
            tickers: vec!["AAPL".to_owned(), "MSFT".to_owned(), "SPY".to_owned(), "NVDA".to_owned()],
            ..question("stock_bars_1_minute", at(as_of))
        };
        rows(&market, &asked)
    };
    let (evening, noon) = (of("2024-06-25T01:00:00Z"), of("2024-06-25T17:00:00Z"));
    assert_ne!(evening, noon);
    assert_eq!(noon, of("2030-01-01T00:00:00Z"));
    let during = of("2024-06-24T15:00:00Z");
    assert!(!during.is_empty() && during.len() < evening.len());
}

#[test]
fn a_bar_whose_only_trade_is_cancelled_disappears() {
    let market = Market::new(7, 60);
    let keys = |as_of: &str| -> std::collections::BTreeSet<String> {
        let asked = Question {
            start_date: Some(date(2024, 6, 24)),
            end_date: Some(date(2024, 6, 24)),
            ..question("stock_bars_1_minute", at(as_of))
        };
        let key = |row: &String| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            format!("{} {}", row["ticker"], row["timestamp"])
        };
        rows(&market, &asked).iter().map(key).collect()
    };
    let (evening, later) = (keys("2024-06-25T01:00:00Z"), keys("2024-06-25T17:00:00Z"));
    assert!(evening.difference(&later).next().is_some());
}

#[test]
fn splits_adjust_prices_before_them_and_only_once_executed() {
    let market = Market::new(7, 60);
    let close = |as_of: &str, adjusted| {
        let from_ms = calendar::day_start(date(2024, 6, 7)).as_millisecond();
        let query = BarQuery {
            symbol: "NVDA".to_owned(),
            size: "1day".parse().unwrap(),
            from_ms,
            to_ms: from_ms,
            adjusted,
            descending: false,
            as_of: at(as_of),
        };
        let bars: Vec<BarFact> = market.bars(query).collect();
        bars[0].bar.close
    };
    let raw = close("2024-06-28T21:00:00Z", false);
    assert_eq!(close("2024-06-09T21:00:00Z", true), raw, "announced and not yet executed");
    let adjusted = close("2024-06-28T21:00:00Z", true);
    assert!((adjusted - raw / 10).abs() <= 1, "{raw} {adjusted}");
}

/// Whoever reads the days again that the catalogue says holds the truth.
#[test]
fn all_changes_lie_within_the_catalogues_lookbacks() {
    let market = Market::new(7, 60);
    let sizes = ["1minute", "1hour", "1day"].map(|size| size.parse().unwrap());
    let start = date(2024, 5, 20);
    for stream in crate::catalog::streams(&sizes) {
        let lookback = stream.spec.lookback_days();
        if lookback == 0 || stream.name == "splits" {
            continue;
        }
        let mut held = BTreeMap::new();
        let mut from = start;
        let mut now = at("2024-06-03T13:37:00Z");
        let mut last = Vec::new();
        for hours in [1, 5, 19, 2, 24, 26, 70, 3, 11, 48, 25, 90, 7, 24, 24, 31, 200, 13] {
            let asked = Question { start_date: Some(from), ..question(&stream.name, now) };
            last = rows(&market, &asked);
            let cursor = stream.table.cursor.as_deref().unwrap();
            held.retain(|_, row: &mut String| is_before(row, cursor, from));
            held = upserted(held, &last, &stream.table.key);
            from = calendar::day_of(now).saturating_sub(i64::from(lookback).days()).max(start);
            now += hours.hours();
        }
        let whole =
            rows(&market, &Question { start_date: Some(start), ..question(&stream.name, now - 13.hours()) });
        assert!(whole.len() > last.len() || stream.name == "dividends", "{}", stream.name);
        let held: Vec<String> = held.into_values().collect();
        let truth: Vec<String> = upserted(BTreeMap::new(), &whole, &stream.table.key).into_values().collect();
        assert!(held == truth, "{} differs from the truth", stream.name);
    }
}

/// Whether the row's cursor, a date or a time, is before the day.
fn is_before(row: &str, cursor: &str, day: Date) -> bool {
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(row).unwrap();
    let value = fields[cursor].as_str().unwrap();
    match value.parse::<Timestamp>() {
        Ok(time) => time < calendar::day_start(day),
        Err(_) => value.parse::<Date>().unwrap() < day,
    }
}

/// Puts rows in place of those with their key.
fn upserted(
    mut held: BTreeMap<Vec<String>, String>,
    rows: &[String],
    key: &[String],
) -> BTreeMap<Vec<String>, String> {
    for row in rows {
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        let key = key.iter().map(|column| fields.get(column).map(ToString::to_string).unwrap_or_default());
        held.insert(key.collect(), row.clone());
    }
    held
}

pub(super) fn page(market: &Market, url: &str, now: &str, plan: Plan) -> Result<Page, super::page::Refusal> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let access = Access { plan, history: HistoryPolicy::Refuse, now: at(now) };
    api::answer(&Call { market, access, path, query: Query::parse(query)? })
}
