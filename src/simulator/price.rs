//! The course that a security's price takes, as a pure function of the day.

use jiff::civil::{Date, date};

use super::days::day_number;
use super::dice::{mix, signed_unit};
use super::splits::Splits;
use super::universe::Universe;

/// Lengths in days and heights of the waves that add up to a price's course.
/// Their sum stays below 1, so no price reaches zero.
const WAVES: &[(i64, f64)] = &[(512, 0.33), (128, 0.12), (32, 0.05), (8, 0.02), (1, 0.012)];

/// Price units in a dollar: a hundredth of a cent.
pub const UNITS: i64 = 10_000;

/// The day in whose shares the prices of the universe's table are.
const TABLE_DAY: Date = date(2024, 6, 28);

/// The price that a listing's shares of this day cost, as [`UNITS`], at its
/// beginning and at its end. A split makes it jump overnight.
#[expect(clippy::cast_precision_loss, reason = "prices are far below 2^53 units")]
pub fn course(universe: &Universe, splits: &Splits, listing: usize, day: Date) -> (f64, f64) {
    let security = universe.security_of(listing);
    let middle = security.cents as f64 * (UNITS / 100) as f64;
    let shares = shares(splits, universe.listings[listing].security, day);
    let number = day_number(day);
    (middle * level(security.key, number) * shares, middle * level(security.key, number + 1) * shares)
}

/// How many shares of the default day one share of `day` is.
pub fn shares(splits: &Splits, security: usize, day: Date) -> f64 {
    splits.shares_later(security, day) / splits.shares_later(security, TABLE_DAY)
}

/// So many shares of the default day, in shares of `day`: what a split makes more of, it
/// makes cheaper. Not rounded.
pub fn in_shares_of(day: Date, count: f64, splits: &Splits, security: usize) -> f64 {
    count / shares(splits, security, day)
}

/// About where the price stands at the end of a day, as [`UNITS`].
#[expect(clippy::cast_possible_truncation, reason = "prices are far below 2^53 units")]
pub fn close(universe: &Universe, splits: &Splits, listing: usize, day: Date) -> i64 {
    (course(universe, splits, listing, day).1 as i64).max(1)
}

/// The price relative to its middle.
fn level(key: u64, day: i64) -> f64 {
    WAVES.iter().map(|(length, height)| height * wave(key, *length, day)).sum::<f64>() + 1.0
}

/// Noise in [-1, 1) that changes smoothly over `length` days.
#[expect(clippy::cast_precision_loss, reason = "days are small numbers")]
fn wave(key: u64, length: i64, day: i64) -> f64 {
    let knot = |index: i64| signed_unit(mix(&[key, length.unsigned_abs(), index.unsigned_abs()]));
    let index = day.div_euclid(length);
    let part = day.rem_euclid(length) as f64 / length as f64;
    let eased = part * part * (3.0 - 2.0 * part);
    knot(index) + (knot(index + 1) - knot(index)) * eased
}
