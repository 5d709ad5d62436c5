//! Lets a test end the process at a chosen moment, as a crash would.
//!
//! The engine passes a point before and after each write and each commit, and the
//! sinks one before each statement that changes something, so that a transaction
//! can be cut anywhere. With [`KILL_AT_VARIABLE`] set to n the process aborts at the n-th
//! point: nothing is flushed, closed or undone. Without it a point costs one
//! comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that names the point, counted from 1.
pub const KILL_AT_VARIABLE: &str = "TAPELINE_KILL_AT";

static PASSED: AtomicU64 = AtomicU64::new(0);

/// Passes a point, or does not survive it.
pub fn pass() {
    static KILL_AT: OnceLock<Option<u64>> = OnceLock::new();
    let kill_at = KILL_AT.get_or_init(|| std::env::var(KILL_AT_VARIABLE).ok()?.parse().ok());
    if kill_at.is_some_and(|kill_at| PASSED.fetch_add(1, Ordering::Relaxed) + 1 == kill_at) {
        std::process::abort();
    }
}
