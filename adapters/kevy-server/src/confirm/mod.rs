//! Who waits for a confirmation, and whose acknowledgements count.

pub(crate) mod connections;
pub(crate) mod names;
pub(crate) mod proof;
pub(crate) mod silent;
pub(crate) mod sink;
pub(crate) mod waits;
