//! What this node's data is, told from the data itself.

pub(crate) mod claim;
pub(crate) mod cuts;
pub(crate) mod cutter;
pub(crate) mod digest;
pub(crate) mod disk;
pub(crate) mod ledger;
pub(crate) mod marks;
pub(crate) mod offset;
pub(crate) mod pace;
pub(crate) mod replay;
mod sum;
pub(crate) mod syncer;
pub(crate) mod tag;
pub(crate) mod witness;
