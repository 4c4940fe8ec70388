//! L2: when a write passes, a quorum is bound not to elect anybody else: by a promise to the writer that
//! still runs on the voter's own clock, or because the voter is down, or started so recently that it may
//! not vote yet.

use super::found::Found;
use crate::ids::Epoch;

#[derive(Debug)]
pub(in crate::sim) struct Lease;

impl Lease {
    pub(in crate::sim) fn on_write(&self, node: usize, epoch: Epoch, bound: usize, quorum: usize) -> Found {
        (bound < quorum).then(|| {
            let text = format!(
                "a write passed on n{node} in epoch {epoch} while only {bound} voters were bound to it"
            );
            ("lease within promises (L2)", text)
        })
    }
}
