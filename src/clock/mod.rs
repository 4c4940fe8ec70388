//! Clocks: what time it is, and when a time has come.

#[cfg(target_os = "linux")]
mod alarm;
mod api;
#[cfg(feature = "test-util")]
mod manual;
mod system;

pub use api::Clock;
#[cfg(feature = "test-util")]
pub use manual::ManualClock;
pub use system::SystemClock;
