//! What clients began is carried out as a whole or not at all when the office goes over (F23), whichever way it does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::rolling::PATIENT;
use common::talk::Talk;
use common::{Cluster, free_port, until};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes of one transaction: they take far longer than what a gate takes to shut.
const WRITES: usize = 300;
/// Clients, each with keys of its own.
const CLIENTS: usize = 4;
/// Between two requests of a client: replicas, which run beside it, have to keep up, or nobody can take over.
const PAUSE: Duration = Duration::from_millis(5);
/// What the transactions of a client have to get on with before its node loses the office.
const WARM: usize = 3;

/// What one client does again and again: every time all of its keys grow by one.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Keys of one shard, which need not be that of the connection.
    Transaction,
    /// Keys of all shards.
    Spread,
    /// Keys that are watched, so that `EXEC` asks their shard first.
    Watched,
    Script,
}

const WORKS: [Work; CLIENTS] = [Work::Transaction, Work::Spread, Work::Watched, Work::Script];

impl Work {
    fn key(self, n: usize) -> String {
        match self {
            Self::Spread => format!("spread:{n}"),
            Self::Transaction => format!("{{plain}}:{n}"),
            Self::Watched => format!("{{watched}}:{n}"),
            Self::Script => format!("{{script}}:{n}"),
        }
    }

    /// What is sent at once, and how many answers come.
    fn request(self) -> (Vec<u8>, usize) {
        if self == Self::Script {
            let keys: String = (0..WRITES).map(|n| format!(" {}", self.key(n))).collect();
            // Without a space, as an inline command needs it.
            let script = "for\ti=1,#KEYS\tdo\tredis.call('INCR',KEYS[i])end\treturn'done'";
            return (words(&format!("EVAL {script} {WRITES}{keys}")), 1);
        }
        let mut all = match self {
            Self::Watched => words(&format!("WATCH {}", self.key(0))),
            _ => Vec::new(),
        };
        all.extend(words("MULTI"));
        (0..WRITES).for_each(|n| all.extend(words(&format!("INCR {}", self.key(n)))));
        all.extend(words("EXEC"));
        (all, WRITES + 2 + usize::from(self == Self::Watched))
    }
}

fn words(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let said = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), said.collect::<String>()).into_bytes()
}

struct Load {
    over: Arc<AtomicBool>,
    done: Arc<[AtomicUsize; CLIENTS]>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(ports: &[u16]) -> Self {
        let (over, done) =
            (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; CLIENTS]));
        let threads = WORKS.iter().enumerate().map(|(client, work)| {
            let (ports, over, done) = (ports.to_vec(), Arc::clone(&over), Arc::clone(&done));
            std::thread::spawn(move || write(&ports, *work, &over, &done[client]))
        });
        let threads = threads.collect();
        Self { over, done, threads }
    }

    /// Waits until every client got on with its work.
    fn wait(&self) {
        let before: Vec<usize> = self.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        until("every client gets on", || {
            let now = self.done.iter().zip(&before);
            now.into_iter().all(|(now, before)| now.load(Ordering::Relaxed) >= before + WARM).then_some(())
        });
    }

    /// What was answered by half.
    fn stop(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

/// Works on whatever node takes it, until it is stopped. Gives what was executed by half.
fn write(ports: &[u16], work: Work, over: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let (request, answers) = work.request();
    let mut halves = Vec::new();
    for port in ports.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
        while !over.load(Ordering::Relaxed) {
            let Ok(replies) = client.pipeline_raw(&request, answers) else { break };
            match replies.last() {
                Some(Reply::Array(results)) => {
                    let error = |result: &Reply| match result {
                        Reply::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
                        _ => None,
                    };
                    let errors: Vec<String> = results.iter().filter_map(error).collect();
                    if let Some(error) = errors.first() {
                        if errors.len() < results.len() {
                            let (refused, key) = (errors.len(), work.key(0));
                            halves
                                .push(format!("{key}: {refused} of {} were refused: {error}", results.len()));
                        }
                        break;
                    }
                }
                Some(Reply::Error(_)) | None => break,
                Some(_) => {}
            }
            done.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
    }
    halves
}

/// How the office goes over.
#[derive(Debug, Clone, Copy)]
enum Way {
    Transfer,
    Sentinel,
    Term,
}

fn goes_over_whole(shards: u16, way: Way, rounds: usize) {
    let cluster = Cluster::new(3, shards);
    let ports: Vec<u16> = (0..3).map(|_| free_port(1)).collect();
    let all: Vec<_> = ports.iter().enumerate().map(|(n, port)| format!("n{n}@127.0.0.1:{port}")).collect();
    let more = |node: usize| {
        // Nobody is to lose the office for the load of this machine: a lease that ends does cut transactions in two.
        format!("{PATIENT}sentinel = \"127.0.0.1:{}\"\nsentinel_peers = \"{}\"\n", ports[node], all.join(","))
    };
    let mut nodes: Vec<Process> = (0..3).map(|node| Process::start(&cluster, node, &more(node))).collect();
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let load = Load::start(&cluster.ports);
    for _ in 0..rounds {
        let first = primary(&nodes);
        load.wait();
        if matches!(way, Way::Term) {
            nodes[first].signal(Signal::TERM);
            nodes[first].wait();
            nodes[first] = Process::start(&cluster, first, &more(first));
        }
        until("another node takes writes", || {
            // A transfer that finds nobody near in time is over, and has to be asked for again.
            match way {
                Way::Transfer => drop(nodes[first].ask("ELECT TRANSFER")),
                Way::Sentinel => {
                    drop(Talk::connect(ports[first]).map(|mut talk| talk.ask("SENTINEL FAILOVER mymaster")))
                }
                Way::Term => {}
            }
            let others = nodes.iter().enumerate().filter(|(node, _)| *node != first);
            others.into_iter().find(|(_, node)| node.ask("SET probe 1").as_deref() == Some("OK")).map(drop)
        });
    }
    load.wait();
    let halves = load.stop();
    assert_eq!(halves, [""; 0], "{shards} shards, {way:?}");
    // What was executed by half and not answered is by half in the data.
    let last = primary(&nodes);
    for work in WORKS {
        let values: Vec<_> = (0..WRITES).map(|n| nodes[last].ask(&format!("GET {}", work.key(n)))).collect();
        let (low, high) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        assert_eq!(low, high, "{shards} shards, {way:?}: {}", work.key(0));
    }
}

#[test]
fn a_transfer_cuts_no_transaction_and_no_script_in_two() {
    goes_over_whole(1, Way::Transfer, 4);
}

#[test]
fn a_failover_that_is_asked_of_sentinels_cuts_none_in_two() {
    goes_over_whole(1, Way::Sentinel, 4);
}

#[test]
fn a_process_that_ends_in_order_cuts_none_in_two() {
    goes_over_whole(1, Way::Term, 4);
}

#[test]
fn nor_between_several_shards() {
    goes_over_whole(2, Way::Transfer, 4);
    goes_over_whole(2, Way::Term, 2);
}
