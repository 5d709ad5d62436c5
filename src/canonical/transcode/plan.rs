//! What is known of a field before the first row.

use crate::table::{Kind, Table};

/// A field of the objects and the column that it goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldForm<'a> {
    /// The key in the object.
    pub source: &'a str,
    /// The column's name.
    pub name: &'a str,
    /// The form of its values.
    pub kind: Kind,
}

/// How a field becomes a value of its column.
#[derive(Debug)]
pub(super) struct FieldPlan {
    /// The key as JSON writes it, without its quotes.
    pub source: Vec<u8>,
    pub kind: Kind,
    /// `"open":`
    pub label: Vec<u8>,
    /// `"sip_timestamp_ns":`, for nanoseconds.
    pub nanos_label: Vec<u8>,
    pub column: usize,
    pub is_key: bool,
    /// Whether it is noted of a row that it has a value here: of keys, and where it is watched.
    pub is_noted: bool,
}

impl FieldPlan {
    pub fn of(field: FieldForm<'_>, table: &Table) -> Self {
        let source = quoted(field.source);
        let nanos = format!("{}_ns", field.name);
        let is_key = table.key.iter().any(|key| *key == field.name || *key == nanos);
        Self {
            source: source[1..source.len() - 1].to_vec(),
            kind: field.kind,
            label: label(field.name),
            nanos_label: label(&nanos),
            is_key,
            is_noted: is_key,
            column: table.position(field.name).expect("every field has a column"),
        }
    }
}

pub(super) fn quoted(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

pub(super) fn label(name: &str) -> Vec<u8> {
    [quoted(name).as_slice(), b":"].concat()
}
