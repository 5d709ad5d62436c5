//! A stream: its table, its transaction, and the rows that go in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use duckdb::{Connection, OptionalExt};

use super::client::{Database, execute, failed, literal, quoted};
use super::ddl::{self, Place};
use super::evolve;
use super::feed::{self, Feed, Load};
use super::merge::{self, Key};
use super::progress::{Progress, Stored};
use super::{Target, WriteMode};
use crate::catalog::{ColumnType, Table};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::sink::{EXTRACTED_AT, GENERATION, META, RAW_ID};

/// A stream that is open in the sink.
pub(super) struct Stream {
    connection: Connection,
    target: Target,
    /// The table that readers see.
    table: Place,
    /// The table that rows go to: `table`, or the one that will replace it.
    into: Place,
    progress: Progress,
    generation: i64,
    /// Whether rows go to a table that will replace the other.
    is_staged: bool,
    /// `into` with the types that its columns have.
    held: Table,
    feed: Arc<Feed>,
    key: Key,
    json: &'static str,
    in_transaction: bool,
    /// Shared with the other side of the channel.
    failed: Arc<AtomicBool>,
    failure: Option<Error>,
}

impl Stream {
    /// Creates or widens the tables, and reads the progress.
    pub fn open(
        database: &Database,
        index: usize,
        target: Target,
        failed_flag: Arc<AtomicBool>,
    ) -> Result<(Self, Option<String>)> {
        let connection = database.connect()?;
        let target = Target { table: database.numbers.table(&target.table), ..target };
        let schema = target.schema.as_ref().unwrap_or(&database.schema);
        let catalog = &database.catalog;
        let name = target.table.name.clone();
        let table = Place { catalog: catalog.clone(), schema: schema.clone(), name };
        let feed = Feed::register(&connection, index, &target.table)
            .map_err(|error| failed("could not register a table function", error))?;
        execute(&connection, "BEGIN", || "could not begin a transaction".to_owned())?;
        ddl::ensure_schema(&connection, catalog, &database.schema)?;
        ddl::ensure_schema(&connection, catalog, schema)?;
        let mut stream = Self {
            progress: Progress::open(&connection, catalog, &database.schema, &target.progress_key)?,
            key: Key::of(&target.table),
            held: (*target.table).clone(),
            connection,
            into: table.clone(),
            table,
            generation: target.run.map_or(0, |run| run.generation),
            is_staged: false,
            feed,
            json: database.json,
            in_transaction: false,
            failed: failed_flag,
            failure: None,
            target,
        };
        let is_staged = stream.target.mode.is_staged();
        let progress = match is_staged && !stream.is_replaced()? {
            true => stream.resume_run()?,
            false if is_staged => {
                // Of a run that is finished already there is nothing to go on with.
                stream.target.mode = stream.target.mode_going_on();
                stream.resume_table()?;
                None
            }
            false => stream.resume_table()?,
        };
        execute(&stream.connection, "COMMIT", || "could not commit the tables".to_owned())?;
        Ok((stream, progress))
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.target.table.name
    }

    /// The table that rows go to, with the types that its columns have.
    pub fn held(&self) -> &Table {
        &self.held
    }

    /// Progress speaks of rows: where the table is gone, it is void.
    fn resume_table(&mut self) -> Result<Option<String>> {
        if !ddl::exists(&self.connection, &self.table)? {
            ddl::create(&self.connection, &self.table, &self.target.table, self.json)?;
            self.progress.forget(&self.connection, false)?;
            return Ok(None);
        }
        self.held = evolve::fit(&self.connection, &self.table, &self.target.table, self.json)?;
        let stored = self.progress.read(&self.connection, false)?;
        if self.target.run.is_none() {
            self.generation = stored.as_ref().map_or(0, |stored| stored.generation);
        }
        Ok(stored.and_then(|stored| stored.state))
    }

    /// Whether the rows of the generation that somebody else counts have replaced
    /// the table already: more of them are added to it.
    fn is_replaced(&self) -> Result<bool> {
        let Some(run) = self.target.run else { return Ok(false) };
        let stored = self.progress.read(&self.connection, false)?;
        Ok(stored.is_some_and(|stored| stored.generation == run.generation)
            && self.progress.read(&self.connection, true)?.is_none()
            && ddl::exists(&self.connection, &self.table)?
            && ddl::is_wholly_of(&self.connection, &self.table, run.generation)?)
    }

    /// Goes on with an unfinished run, or begins a new one: also where columns
    /// changed their types since, because its rows are ours to read again.
    fn resume_run(&mut self) -> Result<Option<String>> {
        self.is_staged = true;
        self.into.name = format!("_tapeline_next_{}", self.table.name);
        // Refuses to replace a table that is not ours before anything is loaded.
        ddl::exists(&self.connection, &self.table)?;
        let run = self.target.run.map(|run| run.generation);
        if let Some(stored) = self.progress.read(&self.connection, true)?
            && run.is_none_or(|run| run == stored.generation)
            && ddl::exists(&self.connection, &self.into)?
            && let Ok(held) = evolve::fit(&self.connection, &self.into, &self.target.table, self.json)
        {
            self.held = held;
            self.generation = stored.generation;
            self.target.mode = self.target.mode_going_on();
            return Ok(stored.state);
        }
        let last = self.progress.read(&self.connection, false)?;
        self.generation = run.unwrap_or(last.map_or(0, |stored| stored.generation) + 1);
        self.progress.forget(&self.connection, true)?;
        ddl::drop_table(&self.connection, &self.into)?;
        ddl::create(&self.connection, &self.into, &self.target.table, self.json)?;
        Ok(None)
    }

    /// Adds rows to the transaction. What fails is told by the next call that
    /// returns something; until a rollback nothing more is taken.
    pub fn write(&mut self, load: Load) {
        if self.failed.load(Ordering::Acquire) || load.columns.is_empty() {
            return;
        }
        if let Err(error) = self.load(load) {
            self.failure = Some(error);
            self.failed.store(true, Ordering::Release);
        }
    }

    fn load(&mut self, load: Load) -> Result<()> {
        self.ensure_transaction()?;
        evolve::make_room(&self.connection, &self.into, &mut self.held, &load.columns)?;
        let load = Arc::new(load);
        self.feed.set(Some(Arc::clone(&load)));
        let loaded = self.load_fed(&load);
        self.feed.set(None);
        let what = || format!("could not load rows into {}", self.into.sql());
        loaded.map_err(|error| failed(&what(), error))
    }

    fn load_fed(&self, load: &Load) -> duckdb::Result<()> {
        if self.target.mode == WriteMode::AppendDedup
            && let Some(extent) = &load.replaces
        {
            let part = merge::within(extent);
            self.delete_where(&part, || merge::delete(&self.into, &part))?;
        }
        if self.target.mode.replaces_by_key() && !self.target.table.key.is_empty() {
            let range = self.key.range(&load.columns);
            self.delete_where(&range, || self.key.delete(&self.into, &self.feed.sql(), &range))?;
        }
        failpoint::pass();
        self.connection.prepare_cached(&self.insert(load))?.execute([])?;
        Ok(())
    }

    /// Runs the statement if the table has rows that fulfil the condition: looking
    /// costs next to nothing, and there are none in nearly all batches.
    fn delete_where(&self, condition: &str, statement: impl FnOnce() -> String) -> duckdb::Result<()> {
        let probe = merge::probe(&self.into, condition);
        if self.connection.query_row(&probe, [], |_| Ok(())).optional()?.is_some() {
            failpoint::pass();
            self.connection.execute(&statement(), [])?;
        }
        Ok(())
    }

    fn insert(&self, load: &Load) -> String {
        let columns = &self.target.table.columns;
        let own = columns.iter().map(|column| quoted(&column.name));
        let names: Vec<String> = own.chain([RAW_ID, EXTRACTED_AT, META, GENERATION].map(quoted)).collect();
        let json = self.json;
        let mut values: Vec<String> = columns
            .iter()
            .map(|column| match column.ty {
                ColumnType::Json => format!("{}::{json}", quoted(&column.name)),
                _ => quoted(&column.name),
            })
            .collect();
        let meta = if load.has_changes() { quoted(META) } else { literal(&feed::plain_meta(&self.target)) };
        values.extend([
            quoted(RAW_ID),
            quoted(EXTRACTED_AT),
            format!("{meta}::{json}"),
            self.generation.to_string(),
        ]);
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {}",
            self.into.sql(),
            names.join(", "),
            values.join(", "),
            self.feed.sql_of(&load.columns)
        )
    }

    /// Tells what failed since the last rollback, if something did.
    pub fn flush(&mut self) -> Result<()> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let told = || Error::bug("a write failed before, and the stream was not rolled back");
        Err(self.failure.take().unwrap_or_else(told))
    }

    /// Makes the rows and `state` durable.
    pub fn commit(&mut self, state: &str) -> Result<()> {
        self.flush()?;
        self.ensure_transaction()?;
        let stored = Stored { state: Some(state.to_owned()), generation: self.generation };
        self.progress.write(&self.connection, self.is_staged, &stored)?;
        self.end_transaction()
    }

    /// Forgets the rows since the last commit.
    pub fn rollback(&mut self) -> Result<()> {
        self.failure = None;
        if std::mem::take(&mut self.in_transaction) {
            execute(&self.connection, "ROLLBACK", || "could not roll back".to_owned())?;
            // With the rows went the room that was made for them.
            self.held = evolve::fit(&self.connection, &self.into, &self.target.table, self.json)?;
        }
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Ends the run: an overwritten table changes over to the new rows.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        if self.in_transaction {
            return Err(Error::bug("a stream was finished with rows that were not committed"));
        }
        if !self.is_staged {
            return Ok(());
        }
        self.ensure_transaction()?;
        let stored = self.progress.read(&self.connection, true)?;
        let stored = stored.unwrap_or(Stored { state: None, generation: self.generation });
        self.progress.forget(&self.connection, true)?;
        self.progress.write(&self.connection, false, &stored)?;
        ddl::replace(&self.connection, &self.table, &self.into)?;
        self.end_transaction()
    }

    fn end_transaction(&mut self) -> Result<()> {
        self.in_transaction = false;
        execute(&self.connection, "COMMIT", || format!("could not commit rows to {}", self.into.sql()))
    }

    fn ensure_transaction(&mut self) -> Result<()> {
        if !self.in_transaction {
            execute(&self.connection, "BEGIN", || "could not begin a transaction".to_owned())?;
            self.in_transaction = true;
        }
        Ok(())
    }
}
