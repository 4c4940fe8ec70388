//! Links, connections and frames: the same for every system.
//!
//! A pair of nodes has one connection, dialled by whoever notices that there is none. Frames travel only on a connection, between the
//! two processes that made it. What a frame meets follows from the seed, its link and the instant at which it is sent, so two
//! systems meet the same network wherever they send at the same time.

mod traffic;

use std::collections::VecDeque;

/// Counts the process starts of a run.
pub(crate) type Life = u64;

/// A message under way.
pub(crate) struct Frame<M> {
    pub(crate) from: usize,
    pub(crate) to: usize,
    from_life: Life,
    to_life: Life,
    message: M,
}

/// How a node sees its connection to a peer.
#[derive(Debug, Clone, Copy, Default)]
struct View {
    up: bool,
    conn: u64,
    /// The peer's process.
    life: Life,
}

/// A storm that goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    pub(crate) fault: usize,
    pub(crate) loss: u64,
    pub(crate) delay: u64,
    pub(crate) reorder: bool,
}

pub(crate) struct Net<M> {
    nodes: usize,
    /// Per direction: how many faults cut it.
    cut: Vec<u16>,
    held: Vec<VecDeque<Frame<M>>>,
    views: Vec<View>,
    /// Per direction: when the last frame arrives, and the instant and number of the last one sent.
    last: Vec<u64>,
    sent: Vec<(u64, u64)>,
    /// Per pair: somebody dials.
    dialling: Vec<bool>,
    /// Per pair: when its connection was made, or a cut of it began or ended, last.
    disturbed: Vec<u64>,
    conns: u64,
    pub(crate) storms: Vec<Storm>,
}

impl<M> Net<M> {
    pub(crate) fn new(nodes: usize) -> Self {
        let pairs = nodes * nodes;
        Self {
            nodes,
            cut: vec![0; pairs],
            held: (0..pairs).map(|_| VecDeque::new()).collect(),
            views: vec![View::default(); pairs],
            last: vec![0; pairs],
            sent: vec![(0, 0); pairs],
            dialling: vec![false; pairs],
            disturbed: vec![0; pairs],
            conns: 0,
            storms: Vec::new(),
        }
    }

    fn index(&self, from: usize, to: usize) -> usize {
        from * self.nodes + to
    }

    /// Whether the two have been connected without a break since `since`.
    pub(crate) fn is_whole(&self, a: usize, b: usize, since: u64) -> bool {
        let (there, back) = (self.index(a, b), self.index(b, a));
        let whole = |way: usize| self.cut[way] == 0 && self.views[way].up;
        whole(there) && whole(back) && self.disturbed[there.min(back)] <= since
    }

    fn disturb(&mut self, a: usize, b: usize, now: u64) {
        let pair = self.index(a.min(b), a.max(b));
        self.disturbed[pair] = now;
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[self.index(from, to)] > 0
    }
}
