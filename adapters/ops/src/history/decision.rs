//! Events made into decisions: who became primary, why, who voted for it, who refused and why.

use kevy_elect_plugin::event::{Event, EventKind, Reason};
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::transfer::TransferOutcome;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most answers and the most campaigns that one decision keeps; what comes on top is not told.
const ENTRIES_MAX: usize = 256;

/// One decision, as this node saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Decision {
    /// When, in milliseconds of Unix time.
    pub(crate) at_ms: u64,
    /// Who tells it.
    pub(crate) node: String,
    pub(crate) epoch: u64,
    /// `promoted`, `followed`, `kept`, `promote-failed`, `fenced`, `unfenced` or `forced`.
    pub(crate) what: String,
    /// The primary before.
    pub(crate) from: Option<String>,
    /// The primary after.
    pub(crate) to: Option<String>,
    pub(crate) why: String,
    /// What others answered to this node's offers.
    pub(crate) votes: Vec<Vote>,
    /// What this node answered to the offers of others.
    pub(crate) judged: Vec<Judgement>,
    /// This node's offers, and how they ended.
    pub(crate) campaigns: Vec<Attempt>,
    pub(crate) phases: Phases,
    /// So many decisions between the one before and this were left out, because there were too many.
    pub(crate) left_out: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Vote {
    pub(crate) kind: String,
    pub(crate) voter: String,
    pub(crate) yes: bool,
    pub(crate) reason: Option<String>,
    /// The voter's data, as it told with its refusal, or in its last heartbeat before its vote: `stream epoch:offset`.
    pub(crate) position: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Judgement {
    pub(crate) kind: String,
    pub(crate) candidate: String,
    pub(crate) epoch: u64,
    /// The candidate's data.
    pub(crate) position: String,
    pub(crate) yes: bool,
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    pub(crate) kind: String,
    pub(crate) epoch: u64,
    /// This node's data.
    pub(crate) position: String,
    pub(crate) outcome: Option<String>,
    pub(crate) took_ms: Option<f64>,
}

/// How long each part took, in milliseconds, where this node saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Phases {
    pub(crate) detect_ms: Option<f64>,
    pub(crate) elect_ms: Option<f64>,
    pub(crate) promote_ms: Option<f64>,
    pub(crate) retarget_ms: Option<f64>,
}

/// Collects events until they make a decision.
#[derive(Debug)]
pub(crate) struct Collector {
    node: NodeId,
    primary: Option<NodeId>,
    /// The last primary that was decided on.
    settled: Option<NodeId>,
    draft: Decision,
    suspected: Option<kevy_elect_plugin::time::Instant>,
}

impl Collector {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, primary: None, settled: None, draft: Decision::default(), suspected: None }
    }

    /// Takes note of `event`; gives what it completes. `held`: what a peer last said its data is.
    pub(crate) fn note(
        &mut self,
        event: &Event,
        at_ms: u64,
        held: impl Fn(NodeId) -> Option<Progress>,
    ) -> Option<Decision> {
        match &event.kind {
            EventKind::PrimarySuspected { primary, evidence, silence } => {
                self.draft.why = evidence.to_string();
                self.draft.from = primary.map(|id| id.to_string());
                self.draft.phases.detect_ms = Some(ms(*silence));
                self.suspected = Some(event.at);
            }
            EventKind::PrimaryChanged { primary } => {
                self.primary = *primary;
                let again = primary.is_some() && *primary == self.settled && self.suspected.is_some();
                if again && *primary != Some(self.node) {
                    return Some(self.close("kept", *primary, event, at_ms));
                }
            }
            EventKind::Campaign { kind, epoch, progress } => push(
                &mut self.draft.campaigns,
                Attempt {
                    kind: kind.as_str().to_owned(),
                    epoch: epoch.0,
                    position: progress.to_string(),
                    ..Attempt::default()
                },
            ),
            EventKind::CampaignEnded { kind, epoch, outcome, took } => {
                let same = |attempt: &&mut Attempt| attempt.kind == kind.as_str() && attempt.epoch == epoch.0;
                if let Some(attempt) = self.draft.campaigns.iter_mut().rev().find(same) {
                    attempt.outcome = Some(outcome.as_str().to_owned());
                    attempt.took_ms = Some(ms(*took));
                }
                if event.kind.name() == "elected" {
                    let since = self.suspected.map(|at| event.at.saturating_since(at)).unwrap_or(*took);
                    self.draft.phases.elect_ms = Some(ms(since));
                }
            }
            EventKind::Answered { kind, voter, answer } => {
                let offered = self.draft.campaigns.last().map_or(event.epoch.0, |attempt| attempt.epoch);
                let position = match answer {
                    Err((_, progress)) => Some(*progress),
                    // By now it may hold the history of the epoch that it voted in.
                    Ok(()) => held(*voter).filter(|progress| progress.stream_epoch.0 < offered),
                };
                let vote = Vote {
                    kind: kind.as_str().to_owned(),
                    voter: voter.to_string(),
                    yes: answer.is_ok(),
                    reason: answer.err().map(|(reason, _)| reason.to_string()),
                    position: position.map(|progress| progress.to_string()),
                };
                push(&mut self.draft.votes, vote);
            }
            EventKind::Judged { kind, candidate, epoch, progress, answer } => push(
                &mut self.draft.judged,
                Judgement {
                    kind: kind.as_str().to_owned(),
                    candidate: candidate.to_string(),
                    epoch: epoch.0,
                    position: progress.to_string(),
                    yes: answer.is_ok(),
                    reason: answer.err().map(|reason| reason.to_string()),
                },
            ),
            EventKind::RoleChanged { reason, .. } if self.draft.why.is_empty() => {
                self.draft.why = reason.to_string();
            }
            EventKind::Promoted { took } => {
                self.draft.phases.promote_ms = Some(ms(*took));
                return Some(self.close("promoted", Some(self.node), event, at_ms));
            }
            EventKind::PromoteFailed { error } => {
                self.draft.why = format!("{}; {error}", self.draft.why);
                return Some(self.close("promote-failed", None, event, at_ms));
            }
            EventKind::Following { primary, took } => {
                self.draft.phases.retarget_ms = Some(ms(*took));
                return Some(self.close("followed", Some(*primary), event, at_ms));
            }
            EventKind::Fenced { reason } => {
                return Some(self.aside("fenced", reason.as_str().to_owned(), event, at_ms));
            }
            EventKind::Paused { paused } => {
                let (outcome, why) = match paused {
                    true => ("paused", "an operator's order: no automatic elections"),
                    false => ("resumed", "an operator's order: automatic elections go on"),
                };
                return Some(self.aside(outcome, why.to_owned(), event, at_ms));
            }
            EventKind::FailsBack { to, after } => {
                let why = format!("{to} has been ready for {:.0} ms: it has the higher priority", ms(*after));
                return Some(self.aside("failback", why, event, at_ms));
            }
            EventKind::TransferRefused { why } => {
                return Some(self.aside("transfer-refused", why.to_string(), event, at_ms));
            }
            EventKind::TransferEnded { to, outcome, took } if *outcome != TransferOutcome::HandedOver => {
                let to = to.map_or("the best replica".to_owned(), |to| to.to_string());
                let why = format!("to {to}: {} after {:.0} ms", outcome.as_str(), ms(*took));
                return Some(self.aside("transfer-ended", why, event, at_ms));
            }
            EventKind::Unfenced { after } => {
                let why = format!("a quorum answered again after {:.0} ms", ms(*after));
                return Some(self.aside("unfenced", why, event, at_ms));
            }
            _ => {}
        }
        None
    }

    fn close(&mut self, what: &str, to: Option<NodeId>, event: &Event, at_ms: u64) -> Decision {
        let mut decision = std::mem::take(&mut self.draft);
        self.suspected = None;
        let before = std::mem::replace(&mut self.settled, to);
        if decision.from.is_none() {
            decision.from = before.map(|id| id.to_string());
        }
        if decision.why.is_empty() {
            let why = if before.is_none() { Reason::Start } else { Reason::OtherPrimary };
            decision.why = why.to_string();
        }
        Decision {
            at_ms,
            node: self.node.to_string(),
            epoch: event.epoch.0,
            what: what.to_owned(),
            to: to.map(|id| id.to_string()),
            ..decision
        }
    }

    /// A decision about this node alone: the election's draft goes on.
    fn aside(&self, what: &str, why: String, event: &Event, at_ms: u64) -> Decision {
        let me = Some(self.node.to_string());
        Decision {
            at_ms,
            node: self.node.to_string(),
            epoch: event.epoch.0,
            what: what.to_owned(),
            from: me.clone(),
            to: me,
            why,
            ..Decision::default()
        }
    }
}

fn push<T>(entries: &mut Vec<T>, entry: T) {
    if entries.len() < ENTRIES_MAX {
        entries.push(entry);
    }
}

fn ms(duration: Duration) -> f64 {
    // Whole microseconds: more is noise, and makes the file hard to read.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_elect_plugin::event::Outcome;
    use kevy_elect_plugin::ids::Epoch;
    use kevy_elect_plugin::message::{OfferKind, RejectReason, Role};
    use kevy_elect_plugin::time::Instant;

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn tell(collector: &mut Collector, at: u64, kinds: Vec<EventKind>) -> Vec<Decision> {
        let event = |kind| Event::new(Instant::from_nanos(at * 1_000_000), Epoch(7), kind);
        // `d` has joined the new history already.
        let held = |peer| {
            let stream_epoch = Epoch(if peer == id("d") { 7 } else { 6 });
            Some(Progress { stream_epoch, offset: 40 })
        };
        kinds.into_iter().filter_map(|kind| collector.note(&event(kind), 1000 + at, held)).collect()
    }

    #[test]
    fn a_failover_becomes_one_decision_with_votes_refusals_and_phases() {
        let mut collector = Collector::new(id("b"));
        let followed = EventKind::Following { primary: id("a"), took: Duration::from_millis(1) };
        let first = tell(&mut collector, 0, vec![followed]).pop().unwrap();
        assert_eq!((first.why.as_str(), first.from, first.to.as_deref()), ("start", None, Some("a")));
        let progress = Progress { stream_epoch: Epoch(6), offset: 41 };
        let started = vec![
            EventKind::PrimarySuspected {
                primary: Some(id("a")),
                evidence: Reason::Crash,
                silence: Duration::from_millis(90),
            },
            EventKind::PrimaryChanged { primary: None },
            EventKind::Judged {
                kind: OfferKind::PreVote,
                candidate: id("c"),
                epoch: Epoch(7),
                progress,
                answer: Err(RejectReason::Position),
            },
            EventKind::Campaign { kind: OfferKind::Vote, epoch: Epoch(7), progress },
            EventKind::Answered {
                kind: OfferKind::Vote,
                voter: id("d"),
                answer: Err((RejectReason::Promise, progress)),
            },
            EventKind::Answered { kind: OfferKind::Vote, voter: id("c"), answer: Ok(()) },
            EventKind::Answered { kind: OfferKind::Vote, voter: id("d"), answer: Ok(()) },
        ];
        assert_eq!(tell(&mut collector, 100, started), []);
        let won = vec![
            EventKind::CampaignEnded {
                kind: OfferKind::Vote,
                epoch: Epoch(7),
                outcome: Outcome::Won,
                took: Duration::from_millis(4),
            },
            EventKind::RoleChanged { from: Role::Candidate, to: Role::Promoting, reason: Reason::Won },
            EventKind::PrimaryChanged { primary: Some(id("b")) },
            EventKind::Promoted { took: Duration::from_millis(2) },
        ];
        let decided = tell(&mut collector, 105, won).pop().unwrap();
        assert_eq!((decided.what.as_str(), decided.epoch, decided.at_ms), ("promoted", 7, 1105));
        assert_eq!((decided.from.as_deref(), decided.to.as_deref()), (Some("a"), Some("b")));
        assert_eq!(decided.why, "crash");
        let refused = &decided.votes[0];
        assert_eq!(
            (refused.voter.as_str(), refused.yes, refused.reason.as_deref()),
            ("d", false, Some("promise"))
        );
        assert_eq!(refused.position.as_deref(), Some("6:41"));
        assert_eq!((decided.votes[1].yes, decided.votes[1].position.as_deref()), (true, Some("6:40")));
        assert_eq!(
            (decided.votes[2].yes, &decided.votes[2].position),
            (true, &None),
            "not what it held then"
        );
        assert_eq!(decided.judged[0].reason.as_deref(), Some("position"));
        assert_eq!(decided.campaigns[0].outcome.as_deref(), Some("won"));
        let Phases { detect_ms, elect_ms, promote_ms, retarget_ms } = decided.phases;
        assert_eq!((detect_ms, elect_ms, promote_ms, retarget_ms), (Some(90.0), Some(5.0), Some(2.0), None));
        assert_eq!(collector.draft, Decision::default(), "the next one starts afresh");
    }

    #[test]
    fn a_flood_of_offers_does_not_grow_a_decision() {
        let mut collector = Collector::new(id("b"));
        let flood = EventKind::Judged {
            kind: OfferKind::PreVote,
            candidate: id("c"),
            epoch: Epoch(7),
            progress: Progress::NONE,
            answer: Err(RejectReason::PrimaryAlive),
        };
        tell(&mut collector, 0, vec![flood; 10_000]);
        assert_eq!(collector.draft.judged.len(), ENTRIES_MAX);
    }
}
