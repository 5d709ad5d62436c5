//! The table of progress, and what keeps two processes from moving the same one.
//!
//! Every change of a row adds one to its version and names the version that the
//! writer saw; a change that touches no row was overtaken. Opening a stream is
//! such a change too: whoever had it open before cannot commit any more.

use super::client::Warehouse;
use super::ddl::{LOAD, Place, ident};
use super::statement::Statement;
use crate::error::{Error, ErrorKind, Result};

/// Name of the table.
pub(super) const TABLE: &str = "_TAPELINE_PROGRESS";
/// The key of a row that belongs to no stream. Snowflake enforces no unique key:
/// who adds a row holds this one's lock, so that two cannot add the same.
const LOCK_ROW: &str = "";

/// The stored progress of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub progress: Option<String>,
    pub version: i64,
    /// The current run of an overwritten stream; 0 before the first.
    pub generation: i64,
    /// Whether the progress counts rows of the table itself or of the one that
    /// will replace it.
    pub overwrite: bool,
}

/// What `open` found out, and by what the row is addressed from then on.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub progress: Option<String>,
    pub version: i64,
    pub generation: i64,
    /// Whether rows of an earlier, abandoned run must go first.
    pub fresh: bool,
    /// Whether the run before collected its rows beside the table.
    pub was_staged: bool,
}

fn conflict(key: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("another process moved the progress of {key} in Snowflake"))
        .hint("let only one process at a time write a stream; the other one's rows and progress are complete")
}

/// Creates the table, with its lock row in the same statement.
pub(super) async fn ensure(session: &dyn Warehouse, place: &Place) -> Result<()> {
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {} AS SELECT CAST('' AS VARCHAR) AS \"PROGRESS_KEY\", \
         CAST(NULL AS VARCHAR) AS \"PROGRESS\", CAST(0 AS NUMBER(38,0)) AS \"VERSION\", \
         CAST(0 AS NUMBER(38,0)) AS \"GENERATION\", CAST(FALSE AS BOOLEAN) AS \"OVERWRITE\", \
         CAST(CURRENT_TIMESTAMP() AS TIMESTAMP_TZ) AS \"UPDATED_AT\"",
        place.table(TABLE)
    );
    session.execute(Statement::new(sql)).await.map(|_| ())
}

/// Reads a stream's row.
pub(super) async fn read(session: &dyn Warehouse, place: &Place, key: &str) -> Result<Option<Row>> {
    let sql = format!(
        "SELECT CAST(\"PROGRESS\" AS VARCHAR), CAST(\"VERSION\" AS VARCHAR), CAST(\"GENERATION\" AS VARCHAR), \
         CAST(\"OVERWRITE\" AS VARCHAR) FROM {} WHERE \"PROGRESS_KEY\" = ?",
        place.table(TABLE)
    );
    let rows = session.execute(Statement::new(sql).text(key)).await?;
    let malformed = || {
        Error::new(
            ErrorKind::State,
            format!("the progress of {key} in {} cannot be read", place.table(TABLE)),
        )
        .hint("restore the row, or delete it to read the stream anew")
    };
    let [row] = rows.as_slice() else {
        return if rows.is_empty() { Ok(None) } else { Err(malformed()) };
    };
    let [progress, version, generation, overwrite] = row.as_slice() else { return Err(malformed()) };
    let number =
        |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok()).ok_or_else(malformed);
    let overwrite = match overwrite.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => return Err(malformed()),
    };
    Ok(Some(Row {
        progress: progress.clone(),
        version: number(version)?,
        generation: number(generation)?,
        overwrite,
    }))
}

/// Reads a stream's row, adding it if there is none.
async fn read_or_add(session: &dyn Warehouse, place: &Place, key: &str) -> Result<Row> {
    if let Some(row) = read(session, place, key).await? {
        return Ok(row);
    }
    let table = place.table(TABLE);
    let statements = [
        Statement::new("BEGIN TRANSACTION"),
        Statement::new(format!("UPDATE {table} SET \"VERSION\" = \"VERSION\" + 1 WHERE \"PROGRESS_KEY\" = ?"))
            .text(LOCK_ROW),
        Statement::new(format!(
            "INSERT INTO {table} (\"PROGRESS_KEY\", \"VERSION\", \"GENERATION\", \"OVERWRITE\", \"UPDATED_AT\") \
             SELECT ?, 0, 0, FALSE, CURRENT_TIMESTAMP() \
             WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE \"PROGRESS_KEY\" = ?)"
        ))
        .text(key)
        .text(key),
        Statement::new("COMMIT"),
    ];
    for statement in statements {
        if let Err(error) = session.execute(statement).await {
            return Err(rolled_back(session, error).await);
        }
    }
    read(session, place, key).await?.ok_or_else(|| conflict(key))
}

/// Undoes the open transaction; `error` is what matters.
pub(super) async fn rolled_back(session: &dyn Warehouse, error: Error) -> Error {
    if let Err(second) = session.execute(Statement::new("ROLLBACK")).await {
        tracing::debug!(error = second.report(), "could not roll back");
    }
    error
}

/// How a stream is taken over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takeover {
    /// Whether rows go to a table that will replace the other.
    pub staged: bool,
    /// The number of the run, where somebody else counts the runs.
    pub generation: Option<i64>,
    /// Whether the rows that the progress speaks of are still there; a table that
    /// somebody dropped is read anew.
    pub kept: bool,
}

/// Takes over a stream: from here on, nobody else's commit can succeed.
pub(super) async fn claim(
    session: &dyn Warehouse,
    place: &Place,
    key: &str,
    takeover: Takeover,
) -> Result<Claim> {
    let row = read_or_add(session, place, key).await?;
    let Takeover { staged: overwrite, generation, kept } = takeover;
    let same_run = !overwrite || generation.is_none_or(|generation| generation == row.generation);
    let goes_on = kept && same_run && row.overwrite == overwrite && row.progress.is_some();
    if row.progress.is_some() && !kept {
        tracing::warn!(progress_key = key, "the table of this progress is gone: reading from the beginning");
    }
    let claim = Claim {
        progress: row.progress.filter(|_| goes_on),
        version: row.version + 1,
        generation: match generation {
            Some(generation) => generation,
            None if overwrite && !goes_on => row.generation + 1,
            None => row.generation,
        },
        fresh: overwrite && !goes_on,
        was_staged: row.overwrite,
    };
    let sql = format!(
        "UPDATE {} SET \"PROGRESS\" = ?, \"VERSION\" = ?, \"GENERATION\" = ?, \"OVERWRITE\" = {}, \
         \"UPDATED_AT\" = CURRENT_TIMESTAMP() WHERE \"PROGRESS_KEY\" = ? AND \"VERSION\" = ?",
        place.table(TABLE),
        if overwrite { "TRUE" } else { "FALSE" },
    );
    let statement = Statement::new(sql)
        .optional(claim.progress.as_deref())
        .integer(claim.version)
        .integer(claim.generation)
        .text(key)
        .integer(row.version);
    moved(session, place, key, row.version, statement).await?;
    Ok(claim)
}

/// Condition under which [`advance`] moves the progress.
pub(super) enum Provided {
    /// None: there are no rows.
    Nothing,
    /// The load table holds this many lines. They are there only inside the
    /// transaction that copied them, so progress cannot move without its rows,
    /// even if the server gave up the transaction on the way.
    Loaded(i64),
    /// This SQL is true.
    Sql(String),
}

/// Moves the progress from `version` to the next one.
pub(super) async fn advance(
    session: &dyn Warehouse,
    place: &Place,
    key: &str,
    version: i64,
    progress: Option<&str>,
    provided: Provided,
) -> Result<()> {
    let condition = match &provided {
        Provided::Nothing => String::new(),
        Provided::Loaded(_) => format!(" AND (SELECT COUNT(*) FROM {}) = ?", ident(LOAD)),
        Provided::Sql(sql) => format!(" AND {sql}"),
    };
    let sql = format!(
        "UPDATE {} SET \"PROGRESS\" = ?, \"VERSION\" = \"VERSION\" + 1, \"UPDATED_AT\" = CURRENT_TIMESTAMP() \
         WHERE \"PROGRESS_KEY\" = ? AND \"VERSION\" = ?{condition}",
        place.table(TABLE)
    );
    let mut statement = Statement::new(sql).optional(progress).text(key).integer(version);
    if let Provided::Loaded(lines) = provided {
        statement = statement.integer(lines);
    }
    moved(session, place, key, version, statement).await
}

/// Runs an UPDATE that must touch exactly one row, and says why it did not.
async fn moved(
    session: &dyn Warehouse,
    place: &Place,
    key: &str,
    version: i64,
    statement: Statement,
) -> Result<()> {
    let outcome = session.execute(statement).await;
    if let Ok(answer) = &outcome
        && answer.first().and_then(|row| row.first()?.as_deref()) == Some("1")
    {
        return Ok(());
    }
    // Whether the row is where it was decides between "overtaken" and a failure.
    let failed = rolled_back(session, outcome.err().unwrap_or_else(|| incomplete(key))).await;
    match read(session, place, key).await {
        Ok(row) if row.as_ref().is_none_or(|row| row.version != version) => {
            Err(conflict(key).caused_by(failed))
        }
        _ => Err(failed),
    }
}

fn incomplete(key: &str) -> Error {
    Error::new(
        ErrorKind::SinkUnavailable,
        format!("snowflake did not load all rows of {key}, so nothing was committed"),
    )
}

/// Checks after COMMIT that it took place: COMMIT also succeeds when the server
/// had already given up the transaction.
pub(super) async fn must_be_at(
    session: &dyn Warehouse,
    place: &Place,
    key: &str,
    version: i64,
) -> Result<()> {
    match read(session, place, key).await? {
        Some(row) if row.version == version => Ok(()),
        Some(row) if row.version > version => Err(conflict(key)),
        _ => Err(Error::new(
            ErrorKind::SinkUnavailable,
            format!("snowflake gave up the transaction of {key} before its commit"),
        )),
    }
}
