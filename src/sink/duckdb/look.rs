//! Looking at tables and progress without changing anything.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use duckdb::{Connection, OptionalExt, params};

use super::client::{Database, execute, failed};
use super::ddl::{self, Place, Tables};
use super::evolve;
use super::merge;
use super::progress::{First, Ledger};
use crate::batch::Extent;
use crate::error::{Error, Result};
use crate::sink::lifecycle::Heads;
use crate::sink::ownership::{self, Standing};
use crate::sink::shards::{self, Shards};
use crate::sink::{Look, Stored, Target};

/// What is known of the targets; see [`crate::sink::Sink::look`].
pub(super) fn look(database: &Database, targets: &[Target]) -> Result<Vec<Look>> {
    let connection = database.connect()?;
    // All of it as of one moment.
    execute(&connection, "BEGIN", || "could not begin a transaction".to_owned())?;
    let tables = Tables::read(&connection)?;
    let mut schemas = HashMap::new();
    let mut look = |target| {
        let place = place_of(database, target);
        let schema = match schemas.entry(place.schema.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Schema::read(&connection, &tables, &place)?),
        };
        Looking::at(database, &connection, &tables, schema, target)?.all()
    };
    let looked = targets.iter().map(&mut look).collect();
    execute(&connection, "ROLLBACK", || "could not end a transaction".to_owned())?;
    looked
}

/// Rows of a table in these parts; in all of it when none is named.
pub(super) fn count(database: &Database, target: &Target, parts: &[Extent]) -> Result<u64> {
    let connection = database.connect()?;
    let place = place_of(database, target);
    let tables = Tables::read(&connection)?;
    if !tables.has(&place) {
        return Ok(0);
    }
    let is_micros = |cursor: &str| tables.ty(&place, cursor) == Some("TIMESTAMP");
    let parts = merge::within(parts, is_micros).join(" OR ");
    rows(&connection, &place, if parts.is_empty() { "true" } else { &parts })
}

fn place_of(database: &Database, target: &Target) -> Place {
    let schema = target.schema.as_ref().unwrap_or(&database.schema);
    Place::new(&database.catalog, schema, &target.table.name)
}

fn rows(connection: &Connection, place: &Place, condition: &str) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {} AS held WHERE {condition}", place.sql());
    connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(|error| failed(&format!("could not count the rows of {}", place.sql()), error))
}

/// What is stored of the streams of a schema.
struct Schema {
    /// Where there is one of this version.
    ledger: Option<Ledger>,
    heads: Heads,
}

impl Schema {
    fn read(connection: &Connection, tables: &Tables, place: &Place) -> Result<Self> {
        let ledger = Ledger::existing(&place.catalog, &place.schema, tables);
        let heads = ledger.as_ref().map_or_else(|| Ok(Heads::new()), |ledger| ledger.heads(connection))?;
        Ok(Self { ledger, heads })
    }
}

/// A target that is looked at.
struct Looking<'a> {
    database: &'a Database,
    connection: &'a Connection,
    tables: &'a Tables,
    target: &'a Target,
    place: Place,
    schema: &'a Schema,
    first: First,
    /// Without those whose table is gone.
    heads: Heads,
}

impl<'a> Looking<'a> {
    fn at(
        database: &'a Database,
        connection: &'a Connection,
        tables: &'a Tables,
        schema: &'a Schema,
        target: &'a Target,
    ) -> Result<Self> {
        let place = place_of(database, target);
        let first = match First::existing(&database.catalog, &database.schema, tables) {
            Some(first) => First::read(connection, &first, &target.first_key())?,
            None => First::default(),
        };
        let mut heads = schema.heads.clone();
        let collects = tables.has(&ddl::next(&place));
        let gone = ownership::without_table(target, &heads, tables.has(&place), |_, _| collects);
        heads.retain(|key, _| !gone.contains(key));
        Ok(Self { database, connection, tables, target, place, schema, first, heads })
    }

    fn standing(&self) -> Standing<'_> {
        Standing { target: self.target, heads: &self.heads, is_of_first: self.first.head().is_some() }
    }

    fn all(&self) -> Result<Look> {
        let table = self.tables.has(&self.place);
        let rows = if table { rows(self.connection, &self.place, "true")? } else { 0 };
        let standing = self.standing();
        let head = standing.kept().map(|kept| kept.head).or(self.first.head());
        let is_of_another = standing.is_of_another();
        let mut look = Look {
            table,
            obstacle: self.obstacle(rows),
            owners: standing.writers(),
            rows,
            updated_at: self.updated_at()?,
            ..Look::default()
        };
        if table && head.is_some() && !is_of_another {
            look.progress = self.stored(false)?;
        }
        let next = ddl::next(&self.place);
        if self.target.mode.is_staged()
            && head.is_some_and(|head| head.next.is_some())
            && !is_of_another
            && self.tables.has(&next)
            && self.misfit(&next).is_none()
        {
            look.unfinished = Some(self.stored(true)?);
        }
        Ok(look)
    }

    fn obstacle(&self, rows: u64) -> Option<Error> {
        let Place { schema, name, .. } = &self.place;
        let place = format!("{schema}.{name}");
        let standing = self.standing();
        let found = standing
            .must_be_alone_or_share(&place)
            .and_then(|()| ddl::exists(self.tables, &self.place, standing))
            .and_then(|_| standing.must_know_rows(&place, rows > 0));
        // A run that replaces the table brings its own types.
        let fits = || if self.target.mode.is_staged() { None } else { self.misfit(&self.place) };
        found.err().or_else(fits)
    }

    /// Why a table that is there cannot take the rows.
    fn misfit(&self, place: &Place) -> Option<Error> {
        if !self.tables.has(place) {
            return None;
        }
        let table = self.database.numbers.table(&self.target.table);
        evolve::keys_must_stay(self.tables, place, self.target)
            .and_then(|()| evolve::check(self.connection, self.tables, place, &table, self.database.json))
            .err()
    }

    fn stored(&self, staged: bool) -> Result<Stored> {
        let shards = match &self.schema.ledger {
            Some(ledger) => ledger.shards(self.connection, self.target, staged)?,
            None => Shards::new(),
        };
        let first = if staged { &self.first.next } else { &self.first.table };
        let text = first.as_ref().and_then(|(text, _)| text.clone()).filter(|_| shards.is_empty());
        Ok(Stored { positions: shards::positions(shards), text })
    }

    fn updated_at(&self) -> Result<Option<String>> {
        let Some(ledger) = &self.schema.ledger else { return Ok(None) };
        let sql = format!(
            "SELECT epoch_ms(updated_at) FROM {} WHERE pipeline = ? AND stream = ?",
            ledger.streams_sql()
        );
        let at: Option<i64> = self
            .connection
            .query_row(&sql, params![self.target.pipeline, self.target.stream], |row| row.get(0))
            .optional()
            .map_err(|error| failed("could not read the progress", error))?;
        let text = |ms: i64| jiff::Timestamp::from_second(ms.div_euclid(1_000)).ok().map(|at| at.to_string());
        Ok(at.and_then(text))
    }
}
