//! The load, and at the same time the measuring instrument.
//!
//! The *waiters* of a node write and ask `WAIT 1` after every write; these are the writes that must
//! survive. There are several, because kevy may take 100 ms for a `WAIT`. The *prober* only writes, to
//! every node all the time, also to replicas and dead ones: so the first acknowledgement after a fault
//! is noticed within a millisecond whoever gives it, and a node that should be silent is caught even
//! while all its waiters are held up in a `WAIT` that nobody answers. Waiters rest while their node's
//! prober is refused: asking too would only take the processor from the servers that are measured.

use crate::client::{Client, ClientError, Reply};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::verdict::{Ack, Node};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Waiters per node.
const WAITERS: usize = 16;
/// Between two attempts at a node that refuses, and between two probes.
const RETRY: Duration = Duration::from_millis(1);
/// Between two writes of one waiter: a steady load that leaves the processor to the servers.
const PACE: Duration = Duration::from_millis(8);
/// How long a waiter sleeps at a node that refuses before it looks up. Normally the prober wakes it.
const DOZE: Duration = Duration::from_millis(100);
/// What `WAIT` may take. Short, so that the waiter soon writes again when the replicas are gone.
const WAIT_MS: &[u8] = b"500";
/// How long a request stays open. Longer than any stop: closing the connection to a stopped server
/// would hide what it answers when it wakes up.
const REPLY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a request stays open once the load pauses.
const PAUSE_PATIENCE: Duration = Duration::from_secs(1);
/// More than a round can produce at [`PACE`]; beyond it a writer rests until the next round.
const ACKS_MAX: usize = 2_000_000;

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const END: u8 = 2;

/// Whether a connection asks `WAIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Waiter,
    Prober,
}

/// The key of a write.
pub fn key(ack: &Ack) -> String {
    format!("demo:{}:{}", ack.writer, ack.seq)
}

/// All connections. Dropping it ends them.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Clock,
    replicas: usize,
    state: AtomicU8,
    parked: AtomicUsize,
    doors: Vec<Door>,
    histories: Vec<History>,
}

/// Whether a node acknowledges, as its prober sees it.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    changed: Condvar,
    /// The thread of that prober.
    prober: OnceLock<u32>,
}

struct History {
    node: Node,
    acks: Mutex<Vec<Ack>>,
}

impl Writers {
    /// A prober and several waiters for each of the servers. A write counts as confirmed once `replicas`
    /// hold it beside the primary. They wait for [`Writers::go`].
    pub fn start(servers: &[SocketAddr], replicas: usize, clock: Clock) -> Result<Self, Failure> {
        let kinds = || std::iter::once(Kind::Prober).chain(std::iter::repeat_n(Kind::Waiter, WAITERS));
        let plan: Vec<_> = servers
            .iter()
            .enumerate()
            .flat_map(|(node, server)| kinds().map(move |kind| (node, *server, kind)))
            .collect();
        let histories = plan.iter().map(|(node, ..)| History { node: *node, acks: Mutex::default() });
        let shared = Arc::new(Shared {
            clock,
            replicas,
            state: AtomicU8::new(PAUSE),
            parked: AtomicUsize::new(0),
            doors: servers.iter().map(|_| Door::default()).collect(),
            histories: histories.collect(),
        });
        // Collected in the struct from the first one on: an error ends those that were started.
        let mut writers = Self { shared, threads: Vec::new() };
        for (writer, (_, server, kind)) in plan.into_iter().enumerate() {
            let shared = writers.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("writer {writer}"))
                .spawn(move || Writer { shared: &shared, writer, server, kind, seq: 0 }.run())
                .map_err(Failure::os("start a thread"))?;
            writers.threads.push(thread);
        }
        Ok(writers)
    }

    /// Writes, until [`Writers::pause`].
    pub fn go(&self) {
        self.shared.state.store(RUN, Ordering::Release);
    }

    /// Asks for a pause; it has come about once [`Writers::paused`] says so.
    pub fn pause(&self) {
        self.shared.state.store(PAUSE, Ordering::Release);
    }

    /// Whether nothing is under way any more.
    pub fn paused(&self) -> bool {
        self.shared.parked.load(Ordering::Acquire) == self.threads.len()
    }

    /// The thread of this process that notices first when a node acknowledges nothing.
    pub fn prober(&self, node: Node) -> Option<u32> {
        self.shared.doors[node].prober.get().copied()
    }

    /// The acknowledgements since the last call.
    pub fn take_history(&self) -> Vec<Ack> {
        self.shared.histories.iter().flat_map(|h| std::mem::take(&mut *h.lock())).collect()
    }

    /// The first acknowledgement by `node` of a write sent at or after `since`.
    pub fn first_ack(&self, node: Node, since: Duration) -> Option<Ack> {
        self.first(node, since, |_| true).min_by_key(|ack| ack.replied)
    }

    /// The one that `WAIT` confirmed first.
    pub fn first_waited(&self, node: Node, since: Duration) -> Option<Ack> {
        self.first(node, since, |ack| ack.waited.is_some()).min_by_key(|ack| ack.waited)
    }

    /// The first one of each connection.
    fn first(&self, node: Node, since: Duration, wanted: fn(&Ack) -> bool) -> impl Iterator<Item = Ack> {
        let of_node = self.shared.histories.iter().filter(move |history| history.node == node);
        of_node.filter_map(move |history| {
            let acks = history.lock();
            let from = acks.partition_point(|ack| ack.sent < since);
            acks[from..].iter().copied().find(wanted)
        })
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.shared.state.store(END, Ordering::Release);
        self.shared.doors.iter().for_each(|door| door.set(true));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Door {
    fn set(&self, open: bool) {
        let before = std::mem::replace(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner), open);
        if open && !before {
            self.changed.notify_all();
        }
    }

    /// Whether it is open, after waiting a while for it.
    fn wait(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(open, DOZE, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    writer: usize,
    server: SocketAddr,
    kind: Kind,
    seq: u64,
}

impl Writer<'_> {
    fn run(mut self) {
        let mut connection: Option<Client> = None;
        if self.kind == Kind::Prober {
            let _ = self.door().prober.set(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        }
        loop {
            match self.state() {
                END => return,
                PAUSE => {
                    self.park();
                    continue;
                }
                _ => {}
            }
            if self.history().lock().len() >= ACKS_MAX {
                std::thread::sleep(RETRY);
                continue;
            }
            if self.kind == Kind::Waiter && !self.door().wait() {
                continue;
            }
            let Some(mut client) = connection.take().or_else(|| Client::connect(self.server).ok()) else {
                self.refused();
                continue;
            };
            match self.write(&mut client) {
                Ok(true) => {
                    connection = Some(client);
                    std::thread::sleep(if self.kind == Kind::Waiter { PACE } else { RETRY });
                }
                Ok(false) => {
                    connection = Some(client);
                    self.refused();
                }
                Err(_) => self.refused(),
            }
        }
    }

    fn refused(&self) {
        if self.kind == Kind::Prober {
            self.door().set(false);
        }
        std::thread::sleep(RETRY);
    }

    /// One write; whether it was acknowledged.
    fn write(&mut self, client: &mut Client) -> Result<bool, ClientError> {
        self.seq += 1;
        let (key, value) = (format!("demo:{}:{}", self.writer, self.seq), self.seq.to_string());
        let sent = self.shared.clock.now();
        let reply = client.call(&[b"SET", key.as_bytes(), value.as_bytes()], || self.still_wanted(sent))?;
        let replied = self.shared.clock.now();
        if !reply.is_ok() {
            return Ok(false);
        }
        let node = self.history().node;
        let ack = Ack { node, writer: self.writer, seq: self.seq, sent, replied, waited: None };
        self.history().lock().push(ack);
        if self.kind == Kind::Prober {
            self.door().set(true);
            return Ok(true);
        }
        let wanted = self.shared.replicas.to_string();
        let replicas = client.call(&[b"WAIT", wanted.as_bytes(), WAIT_MS], || self.still_wanted(replied))?;
        if matches!(replicas, Reply::Integer(n) if n >= self.shared.replicas as i64) {
            let waited = self.shared.clock.now();
            // The history may have been taken away meanwhile; then the write counts as unwaited.
            if let Some(last) = self.history().lock().last_mut().filter(|last| last.seq == self.seq) {
                last.waited = Some(waited);
            }
        }
        Ok(true)
    }

    fn still_wanted(&self, since: Duration) -> bool {
        let open = self.shared.clock.now().saturating_sub(since);
        match self.state() {
            RUN => open < REPLY_PATIENCE,
            PAUSE => open < PAUSE_PATIENCE,
            _ => false,
        }
    }

    fn park(&self) {
        self.shared.parked.fetch_add(1, Ordering::AcqRel);
        while self.state() == PAUSE {
            std::thread::sleep(RETRY);
        }
        self.shared.parked.fetch_sub(1, Ordering::AcqRel);
    }

    fn state(&self) -> u8 {
        self.shared.state.load(Ordering::Acquire)
    }

    fn door(&self) -> &Door {
        &self.shared.doors[self.history().node]
    }

    fn history(&self) -> &History {
        &self.shared.histories[self.writer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    /// A server that acknowledges every `SET` and answers `WAIT` with `replicas`.
    fn fake(replicas: i64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve(stream, replicas));
            }
        });
        server
    }

    fn serve(stream: TcpStream, replicas: i64) {
        let mut out = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let reply = match line.as_str() {
                "SET" => "+OK\r\n".to_owned(),
                "WAIT" => format!(":{replicas}\r\n"),
                _ => continue,
            };
            if out.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "not within 20 s");
            std::thread::sleep(RETRY);
        }
    }

    #[test]
    fn only_what_wait_confirmed_counts_as_waited() {
        let writers = Writers::start(&[fake(1), fake(0)], 1, Clock::start()).unwrap();
        writers.go();
        until(|| writers.first_waited(0, Duration::ZERO).is_some());
        until(|| writers.first_ack(1, Duration::ZERO).is_some());
        writers.pause();
        until(|| writers.paused());
        let acks = writers.take_history();
        assert!(acks.iter().any(|ack| ack.node == 0 && ack.waited.is_some()));
        assert!(acks.iter().all(|ack| ack.node == 0 || ack.waited.is_none()));
        assert!(acks.iter().all(|ack| ack.sent <= ack.replied));
        let mut keys: Vec<_> = acks.iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), acks.len(), "every write has a key of its own");
        assert_eq!(writers.take_history(), [], "taken once");
    }

    #[test]
    fn a_pause_lasts_until_the_load_goes_on() {
        let writers = Writers::start(&[fake(1)], 1, Clock::start()).unwrap();
        until(|| writers.paused());
        assert_eq!(writers.take_history(), [], "nothing is written before the start");
        writers.go();
        until(|| writers.first_ack(0, Duration::ZERO).is_some());
        writers.pause();
        until(|| writers.paused());
        writers.take_history();
        assert_eq!(writers.first_ack(0, Duration::ZERO), None);
    }

    #[test]
    fn a_write_that_nobody_answers_does_not_hold_up_the_end() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let writers = Writers::start(&[silent.local_addr().unwrap()], 1, Clock::start()).unwrap();
        writers.go();
        let _accepted = silent.accept().unwrap();
        drop(writers);
    }
}
