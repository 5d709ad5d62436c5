//! How a column that is there comes to take the rows.

use super::client::Warehouse;
use super::ddl::{Existing, Place, sql_type};
use super::names::{held_name, quoted};
use super::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::table::{ColumnType, Need, Width};

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

/// The error of a column that cannot.
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
