//! How much is read from one peer (T40). The protocol never needs as much, so the bound slows down nobody but a peer that floods.

use super::limits::{ALLOWANCE_WINDOW, BYTES_PER_WINDOW_MAX, DECISION_FRAMES, FRAMES_PER_WINDOW_MAX};
use super::timer::now;
use crate::message::Verb;
use crate::time::{Duration, Instant};

/// What is left of one peer's allowance. The clock is read only where it is spent.
#[derive(Debug)]
pub(super) struct Allowance {
    frames: u32,
    bytes: usize,
    since: Instant,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { frames: FRAMES_PER_WINDOW_MAX, bytes: BYTES_PER_WINDOW_MAX, since: now() }
    }

    /// A frame came in.
    pub(super) fn take_frame(&mut self, verb: Verb) {
        let frames = if verb.is_repeated() { 1 } else { DECISION_FRAMES };
        self.frames = self.frames.saturating_sub(frames);
    }

    /// Bytes came in.
    pub(super) fn take_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// For how long nothing more is read; `None`: there is some left.
    pub(super) fn spent(&mut self) -> Option<Duration> {
        if self.frames > 0 && self.bytes > 0 {
            return None;
        }
        let passed = now().saturating_since(self.since);
        *self = Self::new();
        let left = ALLOWANCE_WINDOW.saturating_sub(passed);
        if left.is_zero() {
            return None;
        }
        self.since += left;
        Some(left)
    }
}
