//! Where an exploration begins.

use crate::machine::Machine;
use crate::time::{NODES, TIMEOUT_TICKS, id};
use crate::world::{Action, Rules, World};
use kevy_elect_plugin::ids::{Epoch, Incarnation};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::state::HardState;
use kevy_elect_plugin::words;

words! {
    /// Where it begins.
    pub enum Start {
        /// The first node has been elected, writes, and the others have just promised.
        Settled = "settled",
        /// The same, and its process has just died.
        Crashed = "crashed",
        /// Three members were started, are linked, have waited for an election timeout and heard nobody yet.
        Cold = "cold",
    }
}

/// In which a perfect network settles a new cluster, or something is very wrong.
const SETTLE_TICKS: u64 = 20;

impl Start {
    /// The epoch of the primary in a settled cluster.
    pub(crate) const SETTLED_EPOCH: Epoch = Epoch(2);

    pub(crate) fn world(self, rules: Rules, crashes: u8) -> World {
        let mut world = started(rules);
        (0..TIMEOUT_TICKS).for_each(|_| world.act(Action::Tick, rules));
        if self != Self::Cold {
            for _ in 0..SETTLE_TICKS {
                run_at_once(&mut world, rules);
                let settled = (0..NODES).all(|node| world.machines[node].is_bound_to(0, world.tick));
                if world.writers().next() == Some(0) && settled {
                    break;
                }
                world.act(Action::Tick, rules);
            }
        }
        world.crashes_left = crashes;
        if self == Self::Crashed {
            world.crashes_left += 1;
            world.act(Action::Crash { node: 0, saved: false }, rules);
        }
        world
    }
}

/// Three members of an earlier life, started and linked.
fn started(rules: Rules) -> World {
    let machine = |node| {
        let record = HardState {
            epoch: Epoch(1),
            voted_for: Some(id(0)),
            standing: Standing::Member,
            incarnation: Incarnation(1),
            identity: None,
            members: None,
            pause: None,
            floor: kevy_elect_plugin::position::Progress::NONE,
            position: Position::NONE,
        };
        Machine::new(node, record)
    };
    let mut world = World::new(std::array::from_fn(machine), 0, 0);
    for node in 0..NODES {
        world.act(Action::Restart(node), rules);
        world.act(Action::Saved(node), rules);
    }
    for at in 0..NODES {
        for peer in (0..NODES).filter(|peer| *peer != at) {
            world.act(Action::LinkUp { at, peer }, rules);
        }
    }
    world
}

/// Everything that is possible at this instant happens, the first first, and nothing is lost.
fn run_at_once(world: &mut World, rules: Rules) {
    let mut actions = Vec::new();
    loop {
        actions.clear();
        world.actions(&mut actions);
        let next = actions.iter().find(|action| **action != Action::Tick).copied();
        let Some(next) = next else { return };
        world.act(next, rules);
    }
}
