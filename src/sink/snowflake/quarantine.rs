//! The table of rejected rows of a schema. It is there before there is one, because rows
//! are rejected within transactions, and Snowflake commits before any DDL.

use super::client::Warehouse;
use super::ddl::{Place, Tables};
use super::statement::Statement;
use crate::batch::Reject;
use crate::error::Result;
use crate::sink::quarantine::{FIRST, ID, Named, named};
use crate::sink::{REJECTED, Target};

/// Rows that one statement adds.
const ROWS_PER_STATEMENT: usize = 500;

/// And their bytes.
const BYTES_PER_STATEMENT: usize = 1 << 20;

/// Creates the table unless it exists. One of version 1 makes room.
pub(super) async fn ensure(session: &dyn Warehouse, place: &Place, tables: &Tables) -> Result<()> {
    let is_first = |tables: &Tables| tables.has(REJECTED) && !tables.has_column(REJECTED, ID);
    let table = place.table(REJECTED);
    if is_first(tables) {
        let sql = format!("ALTER TABLE {table} RENAME TO {}", place.table(FIRST));
        let renamed = session.execute(Statement::new(sql)).await;
        // Another process that begins at the same time may have been first.
        if let Err(error) = renamed
            && is_first(&place.tables(session).await?)
        {
            return Err(error);
        }
    } else if tables.has(REJECTED) {
        return Ok(());
    }
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {table} (\"ID\" VARCHAR NOT NULL, \"PIPELINE\" VARCHAR NOT NULL, \
         \"STREAM\" VARCHAR NOT NULL, \"SHARD\" VARCHAR NOT NULL, \"REASON\" VARCHAR NOT NULL, \
         \"RECORD\" VARCHAR NOT NULL, \"REJECTED_AT\" TIMESTAMP_TZ NOT NULL)"
    );
    session.execute(Statement::new(sql)).await.map(drop)
}

/// Adds rejected rows of a stream in the open transaction, but those that are there.
/// Returns a condition that is true once all of them are.
pub(super) async fn add(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    rejected: &[Reject],
) -> Result<Option<String>> {
    if rejected.is_empty() {
        return Ok(None);
    }
    let table = place.table(REJECTED);
    let named = named(target, rejected);
    for some in portions(&named) {
        let row = "SELECT ? AS \"ID\", ? AS \"PIPELINE\", ? AS \"STREAM\", ? AS \"SHARD\", ? AS \"REASON\", ? AS \"RECORD\"";
        let sql = format!(
            "INSERT INTO {table} (\"ID\", \"PIPELINE\", \"STREAM\", \"SHARD\", \"REASON\", \"RECORD\", \"REJECTED_AT\") \
             SELECT \"ID\", \"PIPELINE\", \"STREAM\", \"SHARD\", \"REASON\", \"RECORD\", CURRENT_TIMESTAMP() \
             FROM ({}) AS \"CAME\" WHERE \"ID\" NOT IN (SELECT \"ID\" FROM {table})",
            vec![row; some.len()].join(" UNION ALL ")
        );
        let statement = some.iter().fold(Statement::new(sql), |statement, named| {
            let Reject { shard, reason, row } = named.reject;
            [&*named.id, &target.pipeline, &target.stream, shard, reason, row]
                .into_iter()
                .fold(statement, Statement::text)
        });
        session.execute(statement).await?;
    }
    // They are hexadecimal.
    let ids: Vec<String> = named.iter().map(|named| format!("'{}'", named.id)).collect();
    let condition =
        format!("(SELECT COUNT(*) FROM {table} WHERE \"ID\" IN ({})) >= {}", ids.join(", "), ids.len());
    Ok(Some(condition))
}

/// Cuts rows so that none of the pieces is too much for a statement.
fn portions<'a, 'b>(mut rows: &'a [Named<'b>]) -> Vec<&'a [Named<'b>]> {
    let mut portions = Vec::new();
    while !rows.is_empty() {
        let mut bytes = 0;
        let fits = |named: &&Named<'_>| {
            bytes += named.reject.row.len();
            bytes <= BYTES_PER_STATEMENT
        };
        let count = rows.iter().take(ROWS_PER_STATEMENT).take_while(fits).count().max(1);
        let (some, rest) = rows.split_at(count);
        portions.push(some);
        rows = rest;
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::quarantine::tests::reject;

    #[test]
    fn no_statement_is_too_long() {
        let rejects: Vec<Reject> = [3, BYTES_PER_STATEMENT - 3, 1, 2 * BYTES_PER_STATEMENT, 1]
            .map(|bytes| reject("", "", &"x".repeat(bytes)))
            .into_iter()
            .chain((0..=ROWS_PER_STATEMENT).map(|_| reject("", "", "{}")))
            .collect();
        let rows: Vec<Named<'_>> = rejects.iter().map(|reject| Named { id: String::new(), reject }).collect();
        let counts: Vec<usize> = portions(&rows).iter().map(|some| some.len()).collect();
        assert_eq!(counts, [2, 1, 1, ROWS_PER_STATEMENT, 2]);
        assert!(portions(&[]).is_empty());
    }
}
