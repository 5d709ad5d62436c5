//! The connection: opening a file, quoting, and what DuckDB's errors mean.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use duckdb::{AccessMode, Config, Connection};

use super::DuckDbConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::sink::numbers::Numbers;

/// How large the log grows before it is worked into the file. Twice DuckDB's
/// default: commits of 50,000 rows write 7 MB each, and working in rewrites the
/// last row group every time. A fifth of the load's time was spent on that.
const CHECKPOINT_THRESHOLD: &str = "32MB";

/// Row groups that DuckDB collects before it compresses them, and with them the
/// memory of a load. Its default of 5 lies 100 MB of bars by.
const ROW_GROUPS_COLLECTED: &str = "1";

/// With less, DuckDB cannot hold the row groups that it compresses.
pub(super) const MEMORY_LIMIT_MB_MIN: u32 = 64;

/// Schemas that every file has and nobody can write to.
pub(super) const OWN_SCHEMAS: [&str; 2] = ["information_schema", "pg_catalog"];

/// Files that this process has open. DuckDB's lock is one of processes, so a
/// second instance in this one would not be refused and damage the file.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// A file that is missing is created.
    Write,
    /// A file that is missing counts as an empty database, and others may look as well.
    Look,
}

/// An open database file.
pub(super) struct Database {
    /// Before `_claim`, so that the file is closed before another one may open it.
    connection: Connection,
    /// DuckDB's name of the file, which comes before the schema in full names.
    pub catalog: String,
    /// The schema that holds the tables.
    pub schema: String,
    /// As what numbers are kept.
    pub numbers: Numbers,
    /// The type of JSON columns.
    pub json: &'static str,
    memory_limit_mb: u32,
    _claim: Claim,
}

struct Claim(PathBuf);

impl Drop for Claim {
    fn drop(&mut self) {
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

impl Database {
    /// Opens the file.
    pub fn open(config: &DuckDbConfig, access: Access) -> Result<Self> {
        check(config)?;
        let path = checked_path(&config.path)?;
        let claim = claim(path)?;
        let is_missing = access == Access::Look && !path.exists();
        let mode = match access {
            Access::Look if !is_missing => AccessMode::ReadOnly,
            _ => AccessMode::ReadWrite,
        };
        let options = options(config, mode).map_err(|error| failed("could not configure DuckDB", error))?;
        let connection = match is_missing {
            true => Connection::open_in_memory_with_flags(options),
            false => Connection::open_with_flags(path, options),
        };
        let connection = connection.map_err(|error| refused(path, error))?;
        let json = json_type(&connection)?;
        let catalog = catalog(&connection)?;
        let (schema, memory_limit_mb) = (config.schema.clone(), config.memory_limit_mb);
        tell_ambiguous(&catalog, &schema);
        let numbers = config.numbers;
        Ok(Self { connection, catalog, schema, numbers, json, memory_limit_mb, _claim: claim })
    }

    /// Works the log into the file, and gives back the memory that DuckDB would keep for
    /// reading what was written: a block for each table, up to its limit.
    ///
    /// # Errors
    /// When the log cannot be worked in, or the limit cannot be set back.
    pub fn checkpoint(&self) -> Result<()> {
        execute(&self.connection, "CHECKPOINT", || "could not work the log into the file".to_owned())?;
        let limit = |megabytes: u32| format!("SET memory_limit = '{megabytes}MB'");
        // DuckDB refuses a limit that it cannot keep, after it gave back what it could.
        let _ = self.connection.execute_batch(&limit(MEMORY_LIMIT_MB_MIN));
        execute(&self.connection, &limit(self.memory_limit_mb), || {
            "could not set the memory limit".to_owned()
        })
    }

    /// A connection of its own, with its own transaction.
    pub fn connect(&self) -> Result<Connection> {
        self.connection.try_clone().map_err(|error| failed("could not connect to the database", error))
    }
}

/// Says of a schema whose name alonecould mean another thing how queries find its tables:
/// DuckDB looks among its databases first, and `temp` and `system` are two of them.
pub(super) fn tell_ambiguous(catalog: &str, schema: &str) {
    if [catalog, "temp", "system"].iter().any(|other| other.eq_ignore_ascii_case(schema)) {
        tracing::warn!(
            "the schema {schema} is called like a database: queries find its tables as {}.{}.<table>",
            quoted(catalog),
            quoted(schema)
        );
    }
}

/// What the schema of the configuration says, for those who do not check it.
fn check(config: &DuckDbConfig) -> Result<()> {
    if config.schema.is_empty() {
        return Err(Error::config("`schema` is empty").hint("leave it out for `polygon`"));
    }
    if OWN_SCHEMAS.iter().any(|own| own.eq_ignore_ascii_case(&config.schema)) {
        return Err(Error::config(format!("`schema` {} is DuckDB's own", config.schema))
            .hint("choose another name, or leave it out for `polygon`"));
    }
    if config.memory_limit_mb < MEMORY_LIMIT_MB_MIN {
        return Err(Error::config(format!("`memory_limit_mb` {} is too small", config.memory_limit_mb))
            .hint(format!("give DuckDB at least {MEMORY_LIMIT_MB_MIN}")));
    }
    if config.threads == Some(0) {
        return Err(Error::config("`threads` is 0").hint("leave it out for the default"));
    }
    Ok(())
}

fn options(config: &DuckDbConfig, mode: AccessMode) -> duckdb::Result<Config> {
    // Nothing is fetched from the network behind the user's back.
    Config::default()
        .access_mode(mode)?
        .enable_autoload_extension(false)?
        .custom_user_agent("tapeline")?
        .with("checkpoint_threshold", CHECKPOINT_THRESHOLD)?
        .with("write_buffer_row_group_count", ROW_GROUPS_COLLECTED)?
        .max_memory(&format!("{}MB", config.memory_limit_mb))?
        .threads(config.threads.map_or_else(threads, i64::from))
}

/// One thread a processor, less one for reading the API: rows are loaded by one
/// thread, and while it works DuckDB lets the thread that waits for it spin.
fn threads() -> i64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    i64::try_from(processors - 1).unwrap_or(1).max(1)
}

fn catalog(connection: &Connection) -> Result<String> {
    let name = connection.query_row("SELECT current_database()", [], |row| row.get(0));
    name.map_err(|error| failed("could not ask for the database's name", error))
}

/// JSON where the library has the extension, as DuckDB's own builds do.
fn json_type(connection: &Connection) -> Result<&'static str> {
    let query = "SELECT count(*) FROM duckdb_extensions() WHERE extension_name = 'json' AND loaded";
    let loaded: i64 = connection
        .query_row(query, [], |row| row.get(0))
        .map_err(|error| failed("could not list the extensions", error))?;
    Ok(if loaded > 0 { "JSON" } else { "VARCHAR" })
}

fn checked_path(path: &str) -> Result<&Path> {
    if path.is_empty() || path == ":memory:" || path.starts_with("md:") || path.starts_with("motherduck:") {
        return Err(Error::config(format!("`path` {path:?} is not a file"))
            .hint("give the path of a database file, such as market.duckdb"));
    }
    let path = Path::new(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Error::new(ErrorKind::Sink, format!("the folder {} does not exist", folder.display()))
            .hint("create it, or correct `path`"));
    }
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(path);
    };
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::Sink, format!("{} is a directory", path.display()))
            .hint("give `path` a file name, such as market.duckdb"));
    }
    // Root may write to it all the same, but somebody meant to protect the file.
    if metadata.permissions().readonly() {
        return Err(Error::new(
            ErrorKind::Sink,
            format!("the database file {} is read-only", path.display()),
        )
        .hint("make it writable, or choose another `path`"));
    }
    Ok(path)
}

fn claim(path: &Path) -> Result<Claim> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = fs::canonicalize(path)
        .or_else(|_| fs::canonicalize(folder).map(|folder| folder.join(path.file_name().unwrap_or_default())))
        .map_err(|error| {
            Error::new(ErrorKind::Io, format!("could not find {}", path.display())).caused_by(error)
        })?;
    if !OPEN.lock().unwrap_or_else(PoisonError::into_inner).insert(real.clone()) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("this process already has {} open", path.display()),
        )
        .hint("give each sink a database file of its own"));
    }
    Ok(Claim(real))
}

/// Runs statements that return nothing. `what` says what could not be done when
/// they fail.
pub(super) fn execute(connection: &Connection, sql: &str, what: impl FnOnce() -> String) -> Result<()> {
    failpoint::pass();
    connection.execute_batch(sql).map_err(|error| failed(&what(), error))
}

/// An identifier in quotes: the only way in which names come into SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What DuckDB says when a file cannot be opened. Its C interface has no codes
/// for this, so the words of the message have to do.
fn refused(path: &Path, error: duckdb::Error) -> Error {
    let message = error.to_string();
    let path = path.display();
    let has = |part: &str| message.contains(part);
    let described = if has("Could not set lock") || has("Conflicting lock") {
        let holder = between(&message, "(PID ", ")").map(|pid| format!(" (process {pid})"));
        Error::new(
            ErrorKind::Conflict,
            format!("another process has {path} open{}", holder.unwrap_or_default()),
        )
        .hint("close it first: DuckDB lets one process at a time write to a file")
    } else if has("version number") {
        Error::new(ErrorKind::Sink, format!("{path} was written by another version of DuckDB"))
            .hint("choose another `path`, or export the file's tables with the version that wrote it")
    } else if is_damaged(&message) {
        damaged(format!("the database file {path} is damaged or cut short"))
    } else if has("not a valid DuckDB database file") {
        Error::new(ErrorKind::Sink, format!("{path} is not a DuckDB database")).hint("choose another `path`")
    } else if has("Permission denied") || has("Read-only file system") {
        Error::new(ErrorKind::Sink, format!("no permission to write to {path}"))
            .hint("make the file and its folder writable, or choose another `path`")
    } else {
        return failed(&format!("could not open {path}"), error);
    };
    // Not the error itself: its own cause is the code 1, which all of them have.
    described.caused_by(message)
}

/// Whether a file holds something else than was written: nothing of it is safe then.
fn is_damaged(message: &str) -> bool {
    let words = [
        "Corrupt",
        "Could not read enough bytes",
        "checksum",
        "Failed to deserialize",
        "Serialization Error",
    ];
    words.iter().any(|words| message.contains(words))
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::Sink, message)
        .hint("restore it from a copy, or choose another `path` to load everything anew")
}

/// What a failed statement means. `what` says what was tried.
pub(super) fn failed(what: &str, error: duckdb::Error) -> Error {
    let message = error.to_string();
    let has = |part: &str| message.contains(part);
    let described = if has("No space left on device") || has("disk full") {
        Error::new(ErrorKind::Sink, format!("{what}: the disk is full"))
            .hint("free some space and start again; everything up to the last commit is safe")
    } else if has("File too large") {
        Error::new(ErrorKind::Sink, format!("{what}: the system lets the file grow no further"))
            .hint("raise the limit on file sizes and start again; everything up to the last commit is safe")
    } else if has("Out of Memory Error") {
        Error::new(ErrorKind::Sink, format!("{what}: DuckDB's memory limit does not suffice"))
            .hint("raise `memory_limit_mb`")
    } else if has("Conflict on ") || has("write-write conflict") || has("Transaction conflict") {
        Error::new(ErrorKind::Conflict, format!("{what}: another transaction changed the same rows"))
            .hint("start again")
    } else if is_damaged(&message) {
        damaged(format!("{what}: the database file is damaged or cut short"))
    } else if has("IO Error") {
        Error::new(ErrorKind::Io, what).hint("look at the disk; everything up to the last commit is safe")
    } else {
        Error::new(ErrorKind::Sink, what)
    };
    // Not the error itself: its own cause is the code 1, which all of them have.
    described.caused_by(message)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inner, _)| inner)
}
