//! Looking at tables and progress without changing anything.

use super::client::Warehouse;
use super::ddl::{Place, Tables};
use super::progress::{self, First, STREAMS};
use super::statement::Statement;
use super::{evolve, merge, next_of, next_table};
use crate::batch::Extent;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::lifecycle::Heads;
use crate::sink::ownership::{self, Standing};
use crate::sink::shards::{self, Shards};
use crate::sink::{Look, Stored, Target};

/// What is known of the targets; see [`crate::sink::Sink::look`].
pub(super) async fn look(session: &dyn Warehouse, home: &Place, targets: &[Target]) -> Result<Vec<Look>> {
    let mut looked = Vec::new();
    let mut schema: Option<Schema> = None;
    for target in targets {
        let place = place_of(home, target);
        let known = schema.take().filter(|schema| schema.place.schema == place.schema);
        let here = match known {
            Some(here) => here,
            None => Schema::read(session, place).await?,
        };
        looked.push(here.look(session, home, target).await?);
        schema = Some(here);
    }
    Ok(looked)
}

/// Rows of a table in these parts; in all of it when none is named.
pub(super) async fn count(
    session: &dyn Warehouse,
    home: &Place,
    target: &Target,
    parts: &[Extent],
) -> Result<u64> {
    let place = place_of(home, target);
    if !place.tables(session).await?.has(&target.table.name) {
        return Ok(0);
    }
    rows(session, &place.table(&target.table.name), parts).await
}

/// As [`count`], of a table that is there.
pub(super) async fn rows(session: &dyn Warehouse, table: &str, parts: &[Extent]) -> Result<u64> {
    let mut statements = merge::count(table, parts);
    if parts.is_empty() {
        statements.push(Statement::new(format!("SELECT CAST(COUNT(*) AS VARCHAR) FROM {table}")));
    }
    let mut rows = 0;
    for statement in statements {
        rows += number(&session.execute(statement).await?)?;
    }
    Ok(rows)
}

fn place_of(home: &Place, target: &Target) -> Place {
    let schema = target.schema.as_ref().unwrap_or(&home.schema).clone();
    Place { schema, ..home.clone() }
}

fn number(answer: &[Vec<Option<String>>]) -> Result<u64> {
    let text = answer.first().and_then(|row| row.first()?.as_deref());
    let unreadable = || Error::new(ErrorKind::Sink, "snowflake's count of rows is not understood");
    text.and_then(|text| text.parse().ok()).ok_or_else(unreadable)
}

/// A schema as it is.
struct Schema {
    place: Place,
    tables: Tables,
    heads: Heads,
}

impl Schema {
    async fn read(session: &dyn Warehouse, place: Place) -> Result<Self> {
        let tables = place.tables(session).await?;
        let heads = match tables.has(STREAMS) {
            true => progress::heads(session, &place).await?,
            false => Heads::new(),
        };
        Ok(Self { place, tables, heads })
    }

    async fn must_fit(&self, session: &dyn Warehouse, name: &str, target: &Target) -> Result<()> {
        evolve::check(session, &self.place, self.tables.columns(name), name, target).await
    }

    /// The streams without those whose table, the target's, is gone.
    fn remaining(&self, target: &Target) -> Heads {
        let mut heads = self.heads.clone();
        let table = &target.table.name;
        let collects = |pipeline: &str, stream: &str| self.tables.has(&next_of(pipeline, stream, table));
        let gone = ownership::without_table(target, &heads, self.tables.has(table), collects);
        heads.retain(|key, _| !gone.contains(key));
        heads
    }

    async fn look(&self, session: &dyn Warehouse, home: &Place, target: &Target) -> Result<Look> {
        let Self { place, tables, .. } = self;
        let heads = &self.remaining(target);
        // Version 1 stored its progress in the sink's schema only.
        let first = match First::existing(home, tables) {
            Some(first) if home.schema == place.schema => {
                First::read(session, &first, &target.first_key()).await?
            }
            _ => None,
        };
        let standing = Standing { target, heads, is_of_first: first.is_some() };
        let kept = standing.kept();
        let head = progress::stored(kept, first.as_ref());
        let name = place.table(&target.table.name);
        let is_there = tables.has(&target.table.name);
        let rows = if is_there { rows(session, &name, &[]).await? } else { 0 };
        let owned = standing
            .must_be_alone_or_share(&name)
            .and_then(|()| tables.exists(place, standing))
            .and_then(|_| standing.must_know_rows(&name, rows > 0));
        // A run that replaces the table brings its own types.
        let fits = match owned {
            Ok(()) if !target.mode.is_staged() => self.must_fit(session, &target.table.name, target).await,
            owned => owned,
        };
        let mut look = Look {
            table: is_there,
            rows,
            obstacle: fits.err(),
            owners: standing.writers(),
            ..Look::default()
        };
        if kept.is_some() {
            look.updated_at = progress::updated_at(session, place, target).await?;
        }
        if !look.table {
            return Ok(look);
        }
        let stored = async |staged: bool| -> Result<Stored> {
            let shards = match kept {
                Some(_) => progress::shards(session, place, target, staged).await?,
                None => Shards::new(),
            };
            let is_meant = |first: &&First| first.staged == staged && shards.is_empty();
            let text = first.as_ref().filter(is_meant).and_then(|first| first.progress.clone());
            Ok(Stored { positions: shards::positions(shards), text })
        };
        let is_of_another = standing.is_of_another();
        if head.is_some() && !is_of_another {
            look.progress = stored(false).await?;
        }
        let next = next_table(target);
        if target.mode.is_staged()
            && head.is_some_and(|head| head.next.is_some())
            && !is_of_another
            && tables.has(&next)
            && self.must_fit(session, &next, target).await.is_ok()
        {
            look.unfinished = Some(stored(true).await?);
        }
        Ok(look)
    }
}
