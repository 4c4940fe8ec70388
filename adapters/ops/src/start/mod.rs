//! What a program with an election in it does at its start, beside reading its settings.
//!
//! ```text
//! logging.rs   where its lines go
//! ports.rs     its ports, also those that a dead process still holds
//! parts.rs     store, transport and clock of its election
//! priority.rs  its thread
//! running.rs   the election itself: a program without it must not go on
//! ```

pub mod logging;
pub mod parts;
pub mod ports;
pub mod priority;
pub mod running;
