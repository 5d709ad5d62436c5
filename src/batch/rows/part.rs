//! Pieces of memory that rows lie in, and are used again.

use std::sync::{Mutex, PoisonError};

/// Whole rows, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub text: Vec<u8>,
    /// Where each row ends, behind its line feed.
    pub ends: Vec<usize>,
}

/// Bytes of text after which a new part begins.
pub(super) const PART_BYTES: usize = 1 << 20;

/// And the first part: few rows take little, also where many pages are under way.
pub(super) const FIRST_PART_BYTES: usize = 120 << 10;

/// What the last row of a part may have beyond that without another allocation.
pub(super) const PART_SLACK: usize = 4 << 10;

/// Bytes of a bar, the shortest of the rows that come in great numbers.
const BAR_BYTES: usize = 150;

/// Parts that wait to be used again. Given back to the allocator they cost a tenth
/// of the time of reading, in memory that the system clears anew, and at times
/// some of it lies unused, because those who make rows and those who write them
/// are different threads.
static SPARE: Mutex<Vec<(Vec<u8>, Vec<usize>)>> = Mutex::new(Vec::new());

/// So many wait and no more.
const SPARE_MAX: usize = 64;

impl Part {
    pub fn new() -> Self {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (text, ends) = spare.unwrap_or_else(|| {
            (Vec::with_capacity(PART_BYTES + PART_SLACK), Vec::with_capacity(PART_BYTES / BAR_BYTES))
        });
        Self { text, ends }
    }

    /// The first of several, or the only one.
    pub fn first() -> Self {
        Self {
            text: Vec::with_capacity(FIRST_PART_BYTES + PART_SLACK),
            ends: Vec::with_capacity(FIRST_PART_BYTES / BAR_BYTES),
        }
    }

    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..end - 1])
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let (mut text, mut ends) = (std::mem::take(&mut self.text), std::mem::take(&mut self.ends));
        // It was the first, a row longer than a part made it grow, or it is a copy and as
        // long as its text.
        if text.capacity() != PART_BYTES + PART_SLACK {
            return;
        }
        text.clear();
        ends.clear();
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push((text, ends));
        }
    }
}
