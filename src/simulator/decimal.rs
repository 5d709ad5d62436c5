//! Exact decimal numbers, and the several ways in which the API writes one.

use std::cmp::Ordering;
use std::fmt;

/// `units` divided by ten to the power of `scale`, without trailing zeros after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    units: i128,
    scale: u32,
}

/// How a number is written. The value is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `1748755`, `1.5032`
    Plain,
    /// `1748755.0`; a number with a fraction is written as in [`Style::Plain`].
    PointZero,
    /// `2.384421e+06`
    Exponent,
}

impl Decimal {
    /// `units` divided by ten to the power of `scale`.
    pub const fn new(mut units: i128, mut scale: u32) -> Self {
        while scale > 0 && units % 10 == 0 {
            units /= 10;
            scale -= 1;
        }
        Self { units, scale }
    }

    /// A whole number.
    pub const fn integer(value: i64) -> Self {
        Self::new(value as i128, 0)
    }

    /// `numerator / denominator` rounded to `scale` digits, half away from zero.
    pub fn ratio(numerator: i128, denominator: i128, scale: u32) -> Self {
        Self::new(divide(numerator * 10_i128.pow(scale), denominator), scale)
    }

    /// The number as it is written without exponent.
    ///
    /// Returns `None` for what is not such a number.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        let scale = u32::try_from(fraction.len()).ok().filter(|scale| *scale <= 18)?;
        Some(Self::new(digits.parse::<i64>().ok()?.into(), scale))
    }

    /// The digits without their point, and how many of them stand after it.
    pub const fn parts(self) -> (i128, u32) {
        (self.units, self.scale)
    }

    /// Appends the number in the given style.
    pub fn write(self, style: Style, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let written = match style {
            Style::PointZero if self.scale == 0 => write!(out, "{self}.0"),
            Style::Exponent => write!(out, "{}", self.exponent_text()),
            Style::Plain | Style::PointZero => write!(out, "{self}"),
        };
        debug_assert!(written.is_ok(), "a vector takes everything");
    }

    fn exponent_text(self) -> String {
        let digits = self.units.unsigned_abs().to_string();
        let exponent = digits.len() as i64 - 1 - i64::from(self.scale);
        let (first, rest) = digits.split_at(1);
        let rest = rest.trim_end_matches('0');
        let sign = if self.units < 0 { "-" } else { "" };
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.units);
        }
        let sign = if self.units < 0 { "-" } else { "" };
        let one = 10_u128.pow(self.scale);
        let (whole, fraction) = (self.units.unsigned_abs() / one, self.units.unsigned_abs() % one);
        write!(f, "{sign}{whole}.{fraction:0width$}", width = self.scale as usize)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        let left = self.units * 10_i128.pow(scale - self.scale);
        left.cmp(&(other.units * 10_i128.pow(scale - other.scale)))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `numerator / denominator`, rounded half away from zero; `denominator` is positive.
pub fn divide(numerator: i128, denominator: i128) -> i128 {
    let half = denominator / 2;
    let shifted = if numerator < 0 { numerator - half } else { numerator + half };
    shifted / denominator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: Decimal, style: Style) -> String {
        let mut out = Vec::new();
        number.write(style, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_value_is_written_in_several_ways() {
        let volume = Decimal::integer(2_384_421);
        assert_eq!(written(volume, Style::Plain), "2384421");
        assert_eq!(written(volume, Style::PointZero), "2384421.0");
        assert_eq!(written(volume, Style::Exponent), "2.384421e+06");
        let price = Decimal::new(1_503_200, 6);
        assert_eq!(written(price, Style::Plain), "1.5032");
        assert_eq!(written(price, Style::PointZero), "1.5032");
        assert_eq!(written(price, Style::Exponent), "1.5032e+00");
        assert_eq!(written(Decimal::new(5, 4), Style::Plain), "0.0005");
        assert_eq!(written(Decimal::new(5, 4), Style::Exponent), "5e-04");
        assert_eq!(written(Decimal::integer(100), Style::Exponent), "1e+02");
        assert_eq!(written(Decimal::new(-125, 2), Style::Plain), "-1.25");
    }

    #[test]
    fn ratios_are_rounded_and_compared() {
        assert_eq!(Decimal::ratio(1, 56, 6).to_string(), "0.017857");
        assert_eq!(Decimal::ratio(1, 2, 0).to_string(), "1");
        assert_eq!(Decimal::ratio(-1, 2, 0).to_string(), "-1");
        assert!(Decimal::new(15, 1) > Decimal::integer(1));
        assert_eq!(Decimal::parse("0.590").unwrap(), Decimal::new(59, 2));
        assert_eq!(Decimal::parse("1e5"), None);
    }
}
