//! Clients that write, swap and read a few registers, for the linearizability check (see `linear.rs`).
//!
//! One lives in each node's own network namespace, so that a cut cuts it off too: it then sees what its
//! node says and nothing else. Others live outside and reach every node all the time.

use crate::linear::{EMPTY, Kind, Operation, Outcome, Read, Register, STRANGE, Value};
use fastrand::Rng;
use kevy_elect_harness::client::{Client, Reply};
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::verdict::Node;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients that every cut spares.
const OUTSIDE: usize = 2;
/// Registers in use at one time.
const REGISTERS: usize = 4;
/// After so many operations a register is full. Bounds every history that is checked.
const OPERATIONS_MAX: usize = 200;
/// More than a client does in any round; beyond it the client rests until the next.
const HISTORY_MAX: usize = 100_000;
/// Between two operations of one client.
const PACE: Duration = Duration::from_millis(5);
/// How long a reply may take. What comes later may still take effect: the operation stays open.
const REPLY_PATIENCE: Duration = Duration::from_millis(1500);
/// What `WAIT` may take.
const WAIT_MS: &[u8] = b"500";
/// Refusals that come before anything is done.
const REFUSALS: [&str; 2] = ["READONLY", "LOADING"];

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const END: u8 = 2;

/// What the clients did and saw.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    pub(crate) operations: Vec<Operation>,
    pub(crate) reads: Vec<Read>,
}

/// The clients. Dropping it ends them.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Clock,
    servers: Vec<SocketAddr>,
    replicas: usize,
    state: AtomicU8,
    parked: AtomicUsize,
    slots: Mutex<Slots>,
    histories: Mutex<Histories>,
}

/// Which registers are in use, and how often each one was.
struct Slots {
    used: [(Register, usize); REGISTERS],
    next: Register,
}

impl Clients {
    /// One in each of `spaces`, and some outside. An operation counts as confirmed once `replicas` hold it beside the
    /// primary. They wait for [`Clients::go`].
    pub(crate) fn start(
        servers: Vec<SocketAddr>,
        spaces: Vec<PathBuf>,
        replicas: usize,
        clock: Clock,
        seed: u64,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            clock,
            servers,
            replicas,
            state: AtomicU8::new(PAUSE),
            parked: AtomicUsize::new(0),
            slots: Mutex::new(Slots { used: [(0, OPERATIONS_MAX); REGISTERS], next: 1 }),
            histories: Mutex::default(),
        });
        // Collected in the struct from the first one on: an error ends those that were started.
        let mut clients = Self { shared, threads: Vec::new() };
        let places = spaces.into_iter().map(Some).chain(std::iter::repeat_n(None, OUTSIDE));
        for (number, space) in places.enumerate() {
            let shared = clients.shared.clone();
            let (tell, told) = sync_channel(1);
            let thread = std::thread::Builder::new()
                .name(format!("registers {number}"))
                .spawn(move || {
                    let entered = space.map_or(Ok(()), enter);
                    let inside = entered.is_ok();
                    if tell.send(entered).is_ok() && inside {
                        Worker::new(&shared, number, seed).run();
                    }
                })
                .map_err(Failure::os("start a thread"))?;
            clients.threads.push(thread);
            let entered = told.recv().unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")));
            entered.map_err(Failure::os("put a client into a node's network namespace"))?;
        }
        Ok(clients)
    }

    /// Begins, with fresh registers.
    pub(crate) fn go(&self) {
        self.shared.lock_slots().used = [(0, OPERATIONS_MAX); REGISTERS];
        self.shared.state.store(RUN, Ordering::Release);
    }

    /// Asks for a pause; it has come about once [`Clients::paused`] says so.
    pub(crate) fn pause(&self) {
        self.shared.state.store(PAUSE, Ordering::Release);
    }

    /// Whether nothing is under way any more.
    pub(crate) fn paused(&self) -> bool {
        self.shared.parked.load(Ordering::Acquire) == self.threads.len()
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Histories {
        std::mem::take(&mut *self.shared.lock_histories())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.state.store(END, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock_slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_histories(&self) -> MutexGuard<'_, Histories> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A register with room for an operation.
    fn register(&self, slot: usize) -> Register {
        let slots = &mut *self.lock_slots();
        let (register, used) = &mut slots.used[slot];
        if *used >= OPERATIONS_MAX {
            (*register, *used) = (slots.next, 0);
            slots.next += 1;
        }
        *used += 1;
        *register
    }

    /// Nothing was done to it: refusals during an outage must not use it up.
    fn give_back(&self, slot: usize, register: Register) {
        let slots = &mut *self.lock_slots();
        let (current, used) = &mut slots.used[slot];
        if *current == register {
            *used = used.saturating_sub(1);
        }
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}

/// Moves this thread, and only it.
fn enter(space: PathBuf) -> std::io::Result<()> {
    let space = File::open(space)?;
    Ok(move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?)
}

struct Worker<'a> {
    shared: &'a Shared,
    rng: Rng,
    connections: Vec<Option<Client>>,
    /// Who did not refuse the last time.
    favourite: Node,
    /// The last value written. No two clients use the same.
    value: Value,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, number: usize, seed: u64) -> Self {
        Self {
            shared,
            rng: Rng::with_seed(seed ^ number as u64),
            connections: shared.servers.iter().map(|_| None).collect(),
            favourite: 0,
            value: (number as u64 + 1) << 40,
        }
    }

    fn run(mut self) {
        loop {
            match self.shared.state() {
                END => return,
                PAUSE => self.park(),
                _ if self.shared.lock_histories().operations.len() >= HISTORY_MAX => {}
                _ => self.step(),
            }
            std::thread::sleep(PACE);
        }
    }

    fn park(&self) {
        self.shared.parked.fetch_add(1, Ordering::AcqRel);
        while self.shared.state() == PAUSE {
            std::thread::sleep(PACE);
        }
        self.shared.parked.fetch_sub(1, Ordering::AcqRel);
    }

    fn step(&mut self) {
        let anywhere = self.rng.usize(..self.connections.len());
        let slot = self.rng.usize(..REGISTERS);
        match self.rng.u8(..10) {
            0..=2 => self.read(anywhere, slot),
            // Also where it should be refused: whoever confirms it there is caught.
            3 => self.update(anywhere, slot),
            _ => self.update(self.favourite, slot),
        }
    }

    fn read(&mut self, node: Node, slot: usize) {
        let register = self.shared.lock_slots().used[slot].0;
        // Replicas of an earlier round's registers would be asked for nothing.
        if register == 0 {
            return;
        }
        let Some(mut client) = self.connection(node) else { return };
        let invoked = self.shared.clock.now();
        let reply = client.call_within(&[b"GET", key(register).as_bytes()], REPLY_PATIENCE);
        let Ok(reply) = reply else { return };
        self.connections[node] = Some(client);
        if !matches!(reply, Reply::Error(_)) {
            let read = Read { register, value: value(&reply), invoked };
            self.shared.lock_histories().reads.push(read);
        }
    }

    fn update(&mut self, node: Node, slot: usize) {
        let Some(mut client) = self.connection(node) else {
            self.favourite = self.rng.usize(..self.connections.len());
            return;
        };
        self.value += 1;
        let (register, value) = (self.shared.register(slot), self.value);
        let verb = if self.rng.bool() { &b"SET"[..] } else { b"GETSET" };
        let invoked = self.shared.clock.now();
        let (kind, outcome, usable) = self.ask(&mut client, verb, register, value);
        let operation = Operation { register, kind, value, invoked, outcome };
        if usable {
            self.connections[node] = Some(client);
        }
        if outcome == Outcome::Refused {
            self.shared.give_back(slot, register);
        }
        self.favourite = match outcome {
            Outcome::Confirmed(_) => node,
            _ => self.rng.usize(..self.connections.len()),
        };
        self.shared.lock_histories().operations.push(operation);
    }

    /// What was done, what became of it, and whether the connection can be used again.
    fn ask(&self, client: &mut Client, verb: &[u8], register: Register, new: Value) -> (Kind, Outcome, bool) {
        let parts = [verb, &key(register).into_bytes(), &new.to_string().into_bytes()];
        let kind = |found| if verb == b"SET" { Kind::Write } else { Kind::Swap(found) };
        let kind = match client.call_within(&parts, REPLY_PATIENCE) {
            Err(_) => return (kind(None), Outcome::Open, false),
            Ok(Reply::Error(why)) => {
                let refused = REFUSALS.iter().any(|refusal| why.starts_with(refusal));
                let outcome = if refused { Outcome::Refused } else { Outcome::Open };
                return (kind(None), outcome, true);
            }
            Ok(reply) => kind(Some(value(&reply))),
        };
        let wanted = self.shared.replicas.to_string();
        match client.call_within(&[b"WAIT", wanted.as_bytes(), WAIT_MS], REPLY_PATIENCE) {
            Ok(Reply::Integer(n)) if n >= self.shared.replicas as i64 => {
                (kind, Outcome::Confirmed(self.shared.clock.now()), true)
            }
            Ok(_) => (kind, Outcome::Open, true),
            Err(_) => (kind, Outcome::Open, false),
        }
    }

    fn connection(&mut self, node: Node) -> Option<Client> {
        self.connections[node].take().or_else(|| Client::connect(self.shared.servers[node]).ok())
    }
}

fn key(register: Register) -> String {
    format!("register:{register}")
}

fn value(reply: &Reply) -> Value {
    match reply {
        Reply::Null => EMPTY,
        Reply::Bulk(bytes) => {
            std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(STRANGE)
        }
        _ => STRANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear;
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    /// A server with one register map; `forgets` makes every third swap of a connection find nothing.
    fn fake(forgets: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let registers: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let registers = registers.clone();
                std::thread::spawn(move || serve(stream, &registers, forgets));
            }
        });
        server
    }

    fn serve(stream: TcpStream, registers: &Mutex<HashMap<String, String>>, forgets: bool) {
        let mut out = stream.try_clone().unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let mut swaps = 0;
        while let Some(header) = lines.next() {
            let parts = header.trim_start_matches('*').parse().unwrap();
            let mut words = Vec::new();
            for _ in 0..parts {
                lines.next();
                words.extend(lines.next());
            }
            let bulk = |found: Option<&String>| match found {
                Some(text) => format!("${}\r\n{text}\r\n", text.len()),
                None => "$-1\r\n".to_owned(),
            };
            let mut registers = registers.lock().unwrap();
            let reply = match words[0].as_str() {
                "WAIT" => ":1\r\n".to_owned(),
                "GET" => bulk(registers.get(&words[1])),
                verb => {
                    let before = registers.insert(words[1].clone(), words[2].clone());
                    swaps += usize::from(verb == "GETSET");
                    match verb {
                        "SET" => "+OK\r\n".to_owned(),
                        _ if forgets && swaps % 3 == 0 => bulk(None),
                        _ => bulk(before.as_ref()),
                    }
                }
            };
            if out.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// What the clients outside see of it.
    fn seen(server: SocketAddr) -> linear::Check {
        let clients = Clients::start(vec![server, server], Vec::new(), 1, Clock::start(), 7).unwrap();
        clients.go();
        let deadline = Instant::now() + Duration::from_secs(120);
        let until = |condition: &dyn Fn() -> bool| {
            while !condition() {
                assert!(Instant::now() < deadline, "not within two minutes");
                std::thread::sleep(PACE);
            }
        };
        until(&|| clients.shared.lock_histories().operations.len() > 60);
        clients.pause();
        until(&|| clients.paused());
        let histories = clients.take();
        linear::check(&histories.operations, &histories.reads)
    }

    #[test]
    fn a_server_that_is_one_register_after_the_other_passes() {
        let check = seen(fake(false));
        assert!(check.wrong.is_empty(), "{check:?}");
        assert!(check.confirmed > 60 && check.registers >= REGISTERS, "{check:?}");
    }

    #[test]
    fn a_server_that_forgets_confirmed_writes_is_caught() {
        let check = seen(fake(true));
        assert!(!check.wrong.is_empty(), "{check:?}");
    }

    #[test]
    fn a_full_register_is_followed_by_a_fresh_one() {
        let clients = Clients::start(Vec::new(), Vec::new(), 1, Clock::start(), 7).unwrap();
        clients.shared.lock_slots().used = [(0, OPERATIONS_MAX); REGISTERS];
        let drawn: Vec<_> = (0..=OPERATIONS_MAX).map(|_| clients.shared.register(2)).collect();
        assert_eq!((drawn[0], drawn[OPERATIONS_MAX - 1], drawn[OPERATIONS_MAX]), (1, 1, 2));
        assert_eq!(clients.shared.register(0), 3);
        for _ in 1..OPERATIONS_MAX {
            clients.shared.give_back(0, 3);
            clients.shared.register(0);
        }
        assert_eq!(clients.shared.register(0), 3, "refusals do not count");
    }
}
