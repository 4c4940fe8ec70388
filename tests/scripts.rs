//! One script per situation of the protocol, played by real electors on virtual time.
//!
//! `tests/scripts/*.txt` are read by people first: a comment says what is shown and which sentence of
//! `docs/protocol.md` it is about, then commands follow, each with what happened. The output is compared
//! exactly; `REWRITE=1 cargo test --features sim --test scripts` writes it anew, and `RUN=NAME.txt` in front
//! of it plays one script. The commands are listed in `tests/stage/mod.rs`.
//!
//! Chance is steady (`Setup::steady`): a message takes 1.1 ms, a save 1 ms, a promotion 2.5 ms. All invariants
//! of the simulator are watched meanwhile; what violates one is part of the output, and fails the script even
//! where it was written down.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use kevy_elect_plugin::sim::Mutation;
use stage::Stage;

const SCRIPTS: &str = "tests/scripts";

/// Fewer files than this, and some were not found.
const SCRIPTS_MIN: usize = 30;

#[test]
fn every_script_ends_as_written() {
    let mutation = std::env::var("MUTATION").ok().map(|name| {
        Mutation::named(&name).unwrap_or_else(|| panic!("no mutation {name}; see `cargo sim --mutations`"))
    });
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
    assert!(violations.is_empty(), "{violations:#?}");
    let least = if std::env::var_os("RUN").is_some() { 1 } else { SCRIPTS_MIN };
    assert!(played >= least, "only {played} scripts found in {SCRIPTS}");
}
