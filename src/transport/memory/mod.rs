//! A network inside one process, for tests and simulations: it can be as bad as a real one, and is as bad
//! again with the same seed.
//!
//! Every message passes through the codec. Time is the clock's, all draws come from one seed, and all maps
//! are ordered: with a [`crate::clock::ManualClock`] and one thread, a run is a function of its seed.
//! Links follow the same book as those over TCP, so the same events are told for the same reasons.
//!
//! ```
//! use kevy_elect_plugin::clock::ManualClock;
//! use kevy_elect_plugin::ids::NodeId;
//! use kevy_elect_plugin::time::Duration;
//! use kevy_elect_plugin::transport::{MemoryNetwork, Transport};
//!
//! let ids = ["a", "b", "c"].map(|id| NodeId::new(id).unwrap());
//! let network = MemoryNetwork::builder(ManualClock::new(), 42, ids)
//!     .delay(Duration::from_micros(50), Duration::from_millis(2))
//!     .loss(0.01)
//!     .build();
//! let transport = network.transport(ids[0]); // then poll `transport.run(hello)`
//! network.cut(ids[0], ids[1]);
//! # let _ = transport;
//! ```

mod conditions;
mod network;

use super::api::{Directions, SendError, Transport, TransportError, TransportEvent};
use super::links::{Links, STALE_AFTER_DEFAULT};
use super::wakes::Locked;
use crate::clock::Clock;
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::time::{Duration, Instant};
use async_trait::async_trait;
use conditions::{Conditions, LINK_TIMEOUT_DEFAULT};
use futures::future::{BoxFuture, FutureExt, poll_fn};
use network::{Cut, Network, ProcessId};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// The network. Clones share it.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    network: Mutex<Network>,
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").finish_non_exhaustive()
    }
}

/// Collects a [`MemoryNetwork`].
pub struct MemoryNetworkBuilder {
    clock: Arc<dyn Clock>,
    seed: u64,
    members: Vec<NodeId>,
    conditions: Conditions,
}

impl fmt::Debug for MemoryNetworkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetworkBuilder").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl MemoryNetworkBuilder {
    /// How long a message takes. Default: 100 microseconds.
    pub fn delay(mut self, min: Duration, max: Duration) -> Self {
        (self.conditions.delay_min, self.conditions.delay_max) = (min, max.max(min));
        self
    }

    /// The share of messages that vanish, 0 to 1. Default: none.
    pub fn loss(mut self, share: f64) -> Self {
        self.conditions.loss = share;
        self
    }

    /// The share of messages that arrive twice. Default: none.
    pub fn duplicate(mut self, share: f64) -> Self {
        self.conditions.duplicate = share;
        self
    }

    /// The share of messages that may overtake others. Default: none.
    pub fn reorder(mut self, share: f64) -> Self {
        self.conditions.reorder = share;
        self
    }

    /// How long a link lives that nothing gets through. Default: two seconds.
    pub fn link_timeout(mut self, duration: Duration) -> Self {
        self.conditions.link_timeout = duration;
        self
    }

    /// How long a process must have been gone before an older incarnation of its node is linked again.
    pub fn stale_after(mut self, duration: Duration) -> Self {
        self.conditions.stale_after = duration;
        self
    }

    /// The network.
    pub fn build(self) -> MemoryNetwork {
        let network = Network::new(self.seed, self.members, self.conditions);
        MemoryNetwork(Arc::new(Shared { clock: self.clock, network: Mutex::new(network) }))
    }
}

impl MemoryNetwork {
    /// A network of `members` on the time of `clock`; all its luck comes from `seed`.
    pub fn builder(
        clock: impl Clock,
        seed: u64,
        members: impl IntoIterator<Item = NodeId>,
    ) -> MemoryNetworkBuilder {
        MemoryNetworkBuilder {
            clock: Arc::new(clock),
            seed,
            members: members.into_iter().collect(),
            conditions: Conditions {
                delay_min: Duration::from_micros(100),
                delay_max: Duration::from_micros(100),
                loss: 0.0,
                duplicate: 0.0,
                reorder: 0.0,
                link_timeout: LINK_TIMEOUT_DEFAULT,
                stale_after: STALE_AFTER_DEFAULT,
            },
        }
    }

    /// The transport of a new process of `node`. It joins the network when it [runs](Transport::run); a
    /// process of the same node that ran before is killed by that.
    pub fn transport(&self, node: NodeId) -> MemoryTransport {
        let process = self.lock().new_process(node);
        MemoryTransport { network: self.clone(), node, process }
    }

    /// The node's process dies without a word: its kernel ends what it received on and resets the rest, and
    /// whoever dials it is refused. Its transport's `run` returns; its `recv` waits for ever.
    pub fn kill(&self, node: NodeId) {
        let now = self.now();
        self.lock().kill(now, node);
    }

    /// The node's machine dies: its links are not ended, nobody answers.
    pub fn power_off(&self, node: NodeId) {
        let now = self.now();
        self.lock().power_off(now, node);
    }

    /// From now on what `from` sends to `to` vanishes, in silence. The other direction is not affected.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        let now = self.now();
        self.lock().cut(now, from, to, Cut::Drops);
    }

    /// As [`MemoryNetwork::cut`], but what is sent meanwhile arrives after the healing, as TCP does it.
    pub fn cut_queued(&self, from: NodeId, to: NodeId) {
        let now = self.now();
        self.lock().cut(now, from, to, Cut::Holds);
    }

    /// Cuts both directions between every node of `left` and every node of `right`.
    pub fn partition(&self, left: &[NodeId], right: &[NodeId]) {
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            self.cut(a, b);
            self.cut(b, a);
        }
    }

    /// Ends a cut from `from` to `to`.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        let now = self.now();
        self.lock().heal(now, from, to);
    }

    /// Ends all cuts.
    pub fn heal_all(&self) {
        let now = self.now();
        self.lock().heal_all(now);
    }

    /// Breaks both links between two nodes, as a firewall does that answers with resets.
    pub fn reset_links(&self, a: NodeId, b: NodeId) {
        let now = self.now();
        self.lock().reset_links(now, a, b);
    }

    /// From now on a firewall before `to` refuses the connections of `from` and drops what comes on those
    /// there are. Break these with [`MemoryNetwork::reset_links`], as most firewalls do.
    pub fn refuse(&self, from: NodeId, to: NodeId) {
        self.lock().refuse(from, to);
    }

    /// Ends a refusal from `from` to `to`.
    pub fn accept(&self, from: NodeId, to: NodeId) {
        self.lock().accept(from, to);
    }

    /// Breaks both links between two nodes at `node` alone, as a firewall does that resets one side only: `peer`
    /// notices nothing before the link timeout, and what it sends meanwhile is lost.
    pub fn reset_links_at(&self, node: NodeId, peer: NodeId) {
        let now = self.now();
        self.lock().reset_links_at(now, node, peer);
    }

    /// Changes the share of messages that vanish.
    pub fn set_loss(&self, share: f64) {
        self.lock().conditions.loss = share;
    }

    /// Changes the share of messages that arrive twice.
    pub fn set_duplicate(&self, share: f64) {
        self.lock().conditions.duplicate = share;
    }

    /// Changes how long a message takes.
    pub fn set_delay(&self, min: Duration, max: Duration) {
        let conditions = &mut self.lock().conditions;
        (conditions.delay_min, conditions.delay_max) = (min, max.max(min));
    }

    /// How many messages were delivered so far.
    pub fn delivered(&self) -> u64 {
        self.lock().delivered
    }

    /// How many messages vanished so far by the share of those that do.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// How many messages were sent on twice so far.
    pub fn duplicated(&self) -> u64 {
        self.lock().duplicated
    }

    fn now(&self) -> Instant {
        self.0.clock.now()
    }

    fn lock(&self) -> Locked<'_, Network> {
        Locked::new(&self.0.network)
    }
}

/// A [`Transport`] over a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    node: NodeId,
    process: ProcessId,
}

impl MemoryTransport {
    /// The same process once more.
    #[cfg(feature = "sim")]
    pub(crate) fn again(&self) -> Self {
        Self { network: self.network.clone(), node: self.node, process: self.process }
    }

    fn with_links<T>(&self, work: impl FnOnce(&mut Links) -> T) -> Option<T> {
        self.network.lock().links_of(self.node, self.process).map(work)
    }
}

/// A process whose `run` is dropped is gone.
struct Leave<'a>(&'a MemoryTransport);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let MemoryTransport { network, node, process } = self.0;
        let now = network.now();
        network.lock().leave(now, *node, *process);
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        let now = self.network.now();
        if !self.network.lock().join(now, self.node, self.process, hello) {
            return Ok(());
        }
        let _leave = Leave(self);
        // Whoever is polled first does all the work that is due, for all nodes: the order of the work does
        // not depend on who that is.
        let mut timer: Option<(Instant, BoxFuture<'static, ()>)> = None;
        poll_fn(|cx| {
            loop {
                let now = self.network.now();
                let mut network = self.network.lock();
                network.work(now);
                if !network.runs(self.node, self.process, cx.waker()) {
                    return Poll::Ready(());
                }
                let Some(next) = network.next_due() else {
                    timer = None;
                    return Poll::Pending;
                };
                drop(network);
                if timer.as_ref().is_none_or(|(at, _)| *at != next) {
                    timer = Some((next, self.network.0.clock.timer(next)));
                }
                match timer.as_mut().map(|(_, timer)| timer.poll_unpin(cx)) {
                    Some(Poll::Ready(())) => timer = None,
                    _ => return Poll::Pending,
                }
            }
        })
        .await;
        Ok(())
    }

    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        let now = self.network.now();
        self.network.lock().send(now, self.node, self.process, to, message)
    }

    fn directions(&self, peer: NodeId) -> Option<Directions> {
        self.with_links(|links| links.directions(peer)).flatten()
    }

    fn can_meet(&self) -> bool {
        true
    }

    fn meet(&self, peer: NodeId, _: &str, terms: &str) {
        let now = self.network.now();
        self.network.lock().meet(now, self.node, self.process, peer, terms);
    }

    async fn recv(&self) -> TransportEvent {
        poll_fn(|cx| match self.with_links(|links| links.receive(cx.waker())).flatten() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        })
        .await
    }

    async fn close(&self) {
        // What was sent is under way already, and arrives before the end of the link does.
        let now = self.network.now();
        self.network.lock().leave(now, self.node, self.process);
    }
}
