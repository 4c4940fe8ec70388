//! What is given to peers that are dialled (T41).

use crate::ids::NodeId;
use crate::message::Pass;

/// Says what each peer is given that this process dials (T41). Any function that does.
pub trait Passes: Send + Sync + 'static {
    /// What `peer` gets. The same for as long as this process lives: it is dialled again and again.
    fn for_peer(&self, peer: NodeId) -> Pass;
}

impl<F: Fn(NodeId) -> Pass + Send + Sync + 'static> Passes for F {
    fn for_peer(&self, peer: NodeId) -> Pass {
        self(peer)
    }
}
