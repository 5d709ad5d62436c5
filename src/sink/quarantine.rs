//! Rows that their table cannot hold, as sinks keep them: a row each, by whose it is.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::Target;
use crate::batch::Reject;

/// What version 1 of this program left of the destination's table, which had no
/// [`ID`], is called.
pub(super) const FIRST: &str = "_tapeline_rejected_1";
/// The column that tells rejected rows apart.
pub(super) const ID: &str = "id";

/// A rejected row under its name: the same one of a stream has the same, whenever it comes.
pub(super) struct Named<'a> {
    pub id: String,
    pub reject: &'a Reject,
}

/// The rejected rows of a stream, each once.
pub(super) fn named<'a>(target: &Target, rejected: &'a [Reject]) -> Vec<Named<'a>> {
    let mut ids = HashSet::new();
    let named = rejected.iter().map(|reject| Named { id: id(target, reject), reject });
    named.filter(|named| ids.insert(named.id.clone())).collect()
}

/// It is stored, so that it must be the same whatever compiled this program.
fn id(target: &Target, reject: &Reject) -> String {
    let mut hasher = Sha256::new();
    for part in [&*target.pipeline, &target.stream, &reject.shard, &reject.reason, &reject.row] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::WriteMode;
    use crate::table::Table;

    /// A rejected row.
    pub(crate) fn reject(shard: &str, reason: &str, row: &str) -> Reject {
        Reject { shard: Arc::from(shard), reason: reason.to_owned(), row: row.to_owned() }
    }

    #[test]
    fn a_row_has_one_name_and_no_other_has_it() {
        let table = Arc::new(Table::new("t", Vec::new(), &[]));
        let target = |pipeline: &str, stream: &str| {
            Target::new(pipeline, stream, Arc::clone(&table), WriteMode::AppendDedup)
        };
        let rejects = [
            reject("A", "b", "{}"),
            reject("A", "b", "{}"),
            reject("", "Ab", "{}"),
            reject("A", "b", "{ }"),
            reject("Ab", "", "{}"),
        ];
        let ids = |target: &Target| -> Vec<String> {
            named(target, &rejects).into_iter().map(|named| named.id).collect()
        };
        let mut all =
            [target("p", "s"), target("p", "t"), target("ps", "")].map(|target| ids(&target)).concat();
        assert_eq!((all.len(), all[0].as_str()), (12, "67d314788a9017c133ca748f569a2314"));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 12);
    }
}
