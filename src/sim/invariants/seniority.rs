//! R3: where all is quiet, the most senior node that is there wins.

use super::found::Found;
use crate::ids::Epoch;

#[derive(Debug)]
pub(in crate::sim) struct Seniors;

impl Seniors {
    /// A node that has been `up` for so many units of time has won, while others with the same data could have, all of them undisturbed. Within two
    /// units work and id may have decided.
    pub(in crate::sim) fn on_won(
        &self,
        node: usize,
        epoch: Epoch,
        up: u128,
        others: impl Iterator<Item = (usize, u128)>,
    ) -> Found {
        let (senior, theirs) = others.max_by_key(|(_, up)| *up)?;
        (theirs > up.saturating_add(2)).then(|| {
            let text = format!("n{node}, up {up} units, won epoch {epoch}, and n{senior} is up {theirs}");
            ("the most senior node wins (R3)", text)
        })
    }
}
