//! Attacks on a live cluster under writes, one file for each door. What each may cost is said beside it; the bounds that keep it to that
//! are in `docs/limits.md`.
//!
//! During and after every attack: the primary is there (where the attacker is nobody: the same one, in the same epoch), writes are
//! confirmed, all that were confirmed are there, and memory, descriptors and log of every node have grown by no more than the stated
//! amount. A `kill -9` of the primary under attack costs no more than twice what it costs without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "modules of a test")]

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod election;
mod member;
mod pages;
mod sentinel;
mod sockets;
mod speaker;
mod stage;
mod streams;
