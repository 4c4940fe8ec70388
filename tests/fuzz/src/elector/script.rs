//! What libFuzzer draws: a cluster, a record, and what happens.

use crate::numbers::Number;
use arbitrary::Arbitrary;
use kevy_elect_plugin::config::Member;
use kevy_elect_plugin::elector::Command;
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{EPOCH_MAX, Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::membership::{Generation, Membership, Voter};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role, Standing, Verb,
};
use kevy_elect_plugin::pause::Pause;
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::state::HardState;
use kevy_elect_plugin::time::Duration;

/// What raw times are near to: an hour.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// One run.
#[derive(Debug, Clone, Arbitrary)]
pub struct Script {
    pub(super) seed: u64,
    pub(super) clock_nanos: u64,
    pub(super) dominate: bool,
    others: u8,
    witness: bool,
    observer: bool,
    record: Option<Record>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, Arbitrary)]
struct Record {
    epoch: Number,
    voted_for: Option<u8>,
    new: bool,
    incarnation: Number,
    position: Data,
}

#[derive(Debug, Clone, Arbitrary)]
pub(super) enum Step {
    Message {
        from: u8,
        say: Say,
    },
    /// A good answer to what was asked last.
    Answer {
        from: u8,
        yes: bool,
    },
    /// A good echo of the last heartbeat.
    Echo {
        from: u8,
    },
    Link {
        peer: u8,
        event: Link,
    },
    Wait(Time),
    WaitForTimer,
    Timeout,
    EarlyTimeout(Time),
    Saved,
    SaveFailed {
        kept: bool,
    },
    Host(Report),
    Command(Operator),
    Restart {
        lost: bool,
        floor: u64,
    },
}

#[derive(Debug, Clone, Arbitrary)]
pub(super) enum Say {
    Heartbeat {
        epoch: Number,
        round: Number,
        role: u8,
        new: bool,
        data: Brief,
        primary: Option<u8>,
        lease: Time,
    },
    Echo {
        epoch: Number,
        round: Number,
        primary: Option<u8>,
        new: bool,
        data: Brief,
    },
    PreOffer {
        epoch: Number,
        round: Number,
        data: Data,
    },
    Offer {
        epoch: Number,
        round: Number,
        data: Data,
    },
    PreAccept {
        epoch: Number,
        round: Number,
    },
    Accept {
        epoch: Number,
        round: Number,
    },
    Reject {
        epoch: Number,
        round: Number,
        vote: bool,
        reason: u8,
        data: Brief,
    },
    Announce {
        epoch: Number,
    },
    Resign {
        epoch: Number,
        successor: Option<u8>,
    },
    Members {
        epoch: Number,
        counter: u8,
        voters: Vec<(u8, bool)>,
    },
    Held {
        epoch: Number,
        counter: u8,
    },
}

#[derive(Debug, Clone, Arbitrary)]
pub(super) enum Report {
    Position { stream: Number, offsets: Vec<Number> },
    Fenced,
    Promoted(Number),
    PromoteFailed(Number),
    Followed(Number),
    FollowFailed(Number),
    Health(Fit),
}

#[derive(Debug, Clone, Arbitrary)]
pub(super) struct Brief {
    stream: Number,
    offset: Number,
}

#[derive(Debug, Clone, Arbitrary)]
pub(super) struct Data {
    stream: Number,
    offsets: Vec<Number>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Time {
    Heartbeat,
    Timeout,
    Millis(u16),
    Nanos(u32),
    /// A number in nanoseconds, up to the end of time.
    Raw(Number),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Link {
    Up(Number),
    Closed,
    OlderClosed(Number),
    Reset,
    Refused,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Operator {
    Transfer { to: Option<u8>, time: Time },
    Shutdown,
    Pause { number: u8, paused: bool },
    ClockJumped,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Fit {
    Good,
    Failing,
}

/// What numbers of the script are near to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) epoch: Epoch,
    pub(super) beat: Round,
    pub(super) campaign: Round,
}

impl Script {
    /// One to seven voters, perhaps a witness and an observer.
    pub(super) fn members(&self) -> Vec<Member> {
        let name = |number: u8| NodeId::new(&format!("n{number}")).expect("a name");
        let voters = 1 + self.others % 7;
        let mut members: Vec<Member> = (0..voters).map(|number| Member::voter(name(number))).collect();
        if self.witness {
            members.push(Member::witness(name(8)));
        }
        if self.observer {
            members.push(Member::observer(name(9)));
        }
        members
    }

    /// What the disk holds at first. No store gives out an epoch above the highest.
    pub(super) fn record(&self, members: &[Member]) -> Option<HardState> {
        let record = self.record.as_ref()?;
        let standing = if record.new { Standing::New } else { Standing::Member };
        let voted_for = record.voted_for.map(|number| members[usize::from(number) % members.len()].id);
        Some(HardState {
            epoch: Epoch(record.epoch.at(3)).min(EPOCH_MAX),
            voted_for,
            standing,
            incarnation: Incarnation(record.incarnation.at(1)),
            identity: None,
            members: None,
            promise: kevy_elect_plugin::time::Duration::from_secs(1),
            pause: None,
            floor: kevy_elect_plugin::position::Progress::NONE,
            position: record.position.at(3),
        })
    }
}

impl Data {
    fn at(&self, epoch: u64) -> Position {
        let offsets: Vec<u64> = self.offsets.iter().take(128).map(|offset| offset.at(0)).collect();
        // A peer's comes through the codec, which lets no higher one pass (W7).
        Position::new(Epoch(self.stream.at(epoch)).min(EPOCH_MAX), &offsets).expect("at most 128 shards")
    }
}

impl Brief {
    fn at(&self, epoch: u64) -> Progress {
        Progress { stream_epoch: Epoch(self.stream.at(epoch)), offset: self.offset.at(0) }
    }
}

/// A verb that is missing here is missing in [`Say`], and may be one that `elector.rs` has to judge.
const _: fn(Verb) = |verb| match verb {
    Verb::Hello | Verb::Hb | Verb::Echo | Verb::PreOffer | Verb::PreAccept | Verb::Offer => {}
    Verb::Accept | Verb::Reject | Verb::Announce | Verb::Resign | Verb::Members | Verb::Held | Verb::Rank => {}
};

impl Say {
    pub(super) fn message(&self, known: Known, name: impl Fn(u8) -> NodeId) -> Message {
        let at = |number: &Number| Epoch(number.at(known.epoch.0));
        let beat = |number: &Number| Round(number.at(known.beat.0));
        let campaign = |number: &Number| Round(number.at(known.campaign.0));
        let standing = |new: bool| if new { Standing::New } else { Standing::Member };
        match self {
            Self::Heartbeat { epoch, round, role, new, data, primary, lease } => {
                Message::Heartbeat(Heartbeat {
                    epoch: at(epoch),
                    round: beat(round),
                    role: Role::ALL[usize::from(*role) % Role::ALL.len()],
                    standing: standing(*new),
                    progress: data.at(known.epoch.0),
                    primary: primary.map(name),
                    promise: kevy_elect_plugin::time::Duration::ZERO,
                    lease: lease.duration(),
                    health: Health::Good,
                    identity: None,
                    pause: None,
                })
            }
            Self::Echo { epoch, round, primary, new, data } => Message::Echo(Echo {
                epoch: at(epoch),
                round: beat(round),
                primary: primary.map(name),
                standing: standing(*new),
                progress: data.at(known.epoch.0),
            }),
            Self::PreOffer { epoch, round, data } => {
                let position = data.at(known.epoch.0);
                Message::PreOffer(Offer { epoch: at(epoch), round: campaign(round), position })
            }
            Self::Offer { epoch, round, data } => {
                let position = data.at(known.epoch.0);
                Message::Offer(Offer { epoch: at(epoch), round: campaign(round), position })
            }
            Self::PreAccept { epoch, round } => {
                Message::PreAccept(Grant { epoch: at(epoch), round: campaign(round), identity: None })
            }
            Self::Accept { epoch, round } => {
                Message::Accept(Grant { epoch: at(epoch), round: campaign(round), identity: None })
            }
            Self::Reject { epoch, round, vote, reason, data } => Message::Reject(Reject {
                epoch: at(epoch),
                round: campaign(round),
                kind: if *vote { OfferKind::Vote } else { OfferKind::PreVote },
                reason: RejectReason::ALL[usize::from(*reason) % RejectReason::ALL.len()],
                progress: data.at(known.epoch.0),
            }),
            Self::Announce { epoch } => Message::Announce(Announce { epoch: at(epoch) }),
            Self::Resign { epoch, successor } => {
                Message::Resign(Resign { epoch: at(epoch), successor: successor.map(name) })
            }
            Self::Members { epoch, counter, voters } => {
                let generation = Generation { epoch: at(epoch), counter: u64::from(*counter) };
                let voters = voters.iter().map(|(of, witness)| Voter { id: name(*of), witness: *witness });
                // What is no list does not come out of a frame.
                Membership::new(generation, voters).map_or(Message::Held(generation), Message::Members)
            }
            Self::Held { epoch, counter } => {
                Message::Held(Generation { epoch: at(epoch), counter: u64::from(*counter) })
            }
        }
    }

    pub(super) fn answer(vote: bool, offer: &Offer, yes: bool) -> Message {
        let grant = Grant { epoch: offer.epoch, round: offer.round, identity: None };
        match (vote, yes) {
            (false, true) => Message::PreAccept(grant),
            (true, true) => Message::Accept(grant),
            (vote, false) => Message::Reject(Reject {
                epoch: Epoch(offer.epoch.0 - 1),
                round: offer.round,
                kind: if vote { OfferKind::Vote } else { OfferKind::PreVote },
                reason: RejectReason::Promise,
                progress: Progress::NONE,
            }),
        }
    }

    pub(super) fn echo(epoch: Epoch, round: Round, primary: NodeId) -> Message {
        let (primary, progress) = (Some(primary), Progress::NONE);
        Message::Echo(Echo { epoch, round, primary, standing: Standing::Member, progress })
    }
}

impl Time {
    pub(super) fn duration(self) -> Duration {
        match self {
            Self::Heartbeat => Duration::from_millis(100),
            Self::Timeout => Duration::from_millis(1000),
            Self::Millis(millis) => Duration::from_millis(u64::from(millis)),
            Self::Nanos(nanos) => Duration::from_nanos(u64::from(nanos)),
            Self::Raw(number) => Duration::from_nanos(number.at(WAIT_MAX.as_nanos() as u64)),
        }
    }
}

impl Link {
    pub(super) fn event(self) -> LinkEvent {
        match self {
            Self::Up(incarnation) => LinkEvent::Up { incarnation: Incarnation(incarnation.at(1)) },
            Self::Closed => LinkEvent::Closed,
            Self::OlderClosed(incarnation) => {
                LinkEvent::OlderClosed { incarnation: Incarnation(incarnation.at(1)) }
            }
            Self::Reset => LinkEvent::Reset,
            Self::Refused => LinkEvent::Refused,
        }
    }
}

impl Operator {
    pub(super) fn command(self, name: impl Fn(u8) -> NodeId) -> Command {
        match self {
            Self::Transfer { to, time } => Command::Transfer { to: to.map(name), patience: time.duration() },
            Self::Shutdown => Command::Shutdown,
            Self::Pause { number, paused } => {
                Command::Pause(Pause { number: u64::from(number), paused })
            }
            Self::ClockJumped => Command::ClockJumped,
        }
    }
}

impl Fit {
    pub(super) fn health(self) -> Health {
        match self {
            Self::Good => Health::Good,
            Self::Failing => Health::Failing,
        }
    }
}
