//! Who is far behind, or is overtaken by the next failover, goes on without a copy all the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::following::{continuations, copies, follow_all, let_go, three, whole};
use common::{Cluster, write_keys};
use kevy_resp_client::RespClient;

/// Frames by the thousand are asked for with several questions at once, and some answers have fewer than were asked for: frames are larger there.
#[test]
fn who_is_far_behind_fetches_frames_of_all_sizes() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = three(&cluster);
    let before = [copies(&a), copies(&b), copies(&c)];
    c.host.detach();
    let mut client = RespClient::connect("127.0.0.1", a.port).unwrap();
    for (part, size) in [10, 10, 10, 10, 10, 2_000, 10, 2_000, 2_000, 10, 300].into_iter().enumerate() {
        let sets: String = (0..2_000).map(|n| format!("SET far{part}:{n} {n:0size$}\r\n")).collect();
        assert_eq!(client.pipeline_raw(sets.as_bytes(), 2_000).unwrap().len(), 2_000);
        whole(&a, &[&b], "without c");
    }
    let_go(&a, &[&b]);
    b.promote(4);
    follow_all(&b, 4, &[&c, &a]);
    whole(&b, &[&a, &c], "with c");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before, "nobody copied");
}

/// Nobody waits for the third one: each order to follow comes before it could carry out the one before.
fn who_is_overtaken_by_failovers_continues_with_the_last(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let [a, b, c] = three(&cluster);
    let before = [copies(&a), copies(&b), copies(&c)];
    let (mut primary, mut replica) = (&a, &b);
    for epoch in 4..12 {
        write_keys(&mut primary.client(), &format!("of{epoch}:"), 30);
        whole(primary, &[replica], "two are enough");
        let_go(primary, &[replica, &c]);
        (primary, replica) = (replica, primary);
        primary.promote(epoch);
        c.follow(epoch, primary);
        follow_all(primary, epoch, &[replica]);
    }
    c.wait_joined(11);
    whole(primary, &[replica, &c], "all");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before, "nobody copied");
}

#[test]
fn who_is_overtaken_by_failovers_continues_with_the_last_on_one_shard() {
    who_is_overtaken_by_failovers_continues_with_the_last(1);
}

#[test]
fn who_is_overtaken_by_failovers_continues_with_the_last_on_several_shards() {
    who_is_overtaken_by_failovers_continues_with_the_last(2);
}

/// Nobody of the two who write now has met the one who comes back.
#[test]
fn who_missed_several_failovers_goes_through_all_of_their_histories() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = three(&cluster);
    c.stop();
    let (mut primary, mut replica) = (&a, &b);
    for epoch in 4..9 {
        write_keys(&mut primary.client(), &format!("of{epoch}:"), 30);
        whole(primary, &[replica], "two are left");
        let_go(primary, &[replica]);
        (primary, replica) = (replica, primary);
        primary.promote(epoch);
        follow_all(primary, epoch, &[replica]);
    }
    let before = [copies(&a), copies(&b)];
    let c = cluster.start(2);
    follow_all(primary, 8, &[&c]);
    whole(primary, &[replica, &c], "all");
    assert_eq!([copies(&a), copies(&b)], before);
    // What the last primary wrote itself in earlier reigns, the other one received.
    assert_eq!((copies(&c), continuations(&c)), (0, 1));
}

/// Rings and paths are in memory, and in the logs.
#[test]
fn who_was_away_continues_after_all_were_restarted() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = three(&cluster);
    c.stop();
    write_keys(&mut a.client(), "of3:", 100);
    whole(&a, &[&b], "two are left");
    let_go(&a, &[&b]);
    b.promote(4);
    write_keys(&mut b.client(), "of4:", 100);
    follow_all(&b, 4, &[&a]);
    whole(&b, &[&a], "in the next history");
    let_go(&b, &[&a]);
    a.stop();
    b.stop();
    let (a, b, c) = (cluster.start(0), cluster.start(1), cluster.start(2));
    b.promote(5);
    // Before the first write: a node that reigns as soon as it has started keeps no beginning for who comes later (C10).
    follow_all(&b, 5, &[&a, &c]);
    write_keys(&mut b.client(), "of5:", 100);
    whole(&b, &[&a, &c], "all");
    assert_eq!([copies(&a), copies(&b), copies(&c)], [0, 0, 0]);
    assert_eq!(c.client().ask("GET of3:99"), "99");
}
