//! What clients are told.

use super::*;

#[test]
fn a_client_that_waits_for_data_goes_on_waiting_when_its_server_becomes_a_replica() {
    let primary = Plain::primary();
    let mut waits = primary.waiting("BLPOP queue 0");
    assert_eq!(primary.ask("REPLICAOF 127.0.0.1 1"), "+OK");
    waits.hears_nothing("REPLICAOF");
}

#[test]
fn resp3_nulls_are_those_of_resp2() {
    let primary = Plain::primary();
    let said = primary.raw("HELLO 3\r\nGET missing\r\n", "-1\r\n");
    assert!(said.ends_with("$-1\r\n"), "{MENDED}: {said}");
}

#[test]
fn some_nulls_are_written_without_asking_the_commands() {
    let primary = Plain::primary();
    let said = primary.raw("HELLO 3\r\nUNSUBSCRIBE\r\n", "-1\r\n:0\r\n");
    assert!(said.ends_with("$-1\r\n:0\r\n"), "{MENDED}: {said}");
    let said = primary.raw("HELLO 3\r\nWATCH k\r\nSET k v\r\nMULTI\r\nPING\r\nEXEC\r\n", "-1\r\n");
    assert!(said.ends_with("*-1\r\n"), "{MENDED}: {said}");
}

/// With two shards some of these lists are on one and some on the other.
#[test]
fn a_move_between_shards_from_an_empty_list_is_answered_without_asking_the_commands() {
    let primary = Plain::with_shards(2);
    let answers: Vec<String> = (0..16)
        .map(|n| primary.raw(&format!("HELLO 3\r\nLMOVE empty to{n} LEFT RIGHT\r\nPING\r\n"), "+PONG\r\n"))
        .collect();
    let is = |end: &str| answers.iter().filter(|said| said.ends_with(end)).count();
    assert!(is("$-1\r\n+PONG\r\n") > 0, "{MENDED}: {answers:?}");
}

#[test]
fn commands_are_not_told_which_connection_they_come_from() {
    let primary = Plain::primary();
    let mut client = primary.client();
    assert!(client.ask("HELLO 3 SETNAME app").contains("Map"));
    assert_eq!(client.ask("CLIENT GETNAME"), "", "{MENDED}");
    let said = client.ask("CLIENT CAPA redirect");
    assert!(said.to_lowercase().starts_with("-err unknown"), "{MENDED}: {said}");
}

#[test]
fn a_server_outside_of_cluster_mode_says_that_it_owns_all_slots() {
    let primary = Plain::primary();
    let said = primary.ask("CLUSTER NODES");
    assert!(said.contains(":0@0 myself,") && said.contains("0-16383"), "{MENDED}: {said}");
}

#[test]
fn what_libraries_say_when_they_connect_is_unknown() {
    let primary = Plain::primary();
    for line in [
        "CLIENT SETINFO LIB-NAME x",
        "CLIENT TRACKING OFF",
        "READONLY",
        "ACL WHOAMI",
        "MODULE LIST",
        "LATENCY LATEST",
    ] {
        let said = primary.ask(line);
        assert!(said.starts_with("-ERR unknown"), "{MENDED}: {line}: {said}");
    }
}

#[test]
fn hello_takes_any_password() {
    let primary = Plain::primary();
    let said = primary.raw("HELLO 3 AUTH nobody wrong\r\nPING\r\n", "+PONG\r\n");
    assert!(said.starts_with('%'), "{MENDED}: {said}");
    assert!(primary.ask("AUTH wrong").starts_with("-ERR unknown command"), "{MENDED}");
}

#[test]
fn what_is_moved_or_copied_wakes_nobody_who_waits_for_it() {
    let primary = Plain::primary();
    for line in [
        "LMOVE from to LEFT RIGHT",
        "RPOPLPUSH from to",
        "RENAME from to",
        "RENAMENX from to",
        "COPY from to",
    ] {
        let mut client = primary.client();
        let mut waits = primary.waiting("BLPOP to 0");
        assert_eq!(client.ask("RPUSH from x"), ":1");
        client.ask(line);
        waits.hears_nothing(line);
        assert_eq!(client.ask("LLEN to"), ":1");
        client.ask("FLUSHALL");
    }
}

#[test]
fn watch_hears_of_the_first_key_of_a_script_only() {
    let primary = Plain::primary();
    let script = "redis.call('SET', KEYS[1], '1') redis.call('SET', KEYS[2], '1')";
    let exec = |watched: &str| {
        let mut client = primary.client();
        client.ask(&format!("WATCH {watched}"));
        primary.client().ask_words(&["EVAL", script, "2", "first", "second"]);
        client.ask("MULTI");
        client.ask("PING");
        client.ask("EXEC")
    };
    assert_eq!(exec("first"), "nil");
    assert_eq!(exec("second"), "[+PONG]", "{MENDED}");
}

#[test]
fn a_transaction_with_a_blocking_command_hangs_or_is_answered_out_of_order() {
    let primary = Plain::primary();
    let mut client = primary.client();
    for line in ["MULTI", "BLPOP queue 1", "SET k v"] {
        client.ask(line);
    }
    assert_eq!(client.ask("EXEC"), "[+OK nil]", "{MENDED}");
    primary.waiting("MULTI\r\nBLPOP queue 0\r\nEXEC").hears_nothing("EXEC");
}

#[test]
fn a_blocking_command_can_be_told_that_there_is_nothing_while_there_is() {
    const BUSY: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
        local till = now() + 2000 repeat until now() >= till return 'done'";
    // Some of them come to the other shard than the list.
    const CLIENTS: usize = 16;
    let plain = Plain::with_shards(2);
    for _ in 0..2 * CLIENTS {
        plain.ask("RPUSH queue x");
    }
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| plain.client()).collect();
    let mut busy = plain.client();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(busy.ask_words(&["EVAL", BUSY, "1", "queue"]).contains("done")));
        until("its shard is busy", || {
            let mut probe = TcpStream::connect(("127.0.0.1", plain.port)).unwrap();
            probe.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            probe.write_all(b"LLEN queue\r\n").unwrap();
            probe.read(&mut [0; 16]).is_err().then_some(())
        });
        let asked: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(|| client.ask("BLPOP queue 0.05"))).collect();
        let told: Vec<String> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        assert!(told.iter().any(|said| said == "nil"), "{MENDED}: {told:?}");
    });
    let left: usize = plain.ask("LLEN queue").trim_start_matches(':').parse().unwrap();
    assert!(left >= CLIENTS, "{left}");
}

#[test]
fn a_blocking_command_in_a_script_is_an_error() {
    let primary = Plain::primary();
    for line in ["XADD s 1-1 f v", "XGROUP CREATE s g $"] {
        primary.ask(line);
    }
    for call in
        ["'BLPOP', 'queue', '1'", "'XREADGROUP', 'GROUP', 'g', 'c', 'BLOCK', '1', 'STREAMS', 's', '>'"]
    {
        let said = primary.client().ask_words(&["EVAL", &format!("return redis.call({call})"), "0"]);
        assert!(said.contains("empty RESP reply"), "{MENDED}: {said}");
    }
}

#[test]
fn geohash_of_what_is_no_sorted_set_is_answered_by_half() {
    let primary = Plain::primary();
    assert_eq!(primary.ask("SET k v"), "+OK");
    let said = primary.raw("GEOHASH k a b\r\nPING\r\n", "+PONG\r\n");
    assert!(said.starts_with("*2\r\n-WRONGTYPE"), "{MENDED}: {said}");
    assert_eq!(said.lines().count(), 3, "two answers are announced, and one comes: {said}");
}
