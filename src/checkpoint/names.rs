//! Names of partitions as one text: sorted, each by how much it shares with the
//! one before. Ten thousand tickers take four bytes each.
//!
//! A name is the number of bytes that it shares with the name before it, the number
//! of bytes that follow, and these. Numbers are written in base 32, the lowest digit
//! first, each digit one of 64 characters: the second half of them says that
//! another digit follows. So any character may be in a name, and no text is cut
//! inside of one.

use std::sync::Arc;

/// Digits of numbers; those from [`MORE`] on are followed by another.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// The base of numbers.
const MORE: usize = 32;

/// No name has more bytes: a number has four digits at most.
const LENGTH_MAX: usize = 1 << 20;

/// Appends names in their order.
#[derive(Debug, Default)]
pub(super) struct Packer<'a> {
    text: String,
    before: &'a str,
}

impl<'a> Packer<'a> {
    /// Appends a name, which is not before the last one.
    pub(super) fn push(&mut self, name: &'a str) {
        let shared = shared(self.before, name);
        push_number(&mut self.text, shared);
        push_number(&mut self.text, name.len() - shared);
        self.text.push_str(&name[shared..]);
        self.before = name;
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Bytes of whole characters that both begin with.
fn shared(before: &str, name: &str) -> usize {
    let mut same = before.bytes().zip(name.bytes()).take_while(|(before, name)| before == name).count();
    while !name.is_char_boundary(same) {
        same -= 1;
    }
    same
}

fn push_number(text: &mut String, mut number: usize) {
    while number >= MORE {
        text.push(char::from(DIGITS[MORE + number % MORE]));
        number /= MORE;
    }
    text.push(char::from(DIGITS[number]));
}

/// The names of a text, if it is one.
pub(super) fn unpack(text: &str) -> Option<Vec<Arc<str>>> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let shared = take_number(&mut rest)?;
        let length = take_number(&mut rest)?;
        if !name.is_char_boundary(shared) {
            return None;
        }
        name.truncate(shared);
        let (new, after) = rest.split_at_checked(length)?;
        name.push_str(new);
        rest = after;
        names.push(Arc::from(name.as_str()));
    }
    Some(names)
}

fn take_number(rest: &mut &str) -> Option<usize> {
    let (mut number, mut unit) = (0, 1);
    loop {
        let (digit, after) = rest.split_at_checked(1)?;
        let digit = DIGITS.iter().position(|known| digit.as_bytes()[0] == *known)?;
        *rest = after;
        number += digit % MORE * unit;
        if digit < MORE {
            return Some(number).filter(|number| *number <= LENGTH_MAX);
        }
        unit *= MORE;
        if unit > LENGTH_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
        let mut packer = Packer::default();
        names.into_iter().for_each(|name| packer.push(name));
        packer.finish()
    }

    #[test]
    fn the_text_is_as_it_was_for_ever() {
        let names = ["A", "AA", "AAL", "AAPL", "BRK.A", "BRK.B", "Ä, \"x\""];
        let text = "01A11A21L22PL05BRK.A41B07Ä, \"x\"";
        assert_eq!(pack(names), text);
        let long = "O:AAPL251219C00200000 and as far as it goes";
        assert_eq!(pack([long]), format!("0h1{long}"));
        assert_eq!(unpack(text).unwrap(), names.map(Arc::from));
    }

    #[test]
    fn what_is_no_such_text_is_refused() {
        for text in ["0", "01", "02A", "11A", "0!A", "01Ä", "02Ä11x", "zzzzzzzz", "01A0", "01A2 "] {
            assert_eq!(unpack(text), None, "{text:?}");
        }
        // An é and an è share their first byte, and no name shares half a character.
        assert_eq!(pack(["é", "è"]), "02é02è");
    }

    proptest! {
        #[test]
        fn any_names_come_back(names in prop::collection::btree_set("[A-C]{0,3}\\PC{0,3}|.{0,40}|\\s|[\",\\\\]{1,3}|x{1000,1100}", 0..40)) {
            let text = pack(names.iter().map(String::as_str));
            let back = unpack(&text).unwrap();
            prop_assert!(back.iter().map(|name| &**name).eq(names.iter().map(String::as_str)));
        }

        #[test]
        fn no_text_does_any_harm(text in ".{0,60}") {
            if let Some(names) = unpack(&text) {
                prop_assert!(names.iter().map(|name| name.len()).sum::<usize>() <= text.len() * text.len());
            }
        }
    }
}
