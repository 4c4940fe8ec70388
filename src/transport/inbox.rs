//! What waits for the one who receives.

use super::api::{RefuseReason, TransportEvent, TransportStats};
use super::wakes::Wakes;
use crate::ids::NodeId;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::task::Waker;

/// The most messages that wait for [`super::api::Transport::recv`]. Beyond it sockets are not read.
pub const INBOX_EVENTS_MAX: usize = 256;
/// The most events about refused connections that wait at a time; what comes on top is only counted.
pub const REFUSALS_QUEUED_MAX: usize = 16;
/// The most events about refused connections in one second; what comes on top is only counted.
pub(crate) const REFUSALS_PER_SECOND_MAX: u32 = 32;
/// The most wakers of tasks that wait for room, beyond those that the caller expects.
const ROOM_WAITERS_MAX: usize = 64;

/// Events in the order in which they happened.
///
/// Messages are bounded by [`Inbox::has_room`]; events about links always fit, because what leads to them
/// waits for room first; refusals have their own limits.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: VecDeque<TransportEvent>,
    receiver: Option<Waker>,
    room: Vec<Waker>,
    refusals_queued: usize,
    /// When the current second began, and how many refusals were told in it.
    refusals_told: Option<(Instant, u32)>,
    refused: TransportStats,
}

impl Inbox {
    pub(super) fn push(&mut self, event: TransportEvent, wakes: &mut Wakes) {
        self.events.push_back(event);
        self.receiver.take().into_iter().for_each(|receiver| wakes.add(receiver));
    }

    /// The next event; `receiver` is woken when there is one.
    pub(super) fn receive(&mut self, receiver: &Waker, wakes: &mut Wakes) -> Option<TransportEvent> {
        let Some(event) = self.events.pop_front() else {
            self.receiver.get_or_insert_with(|| receiver.clone()).clone_from(receiver);
            return None;
        };
        if matches!(event, TransportEvent::Refused { .. }) {
            self.refusals_queued -= 1;
        }
        // At half, not at one free place: otherwise every message would wake every waiting link.
        if self.events.len() <= INBOX_EVENTS_MAX / 2 {
            self.room.drain(..).for_each(|task| wakes.add(task));
        }
        Some(event)
    }

    /// Whether another message fits; `task` is woken once one does. `waiters` tasks may wait at a time.
    pub(super) fn has_room(&mut self, task: &Waker, waiters: usize, wakes: &mut Wakes) -> bool {
        if self.events.len() < INBOX_EVENTS_MAX {
            return true;
        }
        if !self.room.iter().any(|waiting| waiting.will_wake(task)) {
            // Tasks that ended leave their wakers behind: now and then the living ones have to ask again.
            if self.room.len() >= ROOM_WAITERS_MAX + waiters {
                self.room.drain(..).for_each(|task| wakes.add(task));
            }
            self.room.push(task.clone());
        }
        false
    }

    /// Counts always and tells within limits: a flood of strangers must not fill the inbox.
    pub(super) fn refuse(
        &mut self,
        claimed: Option<NodeId>,
        reason: RefuseReason,
        detail: Option<String>,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        self.refused.refuse(reason);
        let (since, told) = match self.refusals_told {
            Some((since, told)) if now.saturating_since(since) < Duration::from_secs(1) => (since, told),
            _ => (now, 0),
        };
        if told >= REFUSALS_PER_SECOND_MAX || self.refusals_queued >= REFUSALS_QUEUED_MAX {
            return;
        }
        self.refusals_told = Some((since, told + 1));
        self.refusals_queued += 1;
        self.push(TransportEvent::Refused { claimed, reason, detail }, wakes);
    }

    /// How often something was turned away, by reason.
    pub(super) fn refused(&self) -> TransportStats {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::message::{Announce, Message};

    #[test]
    fn t20_refusals_are_counted_always_and_told_within_limits() {
        let (mut inbox, mut wakes) = (Inbox::default(), Wakes::default());
        let now = Instant::from_nanos(1);
        for _ in 0..1000 {
            inbox.refuse(None, RefuseReason::Garbage, None, now, &mut wakes);
        }
        assert_eq!(inbox.refused().refused_for(RefuseReason::Garbage), 1000);
        assert_eq!(inbox.events.len(), REFUSALS_QUEUED_MAX);
        let mut told = 0;
        for _ in 0..1000 {
            told += usize::from(inbox.receive(Waker::noop(), &mut wakes).is_some());
            inbox.refuse(None, RefuseReason::Garbage, None, now, &mut wakes);
        }
        assert_eq!(told, REFUSALS_PER_SECOND_MAX as usize);
        let later = now + Duration::from_secs(1);
        inbox.refuse(None, RefuseReason::Garbage, None, later, &mut wakes);
        assert!(inbox.receive(Waker::noop(), &mut wakes).is_some(), "told again a second later");
    }

    #[test]
    fn t21_a_full_inbox_has_room_again_once_half_of_it_was_received() {
        let (mut inbox, mut wakes) = (Inbox::default(), Wakes::default());
        let message = Message::Announce(Announce { epoch: Epoch(1) });
        let event = TransportEvent::Message { from: NodeId::new("b").unwrap(), message };
        for _ in 0..INBOX_EVENTS_MAX {
            assert!(inbox.has_room(Waker::noop(), 2, &mut wakes));
            inbox.push(event.clone(), &mut wakes);
        }
        assert!(!inbox.has_room(Waker::noop(), 2, &mut wakes));
        assert_eq!(inbox.room.len(), 1);
        for _ in 0..INBOX_EVENTS_MAX / 2 {
            inbox.receive(Waker::noop(), &mut wakes);
        }
        assert!(inbox.room.is_empty(), "woken");
    }
}
