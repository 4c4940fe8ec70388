//! Every interleaving of a cluster of three real electors, to a stated depth, with stateright.
//!
//! What is real: the elector, its vote record, its timers. What is modelled, and how, stands in `world.rs` (actions,
//! network), `time.rs` (clocks) and `machine.rs` (disk, host); `docs/evidence/exhaustive.md`, sums it up and
//! holds the counts.

mod broken;
mod machine;
mod start;
mod time;
mod world;

pub use broken::Broken;
pub use start::Start;
pub use time::{NODES, TICK_MILLIS};
pub use world::{Action, Beats, World};

use kevy_elect_plugin::elector::Mutation;
use kevy_elect_plugin::ids::Epoch;
use stateright::{Checker, Model, Path, Property};
use world::Rules;

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Cluster {
    /// Where it begins.
    pub start: Start,
    /// How many actions deep.
    pub depth: u32,
    /// How many processes may die.
    pub crashes: u8,
    /// How many messages may be under way from one node to another; the oldest is lost to a further one.
    pub in_flight_max: usize,
    /// Which heartbeats the network carries.
    pub beats: Beats,
    /// What the electors do wrong.
    pub mutation: Option<Mutation>,
}

impl Cluster {
    /// To this depth from there, with one crash and two messages under way in each direction.
    pub const fn new(start: Start, depth: u32) -> Self {
        Self { start, depth, crashes: 1, in_flight_max: 2, beats: Beats::All, mutation: None }
    }

    /// What some state must have: an exploration in which nobody is ever elected proves nothing.
    pub const fn elected(&self) -> &'static str {
        match (self.start, self.crashes) {
            (Start::Cold, _) => "a primary is elected, and may write",
            (Start::Settled, 0) => "another primary is elected, and may write",
            (Start::Settled | Start::Crashed, _) => "a primary is elected after a crash, and may write",
        }
    }

    /// Whether it is so.
    fn is_elected(&self, world: &World) -> bool {
        let crash = self.start == Start::Cold || world.crashed || self.crashes == 0;
        let before = if self.start == Start::Cold { Epoch::ZERO } else { Start::SETTLED_EPOCH };
        crash && world.writers().any(|node| world.epoch(node) > Some(before))
    }

    fn rules(&self) -> Rules {
        Rules { mutation: self.mutation, in_flight_max: self.in_flight_max, beats: self.beats }
    }

    /// A shortest path to a state in which the sentence does not hold, if there is one. stateright itself keeps the
    /// last path that it meets, which may be full of things that do not matter.
    pub fn shortest(&self, broken: Broken) -> Option<Path<World, Action>> {
        (0..=self.depth).find_map(|depth| {
            let checker = Self { depth, ..*self }.checker().spawn_bfs().join();
            checker.discovery(broken.as_str())
        })
    }

    /// The path to a state, for people: each action and the cluster after it.
    pub fn trace(&self, path: &Path<World, Action>) -> String {
        let steps = path.clone().into_vec();
        let mut text = String::new();
        for (number, (world, action)) in steps.iter().enumerate() {
            text += &format!("{number:>3}  {world}\n");
            if let Some(action) = action {
                text += &format!("     -> {}\n", world::told(world, *action));
            }
        }
        if let Some((World { broken: Some(broken), .. }, _)) = steps.last() {
            text += &format!("     BROKEN: {}\n", broken.as_str());
        }
        text
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.start.world(self.rules(), self.crashes)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // Beyond what is broken everything may break; but what comes of a lease that outlasts its promises is worth
        // to be seen.
        let goes_on = matches!(world.broken, None | Some(Broken::WriterWithoutQuorum));
        if world.depth < self.depth && goes_on {
            world.actions(actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(world.after(action, self.rules()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(Broken::TwoPrimaries.as_str(), |_, w: &World| holds(w, Broken::TwoPrimaries)),
            Property::always(Broken::TwoVotes.as_str(), |_, w: &World| holds(w, Broken::TwoVotes)),
            Property::always(Broken::VoteNotDurable.as_str(), |_, w: &World| {
                holds(w, Broken::VoteNotDurable)
            }),
            Property::always(Broken::EpochWentBack.as_str(), |_, w: &World| holds(w, Broken::EpochWentBack)),
            Property::always(Broken::SpokenBeforeDurable.as_str(), |_, w: &World| {
                holds(w, Broken::SpokenBeforeDurable)
            }),
            Property::always(Broken::TwoWriters.as_str(), |_, w: &World| holds(w, Broken::TwoWriters)),
            Property::always(Broken::WriterWithoutQuorum.as_str(), |_, w: &World| {
                holds(w, Broken::WriterWithoutQuorum)
            }),
        ];
        properties.push(Property::sometimes(self.elected(), Self::is_elected));
        properties
    }
}

fn holds(world: &World, sentence: Broken) -> bool {
    world.broken != Some(sentence)
}
