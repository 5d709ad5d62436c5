//! Who may write to a table: one pipeline's stream, or several that say that they share it.

use super::lifecycle::{Heads, Kept};
use super::{Target, WriteMode, WrittenBy};
use crate::catalog::{EXTRA_COLUMN, Metadata};
use crate::error::{Error, ErrorKind, Result};

/// A stream that writes to a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub pipeline: &'a str,
    pub stream: &'a str,
    /// Lower-case name of the table.
    pub table: &'a str,
    pub shared: bool,
}

/// Those who write to the tables of a schema.
pub(super) fn owners(heads: &Heads) -> impl Iterator<Item = Owner<'_>> {
    heads.iter().map(|((pipeline, stream), kept)| Owner {
        pipeline,
        stream,
        table: &kept.table,
        shared: kept.shared,
    })
}

/// Other streams than the target's that wrote to its table, which is gone. They have no say
/// in another one of its name: what is stored of them is void. One that is about to make the
/// table, or that `collects` rows beside it, is none of them.
pub(super) fn without_table(
    target: &Target,
    heads: &Heads,
    collects: impl Fn(&str, &str) -> bool,
) -> Vec<(String, String)> {
    let table = target.table.name.to_lowercase();
    let is_gone = |((pipeline, stream), kept): &(&(String, String), &Kept)| {
        kept.table == table
            && (pipeline, stream) != (&target.pipeline, &target.stream)
            && kept.head.epoch > 0
            && !collects(pipeline, stream)
    };
    heads.iter().filter(is_gone).map(|(key, _)| key.clone()).collect()
}

/// Whether a stream writes to the target's table, or did.
pub(super) fn is_written(target: &Target, heads: &Heads) -> bool {
    let table = target.table.name.to_lowercase();
    owners(heads).any(|owner| owner.table == table)
}

/// Those who write to the target's table, in order.
pub(super) fn of_table(target: &Target, heads: &Heads) -> Vec<WrittenBy> {
    let table = target.table.name.to_lowercase();
    let mut found: Vec<_> = owners(heads)
        .filter(|owner| owner.table == table)
        .map(|owner| WrittenBy {
            pipeline: owner.pipeline.to_owned(),
            stream: owner.stream.to_owned(),
            shared: owner.shared,
        })
        .collect();
    found.sort();
    found
}

/// Whether others may write to the target's table too, if they say so as well.
pub(super) fn shares(target: &Target) -> bool {
    target.shared && target.mode == WriteMode::AppendDedup && !target.table.key.is_empty()
}

/// Whether `target` may write to its table, called `place` in messages, beside those who
/// write to the tables of its schema.
///
/// # Errors
/// [`ErrorKind::Table`] when somebody else does and one of them does not share it.
pub(super) fn check<'a>(
    target: &Target,
    place: &str,
    owners: impl IntoIterator<Item = Owner<'a>>,
) -> Result<()> {
    let table = target.table.name.to_lowercase();
    let is_safe = shares(target);
    let is_other = |owner: &Owner<'_>| {
        owner.table == table
            && (owner.pipeline, owner.stream) != (target.pipeline.as_str(), target.stream.as_str())
            && !(is_safe && owner.shared)
    };
    let Some(owner) = owners.into_iter().find(is_other) else { return Ok(()) };
    let who = match owner.pipeline {
        super::AIRBYTE => "an Airbyte connection".to_owned(),
        pipeline => format!("the pipeline {pipeline} (stream {})", owner.stream),
    };
    Err(Error::new(ErrorKind::Table, format!("the table {place} is written by {who}")).hint(
        match target.pipeline.as_str() {
            super::AIRBYTE => "choose another namespace or a stream prefix for the connection",
            _ => {
                "choose another `schema` or a `table_prefix`; use the same `name` if it is the same pipeline; or set \
                 `shared: true` on the stream in both, where both have the mode append_dedup and list tickers"
            }
        },
    ))
}

/// Refuses a table, called `place` in messages, that is not ours. One of ours has all columns
/// about its rows or, because they may not have been asked for, is written by a stream and has
/// [`EXTRA_COLUMN`]. The name alone says nothing: somebody may have put another table in its
/// place.
///
/// # Errors
/// [`ErrorKind::Table`] when this program did not make it.
pub(super) fn must_be_ours(place: &str, is_written: bool, has_column: impl Fn(&str) -> bool) -> Result<()> {
    let lacking = Metadata::ALL.into_iter().find(|metadata| !has_column(metadata.column()));
    match lacking {
        Some(metadata) if !(is_written && has_column(EXTRA_COLUMN)) => Err(foreign(format!(
            "the table {place} exists, but was not made by tapeline: it has no column {}",
            metadata.column()
        ))),
        _ => Ok(()),
    }
}

/// The error of a table that has rows and that no stream is known to write: rows of a pipeline
/// that goes to another table now, or of version 1 of another one, would be doubled or replaced.
pub(super) fn unowned(target: &Target, place: &str) -> Error {
    let other = match target.pipeline.as_str() {
        super::AIRBYTE => "another namespace or a stream prefix for the connection",
        _ => "another `schema` or a `table_prefix`",
    };
    Error::new(
        ErrorKind::Table,
        format!("the table {place} has rows that this stream is not known to have written"),
    )
    .hint(format!("rename or drop it, or choose {other}"))
}

/// The error of something that is there and not ours.
pub(super) fn foreign(message: String) -> Error {
    Error::new(ErrorKind::Table, message).hint("choose another `schema`, or rename what is there")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::{Metadata, Table};

    fn target(mode: WriteMode, shared: bool) -> Target {
        let table = Table {
            name: "T".to_owned(),
            columns: Vec::new(),
            key: vec!["k".to_owned()],
            cursor: None,
            version: None,
            metadata: Metadata::ALL.to_vec(),
        };
        Target { shared, ..Target::new("mine", "s", Arc::new(table), mode) }
    }

    fn refused(target: &Target, pipeline: &str, table: &str, shared: bool) -> Option<String> {
        let owner = Owner { pipeline, stream: "s", table, shared };
        check(target, "p.t", [owner]).err().map(|error| error.to_string())
    }

    #[test]
    fn a_table_has_one_owner_unless_all_share_it() {
        use WriteMode::{Append, AppendDedup, Overwrite};
        for mode in [Append, AppendDedup, Overwrite] {
            let own = target(mode, false);
            assert_eq!(refused(&own, "mine", "t", false), None);
            assert_eq!(refused(&own, "other", "another", false), None);
            let message = refused(&own, "other", "t", true).unwrap();
            assert_eq!(message, "the table p.t is written by the pipeline other (stream s)");
        }
        assert_eq!(refused(&target(AppendDedup, true), "other", "t", true), None);
        assert!(refused(&target(AppendDedup, true), "other", "t", false).is_some());
        for mode in [Append, Overwrite] {
            assert!(refused(&target(mode, true), "other", "t", true).is_some(), "{mode:?}");
        }
        assert!(
            refused(&target(Append, false), "airbyte", "t", false).unwrap().contains("an Airbyte connection")
        );
    }
}
