//! Clients beside the writers that measure: some that write as much as the primary takes, and some that read everywhere.
//!
//! What the first ones wrote is not judged: they only keep the servers, and what is on its way between them, busy.

use crate::client::{Client, ClientError, Reply};
use crate::clock::Clock;
use crate::data::{Data, key};
use crate::failure::Failure;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that write, and writes that each sends before it reads the answers.
const WRITERS: usize = 2;
const PIPELINE: u64 = 64;
/// Keys that they write where there is no data.
const KEYS: u64 = 10_000;
/// Between two attempts to find the primary.
const RETRY: Duration = Duration::from_millis(1);
/// How long answers may take: longer than any stall, or a stall would be a new connection.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two reads from one node.
const READ_INTERVAL: Duration = Duration::from_millis(2);
/// So many refused reads of one node are kept.
const REFUSED_MAX: usize = 1_000_000;

/// Between two batches of one connection where a steady load is wanted: 20 000 writes per second together.
const STEADY_INTERVAL: Duration = Duration::from_micros(6400);

const FULL: u8 = 0;
const STEADY: u8 = 1;
const PAUSE: u8 = 2;
const END: u8 = 3;

/// How fast they write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the primary answers.
    Full,
    /// So much that a server is busy and still has time for other work: 20 000 writes per second.
    Steady,
}

/// Pipelined writers. Dropping it ends them.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    data: Data,
    state: AtomicU8,
    acked: AtomicU64,
}

impl Load {
    /// Writers over the keys of `data`. They wait to be told.
    pub fn start(servers: &[SocketAddr], data: Data) -> Result<Self, Failure> {
        let shared = Arc::new(Shared { data, state: AtomicU8::new(PAUSE), acked: AtomicU64::new(0) });
        let mut load = Self { shared, threads: Vec::new() };
        for number in 0..WRITERS {
            let (shared, servers) = (load.shared.clone(), servers.to_vec());
            load.threads.push(spawn("load", move || shared.write(&servers, number as u64))?);
        }
        Ok(load)
    }

    /// Writes at this pace, until told otherwise.
    pub fn write(&self, pace: Pace) {
        let state = match pace {
            Pace::Full => FULL,
            Pace::Steady => STEADY,
        };
        self.shared.state.store(state, Ordering::Release);
    }

    /// Stops for a while.
    pub fn pause(&self) {
        self.shared.state.store(PAUSE, Ordering::Release);
    }

    /// How many writes were acknowledged since the last call.
    pub fn take_acked(&self) -> u64 {
        self.shared.acked.swap(0, Ordering::AcqRel)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.state.store(END, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    fn write(&self, servers: &[SocketAddr], number: u64) {
        let (mut node, mut turn, mut connection) = (0, number, None);
        loop {
            match self.state.load(Ordering::Acquire) {
                END => return,
                FULL => {}
                STEADY => std::thread::sleep(STEADY_INTERVAL),
                _ => {
                    std::thread::sleep(RETRY);
                    continue;
                }
            }
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let written = match connection.as_mut() {
                Some(client) => self.batch(client, turn, PIPELINE),
                // One write first: it may be a replica.
                None => Client::connect(servers[node]).and_then(|mut client| {
                    self.batch(&mut client, turn, 1).map(|()| connection = Some(client))
                }),
            };
            if written.is_err() {
                connection = None;
                node = (node + 1) % servers.len();
                std::thread::sleep(RETRY);
            }
        }
    }

    fn batch(&self, client: &mut Client, turn: u64, writes: u64) -> Result<(), ClientError> {
        let (keys, mut bytes) = (self.data.keys().max(KEYS), Vec::new());
        (0..writes).for_each(|i| self.data.set(&mut bytes, (turn >> 16).wrapping_add(i * 8191) % keys, turn));
        client.send(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        let wanted = || Instant::now() < deadline && self.state.load(Ordering::Acquire) != END;
        for _ in 0..writes {
            match client.reply(wanted)? {
                reply if reply.is_ok() => self.acked.fetch_add(1, Ordering::Relaxed),
                other => return Err(ClientError::Protocol(format!("SET said {other:?}"))),
            };
        }
        Ok(())
    }
}

/// One client at each node that reads one key again and again, and takes down when it was told `-LOADING`: data that
/// could be read is on its way in anew. Dropping it ends them.
pub struct Readers {
    shared: Arc<Refusals>,
    threads: Vec<JoinHandle<()>>,
}

struct Refusals {
    clock: Clock,
    over: AtomicU8,
    loading: Vec<Mutex<Vec<Duration>>>,
}

impl Readers {
    /// Reads at once, and until it is dropped.
    pub fn start(servers: &[SocketAddr], clock: Clock) -> Result<Self, Failure> {
        let loading = servers.iter().map(|_| Mutex::default()).collect();
        let shared = Arc::new(Refusals { clock, over: AtomicU8::new(FULL), loading });
        let mut readers = Self { shared, threads: Vec::new() };
        for (node, server) in servers.iter().copied().enumerate() {
            let shared = readers.shared.clone();
            readers.threads.push(spawn("reader", move || shared.read(node, server))?);
        }
        Ok(readers)
    }

    /// How often this node said `-LOADING` at or after `since` and before `until`.
    pub fn loading(&self, node: usize, since: Duration, until: Duration) -> usize {
        let said = self.shared.loading[node].lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().filter(|at| (since..until).contains(at)).count()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.over.store(END, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Refusals {
    fn read(&self, node: usize, server: SocketAddr) {
        let (mut connection, key) = (None::<Client>, key(0));
        while self.over.load(Ordering::Acquire) != END {
            std::thread::sleep(READ_INTERVAL);
            let Some(mut client) = connection.take().or_else(|| Client::connect(server).ok()) else {
                continue;
            };
            let deadline = Instant::now() + PATIENCE;
            let wanted = || Instant::now() < deadline && self.over.load(Ordering::Acquire) != END;
            let Ok(reply) = client.call(&[b"GET", key.as_bytes()], wanted) else { continue };
            if matches!(&reply, Reply::Error(error) if error.starts_with("LOADING")) {
                let mut said = self.loading[node].lock().unwrap_or_else(PoisonError::into_inner);
                if said.len() < REFUSED_MAX {
                    said.push(self.clock.now());
                }
            }
            connection = Some(client);
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(Failure::os("start a thread"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Size, VALUE_BYTES};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Answers everything with `answer`, a line each.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut out = stream.try_clone().unwrap();
                    let lines = BufReader::new(stream).lines().map_while(Result::ok);
                    let commands = lines.filter(|line| line == "SET" || line == "GET");
                    commands.map_while(|_| out.write_all(answer.as_bytes()).ok()).for_each(drop);
                });
            }
        });
        address
    }

    fn until(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "not within 20 s");
            std::thread::sleep(RETRY);
        }
    }

    #[test]
    fn the_load_goes_to_whoever_takes_it() {
        let servers = [server("-READONLY not here\r\n"), server("+OK\r\n")];
        let load = Load::start(&servers, Data::new(Size(0), VALUE_BYTES)).unwrap();
        assert_eq!(load.take_acked(), 0, "it waits to be told");
        load.write(Pace::Full);
        let mut acked = 0;
        until(|| {
            acked += load.take_acked();
            acked > 2 * PIPELINE
        });
    }

    #[test]
    fn only_loading_counts_as_loading() {
        let servers = [server("-LOADING not yet\r\n"), server("-STALE old\r\n"), server("$-1\r\n")];
        let clock = Clock::start();
        let readers = Readers::start(&servers, clock).unwrap();
        until(|| readers.loading(0, Duration::ZERO, clock.now()) > 2);
        assert_eq!([1, 2].map(|node| readers.loading(node, Duration::ZERO, clock.now())), [0, 0]);
        assert_eq!(readers.loading(0, clock.now() + PATIENCE, clock.now() + PATIENCE * 2), 0);
    }
}
