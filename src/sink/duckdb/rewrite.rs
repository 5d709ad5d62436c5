//! Tables made anew, where DuckDB cannot alter them in place.
//!
//! The log holds an ALTER as its text, and whoever opens the file after a crash runs it
//! again before DuckDB knows a function or a type of an extension. An ALTER that has one,
//! in its USING or as its new type, or whose table has one in a default, so makes a file
//! that nothing opens until the log is worked in. And a transaction that deleted rows of a
//! table and alters it afterwards cannot commit. A table that is made anew, in the same
//! transaction, has neither fault: the log holds no more than its creation and its rows.

use duckdb::{Connection, OptionalExt};

use super::client::{execute, failed, literal, quoted};
use super::ddl::Place;
use crate::error::{Error, ErrorKind, Result};

/// A column whose type changes.
#[derive(Debug, Clone)]
pub(super) struct Conversion<'a> {
    pub column: &'a str,
    /// Its type from then on.
    pub to: String,
    /// Its values, as an expression.
    pub values: String,
}

/// Makes a table anew with some of its columns of other types. The order of columns and
/// rows stays, and so do defaults and comments. A column that has its type already stays
/// as it is.
///
/// # Errors
/// [`ErrorKind::Table`] as [`must_be_plain`] and [`must_be_alterable`]. After any other the transaction is lost.
pub(super) fn rewrite(connection: &Connection, place: &Place, changes: &[Conversion<'_>]) -> Result<()> {
    let old = columns(connection, place)?;
    let change = |column: &Column| {
        let named = changes.iter().find(|change| change.column.to_lowercase() == column.name.to_lowercase());
        named.filter(|change| change.to != column.ty)
    };
    if !old.iter().any(|column| change(column).is_some()) {
        return Ok(());
    }
    must_be_alterable(connection, place)?;
    must_be_plain(connection, place, changes)?;
    let new = Place { name: format!("_tapeline_anew_{}", place.name), ..place.clone() };
    let (mut sql, mut definitions, mut values) = (String::new(), Vec::new(), Vec::new());
    for column in &old {
        let name = quoted(&column.name);
        let (ty, value) = match change(column) {
            Some(Conversion { to, values, .. }) => {
                tracing::info!("making {to} of the column {} of {}", column.name, place.sql());
                (to, values)
            }
            None => (&column.ty, &name),
        };
        let default = column.default.as_ref().map(|default| format!(" DEFAULT {default}"));
        definitions.push(format!("{name} {ty}{}", default.unwrap_or_default()));
        values.push(value.clone());
        if let Some(comment) = &column.comment {
            sql.push_str(&format!("COMMENT ON COLUMN {}.{name} IS {};", new.sql(), literal(comment)));
        }
    }
    if let Some(comment) = comment(connection, place)? {
        sql.push_str(&format!("COMMENT ON TABLE {} IS {};", new.sql(), literal(&comment)));
    }
    let (from, to) = (place.sql(), new.sql());
    for sql in [
        format!("CREATE TABLE {to} ({}); {sql}", definitions.join(", ")),
        format!("INSERT INTO {to} SELECT {} FROM {from}", values.join(", ")),
        format!("DROP TABLE {from}; ALTER TABLE {to} RENAME TO {}", quoted(&place.name)),
    ] {
        execute(connection, &sql, || format!("could not make the table {from} anew"))?;
    }
    Ok(())
}

/// Refuses to make a table anew that would lose something by it.
///
/// # Errors
/// [`ErrorKind::Table`], with the statement that changes it in place; nothing was changed.
pub(super) fn must_be_plain(
    connection: &Connection,
    place: &Place,
    changes: &[Conversion<'_>],
) -> Result<()> {
    let Some(lost) = lost(connection, place)? else { return Ok(()) };
    let table = place.sql();
    let alter = |Conversion { column, to, values }: &Conversion<'_>| {
        format!("ALTER TABLE {table} ALTER {} TYPE {to} USING {values}", quoted(column))
    };
    let statements: Vec<String> = changes.iter().map(alter).chain(["CHECKPOINT".to_owned()]).collect();
    let columns: Vec<&str> = changes.iter().map(|change| change.column).collect();
    let message = format!(
        "{table} has to be made anew to change its column {}, and would lose {lost}",
        columns.join(" and its column ")
    );
    Err(Error::new(ErrorKind::Table, message).hint(format!(
        "change it with {}, before the file is closed; or drop what it would lose",
        statements.join("; ")
    )))
}

/// What of a table is not made anew with it.
fn lost(connection: &Connection, place: &Place) -> Result<Option<String>> {
    let is_it = is_it(place);
    let bare = r#"regexp_replace(sql, '"([^"]|"")*"|''([^'']|'''')*''', '', 'g')"#;
    let sql = format!(
        "SELECT 'the index ' || index_name FROM duckdb_indexes() WHERE {is_it} \
         UNION ALL SELECT 'the constraint ' || constraint_text FROM duckdb_constraints() WHERE {is_it} \
         UNION ALL SELECT 'that a column is computed of others' FROM duckdb_tables() \
            WHERE {is_it} AND contains({bare}, ' GENERATED ALWAYS AS') \
         UNION ALL SELECT 'the collation of a column' FROM duckdb_tables() \
            WHERE {is_it} AND contains({bare}, ' COLLATE ') LIMIT 1"
    );
    one(connection, place, &sql)
}

/// Refuses to alter a table whose ALTER could not be run again after a crash.
///
/// # Errors
/// [`ErrorKind::Table`], naming the column; nothing was changed.
pub(super) fn must_be_alterable(connection: &Connection, place: &Place) -> Result<()> {
    for Column { name, default, .. } in columns(connection, place)? {
        let Some(default) = default.filter(|default| !is_constant(default)) else { continue };
        let (table, column) = (place.sql(), quoted(&name));
        let message = format!(
            "{table} has to be altered, and its column {name} has the default {default}: \
             after a crash DuckDB could not open the file"
        );
        return Err(Error::new(ErrorKind::Table, message).hint(format!(
            "run ALTER TABLE {table} ALTER {column} DROP DEFAULT; CHECKPOINT; and start again. \
             The default can be set again afterwards, by whoever does so with a CHECKPOINT behind it"
        )));
    }
    Ok(())
}

/// Whether a default is a literal, if need be cast to a type of DuckDB's own.
fn is_constant(default: &str) -> bool {
    let cast = default.strip_prefix("CAST(").and_then(|rest| rest.strip_suffix(')'));
    let literal = match cast.and_then(|cast| cast.rsplit_once(" AS ")) {
        Some((_, ty)) if ty.trim_matches('"') == "JSON" => return false,
        Some((literal, _)) => literal,
        None => default,
    };
    let text = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match text {
        Some(text) => !text.replace("''", "").contains('\''),
        None => literal == "NULL" || literal.bytes().all(|byte| b"0123456789.-+eE".contains(&byte)),
    }
}

/// A column as DuckDB has it.
struct Column {
    name: String,
    ty: String,
    default: Option<String>,
    comment: Option<String>,
}

fn columns(connection: &Connection, place: &Place) -> Result<Vec<Column>> {
    let sql = format!(
        "SELECT column_name, data_type, column_default, comment FROM duckdb_columns() WHERE {} \
         ORDER BY column_index",
        is_it(place)
    );
    let read = || -> duckdb::Result<Vec<Column>> {
        let mut statement = connection.prepare(&sql)?;
        let column = |row: &duckdb::Row<'_>| {
            Ok(Column { name: row.get(0)?, ty: row.get(1)?, default: row.get(2)?, comment: row.get(3)? })
        };
        statement.query_map([], column)?.collect()
    };
    read().map_err(|error| failed(&format!("could not read the columns of {}", place.sql()), error))
}

fn comment(connection: &Connection, place: &Place) -> Result<Option<String>> {
    let sql = format!("SELECT comment FROM duckdb_tables() WHERE {} AND comment IS NOT NULL", is_it(place));
    one(connection, place, &sql)
}

fn one(connection: &Connection, place: &Place, sql: &str) -> Result<Option<String>> {
    let found = connection.query_row(sql, [], |row| row.get(0)).optional();
    found.map_err(|error| failed(&format!("could not look at {}", place.sql()), error))
}

/// The condition for a table in DuckDB's lists.
fn is_it(place: &Place) -> String {
    format!(
        "database_name = {} AND lower(schema_name) = lower({}) AND lower(table_name) = lower({})",
        literal(&place.catalog),
        literal(&place.schema),
        literal(&place.name)
    )
}

#[cfg(test)]
mod tests {
    use super::is_constant;

    #[test]
    fn defaults_are_told_apart_by_whether_they_call_a_function() {
        for constant in
            ["NULL", "-5", "1.5", "'it''s'", "''", "CAST('t' AS BOOLEAN)", r#"CAST('x' AS "DATE")"#]
        {
            assert!(is_constant(constant), "{constant}");
        }
        for called in
            ["now()", "(5 + 0)", "('x' || 'y')", r#"CAST('[]' AS "JSON")"#, "current_user", "'a' || 'b'"]
        {
            assert!(!is_constant(called), "{called}");
        }
    }
}
