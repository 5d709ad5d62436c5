//! Finds secrets in a text, in every form that a server, a library or a log may
//! give them. No I/O, no globals.
//!
//! A secret is looked for byte by byte, where each byte may stand for itself or
//! be escaped, once or several times over: `%2B` and `%2b` of a URL, `+` of a
//! form, `\u002b` and `\/` of JSON, `&amp;` of HTML. Letters match in either case,
//! because header names and hosts are made small. In base64 a secret has three
//! forms, by where it begins in the three bytes that four characters hold; what
//! does not depend on its neighbours is looked for, and the character at either
//! end that holds some of its bits goes with it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::SECRET_BYTES_MIN;

/// What stands in a secret's place.
const BLOT: &str = "***";

/// How often an escape may be escaped again.
const ESCAPED_TIMES_MAX: usize = 3;

/// Looks for some secrets.
#[derive(Debug)]
pub(super) struct Redactor {
    needles: Vec<Needle>,
    /// The needles by the byte that their text may begin with, in small letters.
    by_first: Vec<Vec<u32>>,
    /// The bytes at which it is worth to look: few texts have many of them.
    begins: Vec<bool>,
}

/// A form of a secret.
#[derive(PartialEq, Eq)]
struct Needle {
    /// In small letters.
    bytes: Vec<u8>,
    alphabet: Alphabet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// The secret as it is.
    Plain,
    /// Base64; whether the character before and the one after hold some of its bits.
    Base64 { before: bool, after: bool },
}

impl std::fmt::Debug for Needle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Needle(..)")
    }
}

impl Redactor {
    /// One that looks for these secrets. Of one with several lines, such as a key in
    /// PEM form, each line is one too.
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for needle in secrets.flat_map(parts).flat_map(forms) {
            if !needles.contains(&needle) {
                needles.push(needle);
            }
        }
        let mut by_first = vec![Vec::new(); 256];
        for (index, needle) in (0..).zip(&needles) {
            for first in 0..=u8::MAX {
                if needle.is(needle.bytes[0], first) && !first.is_ascii_uppercase() {
                    by_first[usize::from(first)].push(index);
                }
            }
        }
        let begins = (0..=u8::MAX)
            .map(|byte| begins_escape(byte) || !by_first[usize::from(byte.to_ascii_lowercase())].is_empty())
            .collect();
        Self { needles, by_first, begins }
    }

    /// `text` with every secret in it blotted out.
    pub(super) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = String::new();
        let mut rest = 0;
        for (from, to) in self.found(text.as_bytes()) {
            shown.push_str(&text[rest..from]);
            shown.push_str(BLOT);
            rest = to;
        }
        if rest == 0 {
            return Cow::Borrowed(text);
        }
        shown.push_str(&text[rest..]);
        Cow::Owned(shown)
    }

    /// Whether a secret is in the text.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.each(text).next().is_some()
    }

    /// The pieces of the text that are secrets. Those that overlap are one: neither's
    /// rest may show.
    fn found(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (from, to) in self.each(text) {
            match found.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => found.push((from, to)),
            }
        }
        found
    }

    /// The longest secret that begins at each place of the text, where one does.
    fn each<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        let is_worth_it = |(_, byte): &(usize, &u8)| self.begins[usize::from(**byte)];
        text.iter().enumerate().filter(is_worth_it).filter_map(|(at, _)| self.found_at(text, at))
    }

    /// The longest secret that begins at `at`.
    fn found_at(&self, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let begin_with = |first: u8| &self.by_first[usize::from(first.to_ascii_lowercase())];
        let longest = |needles: &[u32]| {
            let needles = needles.iter().map(|index| &self.needles[*index as usize]);
            needles.filter_map(|needle| needle.range(text, at)).max_by_key(|(_, to)| *to)
        };
        let plain = longest(begin_with(text[at]));
        let escaped =
            escaped(text, at).into_iter().filter_map(|(unit, _)| longest(begin_with(unit.bytes[0])));
        plain.into_iter().chain(escaped).max_by_key(|(_, to)| *to)
    }
}

impl Needle {
    /// The piece of the text that begins at `at` and is this one: with the characters
    /// beside it that hold bits of the secret, and with the backslash whose escape it
    /// would cut.
    fn range(&self, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let mut to = self.end(&self.bytes, text, at)?;
        let mut from = at;
        if let Alphabet::Base64 { before, after } = self.alphabet {
            from -= if before { base64_before(&text[..from]) } else { 0 };
            to += if after { base64_after(&text[to..]) } else { 0 };
        }
        let backslashes = text[..from].iter().rev().take_while(|byte| **byte == b'\\').count();
        Some((from - backslashes % 2, to))
    }

    /// Where the text that spells `rest` from `at` on ends, if it does.
    fn end(&self, rest: &[u8], text: &[u8], at: usize) -> Option<usize> {
        match rest.first() {
            None => return Some(at),
            // A line break may be another one, or have been taken out.
            Some(b'\n') => return self.end(&rest[1..], text, past_breaks(text, at)),
            Some(_) => {}
        }
        let plain = self.plain(rest, text, at);
        let as_it_is = (plain > 0).then(|| self.end(&rest[plain..], text, at + plain)).flatten();
        let escaped = escaped(text, at).into_iter().filter_map(|(unit, next)| {
            let bytes = &unit.bytes[..unit.length];
            let is_it = bytes.len() <= rest.len()
                && rest.iter().zip(bytes).all(|(wanted, byte)| self.is(*wanted, *byte));
            is_it.then(|| self.end(&rest[bytes.len()..], text, next)).flatten()
        });
        // What may be read in two ways goes as far as the longer one.
        let doubled = self.end_of_backslashes(rest, text, at);
        as_it_is.into_iter().chain(doubled).chain(escaped).max()
    }

    /// As [`Needle::end`], of backslashes: however often they were doubled, the whole run
    /// of them is meant, because what follows is no backslash.
    fn end_of_backslashes(&self, rest: &[u8], text: &[u8], at: usize) -> Option<usize> {
        let run = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == b'\\').count();
        let (wanted, there) = (run(rest), run(text.get(at..).unwrap_or_default()));
        let may_be = wanted > 0 && there >= wanted;
        may_be.then(|| self.end(&rest[wanted..], text, at + there)).flatten()
    }

    /// How many bytes stand for themselves, up to the next one that may be something else.
    fn plain(&self, rest: &[u8], text: &[u8], at: usize) -> usize {
        let pairs = rest.iter().zip(text.get(at..).unwrap_or_default()).enumerate();
        let same = |(index, (wanted, byte)): &(usize, (&u8, &u8))| {
            **wanted != b'\n' && self.is(**wanted, **byte) && (*index == 0 || !begins_escape(**byte))
        };
        pairs.take_while(same).count()
    }

    fn is(&self, wanted: u8, byte: u8) -> bool {
        let in_url = match (self.alphabet, byte) {
            (Alphabet::Base64 { .. }, b'-') => b'+',
            (Alphabet::Base64 { .. }, b'_') => b'/',
            (_, byte) => byte.to_ascii_lowercase(),
        };
        in_url == wanted
    }
}

/// Bytes of the character of base64 that the text ends with.
fn base64_before(text: &[u8]) -> usize {
    match text {
        [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
        [.., last] if is_base64(*last) => 1,
        _ => 0,
    }
}

/// Bytes of the character of base64 that the text begins with.
fn base64_after(text: &[u8]) -> usize {
    match text {
        [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
        [first, ..] if is_base64(*first) => 1,
        _ => 0,
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// A secret, and its lines where it has several: each that is long enough and no mere
/// heading, as the first and the last of a key in PEM form are.
fn parts(secret: &str) -> Vec<&str> {
    let whole = secret.trim();
    // A key pasted into one line has `\n` for its line breaks.
    let lines = whole.lines().flat_map(|line| line.split("\\n")).map(str::trim);
    let lines = lines.filter(|line| line.len() >= SECRET_BYTES_MIN && !line.starts_with("-----"));
    std::iter::once(whole).chain(lines.filter(|line| *line != whole)).collect()
}

/// The forms of a text: as it is, and three of base64.
fn forms(text: &str) -> Vec<Needle> {
    let base64 = (0..3_usize).map(|offset| {
        let bytes = [vec![0; offset], text.as_bytes().to_vec()].concat();
        let encoded = STANDARD_NO_PAD.encode(&bytes);
        // Those that hold bits of what stands before, and the one with some of what follows.
        let (before, after) = ([0, 2, 3][offset], !bytes.len().is_multiple_of(3));
        let core = &encoded[before..encoded.len() - usize::from(after)];
        Needle { bytes: folded(core), alphabet: Alphabet::Base64 { before: offset != 0, after } }
    });
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let plain = Needle { bytes: folded(&lines.join("\n")), alphabet: Alphabet::Plain };
    std::iter::once(plain).chain(base64).collect()
}

fn folded(text: &str) -> Vec<u8> {
    text.as_bytes().to_ascii_lowercase()
}

/// What an escape stands for: the bytes of one character.
#[derive(Debug, Clone, Copy)]
struct Unit {
    bytes: [u8; 4],
    length: usize,
}

impl Unit {
    fn byte(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0, 0], length: 1 }
    }

    fn character(character: char) -> Self {
        let mut bytes = [0; 4];
        let length = character.encode_utf8(&mut bytes).len();
        Self { bytes, length }
    }
}

fn begins_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'+' | b'\\' | b'&')
}

/// What the text at `at` may stand for, besides itself, and where that ends.
fn escaped(text: &[u8], at: usize) -> Vec<(Unit, usize)> {
    match text.get(at) {
        Some(b'+') => vec![(Unit::byte(b' '), at + 1)],
        Some(b'%') => of_url(text, at),
        Some(b'\\') => of_json(text, at),
        Some(b'&') => of_html(text, at).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// `%2B`, and `%252B`, which is that escaped again.
fn of_url(text: &[u8], at: usize) -> Vec<(Unit, usize)> {
    let mut units = Vec::new();
    for again in 0..ESCAPED_TIMES_MAX {
        let digits = at + 1 + 2 * again;
        let Some(byte) = number(text, digits, 2) else { break };
        units.push((Unit::byte(byte as u8), digits + 2));
        if byte != u32::from(b'%') {
            break;
        }
    }
    units
}

/// `\u002b`, `\/`, `\n`; with more backslashes where it was escaped again.
fn of_json(text: &[u8], at: usize) -> Vec<(Unit, usize)> {
    let letter = at + text[at..].iter().take_while(|byte| **byte == b'\\').count();
    let mut units = Vec::new();
    let control = match text.get(letter) {
        Some(b'u') => {
            units.extend(of_code(text, letter + 1));
            None
        }
        Some(byte @ (b'/' | b'"' | b'\'')) => Some(*byte),
        Some(b'n') => Some(b'\n'),
        Some(b'r') => Some(b'\r'),
        Some(b't') => Some(b'\t'),
        _ => None,
    };
    units.extend(control.map(|byte| (Unit::byte(byte), letter + 1)));
    units
}

/// The character of `002b`, of two such that are one, or of Rust's `{2b}`.
fn of_code(text: &[u8], at: usize) -> Option<(Unit, usize)> {
    if text.get(at) == Some(&b'{') {
        let length = text[at + 1..].iter().take(7).position(|byte| *byte == b'}')?;
        let character = char::from_u32(number(text, at + 1, length)?)?;
        return Some((Unit::character(character), at + length + 2));
    }
    let first = number(text, at, 4)?;
    if let Some(character) = char::from_u32(first) {
        return Some((Unit::character(character), at + 4));
    }
    let backslashes = text[at + 4..].iter().take_while(|byte| **byte == b'\\').count();
    let second = at + 4 + backslashes + 1;
    let units = [u16::try_from(first).ok()?, u16::try_from(number(text, second, 4)?).ok()?];
    let character = char::decode_utf16(units).next()?.ok()?;
    Some((Unit::character(character), second + 4))
}

/// `&amp;`, `&#43;`, `&#x2b;`
fn of_html(text: &[u8], at: usize) -> Option<(Unit, usize)> {
    const LENGTH_MAX: usize = 10;
    let length = text[at + 1..].iter().take(LENGTH_MAX).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&text[at + 1..at + 1 + length]).ok()?;
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let code = name.strip_prefix('#')?;
            let code = match code.strip_prefix(['x', 'X']) {
                Some(code) => u32::from_str_radix(code, 16),
                None => code.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((Unit::character(character), at + length + 2))
}

/// The number that so many hexadecimal digits are.
fn number(text: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = text.get(at..at + digits).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Past line breaks and blanks, also escaped ones.
fn past_breaks(text: &[u8], at: usize) -> usize {
    let mut at = at;
    loop {
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r' | b'\t' | b' ');
        let escape = || {
            let escaped = escaped(text, at).into_iter().filter(|_| text[at] != b'+');
            escaped.into_iter().find(|(unit, _)| is_break(&unit.bytes[0])).map(|(_, next)| next)
        };
        match text.get(at) {
            Some(byte) if is_break(byte) => at += 1,
            Some(_) => match escape() {
                Some(next) => at = next,
                None => return at,
            },
            None => return at,
        }
    }
}

#[cfg(test)]
mod tests;
