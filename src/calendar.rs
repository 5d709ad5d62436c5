//! The calendar of US stock exchanges in New York time.
//!
//! Rules of the New York Stock Exchange from 2003 on; earlier years follow the
//! same rules and may miss one-off closings. Closings that were not announced
//! long before (a funeral, a storm) are listed by date.

use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

static NEW_YORK: LazyLock<TimeZone> = LazyLock::new(|| {
    TimeZone::get("America/New_York").expect("the time zone database is compiled into the program")
});

/// Regular trading hours of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// 09:30 in New York.
    pub open: Timestamp,
    /// 16:00 in New York, 13:00 on a half day.
    pub close: Timestamp,
    /// Whether it is a half day.
    pub early_close: bool,
}

/// What a holiday does to the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HolidayKind {
    /// No trading.
    Closed,
    /// Trading ends at 13:00 in New York.
    EarlyClose,
}

/// A weekday without trading, or with a half day of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holiday {
    /// The day.
    pub date: Date,
    /// Its name, as the API writes it.
    pub name: &'static str,
    /// Closed or half a day.
    pub kind: HolidayKind,
}

/// Closings, and one half day, outside the rules.
const ONE_OFF: &[(Date, &str, HolidayKind)] = &[
    (date(2003, 12, 26), "Christmas", HolidayKind::EarlyClose),
    (date(2004, 6, 11), "National Day of Mourning", HolidayKind::Closed),
    (date(2007, 1, 2), "National Day of Mourning", HolidayKind::Closed),
    (date(2012, 10, 29), "Hurricane Sandy", HolidayKind::Closed),
    (date(2012, 10, 30), "Hurricane Sandy", HolidayKind::Closed),
    (date(2018, 12, 5), "National Day of Mourning", HolidayKind::Closed),
    (date(2025, 1, 9), "National Day of Mourning", HolidayKind::Closed),
];

/// Juneteenth has been a holiday of the exchange since this year.
const JUNETEENTH_SINCE: i16 = 2022;

/// New York's time zone.
pub fn new_york() -> &'static TimeZone {
    &NEW_YORK
}

/// Whether stocks trade on this day, half days included.
pub fn is_trading_day(day: Date) -> bool {
    !is_weekend(day) && !matches!(holiday(day), Some(Holiday { kind: HolidayKind::Closed, .. }))
}

/// The regular trading hours of a day; `None` when the exchange is closed.
pub fn session(day: Date) -> Option<Session> {
    if !is_trading_day(day) {
        return None;
    }
    let early_close = holiday(day).is_some();
    let close_hour = if early_close { 13 } else { 16 };
    Some(Session {
        open: at(day, Time::constant(9, 30, 0, 0)),
        close: at(day, Time::constant(close_hour, 0, 0, 0)),
        early_close,
    })
}

/// The holidays and half days of a year, in order. A holiday on a weekend that
/// is not observed on a weekday is not listed.
pub fn holidays(year: i16) -> Vec<Holiday> {
    let last = date(year, 12, 31);
    std::iter::successors(Some(date(year, 1, 1)), |day| day.tomorrow().ok())
        .take_while(|day| *day <= last)
        .filter(|day| !is_weekend(*day))
        .filter_map(holiday)
        .collect()
}

/// The day in New York at this moment.
pub fn day_of(moment: Timestamp) -> Date {
    NEW_YORK.to_datetime(moment).date()
}

/// New York's midnight at which the day begins.
pub fn day_start(day: Date) -> Timestamp {
    at(day, Time::midnight())
}

/// A time of day in New York. A time that the clock change skips is moved
/// forward; of one that it repeats the first is taken. No session touches either.
pub fn at(day: Date, time: Time) -> Timestamp {
    NEW_YORK
        .to_ambiguous_zoned(day.to_datetime(time))
        .compatible()
        .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The first trading day after `day`.
pub fn next_trading_day(day: Date) -> Date {
    let mut next = day.saturating_add(1.day());
    while !is_trading_day(next) && next < Date::MAX {
        next = next.saturating_add(1.day());
    }
    next
}

/// The last trading day before `day`.
pub fn previous_trading_day(day: Date) -> Date {
    let mut previous = day.saturating_sub(1.day());
    while !is_trading_day(previous) && previous > Date::MIN {
        previous = previous.saturating_sub(1.day());
    }
    previous
}

/// The trading days from `from` to `to`, both inclusive.
pub fn trading_days(from: Date, to: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(from), |day| day.tomorrow().ok())
        .take_while(move |day| *day <= to)
        .filter(|day| is_trading_day(*day))
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// The holiday or half day that a weekday is. Only one month's rules are looked at.
fn holiday(day: Date) -> Option<Holiday> {
    use HolidayKind::{Closed, EarlyClose};
    if let Some((date, name, kind)) = ONE_OFF.iter().find(|(date, ..)| *date == day) {
        return Some(Holiday { date: *date, name, kind: *kind });
    }
    let weekday = day.weekday();
    let monday = weekday == Weekday::Monday;
    let nth = (day.day() - 1) / 7 + 1;
    let (name, kind) = match day.month() {
        // A New Year's Day on a Saturday is not observed: the books close on the 31st.
        1 if day.day() == 1 || (monday && day.day() == 2) => ("New Years Day", Closed),
        1 if monday && nth == 3 => ("Martin Luther King, Jr. Day", Closed),
        2 if monday && nth == 3 => ("Washington's Birthday", Closed),
        3 | 4 if weekday == Weekday::Friday && day == good_friday(day.year()) => ("Good Friday", Closed),
        5 if monday && day.day() > 24 => ("Memorial Day", Closed),
        6 if day.year() >= JUNETEENTH_SINCE && is_observed(day, 19) => ("Juneteenth", Closed),
        7 if is_observed(day, 4) => ("Independence Day", Closed),
        7 if day.day() == 3 => ("Independence Day", EarlyClose),
        9 if monday && nth == 1 => ("Labor Day", Closed),
        11 if weekday == Weekday::Thursday && nth == 4 => ("Thanksgiving", Closed),
        11 if weekday == Weekday::Friday && (23..=29).contains(&day.day()) => ("Thanksgiving", EarlyClose),
        12 if is_observed(day, 25) => ("Christmas", Closed),
        12 if day.day() == 24 => ("Christmas", EarlyClose),
        _ => return None,
    };
    Some(Holiday { date: day, name, kind })
}

/// Whether `day` is the weekday on which a holiday of the same month's `fixed`
/// day is kept: Friday for a Saturday, Monday for a Sunday.
fn is_observed(day: Date, fixed: i8) -> bool {
    match day.weekday() {
        Weekday::Friday => day.day() == fixed || day.day() == fixed - 1,
        Weekday::Monday => day.day() == fixed || day.day() == fixed + 1,
        _ => day.day() == fixed,
    }
}

/// Two days before Easter Sunday, by the anonymous Gregorian computus.
fn good_friday(year: i16) -> Date {
    let year_number = i32::from(year);
    let golden = year_number % 19;
    let (century, rest) = (year_number / 100, year_number % 100);
    let correction = (century - century / 4 - (8 * century + 13) / 25 + 19 * golden + 15) % 30;
    let moon = correction
        - (correction / 28) * (1 - (correction / 28) * (29 / (correction + 1)) * ((21 - golden) / 11));
    let weekday = (century * 100 + rest + year_number / 4 + moon + 2 - century + century / 4) % 7;
    let offset = moon - weekday;
    let month = 3 + (offset + 40) / 44;
    let day = offset + 28 - 31 * (month / 4);
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else {
        return Date::MIN;
    };
    date(year, month, day).saturating_sub(2.days())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn closed(year: i16) -> Vec<String> {
        named(year, HolidayKind::Closed)
    }

    fn named(year: i16, kind: HolidayKind) -> Vec<String> {
        let days = holidays(year).into_iter().filter(|holiday| holiday.kind == kind);
        days.map(|holiday| holiday.date.strftime("%m-%d").to_string()).collect()
    }

    #[test]
    fn holidays_of_known_years() {
        assert_eq!(
            closed(2024),
            ["01-01", "01-15", "02-19", "03-29", "05-27", "06-19", "07-04", "09-02", "11-28", "12-25"]
        );
        assert_eq!(
            closed(2021),
            ["01-01", "01-18", "02-15", "04-02", "05-31", "07-05", "09-06", "11-25", "12-24"]
        );
        // New Year's Day 2022 was a Saturday and not observed; Juneteenth a Sunday.
        assert_eq!(
            closed(2022),
            ["01-17", "02-21", "04-15", "05-30", "06-20", "07-04", "09-05", "11-24", "12-26"]
        );
        assert_eq!(
            closed(2012),
            [
                "01-02", "01-16", "02-20", "04-06", "05-28", "07-04", "09-03", "10-29", "10-30", "11-22",
                "12-25"
            ]
        );
        assert_eq!(
            closed(2004),
            ["01-01", "01-19", "02-16", "04-09", "05-31", "06-11", "07-05", "09-06", "11-25", "12-24"]
        );
        for one_off in ["2007-01-02", "2018-12-05", "2025-01-09"] {
            assert!(!is_trading_day(day(one_off)), "{one_off}");
        }
        assert!(is_trading_day(day("2021-12-31")) && is_trading_day(day("2010-12-31")));
        assert!(is_trading_day(day("2021-06-18")), "no Juneteenth before 2022");
    }

    #[test]
    fn half_days_of_known_years() {
        let half = |year| named(year, HolidayKind::EarlyClose);
        assert_eq!(half(2003), ["07-03", "11-28", "12-24", "12-26"]);
        assert_eq!(half(2019), ["07-03", "11-29", "12-24"]);
        assert_eq!(half(2020), ["11-27", "12-24"]);
        assert_eq!(half(2021), ["11-26"]);
        assert_eq!(half(2022), ["11-25"]);
        assert_eq!(half(2023), ["07-03", "11-24"]);
        assert_eq!(half(2024), ["07-03", "11-29", "12-24"]);
    }

    #[test]
    fn easter_of_known_years() {
        let known = [
            (2003, "04-18"),
            (2008, "03-21"),
            (2011, "04-22"),
            (2016, "03-25"),
            (2018, "03-30"),
            (2019, "04-19"),
            (2020, "04-10"),
            (2023, "04-07"),
            (2025, "04-18"),
            (2038, "04-23"),
        ];
        for (year, expected) in known {
            assert_eq!(good_friday(year).strftime("%m-%d").to_string(), expected, "{year}");
        }
    }

    /// The dates that the vendor's own client recorded in May 2022.
    #[test]
    fn the_recorded_holidays_of_2022() {
        use HolidayKind::{Closed, EarlyClose};
        let recorded = [
            ("2022-05-30", "Memorial Day", Closed),
            ("2022-06-20", "Juneteenth", Closed),
            ("2022-07-04", "Independence Day", Closed),
            ("2022-09-05", "Labor Day", Closed),
            ("2022-11-24", "Thanksgiving", Closed),
            ("2022-11-25", "Thanksgiving", EarlyClose),
            ("2022-12-26", "Christmas", Closed),
        ];
        let ours: Vec<_> =
            holidays(2022).into_iter().filter(|holiday| holiday.date >= day("2022-05-01")).collect();
        let expected = recorded.map(|(date, name, kind)| Holiday { date: day(date), name, kind });
        assert_eq!(ours, expected);
        let half = session(day("2022-11-25")).unwrap();
        assert!(half.early_close);
        assert_eq!(half.open.to_string(), "2022-11-25T14:30:00Z");
        assert_eq!(half.close.to_string(), "2022-11-25T18:00:00Z");
    }

    #[test]
    fn sessions_follow_new_yorks_clock() {
        let winter = session(day("2024-03-08")).unwrap();
        assert_eq!(
            (winter.open.to_string(), winter.close.to_string()),
            ("2024-03-08T14:30:00Z".to_owned(), "2024-03-08T21:00:00Z".to_owned())
        );
        let summer = session(day("2024-03-11")).unwrap();
        assert_eq!(
            (summer.open.to_string(), summer.close.to_string()),
            ("2024-03-11T13:30:00Z".to_owned(), "2024-03-11T20:00:00Z".to_owned())
        );
        assert_eq!(session(day("2024-03-10")), None);
        assert_eq!(day_start(day("2024-03-10")).to_string(), "2024-03-10T05:00:00Z");
        assert_eq!(day_start(day("2024-03-11")).to_string(), "2024-03-11T04:00:00Z");
        assert_eq!(day_of("2024-03-11T03:59:59Z".parse().unwrap()), day("2024-03-10"));
        assert_eq!(day_of("2024-03-11T04:00:00Z".parse().unwrap()), day("2024-03-11"));
    }

    #[test]
    fn neighbours_and_ranges() {
        assert_eq!(next_trading_day(day("2024-07-03")), day("2024-07-05"));
        assert_eq!(previous_trading_day(day("2024-07-05")), day("2024-07-03"));
        assert_eq!(next_trading_day(day("2012-10-26")), day("2012-10-31"));
        let days: Vec<_> = trading_days(day("2024-05-24"), day("2024-05-29")).collect();
        assert_eq!(days, [day("2024-05-24"), day("2024-05-28"), day("2024-05-29")]);
        assert_eq!(trading_days(day("2024-05-29"), day("2024-05-24")).count(), 0);
        for (year, count) in [(2019, 252), (2020, 253), (2021, 252), (2022, 251), (2023, 250), (2024, 252)] {
            assert_eq!(trading_days(date(year, 1, 1), date(year, 12, 31)).count(), count, "{year}");
        }
    }
}
