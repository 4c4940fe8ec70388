//! A bound on memory.

use kevy_elect_plugin::wire::FRAME_BYTES_MAX;

/// Runs `work`, which reads from `bytes`, and fails where it needs more memory than a frame may have: what a
/// stranger announces must not make us allocate.
pub(crate) fn within_a_frame<T>(work: impl FnOnce() -> T) -> T {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    assert!(
        counted.bytes_max <= FRAME_BYTES_MAX as u64,
        "{} bytes were allocated at once",
        counted.bytes_max
    );
    result.expect("the closure ran")
}
