//! What this program is: its version, its commit, and the DuckDB in it.

use std::ffi::CStr;
use std::sync::LazyLock;

/// What it was built from, by build.rs: `commit 3101f804a1d4`, or empty where that is not known.
const ORIGIN: &str = env!("TAPELINE_ORIGIN");

/// `0.1.0 (commit 3101f804a1d4, DuckDB v1.5.6)`
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let separator = if ORIGIN.is_empty() { "" } else { ", " };
        format!("{} ({ORIGIN}{separator}DuckDB {})", env!("CARGO_PKG_VERSION"), duckdb_version())
    });
    &TEXT
}

/// The version of the library that is linked, which can be another one than was compiled against.
fn duckdb_version() -> String {
    // SAFETY: the function takes nothing and returns a constant of the library that
    // ends with NUL and is never freed.
    unsafe { CStr::from_ptr(duckdb::ffi::duckdb_library_version()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duckdbs_version_is_the_one_that_it_says_itself() {
        let connection = duckdb::Connection::open_in_memory().unwrap();
        let version: String = connection.query_row("SELECT version()", [], |row| row.get(0)).unwrap();
        assert!(text().starts_with(concat!(env!("CARGO_PKG_VERSION"), " (")), "{}", text());
        assert!(text().ends_with(&format!("DuckDB {version})")), "{}", text());
    }
}
