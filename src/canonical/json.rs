//! A strict scanner over JSON text that yields slices of it.
//!
//! Rows are copied from the API's text to ours without parsing numbers, so this
//! scanner only finds where values begin and end, and refuses everything that
//! RFC 8259 refuses: a page that was cut anywhere is an error.

use std::borrow::Cow;

/// Nesting deeper than this is refused; the API's deepest answer has 6 levels.
const DEPTH_MAX: u32 = 64;

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
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn slice(&self, from: usize) -> &'a [u8] {
        &self.text[from..self.at]
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
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a [u8]> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if *byte >= b' ' => self.at += 1,
                _ => return self.fail("a closed string"),
            }
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
    fn number(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
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
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
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
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'{' | b'[') => {
                let start = self.at;
                self.nested(DEPTH_MAX)?;
                Ok(Value::Nested(&self.text[start..self.at]))
            }
            Some(b't') => self.literal(b"true", Value::Boolean(true)),
            Some(b'f') => self.literal(b"false", Value::Boolean(false)),
            Some(b'n') => self.literal(b"null", Value::Null),
            _ => self.fail("a JSON value"),
        }
    }

    fn nested(&mut self, depth: u32) -> Result<()> {
        if depth == 0 {
            return self.fail("less nesting");
        }
        if self.take(b'[') {
            if self.take(b']') {
                return Ok(());
            }
            loop {
                self.nested_value(depth)?;
                if !self.take(b',') {
                    return self.expect(b']', "`,` or `]`");
                }
            }
        }
        self.expect(b'{', "an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.string()?;
            self.expect(b':', "`:`")?;
            self.nested_value(depth)?;
            if !self.take(b',') {
                return self.expect(b'}', "`,` or `}`");
            }
        }
    }

    fn nested_value(&mut self, depth: u32) -> Result<()> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(depth - 1),
            _ => self.value().map(drop),
        }
    }
}

/// The text that a string's content stands for.
pub(crate) fn unescape(content: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(content);
    if !content.contains(&b'\\') {
        return text;
    }
    match serde_json::from_str(&format!("\"{text}\"")) {
        Ok(unescaped) => Cow::Owned(unescaped),
        // A lone surrogate: valid JSON that stands for no text.
        Err(_) => text,
    }
}

/// Appends a nested value without the white space between its tokens.
pub(crate) fn push_compact(out: &mut Vec<u8>, nested: &[u8]) {
    let mut in_string = false;
    let mut escaped = false;
    for &byte in nested {
        if in_string {
            out.push(byte);
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                in_string = false;
            }
        } else if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            out.push(byte);
            in_string = byte == b'"';
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value().is_ok() && scanner.peek().is_none()
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value as Json;
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            ".*".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                prop::collection::vec((".*", inner), 0..5)
                    .prop_map(|entries| Json::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn takes_what_is_json_and_no_part_of_it(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert!(accepts(text.as_bytes()));
            if value.is_object() || value.is_array() || value.is_string() {
                for cut in 0..text.len() {
                    prop_assert!(!accepts(&text.as_bytes()[..cut]), "{}", &text[..cut]);
                }
                let mut compact = Vec::new();
                push_compact(&mut compact, text.as_bytes());
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&compact).unwrap(), value);
            }
        }

        /// One changed byte: never more lenient than serde_json.
        #[test]
        fn is_as_strict_as_serde(value in json(), at in any::<prop::sample::Index>(), byte in 0u8..128) {
            let mut text = serde_json::to_vec(&value).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            if std::str::from_utf8(&text).is_ok() {
                let strict = serde_json::from_slice::<serde_json::Value>(&text);
                // serde_json refuses numbers beyond a double and lone surrogates; the text is JSON all the same.
                let tolerable = strict.as_ref().is_err_and(|error| {
                    let message = error.to_string();
                    message.contains("out of range") || message.contains("surrogate") || message.contains("hex escape")
                });
                prop_assert!(strict.is_ok() == accepts(&text) || tolerable, "{}", String::from_utf8_lossy(&text));
            }
        }
    }
}
