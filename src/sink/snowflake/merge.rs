//! From the load table into the target.

use super::ddl::{GENERATION, LOAD, LOAD_COLUMN, METADATA, ident, idents, sql_type};
use crate::catalog::{ColumnType, Table};

/// Keys of a loaded line beside those of the row. Columns are lower case, so
/// these cannot be one.
pub(super) const LINE_NUMBER: &str = "N";
pub(super) const LINE_EXTRACTED_AT: &str = "AT";
pub(super) const LINE_META: &str = "META";
/// The line's number as a column.
const ORDER: &str = "_TAPELINE_N";

/// How rows replace those with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upsert {
    /// One MERGE.
    Merge,
    /// DELETE and INSERT, for a server that cannot MERGE inside a transaction.
    DeleteInsert,
}

/// All columns of the target, in order.
pub(super) fn columns(table: &Table) -> impl Iterator<Item = &str> {
    table.columns.iter().map(|column| column.name.as_str()).chain(METADATA.iter().map(|(name, _)| *name))
}

/// The loaded lines as typed columns, one row a line.
///
/// Values travel as JSON: text as JSON strings, decimals as JSON strings too, so
/// that no JSON parser on the way makes a double of them.
fn typed(table: &Table, generation: i64) -> String {
    let path = |key: &str| format!("l.{}:\"{}\"", ident(LOAD_COLUMN), key.replace('"', "\"\""));
    let mut columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| match column.ty {
            ColumnType::Json => format!("{} AS {}", path(&column.name), ident(&column.name)),
            ty => format!("{}::{} AS {}", path(&column.name), sql_type(ty), ident(&column.name)),
        })
        .collect();
    let metadata = [
        "UUID_STRING()".to_owned(),
        format!("{}::TIMESTAMP_TZ(9)", path(LINE_EXTRACTED_AT)),
        path(LINE_META),
        generation.to_string(),
    ];
    columns.extend(
        METADATA.iter().zip(metadata).map(|((name, _), value)| format!("{value} AS {}", ident(name))),
    );
    columns.push(format!("{}::NUMBER(38,0) AS {}", path(LINE_NUMBER), ident(ORDER)));
    format!("SELECT {} FROM {} AS l", columns.join(", "), ident(LOAD))
}

/// The typed lines, of those with the same key only the last.
fn latest(table: &Table, generation: i64) -> String {
    format!(
        "SELECT * FROM ({}) AS r QUALIFY ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {} DESC) = 1",
        typed(table, generation),
        idents(table.key.iter().map(String::as_str)),
        ident(ORDER)
    )
}

fn same_key(table: &Table) -> String {
    let pairs: Vec<String> =
        table.key.iter().map(|key| format!("t.{0} IS NOT DISTINCT FROM s.{0}", ident(key))).collect();
    pairs.join(" AND ")
}

/// Adds every line.
pub(super) fn append(target: &str, table: &Table, generation: i64) -> Vec<String> {
    let columns = idents(columns(table));
    vec![format!(
        "INSERT INTO {target} ({columns}) SELECT {columns} FROM ({}) AS r",
        typed(table, generation)
    )]
}

/// Adds the last line of each key in place of the row with that key. A table
/// without a key has nothing to replace by.
pub(super) fn upsert(how: Upsert, target: &str, table: &Table, generation: i64) -> Vec<String> {
    if table.key.is_empty() {
        return append(target, table, generation);
    }
    let names = idents(columns(table));
    let source = latest(table, generation);
    let on = same_key(table);
    match how {
        Upsert::Merge => {
            let set: Vec<String> = columns(table)
                .filter(|name| !table.key.iter().any(|key| key == name))
                .map(|name| format!("t.{0} = s.{0}", ident(name)))
                .collect();
            let values: Vec<String> = columns(table).map(|name| format!("s.{}", ident(name))).collect();
            vec![format!(
                "MERGE INTO {target} AS t USING ({source}) AS s ON {on} \
                 WHEN MATCHED THEN UPDATE SET {} \
                 WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({})",
                set.join(", "),
                values.join(", ")
            )]
        }
        Upsert::DeleteInsert => vec![
            format!("DELETE FROM {target} AS t USING ({source}) AS s WHERE {on}"),
            format!("INSERT INTO {target} ({names}) SELECT {names} FROM ({source}) AS s"),
        ],
    }
}

/// Makes the rows of `next` the whole of `target`. INSERT OVERWRITE, unlike
/// SWAP, is no DDL: it commits together with the progress.
pub(super) fn replace(target: &str, next: &str, table: &Table) -> String {
    let columns = idents(columns(table));
    format!("INSERT OVERWRITE INTO {target} ({columns}) SELECT {columns} FROM {next}")
}

/// True when `target` holds exactly one generation, in the number of `next`.
pub(super) fn is_replaced(target: &str, next: &str, generation: i64) -> String {
    let column = ident(GENERATION);
    format!(
        "(SELECT COUNT(*) FROM {target}) = (SELECT COUNT(*) FROM {next}) \
         AND NOT EXISTS (SELECT 1 FROM {target} WHERE {column} IS DISTINCT FROM {generation})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Column;

    fn table() -> Table {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty, doc: String::new() };
        Table {
            name: "t".to_owned(),
            columns: vec![
                column("ticker", ColumnType::Text),
                column("price", ColumnType::Decimal),
                column("extra", ColumnType::Json),
            ],
            key: vec!["ticker".to_owned()],
            cursor: None,
        }
    }

    #[test]
    fn merge_is_null_safe_and_takes_the_last_of_a_key() {
        let sql = upsert(Upsert::Merge, "\"T\"", &table(), 3).remove(0);
        assert!(sql.contains("ON t.\"TICKER\" IS NOT DISTINCT FROM s.\"TICKER\""), "{sql}");
        assert!(sql.contains("PARTITION BY \"TICKER\" ORDER BY \"_TAPELINE_N\" DESC) = 1"), "{sql}");
        assert!(sql.contains("l.\"_TAPELINE_ROW\":\"price\"::NUMBER(38,18) AS \"PRICE\""), "{sql}");
        assert!(sql.contains("l.\"_TAPELINE_ROW\":\"extra\" AS \"EXTRA\""), "{sql}");
        assert!(!sql.contains("t.\"TICKER\" = s"), "{sql}");
        assert!(sql.contains("3 AS \"_AIRBYTE_GENERATION_ID\""), "{sql}");
    }

    #[test]
    fn without_a_key_rows_are_added() {
        let table = Table { key: Vec::new(), ..table() };
        assert_eq!(upsert(Upsert::Merge, "\"T\"", &table, 0), append("\"T\"", &table, 0));
    }
}
