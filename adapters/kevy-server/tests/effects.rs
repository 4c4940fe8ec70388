//! A replica, and a primary after its restart, hold what the primary holds, whatever the commands were.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::contents::{contents, differences};
use common::{Client, Cluster, Node, until, writes};
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;
use std::time::Duration;

/// A primary and a replica that has joined.
fn pair(shards: u16) -> (Cluster, Node, Node) {
    let cluster = Cluster::new(2, shards);
    let [a, b] = cluster.reigning(1);
    (cluster, a, b)
}

/// All that was written is on the replica, and both hold the same. Then the primary is restarted, and still does.
#[track_caller]
fn same_everywhere(cluster: &Cluster, a: Node, b: &Node) {
    assert_eq!(a.client().ask("SET last 1"), "+OK");
    until("the replica has all", || (a.client().ask("WAIT 1 100") == ":1").then_some(()));
    until("and has applied it", || {
        let offsets: u64 = b.office.offsets.lock().unwrap().iter().sum();
        (offsets == a.office.offsets.lock().unwrap().iter().sum::<u64>()).then_some(())
    });
    // What came before the last frame of each shard is applied once that shard has nothing left to do.
    let expected = contents(&mut a.client());
    assert!(expected.len() > 1, "the test wrote something");
    let mut seen = Vec::new();
    let same = common::within(common::PATIENCE, || {
        seen = differences(&expected, &contents(&mut b.client()));
        seen.is_empty().then_some(())
    });
    assert!(
        same.is_some(),
        "on the replica: {} differences, among them {:#?}",
        seen.len(),
        &seen[..seen.len().min(20)]
    );
    a.stop();
    let a =
        cluster.start_from(0, Some(Position::new(Epoch(1), &vec![1; usize::from(cluster.shards)]).unwrap()));
    let seen = differences(&expected, &contents(&mut a.client()));
    assert!(
        seen.is_empty(),
        "after a restart: {} differences, among them {:#?}",
        seen.len(),
        &seen[..seen.len().min(20)]
    );
}

fn every_command(shards: u16) {
    let (cluster, a, b) = pair(shards);
    let (done, tried) = writes::all(&mut a.client(), 1);
    println!("{done} of {tried} commands did something");
    assert!(done > 1_000);
    same_everywhere(&cluster, a, &b);
}

/// D1
#[test]
fn every_command_leaves_the_same_on_a_replica_and_after_a_restart_on_one_shard() {
    every_command(1);
}

#[test]
fn every_command_leaves_the_same_on_a_replica_and_after_a_restart_on_two_shards() {
    every_command(2);
}

const RANDOM: &str = "redis.call('SADD',KEYS[1],unpack(ARGV))redis.call('SPOP',KEYS[1],3)\
    redis.call('SET',KEYS[1]..'r',tostring(math.random()))redis.call('SET',KEYS[1]..'t',redis.call('TIME')[2],'EX',10000)\
    redis.call('XADD',KEYS[1]..'x','*','f',redis.call('SPOP',KEYS[1]))return(redis.pcall('INCR',KEYS[1]))";

fn scripts(shards: u16) {
    let (cluster, a, b) = pair(shards);
    let mut client = a.client();
    for i in 0..20 {
        let reply = client.ask_words(&[
            "EVAL",
            RANDOM,
            "1",
            &format!("{{{i}}}s"),
            "a",
            "b",
            "c",
            "d",
            "e",
            "f",
            "g",
            "h",
        ]);
        assert!(reply.starts_with("-WRONGTYPE"), "{reply}");
    }
    // By its digest: no other node has heard of the script.
    let sha = client.ask_words(&["SCRIPT", "LOAD", "return(redis.call('INCRBY',KEYS[1],ARGV[1]))"]);
    assert_eq!(client.ask(&format!("EVALSHA {sha} 1 balance 1000")), ":1000");
    assert_eq!(client.ask("EVAL return(redis.call('GET',KEYS[1])) 1 balance"), "1000");
    // Nothing of a script that fails half way is forgotten.
    let reply = client.ask_words(&["EVAL", "redis.call('SET',KEYS[1],'yes')error('no')", "1", "half"]);
    assert!(reply.starts_with('-'), "{reply}");
    assert_eq!(client.ask("GET half"), "yes");
    let many: Vec<String> = (0..2_000).map(|i| i.to_string()).collect();
    let mut words = vec!["EVAL", "for i=1,#ARGV do redis.call('RPUSH',KEYS[1],ARGV[i]) end", "1", "long"];
    words.extend(many.iter().map(String::as_str));
    assert_eq!(client.ask_words(&words), "nil");
    assert_eq!(client.ask("LLEN long"), ":2000");
    same_everywhere(&cluster, a, &b);
}

/// D2
#[test]
fn a_script_leaves_the_same_everywhere_on_one_shard() {
    scripts(1);
}

#[test]
fn a_script_leaves_the_same_everywhere_on_two_shards() {
    scripts(2);
}

/// D6
#[test]
fn a_script_does_not_reach_what_clients_may_not() {
    let cluster = Cluster::new(2, 1);
    let a = cluster.start(0);
    a.promote(1);
    let mut client = a.client();
    for words in [
        "SHUTDOWN",
        "SHUTDOWN NOSAVE",
        "FAILOVER",
        "REPLICAOF 127.0.0.1 1",
        "REPLICAOF NO ONE",
        "SLAVEOF NO ONE",
        "DEBUG SLEEP 9",
        "CONFIG SET maxmemory 1",
        "EVAL return(1) 0",
        "SCRIPT FLUSH",
        "MOVE-SCOPE-INGEST x",
        "XINTERNAL.CATALOG",
        "CLIENT KILL TYPE normal",
        "CLUSTER RESET",
        "BGREWRITEAOF",
        "SAVE",
        "TABLE.DROP t",
        "ELECT.BARRIER 9",
        "ELECT.EXPIRED k",
    ] {
        let list = words.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(",");
        let reply = client.ask_words(&["EVAL", &format!("return redis.call({list})"), "0"]);
        assert!(reply.starts_with("-") && reply.contains("not allowed from script"), "{words}: {reply}");
    }
    // Still there, still the primary.
    assert_eq!(client.ask("SET k v"), "+OK");
    for (words, right) in [
        ("'PING'", "+PONG"),
        ("'ECHO','x'", "x"),
        ("'TYPE','k'", "+string"),
        ("'GET','k'", "v"),
        ("'DBSIZE'", ":1"),
    ] {
        assert_eq!(client.ask_words(&["EVAL", &format!("return redis.call({words})"), "1", "k"]), right);
    }
    assert!(
        client
            .ask_words(&["EVAL_RO", "return redis.call('SET',KEYS[1],'w')", "1", "k"])
            .starts_with("-READONLY")
    );
    assert_eq!(client.ask("GET k"), "v");
}

/// D1
#[test]
fn a_relative_expiry_means_the_same_moment_on_a_replica_that_is_late() {
    let (cluster, a, b) = pair(1);
    let mut client = a.client();
    client.ask("SET expire v");
    client.ask("HSET hash f v");
    b.host.detach();
    for line in [
        "SET set v EX 10000",
        "SET nx v NX PX 10000000",
        "SETEX setex 10000 v",
        "PSETEX psetex 10000000 v",
        "EXPIRE expire 10000",
        "GETEX set EX 10000",
        "HEXPIRE hash 10000 FIELDS 1 f",
    ] {
        assert!(!client.ask(line).starts_with('-'), "{line}");
    }
    std::thread::sleep(Duration::from_millis(1_500));
    b.follow(1, &a);
    until("the replica has all", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
    // Between two looks at the primary, however long they take.
    let same = |what: &str, ttl: &dyn Fn(&Node) -> i64| {
        let (before, there, after) = (ttl(&a), ttl(&b), ttl(&a));
        let right = after - 700..before + 700;
        assert!(
            right.contains(&there),
            "{what}: {after} to {before} ms on the primary, {there} ms on the replica"
        );
    };
    for key in ["set", "nx", "setex", "psetex", "expire"] {
        until("it is there", || (b.client().ask(&format!("EXISTS {key}")) == ":1").then_some(()));
        if key == "expire" {
            until("its expiry is there", || (b.client().ask("PTTL expire") != ":-1").then_some(()));
        }
        same(key, &|node| node.client().ask(&format!("PTTL {key}"))[1..].parse().unwrap());
    }
    let ttl = |node: &Node| node.client().ask("HPTTL hash FIELDS 1 f");
    until("the field's expiry is there", || (ttl(&b) != "[:-1]").then_some(()));
    same("hash", &|node| ttl(node).trim_matches(|c| "[]:".contains(c)).parse().unwrap());
    drop(cluster);
}

/// Fills a server with values of a kilobyte until it refuses one. Says how many it took.
fn fill(client: &mut Client) -> usize {
    let value = "x".repeat(1_000);
    let full = (0..5_000).find(|i| client.ask(&format!("SET fill{i} {value}")).starts_with("-OOM"));
    full.unwrap()
}

/// D3
#[test]
fn what_the_primary_refuses_for_want_of_memory_is_nowhere() {
    let cluster = Cluster::new(2, 1);
    let (a, b) = (cluster.start_with(0, "[memory]\nmaxmemory = \"1mb\"\n"), cluster.start(1));
    a.promote(1);
    b.follow(1, &a);
    b.wait_joined(1);
    let mut client = a.client();
    let taken = fill(&mut client);
    for line in [
        "SET refused v",
        "RPUSH refused v",
        "SET refused v EX 9",
        "HSET refused f v",
        "LMOVE fill0 refused LEFT LEFT",
    ] {
        assert!(client.ask(line).starts_with("-OOM"), "{line}");
    }
    let reply = client.ask_words(&["EVAL", "return(redis.call('SET',KEYS[1],'v'))", "1", "refused"]);
    assert!(reply.starts_with("-OOM"), "{reply}");
    assert_eq!(client.ask("DEL fill0"), ":1", "what frees memory is let pass");
    until("the replica has all", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
    let count = format!(":{}", taken - 1);
    until("the replica has as many", || (b.client().ask("DBSIZE") == count).then_some(()));
    assert_eq!(b.client().ask("EXISTS refused"), ":0");
    assert_eq!(client.ask("DBSIZE"), count);
}

/// D4
#[test]
fn a_replica_with_less_memory_has_all_all_the_same_and_keeps_it_over_a_restart() {
    let cluster = Cluster::new(2, 1);
    let (a, b) = (cluster.start(0), cluster.start_with(1, "[memory]\nmaxmemory = \"1mb\"\n"));
    a.promote(1);
    b.follow(1, &a);
    b.wait_joined(1);
    let mut client = a.client();
    let value = "x".repeat(1_000);
    for i in 0..3_000 {
        assert_eq!(client.ask(&format!("SET k{i} {value}")), "+OK");
    }
    until("the replica has all", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
    until("the replica has applied all", || (b.client().ask("DBSIZE") == ":3000").then_some(()));
    b.stop();
    let b = cluster.start_with(1, "[memory]\nmaxmemory = \"1mb\"\n");
    assert_eq!(b.client().ask("DBSIZE"), ":3000");
}

/// D5
#[test]
fn what_gives_way_on_the_primary_gives_way_everywhere() {
    const SMALL: &str = "[memory]\nmaxmemory = \"1mb\"\nmaxmemory_policy = \"allkeys-lru\"\n";
    let cluster = Cluster::new(2, 1);
    let (a, b) = (cluster.start_with(0, SMALL), cluster.start_with(1, SMALL));
    a.promote(1);
    b.follow(1, &a);
    b.wait_joined(1);
    let mut client = a.client();
    // The shard has ticked, and so knows of its limit.
    until("it knows of its limit", || client.ask("CONFIG GET maxmemory").contains("1048576").then_some(()));
    let value = "x".repeat(1_000);
    for i in 0..3_000 {
        assert_eq!(client.ask(&format!("SET k{i} {value}")), "+OK");
        assert_eq!(
            client.ask_words(&[
                "EVAL",
                "return(redis.call('SET',KEYS[1],ARGV[1]))",
                "1",
                &format!("s{i}"),
                &value
            ]),
            "+OK"
        );
    }
    let count = client.ask("DBSIZE");
    assert!(count.len() <= 5, "{count}: it did not make room");
    until("the replica has as many", || (b.client().ask("DBSIZE") == client.ask("DBSIZE")).then_some(()));
    same_everywhere(&cluster, a, &b);
}

fn copies_again(shards: u16) {
    let (cluster, a, b) = pair(shards);
    // Something wrote here that must not. What comes for this key cannot be applied.
    *b.office.gate.lock().unwrap() = Ok(());
    assert_eq!(b.client().ask("SET k string"), "+OK");
    *b.office.gate.lock().unwrap() = Err(kevy_elect_plugin::plugin::Denied::Replica);
    let joined = b.office.joined.lock().unwrap().len();
    let mut client = a.client();
    assert_eq!(client.ask("RPUSH k element"), ":1");
    for i in 0..500 {
        assert_eq!(client.ask(&format!("SET after{i} v")), "+OK");
    }
    until("it says that it holds nothing, and then the history again", || {
        let said = b.office.joined.lock().unwrap()[joined..].to_vec();
        let epochs: Vec<Epoch> = said.iter().map(|(epoch, _)| *epoch).collect();
        (epochs == [Epoch(0), Epoch(1)]).then_some(())
    });
    same_everywhere(&cluster, a, &b);
}

/// D4
#[test]
fn a_replica_that_cannot_apply_a_frame_copies_all_again_on_one_shard() {
    copies_again(1);
}

#[test]
fn a_replica_that_cannot_apply_a_frame_copies_all_again_on_two_shards() {
    copies_again(2);
}

/// What a client can do at once, in a transaction, or after a wait.
fn ways_in(shards: u16) {
    let (cluster, a, b) = pair(shards);
    let mut client = a.client();
    for (round, (watched, proto)) in [(false, 2), (true, 2), (false, 3), (true, 3)].into_iter().enumerate() {
        client.ask(&format!("HELLO {proto}"));
        if watched {
            assert_eq!(client.ask(&format!("WATCH unrelated{round}")), "+OK");
        }
        client.ask("MULTI");
        for line in [
            "SET {r}s v EX 10000",
            "RPUSH {r}l a b c d",
            "LMOVE {r}l {r}m LEFT RIGHT",
            "LMOVE {r}l m{r} LEFT RIGHT",
            "RPOPLPUSH {r}l {r}m",
            "SADD {r}set a b c d e f g",
            "SPOP {r}set 3",
            "INCR {r}s",
            "EXPIRE {r}m 10000",
            "HSET {r}h f v",
            "HEXPIRE {r}h 10000 FIELDS 1 f",
            "XADD {r}x * f v",
            "MSET {r}1 v 2{r} w",
            "EVAL return(redis.call('SPOP',KEYS[1])) 1 {r}set",
            "GETEX {r}s EX 5000",
        ] {
            let line = line.replace("{r}", &format!("{{r{round}}}"));
            let reply = client.ask(&line);
            assert!(reply == "+QUEUED" || reply.contains("QUEUED"), "{line}: {reply}");
        }
        assert!(!client.ask("EXEC").starts_with('-'));
    }
    client.ask("HELLO 2");
    for round in 0..2 {
        for (waits, gives) in [
            ("BLPOP {k} 100", "RPUSH {k} a b"),
            ("BRPOP other{k} {k} 100", "RPUSH {k} a b"),
            ("BRPOPLPUSH {k} {{k}}to 100", "LPUSH {k} a b"),
            ("BRPOPLPUSH {k} to{k} 100", "LPUSH {k} a b"),
            ("BZPOPMIN {k} 100", "ZADD {k} 1 a 2 b"),
            ("BLPOP {k} 100", "EVAL redis.call('RPUSH',KEYS[1],'a','b') 1 {k}"),
            ("BLPOP {k} 100", "LMOVE {k}from {k} LEFT LEFT"),
            ("XREADGROUP GROUP g c BLOCK 100000 STREAMS {k} >", "XADD {k} * f v"),
        ] {
            let key = format!("{{w{round}{}{}}}", waits.len(), gives.len());
            let (waits, gives) = (waits.replace("{k}", &key), gives.replace("{k}", &key));
            client.ask(&format!("RPUSH {key}from a b"));
            if waits.starts_with('X') {
                client.ask(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
            }
            let blocked = |client: &mut Client, count: u8| {
                client.ask("INFO clients").contains(&format!("blocked_clients:{count}\r\n"))
            };
            until("nobody waits", || blocked(&mut client, 0).then_some(()));
            let port = a.port;
            let waiting = std::thread::spawn(move || Client::connect(port).ask(&waits));
            until("the client waits", || blocked(&mut client, 1).then_some(()));
            assert!(!client.ask(&gives).starts_with('-'), "{gives}");
            assert_ne!(waiting.join().unwrap(), "nil", "{gives}: it was woken");
        }
    }
    same_everywhere(&cluster, a, &b);
}

#[test]
fn transactions_and_waits_leave_the_same_everywhere_on_one_shard() {
    ways_in(1);
}

#[test]
fn transactions_and_waits_leave_the_same_everywhere_on_two_shards() {
    ways_in(2);
}

#[test]
fn no_number_in_a_command_ends_the_server() {
    let (cluster, a, b) = pair(1);
    let mut client = a.client();
    client.ask("SADD s a b c d");
    const HUGE: &str = "2000000000000";
    for (command, right) in [
        (format!("SETRANGE x {HUGE} v"), "-ERR string exceeds"),
        (format!("SETBIT x {HUGE} 1"), "-ERR bit offset"),
        (format!("SRANDMEMBER s -{HUGE}"), "-ERR value is out of range"),
        (format!("SRANDMEMBER s {HUGE}"), "["),
        (format!("SRANDMEMBER none {HUGE}"), "["),
        (format!("SPOP none {HUGE}"), "["),
        (format!("SPOP s {HUGE}"), "["),
        ("SCARD s".to_owned(), ":0"),
    ] {
        for words in
            [command.clone(), format!("EVAL return{{redis.pcall('{}')}} 0", command.replace(' ', "','"))]
        {
            let reply = client.ask(&words);
            assert!(
                reply.trim_start_matches('[').starts_with(right.trim_start_matches('[')),
                "{words}: {reply}"
            );
        }
    }
    client.ask("SADD t a b c d");
    client.ask("SADD u a b c d");
    assert_eq!(client.list(&["SPOP", "t", "9"]).len(), 4);
    same_everywhere(&cluster, a, &b);
}

/// One is written into the log, and not read back.
#[test]
fn no_string_grows_beyond_what_is_read_back_from_the_log() {
    let (cluster, a, b) = pair(1);
    let mut client = a.client();
    let largest = kevy_resp::MAX_BULK_LEN;
    assert_eq!(client.ask(&format!("SETRANGE x {} v", largest - 2)), format!(":{}", largest - 1));
    assert_eq!(client.ask("APPEND x v"), format!(":{largest}"));
    for words in ["APPEND x v", "EVAL return{redis.pcall('APPEND','x','v')} 0"] {
        let reply = client.ask(words);
        assert!(reply.trim_start_matches('[').starts_with("-ERR string exceeds"), "{words}: {reply}");
    }
    assert_eq!(client.ask("DEL x"), ":1");
    assert_eq!(client.ask("APPEND x v"), ":1");
    same_everywhere(&cluster, a, &b);
}
