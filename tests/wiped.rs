//! More disks are lost than a protocol survives, at any moment, while the nodes that kept theirs are away, down, or have lost their vote
//! records: whoever has data of the old cluster keeps it until an operator decides. Sentences I4 and I6 of `docs/protocol.md`.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod losses;

use kevy_elect_plugin::ids::{ClusterId, NodeId};
use kevy_elect_plugin::sim::{Loss, Mutation};
use losses::{Draw, World};

const SEEDS: u64 = 300;

impl World {
    /// Lets time pass until somebody writes, and everybody knows to which cluster it belongs.
    fn forms(&mut self, of: &[usize]) -> Option<ClusterId> {
        for _ in 0..400 {
            self.run(50);
            let known: Vec<_> = of.iter().map(|n| self.id_of(*n)).collect();
            let writes = self
                .cluster
                .current_primary()
                .is_some_and(|primary| of.iter().any(|n| self.nodes[*n] == primary));
            if writes && known.iter().all(|id| id.is_some() && *id == known[0]) {
                return known[0];
            }
        }
        None
    }

    fn id_of(&self, node: usize) -> Option<ClusterId> {
        self.cluster.elector(self.nodes[node])?.cluster()
    }
}

/// What became of the data of one node that kept it; `None`: nothing happened to it.
fn overwritten(seed: u64, mutation: Option<Mutation>) -> Option<String> {
    let draw = &mut Draw(seed ^ 0x5eed);
    let voters = [3, 3, 5][draw.below(3) as usize];
    let mut world = World::new(World::plan(seed, voters, mutation));
    let electors: Vec<usize> = (0..voters).collect();
    let Some(old) = world.forms(&electors) else { return Some("no cluster has formed".to_owned()) };
    for _ in 0..5 {
        world.write(1 + draw.below(9));
        world.run(draw.below(300));
    }
    world.run(2_000);
    // A minority keeps its disks.
    let kept: Vec<usize> = {
        let first = draw.below(voters as u64) as usize;
        let many = 1 + draw.below((voters as u64 - 1) / 2) as usize;
        (0..many).map(|n| (first + n) % voters).collect()
    };
    let held: Vec<_> = kept.iter().map(|n| world.cluster.position(world.nodes[*n])).collect();
    let side: Vec<NodeId> = kept.iter().map(|n| world.nodes[*n]).collect();
    let apart = draw.below(4) > 0;
    if apart {
        world.cluster.partition(&side);
    }
    for node in &kept {
        match draw.below(3) {
            0 => {}
            1 => world.crash(*node, Loss::Nothing),
            _ => world.crash(*node, Loss::Record),
        }
    }
    let back_first = std::mem::take(&mut world.down);
    let wiped: Vec<usize> = (0..voters).filter(|n| !kept.contains(n)).collect();
    for node in &wiped {
        world.crash(*node, Loss::Disk);
        world.run(draw.below(200));
    }
    world.revive();
    world.down = back_first;
    if draw.below(3) > 0 {
        world.run(draw.below(1_500));
        world.revive();
    }
    world.run(3_000 + draw.below(4_000));
    for _ in 0..3 {
        world.write(1);
        world.run(draw.below(200));
    }
    world.revive();
    world.cluster.heal_partition();
    world.run(8_000);
    for node in draw_some(draw, &kept) {
        world.crash(node, Loss::Nothing);
        world.run(300);
        world.revive();
    }
    world.run(5_000);

    // The promises about epochs and confirmed writes are void where so many disks are lost (A1). This one is not.
    for (node, held) in kept.iter().zip(&held) {
        let (id, now) = (world.id_of(*node), world.cluster.position(world.nodes[*node]));
        if id.is_some_and(|id| id != old) {
            return Some(format!("n{node} belongs to {id:?}, not to {old}"));
        }
        if now.progress() < held.progress() {
            return Some(format!("n{node} holds {now:?}, where it held {held:?}"));
        }
        // Whom it follows belongs where its data belongs.
        let primary = world.cluster.elector(world.nodes[*node]).and_then(|elector| elector.status().primary);
        let followed = primary.filter(|_| now.stream_epoch() != held.stream_epoch());
        let theirs = followed.and_then(|primary| world.cluster.elector(primary)?.cluster());
        if theirs.is_some_and(|theirs| theirs != old) {
            return Some(format!("n{node} holds {now:?} of {theirs:?}, where it held {held:?} of {old}"));
        }
    }
    None
}

fn draw_some(draw: &mut Draw, of: &[usize]) -> Vec<usize> {
    of.iter().copied().filter(|_| draw.below(2) == 0).collect()
}

#[test]
fn i6_whoever_kept_its_data_keeps_it_until_an_operator_decides() {
    for seed in 0..SEEDS {
        if let Some(what) = overwritten(seed, None) {
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn i6_what_would_overwrite_it_is_seen() {
    for mutation in [Mutation::ForeignersCount, Mutation::DataIsNobodys] {
        let seen = (0..SEEDS).find(|seed| overwritten(*seed, Some(mutation)).is_some());
        assert!(seen.is_some(), "no seed of {SEEDS} shows {mutation:?}");
    }
}
