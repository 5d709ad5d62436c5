//! What a user configures.

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::names::NAME_MAX;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::sink::numbers::Numbers;

/// Environment-independent suffix of every account's host.
const DOMAIN: &str = "snowflakecomputing.com";

fn default_schema() -> String {
    "POLYGON".to_owned()
}

/// Snowflake. Names of databases, schemas, warehouses, roles and users are taken in
/// upper case, as Snowflake itself does with names that are not quoted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Snowflake")]
pub struct SnowflakeConfig {
    /// Account identifier, `ORGANISATION-ACCOUNT` or the older locator with its
    /// region, such as `xy12345.eu-central-1`.
    #[schemars(title = "Account", extend("order" = 0, "examples" = ["MYORG-MYACCOUNT"]))]
    pub account: String,
    /// Name of the user to sign in as.
    #[schemars(title = "User", extend("order" = 1))]
    pub user: String,
    /// Role to use; the user's default role when absent.
    #[serde(default)]
    #[schemars(title = "Role", extend("order" = 2))]
    pub role: Option<String>,
    /// Virtual warehouse that runs the statements.
    #[schemars(title = "Warehouse", extend("order" = 3))]
    pub warehouse: String,
    /// Database to write to. It must exist.
    #[schemars(title = "Database", extend("order" = 4))]
    pub database: String,
    /// Schema to write to. It is created when it does not exist.
    #[serde(default = "default_schema")]
    #[schemars(title = "Schema", extend("order" = 5))]
    pub schema: String,
    /// RSA private key of the user, in PKCS#8 PEM form (the text of the file,
    /// beginning with `-----BEGIN PRIVATE KEY-----`).
    #[serde(default)]
    #[schemars(title = "Private key", extend("order" = 6, "multiline" = true))]
    pub private_key: Option<Secret>,
    /// File that holds the private key, instead of its text.
    #[serde(default)]
    #[schemars(title = "Private key file", extend("order" = 7))]
    pub private_key_file: Option<String>,
    /// Passphrase of the private key, when it is encrypted.
    #[serde(default)]
    #[schemars(title = "Private key passphrase", extend("order" = 8))]
    pub private_key_password: Option<Secret>,
    /// Password of the user, instead of a key. Snowflake is abolishing passwords
    /// without a second factor: prefer a key.
    #[serde(default)]
    #[schemars(title = "Password", extend("order" = 9))]
    pub password: Option<Secret>,
    /// URL of the server, when it is not the account's own, such as
    /// `http://127.0.0.1:18080` for a local test server.
    #[serde(default)]
    #[schemars(title = "Host", extend("order" = 10))]
    pub host: Option<String>,
    /// As what numbers with a fraction are kept: `decimal`, exact, or `double`, rounded.
    #[serde(default)]
    #[schemars(title = "Numbers", extend("order" = 11))]
    pub numbers: Numbers,
}

/// Refuses the schema that every database has and nobody can write to.
pub(super) fn writable_schema(schema: &str) -> Result<()> {
    if schema.eq_ignore_ascii_case("information_schema") {
        return Err(Error::config(format!("the schema {schema} is Snowflake's own"))
            .hint("choose another `schema`, or another namespace for the stream"));
    }
    Ok(())
}

/// How to sign in.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// An unencrypted PKCS#8 private key as PEM text.
    Key(Secret),
    /// A password.
    Password(Secret),
}

impl SnowflakeConfig {
    /// Checks what can be checked without the server.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`], naming the field.
    pub fn validate(&self) -> Result<()> {
        let required = [
            ("account", &self.account),
            ("user", &self.user),
            ("warehouse", &self.warehouse),
            ("database", &self.database),
            ("schema", &self.schema),
        ];
        for (field, value) in required {
            if value.trim().is_empty() {
                return Err(Error::config(format!("snowflake's `{field}` is empty"))
                    .hint(format!("write the name of the {field}")));
            }
            if value.chars().count() > NAME_MAX {
                return Err(Error::config(format!(
                    "snowflake's `{field}` is longer than {NAME_MAX} characters"
                )));
            }
        }
        writable_schema(&self.schema)?;
        if !self.account.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
            return Err(Error::config("snowflake's `account` has a character that no account has")
                .hint("it is like MYORG-MYACCOUNT; a URL belongs into `host`"));
        }
        let url = self.url()?;
        let local = url
            .host_str()
            .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
        if url.scheme() == "http" && !local {
            tracing::warn!("snowflake's `host` is not https: password and rows travel unencrypted");
        }
        for (field, secret) in
            [("password", &self.password), ("private_key_password", &self.private_key_password)]
        {
            secret
                .as_ref()
                .map_or(Ok(()), |secret| secret.can_be_hidden(&format!("snowflake's `{field}`")))?;
        }
        self.credential().map(|_| ())
    }

    /// Where the server is.
    pub(super) fn url(&self) -> Result<Url> {
        let text = match &self.host {
            Some(host) if host.contains("://") => host.clone(),
            Some(host) => format!("https://{host}"),
            None => {
                let account = self.account.strip_suffix(&format!(".{DOMAIN}")).unwrap_or(&self.account);
                // An underscore is not allowed in a host name; Snowflake's aliases have hyphens.
                format!("https://{}.{DOMAIN}", account.to_lowercase().replace('_', "-"))
            }
        };
        let field = if self.host.is_some() { "host" } else { "account" };
        let url = Url::parse(&text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        });
        url.ok_or_else(|| {
            Error::config(format!("snowflake's `{field}` does not name a server"))
                .hint("`account` is like MYORG-MYACCOUNT, `host` like https://myorg-myaccount.snowflakecomputing.com")
        })
    }

    /// The account's name as it is signed and sent: without region and domain.
    pub(super) fn account_name(&self) -> &str {
        self.account.split('.').next().unwrap_or(&self.account)
    }

    pub(super) fn credential(&self) -> Result<Credential> {
        let given = [self.private_key.is_some(), self.private_key_file.is_some(), self.password.is_some()];
        match given.iter().filter(|given| **given).count() {
            1 => {}
            0 => {
                return Err(Error::config("snowflake has neither `private_key` nor `password`")
                    .hint("give `private_key`, `private_key_file` or `password`"));
            }
            _ => {
                return Err(Error::config("snowflake has more than one way to sign in")
                    .hint("give exactly one of `private_key`, `private_key_file` and `password`"));
            }
        }
        if let Some(password) = &self.password {
            return Ok(Credential::Password(password.clone()));
        }
        let (field, text) = match (&self.private_key, &self.private_key_file) {
            (Some(key), _) => ("private_key", key.expose().to_owned()),
            (None, Some(path)) => (
                "private_key_file",
                std::fs::read_to_string(path).map_err(|error| {
                    Error::config(format!("cannot read snowflake's `private_key_file` {path}"))
                        .hint("it must be a text file that this user may read")
                        .caused_by(error)
                })?,
            ),
            (None, None) => return Err(Error::bug("no way to sign in")),
        };
        private_key(field, &text, self.private_key_password.as_ref()).map(Credential::Key)
    }
}

/// Checks and, where needed, repairs the text of a key.
fn private_key(field: &str, text: &str, password: Option<&Secret>) -> Result<Secret> {
    let wrong = |what: &str| {
        Error::config(format!("snowflake's `{field}` {what}")).hint(
            "`openssl pkcs8 -topk8 -nocrypt -in rsa_key.pem -out rsa_key.p8` makes the form that is needed",
        )
    };
    // A key pasted into one line of YAML, JSON or an environment variable has `\n` for its line breaks.
    let text = text.trim().replace("\\n", "\n");
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        let password = password.ok_or_else(|| {
            Error::config("snowflake's `private_key_password` is missing: the key is encrypted")
        })?;
        return decrypted(&text, password).ok_or_else(|| {
            wrong("cannot be decrypted: `private_key_password` is wrong, or the cipher is not known")
        });
    }
    if text.contains("BEGIN RSA PRIVATE KEY") {
        return Err(wrong("is in PKCS#1 form, it must be PKCS#8"));
    }
    if !text.contains("-----BEGIN PRIVATE KEY-----") {
        return Err(wrong("is not a private key in PEM form"));
    }
    Ok(Secret::new(text))
}

/// The key of an encrypted PEM text. What fails is not said in detail: it could
/// tell of the key.
fn decrypted(pem: &str, password: &Secret) -> Option<Secret> {
    let (_, document) = pkcs8::SecretDocument::from_pem(pem).ok()?;
    let encrypted = pkcs8::EncryptedPrivateKeyInfo::try_from(document.as_bytes()).ok()?;
    let plain = encrypted.decrypt(password.expose()).ok()?;
    let pem = plain.to_pem("PRIVATE KEY", pkcs8::LineEnding::LF).ok()?;
    Some(Secret::new(pem.as_str()))
}

#[cfg(test)]
pub(super) mod tests;
