//! Who goes on, who begins anew, and under which generation: one pure function
//! that every sink asks when it opens a stream.

use std::collections::HashMap;

use super::{Target, WriteMode};

/// The rows of a schema's streams, by pipeline and stream.
pub(super) type Heads = HashMap<(String, String), Kept>;

/// A stream's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub head: Head,
    /// Lower-case name of the table.
    pub table: String,
    /// Whether other pipelines may write to the table too.
    pub shared: bool,
}

/// What is stored of a stream, besides the positions of its shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Counts commits: whoever names another one was overtaken.
    pub version: i64,
    /// Counts processes that had the stream open.
    pub epoch: i64,
    /// The run that the table's rows are of.
    pub generation: i64,
    /// The run that collects its rows beside the table, if one is unfinished.
    pub next: Option<i64>,
}

/// What a sink found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// Whether the table is there.
    pub table: bool,
    /// Whether what is stored speaks of a table of another name, where the rows went before.
    pub is_of_another: bool,
    /// Whether the table that an unfinished run fills is there and can take the rows.
    pub next: bool,
    /// Whether the table has rows, all of them of the target's run. Only asked for when
    /// [`may_be_replaced`].
    pub is_wholly_of_run: bool,
}

/// How a stream is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Takeover {
    /// Whether rows go to a table that will replace the other.
    pub staged: bool,
    /// What happens to rows that are there already.
    pub mode: WriteMode,
    /// The run that the rows are of.
    pub generation: i64,
    /// Whether the rows that the stored positions speak of are there and stay; the
    /// positions of where rows go are void otherwise.
    pub keeps: bool,
    /// Whether the rows of an abandoned run go, and its positions.
    pub drops_next: bool,
}

impl Facts {
    /// Whether the table that what is stored speaks of is there; what is stored is void otherwise.
    pub fn is_still_there(&self) -> bool {
        self.table && !self.is_of_another
    }
}

impl Takeover {
    /// What is stored once the stream was taken over from `before`.
    pub fn head(&self, before: Option<&Head>) -> Head {
        let before = before.copied().unwrap_or_default();
        Head {
            version: before.version + 1,
            epoch: before.epoch + 1,
            generation: if self.staged { before.generation } else { self.generation },
            next: self.staged.then_some(self.generation),
        }
    }
}

impl Head {
    /// What is stored once a statement moved it.
    pub fn moved(&self) -> Self {
        Self { version: self.version + 1, ..*self }
    }

    /// What is stored once the run that collected its rows beside the table finished.
    pub fn finished(&self) -> Self {
        Self { generation: self.next.unwrap_or(self.generation), next: None, ..self.moved() }
    }
}

/// Whether the target's run may have replaced the table already, by what is stored.
pub(super) fn may_be_replaced(target: &Target, head: Option<&Head>) -> bool {
    let is_of_run =
        |run: super::Run| head.is_some_and(|head| head.next.is_none() && head.generation == run.generation);
    target.mode.is_staged() && target.run.is_some_and(is_of_run)
}

/// How `target` is taken over, by what is stored and what was found.
pub(super) fn takeover(target: &Target, head: Option<&Head>, facts: Facts) -> Takeover {
    let run = target.run.map(|run| run.generation);
    let next = head.and_then(|head| head.next);
    if !target.mode.is_staged() {
        return Takeover {
            staged: false,
            mode: target.mode,
            generation: run.unwrap_or(head.map_or(0, |head| head.generation)),
            keeps: head.is_some() && facts.is_still_there(),
            // Nobody goes on with a run that was given up for another mode.
            drops_next: next.is_some(),
        };
    }
    let mode = going_on(target);
    if facts.is_wholly_of_run && !facts.is_of_another && may_be_replaced(target, head) {
        let generation = run.unwrap_or_default();
        return Takeover { staged: false, mode, generation, keeps: true, drops_next: false };
    }
    match next {
        Some(generation) if facts.next && !facts.is_of_another && run.is_none_or(|run| run == generation) => {
            Takeover { staged: true, mode, generation, keeps: true, drops_next: false }
        }
        _ => {
            let last = head.map_or(0, |head| head.generation.max(head.next.unwrap_or(0)));
            Takeover {
                staged: true,
                mode: target.mode,
                generation: run.unwrap_or(last + 1),
                keeps: false,
                drops_next: true,
            }
        }
    }
}

/// The mode of a run that goes on. Whoever counts the runs did not hear of the
/// last commit when the process died before it told: its rows are sent again, and
/// where they have a key they are there once.
fn going_on(target: &Target) -> WriteMode {
    match target.mode {
        WriteMode::Overwrite if target.run.is_some() && !target.table.key.is_empty() => {
            WriteMode::OverwriteDedup
        }
        mode => mode,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Run;
    use super::*;
    use crate::table::Table;

    fn target(mode: WriteMode, run: Option<i64>) -> Target {
        let table = Table::new("t", Vec::new(), &["k"]);
        let run = run.map(|generation| Run { generation, sync: None });
        Target { run, ..Target::new("p", "t", Arc::new(table), mode) }
    }

    fn head(generation: i64, next: Option<i64>) -> Head {
        Head { version: 7, epoch: 3, generation, next }
    }

    const ALL: Facts = Facts { table: true, is_of_another: false, next: true, is_wholly_of_run: false };

    #[test]
    fn rows_that_are_added_go_on_where_the_table_is() {
        for mode in [WriteMode::Append, WriteMode::AppendDedup] {
            let fresh = takeover(&target(mode, None), None, Facts::default());
            assert_eq!((fresh.staged, fresh.keeps, fresh.generation), (false, false, 0));
            let on = takeover(&target(mode, None), Some(&head(4, None)), ALL);
            assert_eq!((on.keeps, on.generation, on.drops_next), (true, 4, false));
            let gone = takeover(&target(mode, None), Some(&head(4, None)), Facts::default());
            assert!(!gone.keeps, "positions speak of rows that somebody dropped");
            let moved =
                takeover(&target(mode, None), Some(&head(4, None)), Facts { is_of_another: true, ..ALL });
            assert!(!moved.keeps, "positions speak of rows in another table");
            let foreign = takeover(&target(mode, None), None, ALL);
            assert!(!foreign.keeps, "a table without stored progress is read from the beginning");
            let abandoned = takeover(&target(mode, Some(9)), Some(&head(4, Some(5))), ALL);
            assert_eq!((abandoned.drops_next, abandoned.generation), (true, 9));
        }
    }

    #[test]
    fn an_unfinished_run_goes_on_and_a_finished_one_is_followed_by_the_next() {
        let overwrite = target(WriteMode::Overwrite, None);
        let first = takeover(&overwrite, None, Facts::default());
        assert_eq!((first.staged, first.keeps, first.generation), (true, false, 1));
        let after = first.head(None);
        assert_eq!(after, Head { version: 1, epoch: 1, generation: 0, next: Some(1) });
        let on = takeover(&overwrite, Some(&after), ALL);
        assert_eq!((on.keeps, on.generation, on.mode), (true, 1, WriteMode::Overwrite));
        let lost = takeover(&overwrite, Some(&after), Facts { next: false, ..ALL });
        assert_eq!((lost.keeps, lost.generation), (false, 2), "its table is gone");
        let moved = takeover(&overwrite, Some(&after), Facts { is_of_another: true, ..ALL });
        assert_eq!((moved.keeps, moved.generation), (false, 2), "they are of another table");
        let finished = after.finished();
        assert_eq!(finished, Head { version: 2, epoch: 1, generation: 1, next: None });
        let next = takeover(&overwrite, Some(&finished), ALL);
        assert_eq!((next.keeps, next.generation, next.drops_next), (false, 2, true));
    }

    #[test]
    fn a_platforms_run_goes_on_by_its_number_only() {
        let overwrite = target(WriteMode::Overwrite, Some(5));
        let on = takeover(&overwrite, Some(&head(4, Some(5))), ALL);
        assert_eq!((on.keeps, on.generation, on.mode), (true, 5, WriteMode::OverwriteDedup));
        let other = takeover(&overwrite, Some(&head(4, Some(3))), ALL);
        assert_eq!((other.keeps, other.generation, other.mode), (false, 5, WriteMode::Overwrite));
        let wholly = Facts { is_wholly_of_run: true, ..ALL };
        let added = takeover(&overwrite, Some(&head(5, None)), wholly);
        assert_eq!((added.staged, added.keeps, added.mode), (false, true, WriteMode::OverwriteDedup));
        assert!(takeover(&overwrite, Some(&head(5, None)), ALL).staged, "rows of others are replaced");
        assert!(takeover(&overwrite, Some(&head(4, None)), wholly).staged);
        let moved = Facts { is_of_another: true, ..wholly };
        assert!(takeover(&overwrite, Some(&head(5, None)), moved).staged);
    }
}
