//! Tables that learn columns while their rows come.

use std::sync::Arc;

use super::super::ahead::Own;
use super::super::ddl::Tables;
use super::super::evolve;
use super::Writer;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::sink::Target;
use crate::table::Table;

impl Writer {
    /// Gives the table of a stream columns; see [`crate::sink::Sink::evolve`]. Returns how
    /// its rows are written from then on, and the types that they find in its columns.
    ///
    /// The columns have a transaction of their own: they are there for rows that are taken
    /// back and come again. So rows ahead of a stream whose table grows wait beside it.
    pub fn evolve(&mut self, index: usize, table: &Arc<Table>) -> Result<(Arc<Target>, Table)> {
        self.flush()?;
        if !self.in_shared.is_empty() {
            return Err(Error::bug("a table was to learn columns while rows were not committed"));
        }
        let table = self.database.numbers.table(table);
        let held = self.grow(index, &table).map_err(|error| error.in_stream(self.name(index)))?;
        let stream = &mut self.streams[index];
        let has = Table { metadata: held.metadata.clone(), ..(*table).clone() };
        stream.target = Arc::new(Target { table: Arc::new(has), ..(*stream.target).clone() });
        (stream.held, stream.committed) = (Arc::clone(&held), Arc::clone(&held));
        let mut told = (*held).clone();
        match &mut stream.own {
            None => {}
            Some(Own::Transaction(_)) => {
                return Err(Error::bug("a table was to learn columns that has rows ahead in it"));
            }
            Some(Own::Beside(connection, beside)) => {
                beside.grow(connection, &held, stream.json)?;
                beside.tell_micros(&mut told);
            }
        }
        Ok((Arc::clone(&stream.target), told))
    }

    /// Makes the columns of the table itself; returns it with the types that they have.
    fn grow(&mut self, index: usize, table: &Table) -> Result<Arc<Table>> {
        self.begin_shared()?;
        let (connection, stream) = (&self.shared, &self.streams[index]);
        failpoint::pass();
        let grown = Tables::read(connection)
            .and_then(|tables| evolve::fit(connection, &tables, &stream.into, table, stream.json));
        match grown {
            Ok(held) => {
                self.end_shared()?;
                Ok(Arc::new(held))
            }
            Err(error) => {
                self.undo_shared();
                Err(error)
            }
        }
    }
}
