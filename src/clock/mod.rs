//! Clocks: what time it is, and when a time has come.

mod api;
#[cfg(feature = "test-util")]
mod manual;
mod system;

pub use api::Clock;
#[cfg(feature = "test-util")]
pub use manual::ManualClock;
pub use system::SystemClock;
