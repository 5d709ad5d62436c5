//! What version 1 of this program stored, read from where it was.

use super::{FIRST, FIRST_KEY, SHARDS, truth, while_at};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::Target;
use crate::sink::lifecycle::Head;
use crate::sink::snowflake::client::Warehouse;
use crate::sink::snowflake::ddl::{Place, Tables};
use crate::sink::snowflake::statement::Statement;

/// What version 1 stored of one stream.
#[derive(Debug)]
pub(in crate::sink::snowflake) struct First {
    /// The progress.
    pub progress: Option<String>,
    /// Whether it is of an unfinished run that fills a table beside the other.
    pub staged: bool,
    generation: i64,
}

impl First {
    /// Where version 1 stored progress, if it did in this schema; after [`ensure`](super::ensure).
    pub fn place(place: &Place, tables: &Tables) -> Option<String> {
        let is_first = |name| tables.has_column(name, FIRST_KEY);
        (is_first(SHARDS) || is_first(FIRST)).then(|| place.table(FIRST))
    }

    /// Where it is, as long as nothing made room: see [`ensure`](super::ensure).
    pub fn existing(place: &Place, tables: &Tables) -> Option<String> {
        let name = [FIRST, SHARDS].into_iter().find(|name| tables.has_column(name, FIRST_KEY));
        name.map(|name| place.table(name))
    }

    /// Reads it from where it is.
    pub async fn read(session: &dyn Warehouse, table: &str, key: &str) -> Result<Option<Self>> {
        let sql = format!(
            "SELECT CAST(\"PROGRESS\" AS VARCHAR), CAST(\"GENERATION\" AS VARCHAR), CAST(\"OVERWRITE\" AS VARCHAR) \
             FROM {table} WHERE \"PROGRESS_KEY\" = ?"
        );
        let rows = session.execute(Statement::new(sql).text(key)).await?;
        let Some([progress, Some(generation), Some(overwrite)]) = rows.first().map(Vec::as_slice) else {
            return Ok(None);
        };
        let (Ok(generation), Some(staged)) = (generation.parse(), truth(overwrite)) else {
            return Err(Error::new(ErrorKind::State, format!("the progress in {table} cannot be read"))
                .hint("restore the table as it was, or choose another `schema` to load everything anew"));
        };
        // After a finished run nothing is stored.
        let staged = staged && progress.is_some();
        Ok(Some(Self { progress: progress.clone(), staged, generation }))
    }

    /// Forgets it, as long as the stream's row is at `head`: it was taken over.
    pub fn forget(table: &str, place: &Place, target: &Target, head: Head) -> Statement {
        let sql = format!("DELETE FROM {table} WHERE \"PROGRESS_KEY\" = ?");
        while_at(Statement::new(sql).text(target.first_key()), place, target, head)
    }

    /// The stream's row that stands for it.
    pub fn head(&self) -> Head {
        let next = self.staged.then_some(self.generation);
        let generation = if self.staged { self.generation - 1 } else { self.generation };
        Head { generation, next, ..Head::default() }
    }
}
