//! Splits: announced, executed, and now and then wrong and deleted later.

use jiff::civil::{Date, date, time};
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::columns::{Columns, Fact};
use super::days::{FIRST_DAY, LAST_DAY, day_number};
use super::decimal::Decimal;
use super::dice::{Dice, hash_text, hex};
use super::named::KNOWN_SPLITS;
use super::universe::Universe;

/// Shares are counted in hundredths in a split's ratio.
const HUNDREDTHS: u32 = 2;

/// A split that the vendor published in error, so that the default day has one:
/// symbol, day, old shares, new shares, the day on which it is deleted.
const KNOWN_BAD: (&str, Date, i64, i64, Date) = ("SHOP", date(2024, 6, 21), 100, 1000, date(2024, 7, 12));

/// A split as it will have been published in the end.
#[derive(Debug, Clone)]
pub struct Split {
    pub id: String,
    pub symbol: String,
    /// Index of the security.
    pub security: usize,
    pub execution_date: Date,
    /// Hundredths of shares that become `to`.
    pub from: i64,
    pub to: i64,
    /// When it appears.
    pub announced: Timestamp,
    /// When it disappears: it was published in error and never took place.
    pub deleted: Option<Timestamp>,
}

impl Split {
    /// Whether the API shows it at this moment.
    pub fn is_visible(&self, as_of: Timestamp) -> bool {
        self.announced <= as_of && self.deleted.is_none_or(|deleted| as_of < deleted)
    }

    /// The vendor's classification.
    pub fn adjustment_type(&self) -> &'static str {
        if self.to < self.from {
            "reverse_split"
        } else if self.to * 4 < self.from * 5 {
            "stock_dividend"
        } else {
            "forward_split"
        }
    }
}

/// All splits of a market.
#[derive(Debug)]
pub struct Splits {
    /// By execution date, then symbol.
    pub all: Vec<Split>,
    by_security: Vec<Vec<usize>>,
}

/// What old prices are multiplied with, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    pub numerator: i128,
    pub denominator: i128,
}

impl Factor {
    /// Nothing to adjust.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    fn times(self, numerator: i64, denominator: i64) -> Self {
        let (numerator, denominator) =
            (self.numerator * i128::from(numerator), self.denominator * i128::from(denominator));
        let divisor = gcd(numerator, denominator);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }
}

impl Splits {
    /// The splits of a universe.
    pub fn new(seed: u64, universe: &Universe) -> Self {
        let mut all = Vec::new();
        for (symbol, day, from, to) in KNOWN_SPLITS {
            if let Some(listing) = universe.holder(symbol, *day) {
                all.push(split(seed, universe, listing, *day, *from, *to));
            }
        }
        for listing in 0..universe.listings.len() {
            add_chance_splits(&mut all, seed, universe, listing);
        }
        add_bad_splits(&mut all, seed, universe);
        all.retain(|split| universe.is_listed(&split.symbol, calendar::day_of(split.announced)));
        Self::from_list(all, universe)
    }

    /// These splits.
    pub(super) fn from_list(mut all: Vec<Split>, universe: &Universe) -> Self {
        all.sort_by(|one, other| {
            (one.execution_date, &one.symbol, &one.id).cmp(&(other.execution_date, &other.symbol, &other.id))
        });
        let mut by_security = vec![Vec::new(); universe.securities.len()];
        for (index, split) in all.iter().enumerate() {
            by_security[split.security].push(index);
        }
        Self { all, by_security }
    }

    /// How many shares of the last day one share of `day` became: what really
    /// happened, whatever was published about it.
    #[expect(clippy::cast_precision_loss, reason = "ratios are small numbers")]
    pub fn shares_later(&self, security: usize, day: Date) -> f64 {
        self.of(security)
            .filter(|split| split.deleted.is_none() && split.execution_date > day)
            .map(|split| split.to as f64 / split.from as f64)
            .product()
    }

    /// What a price of `day` is multiplied with to be adjusted for the splits
    /// that are known and executed at `as_of`, wrong ones included.
    pub fn factor(&self, security: usize, day: Date, as_of: Timestamp) -> Factor {
        let today = calendar::day_of(as_of);
        self.product(security, as_of, |split| day < split.execution_date && split.execution_date <= today)
    }

    /// As [`Splits::factor`], for splits of at most `days` after `day` only.
    pub fn factor_within(&self, security: usize, day: Date, days: i64, as_of: Timestamp) -> Factor {
        let last = calendar::day_of(as_of).min(day.saturating_add(days.days()));
        self.product(security, as_of, |split| day < split.execution_date && split.execution_date <= last)
    }

    /// The factor of a split itself and of the executed ones after it.
    fn historical_factor(&self, split: &Split, as_of: Timestamp) -> Decimal {
        let today = calendar::day_of(as_of);
        let factor = self.product(split.security, as_of, |other| {
            other.id == split.id
                || (other.execution_date > split.execution_date && other.execution_date <= today)
        });
        Decimal::ratio(factor.numerator, factor.denominator, 6)
    }

    /// The facts that the API shows at this moment, by execution date and symbol.
    pub fn facts(&self, as_of: Timestamp) -> impl DoubleEndedIterator<Item = SplitFact<'_>> {
        self.all.iter().filter(move |split| split.is_visible(as_of)).map(move |split| SplitFact {
            split,
            historical_adjustment_factor: self.historical_factor(split, as_of),
        })
    }

    fn product(&self, security: usize, as_of: Timestamp, wanted: impl Fn(&Split) -> bool) -> Factor {
        self.of(security)
            .filter(|split| split.is_visible(as_of) && wanted(split))
            .fold(Factor::ONE, |factor, split| factor.times(split.from, split.to))
    }

    fn of(&self, security: usize) -> impl Iterator<Item = &Split> {
        self.by_security[security].iter().map(|index| &self.all[*index])
    }
}

/// A split as the API shows it at some moment.
pub struct SplitFact<'a> {
    pub split: &'a Split,
    historical_adjustment_factor: Decimal,
}

impl Fact for SplitFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        columns.text("id", &self.split.id);
        columns.date("execution_date", self.split.execution_date);
        columns.decimal("split_from", Decimal::new(self.split.from.into(), HUNDREDTHS));
        columns.decimal("split_to", Decimal::new(self.split.to.into(), HUNDREDTHS));
        columns.text("ticker", &self.split.symbol);
        columns.text("adjustment_type", self.split.adjustment_type());
        columns.decimal("historical_adjustment_factor", self.historical_adjustment_factor);
    }
}

/// The same as the older endpoint shows it.
pub struct OldSplitFact<'a>(pub &'a Split);

impl Fact for OldSplitFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        columns.text("id", &self.0.id);
        columns.date("execution_date", self.0.execution_date);
        columns.decimal("split_from", Decimal::new(self.0.from.into(), HUNDREDTHS));
        columns.decimal("split_to", Decimal::new(self.0.to.into(), HUNDREDTHS));
        columns.text("ticker", &self.0.symbol);
    }
}

fn split(seed: u64, universe: &Universe, listing: usize, day: Date, from: i64, to: i64) -> Split {
    let symbol = &universe.listings[listing].symbol;
    let name = [seed, hash_text(symbol), day_number(day).unsigned_abs(), from.unsigned_abs()];
    let mut dice = Dice::of(&name);
    Split {
        id: format!("E{}", hex(&name, 64)),
        symbol: symbol.clone(),
        security: universe.listings[listing].security,
        execution_date: day,
        from,
        to,
        announced: calendar::at(day.saturating_sub(dice.between(10, 40).days()), time(16, 30, 0, 0)),
        deleted: None,
    }
}

/// A common stock whose real splits are not in the table splits once in about 14 years.
fn add_chance_splits(all: &mut Vec<Split>, seed: u64, universe: &Universe, listing: usize) {
    let listed = &universe.listings[listing];
    if listed.kind != "CS" || KNOWN_SPLITS.iter().any(|(symbol, ..)| *symbol == listed.symbol) {
        return;
    }
    let mut dice = Dice::of(&[universe.security_of(listing).key, hash_text("splits")]);
    for year in FIRST_DAY.year() + 1..=LAST_DAY.year() {
        let chosen = dice.one_in(14);
        let day = calendar::next_trading_day(date(year, 1, 1).saturating_add(dice.between(0, 360).days()));
        let (from, to) =
            dice.pick(&[(100, 200), (100, 200), (100, 300), (200, 300), (100, 500), (1000, 100), (100, 105)]);
        if chosen && day > listed.from && listed.covers(day) {
            all.push(split(seed, universe, listing, day, from, to));
        }
    }
}

/// One split a quarter is published in error and deleted 10 to 40 days after its date.
fn add_bad_splits(all: &mut Vec<Split>, seed: u64, universe: &Universe) {
    let (symbol, day, from, to, deleted) = KNOWN_BAD;
    if let Some(listing) = universe.holder(symbol, day) {
        let announced = calendar::at(day.saturating_sub(3.days()), time(18, 0, 0, 0));
        let bad = split(seed, universe, listing, day, from, to);
        all.push(Split { announced, deleted: Some(calendar::at(deleted, time(11, 0, 0, 0))), ..bad });
    }
    let mut dice = Dice::of(&[seed, hash_text("bad splits")]);
    for quarter in 0..i64::from(LAST_DAY.year() - FIRST_DAY.year()) * 4 {
        let begin = date(FIRST_DAY.year() + 1, 1, 1).saturating_add((quarter * 3).months());
        let day = calendar::next_trading_day(begin.saturating_add(dice.between(0, 85).days()));
        let before = dice.between(1, 10);
        let after = dice.between(10, 40);
        let (from, to) = dice.pick(&[(100, 1000), (1000, 100), (100, 400)]);
        let choice = dice.roll();
        let open: Vec<usize> = (0..universe.listings.len().min(200))
            .filter(|index| universe.listings[*index].covers(day) && !universe.listings[*index].is_otc())
            .collect();
        let Some(listing) =
            usize::try_from(choice % (open.len().max(1) as u64)).ok().and_then(|index| open.get(index))
        else {
            continue;
        };
        all.push(Split {
            announced: calendar::at(day.saturating_sub(before.days()), time(18, 0, 0, 0)),
            deleted: Some(calendar::at(day.saturating_add(after.days()), time(11, 0, 0, 0))),
            ..split(seed, universe, *listing, day, from, to)
        });
    }
}

fn gcd(one: i128, other: i128) -> i128 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn apples_factors_are_those_that_the_vendor_documents() {
        let universe = Universe::new(7, 60);
        let splits = Splits::new(7, &universe);
        let factor = |as_of| {
            let facts = splits.facts(at(as_of)).find(|fact| fact.split.execution_date == date(2005, 2, 28));
            facts.unwrap().historical_adjustment_factor.to_string()
        };
        assert_eq!(factor("2024-06-28T21:00:00Z"), "0.017857");
        assert_eq!(factor("2020-08-30T21:00:00Z"), "0.071429");
        assert_eq!(factor("2005-02-27T21:00:00Z"), "0.5");
        let old = splits.factor(universe.listings[0].security, date(2014, 6, 6), at("2024-06-28T21:00:00Z"));
        assert_eq!(old, Factor { numerator: 1, denominator: 28 });
    }

    #[test]
    fn a_split_is_announced_executed_and_a_bad_one_deleted() {
        let universe = Universe::new(7, 60);
        let splits = Splits::new(7, &universe);
        let shown = |symbol: &str, day: Date, as_of: &str| {
            splits
                .facts(at(as_of))
                .any(|fact| fact.split.symbol == symbol && fact.split.execution_date == day)
        };
        assert!(!shown("NVDA", date(2024, 6, 10), "2024-04-20T12:00:00Z"));
        assert!(shown("NVDA", date(2024, 6, 10), "2024-06-07T12:00:00Z"));
        assert!(shown("SHOP", date(2024, 6, 21), "2024-06-28T21:00:00Z"));
        assert!(!shown("SHOP", date(2024, 6, 21), "2024-07-12T15:00:00Z"));
        for split in splits.all.iter().filter(|split| split.deleted.is_some()) {
            let last = calendar::day_of(split.deleted.unwrap());
            assert!((last - split.execution_date).get_days() <= 40);
        }
    }
}
