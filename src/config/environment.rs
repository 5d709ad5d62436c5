//! `${NAME}` in a configuration: an environment variable's value.
//!
//! Replaced in the strings of a parsed document, so a value can never change
//! the document's structure. `${NAME:-default}` takes the default when the
//! variable is unset or empty, as a shell does; `$${` is a literal `${`.

use serde_json::Value;

use crate::error::{Error, Result};

/// Looks up a variable; `None` when it is unset.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Looks up a variable of the process. One that is not Unicode counts as unset.
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What was put in place of variables, so that messages can name the variable
/// and not its value.
#[derive(Default)]
pub struct Substituted(Vec<(String, String)>);

impl Substituted {
    /// `text` with every value that came from the environment replaced by its variable.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.0 {
            text = text.replace(value.as_str(), &format!("${{{name}}}"));
        }
        text
    }
}

/// Replaces the variables in all strings of `value`.
///
/// # Errors
/// The path of the string and [`crate::error::ErrorKind::Config`], naming the variable that is missing.
pub fn substitute(value: &mut Value, lookup: Lookup<'_>) -> Result<Substituted, (String, Error)> {
    let mut substituted = Substituted::default();
    walk(value, &mut String::new(), lookup, &mut substituted)?;
    // A long value first: another may be a part of it.
    substituted.0.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    Ok(substituted)
}

fn walk(
    value: &mut Value,
    path: &mut String,
    lookup: Lookup<'_>,
    substituted: &mut Substituted,
) -> Result<(), (String, Error)> {
    let parent = path.len();
    match value {
        Value::String(text) => {
            *text = expand(text, lookup, substituted).map_err(|error| (path.clone(), error))?;
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(item, path, lookup, substituted)?;
                path.truncate(parent);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                walk(field, path, lookup, substituted)?;
                path.truncate(parent);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn expand(text: &str, lookup: Lookup<'_>, substituted: &mut Substituted) -> Result<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, after) = (&rest[..dollar], &rest[dollar + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some((variable, after)) = after.split_once('}') else {
            return Err(Error::config("`${` has no closing brace")
                .hint("write ${NAME}, or $${ for the characters themselves"));
        };
        expanded.push_str(&resolve(variable, lookup, substituted)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn resolve(variable: &str, lookup: Lookup<'_>, substituted: &mut Substituted) -> Result<String> {
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    let well_formed = !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !well_formed {
        return Err(Error::config(format!("`${{{name}}}` does not name an environment variable")).hint(
            "write ${NAME} with letters, digits and underscores, or $${ for the characters themselves",
        ));
    }
    match (lookup(name), default) {
        (Some(value), _) if !value.is_empty() => {
            substituted.0.push((name.to_owned(), value.clone()));
            Ok(value)
        }
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(empty), None) => Ok(empty),
        (None, None) => Err(Error::config(format!("the environment variable {name} is not set"))
            .hint(format!("run `export {name}=…` first, or give a default: ${{{name}:-default}}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("sk-1".to_owned()),
            "INJECT" => Some("x\nname: y, [\"${KEY}\"]".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<String> {
        expand(text, &lookup, &mut Substituted::default())
    }

    #[test]
    fn variables_defaults_and_escapes() {
        let cases = [
            ("${KEY}", "sk-1"),
            ("a ${KEY}-${KEY} $5 $ {x}", "a sk-1-sk-1 $5 $ {x}"),
            ("${NONE:-eu}${EMPTY:-west}${EMPTY}", "euwest"),
            ("${NONE:-}", ""),
            ("${KEY:-other}", "sk-1"),
            ("$${KEY} $$${KEY}", "${KEY} $${KEY}"),
            // A value is taken as it is: nothing in it is looked at again.
            ("${INJECT}", "x\nname: y, [\"${KEY}\"]"),
        ];
        for (text, expected) in cases {
            assert_eq!(expanded(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_variable_is_named_with_the_path_of_its_field() {
        let mut value = serde_json::json!({"source": {"list": ["a", "${NO_SUCH}"]}});
        let (path, error) = substitute(&mut value, &lookup).err().unwrap();
        assert_eq!(path, "source.list[1]");
        assert!(error.user_message().contains("NO_SUCH is not set"), "{}", error.user_message());
        for wrong in ["${", "${}", "${1A}", "${a b}", "${KEY"] {
            assert!(expanded(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_names_the_variable_instead_of_its_value() {
        let mut value = serde_json::json!(["${KEY}"]);
        let substituted = substitute(&mut value, &lookup).ok().unwrap();
        assert_eq!(value, serde_json::json!(["sk-1"]));
        assert_eq!(substituted.redact("`x` \"sk-1\" is wrong"), "`x` \"${KEY}\" is wrong");
    }
}
