//! F13: what nobody has looked at does not run while the gate is shut, whatever kevy would answer.

use crate::contents::text;
use crate::ways::Way;
use crate::wire::{Wire, words};
use crate::{Shut, Why};

/// kevy 7.0.0 says `OK` to whatever stands behind `DEBUG`. The day one of these does what it does in Redis, it must not do it here.
const UNKNOWN: [&str; 6] = [
    "DEBUG FLUSHALL",
    "DEBUG RELOAD",
    "DEBUG LOADAOF",
    "DEBUG POPULATE 100",
    "debug set-active-expire 1",
    "NOBODY-KNOWS-THIS key value",
];

#[test]
fn what_nobody_has_looked_at_is_refused_whichever_way_it_comes() {
    for (why, shards) in [(Why::Replica, 1), (Why::Replica, 4), (Why::Fenced, 4), (Why::Demoted, 1)] {
        let shut = Shut::new(why, shards);
        let mut wire = Wire::open(shut.node.port);
        let sha = text(&wire.ask_all(&[Way::prepare()])[0]);
        for way in Way::ALL {
            for line in UNKNOWN {
                let said = wire.exchange(&[way.group(&words(line), &sha, false).unwrap()]).remove(0);
                assert!(way.refused(&said), "{why:?} {way:?} {line}: {said:?}");
            }
            let known =
                wire.exchange(&[way.group(&words("DEBUG SLEEP 0.001"), &sha, false).unwrap()]).remove(0);
            assert_eq!(way.refused(&known), way.is_script(), "{why:?} {way:?}: {known:?}");
        }
        assert_eq!(shut.differences_from_primary(), [""; 0], "{why:?}");
    }
}
