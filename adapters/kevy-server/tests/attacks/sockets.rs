//! Connections of those who mean ill.

use super::stage::{Addresses, Attack, Cost};
use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest wait for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// A connection whose writes wait for so long at most.
pub fn dial(port: u16, patience: Duration) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).ok()?;
    stream.set_write_timeout(Some(patience)).ok()?;
    Some(stream)
}

/// Keeps so many connections, new ones in the place of the oldest. Each has said `words` and says nothing more.
pub fn hold(on: &AtomicBool, most: usize, words: &[u8], dial: impl Fn() -> Option<TcpStream>) {
    let mut held = VecDeque::new();
    while on.load(Ordering::Relaxed) {
        let Some(mut stream) = dial() else { continue };
        let _ = stream.write_all(words);
        held.push_back(stream);
        if held.len() > most {
            held.pop_front();
        }
    }
}

/// Holds a thousand connections at doors where greetings are said. `run`: [`half_greetings`] at one of them; `counted`: by what the node counts
/// those that had to go.
pub const fn held(
    run: fn(&Addresses, usize, &AtomicBool),
    cost: Cost,
    counted: (&'static str, &'static str),
) -> Attack {
    let name = "a thousand connections that are held, and half a greeting on each";
    Attack { name, run, threads: 3, cost, counted: Some(counted) }
}

/// One thread's share of that.
pub fn half_greetings(on: &AtomicBool, dial: impl Fn() -> Option<TcpStream>) {
    hold(on, 330, &[0, 96, 1], dial);
}
