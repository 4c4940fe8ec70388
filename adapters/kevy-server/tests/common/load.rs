//! A client that writes to whoever takes it, and has each write confirmed.

use super::until;
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a client saw.
#[derive(Default)]
pub struct Load {
    pub over: AtomicBool,
    /// How many replicas make a quorum with the primary.
    pub replicas: AtomicU64,
    /// Every number below it was confirmed by so many.
    pub confirmed: AtomicU64,
    /// How often a write was not taken, or its connection ended.
    pub refused: AtomicU64,
}

impl Load {
    /// Writes to whoever takes it; gives the longest time between two acknowledgements.
    pub fn run(&self, ports: &[u16]) -> Duration {
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for port in ports.iter().cycle() {
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
            while !self.over.load(Ordering::SeqCst) {
                let next = self.confirmed.load(Ordering::SeqCst);
                let set = client.request_borrowed(&[b"SET", format!("w{next}").as_bytes(), b"1"]);
                if !matches!(set, Ok(Reply::Simple(_))) {
                    self.refused.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                longest = longest.max(last.elapsed());
                last = Instant::now();
                let replicas = self.replicas.load(Ordering::SeqCst);
                let wait = client.request_borrowed(&[b"WAIT", replicas.to_string().as_bytes(), b"50"]);
                match wait {
                    Ok(Reply::Int(n)) if n >= replicas.cast_signed() => {
                        self.confirmed.store(next + 1, Ordering::SeqCst);
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        longest
    }

    /// Ends with the test, also with one that fails.
    pub fn ends(&self) -> impl Drop + '_ {
        struct Ends<'a>(&'a Load);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.over.store(true, Ordering::SeqCst);
            }
        }
        Ends(self)
    }

    /// Waits until more was confirmed.
    #[track_caller]
    pub fn goes_on(&self) {
        let before = self.confirmed.load(Ordering::SeqCst);
        until("writes are confirmed", || (self.confirmed.load(Ordering::SeqCst) > before + 20).then_some(()));
    }
}
