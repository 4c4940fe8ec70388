//! Links between the nodes, for faults that cut them.

use crate::failure::Failure;
use crate::verdict::Node;

/// Whoever can cut links. Clients reach every node all the time.
pub trait Links {
    /// Cuts all links between `node` and its peers.
    fn isolate(&mut self, node: Node) -> Result<(), Failure>;
    /// Everything passes again.
    fn heal(&mut self) -> Result<(), Failure>;
}

/// Links that nobody can cut: one machine's loopback.
pub struct Uncut;

impl Links for Uncut {
    fn isolate(&mut self, _: Node) -> Result<(), Failure> {
        let error = std::io::Error::other(
            "that needs network namespaces; only `cargo race` and `cargo chaos` make them",
        );
        Err(Failure::Os { what: "cut links".into(), error })
    }

    fn heal(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
