//! Going on in another primary's history without a copy: who may, who must not, and that all hold the same afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::following::{continuations, copies, follow_all, let_go, three, whole};
use common::process::Process;
use common::rolling::{PATIENT, all_copies, all_hold_the_same, processes, told_by, write_many};
use common::{Cluster, Node, until, until_reads, write_keys};
use kevy_elect_plugin::host::FenceReason;
use rustix::process::Signal;

/// The one who takes over holds everything, and so do the others: nobody copies, neither the one who comes at once nor the one
/// who comes when much was written already.
fn equal_replicas_continue(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let [a, b, c] = three(&cluster);
    let before = [copies(&a), copies(&b), copies(&c)];
    a.fence(FenceReason::StepDown);
    b.host.detach();
    c.host.detach();
    b.promote(4);
    write_keys(&mut b.client(), "l", 20);
    c.follow(4, &b);
    c.wait_joined(4);
    whole(&b, &[&c], "second");
    write_keys(&mut b.client(), "m", 200);
    a.follow(4, &b);
    a.wait_joined(4);
    whole(&b, &[&a, &c], "third");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before, "nobody copied");
    assert_eq!([continuations(&a), continuations(&c)], [u64::from(shards); 2]);
    // And back.
    b.fence(FenceReason::StepDown);
    a.host.detach();
    c.host.detach();
    a.promote(5);
    for replica in [&b, &c] {
        replica.follow(5, &a);
        replica.wait_joined(5);
    }
    whole(&a, &[&b, &c], "fourth");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before, "nobody copied");
}

#[test]
fn equal_replicas_continue_on_one_shard() {
    equal_replicas_continue(1);
}

#[test]
fn equal_replicas_continue_on_several_shards() {
    equal_replicas_continue(3);
}

/// What the one who takes over holds, and another survivor does not, is kept for it.
fn who_is_behind_fetches_what_it_lacks(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let [a, b, c] = three(&cluster);
    let before = [copies(&a), copies(&b), copies(&c)];
    c.host.detach();
    write_keys(&mut a.client(), "lacking", 300);
    whole(&a, &[&b], "without c");
    let_go(&a, &[&b]);
    b.promote(4);
    write_keys(&mut b.client(), "new", 50);
    follow_all(&b, 4, &[&c, &a]);
    whole(&b, &[&a, &c], "with c");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before, "nobody copied");
    assert_eq!(continuations(&c), u64::from(shards));
}

#[test]
fn who_is_behind_fetches_what_it_lacks_on_one_shard() {
    who_is_behind_fetches_what_it_lacks(1);
}

#[test]
fn who_is_behind_fetches_what_it_lacks_on_several_shards() {
    who_is_behind_fetches_what_it_lacks(2);
}

const NO_BUFFER: &str = "continue_buffer_mb = 0\n";

/// Nobody keeps what it received. The first has resigned, the second holds everything, the third lacks the end of it.
fn behind_without_a_buffer(cluster: &Cluster) -> [Node; 3] {
    let [a, b, c] = [0, 1, 2].map(|node| cluster.start_with(node, NO_BUFFER));
    a.promote(3);
    follow_all(&a, 3, &[&b, &c]);
    write_keys(&mut a.client(), "k", 20);
    whole(&a, &[&b, &c], "first");
    c.host.detach();
    write_keys(&mut a.client(), "l", 20);
    whole(&a, &[&b], "without c");
    let_go(&a, &[&b]);
    [a, b, c]
}

#[test]
fn what_is_not_kept_any_more_is_copied() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = behind_without_a_buffer(&cluster);
    // Its own frames are gone with its process.
    a.stop();
    b.promote(4);
    let a = cluster.start_with(0, NO_BUFFER);
    let before = copies(&c);
    follow_all(&b, 4, &[&a, &c]);
    whole(&b, &[&a, &c], "second");
    assert_eq!([copies(&a), copies(&c)], [0, before + 1]);
}

/// It wrote what nobody received; the history that counts has as many frames by now, and other ones.
#[test]
fn a_fork_is_copied_also_where_it_is_as_long() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = three(&cluster);
    // Behind what the others have.
    b.host.detach();
    c.host.detach();
    write_keys(&mut a.client(), "lost", 5);
    a.fence(FenceReason::Deposed);
    b.promote(4);
    write_keys(&mut b.client(), "kept", 5);
    let before = [copies(&a), copies(&b), copies(&c)];
    follow_all(&b, 4, &[&a, &c]);
    whole(&b, &[&a, &c], "a copies");
    assert_eq!(a.client().ask("EXISTS lost0"), ":0");
    assert_eq!([copies(&a), copies(&b), copies(&c)], [before[0] + 1, before[1], before[2]]);
    // Two histories that begin at one place, and are equally long.
    b.fence(FenceReason::Deposed);
    a.host.detach();
    c.host.detach();
    c.promote(6);
    b.promote(5);
    for node in [&b, &c] {
        write_keys(&mut node.client(), &node.id.to_string(), 7);
    }
    let before = [copies(&a), copies(&b)];
    b.fence(FenceReason::Deposed);
    follow_all(&c, 6, &[&a, &b]);
    whole(&c, &[&a, &b], "b copies");
    assert_eq!(b.client().ask("EXISTS n10"), ":0");
    assert_eq!([copies(&a), copies(&b)], [before[0], before[1] + 1]);
}

/// A node that was stopped in order goes on where it stood: in the same history, or in the next one.
fn who_was_stopped_in_order_continues(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let [a, b, c] = three(&cluster);
    c.stop();
    write_keys(&mut a.client(), "without", 100);
    let c = cluster.start(2);
    follow_all(&a, 3, &[&c]);
    whole(&a, &[&b, &c], "c is back");
    assert_eq!((copies(&c), continuations(&c)), (0, u64::from(shards)), "in the same history");
    c.stop();
    write_keys(&mut a.client(), "more", 100);
    whole(&a, &[&b], "without c again");
    let_go(&a, &[&b]);
    b.promote(4);
    // The old primary restarts at the same time.
    a.stop();
    write_keys(&mut b.client(), "new", 100);
    let (a, c) = (cluster.start(0), cluster.start(2));
    follow_all(&b, 4, &[&a, &c]);
    whole(&b, &[&a, &c], "all are back");
    assert_eq!([copies(&a), copies(&c)], [0, 0], "in the next history");
    // And the one who reigns: everybody was restarted once.
    let_go(&b, &[&a, &c]);
    c.promote(5);
    b.stop();
    let b = cluster.start(1);
    follow_all(&c, 5, &[&a, &b]);
    whole(&c, &[&a, &b], "everybody was restarted");
    assert_eq!([copies(&a), copies(&b), copies(&c)], [0, 0, 0]);
}

#[test]
fn who_was_stopped_in_order_continues_on_one_shard() {
    who_was_stopped_in_order_continues(1);
}

#[test]
fn who_was_stopped_in_order_continues_on_several_shards() {
    who_was_stopped_in_order_continues(2);
}

/// What was written last of a history that ended is with who wrote it, until that one reigns again.
#[test]
fn who_was_away_gets_from_a_former_primary_what_only_that_one_has() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = behind_without_a_buffer(&cluster);
    b.promote(4);
    let before = [copies(&a), copies(&c)];
    follow_all(&b, 4, &[&a, &c]);
    whole(&b, &[&a, &c], "second");
    assert_eq!([copies(&a), copies(&c)], before, "nobody keeps what it received here");
}

#[test]
fn a_flush_is_no_prefix_and_what_comes_after_it_is_continued() {
    let cluster = Cluster::new(3, 1);
    let [a, b, c] = three(&cluster);
    c.stop();
    let mut client = a.client();
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    write_keys(&mut client, "after", 20);
    whole(&a, &[&b], "flushed");
    let c = cluster.start(2);
    follow_all(&a, 3, &[&c]);
    whole(&a, &[&b, &c], "c is back");
    assert_eq!(copies(&c), 1);
    let before = [copies(&a), copies(&b), copies(&c)];
    let_go(&a, &[&b, &c]);
    b.promote(4);
    follow_all(&b, 4, &[&a, &c]);
    whole(&b, &[&a, &c], "the next reign");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before);
}

/// After a `kill -9` the other survivor goes on at once, and the one who was killed fetches what it lacks, if it had nothing that
/// nobody else received.
fn survivors_of_a_kill_continue(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let (mut nodes, first) = processes(&cluster, 2_000);
    let before = all_copies(&nodes);
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    let survivors: Vec<usize> = (0..3).filter(|i| *i != first).collect();
    let second = until("a survivor takes writes", || {
        survivors.iter().copied().find(|i| nodes[*i].ask("SET probe 1").as_deref() == Some("OK"))
    });
    until("it is confirmed", || (nodes[second].ask("WAIT 1 1000")? == "1").then_some(()));
    for survivor in &survivors {
        assert_eq!(told_by(&nodes[*survivor], "elect_copies"), before[*survivor], "node {survivor} copied");
    }
    write_many(&nodes[second], "l", 500);
    nodes[first] = Process::start(&cluster, first, PATIENT);
    all_hold_the_same(&nodes, second);
    // With several it may have put a cut into its streams that nobody received, which changes no data.
    assert_eq!(told_by(&nodes[first], "elect_copies"), 0, "it held a prefix");
}

#[test]
fn survivors_of_a_kill_continue_on_one_shard() {
    survivors_of_a_kill_continue(1);
}

#[test]
fn survivors_of_a_kill_continue_on_several_shards() {
    survivors_of_a_kill_continue(2);
}

/// What a survivor received, and the one who takes over did not, is not lost: so it needs no copy either.
#[test]
fn who_takes_over_several_shards_takes_what_others_received() {
    let cluster = Cluster::new(3, 3);
    // It waits for a fortieth of this, and the machine may be busy.
    let patient = "election_timeout_ms = 60000\n";
    let (a, b, c) =
        (cluster.start_with(0, patient), cluster.start_with(1, patient), cluster.start_with(2, patient));
    a.promote(3);
    follow_all(&a, 3, &[&b, &c]);
    whole(&a, &[&b, &c], "first");
    let before = [copies(&a), copies(&b), copies(&c)];
    c.host.detach();
    write_keys(&mut a.client(), "behind", 100);
    whole(&a, &[&b], "without c");
    let_go(&a, &[&b]);
    a.stop();
    c.promote(4);
    assert_eq!(c.client().ask("GET behind99"), "99");
    follow_all(&c, 4, &[&b]);
    whole(&c, &[&b], "two are left");
    assert_eq!([copies(&b), copies(&c)], before[1..]);
    let a = cluster.start_with(0, patient);
    follow_all(&c, 4, &[&a]);
    whole(&c, &[&a, &b], "all");
    // It may have put a cut into its streams that nobody received.
    assert_eq!(copies(&a), 0);
}

/// Who takes office for a moment, with nobody following, writes cuts at most. They change no data, so it goes on under the next one.
#[test]
fn who_reigned_over_nothing_but_cuts_continues() {
    let cluster = Cluster::new(3, 2);
    let [a, b, c] = three(&cluster);
    let before = [copies(&a), copies(&b), copies(&c)];
    let_go(&a, &[&b, &c]);
    b.promote(4);
    // Somebody waits, and so each shard's stream gets a cut.
    let mut client = b.client();
    for shard in 0..2 {
        until("there is a cut", || {
            client.ask("WAIT 1 1");
            let tail = client.ask_list(&format!("FEED.TAIL {shard}"));
            (tail[1] != ":0").then_some(())
        });
    }
    let_go(&b, &[]);
    c.promote(5);
    write_keys(&mut c.client(), "after", 20);
    follow_all(&c, 5, &[&a, &b]);
    whole(&c, &[&a, &b], "all");
    assert_eq!([copies(&a), copies(&b), copies(&c)], before, "nobody copied");
}
