//! What nodes tell each other. How it looks on the wire: [`crate::wire`] and `docs/protocol.md`.

use crate::fence::Health;
use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId, Round};
use crate::membership::{Generation, Membership};
use crate::pause::Pause;
use crate::position::{Position, Progress};
use crate::rank::Seniority;
use crate::time::Duration;
use crate::words::words;
use std::fmt;

words! {
    /// The role a node says it has.
    pub enum Role {
        /// Holds the newest epoch it knows of and may write while its lease runs.
        Primary = "primary",
        /// Won an election; its host is still being promoted. Renews its lease, cannot be followed yet.
        Promoting = "promoting",
        /// Asks for votes.
        Candidate = "candidate",
        /// Follows a primary, or waits for one.
        Replica = "replica",
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

words! {
    /// What a node's vote record is worth.
    pub enum Standing {
        /// The record is known to hold every vote this node ever cast.
        Member = "member",
        /// The node started without a record: the cluster is new, or its disk was wiped and it may have
        /// forgotten votes. It does not vote until it knows which.
        New = "new",
    }
}

/// Version of the protocol.
pub const PROTOCOL: u16 = 1;

/// The longest [`Hello::terms`]: half a frame.
pub(crate) const TERMS_BYTES_MAX: usize = 2048;

/// The first frame of a link, from both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of the protocol: [`PROTOCOL`].
    pub protocol: u16,
    /// Name of the cluster; links between different clusters are refused.
    pub cluster: String,
    /// Who speaks.
    pub node: NodeId,
    /// Which start of its process.
    pub incarnation: Incarnation,
    /// What the sender wants all members to agree on; empty: it does not say.
    pub terms: String,
    /// What the one who dials gives to the one whom it reaches, if it gives anything.
    pub pass: Option<Pass>,
}

/// What a process gives to a peer that it dials, and to nobody else. Whoever can show it was reached at that peer's address, or by that
/// peer's key where links prove who speaks (T41 of `docs/protocol.md`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pass([u8; Pass::BYTES]);

impl Pass {
    /// How long one is.
    pub const BYTES: usize = 16;
    /// And as it is spelled.
    pub(crate) const DIGITS: usize = 2 * Self::BYTES;

    /// One of these bytes, which nobody else should be able to guess.
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Hexadecimal digits in lower case.
    pub(crate) fn digits(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    pub(crate) fn from_digits(digits: &[u8]) -> Option<Self> {
        let hexadecimal = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let digits =
            std::str::from_utf8(digits).ok().filter(|_| hexadecimal && digits.len() == Self::DIGITS)?;
        u128::from_str_radix(digits, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

/// A secret: it is shown nowhere.
impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pass")
    }
}

/// One node's regular sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// Number of this heartbeat; a node sends the same round to all its peers at the same instant.
    pub round: Round,
    /// The sender's role.
    pub role: Role,
    /// Whether the sender may vote.
    pub standing: Standing,
    /// How far the sender's data goes.
    pub progress: Progress,
    /// The primary that the sender follows (itself, if it is that).
    pub primary: Option<NodeId>,
    /// How long a primary relies on the promise that answers this; zero where the lease alone says it (W23).
    pub promise: Duration,
    /// How long a primary's lease may run at most from the send time of a heartbeat; zero from others. A voter
    /// promises to elect nobody else for so long that it outlasts that.
    pub lease: Duration,
    /// Whether the sender can serve as primary, and what is wrong if not.
    pub health: Health,
    /// The cluster that the sender belongs to, if it knows.
    pub identity: Option<Identity>,
    /// What an operator last said about automatic elections, if anything.
    pub pause: Option<Pause>,
}

impl Heartbeat {
    /// What a node says that knows nothing.
    pub(crate) const BLANK: Self = Self {
        epoch: Epoch::ZERO,
        round: Round(0),
        role: Role::Replica,
        standing: Standing::New,
        progress: Progress::NONE,
        primary: None,
        promise: Duration::ZERO,
        lease: Duration::ZERO,
        health: Health::Good,
        identity: None,
        pause: None,
    };

    /// What a node says that knows nothing, for tests that say the rest.
    #[cfg(feature = "test-util")]
    pub const fn blank() -> Self {
        Self::BLANK
    }
}

/// The answer to a primary's heartbeat (which renews its lease) or to one of a [`Standing::New`] node
/// (which learns what it may have forgotten).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The round that is answered.
    pub round: Round,
    /// The primary that the sender follows. Only an echo that names the receiver renews a lease.
    pub primary: Option<NodeId>,
    /// Whether the sender may vote; only echoes of members tell a new node what it may have forgotten.
    pub standing: Standing,
    /// How far the sender's data goes: a primary that hands over waits for this, not for the next heartbeat.
    pub progress: Progress,
}

/// A request for a pre-vote or a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The epoch that the sender wants to be primary in.
    pub epoch: Epoch,
    /// Numbers the sender's attempts, so that a late answer is not counted for another one.
    pub round: Round,
    /// The sender's data.
    pub position: Position,
}

/// A pre-vote or a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The offered epoch.
    pub epoch: Epoch,
    /// The offer's round.
    pub round: Round,
    /// The cluster that the sender belongs to, if it knows: whoever wins has to go on with that of its voters.
    pub identity: Option<Identity>,
}

words! {
    /// Which kind of offer a [`Reject`] answers.
    pub enum OfferKind {
        /// A pre-vote.
        PreVote = "pre-vote",
        /// A vote.
        Vote = "vote",
    }
}

/// A refused offer, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The offer's round.
    pub round: Round,
    /// What was refused.
    pub kind: OfferKind,
    /// What made the voter say no.
    pub reason: RejectReason,
    /// How far the sender's data goes.
    pub progress: Progress,
}

words! {
    /// Why a voter said no.
    #[non_exhaustive]
    pub enum RejectReason {
        /// It promised another primary or candidate not to, and the promise still runs.
        Promise = "promise",
        /// It is a primary whose lease runs.
        PrimaryAlive = "primary-alive",
        /// Its own data goes further, or it is as far and the better candidate itself.
        Position = "position",
        /// The offered epoch is not newer than its own, or it voted for another node in it.
        Epoch = "epoch",
        /// It started a short time ago and may have promised something before that.
        Booting = "booting",
        /// It started without a vote record and does not know yet what it may have forgotten.
        NoRecord = "no-record",
        /// It was primary a moment ago, and its last writes are still being counted.
        Settling = "settling",
        /// Its vote could not be saved.
        Store = "store",
        /// The sender may not become primary (priority 0, witness, observer).
        NotEligible = "not-eligible",
        /// Automatic elections are paused.
        Paused = "paused",
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// "I won": sent once by a primary that can be followed. Every later heartbeat repeats it, so a lost
/// announcement harms nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// The new primary's epoch.
    pub epoch: Epoch,
}

/// "I do not write, and shall not in this epoch or an earlier one": releases the promises made to the
/// sender. Sent only after the fence is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resign {
    /// The last epoch that the sender gives up.
    pub epoch: Epoch,
    /// Whom it wants to be elected next.
    pub successor: Option<NodeId>,
}

/// Everything that travels on an established link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Sign of life.
    Heartbeat(Heartbeat),
    /// Answer to it.
    Echo(Echo),
    /// Asks for a pre-vote.
    PreOffer(Offer),
    /// Gives a pre-vote.
    PreAccept(Grant),
    /// Asks for a vote.
    Offer(Offer),
    /// Gives a vote. It was durable before this was sent.
    Accept(Grant),
    /// Refuses either.
    Reject(Reject),
    /// Tells of a won election.
    Announce(Announce),
    /// Releases promises.
    Resign(Resign),
    /// Says how senior the sender is, where rank is by that.
    Rank(Seniority),
    /// Who votes, as the sender counts.
    Members(Membership),
    /// The sender has this list in its record.
    Held(Generation),
}

impl Message {
    /// The verb on the wire and in metrics.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Heartbeat(_) => Verb::Hb,
            Self::Echo(_) => Verb::Echo,
            Self::PreOffer(_) => Verb::PreOffer,
            Self::PreAccept(_) => Verb::PreAccept,
            Self::Offer(_) => Verb::Offer,
            Self::Accept(_) => Verb::Accept,
            Self::Reject(_) => Verb::Reject,
            Self::Announce(_) => Verb::Announce,
            Self::Resign(_) => Verb::Resign,
            Self::Rank(_) => Verb::Rank,
            Self::Members(_) => Verb::Members,
            Self::Held(_) => Verb::Held,
        }
    }
}

words! {
    /// The first word of a frame.
    pub enum Verb {
        /// [`Hello`]
        Hello = "HELLO",
        /// [`Heartbeat`]
        Hb = "HB",
        /// [`Echo`]
        Echo = "ECHO",
        /// [`Message::PreOffer`]
        PreOffer = "PREOFFER",
        /// [`Message::PreAccept`]
        PreAccept = "PREACCEPT",
        /// [`Message::Offer`]
        Offer = "OFFER",
        /// [`Message::Accept`]
        Accept = "ACCEPT",
        /// [`Reject`]
        Reject = "REJECT",
        /// [`Announce`]
        Announce = "ANNOUNCE",
        /// [`Resign`]
        Resign = "RESIGN",
        /// [`Seniority`]
        Rank = "RANK",
        /// [`Message::Members`]
        Members = "MEMBERS",
        /// [`Message::Held`]
        Held = "HELD",
    }
}

impl Verb {
    /// Whether the next message of the same kind says all that this one does, and more: then this one may be dropped where there is
    /// no room.
    pub const fn is_repeated(self) -> bool {
        match self {
            Self::Hb | Self::Echo | Self::Rank => true,
            Self::Hello
            | Self::PreOffer
            | Self::PreAccept
            | Self::Offer
            | Self::Accept
            | Self::Reject
            | Self::Announce
            | Self::Resign
            | Self::Members
            | Self::Held => false,
        }
    }
}
