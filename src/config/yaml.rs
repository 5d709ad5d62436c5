//! A YAML document as a JSON value that remembers where its fields stand.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use crate::error::{Error, Result};

/// A parsed document.
pub struct Document {
    /// Its content. A key without a value is as good as absent.
    pub value: Value,
    places: BTreeMap<String, Place>,
}

/// Where a value begins; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when the text is not YAML, and where;
    /// the message shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, (Option<Place>, Error)> {
        // A snippet of the text could hold a key. ON, NO and Y are tickers, not booleans.
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let place = error.location().and_then(place);
            if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = &error {
                return (place, twice(key.as_deref()));
            }
            let error = Error::config(format!("not valid YAML: {}", first_line(&error)));
            (place, error.hint("look at the indentation, the brackets and the quotes up to this place"))
        })?;
        let mut places = BTreeMap::new();
        let value = root.value.into_value(&mut String::new(), &mut places);
        Ok(Self { value, places })
    }

    /// Where the value at `path` (`source.polygon.tickers[1]`) begins, or the
    /// nearest value around it that the document has.
    pub fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

fn place(location: Location) -> Option<Place> {
    (location.line() > 0).then(|| Place { line: location.line(), column: location.column() })
}

/// The parser's own words, without the place that it appends.
fn first_line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let cut = line.find(" at line ").unwrap_or(line.len());
    line[..cut].trim_start_matches("error: ").to_owned()
}

/// A key that occurs twice is named where it looks like a field: a key of the API has
/// capitals or digits.
pub(super) fn twice(key: Option<&str>) -> Error {
    let is_field = |key: &&str| {
        key.len() <= FIELD_MAX && key.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())
    };
    let key = key.filter(is_field).map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"));
    Error::config(format!("{key} is there twice, here for the second time")).hint("keep one of the two")
}

/// Characters of the longest field that there may ever be.
const FIELD_MAX: usize = 24;

/// A value with the places of what it holds.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn into_value(self, path: &mut String, places: &mut BTreeMap<String, Place>) -> Value {
        let parent = path.len();
        match self {
            Self::Scalar(value) => value,
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    note(path, item.referenced, places);
                    list.push(item.value.into_value(path, places));
                    path.truncate(parent);
                }
                Value::Array(list)
            }
            Self::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, item) in entries {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key.value);
                    // A field is where its name is: that is what a typo is in.
                    note(path, key.referenced, places);
                    let value = item.value.into_value(path, places);
                    path.truncate(parent);
                    if !value.is_null() {
                        map.insert(key.value, value);
                    }
                }
                Value::Object(map)
            }
        }
    }
}

fn note(path: &str, location: Location, places: &mut BTreeMap<String, Place>) {
    if let Some(place) = place(location) {
        places.insert(path.to_owned(), place);
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list, a text, a number, true, false or nothing")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is infinite or none"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Node>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Node>>()? {
            if entries.iter().any(|(earlier, _)| earlier.value == key.value) {
                return Err(A::Error::custom("a key occurs twice"));
            }
            entries.push((key, value));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_what_yaml_1_2_says_so_that_tickers_stay_tickers() {
        let text = "tickers: [NA, ON, NO, Y, BRK.B, '123', \"TRUE\", 1e3x]\ndate: 2024-01-02\nn: 5\nb: true\nnone:\n";
        let document = Document::parse(text).ok().unwrap();
        assert_eq!(
            document.value,
            json!({"tickers": ["NA", "ON", "NO", "Y", "BRK.B", "123", "TRUE", "1e3x"],
                   "date": "2024-01-02", "n": 5, "b": true})
        );
    }

    #[test]
    fn fields_know_their_place() {
        let document = Document::parse("a: 1\nb:\n  c: [x, y]\n  d: {e: 2}\n").ok().unwrap();
        let line = |path| document.place(path).map(|place| place.line);
        assert_eq!(line("a"), Some(1));
        assert_eq!(document.place("b.c[1]"), Some(Place { line: 3, column: 10 }));
        assert_eq!(line("b.d.e"), Some(4));
        assert_eq!(line("b.d.no.such"), Some(4), "the nearest around it");
        assert_eq!(line("no.such"), None);
    }

    #[test]
    fn broken_yaml_says_where_and_shows_nothing() {
        for text in [
            "a: 1\nkey: \"sk-secret\n",
            "a: [sk-secret\nb: }",
            "a: 1\na: sk-secret\n",
            "a: &x sk-secret\nb: *sk-secret",
        ] {
            let (place, error) = Document::parse(text).err().unwrap();
            assert!(place.is_some(), "{text}");
            assert!(!error.report().contains("sk-secret"), "{}", error.report());
        }
    }
}
