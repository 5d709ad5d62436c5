//! The tape: every trade of a listing on a day. All prices, bars and volumes of
//! the simulated market come from it.
//!
//! A trade knows when it becomes known, so the same tape answers for any
//! moment. What is known of a day changes until noon of the next calendar day:
//! some trades are reported up to 15 minutes late, a few on the next morning,
//! and a few are cancelled then. Half of the cancelled ones have another beside
//! them in the same nanosecond, so some bars are rewritten and some disappear.

use std::collections::BTreeMap;

use jiff::civil::{Date, Time, time};
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::columns::{Columns, Fact};
use super::days::day_number;
use super::decimal::Decimal;
use super::dice::{Dice, hash_text};
use super::named::Activity;
use super::price::{self, UNITS};
use super::splits::Splits;
use super::universe::{TICKERS_MAX, Universe};

/// Size units in a share.
pub const SHARE: i64 = 1_000_000;

/// Digits after the point of a price and of a size.
const PRICE_SCALE: u32 = 4;
const SIZE_SCALE: u32 = 6;

const SECOND: i64 = 1_000_000_000;

/// Correction indicator of a cancelled trade.
const CANCELLED: i64 = 8;

/// The exchange id of FINRA's trade reporting facilities.
const TRF: i64 = 4;

/// What a ticker's ids on an exchange are apart, so that no two tickers have one in common.
const ID_STEP: u64 = TICKERS_MAX as u64;

/// A block is so many times as large as the largest usual trade of its ticker.
const BLOCK: (i64, i64) = (5, 30);

/// One trade, with all that will be known of it.
#[derive(Debug, Clone)]
pub struct Trade {
    pub sip_ns: i64,
    participant_ns: i64,
    trf_ns: Option<i64>,
    /// In [`UNITS`].
    pub price: i64,
    /// In units of [`SHARE`].
    pub size: i64,
    pub exchange: i64,
    /// While the tape is made, how far it is above the exchange's last one.
    pub id: u64,
    pub sequence: i64,
    conditions: &'static [i64],
    trf: Option<i64>,
    tape: i64,
    /// When it becomes known.
    known_ns: i64,
    /// When it is cancelled.
    cancelled_ns: Option<i64>,
}

impl Trade {
    /// Whether the API shows it at this moment.
    pub fn is_known(&self, as_of_ns: i64) -> bool {
        self.known_ns <= as_of_ns
    }

    /// Whether it counts for bars at this moment. The official close repeats a
    /// trade and never counts, a cancelled trade no longer does. All others count
    /// fully; unlike the vendor's rules odd lots also move high and low.
    pub fn counts(&self, as_of_ns: i64) -> bool {
        self.is_known(as_of_ns)
            && self.cancelled_ns.is_none_or(|cancelled| as_of_ns < cancelled)
            && self.conditions != OFFICIAL_CLOSE
    }
}

/// Condition codes: 12 extended hours, 14 intermarket sweep, 15 official close,
/// 37 odd lot, 41 trade-through exempt.
const OFFICIAL_CLOSE: &[i64] = &[15];
const CONDITIONS: [&[i64]; 8] = [&[], &[37], &[14], &[14, 37], &[12], &[12, 37], &[12, 14], &[12, 14, 37]];

/// A trade as the API shows it at some moment.
pub struct TradeFact<'a> {
    pub trade: &'a Trade,
    pub as_of_ns: i64,
}

impl Fact for TradeFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        let trade = self.trade;
        if !trade.conditions.is_empty() {
            let codes: Vec<String> = trade.conditions.iter().map(i64::to_string).collect();
            columns.json("conditions", &format!("[{}]", codes.join(",")));
        }
        if trade.cancelled_ns.is_some_and(|cancelled| cancelled <= self.as_of_ns) {
            columns.integer("correction", CANCELLED);
        }
        columns.decimal_text("decimal_size", Decimal::new(trade.size.into(), SIZE_SCALE));
        columns.integer("exchange", trade.exchange);
        columns.text("id", &trade.id.to_string());
        columns.nanos("participant_timestamp", trade.participant_ns);
        columns.decimal("price", Decimal::new(trade.price.into(), PRICE_SCALE));
        columns.integer("sequence_number", trade.sequence);
        columns.nanos("sip_timestamp", trade.sip_ns);
        // Whole shares, and 1 for less than one, as the tape reported them before decimals.
        columns.decimal("size", Decimal::integer((trade.size / SHARE).max(1)));
        columns.integer("tape", trade.tape);
        if let Some(trf) = trade.trf {
            columns.integer("trf_id", trf);
        }
        if let Some(trf_ns) = trade.trf_ns {
            columns.nanos("trf_timestamp", trf_ns);
        }
    }
}

/// The moment from which a day's tape no longer changes.
pub fn settled_at(day: Date) -> Timestamp {
    calendar::day_start(day.saturating_add(2.days()))
}

/// The trades of a listing on a day by SIP time and sequence number, known and
/// not yet known; none on a closed day.
pub fn trades(seed: u64, universe: &Universe, splits: &Splits, listing: usize, day: Date) -> Vec<Trade> {
    let Some(hours) = Hours::of(day) else {
        return Vec::new();
    };
    if !universe.listings[listing].covers(day) {
        return Vec::new();
    }
    let security = universe.security_of(listing);
    let mut dice = Dice::of(&[seed, security.key, hash_text("tape"), day_number(day).unsigned_abs()]);
    let usual = match security.activity {
        Activity::Liquid => dice.between(380, 620),
        Activity::Normal => dice.between(30, 110),
        Activity::Thin => dice.between(0, 12),
    };
    let count = if hours.is_half_day { usual / 2 } else { usual };
    let mut moments: Vec<i64> = (0..count).map(|_| hours.moment(&mut dice)).collect();
    moments.sort_unstable();
    let maker = Maker {
        hours,
        course: price::course(universe, splits, listing, day),
        lot: price::in_shares_of(day, security.lot() as f64, splits, universe.listings[listing].security),
        lots: security.activity.lots(),
        tape: universe.listings[listing].tape(),
    };
    let mut sequence = dice.between(900, 5_000);
    let mut trades = Vec::with_capacity(moments.len() + 1);
    let mut previous = 0;
    for moment in moments {
        // Now and then two trades have one time, and only the sequence number tells them apart.
        let sip_ns = if previous > 0 && dice.one_in(100) { previous } else { moment };
        previous = sip_ns;
        // At least 3 apart: a cancelled trade's neighbour and the official close need numbers.
        sequence += dice.between(3, 40);
        let trade = maker.trade(sip_ns, sequence, &mut dice);
        let is_cancelled = trade.cancelled_ns.is_some();
        trades.push(trade);
        if is_cancelled && dice.one_in(2) {
            let neighbour = maker.trade(sip_ns, sequence + 1, &mut dice);
            trades.push(Trade { known_ns: sip_ns, cancelled_ns: None, ..neighbour });
        }
    }
    if let Some(close) = maker.official_close(&trades, &mut dice) {
        let place = trades.partition_point(|trade| trade.sip_ns <= close.sip_ns);
        trades.insert(place, close);
    }
    number(&mut trades, listing);
    trades
}

/// Gives the trades their ids: each exchange counts its own up from the day's
/// beginning, so that ids repeat on other exchanges and on other days.
fn number(trades: &mut [Trade], listing: usize) {
    let mut last: BTreeMap<i64, u64> = BTreeMap::new();
    for trade in trades {
        let count = last.entry(trade.exchange).or_default();
        *count += trade.id;
        trade.id = *count * ID_STEP + listing as u64;
    }
}

/// The hours of a trading day, as nanoseconds since the UNIX epoch.
struct Hours {
    first: i64,
    open: i64,
    close: i64,
    last: i64,
    /// 07:00 of the next calendar day.
    morning_after: i64,
    is_half_day: bool,
}

impl Hours {
    fn of(day: Date) -> Option<Self> {
        let session = calendar::session(day)?;
        let at = |day: Date, time: Time| nanos(calendar::at(day, time));
        let last = if session.early_close { time(17, 0, 0, 0) } else { time(20, 0, 0, 0) };
        Some(Self {
            first: at(day, time(4, 0, 0, 0)),
            open: nanos(session.open),
            close: nanos(session.close),
            last: at(day, last),
            morning_after: at(day.saturating_add(1.days()), time(7, 0, 0, 0)),
            is_half_day: session.early_close,
        })
    }

    /// A time of a trade: most around the open and the close, some outside the session.
    fn moment(&self, dice: &mut Dice) -> i64 {
        let tenth = (self.close - self.open) / 10;
        match dice.below(100) {
            0..=5 => dice.between(self.first, self.open - 1),
            6..=9 => dice.between(self.close, self.last - 1),
            10..=29 => dice.between(self.open, self.open + tenth),
            30..=49 => dice.between(self.close - tenth, self.close - 1),
            _ => dice.between(self.open, self.close - 1),
        }
    }
}

/// What the trades of one tape have in common.
struct Maker {
    hours: Hours,
    course: (f64, f64),
    /// Shares of a usual lot on that day; not whole.
    lot: f64,
    /// Lots of the largest usual trade.
    lots: i64,
    tape: i64,
}

impl Maker {
    fn trade(&self, sip_ns: i64, sequence: i64, dice: &mut Dice) -> Trade {
        let exchange = dice.pick(&[TRF, TRF, TRF, 12, 12, 11, 10, 19, 8, 21, 15, 18, 7, 2]);
        let is_trf = exchange == TRF;
        let size = self.size(is_trf, dice);
        let is_extended = sip_ns < self.hours.open || sip_ns >= self.hours.close;
        let is_sweep = !is_trf && dice.one_in(5);
        let code = usize::from(is_extended) * 4
            + usize::from(is_sweep) * 2
            + usize::from((size as f64) < self.lot * SHARE as f64);
        let participant_ns = sip_ns - dice.between(90_000, 900_000);
        let (known_ns, cancelled_ns) = self.knowledge(sip_ns, dice);
        Trade {
            sip_ns,
            participant_ns,
            trf_ns: is_trf.then(|| participant_ns + dice.between(1_000, 80_000)),
            price: self.price(sip_ns, is_trf, dice),
            size,
            exchange,
            id: dice.below(9) + 1,
            sequence,
            conditions: CONDITIONS[code],
            trf: is_trf.then(|| dice.between(1, 3)),
            tape: self.tape,
            known_ns,
            cancelled_ns,
        }
    }

    /// When a trade becomes known, and when it is cancelled.
    fn knowledge(&self, sip_ns: i64, dice: &mut Dice) -> (i64, Option<i64>) {
        let morning = self.hours.morning_after;
        match dice.below(400) {
            0..=9 => (sip_ns + dice.between(1, 900) * SECOND, None),
            10 => (morning + dice.between(0, 3 * 3600) * SECOND, None),
            11 | 12 => (sip_ns, Some(morning + dice.between(2 * 3600, 5 * 3600) * SECOND)),
            _ => (sip_ns, None),
        }
    }

    /// Whole cents from a dollar on; facilities also report hundredths of a cent.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "far below 2^53")]
    fn price(&self, sip_ns: i64, is_trf: bool, dice: &mut Dice) -> i64 {
        let part = (sip_ns - self.hours.first) as f64 / (self.hours.last - self.hours.first) as f64;
        let middle = self.course.0 + (self.course.1 - self.course.0) * part;
        let units = (middle * (1.0 + dice.signed_unit() * 0.0015)) as i64;
        let tick = UNITS / 100;
        // Thrown also for what is too cheap for it: a split must change nothing but prices and sizes.
        let improvement = if is_trf && dice.one_in(3) { dice.between(1, tick - 1) } else { 0 };
        if units < UNITS { units.max(1) } else { units / tick * tick + improvement }
    }

    /// Whole shares, one at least; facilities also trade fractions.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "far below 2^53")]
    fn size(&self, is_trf: bool, dice: &mut Dice) -> i64 {
        let hundredths = match dice.below(200) {
            0..=69 => dice.between(1, 99),
            // Fractions of shares trade off the exchanges.
            70..=79 if is_trf => {
                let millionths = dice.between(1, 40_000) * dice.pick(&[1, 10, 1_000, 10_000]);
                return ((millionths as f64 * self.lot / 100.0) as i64).max(1);
            }
            80 => dice.between(BLOCK.0 * 100, BLOCK.1 * 100) * self.lots,
            _ => dice.between(1, self.lots) * 100,
        };
        let shares = (hundredths as f64 * self.lot / 100.0).round();
        (shares as i64).max(1) * SHARE
    }

    /// The exchange's official close: it repeats the session's last price.
    fn official_close(&self, trades: &[Trade], dice: &mut Dice) -> Option<Trade> {
        let last = trades.iter().rfind(|trade| trade.sip_ns < self.hours.close)?;
        let sip_ns = self.hours.close + dice.between(1_000_000, 90_000_000);
        let before = trades.iter().rfind(|trade| trade.sip_ns <= sip_ns)?;
        Some(Trade {
            sip_ns,
            participant_ns: sip_ns - 150_000,
            trf_ns: None,
            exchange: if self.tape == 3 { 12 } else { 10 },
            id: 1,
            sequence: before.sequence + 1,
            conditions: OFFICIAL_CLOSE,
            trf: None,
            known_ns: sip_ns,
            cancelled_ns: None,
            ..last.clone()
        })
    }
}

/// Nanoseconds since the UNIX epoch.
pub fn nanos(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(if moment < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn tape(symbol: &str, day: Date) -> Vec<Trade> {
        let universe = Universe::new(7, 60);
        let splits = Splits::new(7, &universe);
        let listing = universe.holder(symbol, day).unwrap();
        trades(7, &universe, &splits, listing, day)
    }

    #[test]
    fn a_tape_is_ordered_and_its_numbers_are_unique() {
        let trades = tape("AAPL", date(2024, 6, 27));
        assert!(trades.len() > 300);
        let keys: Vec<_> = trades.iter().map(|trade| (trade.sip_ns, trade.sequence)).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(keys, sorted);
        let mut numbers: Vec<_> = trades.iter().map(|trade| trade.sequence).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), trades.len());
    }

    #[test]
    fn a_day_changes_until_the_next_noon_and_not_after() {
        let mut changed = 0;
        for day in calendar::trading_days(date(2024, 6, 3), date(2024, 6, 28)) {
            let trades = tape("AAPL", day);
            let settled = nanos(settled_at(day));
            let evening = nanos(calendar::day_start(day.tomorrow().unwrap()));
            assert!(trades.iter().all(|trade| trade.known_ns < settled));
            assert!(
                trades.iter().all(|trade| trade.cancelled_ns.is_none_or(|cancelled| cancelled < settled))
            );
            changed += trades.iter().filter(|trade| trade.counts(settled) != trade.counts(evening)).count();
        }
        assert!(changed > 10, "{changed} trades changed after their day");
    }

    #[test]
    fn closed_days_and_half_days() {
        assert!(tape("AAPL", date(2024, 6, 19)).is_empty());
        let half = tape("AAPL", date(2024, 7, 3));
        let end = nanos(calendar::at(date(2024, 7, 3), time(17, 0, 0, 0)));
        assert!(!half.is_empty() && half.iter().all(|trade| trade.sip_ns < end));
    }
}
