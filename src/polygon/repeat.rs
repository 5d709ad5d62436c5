//! Rows that repeat a row of the same page or of the one before, byte for byte:
//! the API repeats rows at page borders, and a row's key is part of it.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;

/// Finds them.
///
/// Of each row 128 bits are kept, under seeds that no other process has: that two
/// rows which differ share them is less likely than a memory fault, and the text
/// of two pages need not be kept.
#[derive(Debug, Default)]
pub(super) struct RepeatGuard {
    current: Seen,
    before: Seen,
    seeds: [RandomState; 2],
}

type Seen = HashSet<u128, BuildHasherDefault<AlreadyHashed>>;

impl RepeatGuard {
    /// A page begins; the same page again (a retry) replaces itself.
    pub(super) fn begin(&mut self) {
        self.current.clear();
    }

    /// The page is complete: the next one is compared with it.
    pub(super) fn accept(&mut self) {
        std::mem::swap(&mut self.before, &mut self.current);
    }

    /// Whether the row is in neither page yet; it is afterwards.
    #[inline]
    pub(super) fn is_new(&mut self, row: &[u8]) -> bool {
        let [high, low] = &self.seeds;
        let hash = u128::from(high.hash_one(row)) << 64 | u128::from(low.hash_one(row));
        self.current.insert(hash) && !self.before.contains(&hash)
    }
}

/// Passes the lower half of a hash through.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
