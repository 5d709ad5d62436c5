//! A column takes another type while others read and write the table.
//!
//! Snowflake cannot change a column's scale or type in place, and each statement below
//! commits by itself [Snowflake: DDL]. `V` is the column:
//!
//! 1. ADD NEW, with the type that is wanted
//! 2. UPDATE NEW with the values of V, which may take long
//! 3. RENAME V to OLD
//! 4. whoever else has the table open is fenced off, and the stream must still be ours
//! 5. type and values of OLD are judged anew
//! 6. UPDATE NEW where it differs from the values of OLD
//! 7. RENAME NEW to V
//! 8. DROP OLD
//!
//! # What others commit meanwhile
//! V, or OLD in its place, has all values up to 7, and nobody but this process writes to NEW
//! before that. So 6 need not know who wrote what and when: OLD is right.
//!
//! | another one's rows, new or changed, also to NULL | |
//! |---|---|
//! | committed before 3 | are in V, and 6 takes them |
//! | loaded before 3, committed before 4 | are in what became OLD, and 6 takes them |
//! | loaded before 3, to be committed after 4 | their progress cannot move, so they are not committed |
//! | loaded from 3 to 7 | name a column that is not there: the statement fails, nothing is committed |
//! | loaded after 7 by who opened the table before 4 | could be values of the old type: their progress cannot move |
//! | loaded after 7 by who opened it after 4 | are of the new type: whoever opens a table looks at its columns once it has the stream |
//!
//! What fails is an [`ErrorKind::Conflict`], and the next run loads it. A value that must not
//! become one of the new type may come after the column was judged first: 5 finds it, and the
//! column is as it was.
//!
//! # Where it is cut
//! Before 3 the column is there, and NEW is dropped by its stream's next run. From 3 to 7
//! whoever opens the table first renames OLD back. After 7 it drops OLD. Whoever is taken for
//! dead and is not finds its next statement refused: each change has names of its own, and
//! nothing takes a name that is there. See [`leftovers`].
//!
//! Readers miss the column from 3 to 7: for as long as a look at each of its values takes.

use super::claim::Claim;
use super::ddl::{Existing, definition, sql_type};
use super::layer::server_code;
use super::leftovers::{self, Names};
use super::names::quoted;
use super::progress;
use super::step::{Step, is_possible, plan, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::table::Column;

/// Makes `found` the column that it is to be; `values` are what becomes of its values.
///
/// # Errors
/// [`ErrorKind::Conflict`] when another process took the stream over or changes the same
/// column; [`ErrorKind::Table`] when a value stands in the way that came after the last look.
/// The column is as it was then, or will be when the table is opened again.
pub(super) async fn change(claim: &Claim<'_>, found: &Existing, column: &Column, values: &str) -> Result<()> {
    tracing::info!("making {} of the column {} of {}", sql_type(column.ty), found.name, claim.name);
    let names = Names::of(claim.target, &found.name);
    claim.alter(&format!("ADD COLUMN {} {}", quoted(&names.new), definition(column))).await?;
    let (error, held) = match take_away(claim, &names, found, values).await {
        Err(error) => (error, &found.name),
        Ok(()) => match put_in_place(claim, &names, found, column).await {
            Err(error) => (error, &names.old),
            Ok(()) => return claim.alter(&format!("DROP COLUMN IF EXISTS {}", quoted(&names.old))).await,
        },
    };
    Err(undone(claim, [held, &names.new], found, column, error).await)
}

/// Fills the new column, and takes the name from the old one.
async fn take_away(claim: &Claim<'_>, names: &Names, found: &Existing, values: &str) -> Result<()> {
    claim.run(format!("UPDATE {} SET {} = {values}", claim.table(), quoted(&names.new))).await?;
    claim.alter(&format!("RENAME COLUMN {} TO {}", quoted(&found.name), quoted(&names.old))).await
}

/// Fills the new column with what came meanwhile, and gives it the name.
async fn put_in_place(claim: &Claim<'_>, names: &Names, found: &Existing, column: &Column) -> Result<()> {
    // Whoever was fenced off fences off nobody.
    claim.must_hold().await?;
    progress::fence_others(claim.session, claim.place, claim.target).await?;
    let values = judged(claim, names, found, column).await?;
    let (new, table) = (quoted(&names.new), claim.table());
    claim.run(format!("UPDATE {table} SET {new} = {values} WHERE {new} IS DISTINCT FROM {values}")).await?;
    claim.alter(&format!("RENAME COLUMN {new} TO {}", quoted(&found.name))).await
}

/// What becomes of the values, now that no more of them come.
async fn judged(claim: &Claim<'_>, names: &Names, found: &Existing, column: &Column) -> Result<String> {
    let columns = claim.columns().await?;
    let step = columns.iter().find(|column| column.name == names.old).map(|old| plan(old, column.ty));
    let Some(step) = step.filter(|step| makes(step, column)) else {
        return Err(progress::changing(&claim.table()));
    };
    match (is_possible(claim.session, claim.place, claim.name, &step).await?, step) {
        (true, Step::Change(_, values, _)) => Ok(values),
        _ => Err(refused(claim.place, claim.name, found, column.ty)),
    }
}

/// Whether a step makes this of a column.
fn makes(step: &Step, column: &Column) -> bool {
    matches!(step, Step::Change(ty, ..) if sql_type(*ty) == sql_type(column.ty))
}

/// Why a change failed, after it was undone. Where the connection failed that is left to the
/// next run. If not all of `held` is there, it was another process.
async fn undone(
    claim: &Claim<'_>,
    held: [&String; 2],
    found: &Existing,
    column: &Column,
    error: Error,
) -> Error {
    let is_refusal = server_code(&error).is_some();
    if !is_refusal && !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Table) {
        return error;
    }
    let is_there = |columns: &[Existing], name: &String| columns.iter().any(|column| column.name == *name);
    let was_held =
        claim.columns().await.is_ok_and(|columns| held.iter().all(|name| is_there(&columns, name)));
    let step = match leftovers::taken_up(claim).await {
        Ok(columns) => columns.iter().find(|held| held.name == found.name).map(|held| plan(held, column.ty)),
        Err(second) if second.kind() == ErrorKind::Table => return second.caused_by(error),
        Err(second) => {
            tracing::warn!(
                error = second.report(),
                table = claim.name,
                "the next run puts its columns right"
            );
            None
        }
    };
    if !is_refusal {
        return error;
    }
    let Some(step) = step.filter(|step| was_held && makes(step, column)) else {
        return progress::changing(&claim.table()).caused_by(error);
    };
    match is_possible(claim.session, claim.place, claim.name, &step).await {
        Ok(true) => error,
        Ok(false) => refused(claim.place, claim.name, found, column.ty).caused_by(error),
        Err(_) => progress::changing(&claim.table()).caused_by(error),
    }
}

#[cfg(test)]
mod tests;
