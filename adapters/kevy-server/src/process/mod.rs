//! The process: its start, its ports, its end.

pub mod cli;
pub(crate) mod clock;
pub(crate) mod reactor;
pub(crate) mod run;
pub(crate) mod sentinel;
pub(crate) mod serve;
