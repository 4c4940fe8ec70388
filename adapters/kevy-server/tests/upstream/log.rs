//! The log.

use super::*;

#[test]
fn the_log_of_a_replica_ends_with_the_copy_where_a_thread_writes_it() {
    let primary = Plain::primary();
    assert_eq!(primary.client().ask("SET before 1"), "+OK");
    let mut replica = Plain::replica(Some(&primary), "");
    replica.restart("KEVY_IO_URING=0");
    until("the copy is there", || (replica.client().ask("GET before") == "1").then_some(()));
    assert_eq!(primary.client().ask("SET after 1"), "+OK");
    until("the frame is there", || (replica.client().ask("GET after") == "1").then_some(()));
    let has = |word: &[u8]| {
        let log = std::fs::read(replica.dir.0.join("aof-0.aof")).unwrap_or_default();
        log.windows(word.len()).any(|at| at == word)
    };
    until("the copy is in the log", || has(b"before").then_some(()));
    // The log is written once a second.
    std::thread::sleep(Duration::from_secs(3));
    assert!(!has(b"after"), "{MENDED}");
}

/// Where there is no io_uring the fault is not there, and the test sees that instead.
#[test]
fn a_copy_that_comes_while_the_log_is_written_on_io_uring_spoils_a_record() {
    let (primary, replica) = pair("");
    let log = || std::fs::read_to_string(replica.dir.0.join("log")).unwrap();
    let mut client = primary.client();
    let begun = Instant::now();
    let mut failed = false;
    while !failed && begun.elapsed() < PATIENCE {
        for n in 0..200 {
            assert_eq!(client.ask(&format!("SET k{n} {}", "x".repeat(500))), "+OK");
        }
        // The stream begins anew, with a copy.
        assert_eq!(client.ask("FLUSHALL"), "+OK");
        failed = log().contains("aof offload write failed: errno 9");
    }
    assert_eq!(failed, log().contains("reactor = io_uring"), "{MENDED}");
}

#[test]
fn a_log_that_is_damaged_in_its_middle_is_cut_off_there_and_served() {
    let mut primary = Plain::primary();
    for n in 0..1000 {
        assert_eq!(primary.client().ask(&format!("SET k{n} v")), "+OK");
    }
    let path = primary.dir.0.join("aof-0.aof");
    until("the log is written", || {
        std::fs::read(&path).unwrap().windows(4).any(|at| at == b"k999").then_some(())
    });
    primary.child.kill().unwrap();
    primary.child.wait().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    primary.child = Plain::spawn(&primary.dir, "");
    primary.accepts();
    let said = until("it has read its log", || {
        Some(primary.ask("SET new 1")).filter(|said| !said.starts_with("-LOADING"))
    });
    assert_eq!(said, "+OK", "{MENDED}");
    assert_eq!(
        (primary.ask("GET k0"), primary.ask("GET k999")),
        ("v".to_owned(), "nil".to_owned()),
        "{MENDED}"
    );
}

#[test]
fn writes_are_acknowledged_while_the_log_cannot_be_written() {
    let mut primary = Plain::primary();
    // As good as a full disk, for this process alone; its own words would not fit either.
    primary.restart("trap '' XFSZ; ulimit -f 64; exec 2> /dev/null;");
    let (mut client, value) = (primary.client(), "x".repeat(1000));
    for i in 0..400 {
        assert_eq!(client.ask(&format!("SET k{i} {value}")), "+OK", "{MENDED}");
    }
    primary.restart("");
    let keys = until("it has read its log", || primary.ask("DBSIZE").strip_prefix(':')?.parse::<u64>().ok());
    assert!(keys < 400, "{MENDED}");
}

#[test]
fn a_log_that_cannot_be_written_ends_the_server_where_the_shard_writes_it() {
    let mut primary = Plain::with("primary", "", "[persistence]\nappendfsync = \"always\"");
    primary.restart("trap '' XFSZ; ulimit -f 64; export KEVY_IO_URING=0 KEVY_AOF_OFFLOAD=0;");
    let mut client = RespClient::connect("127.0.0.1", primary.port).unwrap();
    let value = "x".repeat(1000);
    let answered = (0..400).take_while(|i| {
        let key = format!("k{i}");
        client.request_borrowed(&[b"SET", key.as_bytes(), value.as_bytes()]).is_ok()
    });
    assert!(answered.count() < 400, "{MENDED}");
    let ended = until("the server has ended", || primary.child.try_wait().unwrap());
    let log = std::fs::read_to_string(primary.dir.0.join("log")).unwrap();
    assert!(!ended.success() && log.contains("shard 0 exited with error"), "{MENDED}: {ended:?} {log}");
}

#[test]
fn a_string_that_has_grown_beyond_what_is_read_is_lost_with_all_behind_it() {
    let mut primary = Plain::with("primary", "", "[persistence]\nappendfsync = \"always\"");
    let largest = kevy_resp::MAX_BULK_LEN;
    assert_eq!(primary.ask(&format!("SETRANGE grown {} x", largest - 1)), format!(":{largest}"));
    assert_eq!(primary.ask("APPEND grown x"), format!(":{}", largest + 1), "{MENDED}");
    let log = || std::fs::metadata(primary.dir.0.join("aof-0.aof")).map_or(0, |log| log.len());
    primary.ask("BGREWRITEAOF");
    until("it is written anew", || (log() > largest as u64).then_some(()));
    assert_eq!(primary.ask("SET behind it"), "+OK");
    primary.restart("");
    let keys = until("it has read its log", || primary.ask("DBSIZE").strip_prefix(':')?.parse::<u64>().ok());
    assert_eq!(keys, 0, "{MENDED}");
}
