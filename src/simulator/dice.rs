//! Seeded chance: everything that happens in the synthetic market comes from
//! here. The generator is written out, so that a seed means the same market on
//! every machine and after every update of a dependency.

/// A stream of pseudo-random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream that these numbers name.
    pub fn of(parts: &[u64]) -> Self {
        Self(mix(parts))
    }

    /// 64 random bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        finish(self.0)
    }

    /// A number below `count`, which is at least 1.
    pub fn below(&mut self, count: u64) -> u64 {
        let product = u128::from(self.roll()) * u128::from(count);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// A number from `low` to `high`, both inclusive.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low.saturating_add_unsigned(self.below(high.abs_diff(low) + 1))
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or_default()]
    }

    /// A number in [-1, 1).
    pub fn signed_unit(&mut self) -> f64 {
        signed_unit(self.roll())
    }
}

/// `bits` as a number in [-1, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
pub fn signed_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// One number made of several; order matters.
pub fn mix(parts: &[u64]) -> u64 {
    let mut state = 0x51_7C_C1_B7_27_22_0A_95_u64;
    for part in parts {
        state =
            finish((state ^ *part).wrapping_mul(0xD6E8_FEB8_6659_FD93).wrapping_add(0x9E37_79B9_7F4A_7C15));
    }
    state
}

/// A text as a number (FNV-1a).
pub fn hash_text(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// `count` hexadecimal digits made of `parts`.
pub fn hex(parts: &[u64], count: usize) -> String {
    let mut dice = Dice::of(parts);
    let mut text = String::with_capacity(count + 16);
    while text.len() < count {
        text.push_str(&format!("{:016x}", dice.roll()));
    }
    text.truncate(count);
    text
}

fn finish(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_for_ever() {
        let mut dice = Dice::of(&[7, 1]);
        let rolls = [dice.roll(), dice.roll()];
        assert_eq!(rolls, {
            let mut again = Dice::of(&[7, 1]);
            [again.roll(), again.roll()]
        });
        assert_ne!(mix(&[7, 1]), mix(&[1, 7]));
        for _ in 0..1000 {
            assert!((-3..=4).contains(&dice.between(-3, 4)));
            assert!((-1.0..1.0).contains(&dice.signed_unit()));
        }
    }
}
