//! The columns that a [change](super::change) of a column has beside it, by their names, and
//! what becomes of those that a process left behind.
//!
//! Whoever left them may be at work still: nothing is done to them that its next statement
//! would turn into a loss. Each change has a mark of its own, so that no statement is about a
//! column of another change, and what has the values of the column is never dropped.

use uuid::Uuid;

use super::claim::Claim;
use super::ddl::Existing;
use super::layer::is_about_a_name;
use super::names::{NAME_MAX, cut, held_name, quoted};
use super::{mark, progress};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::Target;

/// A column that will take the place of the one that its name ends with. The column's mark
/// is between the two.
const NEW: &str = "_TAPELINE_NEW_";
/// The one whose place it took.
const OLD: &str = "_TAPELINE_OLD_";
/// What earlier versions of this program called [`NEW`], without a mark: they dropped the
/// column before the new one took its name.
const NEXT: &str = "_TAPELINE_NEXT_";
/// Characters of a mark: half of them are the stream's, half the change's.
const MARK: usize = 16;
/// Characters that the column may have in such a name.
const COLUMN_MAX: usize = NAME_MAX - NEW.len() - MARK - 1;
/// Times that columns are looked at while others change them.
const LOOKS_MAX: usize = 100;
/// Refusals by then that may be somebody else's doing.
const REFUSALS_MAX: usize = 5;

/// The columns of one change, as Snowflake holds their names.
pub(super) struct Names {
    pub new: String,
    pub old: String,
}

impl Names {
    /// Of a change of a column that nobody began yet.
    pub fn of(target: &Target, column: &str) -> Self {
        let change = Uuid::new_v4().simple().to_string().to_uppercase();
        let end = format!("{}{}_{}", mark(target), &change[..MARK / 2], cut(column, COLUMN_MAX));
        Self { new: format!("{NEW}{end}"), old: format!("{OLD}{end}") }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    New,
    Old,
    Next,
}

/// A column that a change left.
#[derive(Debug)]
struct Leftover<'a> {
    held: &'a str,
    role: Role,
    mark: &'a str,
    /// The column that is changed.
    column: String,
}

impl<'a> Leftover<'a> {
    fn of(held: &'a str, existing: &[Existing], target: &Target) -> Option<Self> {
        if let Some(column) = held.strip_prefix(NEXT) {
            return Some(Self { held, role: Role::Next, mark: "", column: column.to_owned() });
        }
        let (role, end) = match held.strip_prefix(NEW) {
            Some(end) => (Role::New, end),
            None => (Role::Old, held.strip_prefix(OLD)?),
        };
        let (mark, column) = end.split_once('_').filter(|(mark, _)| mark.len() == MARK)?;
        let own = target.table.columns.iter().map(|column| held_name(&column.name));
        let mut known = existing.iter().map(|column| column.name.clone()).chain(own);
        let whole = known.find(|name| cut(name, COLUMN_MAX) == column);
        let is_whole = column.chars().count() < COLUMN_MAX;
        let column = whole.or_else(|| is_whole.then(|| column.to_owned()))?;
        Some(Self { held, role, mark, column })
    }
}

/// The columns of a table as they are, after what others left behind is put right. They are
/// looked at twice where there is something: the server does not promise that a look beside
/// somebody's DDL sees all of it or nothing [Snowflake: INFORMATION_SCHEMA].
///
/// # Errors
/// [`ErrorKind::Table`] when more than one column has values of the same one, which takes
/// three processes that begin at once; [`ErrorKind::Conflict`] when others never end.
pub(super) async fn taken_up(claim: &Claim<'_>) -> Result<Vec<Existing>> {
    let (mut before, mut refusals) = (None, 0);
    for _ in 0..LOOKS_MAX {
        let existing = claim.columns().await?;
        let left = leftovers(&existing, claim.target);
        if left.is_empty() {
            return Ok(existing);
        }
        if before.as_ref() != Some(&existing) {
            before = Some(existing);
            continue;
        }
        let repair = repair(&existing, &left, claim);
        let Some(repair) = repair? else { return Ok(existing) };
        tracing::info!(table = claim.name, repair, "putting a column right whose change was cut");
        match claim.alter(&repair).await {
            // Somebody else is at it.
            Err(error) if is_about_a_name(&error) && refusals < REFUSALS_MAX => refusals += 1,
            repaired => repaired?,
        }
        before = None;
    }
    Err(progress::changing(&claim.table()))
}

fn leftovers<'a>(existing: &'a [Existing], target: &Target) -> Vec<Leftover<'a>> {
    existing.iter().filter_map(|column| Leftover::of(&column.name, existing, target)).collect()
}

/// What to ALTER next; nothing where all that is left is another stream's, which is at it or
/// will put it right itself.
fn repair(existing: &[Existing], left: &[Leftover<'_>], claim: &Claim<'_>) -> Result<Option<String>> {
    let is_there = |name: &str| existing.iter().any(|column| column.name == name);
    let has_twin = |found: &Leftover<'_>, role| {
        left.iter()
            .any(|other| other.role == role && other.mark == found.mark && other.column == found.column)
    };
    let drop = |found: &Leftover<'_>| Some(format!("DROP COLUMN IF EXISTS {}", quoted(found.held)));
    let rename = |found: &Leftover<'_>| {
        Some(format!("RENAME COLUMN {} TO {}", quoted(found.held), quoted(&found.column)))
    };
    let own = mark(claim.target);
    for found in left {
        let olds = || left.iter().filter(|other| other.role == Role::Old && other.column == found.column);
        let repair = match (found.role, is_there(&found.column)) {
            // It has no values that the column lacks.
            (Role::Next, true) => drop(found),
            // The column was dropped already.
            (Role::Next, false) if olds().next().is_none() => rename(found),
            (Role::Old, true) if has_twin(found, Role::New) => return Err(ambiguous(claim, found)),
            // The new one took its place.
            (Role::Old, true) => drop(found),
            // It has the values, and where there are two, the one whose change is not over.
            (Role::Old, false) => {
                let mut begun = olds().filter(|old| olds().count() == 1 || has_twin(old, Role::New));
                match (begun.next(), begun.next()) {
                    (Some(only), None) => rename(only),
                    _ => return Err(ambiguous(claim, found)),
                }
            }
            (Role::New, _) if !has_twin(found, Role::Old) && found.mark.starts_with(&own) => drop(found),
            (Role::New | Role::Next, _) => None,
        };
        if repair.is_some() {
            return Ok(repair);
        }
    }
    Ok(None)
}

fn ambiguous(claim: &Claim<'_>, found: &Leftover<'_>) -> Error {
    let (table, column, old) = (claim.table(), &found.column, found.held);
    Error::new(
        ErrorKind::Table,
        format!("column {old} of table {table} may have values that column {column} lacks: several processes changed it at once"),
    )
    .hint(format!(
        "while nothing is loaded, take over into {column} what it lacks of {old}, and drop its columns {OLD}… and {NEW}…"
    ))
}
