//! Tables that are there already, and what rows need of them.
//!
//! DDL commits by itself [Snowflake: DDL], so all of it happens before a transaction
//! begins. What Snowflake cannot do in place is a [`change`](super::change).

use super::change::change;
use super::claim::Claim;
use super::client::Warehouse;
use super::ddl::{Existing, Place, definition, metadata_of, sql_type};
use super::layer::is_about_a_name;
use super::names::{held_name, ident, idents, quoted};
use super::step::{Step, is_possible, plan, refused};
use super::{leftovers, progress};
use crate::error::Result;
use crate::sink::{self, Target};
use crate::table::{Column, ColumnType, Table, Width};

/// Times that a table is looked at until it is as it should be: more than the two that it
/// takes where nobody else changes it.
const LOOKS_MAX: usize = 4;

/// Makes an existing table take rows of `table`. Returns the table with the types that
/// its columns have from then on: as they were looked at, by a process that holds the claim,
/// after the last of them was changed. Somebody else may have added a column, too.
///
/// # Errors
/// [`crate::error::ErrorKind::Table`] when a column has a type that cannot become what the rows need;
/// [`crate::error::ErrorKind::Conflict`] when another process changes the same column.
pub(super) async fn fit(claim: &Claim<'_>, table: &Table) -> Result<Table> {
    let mut failed = None;
    for _ in 0..LOOKS_MAX {
        match fit_once(claim, table).await {
            Ok(Some(held)) => return Ok(held),
            Ok(None) => {}
            Err(error) if is_about_a_name(&error) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(error) => Err(claim.unless_changing(error).await),
        None => Err(progress::changing(&claim.table())),
    }
}

/// Makes what there is take rows of `table`. Returns the table with its types if it does so
/// as it is.
async fn fit_once(claim: &Claim<'_>, table: &Table) -> Result<Option<Table>> {
    let Claim { session, place, name, .. } = *claim;
    let existing = &leftovers::taken_up(claim).await?;
    let mut held = table.clone();
    let mut is_as_it_was = true;
    for (column, step) in held.columns.iter_mut().zip(steps(session, place, existing, name, table).await?) {
        match step {
            Some((_, Step::Keep(ty))) => {
                column.ty = ty;
                continue;
            }
            Some((found, Step::Lengthen(ty))) => {
                let to = sql_type(ty);
                claim.alter(&format!("ALTER COLUMN {} SET DATA TYPE {to}", quoted(&found.name))).await?;
            }
            Some((found, Step::Change(ty, values, _))) => {
                change(claim, found, &Column { ty, ..column.clone() }, &values).await?;
            }
            Some((found, Step::Refuse)) => return Err(refused(place, name, found, column.ty)),
            None => place.add_column(session, name, &column.name, &definition(column)).await?,
        }
        is_as_it_was = false;
    }
    held.metadata = place.add_metadata(session, name, existing, table).await?;
    Ok(is_as_it_was.then_some(held))
}

/// Refuses a table in which a key by which rows are merged, or their version, would become
/// text of what has many texts.
///
/// # Errors
/// [`crate::error::ErrorKind::Table`] naming the column.
fn keys_must_stay(place: &Place, existing: &[Existing], name: &str, target: &Target) -> Result<()> {
    sink::keys_must_stay(target, &place.table(name), |column| {
        let found = existing.iter().find(|found| found.name == held_name(&column.name))?;
        let has_many = match found.ty.as_str() {
            "NUMBER" | "DECIMAL" => found.scale() > 0,
            ty => ty.starts_with("TIMESTAMP") || ty == "FLOAT" || ty == "DOUBLE",
        };
        has_many.then(|| (found.name.clone(), found.to_string()))
    })
}

/// Refuses what [`fit`] would refuse, and a key that would tell rows apart by another text,
/// and changes nothing.
///
/// # Errors
/// As [`fit`].
pub(super) async fn check(
    session: &dyn Warehouse,
    place: &Place,
    existing: &[Existing],
    name: &str,
    target: &Target,
) -> Result<()> {
    keys_must_stay(place, existing, name, target)?;
    match steps(session, place, existing, name, &target.table).await {
        Err(error) if is_about_a_name(&error) && place.columns(session, name).await? != existing => {
            Err(progress::changing(&place.table(name)).caused_by(error))
        }
        steps => steps.map(drop),
    }
}

/// What becomes of each column, with the column as it is; none for one that is not there.
async fn steps<'a>(
    session: &dyn Warehouse,
    place: &Place,
    existing: &'a [Existing],
    name: &str,
    table: &Table,
) -> Result<Vec<Option<(&'a Existing, Step)>>> {
    let mut steps = Vec::new();
    for column in &table.columns {
        let Some(found) = existing.iter().find(|found| found.name == held_name(&column.name)) else {
            steps.push(None);
            continue;
        };
        let step = plan(found, column.ty);
        if !is_possible(session, place, name, &step).await? {
            return Err(refused(place, name, found, column.ty));
        }
        steps.push(Some((found, step)));
    }
    Ok(steps)
}

/// Whether rows of `table` fit into an existing table whose columns stay as they are, and
/// those about its rows are the same.
pub(super) fn fits(existing: &[Existing], table: &Table) -> bool {
    let is_same = metadata_of(existing) == table.metadata;
    is_same
        && table.columns.iter().all(|column| {
            let found = existing.iter().find(|found| found.name == held_name(&column.name));
            found.is_none_or(|found| matches!(plan(found, column.ty), Step::Keep(_)))
        })
}

/// Whether columns of decimals hold values of these widths as they are.
pub(super) fn has_room(table: &Table, widths: &[Option<Width>]) -> bool {
    table.columns.iter().zip(widths).all(|(column, width)| match (column.ty, width) {
        (ColumnType::Decimal(has), Some(width)) => has.scale() >= width.scale(),
        _ => true,
    })
}

/// Widens the columns of decimals to these widths.
///
/// # Errors
/// [`crate::error::ErrorKind::Table`] when what a column holds has so many digits before the point
/// that no decimal holds it together with those after it that the rows have.
pub(super) async fn make_room(
    claim: &Claim<'_>,
    table: &Table,
    widths: &[Option<Width>],
) -> Result<Option<Table>> {
    let Claim { session, place, name, .. } = *claim;
    let mut held = table.clone();
    for (column, width) in held.columns.iter_mut().zip(widths) {
        let (ColumnType::Decimal(has), Some(width)) = (column.ty, *width) else { continue };
        if width.scale() > has.scale() {
            let existing = Existing::number(&column.name, 38, has.scale());
            let step = plan(&existing, ColumnType::Decimal(width));
            if !is_possible(session, place, name, &step).await? {
                return Err(refused(place, name, &existing, ColumnType::Decimal(width)));
            }
            column.ty = ColumnType::Decimal(width);
            if let Step::Change(_, values, _) = step {
                change(claim, &existing, column, &values).await?;
            }
        }
    }
    Ok((held != *table).then_some(held))
}

/// A statement that puts the rows of `next`, and its types, in the place of a table.
/// Whoever may read the table may do so afterwards. It is one statement, and DDL:
/// atomic by itself, and not together with the progress. It may be repeated: until
/// the progress has moved, a run that goes on has `next` and puts it there again.
pub(super) fn republish(target: &str, next: &str, table: &Table) -> String {
    let columns = idents(table.names());
    format!("CREATE OR REPLACE TABLE {target} COPY GRANTS AS SELECT {columns} FROM {next}")
}

/// The comments that a table made by [`republish`] lacks.
pub(super) fn comments(target: &str, table: &Table) -> Vec<String> {
    let documented = table.columns.iter().filter(|column| !column.doc.is_empty());
    let comment = |column: &Column| {
        let text = super::ddl::literal(&column.doc);
        format!("COMMENT ON COLUMN {target}.{} IS {text}", ident(&column.name))
    };
    documented.map(comment).collect()
}
