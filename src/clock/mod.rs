//! Clocks: what time it is, and when a time has come.

mod api;
mod manual;
mod system;

pub use api::Clock;
pub use manual::ManualClock;
pub use system::SystemClock;
