//! What the image would start, as far as it can be told without building it.

use std::process::Command;

/// A target of the Dockerfile: its name, its entry point, and what the platform is
/// told of it.
#[derive(Debug, Default)]
struct Target {
    name: String,
    entry_point: Vec<String>,
    airbyte_entry_point: Option<String>,
}

fn targets() -> Vec<Target> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile");
    let mut targets: Vec<Target> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if let Some(name) = line.strip_prefix("FROM base AS ") {
            targets.push(Target { name: name.to_owned(), ..Target::default() });
        }
        let Some(target) = targets.last_mut() else { continue };
        if let Some(list) = line.strip_prefix("ENTRYPOINT ") {
            target.entry_point = serde_json::from_str(list).unwrap();
        }
        if let Some(text) = line.strip_prefix("ENV AIRBYTE_ENTRYPOINT=") {
            target.airbyte_entry_point = Some(text.trim_matches('"').to_owned());
        }
    }
    targets
}

#[test]
fn each_target_starts_the_connector_that_it_is() {
    let targets = targets();
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    // The last one is what `docker build .` makes.
    assert_eq!(names, ["sync", "destination", "source"]);
    for (target, title) in targets[1..].iter().zip(["tapeline destination", "Polygon.io (Massive) source"]) {
        assert_eq!(target.airbyte_entry_point, Some(target.entry_point.join(" ")), "{target:?}");
        let (program, arguments) = target.entry_point.split_first().unwrap();
        assert_eq!(program, "/airbyte/tapeline");
        let output =
            Command::new(env!("CARGO_BIN_EXE_tapeline")).args(arguments).arg("spec").output().unwrap();
        assert!(output.status.success(), "{target:?}: {output:?}");
        let message: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(message["spec"]["connectionSpecification"]["title"], title);
    }
}
