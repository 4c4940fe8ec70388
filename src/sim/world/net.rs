//! The network's state: links in each direction, connections between electors, frames under way.

use super::event::Frame;
use crate::ids::Incarnation;
use crate::sim::impairments::Life;
use std::collections::VecDeque;

/// How a node sees its connection to a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View {
    pub(super) conn: u64,
    pub(super) up: bool,
    /// The peer's process.
    pub(super) life: Life,
    pub(super) incarnation: Incarnation,
    pub(super) retrying: bool,
}

pub(super) struct Net {
    pub(super) nodes: usize,
    /// Per direction: how many faults cut it.
    pub(super) cut: Vec<u16>,
    /// Per direction: how many firewalls refuse it.
    pub(super) refused: Vec<u16>,
    pub(super) views: Vec<View>,
    pub(super) stalled: Vec<VecDeque<Box<Frame>>>,
    /// Per direction: when the last frame arrives. The next one on a connection comes later.
    pub(super) last: Vec<u64>,
    pub(super) conns: u64,
    /// Second processes with a node's id; and those that are gone, with the time until which the first one is refused for them.
    pub(super) ghosts: Vec<(usize, Life)>,
    pub(super) gone_ghosts: Vec<(Life, u64)>,
    pub(super) storms: Vec<(u64, u64, u64)>,
    /// Per direction: when something was last not in order.
    pub(super) disturbed: Vec<u64>,
    /// Per direction: when the last frame arrives that took longer than it does on a calm network. A storm that is over
    /// still holds up what was sent in it, and what was sent behind that.
    pub(super) late: Vec<u64>,
}

impl Net {
    pub(super) fn new(nodes: usize) -> Self {
        let pairs = nodes * nodes;
        Self {
            nodes,
            cut: vec![0; pairs],
            refused: vec![0; pairs],
            views: vec![View::default(); pairs],
            stalled: vec![VecDeque::new(); pairs],
            last: vec![0; pairs],
            conns: 0,
            ghosts: Vec::new(),
            gone_ghosts: Vec::new(),
            storms: Vec::new(),
            disturbed: vec![0; pairs],
            late: vec![0; pairs],
        }
    }

    pub(super) fn index(&self, from: usize, to: usize) -> usize {
        from * self.nodes + to
    }
}
