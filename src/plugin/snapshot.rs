//! What a node believes, in one consistent copy.

use crate::change::{Hindrance, MembersChange};
use crate::config::{Config, MemberKind};
use crate::fence::{FenceReason, Health};
use crate::ids::{ClusterId, Epoch, Incarnation, NodeId};
use crate::membership::{Generation, Membership};
use crate::message::{Role, Standing};
use crate::pause::Pause;
use crate::position::Progress;
use crate::time::Duration;
use crate::transport::Directions;

/// What this node believes about itself and the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ElectSnapshot {
    /// This node.
    pub node: NodeId,
    /// Which start of its process.
    pub incarnation: Incarnation,
    /// What it is for: whether it votes is what its record says, and not its configuration.
    pub kind: MemberKind,
    /// Its preference among candidates with equal data.
    pub priority: u8,
    /// Its role.
    pub role: Role,
    /// Its epoch.
    pub epoch: Epoch,
    /// The primary it follows, or itself.
    pub primary: Option<NodeId>,
    /// Whether its vote record is complete.
    pub standing: Standing,
    /// The id of the cluster that it belongs to for good.
    pub cluster: Option<ClusterId>,
    /// How far its data goes.
    pub progress: Progress,
    /// Whether writes pass its gate now.
    pub writable: bool,
    /// Whether automatic elections are paused.
    pub paused: bool,
    /// What an operator last said about them, if anything.
    pub pause: Option<Pause>,
    /// Whether a quorum says that it has this order.
    pub pause_agreed: bool,
    /// How long a lease runs when it is renewed.
    pub lease: Duration,
    /// How long the lease still runs; zero without one.
    pub lease_left: Duration,
    /// Why writes are refused, on a primary whose are.
    pub fenced: Option<FenceReason>,
    /// The other members, in the order of their ids.
    pub peers: Vec<PeerSnapshot>,
    /// Voters that were heard within an election timeout, this one included.
    pub voters_reachable: usize,
    /// How many are needed.
    pub quorum: usize,
    /// Who votes, by this node's record.
    pub membership: Membership,
    /// The change of that which is under way at this primary, and what it waits for.
    pub change: Option<(MembersChange, Option<Hindrance>)>,
    /// Why the node is in this state, for people: one sentence.
    pub why: String,
    /// Whether it can serve as primary, and what is wrong if not.
    pub health: Health,
    /// The same for people, where the host says it.
    pub ailment: Option<String>,
}

impl ElectSnapshot {
    /// What is known before the election runs: where to begin for who makes one up.
    pub fn not_started(config: &Config) -> Self {
        let own = config.own();
        Self {
            node: config.node(),
            incarnation: Incarnation(0),
            kind: own.kind,
            priority: own.priority,
            role: Role::Replica,
            epoch: Epoch::ZERO,
            primary: None,
            standing: Standing::New,
            cluster: None,
            progress: Progress::NONE,
            writable: false,
            paused: false,
            pause: None,
            pause_agreed: false,
            lease: config.lease(),
            lease_left: Duration::ZERO,
            fenced: None,
            peers: Vec::new(),
            voters_reachable: 0,
            quorum: config.quorum(),
            membership: Membership::of_file(config),
            change: None,
            why: "the election has not started".to_owned(),
            health: Health::Good,
            ailment: None,
        }
    }
}

/// What this node believes about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSnapshot {
    /// Its id.
    pub id: NodeId,
    /// Heard within an election timeout, and its process not known to be gone.
    pub up: bool,
    /// Time since its last heartbeat; `None` if never heard.
    pub silence: Option<Duration>,
    /// The role it last said it has.
    pub role: Option<Role>,
    /// The epoch it last said.
    pub epoch: Epoch,
    /// What it is for, as this node counts.
    pub kind: MemberKind,
    /// Its preference among candidates with equal data.
    pub priority: u8,
    /// Which list of voters it is known to have in its record.
    pub membership: Option<Generation>,
    /// How far it last said its data goes.
    pub progress: Progress,
    /// The primary it last said it follows.
    pub primary: Option<NodeId>,
    /// Whether it last said that it can serve as primary.
    pub health: Health,
    /// The id of the cluster that it said it belongs to.
    pub cluster: Option<ClusterId>,
    /// That is another one than this node's: nothing that it says counts.
    pub foreign: bool,
    /// In what its configuration differs from this node's: members, and timings that must agree.
    pub differs: Option<String>,
    /// Whether it is linked now.
    pub linked: bool,
    /// Its links in both directions; `None` where the transport does not tell them apart.
    pub links: Option<Directions>,
}

impl PeerSnapshot {
    /// A peer of which nothing was heard.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            up: false,
            silence: None,
            role: None,
            epoch: Epoch::ZERO,
            kind: MemberKind::Observer,
            priority: 0,
            membership: None,
            progress: Progress::NONE,
            primary: None,
            health: Health::Good,
            cluster: None,
            foreign: false,
            differs: None,
            linked: false,
            links: None,
        }
    }
}
