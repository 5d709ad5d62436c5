//! The tables of progress, and what keeps two processes from moving the same one: a row
//! a stream, which says who writes which table, and a row a shard, which says how far
//! it is. They lie in the schema of the tables that they are about.
//!
//! Every change of a stream's row adds one to its version and names the version that the
//! writer saw; a change that touches no row was overtaken. Opening a stream is
//! such a change too: whoever had it open before cannot commit any more. Rows of
//! shards change only in a transaction that changed their stream's row.

mod first;

use std::sync::Arc;

use super::client::Warehouse;
use super::ddl::{LOAD, Place, Tables};
use super::names::ident;
use super::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::Target;
use crate::sink::lifecycle::{Head, Heads, Kept};
use crate::sink::ownership::{self, Standing};
use crate::sink::shards::{Shard, Shards};

pub(super) use first::First;

/// A row a stream.
pub(super) const STREAMS: &str = "_TAPELINE_STREAMS";
/// A row a shard.
pub(super) const SHARDS: &str = "_TAPELINE_PROGRESS";
/// What version 1 of this program called [`SHARDS`]: a row a stream, in the sink's schema.
const FIRST: &str = "_TAPELINE_PROGRESS_1";
/// A column that only version 1 had.
const FIRST_KEY: &str = "PROGRESS_KEY";
/// Pipeline and stream of a row that belongs to no stream. Snowflake enforces no unique
/// key: who adds a row holds this one's lock, so that two cannot add the same.
const LOCK_ROW: &str = "";
/// Shards that one statement names: far below the 16,384 elements that a list may
/// have [Snowflake: limits of IN].
const SHARDS_PER_STATEMENT: usize = 500;

/// A stream that another process took over.
fn conflict(stream: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("another process moved the progress of {stream} in Snowflake"))
        .hint("let only one process at a time write a stream; the other one's rows and progress are complete")
}

/// A stream whose table another process changed while this one had it open.
pub(super) fn changing(table: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("another process is changing a column of the table {table}"))
        .hint("run it again: it goes on from the stored progress, with the column as it is then")
}

/// Whose row it is that is not as it `was`: opening a stream counts an epoch, fencing it off
/// does not. Nor does a commit, which comes between a look at a stream and its opening: of a
/// table that is not shared it is the only one.
fn overtaken(place: &Place, target: &Target, was: Head, is: Option<Head>) -> Error {
    match is {
        Some(is) if is.epoch == was.epoch && ownership::shares(target) => {
            changing(&place.table(&target.table.name))
        }
        _ => conflict(&target.stream),
    }
}

/// Creates the tables unless they exist, with the lock row in the same statement. Those
/// of version 1 make room.
pub(super) async fn ensure(session: &dyn Warehouse, place: &Place, tables: &Tables) -> Result<()> {
    let run = async |sql: String| session.execute(Statement::new(sql)).await.map(drop);
    if tables.has_column(SHARDS, FIRST_KEY) {
        let renamed =
            run(format!("ALTER TABLE {} RENAME TO {}", place.table(SHARDS), place.table(FIRST))).await;
        // Another process that begins at the same time may have been first.
        if let Err(error) = renamed
            && place.tables(session).await?.has_column(SHARDS, FIRST_KEY)
        {
            return Err(error);
        }
    }
    let (text, number) = ("AS VARCHAR)", "AS NUMBER(38,0))");
    run(format!(
        "CREATE TABLE IF NOT EXISTS {} AS SELECT CAST('' {text} AS \"PIPELINE\", CAST('' {text} AS \"STREAM\", \
         CAST('' {text} AS \"TABLE_NAME\", CAST('' {text} AS \"MODE\", CAST(FALSE AS BOOLEAN) AS \"SHARED\", \
         CAST(0 {number} AS \"EPOCH\", CAST(0 {number} AS \"VERSION\", CAST(0 {number} AS \"GENERATION\", \
         CAST(NULL {number} AS \"NEXT_GENERATION\", CAST(CURRENT_TIMESTAMP() AS TIMESTAMP_TZ) AS \"UPDATED_AT\"",
        place.table(STREAMS)
    ))
    .await?;
    run(format!(
        "CREATE TABLE IF NOT EXISTS {} (\"PIPELINE\" VARCHAR NOT NULL, \"STREAM\" VARCHAR NOT NULL, \
         \"STAGED\" BOOLEAN NOT NULL, \"SHARD\" VARCHAR NOT NULL, \"POSITION\" VARCHAR NOT NULL, \
         \"VERSION\" NUMBER(38,0) NOT NULL, \"EPOCH\" NUMBER(38,0) NOT NULL, \"UPDATED_AT\" TIMESTAMP_TZ NOT NULL)",
        place.table(SHARDS)
    ))
    .await
}

/// The rows of all streams of a schema.
pub(super) async fn heads(session: &dyn Warehouse, place: &Place) -> Result<Heads> {
    let sql = format!("{} FROM {} WHERE \"PIPELINE\" <> ''", select_heads(), place.table(STREAMS));
    let rows = session.execute(Statement::new(sql)).await?;
    rows.iter().map(|row| kept(row).ok_or_else(|| malformed(place, STREAMS))).collect()
}

/// The row of one stream.
pub(super) async fn head(session: &dyn Warehouse, place: &Place, target: &Target) -> Result<Option<Head>> {
    let sql =
        format!("{} FROM {} WHERE \"PIPELINE\" = ? AND \"STREAM\" = ?", select_heads(), place.table(STREAMS));
    let statement = Statement::new(sql).text(&target.pipeline).text(&target.stream);
    match session.execute(statement).await?.as_slice() {
        [] => Ok(None),
        [row] => kept(row).map(|(_, kept)| Some(kept.head)).ok_or_else(|| malformed(place, STREAMS)),
        _ => Err(malformed(place, STREAMS)),
    }
}

fn select_heads() -> String {
    let columns =
        ["PIPELINE", "STREAM", "TABLE_NAME", "SHARED", "EPOCH", "VERSION", "GENERATION", "NEXT_GENERATION"];
    let casts: Vec<String> = columns.iter().map(|name| format!("CAST({} AS VARCHAR)", ident(name))).collect();
    format!("SELECT {}", casts.join(", "))
}

fn kept(row: &[Option<String>]) -> Option<((String, String), Kept)> {
    let [
        Some(pipeline),
        Some(stream),
        Some(table),
        Some(shared),
        Some(epoch),
        Some(version),
        Some(generation),
        next,
    ] = row
    else {
        return None;
    };
    let next = match next {
        Some(next) => Some(next.parse().ok()?),
        None => None,
    };
    let head = Head {
        epoch: epoch.parse().ok()?,
        version: version.parse().ok()?,
        generation: generation.parse().ok()?,
        next,
    };
    let kept = Kept { head, table: table.clone(), shared: truth(shared)? };
    Some(((pipeline.clone(), stream.clone()), kept))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn malformed(place: &Place, table: &str) -> Error {
    Error::new(ErrorKind::State, format!("the progress in {} cannot be read", place.table(table)))
        .hint("restore the table as it was, or choose another `schema` to load everything anew")
}

/// When a stream's row last changed, RFC 3339 in UTC.
pub(super) async fn updated_at(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
) -> Result<Option<String>> {
    let sql = format!(
        "SELECT CAST(CAST(DATE_PART(EPOCH_SECOND, \"UPDATED_AT\") AS NUMBER(38,0)) AS VARCHAR) FROM {} \
         WHERE \"PIPELINE\" = ? AND \"STREAM\" = ?",
        place.table(STREAMS)
    );
    let statement = Statement::new(sql).text(&target.pipeline).text(&target.stream);
    let rows = session.execute(statement).await?;
    let seconds = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
    Ok(seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).map(|at| at.to_string()))
}

/// The shards of a stream with their positions and versions.
pub(super) async fn shards(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    staged: bool,
) -> Result<Shards> {
    let sql = format!(
        "SELECT CAST(\"SHARD\" AS VARCHAR), CAST(\"POSITION\" AS VARCHAR), CAST(\"VERSION\" AS VARCHAR) FROM {} {}",
        place.table(SHARDS),
        of_stream(staged)
    );
    let rows = session.execute(Statement::new(sql).text(&target.pipeline).text(&target.stream)).await?;
    let shard = |row: &Vec<Option<String>>| match row.as_slice() {
        [Some(shard), Some(position), Some(version)] => {
            Some((Arc::from(shard.as_str()), (position.clone(), version.parse().ok()?)))
        }
        _ => None,
    };
    rows.iter().map(|row| shard(row).ok_or_else(|| malformed(place, SHARDS))).collect()
}

fn of_stream(staged: bool) -> &'static str {
    match staged {
        true => "WHERE \"PIPELINE\" = ? AND \"STREAM\" = ? AND \"STAGED\" = TRUE",
        false => "WHERE \"PIPELINE\" = ? AND \"STREAM\" = ? AND \"STAGED\" = FALSE",
    }
}

/// Adds the row of a stream that has none, unless somebody else did meanwhile.
///
/// # Errors
/// As [`Standing::must_be_alone_or_share`], when somebody else began to write to the table meanwhile;
/// [`ErrorKind::Conflict`], when somebody else opened the stream meanwhile: what it stored, and
/// the rows that it speaks of, came after the look that says that there is nothing.
pub(super) async fn add(session: &dyn Warehouse, place: &Place, target: &Target) -> Result<Head> {
    let table = place.table(STREAMS);
    let shared = ownership::shares(target);
    let (truth, unless) = if shared { ("TRUE", " AND NOT \"SHARED\"") } else { ("FALSE", "") };
    let name = target.table.name.to_lowercase();
    let statements = [
        Statement::new("BEGIN TRANSACTION"),
        Statement::new(format!("UPDATE {table} SET \"VERSION\" = \"VERSION\" + 1 WHERE \"PIPELINE\" = ?"))
            .text(LOCK_ROW),
        Statement::new(format!(
            "INSERT INTO {table} (\"PIPELINE\", \"STREAM\", \"TABLE_NAME\", \"MODE\", \"SHARED\", \"EPOCH\", \
             \"VERSION\", \"GENERATION\", \"UPDATED_AT\") \
             SELECT ?, ?, ?, '', {truth}, 0, 0, 0, CURRENT_TIMESTAMP() \
             WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE \"PIPELINE\" = ? AND \"STREAM\" = ?) \
             AND NOT EXISTS (SELECT 1 FROM {table} WHERE \"TABLE_NAME\" = ?{unless})"
        ))
        .text(&target.pipeline)
        .text(&target.stream)
        .text(name.as_str())
        .text(&target.pipeline)
        .text(&target.stream)
        .text(name.as_str()),
        Statement::new("COMMIT"),
    ];
    for statement in statements {
        if let Err(error) = session.execute(statement).await {
            return Err(rolled_back(session, error).await);
        }
    }
    match head(session, place, target).await? {
        Some(head) if head.epoch == 0 => Ok(head),
        Some(_) => Err(conflict(&target.stream)),
        None => {
            let heads = heads(session, place).await?;
            let standing = Standing { target, heads: &heads, is_of_first: false };
            standing.must_be_alone_or_share(&place.table(&target.table.name))?;
            Err(conflict(&target.stream))
        }
    }
}

/// Forgets all of a stream of another pipeline whose table is gone.
pub(super) async fn release(
    session: &dyn Warehouse,
    place: &Place,
    (pipeline, stream): &(String, String),
) -> Result<()> {
    // First what says whose the shards are: a process that dies between the two leaves them to
    // a stream that begins anew and forgets them.
    for table in [STREAMS, SHARDS] {
        let sql = format!("DELETE FROM {} WHERE \"PIPELINE\" = ? AND \"STREAM\" = ?", place.table(table));
        session.execute(Statement::new(sql).text(pipeline).text(stream)).await?;
    }
    Ok(())
}

/// Undoes the open transaction; `error` is what matters.
pub(super) async fn rolled_back(session: &dyn Warehouse, error: Error) -> Error {
    if let Err(second) = session.execute(Statement::new("ROLLBACK")).await {
        tracing::debug!(error = second.report(), "could not roll back");
    }
    error
}

/// Takes a stream over: from here on nobody else's commit of it can succeed.
pub(super) async fn claim(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    before: Head,
    head: Head,
) -> Result<()> {
    let sql = format!(
        "UPDATE {} SET \"TABLE_NAME\" = ?, \"MODE\" = ?, \"SHARED\" = {}, \"EPOCH\" = ?, \"VERSION\" = ?, \
         \"GENERATION\" = ?, \"NEXT_GENERATION\" = {}, \"UPDATED_AT\" = CURRENT_TIMESTAMP() \
         WHERE \"PIPELINE\" = ? AND \"STREAM\" = ? AND \"VERSION\" = ?",
        place.table(STREAMS),
        if target.shared { "TRUE" } else { "FALSE" },
        head.next.map_or_else(|| "NULL".to_owned(), |next| next.to_string()),
    );
    let statement = Statement::new(sql)
        .text(target.table.name.to_lowercase())
        .text(target.mode.as_str())
        .integer(head.epoch)
        .integer(head.version)
        .integer(head.generation)
        .text(&target.pipeline)
        .text(&target.stream)
        .integer(before.version);
    moved(session, place, target, before, statement).await
}

/// Fences off every other stream that writes to the table of `target`: what it has open
/// cannot commit any more. Whoever opens it from then on is left alone.
pub(super) async fn fence_others(session: &dyn Warehouse, place: &Place, target: &Target) -> Result<()> {
    let sql = format!(
        "UPDATE {} SET \"VERSION\" = \"VERSION\" + 1 WHERE \"TABLE_NAME\" = ? \
         AND NOT (\"PIPELINE\" = ? AND \"STREAM\" = ?)",
        place.table(STREAMS)
    );
    let statement = Statement::new(sql).text(target.table.name.to_lowercase());
    session.execute(statement.text(&target.pipeline).text(&target.stream)).await.map(drop)
}

/// A statement that changes rows of a stream, or what is stored of it, as long as the stream's row is at `head`.
/// What a server gave up of a transaction leaves the statements after it to run by themselves:
/// they would change what is another process's by then.
pub(super) fn while_at(statement: Statement, place: &Place, target: &Target, head: Head) -> Statement {
    let Statement { sql, binds } = statement;
    let sql = format!(
        "{sql} AND EXISTS (SELECT 1 FROM {} WHERE \"PIPELINE\" = ? AND \"STREAM\" = ? AND \"VERSION\" = ? AND \"EPOCH\" = ?)",
        place.table(STREAMS)
    );
    let statement = Statement { sql, binds }.text(&target.pipeline).text(&target.stream);
    statement.integer(head.version).integer(head.epoch)
}

/// Forgets a stream's shards, as long as its row is at `head`.
pub(super) async fn forget(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    staged: bool,
    head: Head,
) -> Result<()> {
    let sql = format!("DELETE FROM {} {}", place.table(SHARDS), of_stream(staged));
    let statement = Statement::new(sql).text(&target.pipeline).text(&target.stream);
    session.execute(while_at(statement, place, target, head)).await.map(drop)
}

/// The shards of a run that collected its rows beside the table are the table's now. `head` is
/// where the stream's row was moved in the same transaction.
pub(super) async fn change_over(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    head: Head,
) -> Result<()> {
    forget(session, place, target, false, head).await?;
    let sql = format!("UPDATE {} SET \"STAGED\" = FALSE {}", place.table(SHARDS), of_stream(true));
    let statement = Statement::new(sql).text(&target.pipeline).text(&target.stream);
    session.execute(while_at(statement, place, target, head)).await.map(drop)
}

/// Condition under which [`advance`] moves the progress.
pub(super) enum Provided {
    /// None: there are no rows.
    Nothing,
    /// The load table holds this many lines. They are there only inside the
    /// transaction that copied them, so progress cannot move without its rows,
    /// even if the server gave up the transaction on the way.
    Loaded(i64),
    /// This SQL is true of these values: parts of the table have no rows any more.
    Cleared(String, Vec<String>),
    /// This SQL is true, and the run is finished.
    Finished(String),
}

/// Moves a stream's row to the next version, and to the next generation when its run is
/// finished. What is `kept` is SQL that must be true besides.
pub(super) async fn advance(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    head: Head,
    provided: Provided,
    kept: Option<&str>,
) -> Result<()> {
    let (finished, condition) = match &provided {
        Provided::Nothing => ("", String::new()),
        Provided::Loaded(_) => ("", format!(" AND (SELECT COUNT(*) FROM {}) = ?", ident(LOAD))),
        Provided::Cleared(sql, _) => ("", format!(" AND {sql}")),
        Provided::Finished(sql) => {
            (", \"GENERATION\" = \"NEXT_GENERATION\", \"NEXT_GENERATION\" = NULL", format!(" AND {sql}"))
        }
    };
    let kept = kept.map(|kept| format!(" AND {kept}")).unwrap_or_default();
    let sql = format!(
        "UPDATE {} SET \"VERSION\" = \"VERSION\" + 1{finished}, \"UPDATED_AT\" = CURRENT_TIMESTAMP() \
         WHERE \"PIPELINE\" = ? AND \"STREAM\" = ? AND \"VERSION\" = ?{condition}{kept}",
        place.table(STREAMS)
    );
    let mut statement = Statement::new(sql).text(&target.pipeline).text(&target.stream).integer(head.version);
    match provided {
        Provided::Loaded(lines) => statement = statement.integer(lines),
        Provided::Cleared(_, values) => statement = values.into_iter().fold(statement, Statement::text),
        Provided::Nothing | Provided::Finished(_) => {}
    }
    moved(session, place, target, head, statement).await
}

/// Moves shards of a stream whose row was moved to `head` in the same transaction.
pub(super) async fn move_shards(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    staged: bool,
    head: Head,
    shards: &[Shard<'_>],
) -> Result<()> {
    let table = place.table(SHARDS);
    let known: Vec<_> = shards.iter().filter(|(_, version)| *version > 0).collect();
    for some in known.chunks(SHARDS_PER_STATEMENT) {
        let marks = vec!["?"; some.len()].join(", ");
        let sql = format!("DELETE FROM {table} {} AND \"SHARD\" IN ({marks})", of_stream(staged));
        let statement = Statement::new(sql).text(&target.pipeline).text(&target.stream);
        let statement = some.iter().fold(statement, |statement, (moved, _)| statement.text(&*moved.shard));
        session.execute(while_at(statement, place, target, head)).await?;
    }
    let truth = if staged { "TRUE" } else { "FALSE" };
    let kept =
        |(moved, version): &Shard<'_>| Some((Arc::clone(&moved.shard), moved.position.clone()?, *version));
    let kept: Vec<(Arc<str>, String, i64)> = shards.iter().filter_map(kept).collect();
    for some in kept.chunks(SHARDS_PER_STATEMENT) {
        let columns = "\"SHARD\", \"POSITION\", \"VERSION\"";
        let row = "SELECT ? AS \"SHARD\", ? AS \"POSITION\", ? AS \"VERSION\"";
        let sql = format!(
            "INSERT INTO {table} (\"PIPELINE\", \"STREAM\", \"STAGED\", \"EPOCH\", {columns}, \"UPDATED_AT\") \
             SELECT ?, ?, {truth}, ?, {columns}, CURRENT_TIMESTAMP() FROM ({}) AS moved WHERE TRUE",
            vec![row; some.len()].join(" UNION ALL ")
        );
        let statement = Statement::new(sql).text(&target.pipeline).text(&target.stream).integer(head.epoch);
        let statement = some.iter().fold(statement, |statement, (shard, position, version)| {
            statement.text(&**shard).text(position.as_str()).integer(version + 1)
        });
        session.execute(while_at(statement, place, target, head)).await?;
    }
    Ok(())
}

/// Runs an UPDATE that must touch exactly one row, and says why it did not.
async fn moved(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    head: Head,
    statement: Statement,
) -> Result<()> {
    let stream = &target.stream;
    let outcome = session.execute(statement).await;
    if let Ok(answer) = &outcome
        && answer.first().and_then(|row| row.first()?.as_deref()) == Some("1")
    {
        return Ok(());
    }
    // Whether the row is where it was decides between "overtaken" and a failure.
    let failed = rolled_back(session, outcome.err().unwrap_or_else(|| incomplete(stream))).await;
    Err(unless_overtaken(session, place, target, head, failed).await)
}

/// What a statement of a transaction that was rolled back failed with: a conflict if the
/// stream's row is not as it `was` any more. Whoever took the stream over may have
/// dropped the table that the statement was about.
pub(super) async fn unless_overtaken(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    was: Head,
    failed: Error,
) -> Error {
    if failed.kind() == ErrorKind::Conflict {
        return failed;
    }
    match head(session, place, target).await {
        Ok(is) if is.is_none_or(|is| is.version != was.version) => {
            overtaken(place, target, was, is).caused_by(failed)
        }
        _ => failed,
    }
}

fn incomplete(stream: &str) -> Error {
    Error::new(
        ErrorKind::SinkUnavailable,
        format!("snowflake did not load all rows of {stream}, so nothing was committed"),
    )
}

/// Checks after COMMIT that it took place: COMMIT also succeeds when the server
/// had already given up the transaction. Whoever opened the stream then may have moved its row
/// to the same version, but under an epoch of its own.
pub(super) async fn must_be_at(
    session: &dyn Warehouse,
    place: &Place,
    target: &Target,
    was: Head,
) -> Result<()> {
    match head(session, place, target).await? {
        Some(is) if (is.version, is.epoch) == (was.version, was.epoch) => Ok(()),
        Some(is) if is.version >= was.version => Err(overtaken(place, target, was, Some(is))),
        _ => Err(Error::new(
            ErrorKind::SinkUnavailable,
            format!("snowflake gave up the transaction of {} before its commit", target.stream),
        )),
    }
}

/// What is stored of a stream: its row, unless it was only [added](add) and never
/// [claimed](claim), else what version 1 stored.
pub(super) fn stored(kept: Option<&Kept>, first: Option<&First>) -> Option<Head> {
    let kept = kept.map(|kept| kept.head).filter(|head| head.epoch > 0);
    kept.or(first.map(First::head))
}
