//! Who may write to a table: one pipeline's stream, or several that say that they share it.

use super::lifecycle::{Heads, Kept};
use super::{Target, WriteMode, WrittenBy};
use crate::error::{Error, ErrorKind, Result};
use crate::table::{EXTRA_COLUMN, Metadata};

/// A stream before its table: what is stored of it, and of those who write to the tables of
/// its schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    pub target: &'a Target,
    /// The streams of the target's schema.
    pub heads: &'a Heads,
    /// Whether version 1 stored progress of the stream.
    pub is_of_first: bool,
}

impl<'a> Standing<'a> {
    /// The stream's own row.
    pub fn kept(&self) -> Option<&'a Kept> {
        self.heads.get(&(self.target.pipeline.clone(), self.target.stream.clone()))
    }

    /// Whether what is stored of the stream speaks of a table of another name.
    pub fn is_of_another(&self) -> bool {
        self.kept().is_some_and(|kept| kept.table != self.target.table.name.to_lowercase())
    }

    /// Those who write to the target's table, in order.
    pub fn writers(&self) -> Vec<WrittenBy> {
        let mut found: Vec<_> = of_table(self.target, self.heads)
            .map(|((pipeline, stream), kept)| WrittenBy {
                pipeline: pipeline.clone(),
                stream: stream.clone(),
                shared: kept.shared,
            })
            .collect();
        found.sort();
        found
    }

    /// Whether the stream may write to its table, called `place` in messages, beside those who
    /// write to it already.
    ///
    /// # Errors
    /// [`ErrorKind::Table`] when somebody else does and one of them does not share it.
    pub fn must_be_alone_or_share(&self, place: &str) -> Result<()> {
        let is_safe = shares(self.target);
        let mut others = of_table(self.target, self.heads)
            .filter(|(key, kept)| !(is_own(self.target, key) || is_safe && kept.shared));
        let Some(((pipeline, stream), _)) = others.next() else { return Ok(()) };
        let who = match pipeline.as_str() {
            super::AIRBYTE => "an Airbyte connection".to_owned(),
            pipeline => format!("the pipeline {pipeline} (stream {stream})"),
        };
        Err(Error::new(ErrorKind::Table, format!("the table {place} is written by {who}")).hint(
            match self.target.pipeline.as_str() {
                super::AIRBYTE => "choose another namespace or a stream prefix for the connection",
                _ => {
                    "choose another `schema` or a `table_prefix`; use the same `name` if it is the same pipeline; or set \
                     `shared: true` on the stream in both, where both have the mode append_dedup and list tickers"
                }
            },
        ))
    }

    /// Refuses a table, called `place` in messages, that is there and not ours. One of ours has
    /// all columns about its rows or, because they may not have been asked for, is written by a
    /// stream and has [`EXTRA_COLUMN`]. The name alone says nothing: somebody may have put
    /// another table in its place.
    ///
    /// # Errors
    /// [`ErrorKind::Table`] when this program did not make it.
    pub fn must_be_ours(&self, place: &str, has_column: impl Fn(&str) -> bool) -> Result<()> {
        let lacking = Metadata::ALL.into_iter().find(|metadata| !has_column(metadata.column()));
        match lacking {
            Some(metadata) if !(self.is_written() && has_column(EXTRA_COLUMN)) => Err(foreign(format!(
                "the table {place} exists, but was not made by tapeline: it has no column {}",
                metadata.column()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether rows of the table are of somebody who is known. Who is not must find it empty.
    pub fn knows_rows(&self) -> bool {
        self.is_written() || self.is_of_first
    }

    /// Refuses a table, called `place` in messages, with rows that no stream is known to have
    /// written: those of a pipeline that goes to another table now, or of version 1 of another
    /// one, would be doubled or replaced.
    ///
    /// # Errors
    /// [`ErrorKind::Table`] when it has such rows.
    pub fn must_know_rows(&self, place: &str, has_rows: bool) -> Result<()> {
        if !has_rows || self.knows_rows() {
            return Ok(());
        }
        let other = match self.target.pipeline.as_str() {
            super::AIRBYTE => "another namespace or a stream prefix for the connection",
            _ => "another `schema` or a `table_prefix`",
        };
        let message = format!("the table {place} has rows that this stream is not known to have written");
        Err(Error::new(ErrorKind::Table, message).hint(format!("rename or drop it, or choose {other}")))
    }

    /// Whether a stream writes to the target's table, or did.
    fn is_written(&self) -> bool {
        of_table(self.target, self.heads).next().is_some()
    }
}

/// Other streams than the target's that wrote to its table, which is gone unless `is_there`.
/// They have no say in another one of its name: what is stored of them is void. One that is
/// about to make the table, or that `collects` rows beside it, is none of them.
pub(super) fn without_table(
    target: &Target,
    heads: &Heads,
    is_there: bool,
    collects: impl Fn(&str, &str) -> bool,
) -> Vec<(String, String)> {
    if is_there {
        return Vec::new();
    }
    let is_gone = |(key, kept): &(&(String, String), &Kept)| {
        !is_own(target, key) && kept.head.epoch > 0 && !collects(&key.0, &key.1)
    };
    of_table(target, heads).filter(is_gone).map(|(key, _)| key.clone()).collect()
}

/// Whether others may write to the target's table too, if they say so as well.
pub(super) fn shares(target: &Target) -> bool {
    target.shared && target.mode == WriteMode::AppendDedup && !target.table.key.is_empty()
}

/// The streams that write to the target's table, or did.
fn of_table<'a>(
    target: &Target,
    heads: &'a Heads,
) -> impl Iterator<Item = (&'a (String, String), &'a Kept)> + use<'a> {
    let table = target.table.name.to_lowercase();
    heads.iter().filter(move |(_, kept)| kept.table == table)
}

fn is_own(target: &Target, (pipeline, stream): &(String, String)) -> bool {
    (pipeline, stream) == (&target.pipeline, &target.stream)
}

/// The error of something that is there and not ours.
pub(super) fn foreign(message: String) -> Error {
    Error::new(ErrorKind::Table, message).hint("choose another `schema`, or rename what is there")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::lifecycle::Head;
    use super::*;
    use crate::table::Table;

    fn target(mode: WriteMode, shared: bool) -> Target {
        let table = Table::new("T", Vec::new(), &["k"]);
        Target { shared, ..Target::new("mine", "s", Arc::new(table), mode) }
    }

    fn heads(pipeline: &str, table: &str, shared: bool) -> Heads {
        let kept = Kept { head: Head { epoch: 1, ..Head::default() }, table: table.to_owned(), shared };
        Heads::from([((pipeline.to_owned(), "s".to_owned()), kept)])
    }

    fn refused(target: &Target, pipeline: &str, table: &str, shared: bool) -> Option<String> {
        let heads = heads(pipeline, table, shared);
        let standing = Standing { target, heads: &heads, is_of_first: false };
        standing.must_be_alone_or_share("p.t").err().map(|error| error.to_string())
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

    #[test]
    fn rows_are_somebodys_or_the_table_is_empty() {
        let own = target(WriteMode::Append, false);
        let refused = |heads: &Heads, is_of_first, has_rows| {
            let standing = Standing { target: &own, heads, is_of_first };
            standing.must_know_rows("p.t", has_rows).err().map(|error| error.to_string())
        };
        let message = "the table p.t has rows that this stream is not known to have written";
        assert_eq!(refused(&Heads::new(), false, true).as_deref(), Some(message));
        assert_eq!(refused(&heads("mine", "another", false), false, true).as_deref(), Some(message));
        assert_eq!(refused(&Heads::new(), false, false), None, "it is empty");
        assert_eq!(refused(&Heads::new(), true, true), None, "version 1 wrote them");
        assert_eq!(refused(&heads("mine", "t", false), false, true), None, "it wrote them");
    }

    #[test]
    fn a_table_without_columns_about_rows_is_ours_where_a_stream_writes_it() {
        let own = target(WriteMode::Append, false);
        let refused = |heads: &Heads, columns: &[&str]| {
            let standing = Standing { target: &own, heads, is_of_first: false };
            standing.must_be_ours("p.t", |column| columns.contains(&column)).is_err()
        };
        let all = Metadata::ALL.map(Metadata::column);
        assert!(!refused(&Heads::new(), &all));
        assert!(refused(&Heads::new(), &[EXTRA_COLUMN]));
        assert!(!refused(&heads("mine", "t", false), &[EXTRA_COLUMN]));
        assert!(refused(&heads("mine", "t", false), &["k"]), "somebody put another table in its place");
    }

    #[test]
    fn only_others_whose_table_is_gone_are_forgotten() {
        let own = target(WriteMode::Append, false);
        let gone = |pipeline, is_there, collects| {
            without_table(&own, &heads(pipeline, "t", false), is_there, |_, _| collects).len()
        };
        assert_eq!(gone("other", false, false), 1);
        assert_eq!(gone("other", true, false), 0);
        assert_eq!(gone("other", false, true), 0, "it collects rows beside the table");
        assert_eq!(gone("mine", false, false), 0);
    }
}
