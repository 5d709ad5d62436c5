use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn redacted(secret: &str, text: &str) -> String {
    Redactor::of([secret].into_iter()).redact(text).into_owned()
}

/// A form of a secret between two texts.
type Form = fn(&str) -> String;

fn percent(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// JSON where every character is a code, as no writer needs but every one may.
fn json_codes(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()
}

const FORMS: [(&str, Form); 13] = [
    ("plain", str::to_owned),
    ("in capitals", |text| text.to_ascii_uppercase()),
    ("in small letters", |text| text.to_ascii_lowercase()),
    ("percent-encoded", percent),
    ("with small digits", |text| percent(text).to_lowercase()),
    ("twice percent-encoded", |text| percent(&percent(text))),
    ("of a form", |text| url::form_urlencoded::byte_serialize(text.as_bytes()).collect()),
    ("JSON", json),
    ("JSON of a cautious writer", |text| json(text).replace('/', "\\/")),
    ("JSON in JSON", |text| json(&json(text))),
    ("JSON in codes", json_codes),
    ("as Rust shows it", |text| text.escape_debug().to_string()),
    ("HTML", |text| {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('+', "&#43;")
    }),
];

/// A form of any bytes.
type Encode = fn(&[u8]) -> String;

const BASE64: [(&str, Encode); 5] = [
    ("base64", |bytes| STANDARD.encode(bytes)),
    ("base64 without padding", |bytes| STANDARD_NO_PAD.encode(bytes)),
    ("base64 of a URL", |bytes| URL_SAFE.encode(bytes)),
    ("base64 of a URL without padding", |bytes| URL_SAFE_NO_PAD.encode(bytes)),
    ("base64, percent-encoded", |bytes| percent(&STANDARD.encode(bytes))),
];

proptest! {
    /// A secret of any characters, in any form, between any texts.
    #[test]
    fn every_form_is_found_and_nothing_else(
        secret in "[!-~][ -~é€😀]{6,40}[!-~]",
        before in "[ -~]{0,9}",
        after in "[ -~]{0,9}",
    ) {
        for (name, form) in FORMS {
            let shown = redacted(&secret, &format!("{before} {} {after}", form(&secret)));
            prop_assert_eq!(shown, format!("{} *** {}", before, after), "{}", name);
        }
        prop_assume!(!format!("{before}x{after}").to_lowercase().contains(&secret.to_lowercase()));
        prop_assert_eq!(redacted(&secret, &before), before);
    }

    /// At all three places of a group of three bytes, and with whatever comes after.
    #[test]
    fn base64_is_found_at_each_place(
        secret in "[!-~]{8,40}",
        before in vec(any::<u8>(), 0..7),
        after in vec(any::<u8>(), 0..7),
    ) {
        let bytes = [&before, secret.as_bytes(), &after].concat();
        for (name, encode) in BASE64 {
            let text = encode(&bytes);
            let shown = redacted(&secret, &text);
            prop_assert!(shown.contains(BLOT), "{} {}", name, text);
            // What is left are whole characters of the neighbours.
            let left: Vec<_> = shown.split(BLOT).collect();
            let kept = percent_encoding::percent_decode_str(left[0]).count();
            prop_assert!(kept <= before.len() * 4 / 3, "{} {} {}", name, text, shown);
        }
    }

    #[test]
    fn any_text_is_taken(secret in ".{8,20}", text in "[%&+\\\\ua-f0-9{};#n-]{0,60}|.{0,40}") {
        let _shown = redacted(&secret, &text);
    }
}

#[test]
fn secrets_that_overlap_leave_nothing() {
    let redactor = Redactor::of(["abcdefgh", "efghijkl", "abcdefghijklmnop"].into_iter());
    assert_eq!(redactor.redact("<abcdefghijkl>"), "<***>");
    assert_eq!(redactor.redact("<abcdefghijklmnop>"), "<***>");
    assert_eq!(redactor.redact("abcdefg hijkl"), "abcdefg hijkl");
}

#[test]
fn a_key_of_several_lines_is_hidden_whole_and_line_by_line() {
    let pem =
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAAS+\nAbc=\n-----END PRIVATE KEY-----\n";
    for text in [
        pem.to_owned(),
        pem.replace('\n', "\r\n"),
        pem.replace('\n', "\\n"),
        pem.replace('\n', "%0A"),
        pem.replace('\n', "\n    "),
        pem.replace('\n', ""),
        json(pem),
        format!("{pem:?}"),
    ] {
        let shown = redacted(pem, &text);
        assert!(!shown.contains("MIIE") && !shown.contains("Abc="), "{text}: {shown}");
    }
    assert_eq!(redacted(pem, "line hkiG9w0BAQEFAAS+ of it"), "line *** of it");
    // One line of the configuration, with `\n` for its breaks.
    assert_eq!(redacted(&pem.replace('\n', "\\n"), "line MIIEvQIBADANBgkq of it"), "line *** of it");
    let heading = "it begins with -----BEGIN PRIVATE KEY-----";
    assert_eq!(redacted(pem, heading), heading);
}
