//! Whether a file takes what a run would write to it.

use super::client::{Database, execute};
use super::ddl::{self, Place};
use crate::error::Result;

/// The schema that is tried, beside those that people look into; it is gone again when the
/// trial is over.
const SCHEMA: &str = "_tapeline_check";

/// Creates a schema with a table and drops both again; all of it is committed, so that the
/// disk has to take it.
///
/// # Errors
/// As a run that would write there.
pub(super) fn try_rights(database: &Database) -> Result<()> {
    let connection = database.connect()?;
    let table = Place::new(&database.catalog, SCHEMA, "tried").sql();
    let what = || "could not create a table".to_owned();
    execute(&connection, "BEGIN", what)?;
    ddl::ensure_schema(&connection, &database.catalog, SCHEMA)?;
    execute(&connection, &format!("CREATE OR REPLACE TABLE {table} AS SELECT 1 AS one"), what)?;
    execute(&connection, "COMMIT", what)?;
    ddl::drop_schema(&connection, &database.catalog, SCHEMA)
}
