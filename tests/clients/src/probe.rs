//! The shortest gap that any client could see: somebody who asks every node all the time.

use crate::programs::Work;
use kevy_elect_harness::client::Client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two tries at one node.
const INTERVAL: Duration = Duration::from_millis(1);

/// Writes to every node for itself. Dropping it ends it.
pub(crate) struct Probe {
    acks: Arc<Mutex<Vec<Duration>>>,
    over: Arc<AtomicBool>,
}

impl Probe {
    /// Where a write succeeds it does what the application of `work` waits for.
    pub(crate) fn start(servers: impl Iterator<Item = SocketAddr>, work: Work) -> Self {
        let probe = Self { acks: Arc::default(), over: Arc::default() };
        for server in servers {
            let (acks, over) = (Arc::clone(&probe.acks), Arc::clone(&probe.over));
            std::thread::spawn(move || {
                let mut client = None;
                while !over.load(Ordering::Relaxed) {
                    if client.is_none() {
                        client = Client::connect(server).ok();
                    }
                    let reply = client.as_mut().map(|client| {
                        client.call(&[b"SET", b"probe", b"1"], || !over.load(Ordering::Relaxed))
                    });
                    match reply {
                        Some(Ok(reply)) if reply.is_ok() => {
                            acks.lock().unwrap_or_else(PoisonError::into_inner).push(now());
                            let more: Option<[&[u8]; 3]> = match work {
                                Work::Block => Some([b"RPUSH", b"queue", b"1"]),
                                Work::Subscribe => Some([b"PUBLISH", b"news", b"1"]),
                                _ => None,
                            };
                            // Where it fails the next turn finds out.
                            if let Some((more, client)) = more.zip(client.as_mut()) {
                                let _ = client.call(&more, || !over.load(Ordering::Relaxed));
                            }
                        }
                        Some(Ok(_)) | None => {}
                        Some(Err(_)) => client = None,
                    }
                    std::thread::sleep(INTERVAL);
                }
            });
        }
        probe
    }

    /// The acknowledgements so far, in the order of time.
    pub(crate) fn acks(&self) -> Vec<Duration> {
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        acks.sort_unstable();
        acks
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The machine's monotonic clock, which all languages can read.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
