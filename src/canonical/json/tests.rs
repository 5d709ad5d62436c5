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

fn is_odd(text: &str) -> bool {
    let mut scanner = Scanner::new(text.as_bytes());
    scanner.value().unwrap();
    assert!(scanner.peek().is_none(), "{text}");
    scanner.take_odd()
}

#[test]
fn what_not_every_reader_takes_is_odd() {
    for plain in ["\"a\\n\\\"\"", "1.5e10", "-1e-99", "[[],{\"a\":null}]", "\"é\"", "true"] {
        assert!(!is_odd(plain), "{plain}");
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(!is_odd(&deep(DEPTH_MAX)));
    for odd in ["\"\\ud800\"", "\"a\u{1}b\"", "NaN", "[Infinity]", "{\"a\":-Infinity}", "1e400", "1e-400"] {
        assert!(is_odd(odd), "{odd}");
    }
    assert!(is_odd(&deep(DEPTH_MAX + 1)) && is_odd(&"9".repeat(400)));
    assert!(Scanner::foreign(b"\"\xff\"").take_odd() && !Scanner::foreign("\"é\"".as_bytes()).take_odd());
    for text in ["Na", "-Inf", "nan", "-NaN", "+1", "Infinit", "{NaN:1}"] {
        assert!(!accepts(text.as_bytes()), "{text}");
    }
}

#[test]
fn depth_costs_a_bit_a_level_and_levels_are_told_apart() {
    let levels = 300_000;
    let (mut open, mut close) = (String::new(), String::new());
    for level in 0..levels {
        // Neither kind is a period of the words that the bits lie in.
        let is_object = level % 3 == 0 || level % 7 == 2;
        open.push_str(if is_object { "{\"\":" } else { "[" });
        close.insert(0, if is_object { '}' } else { ']' });
        if level > 1000 && close.len() > 1000 {
            break;
        }
    }
    assert!(accepts(format!("{open}1{close}").as_bytes()));
    let wrong = close.replacen('}', "]", 1);
    assert!(!accepts(format!("{open}1{wrong}").as_bytes()));
    let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(accepts(text.as_bytes()) && !accepts(&text.as_bytes()[..text.len() - 1]));
}

#[test]
fn escapes_become_the_text_that_they_stand_for() {
    for (content, text) in [
        (r#"a\"b\\c\/d\b\f\n\r\t"#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
        (r"\u0041\u00e9\u20AC\u0000", "Aé€\0"),
        (r"\ud83d\ude00 😀", "😀 😀"),
        (r"\ude00\ud83dx\ud83d\u0041", "\u{fffd}\u{fffd}x\u{fffd}A"),
    ] {
        assert_eq!(unescape(content.as_bytes()), text, "{content}");
    }
    assert_eq!(unescape(b"a\xffb\\n"), "a\u{fffd}b\n");
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
        }
    }

    /// One changed byte: never more lenient than serde_json where it is not odd.
    #[test]
    fn is_as_strict_as_serde(value in json(), at in any::<prop::sample::Index>(), byte in 0u8..128) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if std::str::from_utf8(&text).is_ok() {
            let strict = serde_json::from_slice::<serde_json::Value>(&text);
            // serde_json refuses numbers beyond a double and lone surrogates; the text is JSON all the same.
            let mut scanner = Scanner::new(&text);
            let accepted = scanner.value().is_ok() && scanner.peek().is_none();
            let tolerable = strict.is_err() && accepted && scanner.take_odd();
            prop_assert!(strict.is_ok() == accepted || tolerable, "{}", String::from_utf8_lossy(&text));
        }
    }
}
