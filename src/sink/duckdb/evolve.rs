//! Tables that are there already, and what rows need of them: columns are added and
//! widened where nothing is lost, everything else is refused with the statement that
//! a person can run.
//!
//! All of it happens in the open transaction, with rows in it or not: DuckDB's ALTER
//! is undone by a rollback, and comments stay. It fails whoever else has rows of the
//! table in a transaction of their own. What it cannot do is a [`rewrite`].

use std::sync::Arc;

use duckdb::{Connection, OptionalExt};

use super::client::{execute, failed, quoted};
use super::ddl::{self, Place, Tables, sql_type};
use super::rewrite::{self, Conversion};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{self, Target};
use crate::table::{Column, ColumnType, EXTRA_COLUMN, Need, Table, Width};

/// How the columns of a table change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    InPlace,
    /// Because the open transaction deleted rows of the table, and could not commit.
    Anew,
}

/// What becomes of a column.
#[derive(Debug, PartialEq)]
enum Step {
    /// It takes the rows as it is, as a column of this type.
    Keep(ColumnType),
    /// It is not there.
    Add(ColumnType),
    /// It changes to this type; its values by a cast.
    Change(ColumnType),
    /// As `Change`, if all of its values fulfil the condition.
    ChangeIf(String, ColumnType),
    /// It changes to this type; its values by this expression.
    Convert(ColumnType, String),
    /// It cannot take the rows.
    Refuse,
}

/// Makes an existing table take rows of `table`. Returns the table with the types
/// that its columns have from then on, which may be wider.
///
/// # Errors
/// [`ErrorKind::Table`] when a column has a type that cannot become what the rows
/// need; nothing was changed then.
pub(super) fn fit(
    connection: &Connection,
    tables: &Tables,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<Table> {
    let steps = steps(connection, tables, place, table, json)?;
    let mut held = table.clone();
    for (own, (column, step)) in held.columns.iter_mut().zip(&steps) {
        own.ty = match step {
            Step::Keep(ty) | Step::Convert(ty, _) => *ty,
            Step::Add(ty) => {
                ddl::add_column(connection, place, &column.name, sql_type(*ty, json).as_ref())?;
                *ty
            }
            Step::Change(ty) | Step::ChangeIf(_, ty) => {
                change(connection, place, &column.name, sql_type(*ty, json).as_ref())?;
                *ty
            }
            Step::Refuse => column.ty,
        };
    }
    held.metadata = ddl::add_metadata(connection, place, tables, table, json)?;
    rewrite::rewrite(connection, place, &conversions(&steps, json))?;
    Ok(held)
}

/// Refuses a table in which a key by which rows are merged, or their version, would become
/// text of what has many texts.
///
/// # Errors
/// [`ErrorKind::Table`] naming the column.
pub(super) fn keys_must_stay(tables: &Tables, place: &Place, target: &Target) -> Result<()> {
    sink::keys_must_stay(target, &place.sql(), |column| {
        let have = tables.ty(place, &column.name)?;
        let has_many = have.starts_with("TIMESTAMP") || have == "DOUBLE" || decimal(have).is_some();
        has_many.then(|| (column.name.clone(), have.to_owned()))
    })
}

/// Refuses what [`fit`] would refuse, and changes nothing.
///
/// # Errors
/// As [`fit`].
pub(super) fn check(
    connection: &Connection,
    tables: &Tables,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<()> {
    steps(connection, tables, place, table, json).map(drop)
}

/// Whether [`fit`] can make an existing table take rows of `table`.
pub(super) fn can_fit(
    connection: &Connection,
    tables: &Tables,
    place: &Place,
    table: &Table,
    json: &'static str,
) -> Result<bool> {
    match check(connection, tables, place, table, json) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Table => Ok(false),
        Err(error) => Err(error),
    }
}

/// What becomes of each column.
fn steps<'a>(
    connection: &Connection,
    tables: &Tables,
    place: &Place,
    table: &'a Table,
    json: &'static str,
) -> Result<Vec<(&'a Column, Step)>> {
    let mut steps = Vec::new();
    for column in &table.columns {
        steps.push((column, step(connection, place, tables, column, json)?));
    }
    ddl::check_metadata(place, tables, json)?;
    let is_kept = |(_, step): &(&Column, Step)| matches!(step, Step::Keep(_));
    if !steps.iter().all(is_kept) || !ddl::has_metadata(place, tables, table) {
        rewrite::must_be_alterable(connection, place)?;
    }
    let conversions = conversions(&steps, json);
    if !conversions.is_empty() {
        rewrite::must_be_plain(connection, place, &conversions)?;
    }
    Ok(steps)
}

/// What ALTER cannot do of it.
fn conversions<'a>(steps: &[(&'a Column, Step)], json: &'static str) -> Vec<Conversion<'a>> {
    let conversion = |(column, step): &(&'a Column, Step)| match step {
        Step::Convert(ty, values) => Some(Conversion {
            column: &column.name,
            to: sql_type(*ty, json).into_owned(),
            values: values.clone(),
        }),
        _ => None,
    };
    steps.iter().filter_map(conversion).collect()
}

/// Whether the columns hold rows that need these types as they are.
pub(super) fn has_room(held: &Table, needs: impl Fn(usize, ColumnType) -> Option<ColumnType>) -> bool {
    held.columns.iter().enumerate().all(|(index, column)| match (column.ty, needs(index, column.ty)) {
        (ColumnType::Decimal(has), Some(ColumnType::Decimal(needs))) => has.covers(needs),
        (ColumnType::Timestamp, Some(ColumnType::TimestampMicros)) => false,
        _ => true,
    })
}

/// Widens the columns of decimals for rows that need these types, and makes microseconds of
/// nanoseconds where the rows have those; `held` is the table as it is. Returns whether a
/// column was changed.
///
/// # Errors
/// When a column cannot be changed; the transaction is lost then.
pub(super) fn make_room(
    connection: &Connection,
    place: &Place,
    held: &mut Arc<Table>,
    way: Way,
    needs: impl Fn(usize, ColumnType) -> Option<ColumnType>,
) -> Result<bool> {
    let mut conversions = Vec::new();
    let before = Arc::clone(held);
    for (index, column) in before.columns.iter().enumerate() {
        let Some(ty) = room(connection, place, column, needs(index, column.ty))? else { continue };
        let (column, to) = (column.name.as_str(), sql_type(ty, "JSON").into_owned());
        conversions.push(Conversion { column, values: format!("{}::{to}", quoted(column)), to });
        Arc::make_mut(held).columns[index].ty = ty;
    }
    if conversions.is_empty() {
        return Ok(false);
    }
    match way {
        Way::Anew => rewrite::rewrite(connection, place, &conversions)?,
        Way::InPlace => {
            rewrite::must_be_alterable(connection, place)?;
            for Conversion { column, to, .. } in &conversions {
                change(connection, place, column, to)?;
            }
        }
    }
    Ok(true)
}

/// What a column of a table has to become for rows that need a type, if another than it has.
fn room(
    connection: &Connection,
    place: &Place,
    column: &Column,
    needs: Option<ColumnType>,
) -> Result<Option<ColumnType>> {
    match (column.ty, needs) {
        (ColumnType::Decimal(has), Some(ColumnType::Decimal(needs))) if !has.covers(needs) => {
            let wider = has.with(needs.need()).ok_or_else(|| {
                Error::bug(format!("rows for {} need decimals of more than 38 digits", place.sql()))
            })?;
            Ok(Some(ColumnType::Decimal(wider)))
        }
        // DuckDB would round what is stored. It was looked at before, but rows that were to
        // replace some of it may have been taken back.
        (ColumnType::Timestamp, Some(ColumnType::TimestampMicros))
            if !can_have_micros(connection, place, column)? =>
        {
            let message = format!("the column {} of {} holds nanoseconds again", column.name, place.sql());
            Err(Error::new(ErrorKind::Sink, message)
                .hint("run it again: times that nanoseconds do not reach are then kept beside the column"))
        }
        (ColumnType::Timestamp, Some(ColumnType::TimestampMicros)) => Ok(Some(ColumnType::TimestampMicros)),
        // And what comes, unless it has nothing finer.
        (ColumnType::TimestampMicros, Some(ColumnType::Timestamp)) => Err(Error::bug(format!(
            "rows for {} have nanoseconds in {}, which has microseconds",
            place.sql(),
            column.name
        ))),
        _ => Ok(None),
    }
}

/// Whether a column of a table has microseconds.
pub(super) fn is_micros(held: &Table, column: &str) -> bool {
    held.position(column).is_some_and(|index| held.columns[index].ty == ColumnType::TimestampMicros)
}

/// Whether microseconds hold what a column of nanoseconds holds.
pub(super) fn can_have_micros(connection: &Connection, place: &Place, column: &Column) -> Result<bool> {
    let name = quoted(&column.name);
    let sql = format!("SELECT 1 FROM {} WHERE epoch_ns({name}) % 1000 <> 0 LIMIT 1", place.sql());
    let found = connection.query_row(&sql, [], |_| Ok(())).optional();
    found
        .map(|finer| finer.is_none())
        .map_err(|error| failed(&format!("could not read {}", place.sql()), error))
}

fn change(connection: &Connection, place: &Place, column: &str, to: &str) -> Result<()> {
    tracing::info!("making {to} of the column {column} of {}", place.sql());
    let sql = format!("ALTER TABLE {} ALTER {} TYPE {to}", place.sql(), quoted(column));
    execute(connection, &sql, || format!("could not make {to} of the column {column} of {}", place.sql()))
}

/// What becomes of a column, looking at its values where that decides.
fn step(
    connection: &Connection,
    place: &Place,
    tables: &Tables,
    column: &Column,
    json: &'static str,
) -> Result<Step> {
    let Some(have) = tables.ty(place, &column.name) else { return Ok(Step::Add(column.ty)) };
    let need = sql_type(column.ty, json);
    match plan(have, column, json) {
        Step::ChangeIf(condition, ty) if all_are(connection, place, &condition)? => Ok(Step::Change(ty)),
        Step::ChangeIf(_, ColumnType::Timestamp) if all_are(connection, place, &within_years(column))? => {
            Ok(Step::Change(ColumnType::TimestampMicros))
        }
        Step::ChangeIf(..) | Step::Refuse => Err(refused(place, &column.name, have, need.as_ref())),
        step => Ok(step),
    }
}

/// Of a column of dates: that they are moments of the years 1 to 9999.
fn within_years(column: &Column) -> String {
    let name = quoted(&column.name);
    format!("{name} IS NULL OR {name} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'")
}

fn all_are(connection: &Connection, place: &Place, condition: &str) -> Result<bool> {
    let sql = format!("SELECT count(*) = 0 FROM {} WHERE NOT ({condition})", place.sql());
    connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(|error| failed(&format!("could not read {}", place.sql()), error))
}

/// How a column of the type `have` takes the values of `column`.
fn plan(have: &str, column: &Column, json: &'static str) -> Step {
    let (want, name) = (column.ty, quoted(&column.name));
    if sql_type(want, json).as_ref() == have {
        return Step::Keep(want);
    }
    match (want, have) {
        // Whether the library has the JSON extension may change between runs.
        (ColumnType::Json, "JSON") => Step::Keep(want),
        (ColumnType::Json, "VARCHAR") if column.name == EXTRA_COLUMN => Step::Keep(want),
        (ColumnType::Decimal(width), _) => {
            let (has, is_decimal) = (decimal(have).or_else(|| integer(have)), decimal(have).is_some());
            match has.map(|has| (has, width.with(has))) {
                Some((has, Some(wider))) if is_decimal && wider.need() == has => {
                    Step::Keep(ColumnType::Decimal(wider))
                }
                Some((_, Some(wider))) => Step::Change(ColumnType::Decimal(wider)),
                _ => Step::Refuse,
            }
        }
        // Whole numbers are numbers.
        (ColumnType::Integer, _) => match (integer(have), decimal(have)) {
            (Some(_), _) => Step::Change(want),
            (_, Some(has)) => plan_whole(has),
            _ => Step::Refuse,
        },
        (ColumnType::Double, "FLOAT") => Step::Change(want),
        (ColumnType::Double, "BIGINT") => {
            Step::ChangeIf(format!("{name} IS NULL OR abs({name}) <= {EXACT_IN_DOUBLE}"), want)
        }
        (ColumnType::Timestamp, "TIMESTAMP") => Step::Keep(ColumnType::TimestampMicros),
        (ColumnType::Timestamp, "DATE") => {
            let condition =
                format!("{name} IS NULL OR {name} BETWEEN DATE '1677-09-22' AND DATE '2262-04-11'");
            Step::ChangeIf(condition, want)
        }
        (ColumnType::Text, _) => match text(have, &name) {
            Some(text) if text == cast_to_text(&name) => Step::Change(want),
            Some(text) => Step::Convert(want, text),
            None => Step::Refuse,
        },
        (ColumnType::Json, "VARCHAR") => {
            // A column that was made without the extension holds JSON already.
            let nested = format!("json_valid({name}) AND ltrim({name})[1] IN ('{{', '[')");
            Step::Convert(want, format!("CASE WHEN {nested} THEN {name}::JSON ELSE to_json({name}) END"))
        }
        (ColumnType::Json, "BOOLEAN" | "BIGINT" | "DOUBLE") => {
            Step::Convert(want, format!("to_json({name})"))
        }
        (ColumnType::Json, _) => match (decimal(have), text(have, &name)) {
            (Some(_), Some(text)) => Step::Convert(want, format!("({text})::JSON")),
            (None, Some(text)) => Step::Convert(want, format!("to_json({text})")),
            (_, None) => Step::Refuse,
        },
        _ => Step::Refuse,
    }
}

/// Integers up to here are doubles, each one.
const EXACT_IN_DOUBLE: i64 = 1 << 53;

/// A column of decimals takes whole numbers of 64 bits.
fn plan_whole(has: Need) -> Step {
    let whole = Need { whole: 19, scale: 0 };
    match Width::of(has) {
        Some(width) if width.need() == has && width.holds(whole) => Step::Keep(ColumnType::Decimal(width)),
        Some(width) => match width.with(whole) {
            Some(wider) => Step::Change(ColumnType::Decimal(wider)),
            None => Step::Refuse,
        },
        None => Step::Refuse,
    }
}

/// The digits of `DECIMAL(p,s)`.
fn decimal(ty: &str) -> Option<Need> {
    let (precision, scale) = ty.strip_prefix("DECIMAL(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse::<usize>().ok()?, scale.trim().parse().ok()?);
    Some(Need { whole: precision.checked_sub(scale)?, scale })
}

/// The digits of a type of integers.
fn integer(ty: &str) -> Option<Need> {
    let whole = match ty {
        "BIGINT" => 19,
        "INTEGER" => 10,
        "SMALLINT" => 5,
        _ => return None,
    };
    Some(Need { whole, scale: 0 })
}

/// The text of values, as rows would have it.
fn text(have: &str, name: &str) -> Option<String> {
    if decimal(have).is_some() {
        let text = cast_to_text(name);
        let plain = format!("rtrim(rtrim({text}, '0'), '.')");
        return Some(format!("CASE WHEN contains({text}, '.') THEN {plain} ELSE {text} END"));
    }
    match have {
        "VARCHAR" | "BOOLEAN" | "BIGINT" | "INTEGER" | "DOUBLE" | "DATE" => Some(cast_to_text(name)),
        // A text is there in quotes, which a row of text does not have.
        "JSON" => Some(format!(
            "CASE json_type({name}) WHEN 'VARCHAR' THEN {name} ->> '$' ELSE {} END",
            cast_to_text(name)
        )),
        "TIMESTAMP_NS" | "TIMESTAMP" => Some(format!("replace({}, ' ', 'T') || 'Z'", cast_to_text(name))),
        _ => None,
    }
}

fn cast_to_text(name: &str) -> String {
    format!("{name}::VARCHAR")
}

fn refused(place: &Place, name: &str, have: &str, need: &str) -> Error {
    let (table, column) = (place.sql(), quoted(name));
    let using = if have == "JSON" { format!(" USING ({column} ->> '$')::{need}") } else { String::new() };
    let doubles = match (have, need) {
        ("DOUBLE", _) => "set `numbers: double`, or ",
        _ => "",
    };
    Error::new(ErrorKind::Table, format!("the column {name} of {table} is {have}, but its rows need {need}"))
        .hint(format!(
            "{doubles}convert it with ALTER TABLE {table} ALTER {column} TYPE {need}{using}, which loses what {need} does not hold, or rename the table to have it loaded anew"
        ))
}
