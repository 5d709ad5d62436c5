//! From the load table into the target.

use std::collections::BTreeMap;

use super::ddl::{LOAD, LOAD_COLUMN, sql_type};
use super::names::{ident, idents};
use super::statement::Statement;
use crate::batch::{Bound, Extent};
use crate::table::{ColumnType, Metadata, Table};

/// Keys of a loaded line beside those of the row. No column begins so.
pub(super) const LINE_NUMBER: &str = "_tapeline_n";
pub(super) const LINE_EXTRACTED_AT: &str = "_tapeline_at";
pub(super) const LINE_META: &str = "_tapeline_meta";
/// Only there in a line that is a delete.
pub(super) const LINE_DELETED: &str = "_tapeline_deleted";
/// The line's number as a column.
const ORDER: &str = "_TAPELINE_N";
/// And whether it is a delete, where one is.
const DELETED: &str = "_TAPELINE_DELETED";

/// How rows replace those with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upsert {
    /// One MERGE.
    Merge,
    /// DELETE and INSERT, for a server that cannot MERGE inside a transaction.
    DeleteInsert,
}

/// The loaded lines as typed columns, one row a line.
///
/// Values travel as JSON: text as JSON strings, decimals as JSON strings too, so
/// that no JSON parser on the way makes a double of them.
fn typed(table: &Table, generation: i64, has_deletes: bool) -> String {
    let path = |key: &str| format!("l.{}:\"{}\"", ident(LOAD_COLUMN), key.replace('"', "\"\""));
    let mut columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| match column.ty {
            ColumnType::Json => format!("{} AS {}", path(&column.name), ident(&column.name)),
            ty => format!("{}::{} AS {}", path(&column.name), sql_type(ty), ident(&column.name)),
        })
        .collect();
    columns.extend(table.metadata.iter().map(|metadata| {
        let value = match metadata {
            Metadata::RawId => "UUID_STRING()".to_owned(),
            Metadata::ExtractedAt => format!("{}::TIMESTAMP_TZ(9)", path(LINE_EXTRACTED_AT)),
            Metadata::Changes => path(LINE_META),
            Metadata::Generation => generation.to_string(),
        };
        format!("{value} AS {}", ident(metadata.column()))
    }));
    columns.push(format!("{}::NUMBER(38,0) AS {}", path(LINE_NUMBER), ident(ORDER)));
    if has_deletes {
        columns.push(format!("COALESCE({}::BOOLEAN, FALSE) AS {}", path(LINE_DELETED), ident(DELETED)));
    }
    format!("SELECT {} FROM {} AS l", columns.join(", "), ident(LOAD))
}

/// The typed lines, of those with the same key only the last, by version first.
fn latest(table: &Table, generation: i64, has_deletes: bool) -> String {
    let version = table.version().map(|name| format!("{} DESC NULLS LAST, ", ident(name)));
    let version = version.unwrap_or_default();
    format!(
        "SELECT * FROM ({}) AS r QUALIFY ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {version}{} DESC) = 1",
        typed(table, generation, has_deletes),
        idents(table.key.iter().map(String::as_str)),
        ident(ORDER)
    )
}

/// A subquery for [`BATCH`](crate::sink::BATCH).
pub(super) fn batch(table: &Table, is_by_key: bool, has_deletes: bool) -> String {
    let own = table.columns.iter().map(|column| column.name.as_str());
    let at = Some(Metadata::ExtractedAt).filter(|at| table.has(*at)).map(Metadata::column);
    let columns = idents(own.chain(at));
    let (rows, live) = match is_by_key {
        true => (latest(table, 0, has_deletes), has_deletes),
        false => (typed(table, 0, false), false),
    };
    let live = if live { format!(" WHERE NOT {}", ident(DELETED)) } else { String::new() };
    format!("(SELECT {columns} FROM ({rows}) AS r{live})")
}

fn same_key(table: &Table) -> String {
    let pairs: Vec<String> =
        table.key.iter().map(|key| format!("t.{0} IS NOT DISTINCT FROM s.{0}", ident(key))).collect();
    pairs.join(" AND ")
}

/// Adds every line.
pub(super) fn append(target: &str, table: &Table, generation: i64) -> Vec<String> {
    let columns = idents(table.names());
    vec![format!(
        "INSERT INTO {target} ({columns}) SELECT {columns} FROM ({}) AS r",
        typed(table, generation, false)
    )]
}

/// Adds the last line of each key in place of the row with that key, or takes that away
/// where the line is a delete; not where that row has a greater version.
pub(super) fn upsert(
    how: Upsert,
    target: &str,
    table: &Table,
    generation: i64,
    has_deletes: bool,
) -> Vec<String> {
    let names = idents(table.names());
    let source = latest(table, generation, has_deletes);
    let on = same_key(table);
    let newer = table.version().map(ident).map(|name| format!("(t.{name} IS NULL OR t.{name} <= s.{name})"));
    let and_newer = newer.map(|newer| format!(" AND {newer}")).unwrap_or_default();
    let deleted = format!("s.{}", ident(DELETED));
    match how {
        Upsert::Merge => {
            let set: Vec<String> = table
                .names()
                .filter(|name| !table.key.iter().any(|key| key == name))
                .map(|name| format!("t.{0} = s.{0}", ident(name)))
                .collect();
            let values: Vec<String> = table.names().map(|name| format!("s.{}", ident(name))).collect();
            let (delete, live) = match has_deletes {
                true => (
                    format!(" WHEN MATCHED AND {deleted}{and_newer} THEN DELETE"),
                    format!(" AND NOT {deleted}"),
                ),
                false => (String::new(), String::new()),
            };
            // A delete that is older than the row does nothing.
            let update = if and_newer.is_empty() { String::new() } else { format!("{live}{and_newer}") };
            vec![format!(
                "MERGE INTO {target} AS t USING ({source}) AS s ON {on}{delete} \
                 WHEN MATCHED{update} THEN UPDATE SET {} \
                 WHEN NOT MATCHED{live} THEN INSERT ({names}) VALUES ({})",
                set.join(", "),
                values.join(", ")
            )]
        }
        Upsert::DeleteInsert => {
            let mut conditions = Vec::new();
            if has_deletes {
                conditions.push(format!("NOT {deleted}"));
            }
            if !and_newer.is_empty() {
                conditions.push(format!("NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {on})"));
            }
            let place = if conditions.is_empty() { "" } else { " WHERE " };
            let conditions = conditions.join(" AND ");
            vec![
                format!("DELETE FROM {target} AS t USING ({source}) AS s WHERE {on}{and_newer}"),
                format!(
                    "INSERT INTO {target} ({names}) SELECT {names} FROM ({source}) AS s{place}{conditions}"
                ),
            ]
        }
    }
}

/// Partitions that one statement names: far below the 16,384 elements that a
/// list may have [Snowflake: limits of IN].
const PARTITIONS_PER_STATEMENT: usize = 1_000;

/// Conditions that the rows of parts of a table fulfil, each with its values.
/// Partitions of the same days, which slices nearly always are, share one.
fn parts(extents: &[Extent]) -> Vec<(String, Vec<String>)> {
    let mut same_days: BTreeMap<String, Vec<&Extent>> = BTreeMap::new();
    for extent in extents {
        same_days.entry(stretch(extent)).or_default().push(extent);
    }
    let mut conditions = Vec::new();
    for (stretch, extents) in same_days {
        for extents in extents.chunks(PARTITIONS_PER_STATEMENT) {
            let values: Vec<String> = extents
                .iter()
                .filter_map(|extent| extent.partition.as_ref())
                .map(|(_, value)| value.to_string())
                .collect();
            let list = if values.is_empty() {
                String::new()
            } else {
                format!("{})", vec!["?"; values.len()].join(", "))
            };
            conditions.push((format!("{stretch}{list}"), values));
        }
    }
    conditions
}

fn of_parts(head: &str, extents: &[Extent]) -> Vec<Statement> {
    let statement = |(condition, values): (String, Vec<String>)| {
        let statement = Statement::new(format!("{head} WHERE {condition}"));
        values.into_iter().fold(statement, Statement::text)
    };
    parts(extents).into_iter().map(statement).collect()
}

/// Deletes the rows of parts of the table.
pub(super) fn clear(target: &str, extents: &[Extent]) -> Vec<Statement> {
    of_parts(&format!("DELETE FROM {target} AS t"), extents)
}

/// Counts the rows of parts of the table: the sum of all answers.
pub(super) fn count(target: &str, extents: &[Extent]) -> Vec<Statement> {
    of_parts(&format!("SELECT CAST(COUNT(*) AS VARCHAR) FROM {target} AS t"), extents)
}

/// A condition that holds when parts of the table have no rows, and its values.
pub(super) fn is_clear(target: &str, extents: &[Extent]) -> (String, Vec<String>) {
    let (conditions, values): (Vec<String>, Vec<Vec<String>>) = parts(extents).into_iter().unzip();
    let condition = format!("NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {})", conditions.join(" OR "));
    (condition, values.concat())
}

/// A condition of [`parts`], as far as the list of partitions, if it has one.
fn stretch(extent: &Extent) -> String {
    let cursor = ident(&extent.cursor);
    let until = extent.until.map(|until| format!(" AND t.{cursor} < {}", bound(until)));
    let partition = extent.partition.as_ref().map(|(column, _)| format!(" AND t.{} IN (", ident(column)));
    format!(
        "t.{cursor} >= {}{}{}",
        bound(extent.from),
        until.unwrap_or_default(),
        partition.unwrap_or_default()
    )
}

fn bound(bound: Bound) -> String {
    match bound {
        Bound::Day(day) => format!("'{day}'::{}", sql_type(ColumnType::Date)),
        Bound::Time(time) => format!("'{time}'::{}", sql_type(ColumnType::Timestamp)),
    }
}

/// Makes the rows of `next` the whole of `target`. INSERT OVERWRITE, unlike
/// SWAP, is no DDL: it commits together with the progress.
pub(super) fn replace(target: &str, next: &str, table: &Table) -> String {
    let columns = idents(table.names());
    format!("INSERT OVERWRITE INTO {target} ({columns}) SELECT {columns} FROM {next}")
}

/// A query that says whether a table has rows, and all of them are of this generation.
pub(super) fn is_wholly_of(target: &str, generation: i64) -> String {
    let column = ident(Metadata::Generation.column());
    format!(
        "SELECT CAST(COUNT(*) AS VARCHAR), CAST(COUNT_IF({column} = {generation}) AS VARCHAR) FROM {target}"
    )
}

/// True when `target` holds exactly one generation, in the number of `next`; where its rows
/// do not say of which they are, when they are those of `next` in the columns that have an
/// order.
pub(super) fn is_replaced(target: &str, next: &str, table: &Table, generation: i64) -> String {
    let as_many = format!("(SELECT COUNT(*) FROM {target}) = (SELECT COUNT(*) FROM {next})");
    if table.has(Metadata::Generation) {
        let column = ident(Metadata::Generation.column());
        return format!(
            "{as_many} AND NOT EXISTS (SELECT 1 FROM {target} WHERE {column} IS DISTINCT FROM {generation})"
        );
    }
    let ordered = table.columns.iter().filter(|column| column.ty != ColumnType::Json);
    let columns = idents(ordered.map(|column| column.name.as_str()));
    if columns.is_empty() {
        return as_many;
    }
    format!("{as_many} AND NOT EXISTS (SELECT {columns} FROM {target} EXCEPT SELECT {columns} FROM {next})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Width};

    fn table() -> Table {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty, doc: String::new() };
        Table::new(
            "t",
            vec![
                column("ticker", ColumnType::Text),
                column("price", ColumnType::Decimal(Width::PRICE)),
                column("extra", ColumnType::Json),
            ],
            &["ticker"],
        )
    }

    #[test]
    fn merge_is_null_safe_and_takes_the_last_of_a_key() {
        let sql = upsert(Upsert::Merge, "\"T\"", &table(), 3, false).remove(0);
        assert!(sql.contains("ON t.\"TICKER\" IS NOT DISTINCT FROM s.\"TICKER\""), "{sql}");
        assert!(sql.contains("PARTITION BY \"TICKER\" ORDER BY \"_TAPELINE_N\" DESC) = 1"), "{sql}");
        assert!(sql.contains("l.\"_TAPELINE_ROW\":\"price\"::NUMBER(38,9) AS \"PRICE\""), "{sql}");
        assert!(sql.contains("l.\"_TAPELINE_ROW\":\"extra\" AS \"EXTRA\""), "{sql}");
        assert!(!sql.contains("t.\"TICKER\" = s"), "{sql}");
        assert!(sql.contains("3 AS \"_AIRBYTE_GENERATION_ID\""), "{sql}");
    }

    /// What is nobody's concern who has neither deletes nor versions is in no statement.
    #[test]
    fn deletes_and_versions_are_asked_for_where_they_are() {
        let plain = upsert(Upsert::Merge, "\"T\"", &table(), 3, false).remove(0);
        assert!(plain.contains("\"TICKER\" WHEN MATCHED THEN UPDATE"), "{plain}");
        assert!(plain.contains(" WHEN NOT MATCHED THEN INSERT"), "{plain}");
        let deletes = upsert(Upsert::Merge, "\"T\"", &table(), 3, true).remove(0);
        assert!(deletes.contains(" WHEN MATCHED AND s.\"_TAPELINE_DELETED\" THEN DELETE WHEN MATCHED THEN"));
        assert!(deletes.contains(" WHEN NOT MATCHED AND NOT s.\"_TAPELINE_DELETED\" THEN"), "{deletes}");
        let versions = Table { version: Some("price".to_owned()), ..table() };
        let sql = upsert(Upsert::Merge, "\"T\"", &versions, 3, false).remove(0);
        assert!(sql.contains("ORDER BY \"PRICE\" DESC NULLS LAST, \"_TAPELINE_N\" DESC"), "{sql}");
        assert!(
            sql.contains(" WHEN MATCHED AND (t.\"PRICE\" IS NULL OR t.\"PRICE\" <= s.\"PRICE\") THEN UPDATE")
        );
        for how in [Upsert::Merge, Upsert::DeleteInsert] {
            let of_key = Table { version: Some("ticker".to_owned()), ..table() };
            assert_eq!(upsert(how, "\"T\"", &of_key, 3, true), upsert(how, "\"T\"", &table(), 3, true));
        }
    }

    #[test]
    fn parts_of_the_same_days_are_cleared_together_and_values_are_bound() {
        let extent = |ticker: Option<&str>, day: i8| Extent {
            partition: ticker.map(|ticker| ("ticker".to_owned(), ticker.into())),
            cursor: "timestamp".to_owned(),
            from: Bound::Time(crate::calendar::day_start(jiff::civil::date(2024, 3, day))),
            until: (day == 8).then(|| Bound::Day(jiff::civil::date(2024, 3, 11))),
        };
        let extents = [extent(Some("A"), 8), extent(None, 9), extent(Some("O'B"), 8)];
        let statements = clear("\"T\"", &extents);
        let sql: Vec<_> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(
            sql,
            [
                "DELETE FROM \"T\" AS t WHERE t.\"TIMESTAMP\" >= '2024-03-08T05:00:00Z'::TIMESTAMP_TZ(9) \
                 AND t.\"TIMESTAMP\" < '2024-03-11'::DATE AND t.\"TICKER\" IN (?, ?)",
                "DELETE FROM \"T\" AS t WHERE t.\"TIMESTAMP\" >= '2024-03-09T05:00:00Z'::TIMESTAMP_TZ(9)",
            ]
        );
        assert_eq!(statements[0].binds, Statement::new("").text("A").text("O'B").binds);
        let many: Vec<_> = (0..=PARTITIONS_PER_STATEMENT).map(|n| extent(Some(&n.to_string()), 8)).collect();
        assert_eq!(clear("\"T\"", &many).len(), 2);
    }
}
