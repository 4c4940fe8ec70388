//! What `cargo demo`, `cargo chaos` and `cargo race` share: real servers as child processes, clients that
//! write without pause, faults, and a judge who trusts only what the clients saw.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod contents;
pub mod copying;
pub mod cost;
pub mod data;
pub mod failure;
pub mod fault;
pub mod guard;
pub mod links;
pub mod load;
#[path = "../../../examples/support/marks.rs"]
pub mod marks;
pub mod median;
pub mod observe;
pub mod outcome;
pub mod picture;
pub mod ports;
pub mod progress;
pub mod roll;
pub mod round;
pub mod server;
pub mod style;
pub mod verdict;
pub mod votes;
pub mod waiting;
pub mod writers;

pub use kevy_elect_compare::resp as client;
pub use kevy_elect_plugin::words;
