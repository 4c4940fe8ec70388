//! The host's duties towards the plugin, on real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Client, Cluster, until, until_reads};
use kevy_elect_plugin::host::{FenceReason, ReplicationHost};
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

fn position(epoch: u64, offsets: &[u64]) -> Position {
    Position::new(Epoch(epoch), offsets).unwrap()
}

#[test]
fn a_new_server_takes_no_writes_and_says_so() {
    let cluster = Cluster::new(1, 1);
    let node = cluster.start(0);
    assert_eq!(node.position, Position::NONE);
    let mut client = node.client();
    assert_eq!(client.ask("SET k v"), "-READONLY You can't write against a read only replica.");
    assert_eq!(client.ask("GET k"), "nil");
    assert_eq!(client.ask("ROLE"), "[slave  :0 connect :0]");
}

#[test]
fn a_promoted_server_takes_writes_until_it_is_fenced() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(1);
    assert_eq!(*node.office.joined.lock().unwrap(), [(Epoch(1), vec![0, 0])]);
    let mut client = node.client();
    assert_eq!(client.ask("SET k v"), "+OK");
    node.fence(FenceReason::LeaseExpired);
    assert_eq!(
        client.ask("SET k w"),
        "-READONLY lease-expired: this node must not write now; ask again which node is primary"
    );
    assert_eq!(client.ask("EVAL return(redis.call('set',KEYS[1],'w')) 1 k").chars().next(), Some('-'));
    assert_eq!(client.ask("GET k"), "v");
    let info = client.ask("INFO replication");
    assert!(info.contains("role:slave") && info.contains("elect_writable:lease-expired"), "{info}");
}

/// F6: what a position leaves out would make a vote that loses it.
#[test]
fn a_primary_whose_shard_hangs_counts_what_it_wrote_before_it_follows_another() {
    const BUSY: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
        local till = now() + 6000 repeat until now() >= till return 'done'";
    let cluster = Cluster::new(2, 1);
    let [a, b] = cluster.reigning(1);
    assert_eq!(a.client().ask("SET k v"), "+OK");
    // In one piece, so that the shard tells nobody of the writes before it hangs.
    let mut lines: String = (0..50).map(|i| format!("SET k{i} {i}\r\n")).collect();
    lines += &format!("*3\r\n$7\r\nEVAL_RO\r\n${}\r\n{BUSY}\r\n$1\r\n0\r\n", BUSY.len());
    let mut client = TcpStream::connect(("127.0.0.1", a.port)).unwrap();
    client.write_all(lines.as_bytes()).unwrap();
    until("the shard hangs", || {
        let mut probe = TcpStream::connect(("127.0.0.1", a.port)).unwrap();
        probe.write_all(b"PING\r\n").unwrap();
        probe.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        probe.read(&mut [0; 16]).is_err().then_some(())
    });
    a.follow(2, &b);
    assert_eq!(a.host.detach(), position(1, &[51]));
}

/// Waits until so many replicas have confirmed all that was written on this connection.
#[track_caller]
fn confirmed(client: &mut Client, replicas: usize) {
    until("it is confirmed", || {
        (client.ask(&format!("WAIT {replicas} 1000")) == format!(":{replicas}")).then_some(())
    });
}

fn replicates(shards: u16) {
    let cluster = Cluster::new(2, shards);
    let (a, b) = (cluster.start(0), cluster.start(1));
    a.promote(1);
    let mut client = a.client();
    for i in 0..100 {
        assert_eq!(client.ask(&format!("SET before{i} {i}")), "+OK");
    }
    b.follow(1, &a);
    b.wait_joined(1);
    for i in 0..100 {
        assert_eq!(client.ask(&format!("SET after{i} {i}")), "+OK");
    }
    confirmed(&mut client, 1);
    for i in 0..100 {
        until_reads(&b, &format!("before{i}"), &i.to_string());
        until_reads(&b, &format!("after{i}"), &i.to_string());
    }
    let connected = format!("[slave 127.0.0.1 :{} connected :", a.port);
    until("it says so", || b.client().ask("ROLE").starts_with(&connected).then_some(()));
    until("the primary says so", || {
        let info = client.ask("INFO replication");
        let online = format!("port={},state=online", b.port);
        (info.contains("connected_slaves:1") && info.contains(&online)).then_some(())
    });
    let held = b.host.detach();
    assert_eq!(held.stream_epoch(), Epoch(1));
    match shards {
        1 => assert_eq!(held.progress().offset, 200, "{held:?}"),
        _ => assert!(held.progress().offset > 200, "cuts are frames too: {held:?}"),
    }
    assert_eq!(held.offsets(), &*b.office.offsets.lock().unwrap());
}

#[test]
fn a_replica_gets_what_was_and_what_comes_on_one_shard() {
    replicates(1);
}

#[test]
fn a_replica_gets_what_was_and_what_comes_on_three_shards() {
    replicates(3);
}

#[test]
fn after_detach_no_acknowledgement_leaves() {
    let cluster = Cluster::new(2, 2);
    let [a, b] = cluster.reigning(1);
    let mut client = a.client();
    assert_eq!(client.ask("SET k v"), "+OK");
    confirmed(&mut client, 1);
    let held = b.host.detach();
    assert_eq!(client.ask("SET k w"), "+OK");
    assert_eq!(client.ask("WAIT 1 300"), ":0", "a vote may have been cast without this write");
    assert_eq!(b.host.detach(), held, "nothing is held that came later");
    assert_eq!(b.client().ask("GET k"), "v", "nor applied");
    // The same primary in the same epoch: goes on where it was, without a snapshot.
    let joined = b.office.joined.lock().unwrap().len();
    b.follow(1, &a);
    confirmed(&mut client, 1);
    until_reads(&b, "k", "w");
    assert_eq!(b.office.joined.lock().unwrap().len(), joined, "it never stopped holding this history");
}

#[test]
fn the_office_changes_hands_and_nothing_confirmed_is_lost() {
    let cluster = Cluster::new(3, 2);
    let [a, b, c] = cluster.reigning(1);
    let mut client = a.client();
    for i in 0..500 {
        client.ask(&format!("SET k{i} {i}"));
    }
    confirmed(&mut client, 2);
    client.ask("SET unconfirmed yes");
    // What the plugin does: the voters detach, the best one is promoted, the others follow it.
    a.fence(FenceReason::Deposed);
    b.host.detach();
    c.host.detach();
    b.promote(2);
    a.follow(2, &b);
    c.follow(2, &b);
    a.wait_joined(2);
    c.wait_joined(2);
    assert_eq!(b.client().ask("SET new yes"), "+OK");
    confirmed(&mut b.client(), 2);
    for node in [&a, &b, &c] {
        until_reads(node, "k499", "499");
        until_reads(node, "new", "yes");
        // What was received is applied a moment later, and nobody writes any more.
        for same in ["GET unconfirmed", "DBSIZE"] {
            let right = b.client().ask(same);
            until(&format!("one history: {same}"), || (node.client().ask(same) == right).then_some(()));
        }
    }
    until("who may have waited for the old reign's acknowledgements is let go", || {
        let said = client.try_ask("SET k v");
        assert!(said.as_ref().is_none_or(|said| said.starts_with('-')), "{said:?}");
        said.is_none().then_some(())
    });
    // Every shard learns for itself that it is to let clients go: one that comes at once may have to come again.
    let said = until("the old primary answers", || a.client().try_ask("SET k v"));
    assert!(said.starts_with("-READONLY"), "{said}");
}

#[test]
fn a_node_that_does_not_reign_is_not_loaded_from() {
    let cluster = Cluster::new(2, 1);
    let (a, b) = (cluster.start(0), cluster.start(1));
    b.promote(1);
    assert_eq!(b.client().ask("SET k v"), "+OK");
    // a came back empty and is no primary of epoch 2, whatever b was told.
    b.follow(2, &a);
    let mut client = b.client();
    let refused = "is not (or not yet) the primary of epoch 2";
    until("the stream is refused", || client.ask("INFO replication").contains(refused).then_some(()));
    assert!(!b.has_joined(2));
    assert_eq!(client.ask("GET k"), "v", "an empty server must not wipe a full one");
    // Now it is.
    a.promote(2);
    b.wait_joined(2);
    until_reads(&b, "k", "nil");
}

#[test]
fn data_survives_a_restart_and_an_empty_directory_is_owned_up_to() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(3);
    assert_eq!(node.client().ask("SET k v"), "+OK");
    node.stop();
    let node = cluster.start_from(0, None);
    assert_eq!(node.position, position(3, &[0, 0]), "the data says so: no cut behind the beginning");
    assert_eq!(node.client().ask("GET k"), "v");
    node.promote(4);
    assert_eq!(node.client().ask("SET k w"), "+OK", "promoted again after a restart");
    node.stop();
    for file in std::fs::read_dir(&cluster.dirs[0].0).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let node = cluster.start_from(0, Some(position(4, &[1, 0])));
    assert_eq!(node.position, Position::NONE, "the data is gone, whatever the record says");
}

#[test]
fn a_flush_moves_the_position_on_and_reaches_the_replica() {
    let cluster = Cluster::new(2, 2);
    let [a, b] = cluster.reigning(1);
    let mut client = a.client();
    for i in 0..50 {
        client.ask(&format!("SET k{i} {i}"));
    }
    confirmed(&mut client, 1);
    let before = b.office.offsets.lock().unwrap().iter().sum::<u64>();
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    assert_eq!(client.ask("SET after yes"), "+OK");
    let confirmed = client.ask("WAIT 1 100") == ":1";
    let held = b.office.offsets.lock().unwrap().iter().sum::<u64>();
    assert!(!confirmed || held > before, "what was acknowledged before the flush says nothing about this");
    until_reads(&b, "after", "yes");
    until_reads(&b, "k1", "nil");
    until("the replica is counted again", || (client.ask("WAIT 1 100") == ":1").then_some(()));
    let held = b.host.detach();
    assert_eq!(held.stream_epoch(), Epoch(1));
    assert!(held.progress().offset > before, "{held:?} after {before}");
}

#[test]
fn clients_cannot_steer_and_a_replica_cannot_wait() {
    let cluster = Cluster::new(2, 1);
    let [a, b] = cluster.reigning(1);
    for node in [&a, &b] {
        let mut client = node.client();
        for command in
            ["REPLICAOF NO ONE", "SLAVEOF 127.0.0.1 1", "FAILOVER 127.0.0.1 1", "replicaof 127.0.0.1 1"]
        {
            let said = client.ask(command);
            assert!(
                said.starts_with("-ERR the election decides")
                    || said.starts_with("-ERR no member has its clients at 127.0.0.1:1")
                    || said.starts_with("-READONLY"),
                "{said}"
            );
        }
        assert!(client.ask("ELECT.BARRIER 7").starts_with('-'), "only a record can be that");
    }
    assert_eq!(b.client().ask("WAIT 1 10"), "-ERR WAIT cannot be used with replica instances");
    assert_eq!(a.client().ask("SET k v"), "+OK", "still the primary");
    let token = a.client().ask("REPL.TOKEN").replace(['[', ']', ':'], "");
    assert_eq!(b.client().ask(&format!("REPL.WAIT {token}")), "+OK");
    assert_eq!(b.client().ask("GET k"), "v", "read your own write");
}

#[test]
fn orders_of_an_older_epoch_are_refused() {
    let cluster = Cluster::new(2, 1);
    let (a, b) = (cluster.start(0), cluster.start(1));
    a.promote(5);
    let refused = futures::executor::block_on(a.host.follow(Epoch(4), b.id)).unwrap_err();
    assert!(refused.to_string().contains("older"), "{refused}");
    assert_eq!(a.client().ask("SET k v"), "+OK");
}

#[test]
fn a_client_that_waits_for_data_cannot_change_a_replica() {
    for shards in [1, 2] {
        let cluster = Cluster::new(2, shards);
        let [a, b] = cluster.reigning(1);
        // Several keys: with two shards some wait on the connection's shard, some on the other one.
        let waiting: Vec<_> = (0..8)
            .map(|i| {
                let mut client = a.client();
                std::thread::spawn(move || client.try_ask(&format!("BLPOP list{i} 30")))
            })
            .collect();
        until("all of them wait", || {
            a.client().ask("INFO clients").contains("blocked_clients:8").then_some(())
        });
        a.fence(FenceReason::Deposed);
        b.host.detach();
        b.promote(2);
        a.follow(2, &b);
        a.wait_joined(2);
        for i in 0..8 {
            assert_eq!(b.client().ask(&format!("RPUSH list{i} x")), ":1");
        }
        for client in waiting {
            // Or its connection ended with the office.
            let said = client.join().unwrap().unwrap_or_else(|| "nil".to_owned());
            assert!(said.starts_with("-UNBLOCKED") || said == "nil", "{said}");
        }
        for i in 0..8 {
            assert_eq!(b.client().ask(&format!("LRANGE list{i} 0 -1")), "[x]");
            until("the replica has it", || {
                (a.client().ask(&format!("LRANGE list{i} 0 -1")) == "[x]").then_some(())
            });
        }
    }
}

#[test]
fn what_was_acknowledged_and_not_yet_applied_survives_the_promotion() {
    // The longer ones for a machine that takes long for the writes.
    assert!(["0.7", "5", "30"].into_iter().any(promoted_before_it_applied), "every sleep was over too early");
}

/// Says whether the shard still slept when everything was written: only then it means anything.
fn promoted_before_it_applied(seconds: &'static str) -> bool {
    // No more than wait for a shard; the stream is not read beyond that.
    const WRITES: usize = 2000;
    let cluster = Cluster::new(3, 1);
    let (a, b, c) = (cluster.start(0), cluster.start(1), cluster.start(2));
    a.promote(1);
    b.follow(1, &a);
    b.wait_joined(1);
    // The shard of b sleeps; what comes meanwhile is received and waits for it.
    let mut sleeper = b.client();
    let asleep = std::thread::spawn(move || sleeper.ask(&format!("DEBUG SLEEP {seconds}")));
    let mut client = a.client();
    for i in 0..WRITES {
        assert_eq!(client.ask(&format!("SET k{i} {i}")), "+OK");
    }
    confirmed(&mut client, 1);
    if asleep.is_finished() {
        return false;
    }
    a.fence(FenceReason::Deposed);
    assert_eq!(b.host.detach(), position(1, &[WRITES as u64]));
    b.promote(2);
    c.follow(2, &b);
    c.wait_joined(2);
    asleep.join().unwrap();
    for node in [&b, &c] {
        assert_eq!(node.client().ask("DBSIZE"), format!(":{WRITES}"));
    }
    true
}
/// As Redis does: a client that is blocked or listens says nothing, and would never notice.
#[test]
fn who_loses_the_office_lets_its_clients_go() {
    let cluster = Cluster::new(2, 2);
    let [a, b] = cluster.reigning(1);
    let open = |words: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", a.port)).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        stream
    };
    let mut clients = [open("BLPOP list 0"), open("SUBSCRIBE news"), open("PING")];
    // What was sent has arrived.
    assert!(clients[1].read(&mut [0; 64]).unwrap() > 0 && clients[2].read(&mut [0; 64]).unwrap() > 0);
    a.fence(FenceReason::LeaseExpired);
    b.promote(2);
    a.follow(2, &b);
    for client in &mut clients {
        // An answer may come before the end, which may be a reset.
        let end = loop {
            match client.read(&mut [0; 64]) {
                Ok(1..) => {}
                end => break end,
            }
        };
        assert!(!matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock), "nobody ended it");
    }
    // Who comes at once may have to come again.
    let said = until("it answers", || a.client().try_ask("HELLO"));
    assert!(said.contains("role replica"), "{said}");
    assert!(b.client().ask("HELLO").contains("role master"));
}
