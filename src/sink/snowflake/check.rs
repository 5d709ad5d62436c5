//! Whether a schema takes what a run would write to it.

use super::SnowflakeSink;
use crate::error::Result;

/// The table that is tried; it is gone again when the trial is over.
const TABLE: &str = "_TAPELINE_CHECK";

impl SnowflakeSink {
    /// Creates a table and drops it again: the table of progress may be there already,
    /// and then says nothing of the right to create another one.
    ///
    /// # Errors
    /// As a run that would write there.
    pub async fn check(&self) -> Result<()> {
        let table = self.place.table(TABLE);
        self.run(format!("CREATE OR REPLACE TRANSIENT TABLE {table} (ONE NUMBER(1,0))")).await?;
        self.run(format!("DROP TABLE {table}")).await
    }
}
