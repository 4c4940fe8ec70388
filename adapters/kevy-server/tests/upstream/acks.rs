//! Acknowledgements.

use super::*;

#[test]
fn wait_believes_any_offset_of_anybody() {
    let primary = Plain::primary();
    let mut stranger = primary.feed("somebody");
    // What is acknowledged before the stream has begun is passed over.
    stranger.until_mark(&primary, "begun");
    stranger.client.send_ack(1_000_000).unwrap();
    assert_eq!(primary.ask("SET k v"), "+OK");
    assert_eq!(primary.ask("WAIT 1 20000"), ":1", "{MENDED}: it has not read this");
}

#[test]
fn the_name_of_a_replica_can_end_the_server() {
    let mut primary = Plain::primary();
    assert_eq!(primary.ask("SET k v"), "+OK");
    let mut stranger = TcpStream::connect(("127.0.0.1", primary.port + 10_000)).unwrap();
    let words: [&[u8]; 6] = [b"REPLICATE", b"FROM", b"0", b"0", b"ID", b"a\0b"];
    let mut request = b"*6\r\n".to_vec();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).as_bytes());
        request.extend([word, b"\r\n"].concat());
    }
    stranger.write_all(&request).unwrap();
    until(&format!("{MENDED}: the server ends"), || primary.child.try_wait().unwrap());
}

#[test]
fn an_acknowledgement_outlives_the_stream_that_it_was_for() {
    let primary = Plain::primary();
    let mut honest = primary.feed("replica");
    for mark in ["a", "b", "c", "d"] {
        honest.until_mark(&primary, mark);
    }
    let all = honest.client.expected_offset();
    honest.client.send_ack(all).unwrap();
    assert_eq!(primary.ask("WAIT 1 20000"), ":1");
    assert_eq!(primary.ask("FLUSHALL"), "+OK");
    // The stream begins anew at 0; what is acknowledged of it is nothing.
    let again = primary.feed("replica");
    assert_eq!(primary.ask("SET after 1"), "+OK");
    assert_eq!(primary.ask("WAIT 1 20000"), ":1", "{MENDED}");
    drop((honest, again));
}

#[test]
fn two_replicas_of_one_name_are_one() {
    let primary = Plain::primary();
    let mut feeds = [primary.feed("kevy-replica-6004"), primary.feed("kevy-replica-6004")];
    for feed in &mut feeds {
        feed.until_mark(&primary, "k");
        let next = feed.client.expected_offset();
        feed.client.send_ack(next + 10).unwrap();
    }
    assert_eq!(primary.ask("WAIT 1 20000"), ":1");
    assert_eq!(primary.ask("WAIT 2 700"), ":1", "{MENDED}");
}

#[test]
fn flushall_and_a_promotion_empty_the_backlog() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "k");
    let mut from = feed.client.primary_at_handshake();
    from.offset = feed.client.expected_offset();
    drop(feed);
    let resume = |from| {
        let mut feed = Feed::connect(&primary, ConnectOptions::new("reader").with_from(from));
        feed.until_mark(&primary, "more");
        feed.snapshot
    };
    assert!(!resume(from), "what is in the backlog needs no snapshot");
    assert_eq!(primary.ask("FLUSHALL"), "+OK");
    assert!(resume(from), "{MENDED}");
}

#[test]
fn wait_is_answered_long_after_the_acknowledgement() {
    let (primary, _replica) = pair("");
    let mut client = primary.client();
    let mut waited = Duration::ZERO;
    for n in 0..10 {
        assert_eq!(client.ask(&format!("SET k {n}")), "+OK");
        let begun = Instant::now();
        assert_eq!(client.ask("WAIT 1 20000"), ":1");
        waited += begun.elapsed();
    }
    // The way there and back takes a tenth of a millisecond.
    assert!(waited > Duration::from_millis(200), "{MENDED}: ten took {waited:?}");
}

#[test]
fn a_frame_waits_for_a_delayed_acknowledgement_of_the_one_before() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begun");
    let mut client = primary.client();
    let mut late = || {
        assert_eq!(client.ask("SET first 1"), "+OK");
        std::thread::sleep(Duration::from_millis(1));
        let begun = Instant::now();
        feed.until_mark(&primary, "second");
        let late = begun.elapsed() > Duration::from_millis(35);
        let next = feed.client.expected_offset();
        feed.client.send_ack(next).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        late
    };
    // On a busy machine the second one is sent when the first one has been acknowledged already.
    until(&format!("most of 20 are late; if not, {MENDED}"), || {
        ((0..20).filter(|_| late()).count() > 10).then_some(())
    });
}
