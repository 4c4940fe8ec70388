//! What happened: the elector's decisions, in the order in which it took them. Metrics, logs and
//! `history` are made of these.

use crate::change::{ChangeRefused, Hindrance, MembersChange};
use crate::fence::{FenceReason, Health};
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::membership::Generation;
use crate::message::{OfferKind, RejectReason, Role};
use crate::position::{PositionError, Progress};
use crate::time::{Duration, Instant};
use crate::transfer::{TransferOutcome, TransferRefused};
use crate::words::words;
use std::fmt;

/// A decision, and when it was taken on this node's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When it was taken, on this node's clock.
    pub at: Instant,
    /// The node's epoch then.
    pub epoch: Epoch,
    /// What was decided.
    pub kind: EventKind,
}

impl Event {
    /// A decision taken at `at`, in `epoch`.
    pub fn new(at: Instant, epoch: Epoch, kind: EventKind) -> Self {
        Self { at, epoch, kind }
    }
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The node's role changed.
    RoleChanged {
        /// What it was.
        from: Role,
        /// What it is.
        to: Role,
        /// What led to it.
        reason: Reason,
    },
    /// The primary that this node follows (or is) changed.
    PrimaryChanged {
        /// The new one; `None`: nobody is known to reign.
        primary: Option<NodeId>,
    },
    /// The primary is held to be gone.
    PrimarySuspected {
        /// The one that is suspected.
        primary: Option<NodeId>,
        /// On what grounds.
        evidence: Reason,
        /// Time since it was last heard.
        silence: Duration,
    },
    /// This node asks for pre-votes or votes.
    Campaign {
        /// Whether pre-votes or votes are asked for.
        kind: OfferKind,
        /// The epoch asked for.
        epoch: Epoch,
        /// This node's data.
        progress: Progress,
    },
    /// A campaign of this node ended.
    CampaignEnded {
        /// Whether pre-votes or votes were asked for.
        kind: OfferKind,
        /// The epoch asked for.
        epoch: Epoch,
        /// What decided it.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// A voter answered this node's offer.
    Answered {
        /// Which offer.
        kind: OfferKind,
        /// Who answered.
        voter: NodeId,
        /// Yes, or no with the reason and the voter's data.
        answer: Result<(), (RejectReason, Progress)>,
    },
    /// This node answered an offer.
    Judged {
        /// Which offer.
        kind: OfferKind,
        /// Who asked.
        candidate: NodeId,
        /// The epoch asked for.
        epoch: Epoch,
        /// The candidate's data.
        progress: Progress,
        /// Yes, or no with the reason.
        answer: Result<(), RejectReason>,
    },
    /// The host serves as primary now.
    Promoted {
        /// From the won election to here.
        took: Duration,
    },
    /// Writes pass for the first time in this reign: the host serves, and a quorum has granted the lease.
    Writable {
        /// From the won election to here.
        took: Duration,
    },
    /// The host could not be promoted; the node resigned.
    PromoteFailed {
        /// What it said.
        error: String,
    },
    /// The host could not be pointed at the primary; it is tried again.
    FollowFailed {
        /// The primary.
        primary: NodeId,
        /// What it said.
        error: String,
    },
    /// The host follows the primary of this epoch.
    Following {
        /// The primary.
        primary: NodeId,
        /// From the decision to here.
        took: Duration,
    },
    /// Writes are refused from here on.
    Fenced {
        /// What the gate was shut for.
        reason: FenceReason,
    },
    /// Writes pass again, without an election.
    Unfenced {
        /// How long they did not.
        after: Duration,
    },
    /// The primary gave up its office.
    Resigned {
        /// Who gave the office up.
        node: NodeId,
        /// Whom it wants next.
        successor: Option<NodeId>,
    },
    /// A planned transfer of this node's office begins; writes go on.
    Transfer {
        /// To whom; `None`: to the best.
        to: Option<NodeId>,
    },
    /// A member of higher priority is to get the office back (H18); a transfer begins.
    FailsBack {
        /// Who.
        to: NodeId,
        /// For how long it has been ready.
        after: Duration,
    },
    /// An operator wants one that cannot begin.
    TransferRefused {
        /// The reason that the operator is given.
        why: TransferRefused,
    },
    /// A planned transfer ended.
    TransferEnded {
        /// To whom; `None`: to the best.
        to: Option<NodeId>,
        /// Whether somebody took over, or why nobody did.
        outcome: TransferOutcome,
        /// How long it took.
        took: Duration,
    },
    /// A peer is heard again.
    PeerUp {
        /// Who is heard again.
        peer: NodeId,
    },
    /// A peer has been silent for an election timeout, or its process is gone.
    PeerDown {
        /// Who is silent.
        peer: NodeId,
    },
    /// The vote record could not be saved; the votes that depended on it were not cast.
    SaveFailed {
        /// What the store said.
        error: String,
    },
    /// The host's position cannot be told to anybody: this node neither votes nor stands until it can.
    PositionRefused {
        /// What is wrong with the position.
        error: PositionError,
    },
    /// A peer's message was ignored because a value in it cannot be.
    Implausible {
        /// Who sent it.
        peer: NodeId,
        /// Which value cannot be.
        what: &'static str,
    },
    /// A member says that it is in an epoch that elections cannot have led to, and that this node approaches by bounded
    /// steps: it lies, or somebody has lied to it.
    EpochAhead {
        /// Who says so.
        peer: NodeId,
        /// The epoch that it claims.
        claimed: Epoch,
    },
    /// A primary's lease is longer than this voter's promise allows: it gets no echo from this node.
    LeaseMismatch {
        /// The primary.
        peer: NodeId,
        /// Its lease.
        lease: Duration,
        /// The longest this node can promise for.
        lease_max: Duration,
    },
    /// A peer's configuration says something else of the members, or of the timings that must agree, than this node's.
    TermsDiffer {
        /// The peer.
        peer: NodeId,
        /// In which entries, here and there.
        what: String,
    },
    /// It says the same again.
    TermsAgree {
        /// The peer.
        peer: NodeId,
    },
    /// A node that started without a record may vote from now on.
    Admitted,
    /// A node without a record was admitted by an operator's order: it, and the others without one, may have forgotten votes, and
    /// writes that only they confirmed are gone.
    AdmittedByOrder {
        /// The cluster that it belongs to from now on.
        cluster: ClusterId,
    },
    /// An operator paused automatic elections in the whole cluster, or let them go on.
    Paused {
        /// Whether they are paused from now on.
        paused: bool,
    },
    /// This node belongs to this cluster from now on.
    Belongs {
        /// Its id.
        cluster: ClusterId,
    },
    /// A peer belongs to another cluster than this node: neither follows the other or votes for it, until an operator decides
    /// whose data is given up.
    Foreign {
        /// The peer.
        peer: NodeId,
        /// Its cluster.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// A node says that it is primary while another one is. Of an older epoch it is one that has not heard yet, and may not write; of the
    /// same epoch a vote was forgotten, or somebody lies.
    TwoPrimaries {
        /// The one that this node follows, or is.
        primary: NodeId,
        /// The other one.
        other: NodeId,
        /// The epoch in which that one says it reigns.
        other_epoch: Epoch,
    },
    /// From here on this node counts by this list of voters.
    Members {
        /// Which one it is.
        generation: Generation,
        /// Who votes.
        voters: String,
    },
    /// A peer says another list of voters than this node's, and neither is the later one: their files differed when the cluster was formed.
    MembersContradict {
        /// The peer.
        peer: NodeId,
        /// Who votes, as it says.
        theirs: String,
        /// Who votes, as this node counts.
        ours: String,
    },
    /// An operator wants a change of who votes that cannot begin.
    ChangeRefused {
        /// The voter that was to be added or removed.
        change: MembersChange,
        /// The reason that the operator is given.
        why: ChangeRefused,
    },
    /// A change of who votes ended.
    ChangeEnded {
        /// The voter that was to be added or removed.
        change: MembersChange,
        /// What it waited for when it was given up; `None`: it is made, and a quorum has it.
        waits_for: Option<Hindrance>,
        /// How long it took.
        took: Duration,
    },
    /// This node has become unfit to be primary, in another way than before, or fit again.
    Fitness {
        /// How it is now.
        health: Health,
    },
}

words! {
    /// Why a role changed, and what a failover is labelled with.
    #[non_exhaustive]
    pub enum Reason {
        /// The node started, or no primary was ever known.
        Start = "start",
        /// The primary was silent for an election timeout.
        Timeout = "partition",
        /// The primary's process is gone.
        Crash = "crash",
        /// The primary's process was started anew.
        Restart = "restart",
        /// The primary resigned on request.
        Planned = "planned",
        /// An election was won.
        Won = "won",
        /// An election was lost or abandoned.
        Lost = "lost",
        /// A higher epoch was seen.
        HigherEpoch = "higher-epoch",
        /// Another primary reigns in this epoch.
        OtherPrimary = "other-primary",
        /// The host was promoted.
        Promoted = "promoted",
        /// The host failed.
        HostFailed = "host-failed",
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

words! {
    /// How a campaign ended.
    #[non_exhaustive]
    pub enum Outcome {
        /// A quorum said yes.
        Won = "won",
        /// Enough voters said no.
        Refused = "refused",
        /// Not enough answers in time.
        Expired = "expired",
        /// A primary or a higher epoch appeared.
        Overtaken = "overtaken",
    }
}

/// One line: `event=<snake_case_kind> epoch=<n> key=value ...`, for logs and for people.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event={} epoch={}", self.kind.name(), self.epoch)?;
        match &self.kind {
            EventKind::RoleChanged { from, to, reason } => write!(f, " from={from} to={to} reason={reason}"),
            EventKind::PrimaryChanged { primary } => write!(f, " primary={}", Or(*primary)),
            EventKind::PrimarySuspected { primary, evidence, silence } => {
                write!(f, " primary={} evidence={evidence} silence_ms={}", Or(*primary), Ms(*silence))
            }
            EventKind::Campaign { kind, epoch, progress } => {
                write!(f, " kind={} offered_epoch={epoch} position={progress}", kind.as_str())
            }
            EventKind::CampaignEnded { kind, epoch, outcome, took } => write!(
                f,
                " kind={} offered_epoch={epoch} outcome={} took_ms={}",
                kind.as_str(),
                outcome.as_str(),
                Ms(*took)
            ),
            EventKind::Answered { kind, voter, answer } => {
                write!(f, " kind={} voter={voter} answer=", kind.as_str())?;
                match answer {
                    Ok(()) => f.write_str("yes"),
                    Err((reason, progress)) => write!(f, "no reason={reason} position={progress}"),
                }
            }
            EventKind::Judged { kind, candidate, epoch, progress, answer } => {
                write!(f, " kind={} candidate={candidate} offered_epoch={epoch} ", kind.as_str())?;
                write!(f, "position={progress} answer=")?;
                match answer {
                    Ok(()) => f.write_str("yes"),
                    Err(reason) => write!(f, "no reason={reason}"),
                }
            }
            EventKind::Promoted { took } | EventKind::Writable { took } => {
                write!(f, " took_ms={}", Ms(*took))
            }
            EventKind::PromoteFailed { error } => write!(f, " error={error:?}"),
            EventKind::FollowFailed { primary, error } => write!(f, " primary={primary} error={error:?}"),
            EventKind::Following { primary, took } => write!(f, " primary={primary} took_ms={}", Ms(*took)),
            EventKind::Fenced { reason } => write!(f, " reason={}", reason.as_str()),
            EventKind::Unfenced { after } => write!(f, " after_ms={}", Ms(*after)),
            EventKind::Resigned { node, successor } => {
                write!(f, " node={node} successor={}", Or(*successor))
            }
            EventKind::Transfer { to } => write!(f, " to={}", Or(*to)),
            EventKind::FailsBack { to, after } => write!(f, " to={to} after_ms={}", Ms(*after)),
            EventKind::TransferRefused { why } => write!(f, " why={:?}", why.to_string()),
            EventKind::TransferEnded { to, outcome, took } => {
                write!(f, " to={} outcome={} took_ms={}", Or(*to), outcome.as_str(), Ms(*took))
            }
            EventKind::PeerUp { peer } | EventKind::PeerDown { peer } => write!(f, " peer={peer}"),
            EventKind::SaveFailed { error } => write!(f, " error={error:?}"),
            EventKind::PositionRefused { error } => write!(f, " error={:?}", error.to_string()),
            EventKind::Implausible { peer, what } => write!(f, " peer={peer} what={what}"),
            EventKind::EpochAhead { peer, claimed } => write!(f, " peer={peer} claimed_epoch={claimed}"),
            EventKind::LeaseMismatch { peer, lease, lease_max } => {
                write!(f, " peer={peer} lease_ms={} lease_max_ms={}", Ms(*lease), Ms(*lease_max))
            }
            EventKind::TermsDiffer { peer, what } => write!(f, " peer={peer} what={what:?}"),
            EventKind::TermsAgree { peer } => write!(f, " peer={peer}"),
            EventKind::Admitted => Ok(()),
            EventKind::Paused { paused } => write!(f, " paused={paused}"),
            EventKind::AdmittedByOrder { cluster } | EventKind::Belongs { cluster } => {
                write!(f, " cluster={cluster}")
            }
            EventKind::Foreign { peer, theirs, ours } => {
                write!(f, " peer={peer} theirs={theirs} ours={ours}")
            }
            EventKind::TwoPrimaries { primary, other, other_epoch } => {
                write!(f, " primary={primary} other={other} other_epoch={other_epoch}")
            }
            EventKind::Members { generation, voters } => {
                write!(f, " generation={generation} voters={voters}")
            }
            EventKind::MembersContradict { peer, theirs, ours } => {
                write!(f, " peer={peer} theirs={theirs} ours={ours}")
            }
            EventKind::ChangeRefused { change, why } => {
                write!(f, " change={:?} why={:?}", change.to_string(), why.to_string())
            }
            EventKind::ChangeEnded { change, waits_for, took } => {
                let outcome = waits_for.map_or("done".to_owned(), |what| what.to_string());
                write!(f, " change={:?} outcome={outcome:?} took_ms={}", change.to_string(), Ms(*took))
            }
            EventKind::Fitness { health } => write!(f, " health={}", health.as_str()),
        }
    }
}

impl EventKind {
    /// How loud it is: an error needs somebody to act, a warning is worth a look, the rest tells the story.
    pub const fn level(&self) -> log::Level {
        match self {
            Self::PromoteFailed { .. }
            | Self::SaveFailed { .. }
            | Self::PositionRefused { .. }
            | Self::Foreign { .. }
            | Self::AdmittedByOrder { .. }
            | Self::TermsDiffer { .. }
            | Self::MembersContradict { .. }
            | Self::EpochAhead { .. }
            | Self::LeaseMismatch { .. } => log::Level::Error,
            Self::PrimarySuspected { .. }
            | Self::FollowFailed { .. }
            | Self::Fenced { .. }
            | Self::TransferRefused { .. }
            | Self::ChangeRefused { .. }
            | Self::ChangeEnded { waits_for: Some(_), .. }
            | Self::Paused { paused: true }
            | Self::TransferEnded { outcome: TransferOutcome::Late, .. }
            | Self::PeerDown { .. }
            | Self::TwoPrimaries { .. }
            | Self::Fitness { .. }
            | Self::Implausible { .. } => log::Level::Warn,
            _ => log::Level::Info,
        }
    }

    /// The word for it in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RoleChanged { .. } => "role",
            Self::PrimaryChanged { .. } => "primary",
            Self::PrimarySuspected { .. } => "suspected",
            Self::Campaign { .. } => "campaign",
            Self::CampaignEnded { kind: OfferKind::Vote, outcome: Outcome::Won, .. } => "elected",
            Self::CampaignEnded { .. } => "campaign_ended",
            Self::Answered { .. } => "answered",
            Self::Judged { .. } => "judged",
            Self::Promoted { .. } => "promoted",
            Self::Writable { .. } => "writable",
            Self::PromoteFailed { .. } => "promote_failed",
            Self::FollowFailed { .. } => "follow_failed",
            Self::Following { .. } => "following",
            Self::Fenced { .. } => "fenced",
            Self::Unfenced { .. } => "unfenced",
            Self::Resigned { .. } => "resigned",
            Self::Transfer { .. } => "transfer",
            Self::FailsBack { .. } => "failback",
            Self::TransferRefused { .. } => "transfer_refused",
            Self::TransferEnded { .. } => "transfer_ended",
            Self::PeerUp { .. } => "peer_up",
            Self::PeerDown { .. } => "peer_down",
            Self::SaveFailed { .. } => "save_failed",
            Self::PositionRefused { .. } => "position_refused",
            Self::Implausible { .. } => "implausible",
            Self::EpochAhead { .. } => "epoch_ahead",
            Self::LeaseMismatch { .. } => "lease_mismatch",
            Self::TermsDiffer { .. } => "terms_differ",
            Self::TermsAgree { .. } => "terms_agree",
            Self::Admitted => "admitted",
            Self::Paused { .. } => "paused",
            Self::AdmittedByOrder { .. } => "admitted_by_order",
            Self::Belongs { .. } => "belongs",
            Self::Foreign { .. } => "foreign",
            Self::TwoPrimaries { .. } => "two_primaries",
            Self::Members { .. } => "members",
            Self::MembersContradict { .. } => "members_contradict",
            Self::ChangeRefused { .. } => "change_refused",
            Self::ChangeEnded { .. } => "change_ended",
            Self::Fitness { .. } => "fitness",
        }
    }
}

/// A node, or `none`.
struct Or(Option<NodeId>);

impl fmt::Display for Or {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Milliseconds with three places.
struct Ms(Duration);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.as_secs_f64() * 1e3)
    }
}
