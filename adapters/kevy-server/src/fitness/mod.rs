//! Whether this server is fit to hold the office.

pub(crate) mod companion;
pub(crate) mod descriptors;
pub(crate) mod guard;
pub(crate) mod memory;
pub(crate) mod probe;
pub(crate) mod pulse;
pub(crate) mod reset_clients;
pub(crate) mod serving;
pub(crate) mod threads;
pub(crate) mod watch;
