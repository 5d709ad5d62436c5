//! Reading one JSON value of a known type from canonical text.
//!
//! Each function takes the text and a position, and returns the value and the
//! position after it, or what is wrong with it.

use crate::canonical::{Scanner, Value, day, double};
use crate::table::{Need, Width};

/// What was read, and the position after it.
pub(super) type Scan<T> = Result<(T, usize), &'static str>;

const fn powers<const N: usize>() -> [i128; N] {
    let mut powers = [1; N];
    let mut index = 1;
    while index < N {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
}

const POWERS: [i128; Width::PRECISION_MAX as usize + 1] = powers();

/// A byte, or 0 past the end: no canonical value holds a 0.
fn at(text: &[u8], position: usize) -> u8 {
    text.get(position).copied().unwrap_or(0)
}

fn ends_value(byte: u8) -> bool {
    matches!(byte, b',' | b'}')
}

/// A run of digits: their value, wrapped where it does not fit, and the position after it.
fn digits(text: &[u8], mut position: usize, mut value: u64) -> (u64, usize) {
    loop {
        let digit = at(text, position).wrapping_sub(b'0');
        if digit > 9 {
            return (value, position);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        position += 1;
    }
}

/// A number of any size, not yet of any column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    text: &'a [u8],
    /// Its digits as a number, wrapped where they do not fit; meaningless with an exponent.
    digits: u64,
    /// Digits before and after the point, as they are written.
    whole: usize,
    fraction: usize,
    has_exponent: bool,
}

/// Reads a number. Only one that no decimal holds may have an exponent.
#[inline]
pub(super) fn decimal(text: &[u8], start: usize) -> Scan<Number<'_>> {
    let first = start + usize::from(at(text, start) == b'-');
    let (mut value, mut end) = digits(text, first, 0);
    let whole = end - first;
    let mut fraction = 0;
    if at(text, end) == b'.' {
        let point = end;
        (value, end) = digits(text, point + 1, value);
        fraction = end - point - 1;
        if fraction == 0 {
            return Err("a digit must follow the point");
        }
    }
    let has_exponent = matches!(at(text, end), b'e' | b'E');
    if has_exponent {
        let sign = usize::from(matches!(at(text, end + 1), b'-' | b'+'));
        let after = digits(text, end + 1 + sign, 0).1;
        if after == end + 1 + sign {
            return Err("a digit must follow the exponent's sign");
        }
        end = after;
    }
    if whole == 0 || !ends_value(at(text, end)) {
        return Err("not a number");
    }
    Ok((Number { text: &text[start..end], digits: value, whole, fraction, has_exponent }, end))
}

impl Number<'_> {
    /// The number times 10 to the power of the scale, if a column of at most
    /// [`Width::NARROW`] digits holds it.
    #[inline]
    pub fn narrow(&self, width: Width) -> Option<i64> {
        let (scale, whole) = (usize::from(width.scale()), usize::from(width.whole()));
        // So few digits that none is lost, here or in the product.
        if self.whole <= whole && self.fraction <= scale && !self.has_exponent {
            let value = self.digits as i64 * POWERS[scale - self.fraction] as i64;
            return Some(if self.is_negative() { -value } else { value });
        }
        self.exactly(width).and_then(|value| i64::try_from(value).ok())
    }

    /// The number times 10 to the power of the scale, if the column holds it.
    #[inline]
    pub fn wide(&self, width: Width) -> Option<i128> {
        let (scale, whole) = (usize::from(width.scale()), usize::from(width.whole()));
        // 19 digits always fit 64 bits.
        if self.whole + self.fraction <= 19
            && self.whole <= whole
            && self.fraction <= scale
            && !self.has_exponent
        {
            let value = i128::from(self.digits) * POWERS[scale - self.fraction];
            return Some(if self.is_negative() { -value } else { value });
        }
        self.exactly(width)
    }

    /// Any number, also one with zeros that say nothing.
    fn exactly(&self, width: Width) -> Option<i128> {
        let need = self.need().filter(|need| width.holds(*need))?;
        // What the column does not hold of the fraction is zeros.
        let zeros = self.fraction.saturating_sub(need.scale);
        let digits = self.text.iter().filter(|byte| byte.is_ascii_digit());
        let kept = digits.take(self.whole + self.fraction - zeros);
        let value = kept.fold(0_i128, |value, byte| value * 10 + i128::from(byte - b'0'));
        let value = value * POWERS[usize::from(width.scale()) - need.scale];
        Some(if self.is_negative() { -value } else { value })
    }

    fn is_negative(&self) -> bool {
        self.text.first() == Some(&b'-')
    }

    /// The digits that a column needs to hold it, if a decimal can.
    pub fn need(&self) -> Option<Need> {
        Need::of(self.text)
    }

    /// The nearest double, if one is near.
    pub fn double(&self) -> Option<f64> {
        double(self.text)
    }
}

/// A 64-bit integer.
pub(super) fn integer(text: &[u8], start: usize) -> Scan<i64> {
    let negative = at(text, start) == b'-';
    let first = start + usize::from(negative);
    let (value, end) = digits(text, first, 0);
    if end == first || !ends_value(at(text, end)) {
        return Err("not a plain integer");
    }
    if end - first < 19 {
        let value = value as i64;
        return Ok((if negative { -value } else { value }, end));
    }
    let exact = std::str::from_utf8(&text[start..end]).ok().and_then(|number| number.parse().ok());
    exact.map(|value| (value, end)).ok_or("does not fit 64 bits")
}

/// `true` or `false`.
pub(super) fn boolean(text: &[u8], start: usize) -> Scan<bool> {
    let rest = text.get(start..).unwrap_or_default();
    if rest.starts_with(b"true") {
        Ok((true, start + 4))
    } else if rest.starts_with(b"false") {
        Ok((false, start + 5))
    } else {
        Err("neither true nor false")
    }
}

fn number<const N: usize>(text: &[u8], start: usize) -> Option<i32> {
    let mut value = 0;
    for byte in &text[start..start + N] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i32::from(digit);
    }
    Some(value)
}

/// `YYYY-MM-DD`, as days since 1970-01-01.
fn civil(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    day(number::<4>(text, 0)?, number::<2>(text, 5)?, number::<2>(text, 8)?)
}

/// The date that was read last: rows of one day follow each other.
#[derive(Debug, Default)]
pub(super) struct LastDate {
    text: [u8; 10],
    days: i32,
}

impl LastDate {
    fn read(&mut self, text: &[u8]) -> Option<i32> {
        if text != self.text {
            self.days = civil(text)?;
            self.text.copy_from_slice(text);
        }
        Some(self.days)
    }
}

/// A date in quotes, as days since 1970-01-01.
pub(super) fn date(text: &[u8], start: usize, last: &mut LastDate) -> Scan<i32> {
    const NOT_A_DATE: &str = "not a date as YYYY-MM-DD";
    let quoted = text.get(start..start + 12).ok_or(NOT_A_DATE)?;
    if quoted[0] != b'"' || quoted[11] != b'"' {
        return Err(NOT_A_DATE);
    }
    Ok((last.read(&quoted[1..11]).ok_or(NOT_A_DATE)?, start + 12))
}

/// A moment of the years 1 to 9999, not yet of any column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Since 1970-01-01T00:00:00Z.
    seconds: i64,
    /// Of the second.
    nanos: i64,
}

impl Moment {
    /// Nanoseconds since 1970-01-01T00:00:00Z, if [`super::Values::Timestamp`] holds them.
    #[inline]
    pub fn nanos(self) -> Option<i64> {
        let exact = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos);
        let held = i128::from(super::EARLIEST)..i128::from(i64::MAX);
        held.contains(&exact).then_some(exact as i64)
    }

    /// Microseconds since then, without the digits that follow.
    pub fn micros(self) -> i64 {
        self.seconds * 1_000_000 + self.nanos / 1000
    }

    /// Whether digits follow those of the microseconds.
    pub fn is_cut_by_micros(self) -> bool {
        self.nanos % 1000 != 0
    }
}

/// A time in quotes.
pub(super) fn timestamp(text: &[u8], start: usize, last: &mut LastDate) -> Scan<Moment> {
    const NOT_A_TIME: &str = "not a time as YYYY-MM-DDThh:mm:ss[.f]Z";
    let head = text.get(start..start + 20).ok_or(NOT_A_TIME)?;
    let clock = time_of_day(head).ok_or(NOT_A_TIME)?;
    let days = last.read(&head[1..11]).ok_or(NOT_A_TIME)?;
    let mut end = start + 20;
    let mut nanos = 0;
    if at(text, end) == b'.' {
        let (value, after) = digits(text, end + 1, 0);
        let count = after - end - 1;
        if !(1..=9).contains(&count) {
            return Err("not 1 to 9 digits of a second");
        }
        nanos = value as i64 * POWERS[9 - count] as i64;
        end = after;
    }
    if at(text, end) != b'Z' || at(text, end + 1) != b'"' {
        return Err(NOT_A_TIME);
    }
    let seconds = i64::from(days) * 86_400 + clock;
    Ok((Moment { seconds, nanos }, end + 2))
}

/// Seconds since midnight of `"YYYY-MM-DDThh:mm:ss`.
fn time_of_day(head: &[u8]) -> Option<i64> {
    if head[0] != b'"' || head[11] != b'T' || head[14] != b':' || head[17] != b':' {
        return None;
    }
    let (hour, minute, second) = (number::<2>(head, 12)?, number::<2>(head, 15)?, number::<2>(head, 18)?);
    (hour < 24 && minute < 60 && second < 60).then(|| i64::from(hour * 3600 + minute * 60 + second))
}

/// The text between a string's quotes, with its escapes.
pub(super) fn string(text: &[u8], start: usize) -> Scan<&[u8]> {
    let rest = text.get(start..).unwrap_or_default();
    let mut scanner = Scanner::new(rest);
    match scanner.value() {
        // White space before it would be no part of canonical text.
        Ok(Value::String(content)) if rest.first() == Some(&b'"') => Ok((content, start + scanner.offset())),
        Ok(_) => Err("not a string"),
        Err(malformed) => Err(malformed.expected),
    }
}

/// Any value, as its text.
pub(super) fn value(text: &[u8], start: usize) -> Scan<&[u8]> {
    let mut scanner = Scanner::new(text.get(start..).unwrap_or_default());
    scanner.value().map_err(|malformed| malformed.expected)?;
    Ok((scanner.last_value(), start + scanner.offset()))
}
