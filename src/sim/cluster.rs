//! A cluster to drive by hand: the calls that users of `kevy-elect`'s simulator know.

use super::fault::FaultKind;
use super::note::Note;
use super::plan::Plan;
use super::world::World;
use crate::elector::Elector;
use crate::fence::Denied;
use crate::ids::{Epoch, NodeId};
use crate::message::{Message, Role};
use crate::position::Position;
use crate::rank::ForceRefused;
use crate::time::{Duration, nanos};

/// The interval of [`Cluster::tick_all`].
const TICK: Duration = Duration::from_millis(100);

/// A cluster of voters on virtual time, without any fault that is not asked for.
///
/// All invariants of the simulator are watched meanwhile: a violation stops time, and
/// [`Cluster::violation`] tells it.
///
/// ```
/// use kevy_elect_plugin::ids::NodeId;
/// use kevy_elect_plugin::message::Role;
/// use kevy_elect_plugin::sim::Cluster;
///
/// let id = |name| NodeId::new(name).unwrap();
/// let mut cluster = Cluster::new(7, [(id("a"), Role::Primary), (id("b"), Role::Replica), (id("c"), Role::Replica)]);
/// cluster.tick_all(20);
/// assert_eq!(cluster.current_primary(), Some(id("a")));
/// cluster.kill_node(id("a"));
/// cluster.tick_all(20);
/// assert!([Some(id("b")), Some(id("c"))].contains(&cluster.current_primary()));
/// assert_eq!(cluster.role(id("a")), None);
/// assert_eq!(cluster.violation(), None);
/// ```
pub struct Cluster {
    world: World,
    ids: Vec<NodeId>,
}

impl Cluster {
    /// A cluster of these voters. The one that starts as [`Role::Primary`] has data, so it is elected first.
    /// Ids that stand twice are taken once.
    pub fn new(seed: u64, nodes: impl IntoIterator<Item = (NodeId, Role)>) -> Self {
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_by_key(|(id, _)| *id);
        nodes.dedup_by_key(|(id, _)| *id);
        let plan = Plan::calm(seed, nodes.len());
        Self::with_plan(plan, nodes)
    }

    /// A cluster that is set up as the plan says; what goes wrong is for the caller to say, so the plan's
    /// faults are left out. Of the nodes as many are taken as the plan has members, in the order of their ids.
    pub fn with_plan(mut plan: Plan, nodes: impl IntoIterator<Item = (NodeId, Role)>) -> Self {
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_by_key(|(id, _)| *id);
        nodes.dedup_by_key(|(id, _)| *id);
        nodes.truncate(plan.setup.members());
        plan.setup.kinds.truncate(nodes.len());
        plan.faults.clear();
        plan.heal_at = u64::MAX;
        let ids: Vec<_> = nodes.iter().map(|(id, _)| *id).collect();
        let mut world = World::new(plan, ids.clone(), true);
        world.notes = Some(Vec::new());
        if let Some(primary) = nodes.iter().position(|(_, role)| *role == Role::Primary) {
            world.begin_with_primary(primary);
        }
        Self { world, ids }
    }

    /// Virtual real time since the cluster was made.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world.run.now)
    }

    /// Lets `times` heartbeat intervals pass.
    pub fn tick_all(&mut self, times: u32) {
        self.run_for(TICK * times);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.world.run.now.saturating_add(nanos(time));
        self.world.run_until(until);
    }

    /// Ends a node's process, as SIGKILL does. Unknown nodes are ignored, here and below.
    pub fn kill_node(&mut self, node: NodeId) {
        if let Some(node) = self.number(node) {
            self.world.kill(node);
        }
    }

    /// Starts a node's process again, with what its disk holds.
    pub fn revive_node(&mut self, node: NodeId) {
        if let Some(node) = self.number(node) {
            self.world.revive(node);
        }
    }

    /// Cuts all links between the nodes of `side` and the others.
    pub fn partition(&mut self, side: &[NodeId]) {
        self.set_cuts(|a, b| side.contains(&a) != side.contains(&b));
    }

    /// Heals every link.
    pub fn heal_partition(&mut self) {
        self.set_cuts(|_, _| false);
    }

    /// Cuts or heals the link between two nodes.
    pub fn set_link(&mut self, a: NodeId, b: NodeId, works: bool) {
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            self.world.set_cut(a, b, !works);
        }
    }

    /// Says how far a node's data goes in the history it holds.
    pub fn set_offset(&mut self, node: NodeId, offset: u64) {
        if let Some(node) = self.number(node) {
            self.world.set_offsets(node, &[offset]);
        }
    }

    /// The same for a node with several shards; those that are not named keep theirs.
    pub fn set_offsets(&mut self, node: NodeId, offsets: &[u64]) {
        if let Some(node) = self.number(node) {
            self.world.set_offsets(node, offsets);
        }
    }

    /// A client writes so many frames to a shard of a node. `None`: nobody is there to answer, or there is no
    /// such shard.
    pub fn write(&mut self, node: NodeId, shard: usize, frames: u64) -> Option<Result<(), Denied>> {
        self.number(node).and_then(|node| self.world.write(node, shard, frames))
    }

    /// A fault at a node, until [`Cluster::end_fault`]: its number. `None`: it is not possible now, or there is
    /// no such node. Nodes that a fault names by number are counted from zero in the order of their ids.
    pub fn begin_fault(&mut self, node: NodeId, kind: FaultKind) -> Option<usize> {
        self.number(node).and_then(|node| self.world.begin_fault(node, kind))
    }

    /// Ends a fault; one that has ended stays so.
    pub fn end_fault(&mut self, fault: usize) {
        self.world.end_fault(fault);
    }

    /// An operator orders a node without a record to be admitted to the cluster that another one belongs to.
    pub fn order_admission(&mut self, node: NodeId) {
        if let Some(node) = self.number(node) {
            self.world.order_admission(node);
        }
    }

    /// Clients of a node are in the middle of transactions from now on, or not any more.
    pub fn set_busy(&mut self, node: NodeId, busy: bool) {
        if let Some(node) = self.number(node) {
            self.world.set_busy(node, busy);
        }
    }

    /// A node's server answers from now on, or does not any more.
    pub fn set_answers(&mut self, node: NodeId, answers: bool) {
        if let Some(node) = self.number(node) {
            self.world.set_answers(node, answers);
        }
    }

    /// A node's service has recorded so much work: it counts where rank is by seniority.
    pub fn set_work(&mut self, node: NodeId, work: u64) {
        if let Some(node) = self.number(node) {
            self.world.set_work(node, work);
        }
    }

    /// An operator orders a node to be primary by its own vote alone; `None`: it does not run.
    pub fn order_force(&mut self, node: NodeId) -> Option<Result<(), ForceRefused>> {
        self.number(node).and_then(|node| self.world.order_force(node))
    }

    /// An operator pauses automatic elections, or lets them go on, at this node. Whether it takes the order.
    pub fn order_pause(&mut self, node: NodeId, paused: bool) -> bool {
        self.number(node).is_some_and(|node| self.world.order_pause(node, paused))
    }

    /// A member lies: it says this in its own name, on its link to another one.
    pub fn forge(&mut self, from: NodeId, to: NodeId, message: Message) {
        if let (Some(from), Some(to)) = (self.number(from), self.number(to)) {
            let run = &mut self.world.run;
            if let Message::Heartbeat(heartbeat) = &message
                && run.voters().contains(&from)
            {
                let quorum = run.quorum();
                run.invariants.reach.claimed(from, heartbeat.epoch, quorum);
            }
            self.world.forge(from, to, message);
        }
    }

    /// How far a node's data goes, whether it runs or not.
    pub fn position(&self, node: NodeId) -> Position {
        self.number(node).map_or(Position::NONE, |node| self.world.position(node))
    }

    /// Whether a node holds the history of the primary that its host was told to follow.
    pub fn has_joined(&self, node: NodeId) -> bool {
        self.number(node).is_some_and(|node| self.world.has_joined(node))
    }

    /// A running node's role.
    pub fn role(&self, node: NodeId) -> Option<Role> {
        self.elector(node).map(Elector::role)
    }

    /// A running node's epoch.
    pub fn epoch(&self, node: NodeId) -> Option<Epoch> {
        self.elector(node).map(Elector::epoch)
    }

    /// A running node's elector, to look at.
    pub fn elector(&self, node: NodeId) -> Option<&Elector> {
        self.number(node).and_then(|node| self.world.elector(node))
    }

    /// The node whose gate lets writes pass now.
    pub fn current_primary(&self) -> Option<NodeId> {
        self.world.writer().map(|node| self.ids[node])
    }

    /// What went wrong, if an invariant was violated.
    pub fn violation(&self) -> Option<&super::invariants::Violation> {
        self.world.run.violation.as_ref()
    }

    /// What happened so far, line by line.
    pub fn trace(&self) -> &[String] {
        self.world.run.trace.as_deref().unwrap_or_default()
    }

    /// What happened since this was asked last, as data.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.world.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn set_cuts(&mut self, cut: impl Fn(NodeId, NodeId) -> bool) {
        for a in 0..self.ids.len() {
            for b in a + 1..self.ids.len() {
                self.world.set_cut(a, b, cut(self.ids[a], self.ids[b]));
            }
        }
    }

    fn number(&self, id: NodeId) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("nodes", &self.ids)
            .field("now", &self.world.run.now)
            .finish_non_exhaustive()
    }
}
