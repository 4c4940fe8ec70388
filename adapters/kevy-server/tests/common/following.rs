//! Nodes of one process that follow each other, and what they hold afterwards.

use super::contents::{contents, differences};
use super::{Cluster, Node, PATIENCE, until, until_reads, within, write_keys};
use kevy_elect_plugin::host::FenceReason;

/// A number that a node tells in `INFO`.
pub fn told(node: &Node, name: &str) -> u64 {
    let info = node.client().ask("INFO replication");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().parse().unwrap()
}

pub fn copies(node: &Node) -> u64 {
    told(node, "elect_copies")
}

pub fn continuations(node: &Node) -> u64 {
    told(node, "elect_continuations")
}

/// Whether a write on `primary` is confirmed by so many at least, and read everywhere; then, that all hold the same.
#[track_caller]
pub fn whole(primary: &Node, replicas: &[&Node], name: &str) {
    let name = name.replace(' ', "-");
    let mut client = primary.client();
    assert_eq!(client.ask(&format!("SET whole:{name} {name}")), "+OK");
    let count = replicas.len();
    until("all confirm it", || {
        let said = client.ask(&format!("WAIT {count} 5000"));
        // Others may follow as well.
        said.strip_prefix(':').and_then(|said| said.parse::<usize>().ok()).filter(|said| *said >= count)
    });
    let here = contents(&mut client);
    for replica in replicas {
        until_reads(replica, &format!("whole:{name}"), &name);
        // Others may have confirmed it, and this one's other shards may still apply what came before. Nobody writes any more.
        let mut all = Vec::new();
        let same = within(PATIENCE, || {
            all = differences(&here, &contents(&mut replica.client()));
            all.is_empty().then_some(())
        });
        assert!(same.is_some(), "{name}: {all:?}");
    }
}

/// A primary and two replicas, which hold what was written.
pub fn three(cluster: &Cluster) -> [Node; 3] {
    let nodes = cluster.reigning(3);
    write_keys(&mut nodes[0].client(), "k", 200);
    whole(&nodes[0], &[&nodes[1], &nodes[2]], "first");
    nodes
}

/// Node `primary` has resigned, and the others have let go of it.
pub fn let_go(primary: &Node, replicas: &[&Node]) {
    primary.fence(FenceReason::StepDown);
    replicas.iter().for_each(|replica| drop(replica.host.detach()));
}

pub fn follow_all(primary: &Node, epoch: u64, replicas: &[&Node]) {
    for replica in replicas {
        replica.follow(epoch, primary);
        replica.wait_joined(epoch);
    }
}
