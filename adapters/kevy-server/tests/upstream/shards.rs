//! A shard that stands still, or does not.

use super::*;

#[test]
fn replicaof_holds_up_every_client_while_an_old_upstream_is_silent() {
    let primary = Plain::primary();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(primary.ask(&format!("REPLICAOF 127.0.0.1 {port}")), "+OK");
    let _dialled = silent.accept().unwrap();
    let (mut steers, mut pings) = (primary.client(), primary.client());
    let thread = std::thread::spawn(move || steers.ask("REPLICAOF NO ONE"));
    let mut longest = Duration::ZERO;
    until("the order is carried out", || {
        let begun = Instant::now();
        assert_eq!(pings.ask("PING"), "+PONG");
        longest = longest.max(begun.elapsed());
        thread.is_finished().then_some(())
    });
    assert!(longest > Duration::from_secs(1), "{MENDED}: {longest:?}");
}

#[test]
fn hz_0_stops_more_than_the_expiry_of_keys() {
    let primary = Plain::with("primary", "", "[expiry]\nhz = 0\n");
    let mut stream = TcpStream::connect(("127.0.0.1", primary.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"SET k v\r\n").unwrap();
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).unwrap();
    stream.set_read_timeout(Some(NOTHING)).unwrap();
    stream.write_all(b"WAIT 1 1\r\n").unwrap();
    let error = stream.read(&mut reply).expect_err(MENDED);
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_connection_that_is_reset_with_an_answer_unread_can_leave_a_shard_spinning() {
    let primary = Plain::primary();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(("127.0.0.1", primary.port)).unwrap();
        stream.write_all(b"*1\r\n$4\r\nROLE\r\n").unwrap();
        // With no time to linger, closing resets.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    assert!(primary.spins(), "{MENDED}");
}

#[test]
fn a_server_without_descriptors_burns_a_processor() {
    let mut primary = Plain::primary();
    primary.restart("ulimit -n 64;");
    let connect = || TcpStream::connect(("127.0.0.1", primary.port)).ok();
    let _idle: Vec<_> = (0..120).map_while(|_| connect()).collect();
    assert!(primary.spins(), "{MENDED}");
}

#[test]
fn a_log_that_cannot_be_written_is_tried_again_without_a_pause() {
    let mut primary = Plain::primary();
    // Half a megabyte, in the shell's blocks. What it says may be as long.
    primary.restart("trap '' XFSZ; ulimit -f 1024;");
    let value = "x".repeat(60_000);
    for n in 0..12 {
        assert_eq!(primary.ask(&format!("SET k{n} {value}")), "+OK");
    }
    let attempts = || {
        let log = std::fs::read(primary.dir.0.join("log")).unwrap();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains("aof")).count()
    };
    until("it has tried a thousand times", || (attempts() > 1000).then_some(()));
}

#[test]
fn a_port_that_a_dead_process_still_holds_ends_a_server_that_starts() {
    let mut primary = Plain::primary();
    primary.child.kill().unwrap();
    primary.child.wait().unwrap();
    // The kernel's part is played by this process.
    let held = until("the port is free", || TcpListener::bind(("0.0.0.0", primary.port)).ok());
    let begun = Instant::now();
    primary.child = Plain::spawn(&primary.dir, "");
    let ended = until("the server ends", || primary.child.try_wait().unwrap());
    assert!(!ended.success() && begun.elapsed() < PATIENCE, "{MENDED}");
    drop(held);
    let log = std::fs::read_to_string(primary.dir.0.join("log")).unwrap();
    assert!(log.contains("Address already in use"), "{log}");
}
