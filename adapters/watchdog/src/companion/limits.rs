//! How much a companion looks after.

/// The most threads of one process that may matter.
pub const THREADS_MAX: usize = 4096;
/// The most sockets that a companion holds. Of one more it says nothing, and the kernel ends that one as it would have.
pub const SOCKETS_MAX: usize = 1024;
