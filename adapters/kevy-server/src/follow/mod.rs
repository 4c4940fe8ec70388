//! Following a primary: one stream for each shard.

pub(crate) mod addresses;
pub(crate) mod catch_up;
pub(crate) mod feed;
pub(crate) mod fleet;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod session;
pub(crate) mod stall;
pub(crate) mod trail;
