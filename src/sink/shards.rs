//! The shards of a stream as a sink stores them: a position and a version each. A commit
//! names the version that it moves, so that one that was overtaken moves nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Move;

/// What is stored of each shard: its position and its version.
pub(super) type Shards = BTreeMap<Arc<str>, (String, i64)>;

/// A shard that a commit moves, and the version that it has: 0 for one that is not stored.
pub(super) type Shard<'a> = (&'a Move, i64);

/// Where each shard is, without the versions.
pub(super) fn positions(shards: Shards) -> BTreeMap<Arc<str>, String> {
    shards.into_iter().map(|(shard, (position, _))| (shard, position)).collect()
}

/// The versions of a stream's stored shards, as of its last commit.
#[derive(Debug, Default)]
pub(super) struct Versions(HashMap<Arc<str>, i64>);

impl Versions {
    /// Those of shards that were read.
    pub fn of(shards: &Shards) -> Self {
        Self(shards.iter().map(|(shard, (_, version))| (Arc::clone(shard), *version)).collect())
    }

    /// What a commit moves, with the versions that it names.
    pub fn moving<'a>(&self, moves: &'a [Move]) -> Vec<Shard<'a>> {
        let version = |moved: &Move| self.0.get(&moved.shard).copied().unwrap_or(0);
        moves.iter().map(|moved| (moved, version(moved))).collect()
    }

    /// The commit took place.
    pub fn advance(&mut self, moves: &[Move]) {
        for moved in moves {
            match moved.position {
                Some(_) => *self.0.entry(Arc::clone(&moved.shard)).or_insert(0) += 1,
                None => drop(self.0.remove(&moved.shard)),
            }
        }
    }
}
