//! Compares a table of the warehouse with what the simulated market knows, as
//! multisets of rows. Neither side goes through the program's own decoder.

use std::collections::HashMap;

use duckdb::Connection;
use duckdb::types::ValueRef;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::table::{ColumnType, Table};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Rows of the truth that the table lacks.
    pub missing: u64,
    /// Rows of the table that are not in the truth, or too often.
    pub surplus: u64,
}

/// Stands between the values of a row, and for none: in no text of the API.
const SEPARATOR: char = '\u{1f}';
const NONE: char = '\u{0}';

/// Compares `schema.table` with the truth, one JSON object a line.
///
/// # Errors
/// When the table cannot be read, or the truth has a column that the table has not.
pub fn compare(connection: &Connection, schema: &str, table: &Table, truth: &str) -> Result<Difference> {
    let mut counts: HashMap<String, i64> = HashMap::new();
    for line in truth.lines() {
        *counts.entry(true_row(table, line)?).or_default() += 1;
    }
    for_each_stored(connection, schema, table, |row| *counts.entry(row).or_default() -= 1)?;
    let sum = |sign: i64| counts.values().map(|count| (count * sign).max(0)).sum::<i64>().unsigned_abs();
    Ok(Difference { missing: sum(1), surplus: sum(-1) })
}

fn true_row(table: &Table, line: &str) -> Result<String> {
    let not_json = || "the truth is not JSON".to_owned();
    let fields: HashMap<&str, &RawValue> =
        serde_json::from_str(line).or_fail(ErrorKind::Response, not_json)?;
    if let Some(unknown) = fields.keys().find(|name| table.position(name).is_none()) {
        return Err(Error::bug(format!("the truth has a column {unknown}, the table has not")));
    }
    let mut row = String::with_capacity(line.len());
    for column in &table.columns {
        match fields.get(column.name.as_str()).map(|raw| raw.get()) {
            None | Some("null") => row.push(NONE),
            Some(raw) if raw.starts_with('"') && column.ty != ColumnType::Json => {
                let text: String = serde_json::from_str(raw).or_fail(ErrorKind::Response, not_json)?;
                push_canonical(&mut row, &text, column.ty)?;
            }
            Some(raw) => push_canonical(&mut row, raw, column.ty)?,
        }
        row.push(SEPARATOR);
    }
    Ok(row)
}

fn for_each_stored(
    connection: &Connection,
    schema: &str,
    table: &Table,
    mut take: impl FnMut(String),
) -> Result<()> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<_> =
        table.columns.iter().map(|column| format!("CAST({} AS VARCHAR)", quoted(&column.name))).collect();
    let sql = format!("SELECT {} FROM {}.{}", columns.join(", "), quoted(schema), quoted(&table.name));
    let failed = || format!("cannot read the table {}", table.name);
    let mut statement = connection.prepare(&sql).or_fail(ErrorKind::Sink, failed)?;
    let mut rows = statement.query([]).or_fail(ErrorKind::Sink, failed)?;
    while let Some(stored) = rows.next().or_fail(ErrorKind::Sink, failed)? {
        let mut row = String::new();
        for (index, column) in table.columns.iter().enumerate() {
            match stored.get_ref(index).or_fail(ErrorKind::Sink, failed)? {
                ValueRef::Null => row.push(NONE),
                value => {
                    push_canonical(&mut row, value.as_str().or_fail(ErrorKind::Sink, failed)?, column.ty)?;
                }
            }
            row.push(SEPARATOR);
        }
        take(row);
    }
    Ok(())
}

/// Appends one text for each value, however it was written.
fn push_canonical(row: &mut String, text: &str, ty: ColumnType) -> Result<()> {
    match ty {
        ColumnType::Text | ColumnType::Boolean | ColumnType::Integer | ColumnType::Date => row.push_str(text),
        ColumnType::Decimal(_) | ColumnType::Double => row.push_str(without_zeros(text)),
        // `2024-06-28 20:00:00.5` and `2024-06-28T20:00:00.500Z`
        ColumnType::Timestamp | ColumnType::TimestampMicros => {
            row.extend(
                without_zeros(text.trim_end_matches('Z')).chars().map(|c| if c == 'T' { ' ' } else { c }),
            );
        }
        ColumnType::Json => {
            let mut value: Value = serde_json::from_str(text)
                .or_fail(ErrorKind::Sink, || "a JSON column holds something else".to_owned())?;
            value.sort_all_objects();
            row.push_str(&value.to_string());
        }
    }
    Ok(())
}

/// Without zeros at the end of a fraction.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::streams;
    use crate::table::Width;

    #[test]
    fn values_written_differently_are_equal_and_others_are_not() {
        let same = [
            ("12.340000000000000000", "12.34", ColumnType::Decimal(Width::PRICE)),
            ("120.000", "120", ColumnType::Decimal(Width::PRICE)),
            ("2024-06-28 20:00:00.5", "2024-06-28T20:00:00.500000000Z", ColumnType::Timestamp),
            ("2024-06-28 20:00:00", "2024-06-28T20:00:00Z", ColumnType::Timestamp),
            (r#"{"b":1,"a":[2]}"#, r#"{ "a": [2], "b": 1 }"#, ColumnType::Json),
        ];
        let canonical = |text: &str, ty| {
            let mut row = String::new();
            push_canonical(&mut row, text, ty).unwrap();
            row
        };
        for (left, right, ty) in same {
            assert_eq!(canonical(left, ty), canonical(right, ty));
        }
        assert_ne!(
            canonical("120", ColumnType::Decimal(Width::PRICE)),
            canonical("12", ColumnType::Decimal(Width::PRICE))
        );
        assert_eq!(canonical("1.50", ColumnType::Text), "1.50");
    }

    #[test]
    fn a_row_lost_doubled_or_changed_is_found() {
        let stream = streams(&[]).into_iter().find(|stream| stream.name == "splits").unwrap();
        let connection = Connection::open_in_memory().unwrap();
        let columns: Vec<_> =
            stream.table.columns.iter().map(|column| format!("{} VARCHAR", column.name)).collect();
        connection.execute_batch(&format!("CREATE TABLE main.splits ({})", columns.join(", "))).unwrap();
        let insert = |ids: &[&str]| {
            connection.execute_batch("DELETE FROM splits").unwrap();
            for id in ids {
                connection.execute("INSERT INTO splits (id, ticker) VALUES (?, 'A')", [id]).unwrap();
            }
        };
        let truth = "{\"id\":\"1\",\"ticker\":\"A\"}\n{\"ticker\":\"A\",\"id\":\"2\"}\n";
        let difference = |ids: &[&str]| {
            insert(ids);
            let found = compare(&connection, "main", &stream.table, truth).unwrap();
            (found.missing, found.surplus)
        };
        assert_eq!(difference(&["2", "1"]), (0, 0));
        assert_eq!(difference(&["1"]), (1, 0));
        assert_eq!(difference(&["1", "2", "2"]), (0, 1));
        assert_eq!(difference(&["1", "3"]), (1, 1));
        assert!(compare(&connection, "main", &stream.table, "{\"no_such\":1}").is_err());
    }
}
