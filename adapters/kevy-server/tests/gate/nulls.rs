//! Whatever a client that speaks RESP3 sends, and whichever way it sends it: no null is spelt as RESP2 does.

use crate::common::Cluster;
use crate::ways::Way;
use crate::wire::{Group, Wire, frame, show, words};
use crate::world::World;
use crate::{SHARDS, commands};
use std::collections::BTreeSet;

/// What kevy spells by itself, where nothing can be done about it: see docs/upstream.md. With several shards only, the first two.
const KNOWN: [&str; 4] = ["LMOVE", "RPOPLPUSH", "PUNSUBSCRIBE", "UNSUBSCRIBE"];

/// Commands with nulls in their answers, for which the drawn arguments need not make sense.
const MORE: [&str; 12] = [
    "GET nobody",
    "get nobody",
    "MGET nobody no-one none",
    "HMGET nobody a b",
    "SET nobody v XX",
    "SET somebody v GET",
    "LPOP nobody 2",
    "ZMSCORE nobody a b",
    "GEOPOS nobody a",
    "COMMAND INFO nobody",
    "EVAL return{1,false,{redis.call('get','nobody')}} 1 nobody",
    "EVAL return{ok=redis.call('set','nobody','v','xx')} 1 nobody",
];

const WAYS: [Way; 7] =
    [Way::Plain, Way::SmallLetters, Way::Inline, Way::Multi, Way::Watched, Way::Eval, Way::EvalInMulti];

#[test]
fn whoever_speaks_resp3_gets_the_nulls_of_resp3() {
    for shards in SHARDS {
        let commands = commands(shards);
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        // Connections are on different shards, and keys as well.
        for _ in 0..shards {
            let (mut wire, mut other) = (Wire::open(node.port), Wire::open(node.port));
            other.ask_all(&[Way::prepare()]);
            wire.heard = Some(Vec::new());
            let (mut found, mut nulls) = (BTreeSet::new(), 0);
            let more = MORE.map(|line| ("", false, words(line)));
            let drawn = commands.iter().flat_map(|command| {
                command.tries.iter().map(|one| (command.name.as_str(), command.waits, one.words.clone()))
            });
            for (name, waits, command) in drawn.chain(more) {
                // Nothing is there, in all ways; and once with the keys that the arguments are drawn from.
                other.ask("FLUSHALL");
                for way in WAYS {
                    let group = way.group(&command, "", waits);
                    // A transaction that waits never ends, in kevy.
                    let blocks = waits && commands.iter().any(|known| known.name == name && known.blocks);
                    if let Some(group) = group.filter(|_| !blocks || way == Way::Plain) {
                        let said = hear(&mut wire, group);
                        nulls += said.windows(3).filter(|bytes| bytes == b"_\r\n").count();
                        if let Some(null) = old_null(&said) {
                            found.insert((name.to_owned(), format!("{way:?} {}: {null}", show(&command))));
                        }
                    }
                }
            }
            let mut world = World::new(shards);
            other.ask("FLUSHALL");
            world.fill(&mut other);
            let all: Vec<Group> = commands
                .iter()
                .filter(|command| !command.waits && command.changing().is_none())
                .flat_map(|command| &command.tries)
                .filter_map(|one| Way::Plain.group(&one.words, "", false))
                .collect();
            // Sent at once.
            for chunk in all.chunks(50) {
                let bytes = chunk.iter().flat_map(|group| group.bytes.clone()).collect();
                let group = Group { bytes, commands: chunk.len(), first: None, waits: false };
                if let Some(null) = old_null(&hear(&mut wire, group)) {
                    found.insert(("pipelined".to_owned(), null));
                }
            }
            found.retain(|(name, _)| !KNOWN.contains(&name.as_str()));
            assert!(found.is_empty(), "{shards} shards: {found:#?}");
            assert!(nulls > 100, "there were {nulls} nulls");
        }
        node.stop();
    }
}

/// What is answered to `group`, after `HELLO 3`.
fn hear(wire: &mut Wire, group: Group) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, &words("HELLO 3"));
    bytes.extend_from_slice(&group.bytes);
    wire.heard = Some(Vec::new());
    wire.exchange(&[Group { bytes, commands: group.commands + 1, ..group }]);
    wire.heard.replace(Vec::new()).unwrap()
}

/// The first null of RESP2, with what is before it.
fn old_null(mut rest: &[u8]) -> Option<String> {
    let all = rest;
    while let Some(line) = rest.iter().position(|byte| *byte == b'\n') {
        let (head, behind) = rest.split_at(line + 1);
        if matches!(head, b"$-1\r\n" | b"*-1\r\n") {
            let before = &all[..all.len() - behind.len()];
            return Some(String::from_utf8_lossy(&before[before.len().saturating_sub(200)..]).into_owned());
        }
        let content = match head[0] {
            b'$' | b'=' | b'!' => {
                std::str::from_utf8(&head[1..line - 1]).unwrap().parse::<usize>().unwrap() + 2
            }
            _ => 0,
        };
        rest = &behind[content..];
    }
    None
}

#[test]
fn a_null_in_a_string_is_text_and_resp2_is_left_alone() {
    for shards in SHARDS {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        let (mut old, mut new) = (Wire::open(node.port), Wire::open(node.port));
        let say = |wire: &mut Wire, line: &str| {
            wire.heard = Some(Vec::new());
            wire.ask_all(&[line.split(' ').map(|word| word.replace('~', "\r\n").into_bytes()).collect()]);
            String::from_utf8_lossy(&wire.heard.take().unwrap()).into_owned()
        };
        assert!(say(&mut new, "HELLO 3").starts_with('%'));
        for n in 0..8 {
            assert_eq!(say(&mut old, &format!("SET text{n} $-1~*-1~")), "+OK\r\n");
            let text = "$10\r\n$-1\r\n*-1\r\n\r\n";
            assert_eq!(say(&mut new, &format!("GET text{n}")), text);
            assert_eq!(say(&mut old, &format!("GET text{n}")), text);
            assert_eq!(say(&mut new, &format!("GET nobody{n}")), "_\r\n");
            assert_eq!(say(&mut old, &format!("GET nobody{n}")), "$-1\r\n");
            let three = format!("MGET nobody{n} text{n} none{n} text{n}");
            assert_eq!(say(&mut new, &three), format!("*4\r\n_\r\n{text}_\r\n{text}"));
            assert_eq!(say(&mut old, &three), format!("*4\r\n$-1\r\n{text}$-1\r\n{text}"));
            say(&mut old, "RPUSH list x");
            assert!(say(&mut new, "GET list").starts_with("-WRONGTYPE "));
            assert_eq!(say(&mut new, "RANDOMKEY").chars().next(), Some('$'));
            say(&mut old, "FLUSHALL");
            assert_eq!(say(&mut new, "RANDOMKEY"), "_\r\n");
            assert_eq!(say(&mut old, "RANDOMKEY"), "$-1\r\n");
        }
        node.stop();
    }
}
