//! Whether a schema takes what a run would write to it.

use super::client::Warehouse;
use super::ddl::Place;
use super::statement::Statement;
use crate::error::Result;

/// Creates a table and drops it again: the table of progress may be there already, and then
/// says nothing of the right to create another one. Two that try at once have two tables.
///
/// # Errors
/// As a run that would write there.
pub(super) async fn try_rights(session: &dyn Warehouse, place: &Place) -> Result<()> {
    let table = place.table(&format!("_TAPELINE_CHECK_{}", uuid::Uuid::new_v4().simple()));
    session.execute(Statement::new(format!("CREATE TRANSIENT TABLE {table} (ONE NUMBER(1,0))"))).await?;
    session.execute(Statement::new(format!("DROP TABLE {table}"))).await.map(drop)
}
