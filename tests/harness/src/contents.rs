//! Whether all nodes hold the same after a round: every key, type, value and expiry.

use crate::failure::{Failure, Interrupt};
use kevy_elect_compare::{Comparison, Options, Outcome, compare};
use std::time::{Duration, Instant};

/// How long the nodes may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Keys that a report names.
const NAMED_MAX: usize = 20;

/// What the nodes hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Keys that were compared.
    pub keys: u64,
    /// Keys that differ: must be 0.
    pub differing: usize,
    /// Why they could not be compared: must be nothing.
    pub undecided: Option<String>,
    /// The first that differ, and how.
    pub named: Vec<String>,
}

impl Contents {
    /// Whether they are the same.
    pub fn equal(&self) -> bool {
        self.differing == 0 && self.undecided.is_none()
    }
}

/// Compares the nodes with these clients' addresses, which nobody writes to any more.
pub fn contents(addresses: &[String], interrupt: &Interrupt) -> Result<Contents, Failure> {
    let begun = Instant::now();
    let options = Options { patience: Duration::from_secs(3), ..Options::default() };
    loop {
        interrupt.check()?;
        let undecided = match compare(addresses, &options) {
            Ok(seen) if seen.outcome() != Outcome::Moving => return Ok(told(&seen)),
            Ok(seen) => seen.undecided.values().next().map_or("they move", |why| why).to_owned(),
            // A process may be starting again just now.
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > PATIENCE {
            return Ok(Contents { undecided: Some(undecided), ..Contents::default() });
        }
        interrupt.rest(PAUSE)?;
    }
}

fn told(seen: &Comparison) -> Contents {
    let named = seen.differences.iter().take(NAMED_MAX).map(|difference| {
        let node = &seen.nodes[difference.node].name;
        format!("{} on {node}: {}", difference.key.escape_ascii(), difference.how.as_str())
    });
    Contents {
        keys: seen.nodes[seen.reference].keys,
        differing: seen.differences.len(),
        undecided: None,
        named: named.collect(),
    }
}
