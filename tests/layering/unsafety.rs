//! `unsafe` stands in the files named here and nowhere else. The workspace's lint forbids it in every crate that takes the workspace's lints; this
//! sees that all do but one, and that the one has it where it says.

use std::fs;
use std::path::{Path, PathBuf};

/// The files, and what for.
const NAMED: [(&str, &str); 4] = [
    ("adapters/watchdog/src/priority.rs", "the priority of a thread, by a call that has no wrapper"),
    ("adapters/watchdog/src/linux.rs", "a timer of the kernel's may be moved to another thread"),
    ("adapters/watchdog/src/companion/area.rs", "robust locks in shared memory"),
    ("adapters/watchdog/src/companion/process.rs", "between a fork and an exec"),
];
/// Crates with lints of their own.
const OWN_LINTS: [&str; 2] = ["adapters/watchdog/Cargo.toml", "tests/fuzz/Cargo.toml"];

#[test]
fn unsafe_code_is_in_the_named_files_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut manifests) = (Vec::new(), Vec::new());
    for below in ["src", "adapters", "tests", "benches", "examples"] {
        find(&root.join(below), &mut sources, &mut manifests);
    }
    manifests.push(root.join("Cargo.toml"));
    assert!(sources.len() > 300 && manifests.len() > 10, "it reads what there is");
    let name = |file: &Path| file.strip_prefix(root).unwrap().display().to_string();

    let mut found: Vec<String> = sources
        .iter()
        .filter(|file| fs::read_to_string(file).unwrap().lines().any(is_unsafe))
        .map(|file| name(file))
        .collect();
    found.sort();
    let mut named = NAMED.map(|(file, _)| file.to_owned());
    named.sort();
    assert_eq!(found, named);

    for manifest in manifests {
        let text = fs::read_to_string(&manifest).unwrap();
        let takes = text.contains("[lints]\nworkspace = true");
        let own = OWN_LINTS.contains(&name(&manifest).as_str());
        assert!(takes != own, "{}: the workspace's lints", name(&manifest));
    }
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}

/// Whether a line has the word as code. What is behind `//` is none.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-' && c != '\'' && c != '"');
    let mut words = words.filter(|word| !word.is_empty());
    words.any(|word| word == "unsafe")
}

#[test]
fn the_word_is_found_as_code_and_not_in_texts() {
    let unsafety = "unsafe";
    for line in [
        format!("    {unsafety} {{"),
        format!("pub {unsafety} fn f()"),
        format!("let x = {unsafety} {{ y }};"),
    ] {
        assert!(is_unsafe(&line), "{line}");
    }
    for line in [format!("// {unsafety}"), format!("\"'{unsafety}-inline'\""), format!("{unsafety}_code")] {
        assert!(!is_unsafe(&line), "{line}");
    }
}

fn find(below: &Path, sources: &mut Vec<PathBuf>, manifests: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "target" && name != "node_modules" => find(&path, sources, manifests),
            true => {}
            false if name == "Cargo.toml" => manifests.push(path),
            false if name.ends_with(".rs") => sources.push(path),
            false => {}
        }
    }
}
