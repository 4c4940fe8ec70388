//! What the fuzz targets check. Each `check` panics where the plugin breaks a promise; whatever a fuzzer finds
//! becomes a named test of the plugin before it is fixed.

pub mod codec;
pub mod elector;
pub mod hello;
mod numbers;

use kevy_elect_plugin::wire::FRAME_BYTES_MAX;

/// Runs `work`, which reads from `bytes`, and fails where it needs more memory than a frame may have: what a
/// stranger announces must not make us allocate.
fn within_a_frame<T>(work: impl FnOnce() -> T) -> T {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    assert!(
        counted.bytes_max <= FRAME_BYTES_MAX as u64,
        "{} bytes were allocated at once",
        counted.bytes_max
    );
    result.expect("the closure ran")
}
