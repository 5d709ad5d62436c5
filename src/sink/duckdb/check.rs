//! Whether a file takes what a run would write to it.

use super::DuckDbConfig;
use super::client::{Access, Database, execute};
use super::ddl::{self, Place};
use crate::error::Result;

/// The table that is tried; it is gone again when the trial is over.
const TABLE: &str = "_tapeline_check";

/// Opens the file, creates the schema where it is missing, and a table that it drops
/// again; all of it is committed, so that the disk has to take it.
///
/// # Errors
/// As a run that would write there.
pub(super) fn check(config: &DuckDbConfig) -> Result<()> {
    let database = Database::open(config, Access::Write)?;
    let connection = database.connect()?;
    let place = Place::new(&database.catalog, &config.schema, TABLE);
    let table = place.sql();
    let what = || format!("could not create a table in the schema {}", config.schema);
    execute(&connection, "BEGIN", what)?;
    ddl::ensure_schema(&connection, &place.catalog, &place.schema)?;
    execute(&connection, &format!("CREATE OR REPLACE TABLE {table} AS SELECT 1 AS one"), what)?;
    execute(&connection, "COMMIT", what)?;
    execute(&connection, &format!("DROP TABLE {table}"), what)
}
