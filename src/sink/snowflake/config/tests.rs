//! What is refused, and what becomes of keys.

use serde_json::{Value, json};

use super::*;
use crate::error::ErrorKind;

/// A key of nobody, as `openssl pkcs8` wrote it, without its first and last line.
pub(in crate::sink::snowflake) const KEY: &str = include_str!("test_key_plain.b64");
const KEY_DES3: &str = include_str!("test_key_des3.b64");
const KEY_AES: &str = include_str!("test_key_aes.b64");
const PASSPHRASE: &str = "open-sesame";

pub(in crate::sink::snowflake) fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
}

fn config(changes: Value) -> SnowflakeConfig {
    let mut config = json!({
        "account": "MYORG-MY_ACCOUNT", "user": "u", "warehouse": "w", "database": "d", "password": "hunter2-config"
    });
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    serde_json::from_value(config).unwrap()
}

#[test]
fn the_host_follows_from_the_account() {
    let url = |changes| config(changes).url().unwrap().to_string();
    assert_eq!(url(json!({})), "https://myorg-my-account.snowflakecomputing.com/");
    assert_eq!(url(json!({"account": "xy1.eu-west-1"})), "https://xy1.eu-west-1.snowflakecomputing.com/");
    assert_eq!(url(json!({"account": "xy1.snowflakecomputing.com"})), "https://xy1.snowflakecomputing.com/");
    assert_eq!(url(json!({"host": "http://127.0.0.1:18080"})), "http://127.0.0.1:18080/");
    assert_eq!(
        url(json!({"host": "x.privatelink.snowflakecomputing.com"})),
        "https://x.privatelink.snowflakecomputing.com/"
    );
    assert_eq!(config(json!({"account": "xy1.eu-west-1"})).account_name(), "xy1");
}

#[test]
fn mistakes_name_their_field() {
    let cases = [
        (json!({"account": " "}), "`account` is empty"),
        (json!({"account": "https://xy1.snowflakecomputing.com"}), "`account` has a character"),
        (json!({"database": ""}), "`database` is empty"),
        (json!({"host": "ftp://x"}), "`host` does not name a server"),
        (json!({"host": "https://user:pw@x"}), "`host` does not name a server"),
        (json!({"password": null}), "neither `private_key` nor `password`"),
        (json!({"private_key": "x"}), "more than one way"),
        (json!({"password": "hunter2"}), "`password` has fewer than 8 characters"),
        (json!({"private_key_password": "1234567"}), "`private_key_password` has fewer than 8 characters"),
        (json!({"password": null, "private_key": "x"}), "`private_key` is not a private key"),
        (
            json!({"password": null, "private_key_file": "/no/such"}),
            "cannot read snowflake's `private_key_file`",
        ),
    ];
    for (changes, expected) in cases {
        let error = config(changes.clone()).validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{changes}");
        assert!(error.to_string().contains(expected), "{changes}: {error}");
    }
    assert!(serde_json::from_value::<SnowflakeConfig>(json!({"acount": "x"})).is_err());
}

#[test]
fn keys_are_taken_in_every_usual_form() {
    let plain = pem("PRIVATE KEY", KEY);
    let read = |key: &str, password: Option<&str>| {
        let config = config(json!({"password": null, "private_key": key, "private_key_password": password}));
        config.credential().map(|credential| match credential {
            Credential::Key(key) => key.expose().trim().to_owned(),
            Credential::Password(_) => unreachable!(),
        })
    };
    assert_eq!(read(&plain, None).unwrap(), plain.trim());
    assert_eq!(read(&plain.replace('\n', "\\n"), None).unwrap(), plain.trim());
    for body in [KEY_DES3, KEY_AES] {
        let encrypted = pem("ENCRYPTED PRIVATE KEY", body);
        assert_eq!(read(&encrypted, Some(PASSPHRASE)).unwrap(), plain.trim());
        for (password, expected) in
            [(None, "`private_key_password` is missing"), (Some("wrong-passphrase"), "cannot be decrypted")]
        {
            let error = read(&encrypted, password).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.report().contains(&body[..40]));
        }
    }
    assert!(read(&pem("RSA PRIVATE KEY", KEY), None).unwrap_err().to_string().contains("PKCS#1"));
}

#[test]
fn a_key_can_be_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem("PRIVATE KEY", KEY)).unwrap();
    config(json!({"password": null, "private_key_file": file.path()})).validate().unwrap();
}

#[test]
fn the_schema_marks_secrets_and_shows_no_value() {
    let schema = serde_json::to_value(schemars::schema_for!(SnowflakeConfig)).unwrap();
    for field in ["private_key", "private_key_password", "password"] {
        let text = schema["properties"][field].to_string();
        assert!(text.contains("\"airbyte_secret\":true"), "{field}: {text}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
    assert!(!format!("{:?}", config(json!({}))).contains("hunter2-config"));
}
