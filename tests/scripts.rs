//! One script per situation of the protocol, played by real electors on virtual time.
//!
//! `tests/scripts/*.txt` are read by people first: a comment says what is shown and which sentence of
//! `docs/protocol.md` it is about, then commands follow, each with what happened. The output is compared
//! exactly; `REWRITE=1 cargo test --features sim --test scripts ends_as_written` writes it anew, and
//! `RUN=NAME.txt` in front of the command plays one script. The commands are listed in `tests/stage/mod.rs`.
//!
//! Chance is steady (`Setup::steady`): a message takes 1.1 ms, a save 1 ms, a promotion 2.5 ms. All invariants
//! of the simulator are watched meanwhile; what violates one is part of the output, and fails the script even
//! where it was written down.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use kevy_elect_plugin::sim::Mutation;
use stage::Stage;
use std::collections::BTreeSet;

const SCRIPTS: &str = "tests/scripts";

/// Sentences about what lies around the elector, and where they are looked at.
const ELSEWHERE: &[(&str, &str)] = &[
    ("H19", "kevy-server's tests/operations.rs: lost_quorum"),
    ("H17", "kevy-server's tests/attacks/member.rs"),
    ("L8", "elector/promise.rs: unit tests"),
    ("F7", "tests/support: every test with real drivers"),
    ("F8", "the simulator of the whole stack"),
    ("F9", "the simulator of the whole stack"),
    ("F10", "the simulator of the whole stack"),
    ("F11", "kevy-server's tests/fitness.rs"),
    ("F12", "kevy-server's tests/gate"),
    ("F13", "kevy-server's tests/gate"),
    ("F14", "kevy-server's tests/config.rs"),
    ("F15", "kevy-server's tests/gate"),
    ("F23", "kevy-server's tests/whole.rs; host/gate.rs: unit tests"),
    ("F16", "kevy-server's tests/standing.rs"),
    ("F17", "kevy-server's tests/host.rs"),
    ("F18", "kevy-server's tests/host.rs, and the crate that speaks Sentinel's protocol"),
    ("F19", "kevy-server's tests/letting_go.rs"),
    ("F20", "kevy-server's tests/scripts.rs"),
    ("F22", "kevy-server's tests/letting_go.rs"),
    ("F24", "kevy-server's tests/letting_go.rs"),
    ("F25", "tests/voters_first.rs"),
    ("H6", "kevy-server's tests/busy.rs, and its unit tests of fitness/watch.rs"),
    ("S6", "kevy-server's tests/cuts.rs"),
    ("S7", "kevy-server's tests/cuts.rs"),
    ("S8", "kevy-server's tests/cuts.rs"),
    ("M9", "the simulator: profile `members`"),
    ("M10", "src/elector/rules/members.rs"),
    ("M12", "tests/taken_up.rs"),
    ("M13", "tests/taken_up.rs, kevy-server's tests/reload.rs"),
    ("M14", "tests/taken_up.rs, kevy-server's tests/relocated.rs"),
    ("S9", "the simulator: invariant `contents`"),
    ("S10", "the simulator: profile `reigns`"),
    ("I5", "tests/wire: frames without the field are read as before"),
    ("S11", "kevy-server's tests/wait.rs"),
    ("S12", "kevy-server's tests/wait.rs"),
    ("S13", "kevy-server's follow/session"),
    ("S14", "kevy-server's tests/stream.rs"),
];
const REWRITE: &str = "write with `REWRITE=1 cargo test --features sim --test scripts ends_as_written`";
/// Fewer files than this, and some were not found.
const SCRIPTS_MIN: usize = 50;

#[test]
fn every_script_ends_as_written() {
    let (played, violations) = play(None);
    assert!(violations.is_empty(), "{violations:#?}");
    let least = if std::env::var_os("RUN").is_some() { 1 } else { SCRIPTS_MIN };
    assert!(played >= least, "only {played} scripts found in {SCRIPTS}");
}

/// A script that nothing could break shows nothing.
#[test]
fn every_mutation_of_the_elector_breaks_a_script() {
    assert!(std::env::var_os("REWRITE").is_none(), "this would write down what wrong electors do; {REWRITE}");
    let unnoticed = Mutation::ALL.iter().filter(|mutation| {
        // `datadriven` tells of scripts that end otherwise by a panic.
        let played = std::panic::catch_unwind(|| play(Some(**mutation)));
        played.is_ok_and(|(_, violations)| violations.is_empty())
    });
    let unnoticed: Vec<_> = unnoticed.collect();
    assert!(unnoticed.is_empty(), "no script shows the difference that {unnoticed:?} makes");
}

/// Plays all scripts: how many there are, and what was violated.
fn play(mutation: Option<Mutation>) -> (usize, Vec<String>) {
    let (mut played, mut violations) = (0, Vec::new());
    datadriven::walk(SCRIPTS, |file| {
        played += 1;
        let mut stage = Stage::new(mutation);
        let name = file.filename.clone();
        file.run(|case| {
            let said = stage.play(case).and_then(|said| {
                case.expect_empty().map_err(|error| error.to_string())?;
                Ok(said)
            });
            said.map_err(|error| format!("{name}: {}: {error}", case.directive))
        });
        violations.extend(stage.violation().map(|violation| format!("{}: {violation}", file.filename)));
    });
    (played, violations)
}

/// The sentences of a text that are named in it, such as E1.
fn sentences(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let named = words.filter(|word| {
        word.starts_with(['E', 'P', 'L', 'F', 'S', 'A', 'H', 'I', 'M', 'R'])
            && word.len() >= 2
            && word[1..].parse::<u8>().is_ok()
    });
    named.collect()
}

#[test]
fn every_sentence_of_the_election_has_a_script_and_every_script_a_sentence() {
    let protocol = std::fs::read_to_string("docs/protocol.md").unwrap();
    let lines = protocol.lines().filter_map(|line| line.strip_prefix("- **"));
    let known: BTreeSet<_> =
        lines.filter_map(|line| sentences(&line[..line.find('.')?]).pop_first()).collect();
    assert!(known.len() >= 30, "{known:?}");
    let mut missing = known.clone();
    for entry in std::fs::read_dir(SCRIPTS).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let about = text.lines().take_while(|line| line.starts_with('#'));
        let named: BTreeSet<_> = about.flat_map(sentences).collect();
        assert!(!named.is_empty(), "{path:?} does not say which sentence of docs/protocol.md it shows");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{path:?} names {unknown:?}, which docs/protocol.md does not have");
        named.iter().for_each(|sentence| _ = missing.remove(*sentence));
    }
    for (sentence, place) in ELSEWHERE {
        assert!(
            missing.remove(*sentence),
            "{sentence} has a script now, or is gone: it is not for {place} alone"
        );
    }
    assert!(missing.is_empty(), "no script shows {missing:?}");
}
