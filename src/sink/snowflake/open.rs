//! Opening streams: their tables, whose they are, and the progress that is stored.
//!
//! Snowflake commits before any DDL, so a stream is taken over first, and only then
//! does anything go that another process may still have been writing. A process that
//! dies between two steps leaves what the next one takes for a run to begin anew.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::Warehouse;
use super::ddl::{Lifetime, Place, Tables};
use super::names::tell_names;
use super::progress::{self, First};
use super::statement::Statement;
use super::write::Writer;
use super::{Stream, evolve, look, merge, next_of, next_table, quarantine};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::lifecycle::{self, Facts, Head, Heads, Kept};
use crate::sink::numbers::Numbers;
use crate::sink::ownership::{self, Standing};
use crate::sink::shards::{self, Shards, Versions};
use crate::sink::{Stored, Target};
use crate::table::Metadata;

/// What is known of a schema while streams are opened.
struct Schema {
    place: Place,
    tables: Tables,
    heads: Heads,
}

/// What opening streams needs to know of the warehouse.
pub(super) struct Opening<'a> {
    session: &'a dyn Warehouse,
    home: &'a Place,
    numbers: Numbers,
    schemas: HashMap<String, Schema>,
    /// Where version 1 kept its progress.
    first: Option<String>,
}

impl<'a> Opening<'a> {
    pub fn new(session: &'a dyn Warehouse, home: &'a Place, numbers: Numbers) -> Self {
        Self { session, home, numbers, schemas: HashMap::new(), first: None }
    }

    /// Reads what is there in the sink's schema, and in those of the targets.
    ///
    /// # Errors
    /// When nothing can be opened.
    pub async fn begin(&mut self) -> Result<()> {
        let home = self.home.clone();
        let tables = home.tables(self.session).await?;
        self.first = First::place(&home, &tables);
        self.enter(home, tables).await
    }

    async fn enter(&mut self, place: Place, tables: Tables) -> Result<()> {
        progress::ensure(self.session, &place, &tables).await?;
        quarantine::ensure(self.session, &place, &tables).await?;
        let heads = progress::heads(self.session, &place).await?;
        self.schemas.insert(place.schema.clone(), Schema { place, tables, heads });
        Ok(())
    }

    async fn schema_of(&mut self, target: &Target) -> Result<&Schema> {
        let name = target.schema.as_ref().unwrap_or(&self.home.schema).clone();
        if !self.schemas.contains_key(&name) {
            let place = Place { schema: name.clone(), ..self.home.clone() };
            if place.ensure_schema(self.session).await? {
                self.home.enter(self.session).await?;
            }
            let tables = place.tables(self.session).await?;
            self.enter(place, tables).await?;
        }
        Ok(&self.schemas[&name])
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub async fn open(&mut self, target: &Target) -> Result<(Stream, Stored)> {
        self.schema_of(target).await?;
        self.release(target).await?;
        let target = &Target { table: self.numbers.table(&target.table), ..target.clone() };
        tell_names(&target.table);
        let name = target.schema.as_ref().unwrap_or(&self.home.schema);
        let Schema { place, tables, heads } = &self.schemas[name];
        let first = match &self.first {
            Some(table) => First::read(self.session, table, &target.first_key()).await?,
            None => None,
        };
        let standing = Standing { target, heads, is_of_first: first.is_some() };
        let kept = standing.kept();
        let stored = progress::stored(kept, first.as_ref());
        let next = next_table(target);
        let facts = self.facts(standing, stored.as_ref(), place, tables, &next).await?;
        let takeover = lifecycle::takeover(target, stored.as_ref(), facts);
        // The table of a run that replaces it takes the new types when the run is finished.
        if facts.table && !takeover.staged {
            let name = &target.table.name;
            evolve::check(self.session, place, tables.columns(name), name, target).await?;
        }
        // Before its table, which by itself does not always say that it is ours.
        let before = match kept {
            Some(kept) => kept.head,
            None => progress::add(self.session, place, target).await?,
        };
        let claimed =
            Head { version: before.version + 1, epoch: before.epoch + 1, ..takeover.head(stored.as_ref()) };
        let mut stream = Stream {
            table: place.table(&target.table.name),
            into: place.table(if takeover.staged { &next } else { &target.table.name }),
            place: place.clone(),
            head: claimed,
            generation: takeover.generation,
            is_staged: takeover.staged,
            versions: Versions::default(),
            first: self.first.clone().filter(|_| first.is_some()),
            writer: Some(Writer::new(target)),
            target: Target { mode: takeover.mode, ..target.clone() },
            lines: 0,
            files: 0,
            replaced: Vec::new(),
            attempt: 0,
        };
        let mut shards = Shards::new();
        if takeover.keeps {
            progress::claim(self.session, place, target, before, claimed).await?;
            shards = progress::shards(self.session, place, target, takeover.staged).await?;
        } else {
            self.claim_anew(&mut stream, before).await?;
        }
        // What is stored of a table that is gone is void before there is one again.
        if !facts.is_still_there() && stored.is_some() {
            progress::forget(self.session, place, target, false, stream.head).await?;
        }
        if !facts.table {
            place.create(self.session, &target.table.name, Lifetime::Lasting, &target.table).await?;
        }
        self.fit(&mut stream, tables, takeover.keeps).await?;
        // A run that nobody goes on with, or one that died before it could drop its table.
        if !takeover.staged && (target.mode.is_staged() || takeover.drops_next) {
            progress::forget(self.session, place, target, true, stream.head).await?;
            super::discard(self.session, &place.table(&next)).await;
        }
        let first = first.filter(|_| takeover.keeps && shards.is_empty());
        let text = self.text_of(&mut stream, first).await?;
        stream.versions = Versions::of(&shards);
        Ok((stream, Stored { positions: shards::positions(shards), text }))
    }

    /// Forgets streams of others that wrote to the target's table, where it is gone.
    ///
    /// The tables were read before the streams: where one is not there that a stream's row, the
    /// target's or another's, speaks of, another process may have made it since, and put rows into
    /// it. They are read again then.
    async fn release(&mut self, target: &Target) -> Result<()> {
        let name = target.schema.as_ref().unwrap_or(&self.home.schema);
        let Some(Schema { place, tables, heads }) = self.schemas.get_mut(name) else { return Ok(()) };
        let gone = |tables: &Tables| {
            ownership::without_table(target, heads, tables.has(&target.table.name), |pipeline, stream| {
                tables.has(&next_of(pipeline, stream, &target.table.name))
            })
        };
        let standing = Standing { target, heads, is_of_first: false };
        let kept = standing.kept().filter(|kept| kept.head.epoch > 0 && !standing.is_of_another());
        let lacks = |kept: &Kept| {
            !tables.has(&target.table.name) || (kept.head.next.is_some() && !tables.has(&next_table(target)))
        };
        if gone(tables).is_empty() && !kept.is_some_and(lacks) {
            return Ok(());
        }
        *tables = place.tables(self.session).await?;
        let gone = gone(tables);
        for key in &gone {
            progress::release(self.session, place, key).await?;
        }
        heads.retain(|key, _| !gone.contains(key));
        Ok(())
    }

    /// What is there, of which the stream must be one that may write to it.
    async fn facts(
        &self,
        standing: Standing<'_>,
        head: Option<&Head>,
        place: &Place,
        tables: &Tables,
        next: &str,
    ) -> Result<Facts> {
        let target = standing.target;
        let name = place.table(&target.table.name);
        standing.must_be_alone_or_share(&name)?;
        let table = tables.exists(place, standing)?;
        if table && !standing.knows_rows() {
            let rows = look::rows(self.session, &name, &[]).await?;
            standing.must_know_rows(&name, rows > 0)?;
        }
        let mut is_wholly_of_run = false;
        if let Some(run) = target.run
            && tables.has_column(&target.table.name, Metadata::Generation.column())
            && lifecycle::may_be_replaced(target, head)
        {
            let sql = merge::is_wholly_of(&name, run.generation);
            let counts = self.session.execute(Statement::new(sql)).await?;
            is_wholly_of_run = matches!(counts.first().map(Vec::as_slice),
                Some([Some(all), Some(of_run)]) if all == of_run && all != "0");
        }
        let has_next = tables.has(next)
            && match evolve::check(self.session, place, tables.columns(next), next, target).await {
                // Rows of an unfinished run are ours to read again.
                Err(error) if error.kind() == ErrorKind::Table => false,
                checked => checked.map(|()| true)?,
            };
        let is_of_another = standing.is_of_another();
        Ok(Facts { table, is_of_another, next: has_next, is_wholly_of_run })
    }

    /// Takes a stream over whose stored positions are void. A table beside the real one
    /// is emptied between two claims: only after the second does a run count as begun.
    async fn claim_anew(&self, stream: &mut Stream, before: Head) -> Result<()> {
        let Stream { place, target, .. } = &*stream;
        let begun = stream.head;
        let first = Head { next: None, ..begun };
        let claimed = async {
            self.session.execute(Statement::new("BEGIN TRANSACTION")).await?;
            progress::claim(self.session, place, target, before, first).await?;
            progress::forget(self.session, place, target, stream.is_staged, first).await?;
            if let Some(table) = &stream.first {
                self.session.execute(First::forget(table, place, target, first)).await?;
            }
            self.session.execute(Statement::new("COMMIT")).await.map(drop)
        };
        if let Err(error) = claimed.await {
            return Err(progress::rolled_back(self.session, error).await);
        }
        progress::must_be_at(self.session, place, target, first).await?;
        if stream.is_staged {
            self.make_next(place, target, first).await?;
            let second = begun.moved();
            progress::claim(self.session, place, target, first, second).await?;
            stream.head = second;
        }
        stream.first = None;
        Ok(())
    }

    /// Makes the table beside the real one, empty, for whoever has the stream's row at `head`.
    /// It is never put in the place of another one: a process that was stopped here and goes on
    /// while the next one fills its own would empty that without a word. The most that it can
    /// do is drop it, and every statement of the other one fails then.
    async fn make_next(&self, place: &Place, target: &Target, head: Head) -> Result<()> {
        let next = next_table(target);
        let mut tried = Ok(());
        // An answer that got lost is asked for again: the second time the table is there.
        for _ in 0..2 {
            super::drop_table(self.session, &place.table(&next)).await?;
            progress::must_be_at(self.session, place, target, head).await?;
            tried = place.create(self.session, &next, Lifetime::OneRun, &target.table).await;
            if tried.is_ok() {
                return Ok(());
            }
            progress::must_be_at(self.session, place, target, head).await?;
        }
        tried
    }

    /// The progress that a stream goes on from which version 1 stored. Where it does not, that
    /// is forgotten.
    async fn text_of(&self, stream: &mut Stream, first: Option<First>) -> Result<Option<String>> {
        let text = first.filter(|first| first.staged == stream.is_staged).and_then(|first| first.progress);
        if let (Some(table), None) = (&stream.first, &text) {
            let Stream { place, target, head, .. } = &*stream;
            self.session.execute(First::forget(table, place, target, *head)).await?;
            stream.first = None;
        }
        Ok(text)
    }

    /// Makes the table that rows go to take them, when it was there before.
    async fn fit(&self, stream: &mut Stream, tables: &Tables, keeps: bool) -> Result<()> {
        let name = stream.name();
        if tables.has(&name) && (keeps || !stream.is_staged) {
            let held = evolve::fit(&stream.claim(self.session, &name), &stream.target.table).await?;
            stream.target.table = Arc::new(held);
            stream.writer = Some(Writer::new(&stream.target));
        }
        Ok(())
    }
}

/// The error of a stream that cannot be opened, under its name.
pub(super) fn of_stream<T>(opened: Result<T>, target: &Target) -> Result<T> {
    opened.map_err(|error: Error| error.in_stream(target.name()))
}
