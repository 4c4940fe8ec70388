//! L1: at most one node's gate would let a write pass at any real instant.
//!
//! Each gate is asked on its node's own clock, at the same instant of real time. Two gates can only come to
//! be open together when one opens, so that is when it is asked.

use super::found::Found;

#[derive(Debug)]
pub(in crate::sim) struct OneWriter;

impl OneWriter {
    /// Both gates would let a write pass now.
    pub(in crate::sim) fn both_open(&self, a: usize, b: usize) -> Found {
        Some(("one writer (L1)", format!("n{a} and n{b} would both let a write pass at this instant")))
    }
}
