//! Lets the program find a prebuilt DuckDB library where the build found it, and
//! the tests know whether the vendor's recorded answers are there.

#![expect(clippy::disallowed_macros, reason = "cargo reads what a build script prints")]

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo::rerun-if-env-changed=TAPELINE_SHARED");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_DUCKDB_BUNDLED").is_none()
        && let Ok(folder) = std::env::var("DUCKDB_LIB_DIR")
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }

    // A test that needs them is reported as ignored where they are not.
    println!("cargo::rustc-check-cfg=cfg(recorded_answers)");
    let shared =
        std::env::var_os("TAPELINE_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let recorded = shared.join("polygon/recorded");
    if recorded.is_dir() {
        println!("cargo::rustc-cfg=recorded_answers");
        // Only when it exists: a path that does not would have everything built anew each time.
        println!("cargo::rerun-if-changed={}", recorded.display());
    }
}
