//! A cluster with keys, pages and Sentinel's protocol, somebody who writes to it, and what an attack may cost it.

use crate::common::metrics::{labelled, scraped};
use crate::common::process::{Process, primary};
use crate::common::secured::Secured;
use crate::common::{Cluster, until, within};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// How long each attack lasts before it is looked at.
const ATTACK: Duration = Duration::from_millis(1500);
/// How often a primary is killed without an attack, and with one.
const NORMAL: usize = 3;
const ATTACKED: usize = 2;
/// So often at most, where it took longer than it may: a machine that has other work is slow now and then, and an attack that costs too much
/// costs it each time.
const ATTACKED_MAX: usize = 5;
/// On a machine with other work everything takes so much longer now and then, attacked or not.
const JITTER: Duration = Duration::from_millis(150);
/// How long what an attack took may stay taken after its end.
const GIVEN_BACK: Duration = Duration::from_secs(30);

/// Who attacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Nobody: neither role nor epoch may change.
    Stranger,
    /// A member in its own name, with its key. It is the last node, whose process does not run.
    Member,
}

/// What an attack may cost each node while it goes on.
#[derive(Clone, Copy)]
pub struct Cost {
    pub memory_mb: u64,
    pub descriptors: usize,
    pub log_kb: u64,
}

pub struct Attack {
    pub name: &'static str,
    /// What each of these threads does until it is told to end.
    pub run: fn(&Addresses, usize, &AtomicBool),
    pub threads: usize,
    pub cost: Cost,
    /// The counter of what was too much, and a label of it; its row in `docs/limits.md` names it.
    pub counted: Option<(&'static str, &'static str)>,
}

impl Attack {
    fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        doors: &'scope Addresses,
        on: &'scope AtomicBool,
    ) {
        for thread in 0..self.threads {
            scope.spawn(move || {
                // As if it came from elsewhere: it takes no processor from those whom it attacks.
                let _ = rustix::process::nice(19);
                (self.run)(doors, thread, on);
            });
        }
    }
}

/// Where a cluster can be reached, and what an attacker who is a member knows.
pub struct Addresses {
    pub secured: Secured,
    pub pages: Vec<u16>,
    pub sentinels: Vec<u16>,
    /// How many of the nodes run.
    pub running: usize,
}

impl Addresses {
    pub fn election(&self, node: usize) -> u16 {
        self.secured.cluster.ports[node] + 200
    }

    pub fn client(&self, node: usize) -> u16 {
        self.secured.cluster.ports[node]
    }

    fn start(&self, node: usize) -> Process {
        let peers = |ports: &[u16]| {
            let all = ports.iter().enumerate().map(|(n, port)| format!("n{n}@127.0.0.1:{port}"));
            all.collect::<Vec<_>>().join(",")
        };
        let more = format!(
            "http = \"127.0.0.1:{}\"\nhttp_peers = \"{}\"\nsentinel = \"127.0.0.1:{}\"\nsentinel_peers = \"{}\"\n\
             election_timeout_ms = 3000\nheartbeat_interval_ms = 50\n",
            self.pages[node],
            peers(&self.pages),
            self.sentinels[node],
            peers(&self.sentinels),
        );
        let file = self.secured.write_with(node, &more);
        Process::start_file(&file, self.secured.cluster.ports[node])
    }

    /// What a page says, as JSON.
    pub fn json(&self, node: usize, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.pages[node])).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

pub struct Stage {
    pub doors: Arc<Addresses>,
    pub by: By,
    nodes: Vec<Process>,
    normal: Duration,
    /// One cluster under attack at a time: they share this machine's processors.
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// Three nodes; five where one of them is the attacker, so that the others can do without one more.
    pub fn new(by: By) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, running) = if by == By::Member { (5, 4) } else { (3, 3) };
        let secured = Secured::of(Cluster::new(all, 1));
        // Client ports are four apart.
        let beside = |offset| secured.cluster.ports.iter().map(|port| port + offset).collect();
        let (pages, sentinels) = (beside(1), beside(2));
        let doors = Arc::new(Addresses { secured, pages, sentinels, running });
        let nodes = (0..running).map(|node| doors.start(node)).collect();
        let mut stage = Self { doors, by, nodes, normal: Duration::ZERO, _alone: alone };
        stage.whole();
        let mut normal: Vec<Duration> = (0..NORMAL).map(|_| stage.fail_over()).collect();
        normal.sort();
        stage.normal = normal[NORMAL / 2];
        println!("a killed primary costs {normal:?}");
        stage
    }

    /// The primary, once all others that run confirm what it writes.
    #[track_caller]
    fn whole(&self) -> usize {
        let (all, confirm) = (self.doors.running - 1, format!("WAIT {} 500", self.doors.running - 1));
        until("all hold what the primary writes", || {
            self.nodes.iter().position(|node| {
                node.ask("SET probe 1").as_deref() == Some("OK")
                    && node.ask(&confirm).as_deref() == Some(&all.to_string())
            })
        })
    }

    /// Kills the primary and says how long nobody took writes; then all are there again.
    fn fail_over(&mut self) -> Duration {
        let first = primary(&self.nodes);
        let begun = Instant::now();
        self.nodes[first].child.kill().unwrap();
        let others = || self.nodes.iter().enumerate().filter(|(node, _)| *node != first);
        until("another takes writes", || {
            others().any(|(_, node)| node.ask("SET probe 2").as_deref() == Some("OK")).then_some(())
        });
        let took = begun.elapsed();
        self.nodes[first].wait();
        self.nodes[first] = self.doors.start(first);
        self.whole();
        took
    }

    /// What must hold during the attack, and after it.
    #[track_caller]
    pub fn withstands(&mut self, attack: &Attack) {
        println!("{}:", attack.name);
        let (writing, confirmed) = (AtomicBool::new(true), Mutex::new(Vec::new()));
        let ports: Vec<u16> = (0..self.doors.running).map(|node| self.doors.client(node)).collect();
        std::thread::scope(|scope| {
            // Ends the threads also where something below fails.
            let _over = Over(&writing);
            scope.spawn(|| write(&ports, self.doors.secured.cluster.ports.len() / 2, &writing, &confirmed));
            let confirms = |than: usize| {
                until("a write is confirmed", || (confirmed.lock().unwrap().len() > than).then_some(()));
            };
            confirms(0);
            let (before, office, counted) = (self.usage(), self.office(), self.counted(attack));
            let attacking = AtomicBool::new(true);
            let count = std::thread::scope(|scope| {
                let _over = Over(&attacking);
                attack.begin(scope, &self.doors, &attacking);
                std::thread::sleep(ATTACK);
                // Attackers that were let in late have not said enough yet.
                if attack.counted.is_some() {
                    until(&format!("too much is counted: {}", attack.name), || {
                        (self.counted(attack) > counted).then_some(())
                    });
                }
                let during = self.usage();
                for (node, (during, before)) in during.iter().zip(&before).enumerate() {
                    during.check(before, &attack.cost, &format!("{}: n{node}", attack.name));
                }
                if self.by == By::Stranger {
                    assert_eq!(self.office(), office, "{}: role or epoch changed", attack.name);
                }
                confirmed.lock().unwrap().len()
            });
            // Without attackers nothing stands in the way; a moment for what they left behind.
            confirms(count);
            println!("  {count} writes confirmed meanwhile");
            let room = within(GIVEN_BACK, || {
                let least = Cost { descriptors: 4, ..attack.cost };
                let pairs = self.usage().into_iter().zip(&before);
                pairs.into_iter().all(|(after, before)| after.fits(before, &least)).then_some(())
            });
            assert!(
                room.is_some(),
                "{}: what it took stays taken: {:?} after {before:?}",
                attack.name,
                self.usage()
            );
        });
        // The office may move once more after a member's attack, and then connections end.
        let connect = || RespClient::connect("127.0.0.1", self.nodes[self.whole()].port).ok();
        let mut client = connect();
        for number in &confirmed.into_inner().unwrap() {
            let value = until("the primary answers", || {
                let key = format!("w{number}");
                let value = client
                    .as_mut()
                    .and_then(|client| client.request_borrowed(&[b"GET", key.as_bytes()]).ok());
                if value.is_none() {
                    client = connect();
                }
                value
            });
            assert!(matches!(value, Reply::Bulk(_)), "{}: w{number} was confirmed and is lost", attack.name);
        }
    }

    /// A killed primary while the attack goes on.
    #[track_caller]
    pub fn fails_over_under(&mut self, attack: &Attack) {
        let (doors, on) = (Arc::clone(&self.doors), AtomicBool::new(true));
        let (mut took, most) = (Vec::new(), 2 * self.normal + JITTER);
        std::thread::scope(|scope| {
            let _over = Over(&on);
            attack.begin(scope, &doors, &on);
            while took.len() < ATTACKED || took.len() < ATTACKED_MAX && !took.iter().any(|took| *took <= most)
            {
                took.push(self.fail_over());
            }
        });
        println!("  {}: a killed primary costs {took:?} meanwhile", attack.name);
        let least = *took.iter().min().unwrap();
        assert!(least <= most, "{}: {took:?}, normally {:?}", attack.name, self.normal);
        self.whole();
    }

    /// Of each node that runs: role, epoch and primary.
    fn office(&self) -> Vec<[String; 3]> {
        let of = |node| {
            let said = until("a page is served", || self.doors.json(node, "/status"));
            ["role", "epoch", "primary"].map(|what| said[what].to_string())
        };
        (0..self.doors.running).map(of).collect()
    }

    /// How much was too much so far, at all nodes together.
    fn counted(&self, attack: &Attack) -> f64 {
        let Some((name, label)) = attack.counted else { return 0.0 };
        let of = |node: usize| {
            until("its metrics are served", || labelled(&scraped(self.doors.pages[node])?, name, &[label]))
        };
        (0..self.doors.running).map(of).sum()
    }

    fn usage(&self) -> Vec<Usage> {
        self.nodes.iter().enumerate().map(|(node, process)| Usage::of(&self.doors, node, process)).collect()
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Usage {
    memory: u64,
    descriptors: usize,
    log: u64,
}

impl Usage {
    fn of(doors: &Addresses, node: usize, process: &Process) -> Self {
        let pid = process.child.id();
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            memory: resident * rustix::param::page_size() as u64,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            log: fs::metadata(doors.secured.cluster.dirs[node].0.join("log")).unwrap().len(),
        }
    }

    fn fits(&self, before: &Self, cost: &Cost) -> bool {
        self.memory <= before.memory + (cost.memory_mb << 20)
            && self.descriptors <= before.descriptors + cost.descriptors
            && self.log <= before.log + (cost.log_kb << 10)
    }

    #[track_caller]
    fn check(&self, before: &Self, cost: &Cost, of: &str) {
        let grown = (
            self.memory.saturating_sub(before.memory) >> 20,
            self.descriptors.saturating_sub(before.descriptors),
            self.log.saturating_sub(before.log) >> 10,
        );
        println!("  {of}: {} MB, {} descriptors, {} KB of log more", grown.0, grown.1, grown.2);
        assert!(self.fits(before, cost), "{of}: {self:?} after {before:?}");
    }
}

/// Writes numbers to whoever takes them; keeps those that `others` confirmed.
fn write(ports: &[u16], others: usize, on: &AtomicBool, confirmed: &Mutex<Vec<u64>>) {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    while on.load(Ordering::SeqCst) {
        for port in ports {
            let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
            while on.load(Ordering::SeqCst) {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let set = client.request_borrowed(&[b"SET", format!("w{number}").as_bytes(), b"v"]);
                if !matches!(set, Ok(Reply::Simple(_))) {
                    break;
                }
                match client.request_borrowed(&[b"WAIT", others.to_string().as_bytes(), b"500"]) {
                    Ok(Reply::Int(n)) if n >= others as i64 => confirmed.lock().unwrap().push(number),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
