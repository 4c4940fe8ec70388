//! An operator hands the office over, while clients write (H7 to H11 of `docs/protocol.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::rolling::{PATIENT, all_copies, all_hold_the_same, processes};
use common::{Cluster, within};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest time for a transfer, on a machine that has other work.
const THERE_MAX: Duration = Duration::from_secs(60);

/// How often an operator asks again who is told that another node took over than the one that was named: votes decide that (H10), and
/// on a machine that has other work another one can be faster.
const ASKED_AGAIN: usize = 5;

/// Writes one key after the other to whoever takes it, until it is stopped.
struct Load {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Written>,
}

/// What was acknowledged, and the longest time between two acknowledgements.
#[derive(Default)]
struct Written {
    numbers: Vec<usize>,
    gap: Duration,
}

impl Load {
    fn start(ports: Vec<u16>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let write = move || {
            let (mut written, mut next, mut last) = (Written::default(), 0, Instant::now());
            for port in ports.iter().cycle() {
                let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
                while !ended.load(Ordering::Relaxed) {
                    let key = format!("written:{next}");
                    next += 1;
                    match client.request_borrowed(&[b"SET", key.as_bytes(), b"1"]) {
                        Ok(Reply::Simple(_)) => {
                            written.numbers.push(next - 1);
                            written.gap = written.gap.max(last.elapsed());
                            last = Instant::now();
                        }
                        _ => break,
                    }
                }
                if ended.load(Ordering::Relaxed) {
                    break;
                }
            }
            written
        };
        Self { over, thread: std::thread::spawn(write) }
    }

    fn stop(self) -> Written {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Until another node than `old` takes writes, and the rest follows it; gives its number. On a machine that has other work, nobody may come near
/// in the time that a transfer has: then the operator asks again.
fn handed_over(nodes: &[Process], old: usize, command: &str) -> usize {
    let there = within(THERE_MAX, || {
        // Refused while one is under way, or another node has just begun to follow.
        nodes[old].ask(command)?;
        let takes = |node: &usize| *node != old && nodes[*node].ask("SET probe 1").as_deref() == Some("OK");
        let new = (0..nodes.len()).find(takes)?;
        (nodes[new].ask("WAIT 2 1000")? == "2").then_some(new)
    });
    there.unwrap_or_else(|| panic!("{command} at node {old}: {:?}", nodes[old].ask(command)))
}

/// The same for an order that names node `to`: asked again where another one was faster.
fn handed_over_to(nodes: &[Process], old: usize, to: usize, command: &str) {
    let mut reigns = handed_over(nodes, old, command);
    for _ in 0..ASKED_AGAIN {
        if reigns == to {
            return;
        }
        eprintln!("{command}: node {reigns} was faster");
        reigns = handed_over(nodes, reigns, command);
    }
    assert_eq!(reigns, to, "{command}");
}

fn no_write_is_lost_and_nothing_is_copied(shards: u16, transfers: usize) {
    let cluster = Cluster::new(3, shards);
    let (nodes, mut reigns) = processes(&cluster, 500);
    let new = all_copies(&nodes);
    let load = Load::start(cluster.ports.clone());
    for number in 0..transfers {
        // To everybody in turn, and every third time to whoever is best.
        let to = (reigns + 1 + number % 2) % 3;
        let id = Cluster::id(to);
        if number % 3 == 2 {
            reigns = handed_over(&nodes, reigns, "ELECT TRANSFER");
        } else {
            handed_over_to(&nodes, reigns, to, &format!("ELECT TRANSFER {id} TIMEOUT 2000"));
            reigns = to;
        }
    }
    let written = load.stop();
    assert!(written.numbers.len() > 10 * transfers, "{} writes are no load", written.numbers.len());
    all_are_there(&nodes[reigns], &written);
    assert_eq!(all_copies(&nodes), new, "copies");
    all_hold_the_same(&nodes, primary(&nodes));
}

fn all_are_there(node: &Process, written: &Written) {
    let mut client = RespClient::connect("127.0.0.1", node.port).unwrap();
    let mut is_there = |number: &&usize| {
        let key = format!("written:{number}");
        matches!(client.request_borrowed(&[b"EXISTS", key.as_bytes()]), Ok(Reply::Int(1)))
    };
    let lost: Vec<_> = written.numbers.iter().filter(|number| !is_there(number)).collect();
    let all = written.numbers.len();
    assert!(lost.is_empty(), "{} of {all} acknowledged writes are gone: {lost:?}", lost.len());
}

/// As whoever upgrades a cluster does: every node ends in order and is started again, the next one once all have everything.
fn a_rolling_restart_loses_no_acknowledged_write(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let (mut nodes, _) = processes(&cluster, 500);
    let load = Load::start(cluster.ports.clone());
    for node in 0..3 {
        nodes[node].signal(Signal::TERM);
        assert!(nodes[node].wait().success(), "node {node}");
        nodes[node] = Process::start(&cluster, node, PATIENT);
        let whole = within(THERE_MAX, || {
            let primary = nodes.iter().find(|node| node.ask("SET probe 1").as_deref() == Some("OK"))?;
            (primary.ask("WAIT 2 1000")? == "2").then_some(())
        });
        whole.unwrap_or_else(|| panic!("node {node} is back, and not all confirm"));
    }
    let written = load.stop();
    eprintln!("{shards} shards: {} acknowledged, longest gap {:?}", written.numbers.len(), written.gap);
    assert!(written.numbers.len() > 100, "{} writes are no load", written.numbers.len());
    all_are_there(&nodes[primary(&nodes)], &written);
    // Nobody was replaced because he was silent.
    assert!(written.gap < Duration::from_secs(5), "{:?} without a write", written.gap);
}

#[test]
fn h11_a_rolling_restart_loses_no_acknowledged_write_on_one_shard() {
    a_rolling_restart_loses_no_acknowledged_write(1);
}

#[test]
fn h11_a_rolling_restart_loses_no_acknowledged_write_on_several_shards() {
    a_rolling_restart_loses_no_acknowledged_write(4);
}

#[test]
fn h9_no_acknowledged_write_is_lost_on_one_shard() {
    no_write_is_lost_and_nothing_is_copied(1, 9);
}

#[test]
fn h9_no_acknowledged_write_is_lost_on_several_shards() {
    no_write_is_lost_and_nothing_is_copied(4, 9);
}

#[test]
fn h7_what_cannot_end_well_is_refused_and_says_why() {
    let cluster = Cluster::new(3, 1);
    let (nodes, reigns) = processes(&cluster, 10);
    let other = (reigns + 1) % 3;
    let ask = |node: usize, command: &str| nodes[node].ask(command).unwrap();
    for command in ["ELECT TRANSFER", "FAILOVER", "FAILOVER TIMEOUT 100"] {
        let said = ask(other, command);
        let port = cluster.ports[reigns];
        assert!(said.contains("not primary, ask") && said.ends_with(&port.to_string()), "{command}: {said}");
    }
    let me = Cluster::id(reigns);
    let primary_id = format!("\r\nprimary:{me}\r\n");
    for (node, role) in [(reigns, "role:primary"), (other, "role:replica")] {
        let status = ask(node, "ELECT STATUS");
        assert!(status.contains(role) && status.contains(&primary_id), "{status}");
    }
    for (command, why) in [
        ("ELECT TRANSFER nobody".to_owned(), "no member of this cluster has this id"),
        (format!("ELECT TRANSFER {me}"), "it is the primary"),
        ("ELECT TRANSFER a b".to_owned(), "use ELECT TRANSFER"),
        ("FAILOVER TO 127.0.0.1 1".to_owned(), "no member has its clients at 127.0.0.1:1"),
        ("FAILOVER ABORT".to_owned(), "cannot be taken back"),
        ("FAILOVER TO 127.0.0.1 1 FORCE".to_owned(), "leave FORCE out"),
    ] {
        let said = ask(reigns, &command);
        assert!(said.contains(why), "{command}: {said}");
    }
    assert_eq!(ask(reigns, "SET still 1"), "OK", "nothing has changed");
    // As kevy writes it, and as Redis does.
    for to in [(reigns + 1) % 3, (reigns + 2) % 3] {
        let now = primary(&nodes);
        let word = if to % 2 == 0 { "TO " } else { "" };
        let failover = format!("FAILOVER {word}127.0.0.1 {}", cluster.ports[to]);
        handed_over_to(&nodes, now, to, &failover);
    }
}

/// Of what keeps a node from taking over, what a member says of itself, or does not say any more.
#[test]
fn h7_to_a_node_of_priority_0_and_to_one_that_is_not_heard_it_is_refused() {
    let cluster = Cluster::new(3, 1);
    let (never, other) = (Cluster::id(2), 1);
    let more = format!("{PATIENT}priorities = \"{never}=0,{}=200\"\n", Cluster::id(0));
    let nodes = Process::start_three(&cluster, &more);
    let reigns = primary(&nodes);
    let ask = |command: &str| nodes[reigns].ask(command).unwrap();
    let said = ask(&format!("ELECT TRANSFER {never}"));
    assert!(said.contains("its priority is 0"), "{said}");
    let target = if reigns == other { 0 } else { other };
    nodes[target].signal(Signal::STOP);
    let command = format!("ELECT TRANSFER {}", Cluster::id(target));
    let silent = within(THERE_MAX, || ask(&command).contains("it cannot be reached").then_some(()));
    let said = ask("ELECT TRANSFER");
    nodes[target].signal(Signal::CONT);
    assert!(silent.is_some(), "{said}");
    assert!(said.contains("nobody can take over") && said.contains("priority is 0"), "{said}");
}

#[test]
fn h18_the_preferred_node_gets_the_office_back_and_no_acknowledged_write_is_lost() {
    let cluster = Cluster::new(3, 1);
    let more = format!(
        "{PATIENT}failback = true\nfailback_delay_ms = 5000\npriorities = \"{}=200\"\n",
        Cluster::id(0)
    );
    let mut nodes = Process::start_three(&cluster, &more);
    let writes = |nodes: &[Process], node: usize| {
        (nodes[node].ask("SET probe 1").as_deref() == Some("OK")).then_some(())
    };
    let reigns = |nodes: &[Process]| {
        within(THERE_MAX, || {
            writes(nodes, 0)?;
            (nodes[0].ask("WAIT 2 1000")? == "2").then_some(())
        })
    };
    assert!(reigns(&nodes).is_some(), "it has the highest priority");
    let load = Load::start(cluster.ports.clone());
    nodes[0].signal(Signal::TERM);
    assert!(nodes[0].wait().success());
    let taken = within(THERE_MAX, || (1..3).find(|node| writes(&nodes, *node).is_some()));
    assert!(taken.is_some(), "somebody else takes over");
    nodes[0] = Process::start(&cluster, 0, &more);
    assert!(reigns(&nodes).is_some(), "it gets the office back");
    let written = load.stop();
    assert!(written.numbers.len() > 100, "{} writes are no load", written.numbers.len());
    all_are_there(&nodes[0], &written);
    all_hold_the_same(&nodes, 0);
}
