//! What came of a round: what happened, and when.

use crate::copying::Copied;
use crate::fault::{Fault, Restart};
use crate::observe::Event;
use crate::verdict::{Dual, Elected, Lost, Node};
use std::time::Duration;

/// What happened, and when. Instants count from the start of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Counted from 1.
    pub number: u32,
    /// How the primary was broken.
    pub fault: Fault,
    /// When it was started again.
    pub restart: Restart,
    /// Who was primary.
    pub old: Node,
    /// Its process.
    pub old_pid: u32,
    /// Who took over.
    pub new: Node,
    /// The instant before the signal.
    pub struck: Duration,
    /// Who first held the primary to be gone, when, and why.
    pub detected: Option<Sighting>,
    /// When the new primary had won its election, and in which epoch.
    pub elected: Option<Sighting>,
    /// When its server had become primary.
    pub promoted: Option<Sighting>,
    /// When its first acknowledgement arrived here.
    pub first_ack: Duration,
    /// When the third node followed it.
    pub following: Option<Sighting>,
    /// When `WAIT` first confirmed one of its writes.
    pub first_waited: Option<Duration>,
    /// Whether the old primary, stopped, was ended by its watchdog.
    pub ended_by_watchdog: bool,
    /// When the old primary was started again or resumed.
    pub returned: Duration,
    /// When a write was confirmed by both replicas again.
    pub whole: Duration,
    /// Acknowledged writes of this round.
    pub acked: usize,
    /// Of these, confirmed by `WAIT`.
    pub waited: usize,
    /// What is missing of them.
    pub lost: Lost,
    /// Whether two nodes acknowledged at once.
    pub dual: Option<Dual>,
    /// What was copied, where the servers count it.
    pub copied: Option<Copied>,
    /// Reads that nodes refused although they had run all the time, because data came in anew (`-LOADING`).
    pub loading: usize,
    /// The longest time without any acknowledgement from the fault until the new primary's first one.
    pub gap: Duration,
    /// For how long a processor of this machine was away ([`crate::waiting`]) from the fault to the first confirmed write, or to the first one
    /// where none was; `None`: nobody counted.
    pub away: Option<Duration>,
    /// The longest time without an acknowledgement of the new primary while the old one came back.
    pub stall: Duration,
    /// How much of that its server, or the client that would have noticed, was ready and had no processor; `None`: nobody counted.
    pub stall_queued: Option<Duration>,
    /// For how long of it a processor of this machine was away.
    pub stall_away: Option<Duration>,
}

/// A server's log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The node that logged it.
    pub node: Node,
    /// When it was read, since the clock began.
    pub at: Duration,
    /// What it adds, for people: the reason, the epoch.
    pub detail: Option<String>,
}

impl Round {
    /// From the fault to the first acknowledgement.
    pub fn failover(&self) -> Duration {
        self.first_ack - self.struck
    }

    /// From the fault to the first write of the new primary that `WAIT` confirmed.
    pub fn confirmed(&self) -> Option<Duration> {
        self.first_waited.map(|at| at.saturating_sub(self.struck))
    }

    /// From the return of the old primary until both replicas confirmed.
    pub fn rejoined(&self) -> Duration {
        self.whole.saturating_sub(self.returned)
    }

    /// From the fault until a survivor noticed.
    pub fn detect(&self) -> Option<Duration> {
        self.detected.as_ref().map(|seen| seen.at.saturating_sub(self.struck))
    }

    /// From there to the won election.
    pub fn elect(&self) -> Option<Duration> {
        let start = self.detected.as_ref().map_or(self.struck, |seen| seen.at);
        self.elected.as_ref().map(|seen| seen.at.saturating_sub(start))
    }

    /// From there until the server had become primary.
    pub fn promote(&self) -> Option<Duration> {
        let (elected, promoted) = (self.elected.as_ref()?, self.promoted.as_ref()?);
        Some(promoted.at.saturating_sub(elected.at))
    }

    /// Whether everything that must hold did.
    pub fn innocent(&self) -> bool {
        // A transfer loses nothing that was acknowledged, confirmed or not (H9).
        self.lost.waited == 0
            && self.dual.is_none()
            && !(self.fault == Fault::Transfer && self.lost.unwaited > 0)
    }
}

/// Who said when that it was elected.
pub fn elections(events: &[(Node, Event)]) -> Vec<Elected> {
    let elected = events.iter().filter(|(_, event)| event.kind == "elected");
    elected.map(|(node, event)| Elected { node: *node, at: event.at }).collect()
}

/// The first event of `kind` by a node that `who` accepts.
pub(crate) fn sighting(events: &[(Node, Event)], kind: &str, who: impl Fn(Node) -> bool) -> Option<Sighting> {
    let (node, event) = events.iter().find(|(node, event)| event.kind == kind && who(*node))?;
    let detail = match kind {
        "elected" => event.field("epoch").map(|epoch| format!("epoch {epoch}")),
        "suspected" => event.field("evidence").map(str::to_owned),
        _ => None,
    };
    Some(Sighting { node: *node, at: event.at, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, kind: &str, fields: &[(&str, &str)]) -> Event {
        let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event { at: Duration::from_millis(at), kind: kind.to_owned(), fields }
    }

    #[test]
    fn a_sighting_is_the_first_event_of_its_kind_by_somebody_who_counts() {
        let events = [
            (0, event(1, "suspected", &[])),
            (2, event(2, "suspected", &[("evidence", "crash"), ("primary", "n1")])),
            (1, event(3, "suspected", &[("evidence", "partition")])),
            (1, event(4, "elected", &[("epoch", "7")])),
        ];
        let seen = sighting(&events, "suspected", |who| who != 0).unwrap();
        assert_eq!(
            (seen.node, seen.at, seen.detail.as_deref()),
            (2, Duration::from_millis(2), Some("crash"))
        );
        let won = sighting(&events, "elected", |who| who == 1).unwrap();
        assert_eq!(won.detail.as_deref(), Some("epoch 7"));
        assert_eq!(sighting(&events, "promoted", |_| true), None);
        assert_eq!(elections(&events), [Elected { node: 1, at: Duration::from_millis(4) }]);
    }
}
