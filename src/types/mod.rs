//! The words that every layer speaks. Each is found at the crate's root, as `crate::ids`.

pub mod bounds;
pub mod change;
pub mod config;
pub mod event;
pub mod fence;
pub mod identity;
pub mod ids;
pub mod link;
pub mod membership;
pub mod message;
pub mod pause;
pub mod position;
pub mod rank;
pub(crate) mod rng;
pub mod state;
pub(crate) mod terms;
pub mod time;
pub mod transfer;
pub(crate) mod words;
