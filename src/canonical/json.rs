//! A strict scanner over JSON text that yields slices of it.
//!
//! Rows are copied from the API's text to ours without parsing numbers, so this
//! scanner only finds where values begin and end: a page that was cut anywhere is an
//! error. It refuses what RFC 8259 refuses, except what has one meaning all the same:
//! control characters in strings, and `NaN`, `Infinity` and `-Infinity`, which are read
//! as strings. Of those and of everything else that not every reader of JSON takes it
//! says that it is [odd](Scanner::take_odd); [`super::mend`] makes something of it
//! that they do.

use std::borrow::Cow;

/// Values may nest so deep before they are odd; the API's deepest answer has 6 levels.
pub(super) const DEPTH_MAX: usize = 64;

/// A number with a longer text, or an exponent of more digits, may be none that a
/// double reaches.
const PLAIN_NUMBER_MAX: usize = 300;
const PLAIN_EXPONENT_MAX: usize = 2;

/// Why the text is not JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What was expected.
    pub expected: &'static str,
    /// Byte offset in the text.
    pub offset: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.offset)
    }
}

impl std::error::Error for Malformed {}

type Result<T> = std::result::Result<T, Malformed>;

/// A value's text by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// The text between the quotes, escapes as written.
    String(&'a [u8]),
    /// The number as written.
    Number(&'a [u8]),
    /// `true` or `false`.
    Boolean(bool),
    /// `null`.
    Null,
    /// The whole array or object as written.
    Nested(&'a [u8]),
}

/// Reads forward over a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last value began.
    begun: usize,
    is_odd: bool,
    /// Whether the text is not UTF-8.
    is_torn: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, begun: 0, is_odd: false, is_torn: false }
    }

    /// Over a text of which nobody said that it is UTF-8: if it is not, all of it is odd.
    pub(crate) fn foreign(text: &'a [u8]) -> Self {
        let is_torn = std::str::from_utf8(text).is_err();
        Self { is_odd: is_torn, is_torn, ..Self::new(text) }
    }

    /// Whether something since the last call was odd: an escape that may be half of a
    /// surrogate pair, a control character, a number that is none or may be beyond a
    /// double, deep nesting.
    #[inline]
    pub(crate) fn take_odd(&mut self) -> bool {
        let is_odd = self.is_odd;
        if is_odd {
            self.is_odd = self.is_torn;
        }
        is_odd
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn slice(&self, from: usize) -> &'a [u8] {
        &self.text[from..self.at]
    }

    /// The text of the value that was read last.
    #[inline]
    pub(crate) fn last_value(&self) -> &'a [u8] {
        self.slice(self.begun)
    }

    #[inline]
    fn fail<T>(&self, expected: &'static str) -> Result<T> {
        Err(Malformed { expected, offset: self.at })
    }

    /// The next byte that is not white space, which stays.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next after white space.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<()> {
        if self.take(byte) { Ok(()) } else { self.fail(expected) }
    }

    /// A string's content, escapes as written.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<&'a [u8]> {
        self.content(false)
    }

    /// As [`Self::string`]. Keys are short, and values may be long: looking at several
    /// bytes at a time is worth it for these only.
    #[inline(always)]
    fn content(&mut self, is_long: bool) -> Result<&'a [u8]> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        loop {
            if is_long {
                self.skip_plain();
            }
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if *byte >= b' ' => self.at += 1,
                Some(_) => {
                    self.is_odd = true;
                    self.at += 1;
                }
                None => return self.fail("a closed string"),
            }
        }
    }

    /// Passes over what lies in a string without a meaning, eight bytes at a time; it
    /// may stop before its end.
    #[inline]
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        // The highest bit of each byte that is zero, and perhaps of some after it.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
        while let Some(bytes) = self.text[self.at..].first_chunk() {
            let word = u64::from_le_bytes(*bytes);
            let control = word.wrapping_sub(ONES * 0x20) & !word & (ONES << 7);
            let quote = zeros(word ^ (ONES * u64::from(b'"')));
            let escape = zeros(word ^ (ONES * u64::from(b'\\')));
            let found = control | quote | escape;
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Result<()> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("four hexadecimal digits");
                }
                self.is_odd = true;
                self.at += 6;
            }
            _ => return self.fail("an escape"),
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fail("a digit") } else { Ok(()) }
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'a>> {
        let start = self.at;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
            if self.text.get(self.at) == Some(&b'I') {
                self.at = start;
                return self.no_number(b"-Infinity");
            }
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            let exponent = self.at;
            self.digits()?;
            self.is_odd |= self.at - exponent > PLAIN_EXPONENT_MAX;
        }
        if self.at - start > PLAIN_NUMBER_MAX {
            self.is_odd = true;
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    /// One of the words that stand for a number and are none.
    fn no_number(&mut self, word: &'static [u8]) -> Result<Value<'a>> {
        self.is_odd = true;
        self.literal(word, Value::String(word))
    }

    fn literal(&mut self, word: &'static [u8], value: Value<'a>) -> Result<Value<'a>> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            self.fail("a JSON value")
        }
    }

    /// The next value, whatever it is.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value<'a>> {
        let first = self.peek();
        self.begun = self.at;
        match first {
            Some(b'"') => self.content(true).map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{' | b'[') => {
                let start = self.at;
                self.nested()?;
                self.begun = start;
                Ok(Value::Nested(&self.text[start..self.at]))
            }
            Some(b't') => self.literal(b"true", Value::Boolean(true)),
            Some(b'f') => self.literal(b"false", Value::Boolean(false)),
            Some(b'n') => self.literal(b"null", Value::Null),
            Some(b'N') => self.no_number(b"NaN"),
            Some(b'I') => self.no_number(b"Infinity"),
            _ => self.fail("a JSON value"),
        }
    }

    /// An array or object, without recursion: a text may nest as deep as it is long.
    fn nested(&mut self) -> Result<()> {
        let mut open = Levels::default();
        loop {
            let (close, is_object) = match self.peek() {
                Some(b'{') => (b'}', true),
                Some(b'[') => (b']', false),
                _ => {
                    self.value()?;
                    if self.ended(&mut open)? {
                        return Ok(());
                    }
                    continue;
                }
            };
            self.at += 1;
            open.push(is_object);
            if !self.take(close) {
                if is_object {
                    self.member()?;
                }
                continue;
            }
            open.pop();
            if self.ended(&mut open)? {
                return Ok(());
            }
        }
    }

    /// What follows a value inside of arrays and objects, up to the next value; true
    /// when all of them are closed.
    #[inline]
    fn ended(&mut self, open: &mut Levels) -> Result<bool> {
        while let Some(is_object) = open.last() {
            if self.take(b',') {
                if is_object {
                    self.member()?;
                }
                return Ok(false);
            }
            if is_object {
                self.expect(b'}', "`,` or `}`")?
            } else {
                self.expect(b']', "`,` or `]`")?
            }
            open.pop();
        }
        self.is_odd |= open.deepest > DEPTH_MAX;
        Ok(true)
    }

    /// A member's key and colon.
    fn member(&mut self) -> Result<()> {
        self.string()?;
        self.expect(b':', "`:`")
    }
}

/// The arrays and objects that are open, a bit each: set for an object.
#[derive(Debug, Default)]
struct Levels {
    /// The innermost up to 64.
    bits: u64,
    /// Whole words of those around them.
    outer: Vec<u64>,
    depth: usize,
    deepest: usize,
}

impl Levels {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(std::mem::take(&mut self.bits));
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    #[inline]
    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or(0);
        }
    }

    #[inline]
    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

/// The text that a string's content stands for. What is no character, half of a
/// surrogate pair or bytes that are not UTF-8, is U+FFFD in it.
pub(crate) fn unescape(content: &[u8]) -> Cow<'_, str> {
    if !content.contains(&b'\\') {
        return String::from_utf8_lossy(content);
    }
    let mut text = Vec::with_capacity(content.len());
    push_unescaped(&mut text, content);
    // Escapes stand for whole characters, so that only what lay between them may be torn.
    Cow::Owned(
        String::from_utf8(text).unwrap_or_else(|torn| String::from_utf8_lossy(torn.as_bytes()).into_owned()),
    )
}

/// Appends a string's content without its escapes; see [`unescape`].
pub(crate) fn push_unescaped(out: &mut Vec<u8>, mut content: &[u8]) {
    while let Some(found) = memchr::memchr(b'\\', content) {
        out.extend_from_slice(&content[..found]);
        let plain = match content.get(found + 1) {
            Some(b'u') => {
                let (character, length) = unicode(&content[found..]);
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                content = content.get(found + length..).unwrap_or_default();
                continue;
            }
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(byte) => *byte,
            None => b'\\',
        };
        out.push(plain);
        content = content.get(found + 2..).unwrap_or_default();
    }
    out.extend_from_slice(content);
}

/// The character of `\uXXXX` at the start of the text, or of a pair of them, and the
/// length of what it took; none for half of a pair.
pub(super) fn unicode(text: &[u8]) -> (Option<char>, usize) {
    let unit = |start: usize| -> Option<u32> {
        let escape = text.get(start..start + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        u32::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(first @ 0xD800..=0xDBFF), Some(second @ 0xDC00..=0xDFFF)) => {
            (char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12)
        }
        (first, _) => (first.and_then(char::from_u32), 6),
    }
}

#[cfg(test)]
mod tests;
