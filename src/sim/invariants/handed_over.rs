//! H9: whoever is named at the end of a transfer holds all that the old primary wrote.

use super::found::Found;
use crate::ids::Epoch;
use crate::sim::data::{Data, Place, SHARDS};

#[derive(Debug)]
pub(in crate::sim) struct HandedOver;

impl HandedOver {
    /// The primary of `epoch`, with `mine`, resigns in favour of `successor`, which has `theirs` and was not disturbed lately.
    /// `cuts`: there are some among the frames.
    pub(in crate::sim) fn look(
        &self,
        epoch: Epoch,
        mine: &Data,
        successor: usize,
        theirs: &Data,
        cuts: bool,
    ) -> Found {
        (0..SHARDS).find_map(|shard| {
            let [written, held] =
                [mine, theirs].map(|data| data.lanes[shard].within(epoch).unwrap_or_default());
            // Cuts go on until the end, and are no writes.
            let written = if cuts { Place { epoch, offset: written }.without_cuts().offset } else { written };
            (held < written).then(|| {
                let text = format!(
                    "n{successor} takes over from epoch {epoch} with {held} of {written} on shard {shard}"
                );
                ("a transfer loses nothing (H9)", text)
            })
        })
    }
}
