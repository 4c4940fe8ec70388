//! What clients may do, and what is streamed and logged of it.

pub(crate) mod bounds;
pub(crate) mod browser;
pub(crate) mod commands;
pub(crate) mod deliveries;
pub(crate) mod effects;
pub(crate) mod expiry;
pub(crate) mod handling;
pub(crate) mod handshake;
pub(crate) mod harmless;
pub(crate) mod harmless_by_name;
pub(crate) mod hello;
pub(crate) mod loopback;
pub(crate) mod members;
pub(crate) mod nulls;
pub(crate) mod pause;
pub(crate) mod record;
pub(crate) mod replies;
pub(crate) mod scripts;
pub(crate) mod status;
pub(crate) mod transfer;
pub(crate) mod verdict;
pub(crate) mod waiting;
pub(crate) mod windows;
