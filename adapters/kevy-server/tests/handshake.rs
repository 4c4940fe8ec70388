//! What client libraries send when they connect: nothing is an error that has a sensible answer, on any node, and a real
//! Redis 7 answers in the same shape.
//!
//! The list is what redis-py 8.1, ioredis 6.0, node-redis 6.3, redis-rs 1.8, valkey-glide 2.6, go-redis 9, Lettuce 6, Jedis 5
//! and StackExchange.Redis 2 send, at their defaults and with the options that they have for it. `cargo clients --greetings` takes down
//! what those that can be tried here send to a real server, in `docs/evidence/greetings.md`; the list has all of that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, until};
use kevy_elect_plugin::host::FenceReason;
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use std::process::{Child, Command, Stdio};

/// What a reply has to be: `+text`, `:`, `$`, `$text`, `*`, `*n`, `-text` (its beginning).
const ASKED: [(&str, &str, Redis); 69] = [
    ("PING", "+PONG", Redis::Same),
    ("PING hello", "$hello", Redis::Same),
    ("ECHO hello", "$hello", Redis::Same),
    ("SELECT 0", "+OK", Redis::Same),
    ("CLIENT SETNAME app", "+OK", Redis::Same),
    ("CLIENT GETNAME", "$app", Redis::Same),
    ("CLIENT SETINFO LIB-NAME redis-py(a_v1)", "+OK", Redis::Newer),
    ("client setinfo lib-ver 8.1.0", "+OK", Redis::Newer),
    ("CLIENT SETINFO nonsense 1", "-ERR", Redis::Same),
    // Services that announce their maintenance take it. redis-py and node-redis ask everybody, and take an error for a no.
    ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip", "-ERR unknown", Redis::Same),
    ("CLIENT ID", ":", Redis::Same),
    ("CLIENT INFO", "$", Redis::Same),
    ("CLIENT LIST", "$", Redis::Same),
    ("CLIENT NO-EVICT on", "+OK", Redis::Same),
    ("CLIENT NO-TOUCH on", "+OK", Redis::Newer),
    ("CLIENT TRACKING OFF", "+OK", Redis::Same),
    ("CLIENT TRACKING ON", "-ERR this server does not track", Redis::Knows),
    ("CLIENT TRACKINGINFO", "*6", Redis::Same),
    ("CLIENT GETREDIR", ":-1", Redis::Same),
    ("CLIENT REPLY ON", "+OK", Redis::Same),
    ("CLIENT UNPAUSE", "+OK", Redis::Same),
    ("CLIENT KILL ID 999999999", ":0", Redis::Same),
    ("CLIENT KILL 192.0.2.1:1", "-ERR No such client", Redis::Same),
    // As every server does that does not know it; who asks has to live with that, and gets READONLY.
    ("CLIENT CAPA redirect", "-ERR", Redis::Same),
    ("CLIENT NO-SUCH", "-ERR", Redis::Same),
    ("COMMAND COUNT", ":", Redis::Same),
    ("COMMAND", "*", Redis::Same),
    ("COMMAND INFO get set", "*2", Redis::Same),
    ("COMMAND DOCS get", "*2", Redis::Same),
    ("COMMAND LIST", "*", Redis::Same),
    ("CONFIG GET maxmemory", "*2", Redis::Same),
    ("CONFIG GET maxmemory appendonly", "*4", Redis::Same),
    ("CONFIG GET notify-keyspace-events", "*2", Redis::Same),
    ("CONFIG GET no-such-setting", "*0", Redis::Same),
    ("CONFIG GET databases", "*", Redis::Same),
    ("CONFIG GET timeout", "*", Redis::Same),
    ("INFO", "$", Redis::Same),
    ("INFO server", "$", Redis::Same),
    ("INFO replication", "$", Redis::Same),
    ("ROLE", "*", Redis::Same),
    ("READONLY", "+OK", Redis::Knows),
    ("READWRITE", "+OK", Redis::Knows),
    ("CLUSTER INFO", "-ERR This instance has cluster support disabled", Redis::Same),
    ("CLUSTER SLOTS", "-ERR This instance has cluster support disabled", Redis::Same),
    ("CLUSTER SHARDS", "-ERR This instance has cluster support disabled", Redis::Same),
    ("CLUSTER NODES", "-ERR This instance has cluster support disabled", Redis::Same),
    ("SCRIPT LOAD return(1)", "$930269f31393d0be681588b6ab08dccee7d6bb67", Redis::Same),
    ("SCRIPT EXISTS 930269f31393d0be681588b6ab08dccee7d6bb67 none", "*2", Redis::Same),
    ("EVALSHA_RO 930269f31393d0be681588b6ab08dccee7d6bb67 0", ":1", Redis::Same),
    ("HELLO", "*14", Redis::Same),
    ("HELLO 2", "*14", Redis::Same),
    ("HELLO 2 SETNAME app", "*14", Redis::Same),
    ("HELLO 9", "-NOPROTO", Redis::Same),
    // Redis lets everybody in under the name of its default user, whatever the password; who sends one here is told.
    ("HELLO 2 AUTH default secret", "-ERR AUTH called without any password configured", Redis::Knows),
    ("AUTH default secret", "-ERR AUTH called without any password configured", Redis::Knows),
    ("AUTH secret", "-ERR AUTH", Redis::Same),
    ("AUTH", "-ERR wrong number of arguments for 'auth' command", Redis::Same),
    ("ACL WHOAMI", "$default", Redis::Same),
    ("ACL LIST", "*1", Redis::Same),
    ("ACL USERS", "*1", Redis::Same),
    ("MODULE LIST", "*0", Redis::Same),
    ("FUNCTION LIST", "*0", Redis::Same),
    ("LATENCY LATEST", "*0", Redis::Same),
    ("LATENCY RESET", ":0", Redis::Same),
    ("MEMORY USAGE no-such-key", "nil", Redis::Same),
    ("SLOWLOG LEN", ":0", Redis::Same),
    ("DBSIZE", ":0", Redis::Same),
    ("RESET", "+RESET", Redis::Same),
    ("RESET x", "-ERR", Redis::Same),
];

/// What Redis 7.0 says to the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redis {
    Same,
    /// A later one does.
    Newer,
    /// Something else, and why is said beside it, or it can do it.
    Knows,
}

fn is(reply: &Reply, wanted: &str) -> bool {
    let (kind, rest) = wanted.split_at(1);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match (kind, reply) {
        ("+", Reply::Simple(said)) => text(said) == rest,
        ("-", Reply::Error(said)) => text(said).starts_with(rest),
        (":", Reply::Int(n)) => rest.is_empty() || n.to_string() == rest,
        ("$", Reply::Bulk(said)) => rest.is_empty() || text(said) == rest,
        ("*", Reply::Array(all)) => rest.is_empty() || all.len().to_string() == rest,
        ("n", Reply::Nil) => true,
        _ => false,
    }
}

/// What is answered otherwise than it should be.
fn wrong(port: u16, wanted: impl Fn(&(&'static str, &'static str, Redis)) -> bool) -> Vec<String> {
    let mut client = RespClient::connect("127.0.0.1", port).unwrap();
    let asked = ASKED.iter().filter(|asked| wanted(asked));
    let said = asked.map(|(line, shape, _)| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let reply = client.request_borrowed(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
        (!is(&reply, shape)).then(|| format!("{line}: {reply:?} instead of {shape}"))
    });
    said.flatten().collect()
}

#[test]
fn every_node_answers_what_libraries_ask_when_they_connect() {
    for shards in [1, 2] {
        let cluster = Cluster::new(2, shards);
        let [a, b] = cluster.reigning(1);
        for (node, what) in [(&a, "primary"), (&b, "replica")] {
            assert_eq!(wrong(node.port, |_| true), Vec::<String>::new(), "{what}, {shards} shards");
        }
        a.fence(FenceReason::LeaseExpired);
        assert_eq!(wrong(a.port, |_| true), Vec::<String>::new(), "fenced, {shards} shards");
        b.stop();
        a.stop();
    }
}

#[test]
fn all_that_libraries_were_heard_to_send_is_asked() {
    let evidence = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence/greetings.md");
    let text = std::fs::read_to_string(evidence).unwrap();
    let at_our_port = text.lines().filter(|line| line.contains("| clients |"));
    // What they say of themselves is their own.
    let begins = |said: &str| said.to_uppercase().split(' ').take(2).collect::<Vec<_>>().join(" ");
    let heard: Vec<String> = at_our_port.filter_map(|line| Some(begins(line.split('`').nth(1)?))).collect();
    assert!(heard.len() > 10, "{evidence}: {heard:?}");
    for said in heard.iter().filter(|said| *said != "SET") {
        let asked = |(line, ..): &(&str, &str, Redis)| begins(line).replace("HELLO 2", "HELLO 3") == *said;
        assert!(ASKED.iter().any(asked), "nothing here begins with {said}");
    }
}

#[test]
fn the_same_is_asked_of_a_transaction_and_of_resp3() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(1);
    let mut client = node.client();
    assert!(
        client
            .ask("HELLO 3 AUTH default secret SETNAME app")
            .starts_with("-ERR AUTH called without any password")
    );
    assert!(client.ask("HELLO 3 SETNAME app").contains("Map"));
    assert!(client.ask("CLIENT TRACKINGINFO").contains("Map"));
    assert_eq!(client.ask("CLIENT SETINFO lib-name x"), "+OK");
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("PING"), "+QUEUED");
    assert_eq!(client.ask("EXEC"), "[+PONG]");
    assert_eq!(client.ask("RESET"), "+RESET");
    assert!(client.ask("CLIENT TRACKINGINFO").starts_with('['), "RESP2");
    // Not what it is in Redis, which would drop the transaction: it is told, and nothing of it is executed.
    assert_eq!(client.ask("MULTI"), "+OK");
    assert!(client.ask("RESET").starts_with("-ERR unknown command"));
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    node.stop();
}

/// Needs `redis-server`, version 7, on the path.
#[test]
#[ignore = "needs redis-server"]
fn a_real_redis_answers_in_the_same_shape() {
    struct Server(Child);
    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
    let port = common::free_port(1);
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &port.to_string(), "--save", ""]).stdout(Stdio::null());
    let _server = Server(redis.spawn().unwrap());
    until("redis accepts", || RespClient::connect("127.0.0.1", port).ok());
    let mut client = RespClient::connect("127.0.0.1", port).unwrap();
    let Reply::Bulk(info) = client.request_borrowed(&[b"INFO", b"server"]).unwrap() else { panic!("INFO") };
    let info = String::from_utf8_lossy(&info).into_owned();
    let newer = !info.contains("redis_version:7.0.");
    let same = |asked: &(&str, &str, Redis)| asked.2 == Redis::Same || newer && asked.2 == Redis::Newer;
    assert_eq!(wrong(port, same), Vec::<String>::new());
}
