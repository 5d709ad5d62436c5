//! Lets the program find a prebuilt DuckDB library, tells it the commit that it is
//! built from, and tells the tests whether the vendor's recorded answers are there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Digits of a commit that are shown: enough to be the only one.
const COMMIT_DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    find_duckdb();
    println!("cargo::rustc-env=TAPELINE_ORIGIN={}", origin());
    find_recorded_answers();
}

/// Where the linker of the running system looks for DuckDB: first beside the
/// program, where `make install` puts it, then where this build found it.
fn find_duckdb() {
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    let Ok(folder) = env::var("DUCKDB_LIB_DIR") else { return };
    if env::var_os("CARGO_FEATURE_DUCKDB_BUNDLED").is_some() {
        return;
    }
    let own_folder = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@loader_path",
        _ => "$ORIGIN",
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{own_folder}/../lib/tapeline");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
}

/// `commit 3101f804a1d4`: what TAPELINE_COMMIT says (an image is built without git),
/// else what git says. Empty in a tarball. A debug build names no commit, or it would be
/// compiled anew after each.
fn origin() -> String {
    println!("cargo::rerun-if-env-changed=TAPELINE_COMMIT");
    let given = env::var("TAPELINE_COMMIT").ok().filter(|commit| !commit.is_empty());
    if given.is_none() && env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        return "debug build".to_owned();
    }
    let commit = given.or_else(commit_of_git);
    commit.map_or_else(String::new, |commit| {
        format!("commit {}", commit.chars().take(COMMIT_DIGITS).collect::<String>())
    })
}

fn commit_of_git() -> Option<String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    // A tarball that was unpacked inside of another repository is not that one's.
    let repository = PathBuf::from(git(&root, &["rev-parse", "--show-toplevel"])?);
    if repository.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // The log grows with each commit, also where HEAD only names a branch. Only what is
    // there: a path that does not exist would have everything built anew each time.
    for file in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(&root, &["rev-parse", "--git-path", file])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(&root, &["rev-parse", "HEAD"])
}

/// What git prints; `None` where there is no git or no repository.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// A test that needs them is reported as ignored where they are not.
fn find_recorded_answers() {
    println!("cargo::rerun-if-env-changed=TAPELINE_SHARED");
    println!("cargo::rustc-check-cfg=cfg(recorded_answers)");
    let shared = env::var_os("TAPELINE_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let recorded = shared.join("polygon/recorded");
    if recorded.is_dir() {
        println!("cargo::rustc-cfg=recorded_answers");
        // As above.
        println!("cargo::rerun-if-changed={}", recorded.display());
    }
}
