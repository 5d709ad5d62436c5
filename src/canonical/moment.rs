//! Moments and dates in the forms that sources write them.
//!
//! A text is read once, whole, or refused: what stands for no instant, or for two,
//! never becomes one of them by leaving out what was not understood. Refused are
//! a local time that a change of clocks skipped or doubled, an offset that its
//! zone does not have, second 60, abbreviations of zones, digits beyond the
//! nanosecond, and years outside of 1 to 9999.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::json::unescape;

const SECONDS_A_DAY: i64 = 86_400;

/// 0001-01-01 and 9999-12-31, in days since 1970-01-01.
const DAY_MIN: i32 = -719_162;
const DAY_MAX: i32 = 2_932_896;

/// A moment between the years 1 and 9999, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanos: u32,
}

impl Moment {
    /// Of a string's content, in ISO 8601, RFC 3339 or RFC 9557, or with a zone's
    /// name after a space. A date is its midnight; without an offset it is in UTC.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        read(content, |text| {
            let (local, place) = text.moment()?;
            Self::at(local, &place, false)
        })
    }

    /// As [`Moment::parse`], of a text that names its offset or zone.
    pub(crate) fn parse_absolute(content: &[u8]) -> Option<Self> {
        read(content, |text| {
            let (local, place) = text.moment()?;
            Self::at(local, &place, true)
        })
    }

    fn at(local: Local, place: &Place<'_>, is_absolute: bool) -> Option<Self> {
        let offset = match place {
            Place { offset: None, zone: None } if is_absolute => return None,
            Place { offset: None, zone: None } | Place { offset: Some(Offset::Utc), .. } => 0,
            Place { offset: Some(Offset::Seconds(seconds)), zone: None } => *seconds,
            Place { offset: None, zone: Some(zone) } => match zone.offset_at(local)? {
                AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
                AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => return None,
            },
            Place { offset: Some(Offset::Seconds(seconds)), zone: Some(zone) } => {
                let fits = match zone.offset_at(local)? {
                    AmbiguousOffset::Unambiguous { offset } => offset.seconds() == *seconds,
                    AmbiguousOffset::Fold { before, after } => {
                        before.seconds() == *seconds || after.seconds() == *seconds
                    }
                    AmbiguousOffset::Gap { .. } => false,
                };
                if !fits {
                    return None;
                }
                *seconds
            }
        };
        let seconds = local.seconds - i64::from(offset);
        let days = i64::from(DAY_MIN)..=i64::from(DAY_MAX);
        days.contains(&seconds.div_euclid(SECONDS_A_DAY)).then_some(Self { seconds, nanos: local.nanos })
    }
}

/// Days since 1970-01-01 of a string's content that is a date, or the midnight of
/// one without an offset or in UTC.
pub(super) fn parse_date(content: &[u8]) -> Option<i32> {
    read(content, |text| {
        let (local, place) = text.moment()?;
        let is_utc = matches!(place.offset, None | Some(Offset::Utc | Offset::Seconds(0)));
        if !is_utc || place.zone.is_some() || local.nanos != 0 || local.seconds % SECONDS_A_DAY != 0 {
            return None;
        }
        i32::try_from(local.seconds / SECONDS_A_DAY).ok().filter(|day| (DAY_MIN..=DAY_MAX).contains(day))
    })
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, years 1 to
/// 9999; none when there is no such day.
pub(crate) fn day(year: i32, month: i32, day: i32) -> Option<i32> {
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468,
    )
}

fn is_leap(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

/// Year, month and day of a day between [`DAY_MIN`] and [`DAY_MAX`].
fn date_of(day: i32) -> (i32, i32, i32) {
    // In eras of 400 years, which begin in March as in `day`.
    let days = day + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year_of_era + era * 400 + i32::from(month <= 2), month, day)
}

/// `YYYY-MM-DD` of a day; none outside of the years 1 to 9999.
pub(super) fn date_text(day: i64) -> Option<[u8; 10]> {
    let day = i32::try_from(day).ok().filter(|day| (DAY_MIN..=DAY_MAX).contains(day))?;
    let (year, month, day) = date_of(day);
    let mut text = *b"0000-00-00";
    for (at, width, mut value) in [(0, 4, year), (5, 2, month), (8, 2, day)] {
        for place in (at..at + width).rev() {
            text[place] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    Some(text)
}

/// A clock on a wall, as seconds and nanoseconds since 1970-01-01T00:00:00 there.
#[derive(Debug, Clone, Copy)]
struct Local {
    seconds: i64,
    nanos: u32,
}

/// Where the wall is.
#[derive(Debug, Default)]
struct Place<'a> {
    offset: Option<Offset>,
    zone: Option<Zone<'a>>,
}

#[derive(Debug, Clone, Copy)]
enum Offset {
    /// `Z`, also written as -00:00: nothing is said of the wall's own offset.
    Utc,
    /// Seconds east of UTC.
    Seconds(i32),
}

#[derive(Debug, Clone, Copy)]
enum Zone<'a> {
    Fixed(i32),
    Named(&'a str),
}

impl Zone<'_> {
    fn offset_at(self, local: Local) -> Option<AmbiguousOffset> {
        let name = match self {
            Self::Fixed(seconds) => {
                let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
                return Some(AmbiguousOffset::Unambiguous { offset });
            }
            Self::Named(name) => name,
        };
        let day = i32::try_from(local.seconds.div_euclid(SECONDS_A_DAY)).ok()?;
        let (year, month, day) = date_of(Some(day).filter(|day| (DAY_MIN..=DAY_MAX).contains(day))?);
        let second = local.seconds.rem_euclid(SECONDS_A_DAY);
        let clock = [second / 3600, second / 60 % 60, second % 60].map(|part| part as i8);
        let date = civil::Date::new(year as i16, month as i8, day as i8).ok()?;
        let zone = TimeZone::get(name).ok()?;
        Some(zone.to_ambiguous_timestamp(date.at(clock[0], clock[1], clock[2], 0)).offset())
    }
}

/// Has `parse` read a string's content.
fn read<T>(content: &[u8], parse: impl FnOnce(Text<'_>) -> Option<T>) -> Option<T> {
    let content = content.trim_ascii();
    if content.contains(&b'\\') {
        return parse(Text { text: unescape(content).as_bytes(), at: 0 });
    }
    parse(Text { text: content, at: 0 })
}

struct Text<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    /// The next byte, 0 at the end.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && self.at < self.text.len();
        self.at += usize::from(found);
        found
    }

    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// How many digits come next.
    fn digits_ahead(&self) -> usize {
        self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// The number that the next `count` bytes are.
    fn number(&mut self, count: usize) -> Option<i32> {
        let mut value = 0;
        for _ in 0..count {
            let digit = self.peek().wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i32::from(digit);
            self.at += 1;
        }
        Some(value)
    }

    /// The whole text.
    fn moment(mut self) -> Option<(Local, Place<'a>)> {
        let midnight = i64::from(self.date()?) * SECONDS_A_DAY;
        if self.is_at_end() {
            return Some((Local { seconds: midnight, nanos: 0 }, Place::default()));
        }
        let is_spaced = self.take(b' ');
        if !is_spaced && !self.take(b'T') && !self.take(b't') {
            return None;
        }
        let (seconds, nanos) = self.clock(is_spaced)?;
        let place = self.place()?;
        self.is_at_end().then_some((Local { seconds: midnight + seconds, nanos }, place))
    }

    /// A date of the calendar, of a year's weeks or of its days.
    fn date(&mut self) -> Option<i32> {
        let year = if self.take(b'+') { self.number(6)? } else { self.number(4)? };
        let is_extended = self.take(b'-');
        if self.take(b'W') {
            let week = self.number(2)?;
            if self.take(b'-') != is_extended {
                return None;
            }
            return week_day(year, week, self.number(1)?);
        }
        if !is_extended && self.digits_ahead() != 4 {
            return None;
        }
        if is_extended && self.digits_ahead() == 3 {
            let of_year = self.number(3)?;
            let last = if is_leap(year) { 366 } else { 365 };
            return (1..=last).contains(&of_year).then(|| Some(day(year, 1, 1)? + of_year - 1))?;
        }
        let month = self.number(2)?;
        if is_extended && !self.take(b'-') {
            return None;
        }
        day(year, month, self.number(2)?)
    }

    /// Seconds since midnight, and nanoseconds.
    fn clock(&mut self, is_spaced: bool) -> Option<(i64, u32)> {
        let (mut minute, mut second, mut nanos) = (0, 0, 0);
        let ahead = self.digits_ahead();
        let hour = self.number(2)?;
        if self.take(b':') {
            minute = self.number(2)?;
            if self.take(b':') {
                second = self.number(2)?;
                nanos = self.fraction()?;
            }
        } else {
            match ahead {
                2 if !is_spaced => {}
                4 => minute = self.number(2)?,
                6 => {
                    minute = self.number(2)?;
                    second = self.number(2)?;
                    nanos = self.fraction()?;
                }
                _ => return None,
            }
        }
        let ends_the_day = hour == 24 && minute == 0 && second == 0 && nanos == 0;
        let exists = (hour < 24 && minute < 60 && second < 60) || ends_the_day;
        exists.then(|| (i64::from(hour * 3600 + minute * 60 + second), nanos))
    }

    /// The part of a second after a point or a comma; none that nanoseconds cannot hold.
    fn fraction(&mut self) -> Option<u32> {
        if !self.take(b'.') && !self.take(b',') {
            return Some(0);
        }
        let digits = &self.text[self.at..self.at + self.digits_ahead()];
        self.at += digits.len();
        let (held, beyond) = digits.split_at(digits.len().min(9));
        if digits.is_empty() || beyond.iter().any(|digit| *digit != b'0') {
            return None;
        }
        let value = held.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        Some(value * 10_u32.pow(9 - held.len() as u32))
    }

    /// What follows a clock.
    fn place(&mut self) -> Option<Place<'a>> {
        let mut place = Place::default();
        let is_spaced = self.take(b' ');
        match self.peek() {
            b'Z' | b'z' => {
                self.at += 1;
                place.offset = Some(Offset::Utc);
            }
            b'+' | b'-' => place.offset = Some(self.offset()?),
            byte if byte.is_ascii_alphabetic() => match self.name()? {
                name if name.eq_ignore_ascii_case("UTC") || name.eq_ignore_ascii_case("GMT") => {
                    place.offset = Some(Offset::Utc);
                }
                // Names without a slash are abbreviations, which several zones share.
                name if is_spaced && name.contains('/') => place.zone = Some(Zone::Named(name)),
                _ => return None,
            },
            _ if is_spaced => return None,
            _ => {}
        }
        while self.take(b'[') {
            self.suffix(&mut place)?;
        }
        Some(place)
    }

    fn offset(&mut self) -> Option<Offset> {
        let is_west = self.take(b'-');
        if !is_west && !self.take(b'+') {
            return None;
        }
        let ahead = self.digits_ahead();
        let hours = self.number(2)?;
        let (mut minutes, mut seconds) = (0, 0);
        if self.take(b':') {
            minutes = self.number(2)?;
            if self.take(b':') {
                seconds = self.number(2)?;
            }
        } else {
            match ahead {
                2 => {}
                4 => minutes = self.number(2)?,
                6 => (minutes, seconds) = (self.number(2)?, self.number(2)?),
                _ => return None,
            }
        }
        if hours > 23 || minutes > 59 || seconds > 59 {
            return None;
        }
        Some(match hours * 3600 + minutes * 60 + seconds {
            0 if is_west => Offset::Utc,
            east if !is_west => Offset::Seconds(east),
            west => Offset::Seconds(-west),
        })
    }

    /// A zone's name.
    fn name(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
        let length = rest.iter().position(|byte| !of_name(byte)).unwrap_or(rest.len());
        self.at += length;
        std::str::from_utf8(&rest[..length]).ok().filter(|name| !name.is_empty())
    }

    /// What stands in brackets [RFC 9557]: a zone, or a tag such as `u-ca=gregory`,
    /// which says how to show the moment and not which one it is.
    fn suffix(&mut self, place: &mut Place<'a>) -> Option<()> {
        let is_critical = self.take(b'!');
        if matches!(self.peek(), b'+' | b'-') {
            let seconds = match self.offset()? {
                Offset::Utc => 0,
                Offset::Seconds(seconds) => seconds,
            };
            return (place.zone.replace(Zone::Fixed(seconds)).is_none() && self.take(b']')).then_some(());
        }
        let name = self.name()?;
        if self.take(b'=') {
            self.name()?;
            let is_known = name == "u-ca";
            return ((is_known || !is_critical) && self.take(b']')).then_some(());
        }
        (place.zone.replace(Zone::Named(name)).is_none() && self.take(b']')).then_some(())
    }
}

/// A day of a week of a year [ISO 8601]: the first week is that of 4 January.
fn week_day(year: i32, week: i32, weekday: i32) -> Option<i32> {
    let monday = |year: i32| {
        let fourth = day(year, 1, 4)?;
        Some(fourth - (fourth + 3).rem_euclid(7))
    };
    let day = monday(year)? + (week - 1) * 7 + weekday - 1;
    let ends = if year == 9999 { DAY_MAX + 1 } else { monday(year + 1)? };
    (week >= 1 && (1..=7).contains(&weekday) && day < ends).then_some(day)
}

/// Writes moments as RFC 3339 in UTC; remembers the day, which rows share.
#[derive(Debug, Default)]
pub(super) struct MomentWriter {
    day: Option<(i64, [u8; 10])>,
    /// The second, since the UNIX epoch, that was written last.
    pub(super) last: i64,
}

impl MomentWriter {
    /// Appends the moment in quotes. False, and nothing appended, outside the years 1 to 9999.
    #[inline]
    pub(super) fn push(&mut self, out: &mut Vec<u8>, seconds: i64, nanos: u32) -> bool {
        let day = seconds.div_euclid(SECONDS_A_DAY);
        let Some(date) = self.date(day) else {
            return false;
        };
        let second = seconds.rem_euclid(SECONDS_A_DAY) as u32;
        self.last = seconds;
        let mut text = *b"\"0000-00-00T00:00:00Z\"";
        text[1..11].copy_from_slice(&date);
        for (at, value) in [(12, second / 3600), (15, second / 60 % 60), (18, second % 60)] {
            text[at] = b'0' + (value / 10) as u8;
            text[at + 1] = b'0' + (value % 10) as u8;
        }
        if nanos == 0 {
            out.extend_from_slice(&text);
            return true;
        }
        out.extend_from_slice(&text[..20]);
        let fraction = format!(".{nanos:09}");
        out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
        out.extend_from_slice(b"Z\"");
        true
    }

    fn date(&mut self, day: i64) -> Option<[u8; 10]> {
        if let Some((known, text)) = self.day
            && known == day
        {
            return Some(text);
        }
        let text = date_text(day)?;
        self.day = Some((day, text));
        Some(text)
    }
}

#[cfg(test)]
mod tests;
