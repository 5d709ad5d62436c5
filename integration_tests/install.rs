//! The program as it is installed: `scripts/install`, its version, its help, its manual
//! pages and completions.

use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tapeline");

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).env_clear().output().unwrap()
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_installed_needs_neither_an_environment_nor_the_place_where_it_was_built() {
    let folder = tempfile::tempdir().unwrap();
    // What a shell may do with a name that is not quoted shows.
    let prefix = folder.path().join("pre fix");
    let installed = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install"))
        .env("TAPELINE_BIN", PROGRAM)
        .env("PREFIX", &prefix)
        .output()
        .unwrap();
    let told = stdout(installed);
    let program = prefix.join("bin/tapeline");
    assert!(told.contains(&program.display().to_string()), "{told}");
    assert_eq!(stdout(run(&program, &["--version"])), stdout(run(Path::new(PROGRAM), &["--version"])));

    // The loader's own list of where it finds the libraries.
    let traced =
        Command::new(&program).env_clear().env("LD_TRACE_LOADED_OBJECTS", "1").output().map(stdout).unwrap();
    let duckdb = traced.lines().find(|line| line.contains("libduckdb"));
    let expected = cfg!(not(feature = "duckdb-bundled")).then(|| prefix.join("lib/tapeline/libduckdb.so"));
    let found = duckdb.and_then(|line| line.split_once(" => ")?.1.rsplit_once(" (")).map(|(path, _)| path);
    let found = found.map(|path| Path::new(path).canonicalize().unwrap());
    assert_eq!(found, expected.map(|path| path.canonicalize().unwrap()), "{traced}");

    for page in ["tapeline.1", "tapeline-sync.1", "tapeline-destination-write.1"] {
        let text = std::fs::read_to_string(prefix.join("share/man/man1").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    for (shell, place) in [
        ("bash", "bash-completion/completions/tapeline"),
        ("zsh", "zsh/site-functions/_tapeline"),
        ("fish", "fish/vendor_completions.d/tapeline.fish"),
    ] {
        let text = std::fs::read_to_string(prefix.join("share").join(place)).unwrap();
        assert_eq!(text, stdout(run(&program, &["completions", shell])));
        assert!(text.contains("log-format"), "{shell}: {text}");
    }
}

/// The script of bash's completions is one that bash can run.
#[test]
fn bash_completes_a_verb() {
    let script = "source /dev/stdin; COMP_WORDS=(tapeline sy); COMP_CWORD=1; \
                  _tapeline tapeline sy tapeline; echo \"${COMPREPLY[@]}\"";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions");
    std::fs::write(&file, stdout(run(Path::new(PROGRAM), &["completions", "bash"]))).unwrap();
    let bash = Command::new("bash")
        .args(["--norc", "-c", script])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert_eq!(stdout(bash), "sync\n");
}

#[test]
fn help_is_a_verb_too() {
    let help = |arguments: &[&str]| stdout(run(Path::new(PROGRAM), arguments));
    assert_eq!(help(&["help"]), help(&["--help"]));
    for verb in [&["sync"][..], &["destination", "write"]] {
        let (asked, flag) = ([&["help"], verb].concat(), [verb, &["--help"]].concat());
        assert_eq!(help(&asked), help(&flag), "{verb:?}");
    }
}

/// A build names the commit that it was given, else the repository's; a debug build names none.
#[test]
fn the_version_names_what_it_was_built_from() {
    let version = stdout(run(Path::new(PROGRAM), &["--version"]));
    let library = duckdb::Connection::open_in_memory().unwrap().version().unwrap();
    let git = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"]).output();
    // The repository around a tarball is another one.
    let is_repository = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    let head = git.ok().filter(|git| is_repository && git.status.success()).map(stdout);
    let given = option_env!("TAPELINE_COMMIT").filter(|given| !given.is_empty());
    let commit = given.or(head.as_deref()).map(|commit| commit.chars().take(12).collect::<String>());
    let origin = match commit {
        _ if given.is_none() && PROGRAM.contains("/debug/") => "debug build, ".to_owned(),
        Some(commit) => format!("commit {commit}, "),
        None => String::new(),
    };
    assert_eq!(version, format!("tapeline {} ({origin}DuckDB {library})\n", env!("CARGO_PKG_VERSION")));
}
