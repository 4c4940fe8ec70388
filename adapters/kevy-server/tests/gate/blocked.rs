//! Commands that a client sent while the node could write, and that run when it cannot any more.

use crate::common::{Cluster, Node, PATIENCE, until};
use crate::contents::{Contents, text};
use crate::wire::{Wire, words};
use crate::world::World;
use crate::{SHARDS, commands};
use kevy_elect_plugin::host::FenceReason;
use kevy_resp::Reply;
use std::time::Duration;

/// Every way to wait, with a name for each key it waits for. `KEY` is on one shard, `AWAY` on another one.
const WAITS: [&str; 9] = [
    "BLPOP KEY 0",
    "BRPOP KEY 0",
    "BLPOP KEY AWAY 0",
    "BZPOPMIN KEY 0",
    "BZPOPMIN KEY AWAY 0",
    "BRPOPLPUSH KEY KEY:to 0",
    "BRPOPLPUSH KEY AWAY 0",
    "XREADGROUP GROUP g c BLOCK 0 STREAMS KEY >",
    "XREADGROUP GROUP g c BLOCK 0 STREAMS KEY AWAY > >",
];

/// What ends each wait, on the new primary.
fn ends(verb: &str, key: &str) -> String {
    match verb {
        "BZPOPMIN" => format!("ZADD {key} 1 m"),
        "XREADGROUP" => format!("XADD {key} 5-5 f v"),
        _ => format!("RPUSH {key} x"),
    }
}

#[test]
fn who_waited_for_data_changes_nothing_when_it_comes_from_another_primary() {
    // A command that waits and is new here belongs into the list.
    let known = commands(1).iter().filter(|command| command.blocks && command.changing().is_some());
    for command in known {
        assert!(WAITS.iter().any(|wait| wait.starts_with(&command.name)), "how does {} wait?", command.name);
    }
    for shards in SHARDS {
        let cluster = Cluster::new(2, shards);
        let [a, b] = cluster.reigning(1);
        // From several connections, which are on several shards.
        let mut keys = Vec::new();
        let mut waiting = Vec::new();
        for wait in (0..4).flat_map(|_| WAITS) {
            let (key, away) = pair(shards, keys.len());
            let line = wait.replace("KEY", &key).replace("AWAY", &away);
            let verb = line.split(' ').next().unwrap().to_owned();
            let mut wire = Wire::open(a.port);
            if verb == "XREADGROUP" {
                for stream in [&key, &away] {
                    assert_eq!(text(&wire.ask(&format!("XGROUP CREATE {stream} g $ MKSTREAM"))), "OK");
                }
            }
            let mut bytes = Vec::new();
            crate::wire::frame(&mut bytes, &words(&line));
            wire.send(&bytes);
            waiting.push((line, wire));
            keys.push((verb, key));
        }
        let all = keys.len();
        until("all wait", || {
            let info = text(&Wire::open(a.port).ask("INFO clients"));
            info.contains(&format!("blocked_clients:{all}\r")).then_some(())
        });
        a.fence(FenceReason::Deposed);
        b.host.detach();
        b.promote(2);
        a.follow(2, &b);
        a.wait_joined(2);
        let mut wire = Wire::open(b.port);
        for (verb, key) in &keys {
            let line = ends(verb, key);
            assert!(!matches!(wire.ask(&line), Reply::Error(_)), "{line}");
        }
        assert_eq!(text(&wire.ask("SET last 1")), "OK");
        until("it is confirmed", || (text(&wire.ask("WAIT 1 1000")) == "1").then_some(()));
        same(&a, &b);
        for (line, wire) in &mut waiting {
            if let Some(reply) = wire.poll() {
                assert!(matches!(reply, Reply::Error(_)), "{line}: {}", text(&reply));
            }
        }
    }
}

/// Two keys; with several shards they are on different ones.
fn pair(shards: u16, n: usize) -> (String, String) {
    let world = World::new(shards);
    let (one, other) = (n % usize::from(shards), (n + 1) % usize::from(shards));
    (world.key(&format!("wait{n}"), one), world.key(&format!("away{n}"), other))
}

/// Waits until the replica holds what the primary does. What it changed by itself it would never get rid of.
fn same(replica: &Node, primary: &Node) {
    let theirs = Contents::of(&mut Wire::open(primary.port));
    let mut wire = Wire::open(replica.port);
    let start = std::time::Instant::now();
    loop {
        let difference = theirs.difference(&Contents::of(&mut wire));
        if difference.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "on the primary {}", difference.join("\n"));
        std::thread::sleep(Duration::from_millis(1));
    }
}
