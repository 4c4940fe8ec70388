//! What goes wrong in a run, and when: drawn from the seed, the same for every system.

use crate::node::name;
use fastrand::Rng;
use std::fmt;

/// One millisecond, in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// The cluster is left alone for so long at first: every system elects its first primary in peace.
const CALM_MS: u64 = 15_000;
/// From then on faults come for as long as this.
const WINDOW_MS: (u64, u64) = (20_000, 120_000);
const FAULTS: (u64, u64) = (1, 16);

/// Whom a fault hits. The primary is looked up when the fault comes; without one it hits the node named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// A node's number, from zero.
    pub node: usize,
    /// Hit the primary of the highest epoch instead, if there is one.
    pub primary: bool,
}

/// Which directions a cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// From the target to the other node.
    OneWay(usize),
    /// From the other node to the target.
    OneWayBack(usize),
    /// Between the target and the other node.
    Link(usize),
    /// Everything that the target sends.
    Mute,
    /// Everything that is sent to the target.
    Deaf,
    /// Between the nodes of this set (bits) and the others.
    Side(u32),
    /// From the nodes of this set (bits) to the others.
    SideOneWay(u32),
    /// Each direction whose bit is set; from `a` to `b` it is bit `a * nodes + b`.
    Directions(u128),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The process ends, and starts again afterwards.
    Crash {
        /// The machine goes with it: nobody closes its links.
        power: bool,
    },
    /// Nothing gets through.
    Cut {
        /// Where.
        shape: Shape,
        /// What was sent meanwhile comes after the heal, as TCP does it; or else it is lost and the connection breaks.
        held: bool,
    },
    /// All messages are delayed and lost at random.
    Storm {
        /// Of a thousand.
        loss: u64,
        /// The longest additional delay.
        delay_ms: u64,
        /// Messages overtake each other.
        reorder: bool,
    },
}

/// A fault. Times are in nanoseconds of virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it comes.
    pub at: u64,
    /// How long it lasts.
    pub lasts: u64,
    /// Whom it hits.
    pub target: Target,
    /// What it is.
    pub kind: Kind,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// The node that has data when the cluster starts, so that any of them may be the first primary.
    pub first: usize,
    /// The longest delay of a message on a calm network, in nanoseconds.
    pub delay: u64,
    /// What goes wrong, in the order in which it comes.
    pub faults: Vec<Fault>,
    /// When everything is healed.
    pub heal_at: u64,
}

impl Plan {
    /// The run of `seed`, with 2 to 9 nodes.
    pub fn draw(seed: u64, nodes: usize) -> Self {
        // Not the bare seed: its neighbours begin alike.
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ nodes as u64);
        let rng = &mut rng;
        let first = below(rng, nodes);
        let delay = pick(rng, &[MS / 2, 2 * MS, 2 * MS, 20 * MS, 100 * MS]);
        let window = between(rng, WINDOW_MS) * MS;
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..between(rng, FAULTS) {
            let mut at = CALM_MS * MS + rng.u64(0..window);
            // Often in close succession: what hurts is a second fault before the first one is over.
            if let Some(last) = faults.last()
                && chance(rng, 450)
            {
                at = (last.at + rng.u64(0..6000 * MS)).min(CALM_MS * MS + window);
            }
            faults.push(draw_fault(rng, nodes, at));
        }
        faults.sort_by_key(|fault| fault.at);
        Self { seed, nodes, first, delay, faults, heal_at: CALM_MS * MS + window }
    }
}

fn draw_fault(rng: &mut Rng, nodes: usize, at: u64) -> Fault {
    let target = Target { node: below(rng, nodes), primary: chance(rng, 500) };
    let other = (target.node + 1 + below(rng, nodes - 1)) % nodes;
    let short = between(rng, (50, 3000));
    let long = between(rng, (3000, 25_000));
    let lasts = if chance(rng, 400) { short } else { long } * MS;
    let kind = match rng.u64(0..10) {
        0..3 => Kind::Crash { power: chance(rng, 500) },
        3..8 => {
            let side = rng.u32(1..(1 << nodes) - 1);
            let directions = rng.u128(..) & rng.u128(..);
            let shapes = [
                Shape::OneWay(other),
                Shape::OneWayBack(other),
                Shape::Link(other),
                Shape::Mute,
                Shape::Deaf,
                Shape::Side(side),
                Shape::Side(side),
                Shape::SideOneWay(side),
                Shape::Directions(directions),
            ];
            Kind::Cut { shape: pick(rng, &shapes), held: chance(rng, 500) }
        }
        _ => Kind::Storm {
            loss: pick(rng, &[0, 50, 200, 500]),
            delay_ms: pick(rng, &[20, 300, 1500, 6000]),
            reorder: chance(rng, 500),
        },
    };
    Fault { at, lasts, target, kind }
}

impl Shape {
    /// Whether it takes the direction from one node to another.
    pub(crate) fn takes(self, target: usize, from: usize, to: usize, nodes: usize) -> bool {
        let within = |side: u32, node: usize| side >> node & 1 == 1;
        match self {
            Self::OneWay(other) => (from, to) == (target, other),
            Self::OneWayBack(other) => (from, to) == (other, target),
            Self::Link(other) => (from, to) == (target, other) || (from, to) == (other, target),
            Self::Mute => from == target,
            Self::Deaf => to == target,
            Self::Side(side) => within(side, from) != within(side, to),
            Self::SideOneWay(side) => within(side, from) && !within(side, to),
            Self::Directions(bits) => bits >> (from * nodes + to) & 1 == 1,
        }
    }
}

impl Kind {
    /// What happens to `target`, for people.
    pub(crate) fn told(self, target: usize, nodes: usize) -> String {
        match self {
            Self::Crash { power: true } => format!("{} loses power", name(target)),
            Self::Crash { power: false } => format!("the process of {} is killed", name(target)),
            Self::Cut { shape, held } => {
                let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
                let cut = pairs.filter(|(from, to)| from != to && shape.takes(target, *from, *to, nodes));
                let cut: Vec<_> = cut.map(|(from, to)| format!("{}->{}", name(from), name(to))).collect();
                let fate = if held { "held back" } else { "lost" };
                format!("cut, messages {fate}: {}", cut.join(" "))
            }
            Self::Storm { loss, delay_ms, reorder } => {
                let order = if reorder { ", out of order" } else { "" };
                format!("storm: {}.{} % lost, up to {delay_ms} ms late{order}", loss / 10, loss % 10)
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = name(self.node);
        if self.primary { write!(f, "the primary (or {node})") } else { f.write_str(&node) }
    }
}

pub(crate) fn between(rng: &mut Rng, (low, high): (u64, u64)) -> u64 {
    rng.u64(low..=high)
}

pub(crate) fn chance(rng: &mut Rng, per_mille: u64) -> bool {
    rng.u64(0..1000) < per_mille
}

// Whole 64 bits everywhere: draws of `usize` differ from machine to machine.
fn below(rng: &mut Rng, bound: usize) -> usize {
    rng.u64(0..bound as u64) as usize
}

fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[below(rng, items.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_plan_and_another_one_another() {
        assert_eq!(Plan::draw(7, 3), Plan::draw(7, 3));
        assert_ne!(Plan::draw(7, 3).faults, Plan::draw(8, 3).faults);
    }

    #[test]
    fn cuts_with_and_against_the_direction_are_told_apart() {
        let directions = |shape: Shape| {
            let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to)));
            pairs.filter(|(from, to)| from != to && shape.takes(0, *from, *to, 3)).collect::<Vec<_>>()
        };
        assert_eq!(directions(Shape::OneWay(2)), [(0, 2)]);
        assert_eq!(directions(Shape::OneWayBack(2)), [(2, 0)]);
        assert_eq!(directions(Shape::Mute), [(0, 1), (0, 2)]);
        assert_eq!(directions(Shape::Deaf), [(1, 0), (2, 0)]);
        assert_eq!(directions(Shape::Side(0b110)), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(directions(Shape::SideOneWay(0b110)), [(1, 0), (2, 0)]);
    }
}
