//! Names as Snowflake holds them.

use sha2::{Digest, Sha256};

use crate::table::Table;

/// Names that Snowflake takes for functions, also in quotes, where a column stands
/// [Snowflake: Reserved keywords]; destination-snowflake has the same list.
const RESERVED: [&str; 6] =
    ["CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "LOCALTIME", "LOCALTIMESTAMP"];

/// Characters that a name may have [Snowflake: Identifier requirements].
pub(super) const NAME_MAX: usize = 255;

/// A name as Snowflake holds it: upper case; with an underscore before it where it is
/// reserved; cut, with a hash of the whole at its end, where it is too long.
pub(super) fn held_name(name: &str) -> String {
    let upper = name.to_uppercase();
    if RESERVED.contains(&upper.trim_start_matches('_')) {
        // Also those that begin so already: no two names become one.
        return format!("_{upper}");
    }
    cut(&upper, NAME_MAX)
}

/// A name of at most `max` characters, more than 17: with a hash of the whole at its end
/// where it is cut.
pub(super) fn cut(name: &str, max: usize) -> String {
    if name.chars().count() <= max {
        return name.to_owned();
    }
    let hash: String = Sha256::digest(name).iter().take(8).map(|byte| format!("{byte:02X}")).collect();
    let kept: String = name.chars().take(max - hash.len() - 1).collect();
    format!("{kept}_{hash}")
}

/// A name as it is held, in quotes. The one place that does it.
pub(super) fn quoted(held: &str) -> String {
    format!("\"{}\"", held.replace('"', "\"\""))
}

/// A name as SQL: as it is held, quoted.
pub(super) fn ident(name: &str) -> String {
    quoted(&held_name(name))
}

/// Says which names are others in Snowflake: of a table and of its columns.
pub(super) fn tell_names(table: &Table) {
    let columns = table.columns.iter().map(|column| &column.name);
    for name in columns.chain([&table.name]) {
        let held = held_name(name);
        if held != name.to_uppercase() {
            tracing::warn!(
                table = table.name,
                name,
                held,
                "Snowflake cannot have this name, so it is another"
            );
        }
    }
}

/// Several names, with commas.
pub(super) fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_snowflake_cannot_have_are_others_and_stay_apart() {
        assert_eq!(ident("current_date"), "\"_CURRENT_DATE\"");
        assert_eq!(ident("_LocalTime"), "\"__LOCALTIME\"");
        assert_eq!(ident("row_number"), "\"ROW_NUMBER\"");
        let long = |end: &str| held_name(&format!("{}{end}", "ä".repeat(255)));
        assert_eq!(long("").chars().count(), 255);
        assert_eq!(long("a").chars().count(), 255);
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("A"));
    }
}
