//! Frames.
/// Version of the protocol.
pub const PROTOCOL: u16 = 1;
