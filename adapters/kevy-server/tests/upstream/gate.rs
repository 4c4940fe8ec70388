//! Writes that no gate is asked about.

use super::*;

#[test]
fn exec_after_watch_asks_nobody_whether_it_may_write() {
    let replica = Plain::replica(None, "");
    let mut client = replica.client();
    assert!(client.ask("SET k v").starts_with("-READONLY"));
    for line in ["WATCH k", "MULTI", "SET k v"] {
        client.ask(line);
    }
    assert_eq!(client.ask("EXEC"), "[+OK]", "{MENDED}");
}

/// Where there is no io_uring the fault is not there, and the test sees that instead.
#[test]
fn a_large_set_on_io_uring_asks_nobody_whether_it_may_write() {
    let replica = Plain::replica(None, "");
    let log = std::fs::read_to_string(replica.dir.0.join("log")).unwrap();
    let mut client = replica.client();
    assert!(client.ask("SET k v").starts_with("-READONLY"));
    let reply = client.ask(&format!("SET k {}", "x".repeat(100_000)));
    match log.contains("reactor = io_uring") {
        true => assert_eq!((reply.as_str(), client.ask("STRLEN k").as_str()), ("+OK", ":100000"), "{MENDED}"),
        false => assert!(reply.starts_with("-READONLY"), "{reply}"),
    }
}

#[test]
fn move_scope_ingest_is_not_taken_for_a_write() {
    let replica = Plain::replica(None, "");
    let order = "*3\r\n$3\r\nSET\r\n$5\r\napp:a\r\n$1\r\n1\r\n";
    let mut client = RespClient::connect("127.0.0.1", replica.port).unwrap();
    let reply = client.request_borrowed(&[b"MOVE-SCOPE-INGEST", b"app:", order.as_bytes()]).unwrap();
    assert!(format!("{reply:?}").starts_with("Simple"), "{MENDED}: {reply:?}");
}

#[test]
fn a_script_can_shut_the_server_down() {
    let mut primary = Plain::primary();
    let mut client = RespClient::connect("127.0.0.1", primary.port).unwrap();
    // Whatever it answers, if it comes to that.
    drop(client.request_borrowed(&[b"EVAL", b"return redis.call('SHUTDOWN', 'NOSAVE')", b"0"]));
    until("the server ends; if it does not, kevy has mended this", || primary.child.try_wait().unwrap());
}

#[test]
fn a_script_can_stop_all_writes_with_failover() {
    let primary = Plain::primary();
    let script = "return redis.call('FAILOVER', '127.0.0.1', '1', 'TIMEOUT', '60000')";
    assert_eq!(primary.client().ask_words(&["EVAL", script, "0"]), "+OK", "{MENDED}");
    assert!(primary.ask("SET k v").starts_with("-QUIESCED"), "{MENDED}");
}

#[test]
fn an_http_request_is_run_as_commands() {
    let primary = Plain::primary();
    let said = primary.raw("POST / HTTP/1.1\r\nHost: somewhere\r\n\r\nSET posted 1\r\n", "+OK\r\n");
    assert!(said.contains("unknown command 'POST'"), "{said}");
    assert_eq!(primary.ask("GET posted"), "1", "{MENDED}");
}

#[test]
fn a_client_that_waited_for_data_takes_it_from_a_replica() {
    let (primary, other) = (Plain::primary(), Plain::primary());
    let mut waits = other.waiting("BLPOP queue 0");
    assert_eq!(other.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port + 10_000)), "+OK");
    assert_eq!(primary.ask("SET linked 1"), "+OK");
    until("it follows", || (other.ask("GET linked") == "1").then_some(()));
    assert_eq!(primary.ask("RPUSH queue job"), ":1");
    let said = until("it is answered; if not, kevy has mended this", || waits.said("job\r\n"));
    assert!(said.starts_with("*2"), "{MENDED}: {said}");
    assert!(other.ask("SET k v").starts_with("-READONLY"), "it is a replica");
    assert_eq!(
        (primary.ask("LLEN queue"), other.ask("LLEN queue")),
        (":1".to_owned(), ":0".to_owned()),
        "{MENDED}"
    );
}

#[test]
fn a_replica_without_an_upstream_takes_writes() {
    let replica = Plain::with("replica", "", "");
    assert!(replica.ask("ROLE").starts_with("[slave"));
    assert_eq!(replica.ask("SET k v"), "+OK", "{MENDED}");
}
