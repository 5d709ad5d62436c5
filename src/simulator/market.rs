//! The simulated market: what is there and what is known of it at any moment.

use std::sync::{Arc, OnceLock};

use jiff::civil::{Date, time};
use jiff::{Timestamp, ToSpan};

use crate::calendar;
use crate::catalog::{BarSize, Timespan};

use super::bars::{self, Bar, BarFact};
use super::cache::Cache;
use super::days::FIRST_DAY;
use super::dividends::Dividends;
use super::news::{self, Article};
use super::splits::Splits;
use super::tape::{self, Trade, nanos};
use super::universe::Universe;

/// Days of tapes and of minute bars that are kept: at most about 100 MB together.
const TAPES_KEPT: usize = 512;
const MINUTES_KEPT: usize = 1024;
/// Day bars that are kept, 150 bytes each.
const DAYS_KEPT: usize = 1 << 17;

/// Days of news that are kept, some kilobytes each.
const NEWS_KEPT: usize = 4096;

/// Length of a minute.
const MINUTE_MS: i64 = 60_000;

type Key = (usize, Date);

/// Everything that a seed makes.
pub struct Market {
    pub seed: u64,
    pub universe: Universe,
    pub splits: Splits,
    dividends: OnceLock<Dividends>,
    tapes: Cache<Key, Arc<Vec<Trade>>>,
    minutes: Cache<Key, Arc<Vec<Bar>>>,
    days: Cache<Key, Option<Bar>>,
    news: Cache<Date, Arc<Vec<Article>>>,
}

/// Which bars of a ticker are asked for.
#[derive(Debug, Clone)]
pub struct BarQuery {
    pub symbol: String,
    pub size: BarSize,
    /// Bounds as milliseconds since the UNIX epoch, both inclusive; a bar of
    /// which a part lies between them is asked for.
    pub from_ms: i64,
    pub to_ms: i64,
    pub adjusted: bool,
    pub descending: bool,
    pub as_of: Timestamp,
}

impl Market {
    /// The market of a seed with `count` tickers.
    pub fn new(seed: u64, count: usize) -> Self {
        let universe = Universe::new(seed, count);
        Self {
            seed,
            splits: Splits::new(seed, &universe),
            universe,
            dividends: OnceLock::new(),
            tapes: Cache::new(TAPES_KEPT),
            minutes: Cache::new(MINUTES_KEPT),
            days: Cache::new(DAYS_KEPT),
            news: Cache::new(NEWS_KEPT),
        }
    }

    /// All dividends; made when they are first asked for.
    pub fn dividends(&self) -> &Dividends {
        self.dividends.get_or_init(|| Dividends::new(self.seed, &self.universe, &self.splits))
    }

    /// The trades of a listing on a day, known and not yet known, in order.
    pub fn tape(&self, listing: usize, day: Date) -> Arc<Vec<Trade>> {
        self.tapes.get_or((listing, day), || {
            Arc::new(tape::trades(self.seed, &self.universe, &self.splits, listing, day))
        })
    }

    /// The articles of a day in UTC, known and not yet known, in order.
    pub fn news(&self, day: Date) -> Arc<Vec<Article>> {
        self.news.get_or(day, || Arc::new(news::articles(self.seed, &self.universe, day)))
    }

    /// The minute bars of a listing's day as known at `as_of`, unadjusted.
    fn minute_bars(&self, listing: usize, day: Date, as_of: Timestamp) -> Arc<Vec<Bar>> {
        let make = || {
            let day_start = calendar::day_start(day).as_millisecond();
            Arc::new(bars::fold_trades(&self.tape(listing, day), day_start, MINUTE_MS, nanos(as_of)))
        };
        if as_of < tape::settled_at(day) { make() } else { self.minutes.get_or((listing, day), make) }
    }

    /// The bar of a listing's day as known at `as_of`, unadjusted.
    fn day_bar(&self, listing: usize, day: Date, as_of: Timestamp) -> Option<Bar> {
        let make = || {
            let day_start = calendar::day_start(day).as_millisecond();
            let minutes = self.minute_bars(listing, day, as_of);
            bars::join(minutes.iter().copied(), day_start).map(|bar| Bar { base: 1, ..bar })
        };
        if as_of < tape::settled_at(day) { make() } else { self.days.get_or((listing, day), make) }
    }

    /// The day's bar of every listing that traded, as the API groups them.
    pub fn grouped(&self, day: Date, adjusted: bool, include_otc: bool, as_of: Timestamp) -> Vec<BarFact> {
        let size = BarSize { multiplier: 1, timespan: Timespan::Day };
        let close_ms = calendar::at(day, time(16, 0, 0, 0)).as_millisecond();
        let mut facts = Vec::new();
        if !calendar::is_trading_day(day) || day > calendar::day_of(as_of) {
            return facts;
        }
        for (index, listing) in self.universe.listings.iter().enumerate() {
            if !listing.covers(day) || (listing.is_otc() && !include_otc) {
                continue;
            }
            if let Some(bar) = self.day_bar(index, day, as_of) {
                let mut fact = self.fact(self.adjust(bar, index, day, adjusted, as_of), size, index);
                fact.symbol = Some(listing.symbol.clone());
                fact.time_ms = close_ms;
                facts.push(fact);
            }
        }
        facts
    }

    /// The bars of a ticker, lazily, in the order asked for.
    pub fn bars(&self, query: BarQuery) -> Box<dyn Iterator<Item = BarFact> + '_> {
        match bars::step_ms(query.size) {
            Some(step) => self.short_bars(query, step),
            None => self.long_bars(query),
        }
    }

    fn short_bars(&self, query: BarQuery, step: i64) -> Box<dyn Iterator<Item = BarFact> + '_> {
        let from_day = day_of_ms(query.from_ms);
        let from_ms = bars::floor_to(query.from_ms, calendar::day_start(from_day).as_millisecond(), step);
        let days = self.days_between(from_day, day_of_ms(query.to_ms), &query);
        Box::new(days.into_iter().flat_map(move |day| {
            let mut facts = self.short_bars_of(day, step, &query);
            facts.retain(|fact| from_ms <= fact.time_ms && fact.time_ms <= query.to_ms);
            if query.descending {
                facts.reverse();
            }
            facts
        }))
    }

    fn short_bars_of(&self, day: Date, step: i64, query: &BarQuery) -> Vec<BarFact> {
        let Some(listing) = self.universe.holder(&query.symbol, day) else {
            return Vec::new();
        };
        let day_start = calendar::day_start(day).as_millisecond();
        let folded = if step < MINUTE_MS || step % MINUTE_MS != 0 {
            bars::fold_trades(&self.tape(listing, day), day_start, step, nanos(query.as_of))
        } else {
            bars::fold_bars(&self.minute_bars(listing, day, query.as_of), day_start, step)
        };
        let adjusted =
            folded.into_iter().map(|bar| self.adjust(bar, listing, day, query.adjusted, query.as_of));
        adjusted.map(|bar| self.fact(bar, query.size, listing)).collect()
    }

    fn long_bars(&self, query: BarQuery) -> Box<dyn Iterator<Item = BarFact> + '_> {
        let size = query.size;
        let first = bars::bucket_start(size, day_of_ms(query.from_ms).max(FIRST_DAY));
        let last = day_of_ms(query.to_ms).min(calendar::day_of(query.as_of));
        let mut starts: Vec<Date> =
            std::iter::successors(Some(first), |start| Some(bars::next_bucket(size, *start)))
                .take_while(|start| *start <= last)
                .collect();
        if query.descending {
            starts.reverse();
        }
        Box::new(starts.into_iter().filter_map(move |start| self.long_bar(start, &query)))
    }

    fn long_bar(&self, start: Date, query: &BarQuery) -> Option<BarFact> {
        let end = bars::next_bucket(query.size, start).saturating_sub(1.days());
        let mut holder = None;
        let daily = calendar::trading_days(start, end.min(calendar::day_of(query.as_of))).filter_map(|day| {
            let listing = self.universe.holder(&query.symbol, day)?;
            holder = Some(listing);
            let bar = self.day_bar(listing, day, query.as_of)?;
            Some(self.adjust(bar, listing, day, query.adjusted, query.as_of))
        });
        let bar = bars::join(daily, calendar::day_start(start).as_millisecond())?;
        Some(self.fact(bar, query.size, holder?))
    }

    fn days_between(&self, from: Date, to: Date, query: &BarQuery) -> Vec<Date> {
        let last = to.min(calendar::day_of(query.as_of));
        let held = |day: &Date| self.universe.holder(&query.symbol, *day).is_some();
        let mut days: Vec<Date> = calendar::trading_days(from.max(FIRST_DAY), last).filter(held).collect();
        if query.descending {
            days.reverse();
        }
        days
    }

    fn adjust(&self, bar: Bar, listing: usize, day: Date, adjusted: bool, as_of: Timestamp) -> Bar {
        if !adjusted {
            return bar;
        }
        bar.adjusted(self.splits.factor(self.universe.listings[listing].security, day, as_of))
    }

    fn fact(&self, bar: Bar, size: BarSize, listing: usize) -> BarFact {
        BarFact::new(
            bar,
            size,
            self.universe.security_of(listing).key,
            self.universe.listings[listing].is_otc(),
        )
    }
}

/// New York's day of a time in milliseconds.
pub fn day_of_ms(moment_ms: i64) -> Date {
    let bounded = moment_ms.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    Timestamp::from_millisecond(bounded).map_or(Date::MIN, calendar::day_of)
}
