//! The real kevy 7 with the election plugin inside.

pub mod cli;
pub mod config;
