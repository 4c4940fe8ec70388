//! What is claimed about strangers, clients and members, and about bounds, is shown by something that exists: every test that
//! `docs/security.md` names, and every name, metric and test of the table of bounds in `docs/limits.md`.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// Where the suites of `kevy-server` are, whose paths the documents leave out.
const SUITES: &str = "adapters/kevy-server/tests";
/// Columns of the table of bounds.
const COLUMNS: usize = 6;

/// The sources that tests, bounds and metrics are in.
fn sources() -> Vec<String> {
    let mut all = Vec::new();
    let mut left: Vec<PathBuf> = ["src", "adapters", "tests"].map(PathBuf::from).to_vec();
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.ends_with("target") {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(fs::read_to_string(&path).unwrap());
        }
    }
    all
}

/// What stands between two `mark`s, piece by piece.
fn between(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

/// Whether there is such a test: a file, a suite, a function or the beginning of its name, or a profile of the simulator.
fn exists(name: &str, sources: &[String]) -> bool {
    if let Some(profile) = name.strip_prefix("cargo sim --profile ") {
        return sources.iter().any(|source| source.contains(&format!("profile!(\n        \"{profile}\"")));
    }
    let at = |root: &str| Path::new(root).join(name).exists();
    let function = name.trim_end_matches("...");
    let is_function =
        function.matches('_').count() > 2 && !name.contains(['/', '.']) || name.ends_with("...");
    if is_function {
        return sources.iter().any(|source| {
            let calls = |line: &str| {
                line.trim_start().strip_prefix("fn ").is_some_and(|rest| {
                    rest.starts_with(function)
                        && (name.ends_with("...") || rest[function.len()..].starts_with(['(', '<']))
                })
            };
            source.lines().any(calls)
        });
    }
    at(".") || at(SUITES)
}

/// Pieces in backticks that are meant as tests: not words of a sentence about them.
fn tests_in(text: &str) -> Vec<&str> {
    let is_test = |name: &&str| {
        name.ends_with(".rs")
            || name.starts_with("cargo sim")
            || name.contains('/')
            || name.matches('_').count() > 2
            || Path::new(SUITES).join(name).is_dir()
    };
    between(text, '`').filter(is_test).collect()
}

#[test]
fn every_test_that_the_page_about_security_names_exists() {
    let (page, sources) = (fs::read_to_string("docs/security.md").unwrap(), sources());
    let mut named = 0;
    for shown in between(&page.replace("**", ""), '*') {
        let tests = tests_in(shown);
        assert!(!tests.is_empty() || shown.starts_with("the same"), "names no test: {shown:?}");
        named += tests.len();
        for test in tests {
            assert!(exists(test, &sources), "docs/security.md names {test:?}, which is nowhere");
        }
    }
    assert!(named > 40, "only {named} tests were found: the page has another shape than this test believes");
}

/// Rows that say what a stranger cannot do, and points of the lists of what a client, a member and an intruder cannot.
#[test]
fn every_claim_of_that_page_names_a_test() {
    let page = fs::read_to_string("docs/security.md").unwrap();
    let (_, strangers) = page.split_once("## A stranger who reaches the ports").unwrap();
    let (strangers, _) = strangers.split_once("## An attacker").unwrap();
    let denies = |cell: &str| cell.trim_start().starts_with("no");
    let rows = strangers.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut claims: Vec<&str> = rows.filter(|row| row.split(" | ").skip(1).any(denies)).collect();
    for list in ["What it cannot:\n", "It **cannot**:\n"] {
        let (_, list) = page.split_once(list).unwrap();
        let (list, _) = list.trim_start().split_once("\n\n").unwrap();
        claims.extend(list.split("\n- "));
    }
    assert!(claims.len() > 20, "{claims:?}");
    for claim in claims {
        let shown: String = between(&claim.replace("**", ""), '*').collect();
        assert!(!tests_in(&shown).is_empty(), "names no test: {claim}");
    }
}

#[test]
fn every_bound_has_a_name_a_value_a_count_and_a_test() {
    let (page, sources) = (fs::read_to_string("docs/limits.md").unwrap(), sources());
    let metrics = fs::read_to_string("docs/metrics.md").unwrap();
    let (_, table) = page.split_once("## Bounds").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| of | name"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), COLUMNS, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        // What is kevy's has its names.
        for name in
            between(row[1], '`').filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        {
            let is = |source: &String| source.contains(&format!("const {name}:"));
            assert!(sources.iter().any(is), "docs/limits.md names {name}, which is nowhere");
        }
        for metric in between(row[4], '`').filter(|name| name.starts_with("kevy_")) {
            let metric = metric.split('{').next().unwrap_or_default();
            assert!(metrics.contains(&format!("`{metric}")), "docs/metrics.md does not have {metric}");
        }
        let tests = tests_in(row[5]);
        assert!(!tests.is_empty() || row[5].starts_with("no test"), "{row:?}");
        for test in tests {
            assert!(exists(test, &sources), "docs/limits.md names {test:?}, which is nowhere");
        }
    }
}

#[test]
fn a_test_that_is_nowhere_is_missed() {
    let sources = vec!["    fn one_two_three_four() {}\nprofile!(\n        \"liar\",".to_owned()];
    for there in
        ["one_two_three_four", "one_two_...", "cargo sim --profile liar", "tests/claims.rs", "attacks"]
    {
        assert!(exists(there, &sources), "{there}");
    }
    for gone in [
        "one_two_three",
        "two_three_...",
        "cargo sim --profile saint",
        "tests/claimed.rs",
        "two_three_four_five",
    ] {
        assert!(!exists(gone, &sources), "{gone}");
    }
}
