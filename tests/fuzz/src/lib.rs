//! What the fuzz targets check. Each `check` panics where the plugin breaks a promise; whatever a fuzzer finds
//! becomes a named test of the plugin before it is fixed.

mod bound;
pub mod codec;
pub mod elector;
pub mod hello;
mod numbers;
