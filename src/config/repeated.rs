//! Keys that an object of a JSON text has twice: of their values serde_json keeps the
//! last, and nobody would learn that the first one is not used.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::yaml::{self, Place};
use crate::error::Error;

/// Checks a text that is JSON.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the key, and where it ends.
pub(super) fn refuse(text: &str) -> Result<(), (Place, Error)> {
    let found = Cell::new(None);
    let checked = Once(&found).deserialize(&mut serde_json::Deserializer::from_str(text));
    match (checked, found.take()) {
        (Err(at), Some(key)) => {
            let place = Place { line: at.line() as u64, column: at.column() as u64 };
            Err((place, yaml::twice(Some(&key))))
        }
        // What is not JSON is told by whoever reads it.
        _ => Ok(()),
    }
}

/// A value whose objects have each key once; else the key is noted.
#[derive(Clone, Copy)]
struct Once<'a>(&'a Cell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                self.0.set(Some(key));
                return Err(A::Error::custom("a key is there twice"));
            }
            keys.insert(key);
            map.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_refused_where_one_object_has_it_twice() {
        let told = |text: &str| refuse(text).map_err(|(place, error)| format!("{place}: {error}"));
        let good = r#"{"a": {"b": [1, -1, 1.5, "x", true, null]}, "b": [{"b": 1}, {"b": {}}]}"#;
        assert_eq!((told(good), told("{")), (Ok(()), Ok(())));
        for (text, expected) in [
            (r#"{"a": 1, "a": 1}"#, "1:12: `a` is there twice"),
            (r#"{"a": 1, "\u0061": null}"#, "1:17: `a` is there twice"),
            ("{\"x\": [0, {\"plan\": {},\n\"plan\": {}}]}", "2:6: `plan` is there twice"),
            // It may be a key of the API that stands in the wrong place.
            (r#"{"zK9": 1, "zK9": 1}"#, "1:16: a key is there twice"),
        ] {
            let message = told(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
