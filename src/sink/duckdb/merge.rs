//! Replacing rows, by key and by extent, without an index.
//!
//! A batch's keys lie in a range, and DuckDB knows the least and greatest value
//! of each column in each of its row groups. So one look at the table within
//! that range costs nothing when the rows are new, as they nearly always are;
//! only where something is found are rows joined and deleted.

use std::collections::BTreeMap;

use super::client::{literal, quoted};
use super::ddl::Place;
use super::feed::Feed;
use crate::batch::{Bound, Extent};
use crate::sink::columns::{Columns, Values};
use crate::table::Table;

/// The key columns of a table: index and name; and what its rows are told apart by
/// within a key, if by more than their order.
#[derive(Debug)]
pub(super) struct Key {
    columns: Vec<(usize, String)>,
    version: Option<String>,
}

impl Key {
    pub fn of(table: &Table) -> Self {
        let column = |name: &String| table.position(name).map(|index| (index, name.clone()));
        let columns = table.key.iter().filter_map(column).collect();
        Self { columns, version: table.version().map(quoted) }
    }

    fn equal(&self) -> String {
        let equal = |(_, name): &(usize, String)| {
            let name = quoted(name);
            format!("held.{name} IS NOT DISTINCT FROM fed.{name}")
        };
        let equal: Vec<String> = self.columns.iter().map(equal).collect();
        equal.join(" AND ")
    }

    /// A statement that deletes the rows of the table whose keys are in the feed,
    /// all of which are in `range`, but not those of a greater version.
    pub fn delete(&self, table: &Place, feed: &str, range: &str) -> String {
        let version = self.version.as_ref();
        let newer = version.map(|name| format!(" AND (held.{name} IS NULL OR held.{name} <= fed.{name})"));
        format!(
            "DELETE FROM {} AS held USING {feed} AS fed WHERE {range} AND {}{}",
            table.sql(),
            self.equal(),
            newer.unwrap_or_default()
        )
    }

    /// A join that leaves of the feed what of the table was deleted for; none where that
    /// is everything.
    pub fn unless_held(&self, table: &Place, range: &str) -> Option<String> {
        self.version.as_ref()?;
        Some(format!(" AS fed ANTI JOIN {} AS held ON {range} AND {}", table.sql(), self.equal()))
    }

    /// A condition that all keys of the batch fulfil.
    pub fn range(&self, batch: &Columns) -> String {
        let conditions: Vec<String> =
            self.columns.iter().filter_map(|(column, name)| range(batch, *column, &quoted(name))).collect();
        if conditions.is_empty() { ANY.to_owned() } else { conditions.join(" AND ") }
    }
}

/// The condition that every row fulfils.
pub(super) const ANY: &str = "true";

/// A query that has a row if and only if a row of the table fulfils the condition.
pub(super) fn probe(table: &Place, condition: &str) -> String {
    format!("SELECT 1 FROM {} AS held WHERE {condition} LIMIT 1", table.sql())
}

/// What becomes of deletes in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletes {
    /// They are made.
    Made,
    /// They are kept beside its rows, marked in [`Feed::DELETED`], because another table
    /// may hold what they delete.
    Kept,
}

impl Deletes {
    /// A statement that deletes the rows of the table that fulfil the condition.
    pub fn of(self, table: &Place, condition: &str) -> String {
        let table = table.sql();
        match self {
            Self::Made => format!("DELETE FROM {table} AS held WHERE {condition}"),
            Self::Kept => {
                format!("UPDATE {table} AS held SET {} = true WHERE {condition}", quoted(Feed::DELETED))
            }
        }
    }

    /// The condition for those of the table's rows that are no deletes.
    pub fn live(self, condition: &str) -> String {
        match self {
            Self::Made => condition.to_owned(),
            Self::Kept => format!("{condition} AND NOT held.{}", quoted(Feed::DELETED)),
        }
    }
}

/// Partitions that one condition names.
const PARTITIONS_PER_CONDITION: usize = 1_000;

/// Conditions that the rows of parts of the table fulfil, those of the same days,
/// which slices nearly always are, in one. `is_micros` says of a column of times whether
/// it has microseconds.
pub(super) fn within(extents: &[Extent], is_micros: impl Fn(&str) -> bool) -> Vec<String> {
    let mut same_days: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for extent in extents {
        let (cursor, is_micros) = (quoted(&extent.cursor), is_micros(&extent.cursor));
        let mut days = format!("held.{cursor} >= {}", bound(extent.from, is_micros));
        if let Some(until) = extent.until {
            days.push_str(&format!(" AND held.{cursor} < {}", bound(until, is_micros)));
        }
        if let Some((column, _)) = &extent.partition {
            days.push_str(&format!(" AND held.{} IN ", quoted(column)));
        }
        let of_days = same_days.entry(days).or_default();
        of_days.extend(extent.partition.as_ref().map(|(_, value)| literal(value)));
    }
    let conditions = |(days, values): (String, Vec<String>)| match values.as_slice() {
        [] => vec![days],
        values => {
            let chunks = values.chunks(PARTITIONS_PER_CONDITION);
            chunks.map(|values| format!("{days}({})", values.join(", "))).collect()
        }
    };
    same_days.into_iter().flat_map(conditions).collect()
}

/// A time that nanoseconds do not reach is NULL in their column: the nearest one
/// that they do reach bounds the same rows, and so does the next whole microsecond in a
/// column of those. DuckDB compares the two kinds only where nanoseconds reach.
fn bound(bound: Bound, is_micros: bool) -> String {
    match bound {
        Bound::Day(day) => format!("DATE '{day}'"),
        Bound::Time(time) if is_micros => {
            let micros = -(-time.as_nanosecond()).div_euclid(1000);
            format!("make_timestamp({micros})")
        }
        Bound::Time(time) => {
            let nanos = time.as_nanosecond().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            format!("make_timestamp_ns({nanos})")
        }
    }
}

fn range(batch: &Columns, column: usize, name: &str) -> Option<String> {
    let Some(extremes) = batch.extremes(column) else {
        return Some(format!("held.{name} IS NULL"));
    };
    let min = constant(batch.values(column), extremes.min)?;
    let max = constant(batch.values(column), extremes.max)?;
    let within = if min == max {
        format!("held.{name} = {min}")
    } else {
        format!("held.{name} BETWEEN {min} AND {max}")
    };
    Some(if extremes.has_null { format!("({within} OR held.{name} IS NULL)") } else { within })
}

/// A value as a constant; `None` for types that no range is worth it.
fn constant(values: &Values, row: usize) -> Option<String> {
    match values {
        Values::Text(texts) => {
            let text = std::str::from_utf8(texts.get(row)).ok()?;
            (!text.contains('\0')).then(|| literal(text))
        }
        Values::Integer(values) => Some(format!("'{}'::BIGINT", values[row])),
        Values::Date(values) => Some(format!("(DATE '1970-01-01' + ({}))", values[row])),
        Values::Timestamp(values) => Some(format!("make_timestamp_ns({})", values[row])),
        Values::Micros(values) => Some(format!("make_timestamp({})", values[row])),
        Values::Boolean(_)
        | Values::Decimal(..)
        | Values::WideDecimal(..)
        | Values::Double(_)
        | Values::Json(_) => None,
    }
}
