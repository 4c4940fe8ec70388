//! What waits to be written to one peer.

use std::collections::VecDeque;

/// The most frames that wait for one peer: six seconds of heartbeats, or every vote of several elections.
pub(crate) const OUTBOX_FRAMES_MAX: usize = 64;

/// Encoded frames in one buffer, so that all that wait go out with one write. A full box gives up its
/// oldest heartbeat or echo: newer ones say more. Votes and answers are never given up.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    frames: VecDeque<Queued>,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    bytes: usize,
    droppable: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits to be written.
    Queued,
    /// It waits, and an older heartbeat or echo gave up its place.
    DroppedOldest,
    /// The box is full of what must not be dropped.
    Full,
}

impl Outbox {
    /// A frame more. One that is `repeated` by later ones may give up its place.
    pub(super) fn push(&mut self, frame: &[u8], repeated: bool) -> Pushed {
        let mut outcome = Pushed::Queued;
        if self.frames.len() >= OUTBOX_FRAMES_MAX {
            let Some(oldest) = self.frames.iter().position(|frame| frame.droppable) else {
                return Pushed::Full;
            };
            let start: usize = self.frames.iter().take(oldest).map(|frame| frame.bytes).sum();
            if let Some(frame) = self.frames.remove(oldest) {
                self.bytes.drain(start..start + frame.bytes);
            }
            outcome = Pushed::DroppedOldest;
        }
        self.bytes.extend_from_slice(frame);
        self.frames.push_back(Queued { bytes: frame.len(), droppable: repeated });
        outcome
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Moves all that waits to `batch`, which must be empty; its memory is used for what comes next.
    pub(super) fn take(&mut self, batch: &mut Vec<u8>) {
        debug_assert!(batch.is_empty());
        std::mem::swap(&mut self.bytes, batch);
        self.frames.clear();
    }

    /// Forgets all: the link is gone, and what was meant for it means nothing on the next.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Round};
    use crate::message::{Echo, Grant, Message, Standing};
    use crate::wire;

    fn echo(round: u64) -> Message {
        Message::Echo(Echo {
            epoch: Epoch(1),
            round: Round(round),
            primary: None,
            standing: Standing::Member,
            progress: crate::position::Progress::NONE,
        })
    }

    fn vote(round: u64) -> Message {
        Message::Accept(Grant { epoch: Epoch(1), round: Round(round), identity: None })
    }

    fn push(outbox: &mut Outbox, message: &Message) -> Pushed {
        let mut frame = Vec::new();
        wire::encode(message, &mut frame);
        outbox.push(&frame, message.verb().is_repeated())
    }

    fn drain(outbox: &mut Outbox) -> Vec<Message> {
        let (mut batch, mut at, mut all) = (Vec::new(), 0, Vec::new());
        outbox.take(&mut batch);
        while at < batch.len() {
            let (wire::Frame::Message(message), used) = wire::decode(&batch[at..]).unwrap().unwrap() else {
                panic!()
            };
            all.push(message);
            at += used;
        }
        all
    }

    #[test]
    fn a_full_box_gives_up_its_oldest_heartbeat_or_echo_and_never_a_vote() {
        let mut outbox = Outbox::default();
        push(&mut outbox, &vote(0));
        for round in 1..OUTBOX_FRAMES_MAX as u64 {
            assert_eq!(push(&mut outbox, &echo(round)), Pushed::Queued);
        }
        assert_eq!(push(&mut outbox, &echo(1000)), Pushed::DroppedOldest);
        assert_eq!(push(&mut outbox, &vote(1001)), Pushed::DroppedOldest);
        let all = drain(&mut outbox);
        assert_eq!(all.len(), OUTBOX_FRAMES_MAX);
        assert_eq!(all[0], vote(0));
        assert_eq!(all[1], echo(3), "1 and 2 gave up their places");
        assert_eq!(all[OUTBOX_FRAMES_MAX - 2..], [echo(1000), vote(1001)]);
    }

    #[test]
    fn a_box_full_of_votes_refuses_more_and_keeps_all() {
        let mut outbox = Outbox::default();
        for round in 0..OUTBOX_FRAMES_MAX as u64 {
            push(&mut outbox, &vote(round));
        }
        assert_eq!(push(&mut outbox, &echo(1)), Pushed::Full);
        assert_eq!(push(&mut outbox, &vote(1)), Pushed::Full);
        assert_eq!(drain(&mut outbox).len(), OUTBOX_FRAMES_MAX);
        assert!(outbox.is_empty());
    }
}
