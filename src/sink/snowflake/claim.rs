//! A table for as long as a stream that was taken over changes it.

use super::client::Warehouse;
use super::ddl::{Existing, Place};
use super::layer::server_code;
use super::names::held_name;
use super::progress;
use super::statement::Statement;
use crate::error::{Error, Result};
use crate::sink::Target;
use crate::sink::lifecycle::Head;

/// A table, and the stream for whose rows it is changed, as it was taken over.
pub(super) struct Claim<'a> {
    pub session: &'a dyn Warehouse,
    pub place: &'a Place,
    /// Name of the table.
    pub name: &'a str,
    pub target: &'a Target,
    pub head: Head,
}

impl Claim<'_> {
    /// The full name of the table.
    pub fn table(&self) -> String {
        self.place.table(self.name)
    }

    /// Its columns as they are.
    pub async fn columns(&self) -> Result<Vec<Existing>> {
        self.place.columns(self.session, self.name).await
    }

    /// ALTERs the table.
    pub async fn alter(&self, what: &str) -> Result<()> {
        self.run(format!("ALTER TABLE {} {what}", self.table())).await
    }

    pub async fn run(&self, sql: String) -> Result<()> {
        self.session.execute(Statement::new(sql)).await.map(drop)
    }

    /// # Errors
    /// [`crate::error::ErrorKind::Conflict`] when somebody else took the stream over, or fenced it off.
    pub async fn must_hold(&self) -> Result<()> {
        progress::must_be_at(self.session, self.place, self.target, self.head).await
    }

    /// What loading rows failed with: a conflict where somebody took a column that they go to
    /// away, be it for a moment.
    pub async fn unless_changing(&self, failed: Error) -> Error {
        let is_changing = match server_code(&failed) {
            Some("000904") => true,
            Some(_) => self.lacks_a_column().await,
            None => false,
        };
        if is_changing { progress::changing(&self.table()).caused_by(failed) } else { failed }
    }

    async fn lacks_a_column(&self) -> bool {
        let Ok(existing) = self.columns().await else { return false };
        let is_there = |name: &str| existing.iter().any(|found| found.name == held_name(name));
        !existing.is_empty() && !self.target.table.columns.iter().all(|column| is_there(&column.name))
    }
}
