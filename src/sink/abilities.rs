//! What a sink can do, and what is refused because it cannot.

use super::{Target, WriteMode};
use crate::error::{Error, Result};

/// What a sink can do, as it says itself. What a target asks beyond it is [refused](refuse)
/// before a row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// What messages call the sink.
    pub sink: &'static str,
    /// What becomes of rows when the process dies before the progress past them is stored.
    pub durability: Durability,
    /// What one commit makes durable together.
    pub joins: Joins,
    /// Whether a row can take the place of the one with the same key.
    pub replaces_by_key: bool,
    /// Whether rows can be taken out: those of a part that is read again, and those that
    /// the source says are gone.
    pub deletes: bool,
    /// Whether the rows of a run can take a table's place at once.
    pub swaps: bool,
    /// Whether a table can learn columns, and its columns other types, while its rows come.
    pub evolves: bool,
    /// Whether statements can run over the rows of a transaction, in it.
    pub derives: bool,
}

/// How rows become durable, and the progress past them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In one transaction: neither is ever durable without the other.
    Together,
    /// The rows first: those that are durable without the progress come a second time.
    RowsFirst,
    /// By whoever reads the rows, and hears of the progress behind them. Rows that come a
    /// second time are the reader's to tell apart.
    ByReader,
}

/// How many streams one commit makes durable together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joins {
    /// One: the rows of each are a transaction of their own.
    One,
    /// Several. A commit comes early when it has so many: what a warehouse keeps of an
    /// open transaction grows with its tables, however few their rows.
    Many(usize),
}

/// Refuses a target that asks what the sink cannot do.
///
/// # Errors
/// [`ErrorKind::Config`](crate::error::ErrorKind::Config), naming the stream, its mode and
/// the sink.
pub fn refuse(abilities: &Abilities, target: &Target) -> Result<()> {
    let Some(lack) = lack(abilities, target) else { return Ok(()) };
    let can = |mode: &WriteMode| self::lack(abilities, &Target { mode: *mode, ..target.clone() }).is_none();
    let modes = [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite];
    let modes: Vec<&str> = modes.into_iter().filter(can).map(WriteMode::as_str).collect();
    let hint = match modes.as_slice() {
        [] => "choose another sink".to_owned(),
        modes => format!("choose the mode {} for it, or another sink", modes.join(" or ")),
    };
    let (name, mode) = (target.name(), target.mode.as_str());
    let message =
        format!("the stream {name} is to be kept by the mode {mode}, but {} {lack}", abilities.sink);
    Err(Error::config(message).hint(hint).in_stream(name))
}

/// Why a sink cannot do what a target asks, if it cannot.
fn lack(abilities: &Abilities, target: &Target) -> Option<&'static str> {
    let mode = target.mode;
    let is_once = mode.replaces_by_key() && !target.table.key.is_empty();
    if mode.replaces_by_key() && !abilities.replaces_by_key {
        return Some("cannot put a row in the place of the one with the same key");
    }
    if mode == WriteMode::AppendDedup && !abilities.deletes {
        return Some("cannot take out the rows that the source has no more");
    }
    if target.deletes && !abilities.deletes {
        return Some("cannot take out the rows that the source says are gone");
    }
    if mode.is_staged() && !abilities.swaps {
        return Some("cannot put the rows of a run in the place of a table");
    }
    if !target.derived.is_empty() && !abilities.derives {
        return Some("cannot run statements over the rows of a transaction in it");
    }
    if target.grows && !abilities.evolves {
        return Some("cannot give a table the columns that the source learns of on the way");
    }
    if abilities.durability == Durability::RowsFirst && !is_once {
        return Some("stores rows before the progress past them, so after a crash some would be there twice");
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorKind;
    use crate::table::Table;

    /// A sink that can do everything.
    pub(crate) const ALL: Abilities = Abilities {
        sink: "the memory",
        durability: Durability::Together,
        joins: Joins::Many(100),
        replaces_by_key: true,
        deletes: true,
        swaps: true,
        evolves: true,
        derives: true,
    };

    fn target(mode: WriteMode, key: &[&str]) -> Target {
        let table = Table::new("t", Vec::new(), key);
        Target::new("p", "s", Arc::new(table), mode)
    }

    /// Which modes are refused, of a table with a key and of one without.
    fn refused(abilities: Abilities) -> Vec<(&'static str, bool)> {
        use WriteMode::{Append, AppendDedup, Overwrite, OverwriteDedup};
        let mut refused = Vec::new();
        for mode in [Append, AppendDedup, Overwrite, OverwriteDedup] {
            for key in [&["k"][..], &[]] {
                if refuse(&abilities, &target(mode, key)).is_err() {
                    refused.push((mode.as_str(), !key.is_empty()));
                }
            }
        }
        refused
    }

    #[test]
    fn each_ability_is_asked_for_by_the_modes_that_need_it() {
        assert_eq!(refused(ALL), []);
        assert_eq!(refused(Abilities { joins: Joins::One, evolves: false, ..ALL }), []);
        assert_eq!(refused(Abilities { durability: Durability::ByReader, ..ALL }), []);
        let both = |mode| [(mode, true), (mode, false)];
        let dedup = both("append_dedup");
        assert_eq!(refused(Abilities { deletes: false, ..ALL }), dedup);
        let by_key = [dedup, both("overwrite_dedup")].concat();
        assert_eq!(refused(Abilities { replaces_by_key: false, ..ALL }), by_key);
        let staged = [both("overwrite"), both("overwrite_dedup")].concat();
        assert_eq!(refused(Abilities { swaps: false, ..ALL }), staged);
        let twice = [
            &both("append")[..],
            &[("append_dedup", false)],
            &both("overwrite"),
            &[("overwrite_dedup", false)],
        ]
        .concat();
        assert_eq!(refused(Abilities { durability: Durability::RowsFirst, ..ALL }), twice);
        let gone = Target { deletes: true, ..target(WriteMode::OverwriteDedup, &["k"]) };
        assert!(refuse(&ALL, &gone).is_ok() && refuse(&Abilities { deletes: false, ..ALL }, &gone).is_err());
        let grows = Target { grows: true, ..target(WriteMode::Append, &[]) };
        assert!(
            refuse(&ALL, &grows).is_ok() && refuse(&Abilities { evolves: false, ..ALL }, &grows).is_err()
        );
    }

    #[test]
    fn a_refusal_names_stream_mode_and_sink_and_the_way_out() {
        let told = |abilities: Abilities, mode| {
            let error = refuse(&abilities, &target(mode, &["k"])).unwrap_err();
            assert_eq!((error.kind(), error.stream()), (ErrorKind::Config, Some("s")));
            error.user_message()
        };
        let lesser = Abilities { replaces_by_key: false, ..ALL };
        assert_eq!(
            told(lesser, WriteMode::AppendDedup),
            "the stream s is to be kept by the mode append_dedup, but the memory cannot put a row in the \
             place of the one with the same key (hint: choose the mode append or overwrite for it, or another sink)"
        );
        let none = Abilities { durability: Durability::RowsFirst, deletes: false, ..ALL };
        assert!(told(none, WriteMode::Append).ends_with("(hint: choose another sink)"));
    }
}
