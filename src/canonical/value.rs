//! Values from outside to the canonical form, exactly.

/// A larger exponent than this in any number is not a price, a size or a time.
const EXPONENT_MAX: i32 = 60;

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

    proptest! {
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
