//! C4: whoever continues holds a prefix of the history in which it continues.
//!
//! By its contents: every write has an identity, and what each history begins with is taken down here, out of the data, when its primary is
//! promoted. No server is asked for what it believes.

use super::found::Found;
use crate::ids::Epoch;
use crate::sim::data::{Data, ShardData};

#[derive(Debug, Default)]
pub(in crate::sim) struct Continued {
    /// What each history begins with.
    begun: Vec<(Epoch, Data)>,
}

impl Continued {
    /// A server serves the stream of this epoch from now on.
    pub(in crate::sim) fn on_begun(&mut self, epoch: Epoch, data: &Data) {
        self.begun.push((epoch, data.clone()));
    }

    /// A shard of this server went on towards the history of this epoch, or arrived in it.
    pub(in crate::sim) fn on_continued(
        &self,
        node: usize,
        epoch: Epoch,
        shard: usize,
        mine: &ShardData,
    ) -> Found {
        const NAME: &str = "continues from a prefix (C4)";
        let what = || format!("shard {shard} of n{node} goes on in the history of epoch {epoch}");
        let Some((_, begun)) = self.begun.iter().find(|(other, _)| *other == epoch) else {
            return Some((NAME, format!("{}, which nobody began", what())));
        };
        let theirs = &begun.lanes[shard];
        (!mine.is_prefix(theirs, epoch)).then(|| {
            let (mine, theirs, odd) = (&mine.runs, &theirs.runs, [mine.odd, theirs.odd]);
            (NAME, format!("{} from {mine:?}; it began with {theirs:?}; digests {odd:x?}", what()))
        })
    }
}
