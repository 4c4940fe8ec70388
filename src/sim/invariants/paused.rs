//! H15: once a quorum has an order to pause, nobody is elected before the next order, except where somebody gave the office up as planned (H16).

use super::found::Found;
use crate::ids::Epoch;
use crate::pause::Pause;

#[derive(Debug, Default)]
pub(in crate::sim) struct Paused {
    /// Who asked for votes while elections were paused, and in which epoch.
    asked: Vec<(Epoch, usize)>,
    /// Somebody gave an office up in favour of another node, and nobody has served since.
    planned: bool,
    /// Whose gate has been open, and since when.
    serves: Option<(Epoch, u64)>,
}

impl Paused {
    /// Whether elections are paused: so many voters have the greatest order that there is, on their disks, and it pauses.
    pub(in crate::sim) fn agreed(
        voters: impl Iterator<Item = Option<Pause>>,
        everywhere: impl Iterator<Item = Option<Pause>>,
        quorum: usize,
    ) -> bool {
        let newest = everywhere.flatten().max().filter(|pause| pause.paused);
        newest.is_some() && voters.filter(|has| *has == newest).count() >= quorum
    }

    /// A node asks for votes.
    pub(in crate::sim) fn on_ask(&mut self, node: usize, epoch: Epoch, paused: bool) {
        if paused && !self.planned {
            self.asked.push((epoch, node));
        }
    }

    /// A node resigns in favour of another one.
    pub(in crate::sim) fn on_plan(&mut self) {
        self.planned = true;
        self.serves = None;
    }

    /// A gate is open. After a lease, a quorum knows of it.
    pub(in crate::sim) fn on_open(&mut self, epoch: Epoch, now: u64, lease: u64) {
        match self.serves {
            Some((serving, since)) if serving == epoch => self.planned &= now <= since + 2 * lease,
            _ => self.serves = Some((epoch, now)),
        }
    }

    /// Whether somebody gave an office up in favour of another node, and nobody has served since.
    pub(in crate::sim) fn is_planned(&self) -> bool {
        self.planned
    }

    /// A node has won.
    pub(in crate::sim) fn on_reign(&self, node: usize, epoch: Epoch, paused: bool) -> Found {
        (paused && !self.planned && self.asked.contains(&(epoch, node))).then(|| {
            let text = format!("n{node} asked for epoch {epoch} and won it while elections were paused");
            ("a paused cluster elects nobody (H15)", text)
        })
    }
}
