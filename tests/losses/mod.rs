//! A simulated cluster whose nodes crash and lose what they had on disk, and what draws a situation for it.

#![allow(unreachable_pub, reason = "every test includes it as a module of its own")]
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails says where")]

use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::sim::{Cluster, FaultKind, Loss, Mutation, PROFILES, Plan, Profile};
use std::time::Duration;

/// A generator that is good enough to draw a situation.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The cluster, and which of its nodes are down.
pub struct World {
    pub cluster: Cluster,
    pub nodes: Vec<NodeId>,
    /// The crashes that [`World::revive`] ends.
    pub down: Vec<usize>,
}

impl World {
    /// What a calm cluster of so many voters is made of. Nothing but the test breaks anything in it.
    pub fn plan(seed: u64, voters: usize, mutation: Option<Mutation>) -> Plan {
        let calm = Profile::named("calm").unwrap_or(PROFILES[0]);
        let mut plan = Plan::draw(seed, voters, calm);
        plan.mutation = mutation;
        (plan.setup.forgetful, plan.setup.habits) = (true, None);
        plan
    }

    pub fn new(plan: Plan) -> Self {
        let members = plan.setup.members();
        let nodes: Vec<NodeId> = (1..=members).map(|n| NodeId::new(&format!("n{n}")).unwrap()).collect();
        let cluster = Cluster::with_plan(plan, nodes.iter().map(|node| (*node, Role::Replica)));
        Self { cluster, nodes, down: Vec::new() }
    }

    pub fn run(&mut self, ms: u64) {
        self.cluster.run_for(Duration::from_millis(ms));
    }

    /// Whoever is primary takes so many writes, if anybody is.
    pub fn write(&mut self, frames: u64) {
        if let Some(primary) = self.cluster.current_primary() {
            let _ = self.cluster.write(primary, 0, frames);
        }
    }

    pub fn crash(&mut self, node: usize, loss: Loss) {
        let kind = FaultKind::Crash { power: false, loss };
        self.down.extend(self.cluster.begin_fault(self.nodes[node], kind));
    }

    pub fn revive(&mut self) {
        std::mem::take(&mut self.down).into_iter().for_each(|fault| self.cluster.end_fault(fault));
    }
}
