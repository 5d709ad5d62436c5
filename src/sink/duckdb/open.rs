//! Opening streams: their tables, whose they are, and the progress that is stored.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use duckdb::Connection;

use super::client::{Database, execute, tell_ambiguous};
use super::ddl::{self, Place, Tables};
use super::evolve;
use super::progress::{First, Ledger};
use super::quarantine::Quarantine;
use super::write::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::lifecycle::{self, Facts, Head, Heads};
use crate::sink::ownership::{self, Standing};
use crate::sink::shards::{self, Shards, Versions};
use crate::sink::{Stored, Target};
use crate::table::{Metadata, Table};

/// What is known of a schema while streams are opened.
struct Schema {
    ledger: Arc<Ledger>,
    quarantine: Arc<Quarantine>,
    heads: Heads,
}

/// What opening streams needs to know of the database.
pub(super) struct Opening<'a> {
    database: &'a Database,
    connection: &'a Connection,
    tables: Tables,
    schemas: HashMap<String, Schema>,
    /// Where version 1 kept its progress.
    first: Option<Place>,
}

/// A stream that was opened, and its progress.
pub(super) type Opened = (Stream, Stored);

/// Opens all streams in one transaction. One whose statements DuckDB refuses would take
/// the others with it: then each has a transaction of its own.
pub(super) fn open(database: &Database, connection: &Connection, targets: &[Target]) -> Vec<Result<Opened>> {
    match in_transaction(database, connection, targets) {
        Ok(opened) => opened,
        Err(error) if targets.len() == 1 => vec![Err(error)],
        Err(_) => {
            let one = |target| in_transaction(database, connection, std::slice::from_ref(target))?.remove(0);
            targets.iter().map(one).collect()
        }
    }
}

fn in_transaction(
    database: &Database,
    connection: &Connection,
    targets: &[Target],
) -> Result<Vec<Result<Opened>>> {
    execute(connection, "BEGIN", || "could not begin a transaction".to_owned())?;
    let opened = Opening::begin(database, connection, targets).and_then(|mut opening| {
        let mut opened = Vec::new();
        for target in targets {
            opened.push(match opening.open(target) {
                Err(Refusal::Stream(error)) => Err(error),
                Err(Refusal::Transaction(error)) => return Err(error),
                Ok(stream) => Ok(stream),
            });
        }
        execute(connection, "COMMIT", || "could not commit the tables".to_owned())?;
        Ok(opened)
    });
    if opened.is_err() {
        // Its own failure says nothing that the first one does not.
        let _ = connection.execute_batch("ROLLBACK");
    }
    opened
}

/// Why a stream cannot be opened.
enum Refusal {
    /// Found out without DuckDB's refusal: the transaction is whole.
    Stream(Error),
    /// The transaction is lost.
    Transaction(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Transaction(error)
    }
}

impl<'a> Opening<'a> {
    fn begin(database: &'a Database, connection: &'a Connection, targets: &[Target]) -> Result<Self> {
        let tables = Tables::read(connection)?;
        let first = First::place(&database.catalog, &database.schema, &tables);
        let mut schemas = HashMap::new();
        let names = targets.iter().filter_map(|target| target.schema.as_ref());
        for name in names.chain([&database.schema]) {
            // The first place of version 1 makes room only where the sink's schema is.
            if !schemas.contains_key(name) {
                if *name != database.schema {
                    tell_ambiguous(&database.catalog, name);
                }
                ddl::ensure_schema(connection, &database.catalog, name)?;
                let ledger = Ledger::open(connection, &database.catalog, name, &tables)?;
                let quarantine = Quarantine::of(&database.catalog, name);
                quarantine.ensure(connection, &tables)?;
                let heads = ledger.heads(connection)?;
                let (ledger, quarantine) = (Arc::new(ledger), Arc::new(quarantine));
                schemas.insert(name.clone(), Schema { ledger, quarantine, heads });
            }
        }
        Ok(Self { database, connection, tables, schemas, first })
    }

    fn open(&mut self, target: &Target) -> Result<Opened, Refusal> {
        let target = &Target { table: self.database.numbers.table(&target.table), ..target.clone() };
        let name = target.schema.as_ref().unwrap_or(&self.database.schema);
        let table = Place::new(&self.database.catalog, name, &target.table.name);
        self.release(name, &table, target)?;
        let schema = &self.schemas[name];
        let ledger = Arc::clone(&schema.ledger);
        let first = match &self.first {
            Some(place) => First::read(self.connection, place, &target.first_key())?,
            None => First::default(),
        };
        let first_head = first.head();
        let standing = Standing { target, heads: &schema.heads, is_of_first: first_head.is_some() };
        let kept = standing.kept();
        let head = kept.map(|kept| kept.head).or(first_head);
        let next = ddl::next(&table);
        let facts = self.facts(standing, head.as_ref(), &table, &next)?;
        let takeover = lifecycle::takeover(target, head.as_ref(), facts);
        if takeover.drops_next {
            ddl::drop_table(self.connection, &next)?;
            ledger.forget(self.connection, target, true)?;
        }
        let into = if takeover.staged { next } else { table.clone() };
        let held = if takeover.keeps || (facts.table && !takeover.staged) {
            Arc::new(self.fit(&into, target)?)
        } else {
            ddl::create(self.connection, &into, &target.table, self.database.json)?;
            Arc::clone(&target.table)
        };
        if !facts.is_still_there() {
            ledger.forget(self.connection, target, false)?;
        }
        let mut shards = Shards::new();
        if takeover.keeps {
            shards = ledger.shards(self.connection, target, takeover.staged)?;
        } else {
            ledger.forget(self.connection, target, takeover.staged)?;
        }
        let claimed = takeover.head(head.as_ref());
        ledger.claim(self.connection, target, kept.map(|kept| &kept.head), &claimed)?;

        let text = match takeover.staged {
            _ if !takeover.keeps || !shards.is_empty() => None,
            true => first.next.and_then(|(text, _)| text),
            false => first.table.and_then(|(text, _)| text),
        };
        let first = self.first.clone().filter(|_| first_head.is_some());
        if let (Some(place), None) = (&first, &text) {
            First::forget(self.connection, place, &target.first_key())?;
        }
        let has = Table { metadata: held.metadata.clone(), ..(*target.table).clone() };
        let stream = Stream {
            target: Arc::new(Target { mode: takeover.mode, table: Arc::new(has), ..target.clone() }),
            table,
            into,
            ledger,
            quarantine: Arc::clone(&schema.quarantine),
            head: claimed,
            first: first.filter(|_| text.is_some()),
            generation: takeover.generation,
            is_staged: takeover.staged,
            versions: Versions::of(&shards),
            json: self.database.json,
            committed: Arc::clone(&held),
            held,
            has_deleted: Cell::new(false),
            own: None,
            batch: None,
        };
        Ok((stream, Stored { positions: shards::positions(shards), text }))
    }

    /// Forgets streams of others that wrote to the table, where it is gone.
    fn release(&mut self, schema: &str, table: &Place, target: &Target) -> Result<()> {
        let (is_there, collects) = (self.tables.has(table), self.tables.has(&ddl::next(table)));
        let Some(Schema { ledger, heads, .. }) = self.schemas.get_mut(schema) else { return Ok(()) };
        for gone in ownership::without_table(target, heads, is_there, |_, _| collects) {
            ledger.release(self.connection, &gone)?;
            heads.remove(&gone);
        }
        Ok(())
    }

    /// What is there, of which the stream must be one that may write to it.
    fn facts(
        &self,
        standing: Standing<'_>,
        head: Option<&Head>,
        table: &Place,
        next: &Place,
    ) -> Result<Facts, Refusal> {
        let target = standing.target;
        let place = format!("{}.{}", table.schema, table.name);
        standing.must_be_alone_or_share(&place).map_err(Refusal::Stream)?;
        // Also refuses to replace a table that is not ours before anything is loaded.
        let has_table = ddl::exists(&self.tables, table, standing).map_err(Refusal::Stream)?;
        if has_table && !standing.knows_rows() {
            let has_rows = ddl::has_rows(self.connection, table)?;
            standing.must_know_rows(&place, has_rows).map_err(Refusal::Stream)?;
        }
        let has_next = target.mode.is_staged()
            && ddl::exists(&self.tables, next, standing).map_err(Refusal::Stream)?
            && evolve::keys_must_stay(&self.tables, next, target).is_ok()
            && evolve::can_fit(self.connection, &self.tables, next, &target.table, self.database.json)?;
        let is_wholly_of_run = match target.run {
            Some(run)
                if has_table
                    && self.tables.has_column(table, Metadata::Generation.column())
                    && lifecycle::may_be_replaced(target, head) =>
            {
                ddl::is_wholly_of(self.connection, table, run.generation)?
            }
            _ => false,
        };
        let is_of_another = standing.is_of_another();
        Ok(Facts { table: has_table, is_of_another, next: has_next, is_wholly_of_run })
    }

    /// Makes the columns of a table that is there those that the rows need; returns them.
    fn fit(&self, place: &Place, target: &Target) -> Result<Table, Refusal> {
        let stays = evolve::keys_must_stay(&self.tables, place, target);
        stays.map_err(Refusal::Stream)?;
        let held = evolve::fit(self.connection, &self.tables, place, &target.table, self.database.json);
        held.map_err(|error| match error.kind() {
            ErrorKind::Table => Refusal::Stream(error),
            _ => Refusal::Transaction(error),
        })
    }
}
