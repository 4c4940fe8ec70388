//! What this node's data is, told from the data itself.

pub(crate) mod cuts;
pub(crate) mod digest;
pub(crate) mod disk;
pub(crate) mod ledger;
pub(crate) mod marks;
pub(crate) mod syncer;
pub(crate) mod tag;
pub(crate) mod witness;
