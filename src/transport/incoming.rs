//! What came in on one connection and was not taken up yet: bytes that its session has to open, and frames.

use super::api::RefuseReason;
use super::session::{RECORD_BYTES_MAX, Session};
use crate::message::{Hello, Message};
use crate::wire::{self, DecodeError, FRAME_BYTES_MAX, Frame};

/// Room for what was opened and is not a whole frame, and for what is not a whole record.
const READ_BYTES_MAX: usize = FRAME_BYTES_MAX + RECORD_BYTES_MAX;

/// A frame that means something here, without its borrow of the bytes.
#[derive(Debug)]
pub(super) enum Received {
    Hello(Hello),
    /// Without a reason: one that this version does not know. And what it says to people.
    Refused(Option<RefuseReason>, String),
    Message(Message),
}

/// ```text
/// | taken up | frames | (room of records) | not opened | room |
///            start    opened              sealed       end
/// ```
pub(super) struct IncomingBytes {
    bytes: Box<[u8]>,
    start: usize,
    opened: usize,
    sealed: usize,
    end: usize,
}

impl IncomingBytes {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; READ_BYTES_MAX].into_boxed_slice(), start: 0, opened: 0, sealed: 0, end: 0 }
    }

    /// Where the next bytes go. Never empty after [`IncomingBytes::next`] gave `None`.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let (frames, sealed) = (self.opened - self.start, self.end - self.sealed);
        if self.start > 0 || self.sealed > self.opened {
            self.bytes.copy_within(self.start..self.opened, 0);
            self.bytes.copy_within(self.sealed..self.end, frames);
            (self.start, self.opened, self.sealed, self.end) = (0, frames, frames, frames + sealed);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes were put there.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.end = self.bytes.len().min(self.end + bytes);
    }

    /// Whether nothing is left over: neither half a frame nor half a record.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.opened && self.sealed == self.end
    }

    /// The next frame; `None`: more bytes are needed. A frame with a verb that is not known is skipped (W5).
    pub(super) fn next(
        &mut self,
        session: &mut dyn Session,
        reply: &mut Vec<u8>,
    ) -> Result<Option<Received>, RefuseReason> {
        loop {
            while let Some((received, used)) = next(&self.bytes[self.start..self.opened])? {
                self.start += used;
                if received.is_some() {
                    return Ok(received);
                }
            }
            if self.sealed == self.end {
                return Ok(None);
            }
            let unopened = &mut self.bytes[self.sealed..self.end];
            let opened = session.open(unopened, reply)?;
            if opened.used == 0 {
                let stuck = unopened.len() >= RECORD_BYTES_MAX;
                return if stuck { Err(RefuseReason::TooLarge) } else { Ok(None) };
            }
            let within = opened.frames.start <= opened.frames.end && opened.frames.end <= opened.used;
            if !within || opened.used > unopened.len() {
                debug_assert!(false, "a session opens what is there: {opened:?} of {}", unopened.len());
                return Err(RefuseReason::Garbage);
            }
            let frames = self.sealed + opened.frames.start..self.sealed + opened.frames.end;
            let length = frames.len();
            if frames.start != self.opened {
                self.bytes.copy_within(frames, self.opened);
            }
            self.opened += length;
            self.sealed += opened.used;
        }
    }
}

/// The frame at the head of `bytes` and its length; without a value where its verb is not known.
pub(super) fn next(bytes: &[u8]) -> Result<Option<(Option<Received>, usize)>, RefuseReason> {
    let Some((frame, used)) = wire::decode(bytes).map_err(fault)? else { return Ok(None) };
    let received = match frame {
        Frame::Hello(hello) => Some(Received::Hello(hello)),
        Frame::Message(message) => Some(Received::Message(message)),
        Frame::Refuse { reason, text } => {
            Some(Received::Refused(RefuseReason::from_word(reason), text.to_owned()))
        }
        Frame::Unknown => None,
    };
    Ok(Some((received, used)))
}

fn fault(error: DecodeError) -> RefuseReason {
    if error.is_too_large() { RefuseReason::TooLarge } else { RefuseReason::Garbage }
}
