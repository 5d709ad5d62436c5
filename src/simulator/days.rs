//! The simulated market's first and last day, and days as numbers and moments.

use jiff::Timestamp;
use jiff::civil::{Date, date};

/// The first day of the simulated market, as of the vendor's data.
pub const FIRST_DAY: Date = date(2003, 9, 10);

/// The simulated market makes no plans past this day.
pub const LAST_DAY: Date = date(2031, 12, 31);

/// Days since 1970-01-01.
pub fn day_number(day: Date) -> i64 {
    let (year, month) = (i64::from(day.year()), i64::from(day.month()));
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day.day()) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Midnight in UTC, at which the vendor dates days.
pub fn utc_midnight(day: Date) -> Timestamp {
    day.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day_number(date(1970, 1, 1)), 0);
        assert_eq!(day_number(date(2024, 2, 29)), 19_782);
        assert_eq!(day_number(date(1969, 12, 31)), -1);
    }
}
