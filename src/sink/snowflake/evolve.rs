//! Tables that are there already, and what rows need of them.
//!
//! DDL commits by itself [Snowflake: DDL], so all of it happens before a transaction
//! begins. What Snowflake cannot do in place is a [`change`](super::change).

use super::change::{Claim, change};
use super::client::Warehouse;
use super::ddl::{Existing, Place, definition, held_name, ident, idents, metadata_of, quoted, sql_type};
use super::layer::is_about_a_name;
use super::statement::Statement;
use super::{leftovers, progress};
use crate::catalog::{Column, ColumnType, Need, Table, Width};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{self, Target};

/// What becomes of a column that is there.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// It takes the rows, as a column of this type.
    Keep(ColumnType),
    /// It gets more digits before the point.
    Lengthen(ColumnType),
    /// It is copied: this type, its values by this expression, if none fulfils the
    /// condition.
    Change(ColumnType, String, Option<String>),
    /// It cannot take the rows.
    Refuse,
}

/// Times that a table is looked at until it is as it should be: more than the two that it
/// takes where nobody else changes it.
const LOOKS_MAX: usize = 4;

/// Makes an existing table take rows of `table`. Returns the table with the types that
/// its columns have from then on: as they were looked at, by a process that holds the claim,
/// after the last of them was changed. Somebody else may have added a column, too.
///
/// # Errors
/// [`ErrorKind::Table`] when a column has a type that cannot become what the rows need;
/// [`ErrorKind::Conflict`] when another process changes the same column.
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
/// [`ErrorKind::Table`] naming the column.
pub(super) fn keys_must_stay(
    place: &Place,
    existing: &[Existing],
    name: &str,
    target: &Target,
) -> Result<()> {
    sink::keys_must_stay(target, &place.table(name), |column| {
        let found = existing.iter().find(|found| found.name == held_name(&column.name))?;
        let has_many = match found.ty.as_str() {
            "NUMBER" | "DECIMAL" => found.scale() > 0,
            ty => ty.starts_with("TIMESTAMP") || ty == "FLOAT" || ty == "DOUBLE",
        };
        has_many.then(|| (found.name.clone(), found.to_string()))
    })
}

/// Refuses what [`fit`] would refuse, and changes nothing.
///
/// # Errors
/// As [`fit`].
pub(super) async fn check(
    session: &dyn Warehouse,
    place: &Place,
    existing: &[Existing],
    name: &str,
    table: &Table,
) -> Result<()> {
    match steps(session, place, existing, name, table).await {
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
/// [`ErrorKind::Table`] when what a column holds has so many digits before the point
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

/// Whether no value that is there stands in the way of a step.
pub(super) async fn is_possible(
    session: &dyn Warehouse,
    place: &Place,
    name: &str,
    step: &Step,
) -> Result<bool> {
    match step {
        Step::Change(_, _, Some(condition)) => {
            let sql =
                format!("SELECT CAST(COUNT(*) AS VARCHAR) FROM {} WHERE {condition}", place.table(name));
            let rows = session.execute(Statement::new(sql)).await?;
            Ok(matches!(rows.first().map(Vec::as_slice), Some([Some(count)]) if count == "0"))
        }
        Step::Refuse => Ok(false),
        _ => Ok(true),
    }
}

/// How a column that is there takes values of a type.
pub(super) fn plan(found: &Existing, want: ColumnType) -> Step {
    let name = quoted(&found.name);
    let change = |values: String| Step::Change(want, values, None);
    let is_number = found.ty == "NUMBER" || found.ty == "DECIMAL";
    match (want, found.ty.as_str()) {
        (ColumnType::Text, "TEXT" | "VARCHAR")
        | (ColumnType::Boolean, "BOOLEAN")
        | (ColumnType::Double, "FLOAT" | "DOUBLE")
        | (ColumnType::Date, "DATE")
        | (ColumnType::Timestamp, "TIMESTAMP_TZ" | "TIMESTAMP_LTZ")
        | (ColumnType::Json, "VARIANT") => Step::Keep(want),
        (ColumnType::Decimal(width), _) if is_number => plan_decimal(found, &name, width),
        (ColumnType::Integer, _) if is_number => {
            let whole = Need { whole: 19, scale: found.scale().into() };
            match Width::of(whole) {
                Some(_) if found.scale() == 0 && found.whole() >= 19 => Step::Keep(want),
                // Whole numbers are numbers.
                Some(width) if found.whole() >= 19 => Step::Keep(ColumnType::Decimal(width)),
                Some(_) if found.scale() == 0 => Step::Lengthen(want),
                Some(width) => Step::Lengthen(ColumnType::Decimal(width)),
                None => Step::Refuse,
            }
        }
        (ColumnType::Double, _) if is_number && found.scale() == 0 => {
            Step::Change(want, name.clone(), Some(format!("ABS({name}) > {}", 1_i64 << 53)))
        }
        (ColumnType::Timestamp, "DATE") => {
            change(format!("(TO_VARCHAR({name}, 'YYYY-MM-DD') || 'T00:00:00Z')::TIMESTAMP_TZ(9)"))
        }
        (ColumnType::Text, "VARIANT") => {
            // A text is there in quotes, which a row of text does not have.
            let text = format!("TO_JSON({name})");
            // An element of an array is cast so by every Snowflake, and by its stand-in.
            let plain = format!("ARRAY_CONSTRUCT({name})[0]::VARCHAR");
            change(format!("IFF(STARTSWITH({text}, '\"'), {plain}, {text})"))
        }
        (ColumnType::Text, "FLOAT" | "DOUBLE") => {
            // How many digits the text has is nowhere promised: each must be the same number.
            let text = format!("TO_VARCHAR({name})");
            let is_another = format!("CAST({text} AS FLOAT) <> {name}");
            Step::Change(want, text, Some(is_another))
        }
        (ColumnType::Text, _) => text(found, &name).map_or(Step::Refuse, change),
        (ColumnType::Json, "TEXT" | "VARCHAR" | "BOOLEAN" | "NUMBER" | "DECIMAL" | "FLOAT" | "DOUBLE") => {
            change(format!("TO_VARIANT({name})"))
        }
        (ColumnType::Json, _) => {
            text(found, &name).map_or(Step::Refuse, |text| change(format!("TO_VARIANT({text})")))
        }
        _ => Step::Refuse,
    }
}

fn plan_decimal(found: &Existing, name: &str, width: Width) -> Step {
    let scale = width.scale().max(found.scale());
    let Some(held) = Width::of(Need { whole: width.whole().into(), scale: scale.into() }) else {
        return Step::Refuse;
    };
    let held = ColumnType::Decimal(held);
    if found.scale() >= width.scale() {
        return if found.whole() >= width.whole() { Step::Keep(held) } else { Step::Lengthen(held) };
    }
    let whole = usize::from(Width::PRECISION_MAX - scale);
    Step::Change(held, name.to_owned(), Some(format!("ABS({name}) >= 1{}", "0".repeat(whole))))
}

/// The text of values, as rows would have it.
fn text(found: &Existing, name: &str) -> Option<String> {
    let text = format!("TO_VARCHAR({name})");
    Some(match found.ty.as_str() {
        "NUMBER" | "DECIMAL" if found.scale() > 0 => without_zeros(&text),
        "BOOLEAN" | "NUMBER" | "DECIMAL" => text,
        "DATE" => format!("TO_VARCHAR({name}, 'YYYY-MM-DD')"),
        "TIMESTAMP_TZ" | "TIMESTAMP_LTZ" => {
            let text =
                format!("TO_VARCHAR(CONVERT_TIMEZONE('UTC', {name}), 'YYYY-MM-DD\"T\"HH24:MI:SS.FF9')");
            format!("{} || 'Z'", without_zeros(&text))
        }
        _ => return None,
    })
}

/// A text that ends with a fraction, without the zeros of it that say nothing.
fn without_zeros(text: &str) -> String {
    format!("REGEXP_REPLACE({text}, '[.]?0+$', '')")
}

pub(super) fn refused(place: &Place, name: &str, found: &Existing, want: ColumnType) -> Error {
    let (table, need) = (place.table(name), sql_type(want));
    let (old, next) = (quoted(&found.name), quoted(&format!("{}_NEW", found.name)));
    let cast = if matches!(found.ty.as_str(), "TEXT" | "VARCHAR") { "TRY_CAST" } else { "CAST" };
    let message =
        format!("column {} of table {} is {found}, the rows need {need}", found.name, held_name(name));
    Error::new(ErrorKind::Table, message).hint(format!(
        "while nothing is loaded, convert it with: ALTER TABLE {table} ADD COLUMN {next} {need}; UPDATE {table} SET {next} = {cast}({old} AS {need}); \
         ALTER TABLE {table} DROP COLUMN {old}; ALTER TABLE {table} RENAME COLUMN {next} TO {old}; \
         or rename the table to have it loaded anew, or choose another `schema`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_changes_only_where_nothing_is_lost() {
        let price = ColumnType::Decimal(Width::PRICE);
        let of = |ty: &str, precision, scale| Existing::of("C", ty, precision, scale);
        assert_eq!(plan(&of("NUMBER", 38, 9), price), Step::Keep(price));
        // A table of an earlier version of this program is wider.
        assert_eq!(plan(&of("NUMBER", 38, 18), price), Step::Keep(ColumnType::Decimal(Width::new(27, 18))));
        assert_eq!(plan(&of("NUMBER", 10, 9), price), Step::Lengthen(price));
        assert!(matches!(plan(&of("NUMBER", 38, 0), price), Step::Change(ty, _, Some(_)) if ty == price));
        assert_eq!(plan(&of("NUMBER", 38, 0), ColumnType::Integer), Step::Keep(ColumnType::Integer));
        assert!(matches!(plan(&of("DATE", 38, 0), ColumnType::Timestamp), Step::Change(_, _, None)));
        for ty in ["TEXT", "BOOLEAN", "NUMBER", "FLOAT", "DATE", "TIMESTAMP_TZ", "VARIANT"] {
            for want in [ColumnType::Text, ColumnType::Json] {
                assert!(!matches!(plan(&of(ty, 38, 9), want), Step::Refuse), "{ty} to {want:?}");
            }
        }
        for (ty, want) in [
            ("TEXT", price),
            ("TEXT", ColumnType::Integer),
            ("FLOAT", price),
            ("TIMESTAMP_TZ", ColumnType::Date),
            ("VARIANT", ColumnType::Boolean),
        ] {
            assert_eq!(plan(&of(ty, 38, 9), want), Step::Refuse, "{ty} to {want:?}");
        }
        assert_eq!(plan(&of("NUMBER", 38, 9), ColumnType::Double), Step::Refuse, "it would round");
        let of_doubles = plan(&of("FLOAT", 38, 9), ColumnType::Text);
        assert!(
            matches!(&of_doubles, Step::Change(_, _, Some(condition)) if condition.contains("<> \"C\"")),
            "{of_doubles:?}"
        );
    }
}
