//! Commands that a person can type as they are printed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A text as one word for a shell.
pub fn word(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(is_safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// How the person's shell starts this program, as a word: its name when the search
/// path leads to it, else its whole path.
pub fn program() -> String {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::current_exe()
        .map_or_else(|_| env!("CARGO_PKG_NAME").to_owned(), |own| named(&own, &search_path))
}

/// Where the search path leads to for this name, if anywhere.
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(OsStr::new(name), &std::env::var_os("PATH")?)
}

fn named(own: &Path, search_path: &OsStr) -> String {
    let name = own.file_name().unwrap_or_default();
    let is_own = |found: PathBuf| {
        found.canonicalize().ok().is_some_and(|found| own.canonicalize().ok() == Some(found))
    };
    if find_in(name, search_path).is_some_and(is_own) {
        word(&name.to_string_lossy())
    } else {
        word(&own.to_string_lossy())
    }
}

fn find_in(name: &OsStr, search_path: &OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(search_path).map(|folder| folder.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(word("a-b/c.duckdb"), "a-b/c.duckdb");
        assert_eq!(word("it's here/x"), r"'it'\''s here/x'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn a_program_is_named_as_the_search_path_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["own", "linked", "other", "no program"] {
            std::fs::create_dir(place(name)).unwrap();
        }
        let own = place("own/tapeline");
        for (name, mode) in [("own", 0o755), ("other", 0o755), ("no program", 0o644)] {
            let file = place(name).join("tapeline");
            std::fs::write(&file, name).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(&own, place("linked/tapeline")).unwrap();
        let seen_from = |folders: &[&str]| {
            let search_path = std::env::join_paths(folders.iter().map(|name| place(name))).unwrap();
            named(&own, &search_path)
        };
        assert_eq!(seen_from(&["own"]), "tapeline");
        assert_eq!(seen_from(&["no program", "linked", "other"]), "tapeline");
        assert_eq!(seen_from(&["other", "own"]), own.display().to_string());
        assert_eq!(seen_from(&[]), own.display().to_string());
    }
}
