//! S9: a replica that has come as far as its primary in the same history holds the same contents.

use super::found::Found;
use crate::sim::data::{Data, SHARDS};

#[derive(Debug)]
pub(in crate::sim) struct Contents;

impl Contents {
    pub(in crate::sim) fn look(&self, node: usize, mine: &Data, primary: usize, theirs: &Data) -> Found {
        (0..SHARDS).find_map(|shard| {
            let what = mine.differs(theirs, shard)?;
            let text = format!("shard {shard} of n{node} and of n{primary}, at the same position: {what}");
            Some(("equal contents at equal positions (S9)", text))
        })
    }
}
