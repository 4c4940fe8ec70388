//! kevy writes records of more words than it reads (`kevy_resp::MAX_MULTIBULK_LEN`): none is streamed, and a restart drops it and all
//! that is behind it in the log. So none is made where that can be avoided, and where one is, it does not stay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::Process;
use common::{Client, Cluster, within};
use rustix::process::Signal;
use std::time::Duration;

/// A log with a million words is read in a second, and in many without optimization on a busy machine.
const READ_PATIENCE: Duration = Duration::from_secs(120);

/// Three nodes, the first of them the primary.
fn three(cluster: &Cluster) -> Vec<Process> {
    // What takes long here takes longer on a busy machine, and is no reason to hand over.
    let more = "election_timeout_ms = 5000\nshard_timeout_ms = 60000\nwatchdog = false\n";
    let mut nodes = Process::start_three(cluster, more);
    let takes = |node: &Process| node.ask("SET probe 1").as_deref() == Some("OK");
    let first = within(READ_PATIENCE, || nodes.iter().position(takes)).unwrap();
    nodes.swap(0, first);
    nodes
}

/// Waits until `condition` gives something, for as long as a million words may take.
#[track_caller]
fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(READ_PATIENCE, condition).unwrap_or_else(|| panic!("waited in vain until {what}"))
}

/// Waits until both replicas have all.
#[track_caller]
fn confirmed(node: &Process) {
    until("both replicas have all", || (node.ask("WAIT 2 1000")? == "2").then_some(()));
}

/// Kills all nodes and starts them again.
fn restart(cluster: &Cluster, mut nodes: Vec<Process>) -> Vec<Process> {
    for node in &mut nodes {
        node.signal(Signal::KILL);
        node.wait();
    }
    three(cluster)
}

/// D2
#[test]
fn a_script_writes_no_more_than_one_record_holds_and_is_told_so() {
    let cluster = Cluster::new(3, 1);
    let nodes = three(&cluster);
    confirmed(&nodes[0]);
    let mut client = Client::connect(nodes[0].port);
    // A thousand words in each call.
    let script = "local many={} for i=1,1000 do many[i]='v' end \
                  for i=1,1100 do redis.call('RPUSH',KEYS[1]..i,unpack(many)) end";
    let reply = client.ask_words(&["EVAL", script, "1", "written"]);
    assert!(reply.contains("as much as one record holds"), "{reply}");
    assert_eq!(client.ask("SET behind v"), "+OK");
    let there = nodes[0].ask("DBSIZE").unwrap();
    assert!(there.parse::<usize>().unwrap() > 1_000, "what it wrote until then stays: {there}");
    confirmed(&nodes[0]);
    for node in &nodes[1..] {
        until("it is applied", || (node.ask("DBSIZE")? == there).then_some(()));
    }
    let nodes = restart(&cluster, nodes);
    assert_eq!(nodes[0].ask("GET behind").as_deref(), Some("v"));
    assert_eq!(nodes[0].ask("GET probe").as_deref(), Some("1"));
    assert_eq!(nodes[0].ask("DBSIZE"), Some(there));
}

/// S14. A record of a client's own words, with the end of one of its keys in front.
#[test]
fn a_record_that_nobody_can_read_is_copied_around_and_leaves_the_log() {
    const VALUES: usize = kevy_resp::MAX_MULTIBULK_LEN - 2;
    let cluster = Cluster::new(3, 1);
    let nodes = three(&cluster);
    confirmed(&nodes[0]);
    let mut client = Client::connect(nodes[0].port);
    let all: Vec<&str> = ["RPUSH", "ended"].into_iter().chain(std::iter::repeat_n("v", VALUES)).collect();
    let wait = "local s=redis.call('TIME') repeat local t=redis.call('TIME') until t[1]*1000+t[2]/1000>s[1]*1000+s[2]/1000+50";
    client.ask("MULTI");
    for words in [
        &["SET", "ended", "v", "PX", "1"][..],
        &["EVAL", wait, "0"],
        &["PTTL", "ended"],
        &["GET", "ended"],
        &all,
    ] {
        assert!(client.ask_words(words).contains("QUEUED"));
    }
    let answers = client.ask("EXEC");
    assert!(answers.ends_with(&format!("nil :{VALUES}]")), "it ended, and was made again: {answers}");
    assert_eq!(client.ask("SET behind v"), "+OK");
    confirmed(&nodes[0]);
    until("the log is written anew", || {
        let info = nodes[0].ask("INFO persistence")?;
        (info.contains("aof_rewrite_in_progress:0") && !info.contains("aof_rewrites_total:0\r")).then_some(())
    });
    let nodes = restart(&cluster, nodes);
    assert_eq!(nodes[0].ask("GET behind").as_deref(), Some("v"));
    assert_eq!(nodes[0].ask("LLEN ended"), Some(VALUES.to_string()));
}
