//! Strings that must not be shown, and the one place that knows them all.
//!
//! A [`Secret`] makes itself known when it is made, so that nobody has to say
//! what is to be hidden: every text that leaves the process goes through
//! [`crate::outlet`], and that asks [`redact`] here. What is rewritten and what is
//! not is in docs/architecture.md, "Secrets".

mod redactor;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use url::Url;

use crate::error::{Error, Result};
use redactor::Redactor;

/// Bytes that a secret has at least. A shorter one would be found inside ordinary
/// words, and blotting those out would make messages unreadable and tell the
/// secret all the same; nobody gives out keys or passwords as short as that.
pub const SECRET_BYTES_MIN: usize = 8;

/// How many secrets that a server gives out are known at a time: an upload has half
/// a dozen of its own, and a text that repeats one comes soon after it or never.
const PASSING_MAX: usize = 256;

static KNOWN: RwLock<Known> =
    RwLock::new(Known { configured: Vec::new(), passing: VecDeque::new(), redactor: None });

/// The secrets of this process.
struct Known {
    configured: Vec<String>,
    /// The oldest first.
    passing: VecDeque<String>,
    redactor: Option<Arc<Redactor>>,
}

/// A key, password or token. `Debug` prints `Secret(..)`, it has neither
/// `Display` nor `Serialize`, and its JSON Schema carries `airbyte_secret`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret, which from now on is taken out of every text that leaves the
    /// process, unless it is shorter than [`SECRET_BYTES_MIN`].
    pub fn new(value: impl Into<String>) -> Self {
        let secret = Self(value.into());
        learn(&secret.0, false);
        secret
    }

    /// Wraps what a server gives out for a while, such as a session's token. Of these
    /// only the last few hundred are known: there is no end of them.
    pub fn passing(value: impl Into<String>) -> Self {
        let secret = Self(value.into());
        learn(&secret.0, true);
        secret
    }

    /// The secret itself. Only for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// That it can be kept out of messages. `field` names it for people.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when it is too short for that.
    pub fn can_be_hidden(&self, field: &str) -> Result<()> {
        if self.0.len() >= SECRET_BYTES_MIN {
            return Ok(());
        }
        Err(Error::config(format!(
            "{field} has fewer than {SECRET_BYTES_MIN} characters: that is too short to be kept out of messages"
        ))
        .hint("copy all of it, or choose a longer one"))
    }
}

/// Makes known what the environment has to sign in to proxies with: a library may show
/// the proxy that it cannot reach.
pub fn learn_of_proxies() {
    for (name, value) in std::env::vars_os() {
        if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
            learn_of_proxy(&value.to_string_lossy());
        }
    }
}

/// As [`learn_of_proxies`], of one. A password that is too short to be looked for by
/// itself is looked for where it would be shown: in the address, and in the header.
/// Nobody chooses the password of their company's proxy, so it is not refused.
fn learn_of_proxy(address: &str) {
    // Clients take an address without a scheme too.
    let with_scheme = if address.contains("://") { address } else { &format!("http://{address}") };
    let Ok(url) = Url::parse(with_scheme) else { return };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (decoded(url.username()), url.password().map(decoded));
    let shown = match password {
        Some(password) if password.len() >= SECRET_BYTES_MIN => vec![password],
        Some(password) => {
            let both = format!("{user}:{password}");
            let header = STANDARD.encode(&both);
            vec![format!("{}://{both}@", url.scheme()), format!("Basic {header}"), both]
        }
        // It may be a token. By itself it may be the name of anything.
        None if !user.is_empty() => vec![format!("{}://{user}@", url.scheme())],
        None => Vec::new(),
    };
    shown.into_iter().for_each(|text| drop(Secret::new(text)));
}

/// `text` without any secret of this process, in whatever form it is there.
pub fn redact(text: &str) -> Cow<'_, str> {
    match redactor() {
        Some(redactor) => redactor.redact(text),
        None => Cow::Borrowed(text),
    }
}

/// As [`redact`], for the text of one JSON value, which stays one. Where a secret stood
/// as a number, other numbers may be written anew; elsewhere nothing else changes.
pub fn redact_json(text: &str) -> Cow<'_, str> {
    match redact(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text),
        Cow::Owned(redacted) if serde_json::from_str::<IgnoredAny>(&redacted).is_ok() => Cow::Owned(redacted),
        Cow::Owned(redacted) => match serde_json::from_str::<Value>(text) {
            Ok(value) => Cow::Owned(without_secrets(value).to_string()),
            Err(_) => Cow::Owned(redacted),
        },
    }
}

/// Looks for the secrets that are known when it is made, in many texts: cheaper than to
/// ask for each which they are. Without any it finds nothing.
#[derive(Debug, Clone, Default)]
pub struct Finder(Option<Arc<Redactor>>);

impl Finder {
    /// Of the secrets of this process.
    pub fn new() -> Self {
        Self(redactor())
    }

    /// Whether a text holds one of them, in whatever form.
    #[inline]
    pub fn finds(&self, text: &[u8]) -> bool {
        text.len() >= SECRET_BYTES_MIN && self.0.as_ref().is_some_and(|redactor| redactor.is_in(text))
    }
}

/// Whether a text holds a secret, in whatever form.
pub fn is_in(text: &str) -> bool {
    redactor().is_some_and(|redactor| redactor.is_in(text.as_bytes()))
}

/// Whether any secret is known. Before the configuration is read none is, and a text
/// may hold one all the same.
pub fn are_known() -> bool {
    redactor().is_some()
}

fn without_secrets(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redact(&text).into_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(without_secrets).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (redact(&name).into_owned(), without_secrets(value)))
                .collect(),
        ),
        // A secret of digits alone may stand there as a number.
        Value::Number(number) if is_in(&number.to_string()) => Value::String("***".to_owned()),
        other => other,
    }
}

fn redactor() -> Option<Arc<Redactor>> {
    KNOWN.read().unwrap_or_else(PoisonError::into_inner).redactor.clone()
}

fn learn(value: &str, is_passing: bool) {
    if value.len() < SECRET_BYTES_MIN {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.configured.iter().chain(&known.passing).any(|earlier| earlier == value) {
        return;
    }
    match is_passing {
        false => known.configured.push(value.to_owned()),
        true => {
            known.passing.push_back(value.to_owned());
            if known.passing.len() > PASSING_MAX {
                known.passing.pop_front();
            }
        }
    }
    let secrets = known.configured.iter().chain(&known.passing).map(String::as_str);
    known.redactor = Some(Arc::new(Redactor::of(secrets)));
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own "invalid type" message would echo a number or a map given here.
        let value = Value::deserialize(deserializer)?;
        match value {
            Value::String(text) => Ok(Self::new(text)),
            _ => Err(serde::de::Error::custom("expected a string (its value is not shown)")),
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "airbyte_secret": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of this module alone: the secrets of a process are those of all its tests.
    const KEY: &str = "zq-secret.rs-1f0c";

    #[test]
    fn a_secret_is_known_as_soon_as_there_is_one_and_never_shown() {
        let secret = Secret::new(KEY);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(redact(&format!("key {KEY} refused")), "key *** refused");
        assert!(is_in(KEY) && !is_in("key"));
        let error = serde_json::from_str::<Secret>("123456789").unwrap_err();
        assert!(!error.to_string().contains("123456789"), "{error}");
        let read: Secret = serde_json::from_str("\"zq-secret.rs-read\"").unwrap();
        assert_eq!(redact(read.expose()), "***");
    }

    #[test]
    fn one_that_is_too_short_is_refused_by_name_and_blots_nothing_out() {
        let short = Secret::new("stocks");
        assert_eq!(redact("stocks"), "stocks");
        let error = short.can_be_hidden("`api_key`").unwrap_err().user_message();
        assert!(error.starts_with("`api_key` has fewer than 8 characters"), "{error}");
        Secret::new(KEY).can_be_hidden("`api_key`").unwrap();
    }

    #[test]
    fn a_proxy_does_not_show_who_signs_in_to_it_however_short_the_password_is() {
        for address in
            ["http://zq:p%3Bw@proxy:3128", "zr:pw@proxy:3128", "socks5://zs:@proxy", "http://zt@proxy"]
        {
            learn_of_proxy(address);
        }
        learn_of_proxy("zu:zq-long-enough@proxy:3128");
        for (text, expected) in [
            ("no way to http://zq:p%3Bw@proxy:3128/", "no way to ***proxy:3128/"),
            ("no way to http://zq:p;w@proxy:3128/", "no way to ***proxy:3128/"),
            // zq:p;w
            ("Proxy-Authorization: Basic enE6cDt3", "Proxy-Authorization: ***"),
            ("no way to http://zr:pw@proxy", "no way to ***proxy"),
            ("no way to socks5://zs@proxy", "no way to ***proxy"),
            ("no way to http://zt@proxy", "no way to ***proxy"),
            ("no way to zu:zq-long-enough@proxy", "no way to zu:***@proxy"),
            // By itself it is part of words.
            ("pw zq p;w", "pw zq p;w"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn the_oldest_of_those_that_servers_give_out_is_forgotten_first() {
        let token = |number: usize| format!("zq-token-{number:06}");
        let configured = Secret::new("zq-configured-7f");
        (0..=PASSING_MAX).for_each(|number| drop(Secret::passing(token(number))));
        assert!(!is_in(&token(0)));
        assert!(is_in(&token(1)) && is_in(&token(PASSING_MAX)) && is_in(configured.expose()));
    }

    #[test]
    fn json_stays_json() {
        let _known = [Secret::new("note-zq-json"), Secret::new("9081726354")];
        // A line feed before the rest of a word is not the word.
        let text = r#"{"a":"x\note-zq-json","note-zq-json":[1.50,"a\u006eote-zq-json",9081726354]}"#;
        let value: Value = serde_json::from_str(&redact_json(text)).unwrap();
        assert_eq!(value, serde_json::json!({"a": "x\note-zq-json", "***": [1.50, "a***", "***"]}));
        assert_eq!(redact_json(r#"{"b":1.50}"#), r#"{"b":1.50}"#);
    }
}
