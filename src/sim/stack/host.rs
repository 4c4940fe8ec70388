//! The host as the plugin sees it: what the plan lets go wrong around it, and a check of what it is promised.

use super::state::{Machine, Scene, State};
use super::watch::Order;
use crate::clock::{Clock, ManualClock};
use crate::fence::{FenceReason, Health};
use crate::host::{HostError, ReplicationHost};
use crate::ids::{Epoch, NodeId};
use crate::plugin::ElectPlugin;
use crate::position::Position;
use crate::sim::impairments::Life;
use crate::sim::invariants::Check;
use crate::sim::server_mutation::ServerMutation;
use crate::time::{Duration, Instant};
use async_trait::async_trait;
use futures::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A [`ReplicationHost`] around another one: slow, failing or hanging as the plan says.
pub(super) struct WatchedHost {
    pub(super) inner: Arc<dyn ReplicationHost>,
    pub(super) scene: Scene,
    pub(super) real: ManualClock,
    pub(super) node: usize,
    pub(super) life: Life,
}

/// Notes the end of a call, also when it is dropped.
struct Running<'a> {
    host: &'a WatchedHost,
    order: Order,
    done: Option<bool>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let WatchedHost { scene, node, life, .. } = self.host;
        scene.with(|state| state.order_ended(*node, *life, self.order, self.done));
    }
}

impl WatchedHost {
    fn begin(&self, order: Order) -> Running<'_> {
        self.scene.with(|state| state.order_begins(self.node, order));
        Running { host: self, order, done: None }
    }

    async fn sleep(&self, nanos: u64) {
        self.real.timer(self.real.now() + Duration::from_nanos(nanos)).await;
    }

    /// What goes wrong with a call: it is slow, fails, or hangs and then fails.
    async fn trouble(&self) -> Result<(), HostError> {
        let drawn = self.scene.with(|state| {
            let impairments = state.nodes[self.node].impairments;
            let takes = state.run.rng.below(state.run.plan.setup.host.max(impairments.host_slow));
            let fails = impairments.host_failing > 0 && state.run.rng.chance(700);
            (impairments.host_hanging == 0 && impairments.hung == 0).then_some((takes, fails))
        });
        match drawn {
            Some((takes, fails)) => {
                self.sleep(takes).await;
                if fails { Err(HostError::new("the plan lets the host fail")) } else { Ok(()) }
            }
            None => {
                poll_fn(|cx| self.scene.with(|state| state.nodes[self.node].poll_unhung(cx, true))).await;
                Err(HostError::new("the plan let the host hang"))
            }
        }
    }
}

#[async_trait]
impl ReplicationHost for WatchedHost {
    async fn start(&self, last: Option<Position>) -> Result<Position, HostError> {
        let takes = self.scene.with(|state| state.run.rng.below(state.run.plan.setup.host));
        self.sleep(takes).await;
        self.inner.start(last).await
    }

    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        let mut running = self.begin(Order::Promote(epoch));
        let result = match self.trouble().await {
            Ok(()) => self.inner.promote(epoch).await,
            Err(error) => Err(error),
        };
        running.done = Some(result.is_ok());
        result
    }

    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        let mut running = self.begin(Order::Follow(epoch, primary));
        let result = match self.trouble().await {
            Ok(()) => self.inner.follow(epoch, primary).await,
            Err(error) => Err(error),
        };
        running.done = Some(result.is_ok());
        result
    }

    async fn detach(&self) -> Result<Position, HostError> {
        let [before, after] = self.scene.with(|state| state.run.plan.setup.draw_late(&mut state.run.rng));
        if before > 0 {
            self.sleep(before).await;
        }
        let position = self.inner.detach().await?;
        self.scene.with(|state| {
            let node = self.node;
            state.run.log(|| format!("n{node} host: detached at {position:?}"));
            state.nodes[node].watch.follows = None;
        });
        if after > 0 {
            self.sleep(after).await;
        }
        Ok(position)
    }

    async fn fence(&self, epoch: Epoch, reason: FenceReason) -> Result<(), HostError> {
        let takes = self.scene.with(|state| {
            state.fence_begins(self.node, epoch, reason);
            state.run.rng.below(state.run.plan.setup.host)
        });
        self.sleep(takes).await;
        // Nobody has counted what a shard that hangs has let pass.
        poll_fn(|cx| self.scene.with(|state| state.nodes[self.node].poll_unhung(cx, false))).await;
        self.inner.fence(epoch, reason).await
    }

    fn lease_renewed(&self, until: Instant) {
        self.scene.with(|state| state.lease_told(self.node, until));
        self.inner.lease_renewed(until);
    }

    async fn resume(&self, epoch: Epoch) -> Result<(), HostError> {
        self.inner.resume(epoch).await
    }

    fn health(&self) -> Health {
        let (impairments, silent) = self.scene.with(|state| {
            let silent = state.run.plan.server_mutation == Some(ServerMutation::HangsInSilence);
            (state.nodes[self.node].impairments, silent)
        });
        match (impairments.unhealthy, impairments.hung, impairments.ailing) {
            (1.., ..) => Health::Failing,
            (_, 1.., _) if !silent => Health::Stuck,
            (.., 1..) => Health::Disk,
            _ => self.inner.health(),
        }
    }
}

impl Machine {
    /// Ready once no shard hangs, and with `jobs` no promotion or retarget either.
    fn poll_unhung(&mut self, cx: &Context<'_>, jobs: bool) -> Poll<()> {
        if self.impairments.hung == 0 && !(jobs && self.impairments.host_hanging > 0) {
            return Poll::Ready(());
        }
        if !self.watch.hung.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.watch.hung.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl State {
    /// A promotion or retarget begins: an older one must be over, or dropped.
    fn order_begins(&mut self, node: usize, order: Order) {
        self.run.log(|| format!("n{node} host: {order:?}"));
        self.run.stats.checks[Check::Orders as usize] += 1;
        let watch = &mut self.nodes[node].watch;
        let found =
            self.run.invariants.orders.on_order(node, order, watch.running, order.epoch(), watch.newest);
        watch.newest = order.epoch();
        watch.running = Some(order);
        (watch.promoted, watch.follows) = (None, None);
        self.begin_order(node, order);
        self.run.take(found);
    }

    fn fence_begins(&mut self, node: usize, epoch: Epoch, reason: FenceReason) {
        self.run.log(|| format!("n{node} host: fence of epoch {epoch}, {}", reason.as_str()));
        self.run.stats.checks[Check::Orders as usize] += 1;
        let running = self.nodes[node].watch.running;
        let found = self.run.invariants.orders.on_fence(node, epoch, running);
        self.run.take(found);
    }

    fn lease_told(&mut self, node: usize, until: Instant) {
        self.run.stats.checks[Check::Fence as usize] += 1;
        let machine = &mut self.nodes[node];
        if machine.watch.lease >= Some(until) {
            // Shorter than before: a voter's link ended, and what it echoed does not count any more.
            return;
        }
        machine.watch.lease = Some(until);
        let gate = machine.plugin.as_ref().and_then(|plugin| plugin.write_gate().deadline());
        let found = self.run.invariants.fence.on_told(node, until, gate);
        self.run.take(found);
    }

    fn order_ended(&mut self, node: usize, life: Life, order: Order, done: Option<bool>) {
        if self.nodes[node].life != life {
            return;
        }
        let word = match done {
            Some(true) => "done",
            Some(false) => "failed",
            None => "dropped",
        };
        self.run.log(|| format!("n{node} host: {order:?} {word}"));
        let watch = &mut self.nodes[node].watch;
        // A newer one may have begun already; its own end counts for it.
        watch.running.take_if(|running| *running == order);
        match (order, done) {
            (Order::Promote(epoch), Some(true)) => watch.promoted = Some(epoch),
            (Order::Follow(epoch, primary), Some(true)) => watch.follows = Some((epoch, primary)),
            (Order::Promote(epoch), None) => self.promotion_dropped(node, epoch),
            _ => {}
        }
    }

    /// What hung fails now.
    pub(super) fn unhang_host(&mut self, node: usize) {
        std::mem::take(&mut self.nodes[node].watch.hung).into_iter().for_each(Waker::wake);
    }
}
