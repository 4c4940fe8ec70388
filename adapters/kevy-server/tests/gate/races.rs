//! Clients that wait for data, and a gate that shuts while data comes: whoever is woken afterwards changes nothing.
//!
//! A push passes the gate on the shard of its key, and who waits for it is on another one, which may be busy just then. What it takes, it
//! would take while the gate is shut.

use crate::SHARDS;
use crate::common::{Cluster, until};
use crate::contents::{Contents, text};
use crate::wire::{Wire, Words, frame, words};
use crate::world::World;
use kevy_elect_plugin::host::FenceReason;
use kevy_resp::Reply;
use std::time::Duration;

const ROUNDS: usize = 30;
/// Clients that wait, each for a key of its own.
const WAITING: usize = 12;
/// Shards that are held up, so that they hear of what came only afterwards.
const HOLD: &str = "DEBUG SLEEP 0.03";

#[test]
fn who_is_woken_on_a_fenced_primary_takes_nothing() {
    for shards in SHARDS {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        let world = World::new(shards);
        let mut woken_late = 0;
        for round in 0..ROUNDS {
            let keys: Vec<String> =
                (0..WAITING).map(|n| world.key(&format!("r{round}w{n}"), n % usize::from(shards))).collect();
            let mut waiting: Vec<Wire> =
                keys.iter().enumerate().map(|(n, key)| wait(node.port, n, key)).collect();
            until("all wait", || {
                let info = text(&Wire::open(node.port).ask("INFO clients"));
                info.contains(&format!("blocked_clients:{WAITING}\r")).then_some(())
            });
            // Some shards are busy when the data comes, and the gate shuts before they have a look.
            let mut busy: Vec<Wire> = (0..round % 6).map(|_| Wire::open(node.port)).collect();
            busy.iter_mut().for_each(|wire| send(wire, &words(HOLD)));
            let mut pushes: Vec<Wire> = keys.iter().map(|_| Wire::open(node.port)).collect();
            for (n, (wire, key)) in pushes.iter_mut().zip(&keys).enumerate() {
                send(wire, &push(n, key));
            }
            std::thread::sleep(Duration::from_micros(97 * round as u64));
            node.fence(FenceReason::LeaseExpired);
            let before = settled(node.port, shards);
            // Whatever is under way comes to its end.
            busy.iter_mut().for_each(|wire| drop(wire.reply()));
            let pushed: Vec<bool> = pushes
                .iter_mut()
                .map(|wire| matches!(wire.reply(), Some(Reply::Int(_) | Reply::Bulk(_))))
                .collect();
            let after = settled(node.port, shards);
            assert_eq!(before.difference(&after), [""; 0], "{shards} shards, round {round}");
            // What came and was acknowledged is there, or was handed to who waited for it; never both, and never neither.
            let mut look = Wire::open(node.port);
            for ((key, wire), pushed) in keys.iter().zip(&mut waiting).zip(pushed) {
                let there = text(&look.ask(&format!("EXISTS {key}"))) == "1";
                let mut taken = || wire.poll().filter(|reply| !matches!(reply, Reply::Error(_)));
                match (pushed, there) {
                    (true, false) => drop(until("who waited got what is gone", taken)),
                    (true, true) => {
                        assert!(taken().is_none(), "{key} is there, and was handed out");
                        woken_late += 1;
                    }
                    (false, there) => {
                        assert!(!there && taken().is_none(), "{key} was refused, and is there: {there}")
                    }
                }
            }
            *node.office.gate.lock().unwrap() = Ok(());
            assert!(!matches!(look.ask("FLUSHALL"), Reply::Error(_)));
        }
        assert!(shards == 1 || woken_late > 0, "no client was woken late: the test shows nothing");
    }
}

/// A client that waits for `key`.
fn wait(port: u16, n: usize, key: &str) -> Wire {
    let mut wire = Wire::open(port);
    let line = ["BLPOP KEY 0", "BRPOP KEY 0", "BZPOPMIN KEY 0"][n % 3].replace("KEY", key);
    send(&mut wire, &words(&line));
    wire
}

/// What it waits for.
fn push(n: usize, key: &str) -> Words {
    words(&["RPUSH KEY x", "LPUSH KEY x", "ZADD KEY 1 x"][n % 3].replace("KEY", key))
}

fn send(wire: &mut Wire, command: &Words) {
    let mut bytes = Vec::new();
    frame(&mut bytes, command);
    wire.send(&bytes);
}

/// What a node holds once every write that passed the gate before it shut has run: each shard has answered since.
fn settled(port: u16, shards: u16) -> Contents {
    let mut wire = Wire::open(port);
    let world = World::new(shards);
    (0..usize::from(shards))
        .for_each(|shard| drop(wire.ask(&format!("GET {}", world.key("nothing", shard)))));
    Contents::of(&mut wire)
}
