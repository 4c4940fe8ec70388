//! F2: the fence is up before a resignation releases anybody.

use super::Found;

#[derive(Debug)]
pub(in crate::sim) struct Fence;

impl Fence {
    pub(in crate::sim) fn on_resign(&self, node: usize, open: bool) -> Found {
        open.then(|| {
            (
                "fence before resignation (F2)",
                format!("n{node} resigned while its gate would let a write pass"),
            )
        })
    }
}
