//! Cash dividends: declared, sometimes late, sometimes changed, and restated by
//! what comes after them.
//!
//! The vendor restates the factors of all older rows with every later event.
//! Here only rows at most [`RESTATED_DAYS`] older are restated, so that whoever
//! reads 90 days again, as the catalogue says, holds the truth.

use jiff::civil::{Date, date, time};
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::columns::{Columns, Fact};
use super::days::{FIRST_DAY, LAST_DAY, day_number};
use super::decimal::Decimal;
use super::dice::{Dice, hash_text, hex};
use super::price;
use super::splits::Splits;
use super::universe::Universe;

/// A later dividend restates rows of at most so many days before it; it may
/// itself change until 10 days after its date, which makes 85.
const RESTATED_DAYS: i64 = 75;

/// A split restates rows of at most so many days before it; a bad one disappears
/// until 40 days after its date, which makes 85.
const SPLIT_RESTATED_DAYS: i64 = 45;

/// Digits after the point of an amount.
const AMOUNT_SCALE: u32 = 6;

/// A dividend with all that will be known of it.
#[derive(Debug)]
pub struct Dividend {
    pub id: String,
    pub symbol: String,
    /// Index of the security.
    pub security: usize,
    pub ex_dividend_date: Date,
    pub declaration_date: Option<Date>,
    pub record_date: Option<Date>,
    pub pay_date: Option<Date>,
    /// Millionths of a dollar a share.
    amount: i64,
    pub currency: &'static str,
    pub frequency: i64,
    special: bool,
    /// When it appears.
    pub known: Timestamp,
    /// Until when another amount is published.
    revised: Option<(Timestamp, i64)>,
    /// Until when the kind of distribution is not known.
    classified: Timestamp,
    /// Price before the ex-dividend date, in [`price::UNITS`].
    price: i64,
}

impl Dividend {
    /// Whether the API shows it at this moment.
    pub fn is_visible(&self, as_of: Timestamp) -> bool {
        self.known <= as_of
    }

    /// The amount published at this moment, in millionths.
    fn amount_at(&self, as_of: Timestamp) -> i64 {
        self.revised.filter(|(until, _)| as_of < *until).map_or(self.amount, |(_, amount)| amount)
    }

    /// The amount published at this moment.
    pub fn cash_amount(&self, as_of: Timestamp) -> Decimal {
        Decimal::new(self.amount_at(as_of).into(), AMOUNT_SCALE)
    }

    /// The kind of distribution published at this moment.
    pub fn distribution_type(&self, as_of: Timestamp) -> &'static str {
        match (as_of < self.classified, self.special) {
            (true, _) => "unknown",
            (false, true) => "special",
            (false, false) => "recurring",
        }
    }

    /// What is left of a price once the dividend is paid out.
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
    fn remainder(&self, as_of: Timestamp) -> f64 {
        let price = self.price as f64 * 100.0;
        1.0 - (self.amount_at(as_of) as f64 / price).min(0.9)
    }
}

/// All dividends of a market.
#[derive(Debug)]
pub struct Dividends {
    /// By ex-dividend date, then symbol.
    pub all: Vec<Dividend>,
    by_security: Vec<Vec<usize>>,
}

impl Dividends {
    /// The dividends of a universe.
    pub fn new(seed: u64, universe: &Universe, splits: &Splits) -> Self {
        let mut all = Vec::new();
        for listing in 0..universe.listings.len() {
            add_dividends(&mut all, seed, universe, splits, listing);
        }
        all.retain(|dividend| universe.is_listed(&dividend.symbol, calendar::day_of(dividend.known)));
        all.sort_by(|one, other| {
            (one.ex_dividend_date, &one.symbol, &one.id).cmp(&(
                other.ex_dividend_date,
                &other.symbol,
                &other.id,
            ))
        });
        let mut by_security = vec![Vec::new(); universe.securities.len()];
        for (index, dividend) in all.iter().enumerate() {
            by_security[dividend.security].push(index);
        }
        Self { all, by_security }
    }

    /// The fact that the API shows of a dividend at this moment.
    pub fn fact<'a>(&self, dividend: &'a Dividend, splits: &Splits, as_of: Timestamp) -> DividendFact<'a> {
        let ex_date = dividend.ex_dividend_date;
        let factor = splits.factor_within(dividend.security, ex_date, SPLIT_RESTATED_DAYS, as_of);
        let scale = 10_i128.pow(AMOUNT_SCALE);
        DividendFact {
            dividend,
            as_of,
            split_adjusted_cash_amount: Decimal::ratio(
                i128::from(dividend.amount_at(as_of)) * factor.numerator,
                factor.denominator * scale,
                AMOUNT_SCALE,
            ),
            historical_adjustment_factor: self.historical_factor(dividend, as_of),
        }
    }

    /// The remainder of this dividend times those of the later ones that restate it.
    #[expect(clippy::cast_possible_truncation, reason = "a factor is between 0 and 1")]
    fn historical_factor(&self, dividend: &Dividend, as_of: Timestamp) -> Decimal {
        let first = dividend.ex_dividend_date;
        let last = calendar::day_of(as_of).min(first.saturating_add(RESTATED_DAYS.days()));
        let own = &self.by_security[dividend.security];
        let start = own.partition_point(|index| self.all[*index].ex_dividend_date < first);
        let factor: f64 = own[start..]
            .iter()
            .map(|index| &self.all[*index])
            .take_while(|other| other.ex_dividend_date <= last || other.ex_dividend_date == first)
            .filter(|other| {
                other.id == dividend.id || (other.ex_dividend_date > first && other.is_visible(as_of))
            })
            .map(|other| other.remainder(as_of))
            .product();
        Decimal::new((factor * 1e6).round() as i128, 6)
    }
}

/// A dividend as the API shows it at some moment.
pub struct DividendFact<'a> {
    pub dividend: &'a Dividend,
    as_of: Timestamp,
    split_adjusted_cash_amount: Decimal,
    historical_adjustment_factor: Decimal,
}

impl Fact for DividendFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        let dividend = self.dividend;
        columns.decimal("cash_amount", dividend.cash_amount(self.as_of));
        columns.text("currency", dividend.currency);
        if let Some(day) = dividend.declaration_date {
            columns.date("declaration_date", day);
        }
        columns.text("distribution_type", dividend.distribution_type(self.as_of));
        columns.date("ex_dividend_date", dividend.ex_dividend_date);
        columns.integer("frequency", dividend.frequency);
        columns.decimal("historical_adjustment_factor", self.historical_adjustment_factor);
        columns.text("id", &dividend.id);
        if let Some(day) = dividend.pay_date {
            columns.date("pay_date", day);
        }
        if let Some(day) = dividend.record_date {
            columns.date("record_date", day);
        }
        columns.decimal("split_adjusted_cash_amount", self.split_adjusted_cash_amount);
        columns.text("ticker", &dividend.symbol);
    }
}

/// The same as the older endpoint shows it.
pub struct OldDividendFact<'a>(pub DividendFact<'a>);

impl OldDividendFact<'_> {
    /// `CD` for a recurring dividend, `SC` for another.
    pub fn dividend_type(dividend: &Dividend) -> &'static str {
        if dividend.special { "SC" } else { "CD" }
    }
}

impl Fact for OldDividendFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        let dividend = self.0.dividend;
        columns.decimal("cash_amount", dividend.cash_amount(self.0.as_of));
        columns.text("currency", dividend.currency);
        if let Some(day) = dividend.declaration_date {
            columns.date("declaration_date", day);
        }
        columns.text("dividend_type", Self::dividend_type(dividend));
        columns.date("ex_dividend_date", dividend.ex_dividend_date);
        columns.integer("frequency", dividend.frequency);
        columns.text("id", &dividend.id);
        if let Some(day) = dividend.pay_date {
            columns.date("pay_date", day);
        }
        if let Some(day) = dividend.record_date {
            columns.date("record_date", day);
        }
        columns.text("ticker", &dividend.symbol);
    }
}

/// Adds what a listing pays while it has its symbol; about two in five pay.
fn add_dividends(all: &mut Vec<Dividend>, seed: u64, universe: &Universe, splits: &Splits, listing: usize) {
    let listed = &universe.listings[listing];
    let security = universe.security_of(listing);
    let mut dice = Dice::of(&[security.key, hash_text("dividends")]);
    let pays = dice.below(5) < 2 || matches!(listed.symbol.as_str(), "AAPL" | "MSFT" | "SPY" | "O" | "AGNC");
    let frequency =
        if matches!(listed.symbol.as_str(), "O" | "AGNC") { 12 } else { dice.pick(&[4, 4, 4, 4, 12, 2, 1]) };
    let yield_basis_points = dice.between(40, 600);
    let day_in_period = dice.between(0, 24);
    if !pays || listed.kind == "WARRANT" {
        return;
    }
    let first = date(FIRST_DAY.year(), 1, 1);
    let last = listed.until.unwrap_or(LAST_DAY);
    for period in 0.. {
        let begin = first.saturating_add((period * 12 / frequency).months());
        let ex_date = calendar::next_trading_day(begin.saturating_add(day_in_period.days()));
        if ex_date > last {
            break;
        }
        let mut dice = Dice::of(&[security.key, hash_text("dividend"), day_number(ex_date).unsigned_abs()]);
        if ex_date > listed.from {
            let growth = 100 + i64::from(ex_date.year() - FIRST_DAY.year()) * 3;
            // Millionths: cents x 10^4, a yearly yield in basis points, growth in percent.
            let yearly = security.cents * yield_basis_points * growth / 100;
            all.push(dividend(
                seed,
                universe,
                splits,
                listing,
                ex_date,
                yearly / frequency,
                frequency,
                &mut dice,
            ));
            if dice.one_in(60) {
                let special = dividend(seed, universe, splits, listing, ex_date, yearly, 0, &mut dice);
                all.push(special);
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "all of them make the dividend")]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "amounts are far below 2^53"
)]
fn dividend(
    seed: u64,
    universe: &Universe,
    splits: &Splits,
    listing: usize,
    ex_date: Date,
    amount: i64,
    frequency: i64,
    dice: &mut Dice,
) -> Dividend {
    let listed = &universe.listings[listing];
    let name =
        [seed, hash_text(&listed.symbol), day_number(ex_date).unsigned_abs(), frequency.unsigned_abs(), 5];
    let shares = price::shares(splits, listed.security, ex_date.saturating_sub(1.days()));
    // Most amounts have two to five digits after the point.
    let step = dice.pick(&[10_000, 1_000, 100, 10, 2_500]);
    let amount = ((amount as f64 * shares) as i64 / step).max(1) * step;
    let declared = ex_date.saturating_sub(dice.between(10, 45).days());
    let evening = calendar::at(declared, time(16, 30, 0, 0));
    let late = calendar::at(ex_date.saturating_add(dice.between(1, 3).days()), time(12, 0, 0, 0));
    let known = if dice.one_in(40) { late } else { evening };
    // Since May 2024 the record date is the ex-dividend date.
    let record = if ex_date < date(2024, 5, 28) { calendar::next_trading_day(ex_date) } else { ex_date };
    let pay = calendar::next_trading_day(record.saturating_add(dice.between(5, 25).days()));
    let changed = calendar::at(ex_date.saturating_add(dice.between(-8, 10).days()), time(10, 0, 0, 0));
    let revised = dice.one_in(25).then_some((changed, amount + step));
    let classified = if dice.one_in(30) { known.max(changed) } else { known };
    Dividend {
        id: format!("E{}", hex(&name, 64)),
        symbol: listed.symbol.clone(),
        security: listed.security,
        ex_dividend_date: ex_date,
        declaration_date: (!dice.one_in(20)).then_some(declared),
        record_date: (!dice.one_in(50)).then_some(record),
        pay_date: (!dice.one_in(50)).then_some(pay),
        amount,
        currency: if dice.one_in(70) { "CAD" } else { "USD" },
        frequency,
        special: frequency == 0,
        known,
        revised,
        classified,
        price: price::close(universe, splits, listing, ex_date.saturating_sub(1.days())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_changes_more_than_90_days_after_its_date() {
        let universe = Universe::new(7, 60);
        let splits = Splits::new(7, &universe);
        let dividends = Dividends::new(7, &universe, &splits);
        let told = |dividend: &Dividend, day: Date| {
            let mut text = Vec::new();
            let fact = dividends.fact(dividend, &splits, calendar::day_start(day));
            super::super::columns::ApiRow::write(&fact, 0, &mut text);
            text
        };
        let mut changed = 0;
        for dividend in dividends.all.iter().filter(|dividend| dividend.ex_dividend_date.year() == 2023) {
            let fixed = dividend.ex_dividend_date.saturating_add(86.days());
            assert!(dividend.known < calendar::day_start(fixed));
            assert_eq!(told(dividend, fixed), told(dividend, date(2028, 1, 1)));
            changed += usize::from(told(dividend, fixed) != told(dividend, dividend.ex_dividend_date));
        }
        assert!(changed > 10, "{changed} dividends changed");
    }
}
