//! What this node knows now, and for how long it may say so.

use crate::members::Members;
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::plugin::{ElectPlugin, ElectSnapshot};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Says what a node knows. Asked at most once in 5 ms, whatever clients do, and whenever the election has decided something.
pub trait Source: Send + Sync + 'static {
    /// What this node knows now. `members` are those that clients are told of.
    fn look(&self, members: &Members) -> View;

    /// Begins to hand the office over, which this node has. Why not, if no other node can take it.
    fn hand_over(&self) -> Result<(), String>;
}

/// How old a view may be before another one is taken.
pub(crate) const VIEW_AGE_MAX: Duration = Duration::from_millis(5);

/// How long another node has to come near before it takes the office over.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(10);

/// What a node knows, as clients have to hear it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// When it was taken.
    pub taken: Instant,
    /// The epoch of the election.
    pub epoch: u64,
    /// Who takes writes, as an index into the members, and for how long after `taken` that may be said: as long as this node's
    /// own lease, or as long as it promises that primary to elect no other one.
    pub primary: Option<(usize, Duration)>,
    /// In the order of the members.
    pub members: Vec<MemberView>,
    /// How many voters are needed.
    pub quorum: usize,
    /// How many voters were heard lately, this one included.
    pub reachable: usize,
}

/// What is known of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberView {
    /// Whether it was heard lately. True for the node itself.
    pub up: bool,
    /// For how long it has been silent, when the view was taken.
    pub silence: Option<Duration>,
    /// How far its data goes.
    pub offset: u64,
}

impl View {
    /// Who takes writes, if that may still be said.
    pub(crate) fn primary(&self, now: Instant) -> Option<usize> {
        let (index, valid) = self.primary?;
        (now.saturating_duration_since(self.taken) < valid).then_some(index)
    }

    /// Out of an election's own view. `promise` is how long a voter elects nobody else after it heard a primary.
    pub fn of(snapshot: &ElectSnapshot, members: &Members, promise: Duration) -> Self {
        let all = members.all.iter().enumerate().map(|(index, member)| {
            let peer = snapshot.peers.iter().find(|peer| peer.id.as_str() == member.id);
            match peer {
                Some(peer) => MemberView { up: peer.up, silence: peer.silence, offset: peer.progress.offset },
                None => MemberView {
                    up: index == members.own,
                    silence: (index == members.own).then_some(Duration::ZERO),
                    offset: snapshot.progress.offset,
                },
            }
        });
        Self {
            taken: Instant::now(),
            epoch: snapshot.epoch.0,
            primary: primary(snapshot, members, promise),
            members: all.collect(),
            quorum: snapshot.quorum,
            reachable: snapshot.voters_reachable,
        }
    }
}

fn primary(snapshot: &ElectSnapshot, members: &Members, promise: Duration) -> Option<(usize, Duration)> {
    let id = snapshot.primary?;
    let index = members.index(id.as_str())?;
    if index == members.own {
        let lease = snapshot.lease_left;
        return (snapshot.writable && !lease.is_zero()).then_some((index, lease));
    }
    let peer = snapshot.peers.iter().find(|peer| peer.id == id)?;
    // One that is still being promoted refuses writes.
    let reigns = peer.up && peer.role == Some(Role::Primary) && peer.epoch == snapshot.epoch;
    let left = promise.checked_sub(peer.silence?)?;
    reigns.then_some((index, left))
}

/// An election as a source.
pub(crate) struct Plugin {
    pub(crate) plugin: Arc<dyn ElectPlugin>,
    pub(crate) promise: Duration,
}

impl Source for Plugin {
    fn look(&self, members: &Members) -> View {
        View::of(&self.plugin.snapshot(), members, self.promise)
    }

    fn hand_over(&self) -> Result<(), String> {
        self.plugin.transfer(None, HAND_OVER_PATIENCE).map(|_| ()).map_err(|why| why.to_string())
    }
}
