//! F13: what nobody has looked at does not run while the gate is shut, whatever kevy would answer.

use crate::Shut;
use crate::contents::text;
use crate::ways::Way;
use crate::wire::{Wire, words};

/// kevy 7.0.0 says `OK` to whatever stands behind `DEBUG`. The day one of these does what it does in Redis, it must not do it here.
const UNKNOWN: [&str; 6] = [
    "DEBUG FLUSHALL",
    "DEBUG RELOAD",
    "DEBUG LOADAOF",
    "DEBUG POPULATE 100",
    "debug set-active-expire 1",
    "NOBODY-KNOWS-THIS key value",
];

/// What was not refused that had to be, whichever way it came; and the one word behind `DEBUG` that is known, where it was.
pub fn let_through(shut: &Shut) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut wire = Wire::open(shut.node.port);
    let sha = text(&wire.ask_all(&[Way::prepare()])[0]);
    for &way in Way::ALL {
        let mut ask = |line: &str| wire.exchange(&[way.group(&words(line), &sha, false).unwrap()]).remove(0);
        for line in UNKNOWN {
            let said = ask(line);
            if !way.refused(&said) {
                wrong.push(format!("{way:?} {line}: {said:?}"));
            }
        }
        let said = ask("DEBUG SLEEP 0.001");
        if way.refused(&said) != way.is_script() {
            wrong.push(format!("{way:?} DEBUG SLEEP: {said:?}"));
        }
    }
    wrong
}
