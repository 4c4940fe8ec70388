//! What a server would do to its data by itself: make room for memory, move rows into files, move data between shards in two steps. A
//! replica or a fenced primary does nothing that its primary did not send.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::contents::{contents, differences};
use common::process::Process;
use common::{Client, Cluster, Node, until};
use kevy_elect_plugin::host::FenceReason;
use kevy_elect_plugin::plugin::Denied;
use std::time::Duration;

/// Keys of a kilobyte.
const KEYS: usize = 2_000;

/// A limit far below what there is, and a policy that makes room.
fn limited(policy: &str) -> String {
    format!("[memory]\nmaxmemory = \"200kb\"\nmaxmemory_policy = \"{policy}\"\n")
}

fn fill(client: &mut Client) {
    let value = "x".repeat(1_000);
    for i in 0..KEYS {
        assert_eq!(client.ask(&format!("SET k{i} {value}")), "+OK");
        if i % 4 == 0 {
            assert_eq!(client.ask(&format!("PEXPIREAT k{i} 3900000000000")), ":1");
        }
    }
}

/// Everything that a client may send to a node that may not write, and that would find the node above its limit.
fn read_all(node: &Node) {
    let mut client = node.client();
    for i in 0..KEYS {
        assert_ne!(client.ask(&format!("GET k{i}")), "nil", "k{i}");
    }
    for line in [
        "DBSIZE",
        "RANDOMKEY",
        "TTL k0",
        "OBJECT IDLETIME k1",
        "MEMORY USAGE k2",
        "MEMORY PURGE",
        "BGREWRITEAOF",
    ] {
        client.ask(line);
    }
    for line in ["SET k1 v", "SET new v", "RPUSH list x", "MSET a 1 b 2", "DEL k1"] {
        assert!(client.ask(line).starts_with("-READONLY"), "{line}");
    }
    client.ask_words(&["EVAL", "return(redis.call('GET',KEYS[1]))", "1", "k3"]);
}

/// Several ticks of every shard. What does not happen cannot be waited for.
fn ticks() {
    std::thread::sleep(Duration::from_millis(700));
}

#[test]
fn a_replica_over_its_own_limit_makes_no_room_by_itself() {
    for (policy, shards) in
        [("allkeys-lru", 1), ("allkeys-random", 2), ("volatile-ttl", 1), ("volatile-lru", 2)]
    {
        let cluster = Cluster::new(2, shards);
        let (a, b) = (cluster.start(0), cluster.start_with(1, &limited(policy)));
        a.promote(1);
        b.follow(1, &a);
        b.wait_joined(1);
        let mut client = a.client();
        fill(&mut client);
        until("the replica has all", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
        until("it has applied all", || (b.client().ask("DBSIZE") == format!(":{KEYS}")).then_some(()));
        read_all(&b);
        ticks();
        let difference = differences(&contents(&mut a.client()), &contents(&mut b.client()));
        assert!(difference.is_empty(), "{policy}: {difference:?}");
        // Nor what it wrote to its log: read back, it is all there.
        b.stop();
        let b = cluster.start_with(1, &limited(policy));
        ticks();
        assert_eq!(b.client().ask("DBSIZE"), format!(":{KEYS}"), "{policy}, after a restart");
    }
}

#[test]
fn a_fenced_primary_over_its_limit_makes_no_room() {
    for (policy, shards) in [("allkeys-lru", 1), ("allkeys-random", 2), ("volatile-ttl", 2)] {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        fill(&mut node.client());
        let before = contents(&mut node.client());
        node.fence(FenceReason::LeaseExpired);
        let mut client = node.client();
        for line in
            [format!("CONFIG SET maxmemory-policy {policy}"), "CONFIG SET maxmemory 200000".to_owned()]
        {
            assert_eq!(client.ask(&line), "+OK", "{line}");
        }
        ticks();
        read_all(&node);
        ticks();
        let difference = differences(&before, &contents(&mut node.client()));
        assert!(difference.is_empty(), "{policy}: {difference:?}");
        // The test shows something: the first write that passes makes room.
        *node.office.gate.lock().unwrap() = Ok(());
        for i in 0..usize::from(shards) * 8 {
            assert_eq!(client.ask(&format!("SET another{i} v")), "+OK");
        }
        until("room is made", || {
            (client.ask("DBSIZE") != format!(":{}", KEYS + usize::from(shards) * 8)).then_some(())
        });
    }
}

const TABLE: &str = "PREFIX row: PK id COLUMN id i64 COLUMN at i64 INDEX at range";
const WINDOW: &str = "WINDOW at SPAN 100 BUCKET 10";

#[test]
fn no_table_moves_its_rows_into_files() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(1);
    let mut client = node.client();
    for verb in ["TABLE.DECLARE", "TABLE.ENSURE", "TABLE.REPLACE"] {
        let said = client.ask(&format!("{verb} t {TABLE} {WINDOW}"));
        assert!(said.contains("WINDOW cannot be copied"), "{verb}: {said}");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask(&format!("{verb} t {TABLE} {WINDOW}")), "+QUEUED");
        let said = client.ask("EXEC");
        assert!(said.contains("WINDOW cannot be copied"), "{verb}: {said}");
    }
    assert_eq!(client.ask("TABLE.LIST"), "[]");
    assert_eq!(client.ask(&format!("TABLE.DECLARE t {TABLE}")), "+OK");
}

/// A data directory of a plain server that has such a table.
#[test]
fn a_node_whose_data_has_such_a_table_does_not_start() {
    for moved in [false, true] {
        let cluster = Cluster::new(1, 1);
        let kevy = cluster.settings(0, "").kevy;
        let directory = kevy.server.data_dir.clone();
        let file = cluster.dirs[0].0.join("kevy.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("[elect]\nenabled = true", "[elect]\nenabled = false")).unwrap();
        let mut plain = Process::start_file(&file, cluster.ports[0]);
        until("the plain server answers", || plain.ask("PING"));
        assert_eq!(plain.ask(&format!("TABLE.DECLARE t {TABLE} {WINDOW}")).as_deref(), Some("OK"));
        if moved {
            for (id, at) in [(1, 1), (2, 10_000)] {
                assert_eq!(plain.ask(&format!("HSET row:{id} id {id} at {at}")).as_deref(), Some("2"));
            }
            let names = || std::fs::read_dir(directory.join("segs-0")).into_iter().flatten();
            let is_rows = |name: String| name.starts_with("row-");
            until("a row is moved", || {
                let mut names = names().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                names.any(is_rows).then_some(())
            });
        }
        plain.signal(rustix::process::Signal::TERM);
        plain.wait();
        let mut node = Process::start(&cluster, 0, "");
        assert_eq!(node.wait().code(), Some(1), "moved: {moved}");
        let log = std::fs::read_to_string(cluster.dirs[0].0.join("log")).unwrap();
        assert!(log.contains("WINDOW") && log.contains("write its rows anew"), "{log}");
    }
}

#[test]
fn what_would_move_between_shards_is_refused_where_that_is_not_wanted() {
    let cluster = Cluster::new(2, 4);
    let (a, b) = (cluster.start_with(0, "move_between_shards = false\n"), cluster.start(1));
    a.promote(1);
    b.follow(1, &a);
    b.wait_joined(1);
    let mut client = a.client();
    let mut apart = 0;
    for n in 0..20 {
        // `{x}` keeps two keys together; without it they are where they are.
        let (from, to, near) = (format!("{{x{n}}}from"), format!("to{n}"), format!("{{x{n}}}near"));
        let commands = |to: &str| {
            [
                format!("LMOVE {from} {to} LEFT RIGHT"),
                format!("RPOPLPUSH {from} {to}"),
                format!("BRPOPLPUSH {from} {to} 1"),
                format!("RENAME {from} {to}"),
                format!("RENAMENX {from} {to}"),
            ]
        };
        client.ask(&format!("RPUSH {from} a b c d e f g"));
        let first = client.ask(&commands(&to)[0]);
        if first.starts_with("-CROSSSLOT") {
            apart += 1;
            for proto in [2, 3] {
                client.ask(&format!("HELLO {proto}"));
                for line in commands(&to) {
                    let said = client.ask(&line);
                    assert!(
                        said.starts_with("-CROSSSLOT") && said.contains("move_between_shards"),
                        "{line}: {said}"
                    );
                    for watch in [None, Some("WATCH other")] {
                        if let Some(watch) = watch {
                            client.ask(watch);
                        }
                        client.ask("MULTI");
                        assert!(client.ask(&line).starts_with("-CROSSSLOT"), "{line}");
                        assert!(client.ask("EXEC").starts_with("-EXECABORT"), "{line}");
                    }
                }
            }
            client.ask("HELLO 2");
            assert_eq!(
                (client.ask(&format!("LLEN {from}")), client.ask(&format!("EXISTS {to}"))),
                (":7".into(), ":0".into())
            );
        }
        for line in &commands(&near)[..3] {
            assert!(!client.ask(line).starts_with('-'), "{line}: both are on one shard");
        }
    }
    assert!((1..20).contains(&apart), "{apart} pairs are apart");
    // A node that may not write says that first.
    *a.office.gate.lock().unwrap() = Err(Denied::Replica);
    let said: Vec<String> =
        (0..20).map(|n| client.ask(&format!("LMOVE {{x{n}}}from to{n} LEFT LEFT"))).collect();
    assert!(said.iter().all(|said| said.starts_with("-READONLY")), "{said:?}");
    *a.office.gate.lock().unwrap() = Ok(());
    until("the replica has all", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
    until("it is the same", || {
        differences(&contents(&mut a.client()), &contents(&mut b.client())).is_empty().then_some(())
    });
}
