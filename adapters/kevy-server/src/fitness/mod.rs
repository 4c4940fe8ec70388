//! Whether this server is fit to hold the office.

pub(crate) mod burn;
pub(crate) mod companion;
pub(crate) mod descriptors;
pub(crate) mod guard;
pub(crate) mod own;
pub(crate) mod probe;
pub(crate) mod pulse;
pub(crate) mod watch;
