//! How many digits a decimal column has.
//!
//! Columns are as narrow as their values allow, because the product of two decimals
//! has the digits of both: a warehouse with 38 of them multiplies two numbers of 18
//! digits and fails on two of 38.

use std::fmt;

/// The digits of a decimal column: `DECIMAL(precision, scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Width {
    precision: u8,
    scale: u8,
}

/// The digits that one number has, without zeros that say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Digits before the point.
    pub whole: usize,
    /// Digits after it.
    pub scale: usize,
}

impl Width {
    /// The most digits that warehouses have.
    pub const PRECISION_MAX: u8 = 38;
    /// As many digits as 64 bits hold, the least that a column has: fewer save nothing.
    pub const NARROW: u8 = 18;

    /// Prices, amounts a share and ratios of listed securities: up to a billion, in the
    /// fixed point that market data commonly has.
    ///
    /// DuckDB multiplies two narrow decimals in 18 digits, unless their scales add up to
    /// 18 or more: two of these have room, one of these and one of scale 6 have not.
    pub const PRICE: Self = Self::new(18, 9);
    /// Shares of a trade, with their fractions.
    pub const SIZE: Self = Self::PRICE;
    /// Shares of a day or of a bar: sums, of which people take percentages. Coins have
    /// more after the point and need a width of their own.
    pub const VOLUME: Self = Self::new(24, 6);
    /// Values of whole companies, and their shares.
    pub const AMOUNT: Self = Self::new(24, 4);
    /// Numbers of which nothing is known: the fewer digits before the point a column keeps
    /// for what may come, the more it has for those of a small number, which are 17 and more
    /// where a double was printed.
    pub const UNKNOWN: Self = Self::new(18, 9);
    /// Numbers in a primary key at most: a column that is no wider can be widened for any two
    /// of them, so that it does not depend on the rows before it whether a row has a key.
    pub const KEY: Self = Self::new(38, 18);

    /// `precision` digits in all, [`Width::NARROW`] to [`Width::PRECISION_MAX`], `scale`
    /// of them after the point.
    ///
    /// # Panics
    /// When there is no such decimal: in a constant, when it is compiled.
    pub const fn new(precision: u8, scale: u8) -> Self {
        assert!(precision >= Self::NARROW && precision <= Self::PRECISION_MAX && scale <= precision);
        Self { precision, scale }
    }

    /// The narrowest column with so many digits before and after the point, if there is one.
    pub fn of(need: Need) -> Option<Self> {
        let precision = u8::try_from(need.whole + need.scale).ok()?.max(Self::NARROW);
        let fits = precision <= Self::PRECISION_MAX;
        fits.then_some(Self { precision, scale: need.scale as u8 })
    }

    /// All digits.
    pub fn precision(self) -> u8 {
        self.precision
    }

    /// Digits after the point.
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Digits before the point.
    pub fn whole(self) -> u8 {
        self.precision - self.scale
    }

    /// Whether 64 bits hold its numbers.
    pub fn is_narrow(self) -> bool {
        self.precision <= Self::NARROW
    }

    /// Whether a number with these digits fits.
    pub fn holds(self, need: Need) -> bool {
        need.whole <= usize::from(self.whole()) && need.scale <= usize::from(self.scale)
    }

    /// Whether every number of `other` fits.
    pub fn covers(self, other: Self) -> bool {
        self.holds(other.need())
    }

    /// The narrowest column that holds these numbers and all that this one may hold, if
    /// there is one.
    pub fn with(self, need: Need) -> Option<Self> {
        let own = self.need();
        Self::of(Need { whole: own.whole.max(need.whole), scale: own.scale.max(need.scale) })
    }

    /// The digits that its longest numbers have.
    pub fn need(self) -> Need {
        Need { whole: self.whole().into(), scale: self.scale.into() }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.precision, self.scale)
    }
}

impl Need {
    /// The digits of a JSON number; `None` when it has an exponent: canonical numbers
    /// have one only where no decimal holds them.
    pub fn of(number: &[u8]) -> Option<Self> {
        let digits = number.strip_prefix(b"-").unwrap_or(number);
        if !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
            return None;
        }
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
        let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
        let leading = whole.iter().take_while(|byte| **byte == b'0').count();
        let trailing = fraction.iter().rev().take_while(|byte| **byte == b'0').count();
        Some(Self { whole: whole.len() - leading, scale: fraction.len() - trailing })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_column_widens_by_what_is_needed_and_no_more() {
        let need = |number: &str| Need::of(number.as_bytes()).unwrap();
        assert_eq!(Width::PRICE.with(need("123456789.123456789")), Some(Width::PRICE));
        assert_eq!(Width::PRICE.with(need("0.00000000010")), Some(Width::new(19, 10)));
        assert_eq!(Width::PRICE.with(need("-1234567890")), Some(Width::new(19, 9)));
        assert_eq!(Width::VOLUME.with(need("100000000000000000000")), Some(Width::new(27, 6)));
        assert_eq!(Width::PRICE.with(need("100000000000000000000000000000")), None);
        assert_eq!(Need::of(b"1e300"), None);
        assert_eq!(need("0.0"), Need { whole: 0, scale: 0 });
        assert_eq!(Width::PRICE.to_string(), "(18,9)");
    }

    proptest! {
        #[test]
        fn a_wider_column_holds_both(whole in 0..60_usize, scale in 0..60_usize, have in 18..=38_u8, of_it in 0..=18_u8) {
            let (have, need) = (Width::new(have, of_it), Need { whole, scale });
            match have.with(need) {
                Some(wider) => prop_assert!(wider.holds(need) && wider.covers(have)),
                None => prop_assert!(whole.max(have.whole().into()) + scale.max(have.scale().into()) > 38),
            }
        }
    }
}
