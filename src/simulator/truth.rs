//! The truth: the rows that a perfect warehouse holds, straight from the
//! simulated facts. No page, cursor, limit or number style of the API is
//! involved, so it can judge whoever read through them.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::calendar;
use crate::catalog::{BarSize, Derived, Field, STREAMS, Sizes, StreamSpec};
use crate::table::{Kind, TimeUnit, Width};

use super::columns::{Columns, Fact, MomentForm, write_text};
use super::decimal::Decimal;
use super::fixed::{self, EXCHANGES};
use super::market::{BarQuery, Market};
use super::news::ArticleFact;
use super::reference::{DetailsFact, TickerFact};
use super::tape::{TradeFact, nanos};

/// Days before `as_of` from which streams that are long are told by default.
const DEFAULT_DAYS: i64 = 7;

/// What is asked for.
///
/// `tickers` matters to streams that are read ticker by ticker, and means all
/// when it is empty. `start_date` and `end_date` are New York's days, both
/// inclusive. Without a start, splits and dividends are told from the first on,
/// the others of the last week; without an end, also what lies in the future.
/// Of `market_holidays` the rows that were listed on any day since the start.
#[derive(Debug)]
pub struct Question {
    pub stream: String,
    pub as_of: Timestamp,
    pub start_date: Option<Date>,
    pub end_date: Option<Date>,
    pub tickers: Vec<String>,
    pub adjusted: bool,
}

/// The rows, one JSON object a line.
///
/// # Errors
/// What is wrong with the question.
pub fn tell(market: &Market, question: &Question) -> Result<Vec<u8>, String> {
    let (spec, size) = stream(&question.stream)?;
    let mut teller = Teller { market, question, spec, out: Vec::new() };
    match spec.name {
        "stock_daily_bars" => teller.daily_bars(),
        "stock_bars" => teller.bars(size.ok_or("the stream has no bar size")?),
        "stock_trades" => teller.trades(),
        "tickers" => teller.tickers(),
        "ticker_details" => teller.details(),
        "splits" => teller.splits(),
        "dividends" => teller.dividends(),
        "news" => teller.news(),
        "market_holidays" => teller.holidays(),
        "exchanges" => {
            EXCHANGES.iter().filter(|one| one.asset_class == "stocks").for_each(|one| teller.row(one, &[]))
        }
        other => return Err(format!("the simulator does not know the truth about {other}")),
    }
    Ok(teller.out)
}

/// The entry of a stream's name, and the size in it.
fn stream(name: &str) -> Result<(&'static StreamSpec, Option<BarSize>), String> {
    for spec in STREAMS {
        if spec.name == name && matches!(spec.sizes, Sizes::None) {
            return Ok((spec, None));
        }
        let suffix = name.strip_prefix(spec.name).and_then(|rest| rest.strip_prefix('_'));
        if let (Sizes::Bars, Some(suffix)) = (spec.sizes, suffix)
            && let Ok(size) = suffix.replacen('_', "", 1).parse()
        {
            return Ok((spec, Some(size)));
        }
    }
    Err(format!("there is no stream {name:?}"))
}

struct Teller<'a> {
    market: &'a Market,
    question: &'a Question,
    spec: &'static StreamSpec,
    out: Vec<u8>,
}

impl Teller<'_> {
    fn start(&self) -> Date {
        let today = calendar::day_of(self.question.as_of);
        self.question.start_date.unwrap_or_else(|| today.saturating_sub(DEFAULT_DAYS.days()))
    }

    fn end(&self) -> Date {
        let today = calendar::day_of(self.question.as_of);
        self.question.end_date.map_or(today, |end| end.min(today))
    }

    /// Whether a date that can lie in the future is asked for.
    fn covers(&self, day: Date) -> bool {
        self.question.start_date.is_none_or(|start| start <= day)
            && self.question.end_date.is_none_or(|end| day <= end)
    }

    fn symbols(&self) -> Vec<String> {
        if !self.question.tickers.is_empty() {
            return self.question.tickers.clone();
        }
        let mut symbols: Vec<String> =
            self.market.universe.listings.iter().map(|listing| listing.symbol.clone()).collect();
        symbols.sort_unstable();
        symbols.dedup();
        symbols
    }

    fn row(&mut self, fact: &impl Fact, derived: &[(Derived, &str)]) {
        let mut row = TruthRow { spec: self.spec, out: &mut self.out, is_first: true };
        row.out.push(b'{');
        for (column, value) in derived {
            row.name(match column {
                Derived::Ticker => "ticker",
                Derived::Date => "date",
            });
            write_text(row.out, value);
        }
        fact.tell(&mut row);
        row.out.extend_from_slice(b"}\n");
    }

    fn daily_bars(&mut self) {
        for day in calendar::trading_days(self.start(), self.end()) {
            for fact in self.market.grouped(day, self.question.adjusted, false, self.question.as_of) {
                self.row(&fact, &[(Derived::Date, &day.to_string())]);
            }
        }
    }

    fn bars(&mut self, size: BarSize) {
        for symbol in self.symbols() {
            let query = BarQuery {
                symbol: symbol.clone(),
                size,
                from_ms: calendar::day_start(self.start()).as_millisecond(),
                to_ms: calendar::day_start(self.end().saturating_add(1.days())).as_millisecond() - 1,
                adjusted: self.question.adjusted,
                descending: false,
                as_of: self.question.as_of,
            };
            for fact in self.market.bars(query) {
                self.row(&fact, &[(Derived::Ticker, &symbol)]);
            }
        }
    }

    fn trades(&mut self) {
        let as_of_ns = nanos(self.question.as_of);
        for symbol in self.symbols() {
            for day in calendar::trading_days(self.start(), self.end()) {
                let Some(listing) = self.market.universe.holder(&symbol, day) else {
                    continue;
                };
                for trade in self.market.tape(listing, day).iter().filter(|trade| trade.is_known(as_of_ns)) {
                    self.row(&TradeFact { trade, as_of_ns }, &[(Derived::Ticker, &symbol)]);
                }
            }
        }
    }

    fn tickers(&mut self) {
        let market = self.market;
        let today = calendar::day_of(self.question.as_of);
        for index in 0..market.universe.listings.len() {
            if let Some(fact) = TickerFact::of(market, index, today).filter(|fact| fact.market() == "stocks")
            {
                self.row(&fact, &[]);
            }
        }
    }

    fn details(&mut self) {
        let today = calendar::day_of(self.question.as_of);
        for symbol in self.symbols() {
            // Those of a delisted ticker are as of its last day.
            let day = DetailsFact::last_day(self.market, &symbol, today).unwrap_or(today);
            if let Some(fact) = DetailsFact::of(self.market, &symbol, day) {
                self.row(&fact, &[]);
            }
        }
    }

    fn splits(&mut self) {
        let market = self.market;
        for fact in market.splits.facts(self.question.as_of) {
            if self.covers(fact.split.execution_date) {
                self.row(&fact, &[]);
            }
        }
    }

    fn dividends(&mut self) {
        let market = self.market;
        let dividends = market.dividends();
        for dividend in dividends.all.iter().filter(|dividend| dividend.is_visible(self.question.as_of)) {
            if self.covers(dividend.ex_dividend_date) {
                let fact = dividends.fact(dividend, &market.splits, self.question.as_of);
                self.row(&fact, &[]);
            }
        }
    }

    fn news(&mut self) {
        let (start, end) = (self.start(), self.end());
        let as_of = self.question.as_of;
        // A day in New York reaches into the next one in UTC.
        let mut day = start;
        while day <= end.saturating_add(1.days()) {
            for article in self.market.news(day).iter().filter(|article| article.is_visible(as_of)) {
                let published = calendar::day_of(article.published);
                if start <= published && published <= end {
                    self.row(&ArticleFact { article, as_of }, &[]);
                }
            }
            day = day.saturating_add(1.days());
        }
    }

    fn holidays(&mut self) {
        let today = calendar::day_of(self.question.as_of);
        let mut listed = BTreeMap::new();
        let mut day = self.question.start_date.unwrap_or(today).min(today);
        while day <= today {
            listed.extend(fixed::upcoming(day).into_iter().map(|fact| (fact.key(), fact)));
            day = day.saturating_add(1.days());
        }
        for fact in listed.values() {
            self.row(fact, &[]);
        }
    }
}

/// Renders a fact under the catalogue's column names.
struct TruthRow<'a> {
    spec: &'static StreamSpec,
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl TruthRow<'_> {
    fn name(&mut self, name: &str) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Begins the column of a field of the API, and says what kind the catalogue takes it for.
    fn column(&mut self, source: &str, expected: Kind) -> &'static str {
        let field = self.spec.fields.iter().find(|field| field.source == source);
        debug_assert!(field.is_some(), "{} has no field {source}", self.spec.name);
        let is_expected = |field: &Field| match (field.kind, expected) {
            // However wide.
            (Kind::Decimal(_), Kind::Decimal(_)) => true,
            (kind, expected) => kind == expected,
        };
        debug_assert!(field.is_none_or(is_expected), "{} is not {expected:?}", source);
        let name = field.map_or("", |field| field.name);
        self.name(name);
        name
    }

    fn number(&mut self, value: impl std::fmt::Display) {
        self.out.extend_from_slice(value.to_string().as_bytes());
    }
}

impl Columns for TruthRow<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        self.column(name, Kind::Text);
        write_text(self.out, value);
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.column(name, Kind::Boolean);
        self.number(value);
    }

    fn integer(&mut self, name: &'static str, value: i64) {
        self.column(name, Kind::Integer);
        self.number(value);
    }

    fn decimal(&mut self, name: &'static str, value: Decimal) {
        self.column(name, Kind::Decimal(Width::PRICE));
        self.number(value);
    }

    fn decimal_text(&mut self, name: &'static str, value: Decimal) {
        self.decimal(name, value);
    }

    fn date(&mut self, name: &'static str, value: Date) {
        self.column(name, Kind::Date);
        write_text(self.out, &value.to_string());
    }

    fn millis(&mut self, name: &'static str, value: i64) {
        self.column(name, Kind::Time(TimeUnit::Millis));
        write_text(self.out, &moment(i128::from(value) * 1_000_000));
    }

    fn nanos(&mut self, name: &'static str, value: i64) {
        let column = self.column(name, Kind::Time(TimeUnit::Nanos));
        write_text(self.out, &moment(value.into()));
        self.name(&format!("{column}_ns"));
        self.number(value);
    }

    fn moment(&mut self, name: &'static str, value: Timestamp, _form: MomentForm) {
        self.column(name, Kind::Time(TimeUnit::Rfc3339));
        write_text(self.out, &value.to_string());
    }

    fn json(&mut self, name: &'static str, value: &str) {
        self.column(name, Kind::Json);
        self.out.extend_from_slice(value.as_bytes());
    }
}

/// RFC 3339 in UTC with as many digits after the point as are needed.
fn moment(nanoseconds: i128) -> String {
    Timestamp::from_nanosecond(nanoseconds).map_or_else(|_| String::new(), |moment| moment.to_string())
}
