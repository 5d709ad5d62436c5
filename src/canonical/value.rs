//! Values from outside to the canonical form, exactly.

use jiff::Timestamp;

/// A larger exponent than this in any number is not a price, a size or a time.
const EXPONENT_MAX: i32 = 60;

const SECONDS_A_DAY: i64 = 86_400;

/// Appends a number as it was sent, all its digits, an exponent written out. One
/// beyond [`EXPONENT_MAX`] stays: no decimal holds such a number, a double may.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: &[u8]) {
    let has_exponent = number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let Some(digits) = has_exponent.then(|| Digits::parse(number)).flatten() else {
        out.extend_from_slice(number);
        return;
    };
    let (whole, fraction) = digits.split();
    if digits.negative {
        out.push(b'-');
    }
    out.extend_from_slice(if whole.is_empty() { b"0" } else { &whole });
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(&fraction);
    }
}

/// A whole number within `i64`, also when it was sent as `100.0` or `1e2`.
pub(crate) fn integer(number: &[u8]) -> Option<i64> {
    if let Some(value) = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()) {
        return Some(value);
    }
    let digits = Digits::parse(number)?;
    let (whole, fraction) = digits.split();
    if !fraction.is_empty() {
        return None;
    }
    let mut text = String::from(if digits.negative { "-" } else { "" });
    text.push_str(if whole.is_empty() { "0" } else { std::str::from_utf8(&whole).ok()? });
    text.parse().ok()
}

/// Whether a string's content is a number as JSON writes one.
pub(crate) fn is_number(content: &[u8]) -> bool {
    let mut scanner = super::json::Scanner::new(content);
    matches!(scanner.value(), Ok(super::json::Value::Number(number)) if number.len() == content.len())
}

/// A number as digits and the position of its point.
struct Digits {
    negative: bool,
    /// Without leading zeros.
    digits: Vec<u8>,
    /// Where the point stands, counted from the first digit; may lie outside.
    point: i32,
}

impl Digits {
    fn parse(number: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(number).ok()?;
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        if exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = all.trim_start_matches('0');
        let zeros = all.len() - significant.len();
        let point = i32::try_from(whole.len()).ok()? - i32::try_from(zeros).ok()? + exponent;
        Some(Self { negative, digits: significant.as_bytes().to_vec(), point })
    }

    /// The digits before and after the point, without zeros that say nothing.
    fn split(&self) -> (Vec<u8>, Vec<u8>) {
        if self.digits.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let length = self.digits.len() as i32;
        let mut whole = Vec::new();
        let mut fraction = Vec::new();
        for index in self.point.min(0)..self.point.max(length) {
            let digit = if (0..length).contains(&index) { self.digits[index as usize] } else { b'0' };
            if index < self.point { whole.push(digit) } else { fraction.push(digit) }
        }
        while fraction.last() == Some(&b'0') {
            fraction.pop();
        }
        (whole, fraction)
    }
}

/// Writes moments as RFC 3339 in UTC; remembers the day, which rows share.
#[derive(Debug, Default)]
pub(crate) struct MomentWriter {
    day: Option<(i64, [u8; 11])>,
}

impl MomentWriter {
    /// Appends the moment in quotes. False, and nothing appended, outside the years 1 to 9999.
    #[inline]
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, seconds: i64, nanos: u32) -> bool {
        let day = seconds.div_euclid(SECONDS_A_DAY);
        let Some(date) = self.date(day) else {
            return false;
        };
        let second = seconds.rem_euclid(SECONDS_A_DAY) as u32;
        let mut text = [0; 22];
        text[0] = b'"';
        text[1..12].copy_from_slice(&date);
        for (at, value) in [(12, second / 3600), (15, second / 60 % 60), (18, second % 60)] {
            text[at] = b'0' + (value / 10) as u8;
            text[at + 1] = b'0' + (value % 10) as u8;
        }
        text[14] = b':';
        text[17] = b':';
        if nanos == 0 {
            text[20] = b'Z';
            text[21] = b'"';
            out.extend_from_slice(&text);
            return true;
        }
        out.extend_from_slice(&text[..20]);
        let fraction = format!(".{nanos:09}");
        out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
        out.extend_from_slice(b"Z\"");
        true
    }

    /// Appends a moment that was sent as RFC 3339, in whatever offset and precision.
    pub(crate) fn push_rfc3339(&mut self, out: &mut Vec<u8>, content: &[u8]) -> bool {
        let Some(moment) = std::str::from_utf8(content).ok().and_then(|text| text.parse::<Timestamp>().ok())
        else {
            return false;
        };
        let nanos = moment.as_nanosecond();
        self.push(out, nanos.div_euclid(1_000_000_000) as i64, nanos.rem_euclid(1_000_000_000) as u32)
    }

    /// As [`MomentWriter::push_rfc3339`]; a moment without an offset is in UTC.
    pub(crate) fn push_iso8601(&mut self, out: &mut Vec<u8>, content: &[u8]) -> bool {
        if self.push_rfc3339(out, content) {
            return true;
        }
        let Some(moment) = std::str::from_utf8(content)
            .ok()
            .and_then(|text| text.parse::<jiff::civil::DateTime>().ok())
            .and_then(|moment| jiff::tz::TimeZone::UTC.to_timestamp(moment).ok())
        else {
            return false;
        };
        self.push(out, moment.as_second(), moment.subsec_nanosecond().unsigned_abs())
    }

    fn date(&mut self, day: i64) -> Option<[u8; 11]> {
        if let Some((known, text)) = self.day
            && known == day
        {
            return Some(text);
        }
        let moment = Timestamp::from_second(day.checked_mul(SECONDS_A_DAY)?).ok()?;
        let date = jiff::tz::TimeZone::UTC.to_datetime(moment).date();
        if !(1..=9999).contains(&date.year()) {
            return None;
        }
        let text: [u8; 11] = format!("{date}T").into_bytes().try_into().ok()?;
        self.day = Some((day, text));
        Some(text)
    }
}

/// Whether a string's content is a date of the calendar.
pub(crate) fn is_date(content: &[u8]) -> bool {
    content.len() == 10
        && content[4] == b'-'
        && content[7] == b'-'
        && std::str::from_utf8(content).is_ok_and(|text| text.parse::<jiff::civil::Date>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> String {
        let mut out = Vec::new();
        push_decimal(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_keep_their_text_and_lose_their_exponent() {
        for (sent, kept) in [
            ("74.6099", "74.6099"),
            ("100.0", "100.0"),
            ("-0.5", "-0.5"),
            ("2.384421e+06", "2384421"),
            ("1.5E-3", "0.0015"),
            ("0e5", "0"),
            ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
            ("1.1000000000000000000000", "1.1000000000000000000000"),
            ("123456789012345678901", "123456789012345678901"),
            ("1e20", "100000000000000000000"),
            ("5.000000000000001e-05", "0.00005000000000000001"),
            ("1.7976931348623157e308", "1.7976931348623157e308"),
            ("-1E-61", "-1E-61"),
            ("1e99999999999", "1e99999999999"),
        ] {
            assert_eq!(decimal(sent), kept, "{sent}");
        }
    }

    #[test]
    fn integers_survive_a_change_of_form() {
        for (sent, value) in
            [("100", 100), ("100.0", 100), ("1.5e3", 1500), ("-0", 0), ("9223372036854775807", i64::MAX)]
        {
            assert_eq!(integer(sent.as_bytes()), Some(value), "{sent}");
        }
        for refused in ["1.5", "9223372036854775808", "1e30", "1e-1"] {
            assert_eq!(integer(refused.as_bytes()), None, "{refused}");
        }
    }

    #[test]
    fn moments_outside_the_calendar_are_refused() {
        let mut out = Vec::new();
        assert!(!MomentWriter::default().push(&mut out, i64::MAX, 0));
        assert!(!MomentWriter::default().push(&mut out, i64::MIN, 0));
        assert!(out.is_empty());
        assert!(MomentWriter::default().push_rfc3339(&mut out, b"2022-11-25T14:30:00.120+01:00"));
        assert_eq!(out, b"\"2022-11-25T13:30:00.12Z\"");
    }

    proptest! {
        #[test]
        fn moments_are_those_of_jiff(nanos in 0i128..4_102_444_800_000_000_000) {
            let mut out = Vec::new();
            let mut writer = MomentWriter::default();
            prop_assert!(writer.push(&mut out, (nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as u32));
            let text = std::str::from_utf8(&out).unwrap().trim_matches('"');
            prop_assert_eq!(text.parse::<Timestamp>().unwrap().as_nanosecond(), nanos);
            prop_assert!(!text.contains(".Z") && !text.contains("0Z") || !text.contains('.'));
        }

        #[test]
        fn a_decimal_is_the_number_that_was_sent(mantissa in -999_999_999i64..999_999_999, exponent in -9i32..9) {
            let sent = format!("{mantissa}e{exponent}");
            let kept = decimal(&sent);
            let expected = i128::from(mantissa) * 10i128.pow((exponent + 9) as u32);
            let (whole, fraction) = kept.split_once('.').unwrap_or((&kept, ""));
            let scaled: i128 = format!("{whole}{fraction:0<9}").parse().unwrap();
            prop_assert_eq!(scaled, expected, "{} became {}", sent, kept);
        }
    }
}
