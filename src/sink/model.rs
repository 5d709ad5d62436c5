//! What a table holds after rows that replace each other by key, in few lines, to judge
//! sinks by. The integration tests read this file too.

use std::collections::BTreeMap;

use proptest::prelude::*;

/// A row of the key `k` with the number `n`, which none has twice.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) k: u8,
    /// Its version, where the table has them.
    pub(crate) at: Option<u8>,
    pub(crate) n: usize,
    pub(crate) is_delete: bool,
}

/// What is there of each key: its version and its number.
pub(crate) type Held = BTreeMap<u8, (Option<u8>, usize)>;

/// Writes rows that a sink takes together. Which of them came is forgotten with a delete.
pub(crate) fn write<'a>(held: &mut Held, rows: impl IntoIterator<Item = &'a Row>) {
    let mut last: BTreeMap<u8, &Row> = BTreeMap::new();
    for row in rows {
        if last.get(&row.k).is_none_or(|before| before.at <= row.at) {
            last.insert(row.k, row);
        }
    }
    for (k, row) in last {
        if held.get(&k).is_some_and(|(at, _)| *at > row.at) {
            continue;
        }
        held.remove(&k);
        if !row.is_delete {
            held.insert(k, (row.at, row.n));
        }
    }
}

/// Commits of batches of rows, of few keys and versions.
pub(crate) fn schedule() -> impl Strategy<Value = Vec<Vec<Vec<Row>>>> {
    let row = (0_u8..4, prop::option::weighted(0.9, 0_u8..5), prop::bool::weighted(0.3));
    let batch = prop::collection::vec(row, 1..7);
    let commits = prop::collection::vec(prop::collection::vec(batch, 1..4), 1..5);
    commits.prop_map(|commits| {
        let mut n = 0;
        let mut number = |(k, at, is_delete)| {
            n += 1;
            Row { k, at, n, is_delete }
        };
        let mut batch = |rows: Vec<_>| rows.into_iter().map(&mut number).collect();
        commits.into_iter().map(|batches: Vec<_>| batches.into_iter().map(&mut batch).collect()).collect()
    })
}

/// The commits as they are where no row has a version.
pub(crate) fn without_versions(mut commits: Vec<Vec<Vec<Row>>>) -> Vec<Vec<Vec<Row>>> {
    commits.iter_mut().flatten().flatten().for_each(|row| row.at = None);
    commits
}
