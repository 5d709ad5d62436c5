//! JSON that every reader of JSON takes, made of what only some take.
//!
//! Warehouses differ in what they refuse: DuckDB half of a surrogate pair, Snowflake a
//! key that an object has twice, either a number beyond a double or nesting without
//! end. A row is refused by none, and is the same in each, when it holds none of them:
//! half of a pair, and bytes that are not UTF-8, become U+FFFD; of a key that repeats
//! the last value stays; numbers that are none or that no double reaches become
//! strings, and so does what nests deeper than [`DEPTH_MAX`].

use std::collections::HashMap;
use std::ops::Range;

use super::json::{DEPTH_MAX, Scanner, Value, unescape, unicode};

/// The object's members below which each key is compared with each: looking them up
/// costs more.
const FEW_MEMBERS: usize = 16;

/// JSON text in this form. The text must be one whole value.
pub(crate) fn mended(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    push_value(&mut out, text, &mut Nesting::default());
    out
}

/// Appends one whole value. Returns whether it could not stay the same value.
pub(super) fn push_value(out: &mut Vec<u8>, text: &[u8], nesting: &mut Nesting) -> bool {
    if !matches!(text.first(), Some(b'{' | b'[')) {
        let value = Scanner::new(text).value();
        return value.map_or(true, |value| push_scalar(out, value, text));
    }
    let start = out.len();
    let told = nesting.push(out, text);
    if told.depth <= DEPTH_MAX {
        return told.is_changed;
    }
    let compact = String::from_utf8_lossy(&out.split_off(start)).into_owned();
    out.extend_from_slice(serde_json::Value::from(compact).to_string().as_bytes());
    true
}

/// Appends a value that is neither array nor object, `text` as it was written.
fn push_scalar(out: &mut Vec<u8>, value: Value<'_>, text: &[u8]) -> bool {
    match value {
        Value::String(content) => {
            out.push(b'"');
            let is_changed = push_content(out, content);
            out.push(b'"');
            // Without quotes it was the name of something that is no number.
            is_changed || text.first() != Some(&b'"')
        }
        Value::Number(number) if number.len() >= 5 && double(number).is_none() => {
            out.push(b'"');
            out.extend_from_slice(number);
            out.push(b'"');
            true
        }
        _ => {
            out.extend_from_slice(text);
            false
        }
    }
}

/// The double nearest to a JSON number; `None` where there is none near, but infinity or,
/// for a number that is not, zero.
pub(crate) fn double(number: &[u8]) -> Option<f64> {
    let mantissa = number.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let is_zero = mantissa.iter().all(|byte| matches!(byte, b'0' | b'.' | b'-'));
    let near = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
    near.filter(|near| near.is_finite() && (*near != 0.0 || is_zero))
}

/// Appends a string's content. Returns whether it is another text now.
pub(super) fn push_content(out: &mut Vec<u8>, content: &[u8]) -> bool {
    let mut is_changed = false;
    for chunk in content.utf8_chunks() {
        is_changed |= push_text(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
            is_changed = true;
        }
    }
    is_changed
}

fn push_text(out: &mut Vec<u8>, mut text: &[u8]) -> bool {
    let mut is_changed = false;
    while let Some(found) = text.iter().position(|byte| *byte == b'\\' || *byte < b' ') {
        out.extend_from_slice(&text[..found]);
        let rest = &text[found..];
        let used = match rest {
            [b'\\', b'u', ..] => {
                let (character, length) = unicode(rest);
                is_changed |= character.is_none();
                out.extend_from_slice(if character.is_none() { b"\\ufffd" } else { &rest[..length] });
                length
            }
            // The second byte may be a torn one, which is in the next chunk.
            [b'\\', ..] => {
                let pair = &rest[..rest.len().min(2)];
                out.extend_from_slice(pair);
                pair.len()
            }
            _ => {
                out.extend_from_slice(format!("\\u{:04x}", rest[0]).as_bytes());
                1
            }
        };
        text = &text[found + used..];
    }
    out.extend_from_slice(text);
    is_changed
}

/// What is known of a nested value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether something in it is not what it was.
    pub is_changed: bool,
    /// How deep it nests.
    pub depth: usize,
}

/// Walks through nested values; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    /// The arrays and objects that are open.
    open: Vec<Level>,
    /// The members of those that are objects.
    members: Vec<Member>,
    /// What repeats: the bytes of members that others take the place of.
    dropped: Vec<Range<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    is_object: bool,
    /// Where its members begin among those of all levels.
    members: usize,
}

/// Positions in what is appended.
#[derive(Debug, Clone, Copy)]
struct Member {
    start: usize,
    /// Where the key ends.
    key_end: usize,
}

impl Nesting {
    /// Appends an array or object without the white space between its tokens.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, text: &[u8]) -> Told {
        let mut told = Told { is_changed: false, depth: 0 };
        let mut scanner = Scanner::new(text);
        self.open.clear();
        self.members.clear();
        self.dropped.clear();
        let start = out.len();
        while let Some(byte) = scanner.peek() {
            let (close, is_object) = match byte {
                b'{' => (b'}', true),
                b'[' => (b']', false),
                _ => {
                    // The text was read before: it is JSON.
                    let Ok(value) = scanner.value() else { break };
                    told.is_changed |= push_scalar(out, value, scanner.last_value());
                    if self.ended(&mut scanner, out, &mut told) {
                        break;
                    }
                    continue;
                }
            };
            scanner.take(byte);
            out.push(byte);
            self.open.push(Level { is_object, members: self.members.len() });
            told.depth = told.depth.max(self.open.len());
            if !scanner.take(close) {
                if is_object {
                    self.member(&mut scanner, out, &mut told);
                }
                continue;
            }
            out.push(close);
            self.open.pop();
            if self.ended(&mut scanner, out, &mut told) {
                break;
            }
        }
        if !self.dropped.is_empty() {
            told.is_changed = true;
            self.leave_out_dropped(out, start);
        }
        told
    }

    /// What follows a value, up to the next one; true when everything is closed.
    #[inline]
    fn ended(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>, told: &mut Told) -> bool {
        while let Some(level) = self.open.last().copied() {
            if scanner.take(b',') {
                out.push(b',');
                if level.is_object {
                    self.member(scanner, out, told);
                }
                return false;
            }
            let close = if level.is_object { b'}' } else { b']' };
            if !scanner.take(close) {
                return true;
            }
            if level.is_object {
                self.find_repeated(level.members, out);
                self.members.truncate(level.members);
            }
            out.push(close);
            self.open.pop();
        }
        true
    }

    /// A member's key, in the one form that its text has, and its colon.
    fn member(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>, told: &mut Told) {
        let start = out.len();
        let key = scanner.string().unwrap_or_default();
        out.push(b'"');
        if key.contains(&b'\\') || std::str::from_utf8(key).is_err() {
            let text = unescape(key);
            // Only where the key was mended can it have more of these than before.
            told.is_changed |= push_content(&mut Vec::new(), key);
            let quoted = serde_json::Value::from(&*text).to_string();
            out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        } else {
            push_content(out, key);
        }
        out.push(b'"');
        self.members.push(Member { start, key_end: out.len() });
        scanner.take(b':');
        out.push(b':');
    }

    /// Notes which of an object's members, those from `first` on, have the key of a later one.
    fn find_repeated(&mut self, first: usize, out: &[u8]) {
        let members = &self.members[first..];
        let key = |member: &Member| &out[member.start..member.key_end];
        let mut drop = |index: usize| self.dropped.push(members[index].start..members[index + 1].start);
        if members.len() <= FEW_MEMBERS {
            for (index, member) in members.iter().enumerate() {
                if members[index + 1..].iter().any(|later| key(later) == key(member)) {
                    drop(index);
                }
            }
            return;
        }
        let mut last =
            HashMap::with_capacity_and_hasher(members.len(), foldhash::fast::RandomState::default());
        for (index, member) in members.iter().enumerate() {
            if let Some(earlier) = last.insert(key(member), index) {
                drop(earlier);
            }
        }
    }

    #[cold]
    fn leave_out_dropped(&mut self, out: &mut Vec<u8>, start: usize) {
        self.dropped.sort_unstable_by_key(|range| range.start);
        let appended = out.split_off(start);
        let mut done = start;
        for range in &self.dropped {
            // One of a member that is left out itself lies before `done`.
            if range.start >= done {
                out.extend_from_slice(&appended[done - start..range.start - start]);
                done = range.end;
            }
        }
        out.extend_from_slice(&appended[done - start..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json};

    use super::*;

    fn of(text: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let is_changed = push_value(&mut out, text, &mut Nesting::default());
        (String::from_utf8(out).unwrap(), is_changed)
    }

    #[test]
    fn what_all_readers_take_stays() {
        for text in [
            r#"{"a":[1,2.50,123456789012345678901234567890],"b":{"c":null}}"#,
            r#""a\n\u0000\ud83d\ude00\/""#,
            r#"[{"a":1},{"a":2},[],{}]"#,
            r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
            "1.10",
            "-0.0",
            "0e999",
            "1e308",
            "1e-300",
            "true",
            "null",
        ] {
            assert_eq!(of(text.as_bytes()), (text.to_owned(), false), "{text}");
        }
        assert_eq!(
            of(b" [ 1 , { \"a b\" : \" c \" } ]"[1..].as_ref()),
            (r#"[1,{"a b":" c "}]"#.to_owned(), false)
        );
        assert_eq!(of(b"\"a\x01b\"").0, r#""a\u0001b""#);
        assert!(!of(b"\"a\x01b\"").1, "it is the same text");
    }

    #[test]
    fn of_a_repeated_key_the_last_stays() {
        for (text, expected) in [
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (
                r#"{"a":1,"b":{"c":[{"d":1,"d":{"e":1,"e":2}}]},"a":{"x":1,"x":2}}"#,
                r#"{"b":{"c":[{"d":{"e":2}}]},"a":{"x":2}}"#,
            ),
            (r#"{"a":{"x":1,"x":2,"y":3},"a":4}"#, r#"{"a":4}"#),
            (r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
            (r#"{"":1,"":2,"":3}"#, r#"{"":3}"#),
        ] {
            assert_eq!(of(text.as_bytes()), (expected.to_owned(), true), "{text}");
        }
        let many: Vec<String> = (0..1000).map(|index| format!("\"k{}\":{index}", index % 900)).collect();
        let (text, is_changed) = of(format!("{{{}}}", many.join(",")).as_bytes());
        assert!(
            is_changed && text.starts_with(r#"{"k100":100,"#) && text.ends_with(r#""k99":999}"#),
            "{text}"
        );
        assert_eq!(text.matches(':').count(), 900);
    }

    #[test]
    fn what_no_warehouse_has_becomes_text() {
        for (text, expected) in [
            (&br#""a\ud800b""#[..], r#""a\ufffdb""#),
            (br#"["\ude00\ud83d"]"#, r#"["\ufffd\ufffd"]"#),
            (br#"{"k\ud800":1}"#, "{\"k\u{fffd}\":1}"),
            (b"\"a\xffb\"", "\"a\u{fffd}b\""),
            (b"\"\\\xff\"", "\"\\\u{fffd}\""),
            (b"NaN", r#""NaN""#),
            (b"[Infinity,-Infinity]", r#"["Infinity","-Infinity"]"#),
            (br#"{"a":1e400,"b":-1E+400,"c":1e-400}"#, r#"{"a":"1e400","b":"-1E+400","c":"1e-400"}"#),
            (b"1e999999999999999999999", r#""1e999999999999999999999""#),
        ] {
            if text == b"\"\\\xff\"" {
                // No scanner lets it pass; it must not panic.
                let _none = of(text);
                continue;
            }
            assert_eq!(of(text), (expected.to_owned(), true), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_nests_too_deep_is_its_text() {
        let nested = |depth: usize| format!("{}\"x\\\"\"{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(of(nested(DEPTH_MAX).as_bytes()), (nested(DEPTH_MAX), false));
        for depth in [DEPTH_MAX + 1, 20_000] {
            let (text, is_changed) = of(nested(depth).as_bytes());
            assert!(is_changed);
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), nested(depth));
        }
    }

    /// JSON text, its keys of so few that they repeat, and what is left of it.
    fn repetitive() -> impl Strategy<Value = (String, Json)> {
        let leaf = any::<i32>().prop_map(|number| (number.to_string(), Json::from(number)));
        leaf.prop_recursive(5, 60, 6, |inner| {
            let members = prop::collection::vec(("[ab\\\\]", inner.clone()), 0..6).prop_map(|members| {
                let quoted = |key: &str| Json::from(key).to_string();
                let text: Vec<String> =
                    members.iter().map(|(key, (text, _))| format!("{} :{text}", quoted(key))).collect();
                let map: Map<String, Json> =
                    members.into_iter().map(|(key, (_, value))| (key, value)).collect();
                (format!("{{{}}}", text.join(" , ")), Json::Object(map))
            });
            let items = prop::collection::vec(inner, 0..4).prop_map(|items| {
                let text: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
                (format!("[{}]", text.join(",")), items.iter().map(|(_, value)| value.clone()).collect())
            });
            prop_oneof![members, items]
        })
    }

    proptest! {
        #[test]
        fn the_last_of_each_key_stays_at_any_depth((text, expected) in repetitive()) {
            let (mended, _) = of(text.as_bytes());
            prop_assert_eq!(serde_json::from_str::<Json>(&mended).unwrap(), expected.clone());
            // Nothing is there twice any more.
            prop_assert_eq!(mended.matches(':').count(), expected.to_string().matches(':').count());
            prop_assert_eq!(of(mended.as_bytes()), (mended.clone(), false));
        }

        #[test]
        fn strings_stay_what_they_were(text in ".*", escaped in any::<bool>()) {
            let json = Json::from(text.as_str()).to_string();
            let json = if escaped {
                text.encode_utf16().fold("\"".to_owned(), |json, unit| format!("{json}\\u{unit:04x}")) + "\""
            } else { json };
            let (mended, is_changed) = of(json.as_bytes());
            prop_assert!(!is_changed);
            prop_assert_eq!(serde_json::from_str::<String>(&mended).unwrap(), text);
        }
    }
}
