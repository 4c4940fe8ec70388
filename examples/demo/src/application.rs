//! `--client sentinel`: what an application sees that knows nothing of this cluster but the addresses that Sentinel clients are given.
//!
//! It writes through redis-rs and its Sentinel client, in one thread, like any program in Rust. The demo's own clients, who ask every
//! node all the time, go on beside it: they are the judge of what was lost, and of what the cluster itself took.

use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Member, SENTINEL_NAME};
use kevy_elect_harness::failure::Failure;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{Connection, RedisResult};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two writes, and between two attempts.
const PACE: Duration = Duration::from_millis(1);
/// How long a node may be silent before it is left.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);

/// Longest wait for an application to write again, once the cluster does.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The library that an application uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Sentinel,
}

impl Library {
    pub(crate) const fn name(self) -> &'static str {
        "sentinel"
    }

    pub(crate) const fn means(self) -> &'static str {
        "redis-rs with its Sentinel client"
    }
}

/// It writes until it is dropped.
pub(crate) struct Application {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    /// When writes were acknowledged.
    acks: Vec<Duration>,
    failed: Vec<(Duration, String)>,
}

impl Application {
    pub(crate) fn start(cluster: &Cluster, clock: Clock) -> Result<Self, Failure> {
        let sentinels: Vec<SocketAddr> = cluster.members.iter().map(Member::sentinel).collect();
        let sentinels: Vec<String> = sentinels.iter().map(|at| format!("redis://{at}/")).collect();
        let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (shared, end) = (seen.clone(), over.clone());
        let thread = std::thread::Builder::new()
            .name("application".into())
            .spawn(move || work(&sentinels, clock, &shared, &end))
            .map_err(Failure::os("start a thread"))?;
        Ok(Self { seen, over, thread: Some(thread) })
    }

    /// What it saw of a fault at `struck`, in one line, and whether it has come back.
    pub(crate) fn saw(&self, struck: Duration, clock: Clock) -> (String, bool) {
        let asked = clock.now();
        let writes = |since: Duration| lock(&self.seen).acks.last().is_some_and(|at| *at > since);
        while !writes(asked) {
            let waited = clock.now() - asked;
            if waited > BACK_WITHIN {
                let line = format!(
                    "an application with redis-rs, through Sentinel: no write for {} s after the cluster was back",
                    waited.as_secs()
                );
                return (line, false);
            }
            std::thread::sleep(PACE);
        }
        let mut seen = lock(&self.seen);
        let pairs = seen.acks.windows(2).filter(|pair| pair[1] > struck);
        let gap = pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let failed: Vec<_> = seen.failed.iter().filter(|(at, _)| *at > struck).collect();
        let first = failed.first().map(|(_, text)| format!(", the first: {text}")).unwrap_or_default();
        let line = format!(
            "an application with redis-rs, through Sentinel: {:.1} ms without a write, {} failed{first}",
            gap.as_secs_f64() * 1e3,
            failed.len()
        );
        // The next round has its own.
        seen.acks.clear();
        seen.failed.clear();
        (line, true)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(sentinels: &[String], clock: Clock, seen: &Mutex<Seen>, over: &AtomicBool) {
    let mut connection: Option<Connection> = None;
    for number in 1_u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let outcome = match &mut connection {
            Some(connection) => {
                let written = redis::cmd("SET").arg("application").arg(number).query::<()>(connection);
                written.map(|()| lock(seen).acks.push(clock.now()))
            }
            None => connect(sentinels).map(|new| connection = Some(new)),
        };
        match outcome {
            Ok(()) => {}
            Err(error) => {
                connection = None;
                lock(seen).failed.push((clock.now(), error.to_string()));
            }
        }
        std::thread::sleep(PACE);
    }
}

fn connect(sentinels: &[String]) -> RedisResult<Connection> {
    let name = SENTINEL_NAME.to_owned();
    let mut client = SentinelClient::build(sentinels.to_vec(), name, None, SentinelServerType::Master)?;
    let connection = client.get_connection()?;
    connection.set_read_timeout(Some(ANSWER_PATIENCE))?;
    Ok(connection)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
