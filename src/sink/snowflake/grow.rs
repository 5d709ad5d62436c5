//! Tables that learn columns while their rows come.

use std::sync::Arc;

use super::names::tell_names;
use super::{SnowflakeSink, StreamId, broken, evolve};
use crate::error::Result;
use crate::table::Table;

impl SnowflakeSink {
    /// Gives the table of a stream columns; see [`crate::sink::Sink::evolve`]. It is DDL,
    /// which commits by itself, and no transaction is open. Lines that wait, on the stage
    /// too, name their columns: they are read as lines without values there.
    pub(super) async fn grow(&mut self, id: StreamId, table: &Arc<Table>) -> Result<()> {
        let table = self.numbers.table(table);
        tell_names(&table);
        let stream = self.opened(id)?;
        let name = stream.name();
        let claim = stream.claim(self.session.as_ref(), &name);
        // Whoever took the stream over may know the columns otherwise.
        let grown = match claim.must_hold().await {
            Ok(()) => evolve::fit(&claim, &table).await,
            Err(error) => Err(error),
        };
        let held = match grown {
            Ok(held) => Arc::new(held),
            Err(error) => return Err(self.unless_overtaken(Some(id), error).await),
        };
        let stream = self.stream(id)?;
        stream.target.table = Arc::clone(&held);
        stream.writer.as_mut().ok_or_else(broken)?.grow(&held);
        Ok(())
    }
}
