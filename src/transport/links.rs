//! Which links there are, and what is told about them: the bookkeeping of a transport, without sockets.
//!
//! Sentences T5 to T16 of `docs/protocol.md`. Between two nodes there are two links, one that we dialled
//! (`Out`: we send) and one that the peer dialled (`In`: we receive). A peer is linked while either is
//! there. The pair of events `Closed`, `Refused` lets voters elect without waiting for the old primary's
//! lease, so it must never be told of a process that lives:
//!
//! 1. `Closed` is told only when both links are gone and at least one of them ended in order.
//! 2. `Refused` is told only of an attempt that began after that, to the very address that the last `Out`
//!    link led to: a refusal by another address says nothing about the process.
//! 3. What ended one link counts no more once that direction is linked again.
//! 4. `OlderClosed` is told only of an incarnation one of whose links ended in order while another link, or a later
//!    process, had its place.

use super::inbox::Inbox;
use super::outbox::{Outbox, Pushed};
use super::wakes::{Wakeful, Wakes};
use super::{Directions, LinkEvent, RefuseReason, SendError, TransportEvent};
use crate::ids::{Incarnation, NodeId};
use crate::message::Message;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::task::Waker;

/// The two links between two nodes, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// We dialled it and send on it.
    Out,
    /// The peer dialled it; we receive on it.
    In,
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The end of the stream between two frames.
    Clean,
    /// Everything else.
    Broken,
}

/// Names one link for its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(u64);

/// What an attempt to connect knew when it began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    losses: u64,
}

#[derive(Debug)]
pub(super) struct Links {
    peers: BTreeMap<NodeId, Peer>,
    stale_after: Duration,
    next_id: u64,
    inbox: Inbox,
    pub(super) dropped: u64,
    closing: bool,
    closed: bool,
    running: bool,
    wakes: Wakes,
    /// Who waits for the end of writing, and who for the end of all.
    closer: Option<Waker>,
    runner: Option<Waker>,
}

#[derive(Debug, Default)]
struct Peer {
    /// The process that is or was linked last.
    incarnation: Option<Incarnation>,
    outgoing: Option<Slot>,
    incoming: Option<Slot>,
    /// The last incoming link of an earlier process, while its end may still say that this one is gone.
    leaving: Option<Leaving>,
    /// Whether the last link of each direction ended in order: outgoing, incoming.
    ended_clean: [bool; 2],
    /// How often the peer went from linked to not linked, and when last.
    losses: u64,
    lost_at: Option<Instant>,
    refusal_told: bool,
    /// Where the last outgoing link to this incarnation led.
    address: Option<SocketAddr>,
    outbox: Outbox,
    /// A batch was taken from the outbox and is not written yet.
    writing: bool,
    redial: bool,
    dialler: Option<Waker>,
}

#[derive(Debug)]
struct Slot {
    id: LinkId,
    task: Option<Waker>,
}

/// A link that a later process of the same node has replaced. What comes on it is dropped.
#[derive(Debug)]
struct Leaving {
    slot: Slot,
    incarnation: Incarnation,
}

impl Peer {
    fn linked(&self) -> bool {
        self.outgoing.is_some() || self.incoming.is_some()
    }

    fn slot(&mut self, direction: Direction) -> &mut Option<Slot> {
        match direction {
            Direction::Out => &mut self.outgoing,
            Direction::In => &mut self.incoming,
        }
    }

    fn call_dialler(&mut self, wakes: &mut Wakes) {
        self.redial = true;
        self.dialler.take().into_iter().for_each(|dialler| wakes.add(dialler));
    }
}

impl Links {
    pub(super) fn new(peers: impl IntoIterator<Item = NodeId>, stale_after: Duration) -> Self {
        Self {
            peers: peers.into_iter().map(|peer| (peer, Peer::default())).collect(),
            stale_after,
            next_id: 0,
            inbox: Inbox::default(),
            dropped: 0,
            closing: false,
            closed: false,
            running: false,
            wakes: Wakes::default(),
            closer: None,
            runner: None,
        }
    }

    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn directions(&self, peer: NodeId) -> Option<Directions> {
        let peer = self.peers.get(&peer)?;
        Some(Directions { out: peer.outgoing.is_some(), back: peer.incoming.is_some() })
    }

    // ---- links come and go ----

    /// A `HELLO` of `peer` came in over a new connection. Gives the link its place, or says why not.
    pub(super) fn up(
        &mut self,
        direction: Direction,
        peer: NodeId,
        incarnation: Incarnation,
        address: Option<SocketAddr>,
        now: Instant,
    ) -> Result<LinkId, RefuseReason> {
        let (stale_after, wakes) = (self.stale_after, &mut self.wakes);
        let Some(p) = self.peers.get_mut(&peer) else { return Err(RefuseReason::UnknownNode) };
        let recent = p.linked() || p.lost_at.is_some_and(|at| now.saturating_since(at) < stale_after);
        if recent && p.incarnation.is_some_and(|newest| incarnation < newest) {
            return Err(RefuseReason::StaleIncarnation);
        }
        let mut older_closed = None;
        if p.incarnation != Some(incarnation) {
            // The links of the other process have no place from here on. If it was linked, one of them may have ended
            // in order already; otherwise the end of the incoming one may be on its way, and is waited for.
            let linked = p.linked();
            let ended = linked && p.ended_clean.contains(&true);
            let older = p.incarnation.filter(|_| linked);
            older_closed = older.filter(|_| ended);
            let leaving = older.filter(|_| !ended).zip(p.incoming.take());
            let leaving = leaving.map(|(incarnation, slot)| Leaving { slot, incarnation });
            let replaced = std::mem::replace(&mut p.leaving, leaving).map(|leaving| leaving.slot);
            let slots = p.outgoing.take().into_iter().chain(p.incoming.take()).chain(replaced);
            slots.filter_map(|slot| slot.task).for_each(|task| wakes.add(task));
            p.leaving
                .iter_mut()
                .filter_map(|leaving| leaving.slot.task.take())
                .for_each(|task| wakes.add(task));
            p.outbox.clear();
            p.writing = false;
            p.address = None;
            p.incarnation = Some(incarnation);
            p.call_dialler(wakes);
        }
        let was_linked = p.linked();
        let id = LinkId(self.next_id);
        self.next_id += 1;
        let replaced = p.slot(direction).replace(Slot { id, task: None });
        replaced.and_then(|slot| slot.task).into_iter().for_each(|task| wakes.add(task));
        p.ended_clean[direction as usize] = false;
        match direction {
            Direction::Out => {
                p.outbox.clear();
                p.writing = false;
                p.address = address;
                p.redial = false;
            }
            // Who dials us listens, most likely: do not wait for the next attempt's turn.
            Direction::In if p.outgoing.is_none() => p.call_dialler(wakes),
            Direction::In => {}
        }
        if !was_linked {
            p.ended_clean = [false; 2];
            p.refusal_told = false;
            self.tell(peer, LinkEvent::Up { incarnation });
        }
        if let Some(incarnation) = older_closed {
            self.tell(peer, LinkEvent::OlderClosed { incarnation });
        }
        Ok(id)
    }

    /// A link ended. Of one that a later process replaced, only an orderly end is told; of one that the same process
    /// replaced, nothing.
    pub(super) fn end(&mut self, direction: Direction, peer: NodeId, id: LinkId, end: End, now: Instant) {
        let wakes = &mut self.wakes;
        let Some(p) = self.peers.get_mut(&peer) else { return };
        if let Some(leaving) = p.leaving.take_if(|leaving| leaving.slot.id == id) {
            if end == End::Clean {
                self.tell(peer, LinkEvent::OlderClosed { incarnation: leaving.incarnation });
            }
            return;
        }
        let slot = p.slot(direction);
        if slot.as_ref().is_none_or(|slot| slot.id != id) {
            return;
        }
        *slot = None;
        p.ended_clean[direction as usize] = end == End::Clean;
        if direction == Direction::Out {
            p.outbox.clear();
            p.writing = false;
            self.closer.take().into_iter().for_each(|closer| wakes.add(closer));
        }
        // The dialler itself ends outgoing links and knows.
        if direction == Direction::In && p.outgoing.is_none() {
            p.call_dialler(wakes);
        }
        if !p.linked() {
            p.losses += 1;
            p.lost_at = Some(now);
            let orderly = p.ended_clean.contains(&true);
            self.tell(peer, if orderly { LinkEvent::Closed } else { LinkEvent::Reset });
        }
    }

    /// An attempt to connect begins.
    pub(super) fn attempt(&self, peer: NodeId) -> Option<Attempt> {
        let p = self.peers.get(&peer)?;
        (!p.linked() && p.losses > 0).then_some(Attempt { losses: p.losses })
    }

    /// The attempt was refused by the host at `address`.
    pub(super) fn connect_refused(&mut self, peer: NodeId, attempt: Option<Attempt>, address: SocketAddr) {
        let Some(p) = self.peers.get_mut(&peer) else { return };
        let since_the_loss = attempt.is_some_and(|attempt| attempt.losses == p.losses) && !p.linked();
        if since_the_loss && p.address == Some(address) && !p.refusal_told {
            p.refusal_told = true;
            self.tell(peer, LinkEvent::Refused);
        }
    }

    /// Where to look first for a process that was just lost.
    pub(super) fn lost_address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.peers.get(&peer).filter(|p| !p.refusal_told && p.losses > 0).and_then(|p| p.address)
    }

    /// Where the last `Out` link to this process of `peer` leads, or led.
    pub(super) fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.peers.get(&peer).and_then(|p| p.address)
    }

    /// Whether the dialler was called since it was last asked; it is woken at the next call.
    pub(super) fn redial_called(&mut self, peer: NodeId, dialler: &Waker) -> bool {
        let Some(p) = self.peers.get_mut(&peer) else { return false };
        p.dialler = Some(dialler.clone());
        std::mem::take(&mut p.redial)
    }

    /// Whether the link still has its place; its task is woken when it loses it.
    pub(super) fn holds(&mut self, direction: Direction, peer: NodeId, id: LinkId, task: &Waker) -> bool {
        match self.peers.get_mut(&peer).and_then(|p| p.slot(direction).as_mut()).filter(|slot| slot.id == id)
        {
            Some(slot) => {
                slot.task.get_or_insert_with(|| task.clone()).clone_from(task);
                true
            }
            None => false,
        }
    }

    /// Whether the link lost its place to a later process and its end would still be evidence; its task is woken when
    /// that is over.
    pub(super) fn leaves(&mut self, peer: NodeId, id: LinkId, task: &Waker) -> bool {
        let leaving = self.peers.get_mut(&peer).and_then(|p| p.leaving.as_mut());
        match leaving.filter(|leaving| leaving.slot.id == id) {
            Some(leaving) => {
                leaving.slot.task = Some(task.clone());
                true
            }
            None => false,
        }
    }

    // ---- messages out ----

    /// Whether there is a link to send on.
    pub(super) fn sends_to(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|p| p.outgoing.is_some())
    }

    pub(super) fn send(&mut self, to: NodeId, message: &Message) -> Result<(), SendError> {
        if self.closing {
            return Err(SendError::Closed);
        }
        let p = self.peers.get_mut(&to).ok_or(SendError::UnknownPeer(to))?;
        let slot = p.outgoing.as_mut().ok_or(SendError::NoLink(to))?;
        match p.outbox.push(message) {
            Pushed::Full => return Err(SendError::QueueFull(to)),
            Pushed::DroppedOldest => self.dropped += 1,
            Pushed::Queued => {}
        }
        if let Some(task) = &slot.task {
            self.wakes.add(task.clone());
        }
        Ok(())
    }

    /// Moves what waits for `peer` to `batch`; `false`: nothing waits. The caller holds the link.
    pub(super) fn take_batch(&mut self, peer: NodeId, batch: &mut Vec<u8>) -> bool {
        match self.peers.get_mut(&peer) {
            Some(p) if !p.outbox.is_empty() => {
                p.outbox.take(batch);
                p.writing = true;
                true
            }
            _ => false,
        }
    }

    /// The batch that was taken last is with the kernel.
    pub(super) fn written(&mut self, peer: NodeId) {
        if let Some(p) = self.peers.get_mut(&peer) {
            p.writing = false;
        }
        self.closer.take().into_iter().for_each(|closer| self.wakes.add(closer));
    }

    // ---- events up ----

    /// Hands a message up; gives it back where the inbox is full, and nothing where the link lost its place.
    // A box around it would cost an allocation for each message that meets a full inbox.
    #[allow(clippy::result_large_err)]
    pub(super) fn deliver(
        &mut self,
        from: NodeId,
        id: LinkId,
        message: Message,
        task: &Waker,
    ) -> Result<(), Option<Message>> {
        let Some(p) = self.peers.get(&from) else { return Err(None) };
        if p.leaving.as_ref().is_some_and(|leaving| leaving.slot.id == id) {
            // Nothing of an earlier process is delivered; what comes behind it may be its end.
            return Ok(());
        }
        if p.incoming.as_ref().is_none_or(|slot| slot.id != id) {
            return Err(None);
        }
        if !self.has_room(task) {
            return Err(Some(message));
        }
        self.inbox.push(TransportEvent::Message { from, message }, &mut self.wakes);
        Ok(())
    }

    /// Whether another message fits; `task` is woken once one does. New links wait for this, too, so that
    /// the events about links stay bounded where nobody receives.
    pub(super) fn has_room(&mut self, task: &Waker) -> bool {
        // Every peer has two tasks that may wait.
        self.inbox.has_room(task, 2 * self.peers.len(), &mut self.wakes)
    }

    /// Something was turned away.
    pub(super) fn refuse(&mut self, claimed: Option<NodeId>, reason: RefuseReason, now: Instant) {
        self.inbox.refuse(claimed, reason, now, &mut self.wakes);
    }

    /// How often something was turned away, by reason.
    pub(super) fn refused(&self) -> [u64; RefuseReason::ALL.len()] {
        self.inbox.refused()
    }

    pub(super) fn receive(&mut self, receiver: &Waker) -> Option<TransportEvent> {
        self.inbox.receive(receiver, &mut self.wakes)
    }

    // ---- the end ----

    /// No more messages are taken.
    pub(super) fn begin_close(&mut self) {
        self.closing = true;
    }

    /// Whether all that was taken is written; `closer` is woken when that may have changed.
    pub(super) fn flushed(&mut self, closer: &Waker) -> bool {
        self.closer = Some(closer.clone());
        self.closed || self.peers.values().all(|p| p.outbox.is_empty() && !p.writing)
    }

    /// Whether nothing runs any more; `closer` is woken when that may have changed.
    pub(super) fn stopped(&mut self, closer: &Waker) -> bool {
        self.closer = Some(closer.clone());
        !self.running
    }

    /// The work begins; `false`: it must not, because all is closed.
    pub(super) fn begin_run(&mut self) -> bool {
        self.running = !self.closed;
        self.running
    }

    /// Ends everything.
    pub(super) fn finish_close(&mut self) {
        self.closed = true;
        self.runner.take().into_iter().for_each(|runner| self.wakes.add(runner));
    }

    /// Whether everything has to end; `runner` is woken when it has to.
    pub(super) fn is_closed(&mut self, runner: &Waker) -> bool {
        self.runner = Some(runner.clone());
        self.closed
    }

    /// The sockets are gone: nobody is linked any more, and nobody is told.
    pub(super) fn end_run(&mut self) {
        self.running = false;
        for p in self.peers.values_mut() {
            (p.outgoing, p.incoming, p.leaving, p.writing) = (None, None, None, false);
            p.outbox.clear();
        }
        self.closer.take().into_iter().for_each(|closer| self.wakes.add(closer));
    }

    fn tell(&mut self, peer: NodeId, event: LinkEvent) {
        self.inbox.push(TransportEvent::Link { peer, event }, &mut self.wakes);
    }
}

impl Wakeful for Links {
    fn take_wakes(&mut self) -> Wakes {
        std::mem::take(&mut self.wakes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Incarnation = Incarnation(1);
    const NEW: Incarnation = Incarnation(2);

    struct Table {
        links: Links,
        peer: NodeId,
        now: Instant,
    }

    impl Table {
        fn new() -> Self {
            let peer = NodeId::new("b").unwrap();
            Self { links: Links::new([peer], Duration::from_secs(2)), peer, now: Instant::from_nanos(1) }
        }
        fn up(&mut self, direction: Direction, incarnation: Incarnation) -> Result<LinkId, RefuseReason> {
            self.links.up(direction, self.peer, incarnation, Some(address(1)), self.now)
        }
        fn end(&mut self, direction: Direction, id: LinkId, end: End) {
            self.links.end(direction, self.peer, id, end, self.now);
        }
        fn refused(&mut self, attempt: Option<Attempt>) {
            self.links.connect_refused(self.peer, attempt, address(1));
        }
        fn told(&mut self) -> Vec<LinkEvent> {
            std::iter::from_fn(|| self.links.receive(Waker::noop()))
                .map(|event| match event {
                    TransportEvent::Link { event, .. } => event,
                    other => panic!("{other:?}"),
                })
                .collect()
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    const UP: LinkEvent = LinkEvent::Up { incarnation: OLD };
    const UP_NEW: LinkEvent = LinkEvent::Up { incarnation: NEW };
    const OLDER_CLOSED: LinkEvent = LinkEvent::OlderClosed { incarnation: OLD };

    #[test]
    fn t8_a_peer_is_up_with_its_first_link_and_down_with_its_last() {
        let mut t = Table::new();
        let out = t.up(Direction::Out, OLD).unwrap();
        let incoming = t.up(Direction::In, OLD).unwrap();
        assert_eq!(t.told(), [UP]);
        t.end(Direction::Out, out, End::Clean);
        assert_eq!(t.told(), []);
        t.end(Direction::In, incoming, End::Broken);
        assert_eq!(t.told(), [LinkEvent::Closed], "either orderly end is enough");
        t.up(Direction::In, OLD).unwrap();
        assert_eq!(t.told(), [UP]);
    }

    #[test]
    fn t9_resets_on_both_links_are_no_evidence() {
        let mut t = Table::new();
        let (out, incoming) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.end(Direction::In, incoming, End::Broken);
        t.end(Direction::Out, out, End::Broken);
        assert_eq!(t.told(), [UP, LinkEvent::Reset]);
    }

    #[test]
    fn t10_an_orderly_end_counts_no_more_once_that_direction_is_linked_again() {
        let mut t = Table::new();
        let (out, incoming) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.end(Direction::Out, out, End::Clean);
        let out = t.up(Direction::Out, OLD).unwrap();
        t.end(Direction::Out, out, End::Broken);
        t.end(Direction::In, incoming, End::Broken);
        assert_eq!(t.told(), [UP, LinkEvent::Reset]);
    }

    #[test]
    fn t11_a_refusal_counts_only_if_the_attempt_began_after_the_last_link_ended() {
        let mut t = Table::new();
        let never_linked = t.links.attempt(t.peer);
        t.refused(never_linked);
        let (out, incoming) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.end(Direction::Out, out, End::Clean);
        let early = t.links.attempt(t.peer);
        t.end(Direction::In, incoming, End::Clean);
        t.refused(early);
        assert_eq!(t.told(), [UP, LinkEvent::Closed], "begun while a link was still there");
        let attempt = t.links.attempt(t.peer);
        t.refused(attempt);
        t.refused(attempt);
        assert_eq!(t.told(), [LinkEvent::Refused], "once");

        let incoming = t.up(Direction::In, OLD).unwrap();
        t.refused(attempt);
        t.end(Direction::In, incoming, End::Clean);
        t.refused(attempt);
        assert_eq!(t.told(), [UP, LinkEvent::Closed], "an attempt from before the link says nothing");
    }

    #[test]
    fn t12_a_refusal_by_another_address_says_nothing() {
        let mut t = Table::new();
        let out = t.up(Direction::Out, OLD).unwrap();
        t.end(Direction::Out, out, End::Clean);
        let attempt = t.links.attempt(t.peer);
        t.links.connect_refused(t.peer, attempt, address(2));
        assert_eq!(t.told(), [UP, LinkEvent::Closed]);
        t.refused(attempt);
        assert_eq!(t.told(), [LinkEvent::Refused]);
    }

    #[test]
    fn t13_a_newer_incarnation_replaces_all_links_and_silences_the_older() {
        let mut t = Table::new();
        let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.up(Direction::In, NEW).unwrap();
        assert_eq!(t.told(), [UP, LinkEvent::Up { incarnation: NEW }]);
        let message = Message::Announce(crate::message::Announce { epoch: crate::ids::Epoch(1) });
        assert_eq!(t.links.deliver(t.peer, old, message.clone(), Waker::noop()), Ok(()), "taken and dropped");
        t.end(Direction::Out, out, End::Clean);
        assert_eq!(t.told(), [], "it was reset by us");
        t.end(Direction::In, old, End::Clean);
        assert_eq!(t.told(), [OLDER_CLOSED]);
        t.end(Direction::In, old, End::Clean);
        assert_eq!(t.told(), [], "once");
        assert_eq!(t.links.send(t.peer, &message), Err(SendError::NoLink(t.peer)));
    }

    #[test]
    fn t13_an_orderly_end_of_the_older_process_is_told_in_whatever_order_it_comes() {
        // Both ends before the later process: told as ever.
        let mut t = Table::new();
        let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.end(Direction::Out, out, End::Broken);
        t.end(Direction::In, old, End::Clean);
        t.up(Direction::In, NEW).unwrap();
        assert_eq!(t.told(), [UP, LinkEvent::Closed, UP_NEW]);

        // One of the two before, the other never.
        for direction in [Direction::Out, Direction::In] {
            let mut t = Table::new();
            let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
            t.end(direction, if direction == Direction::In { old } else { out }, End::Clean);
            t.up(Direction::In, NEW).unwrap();
            assert_eq!(t.told(), [UP, UP_NEW, OLDER_CLOSED], "{direction:?}");
        }

        // After the later process, which comes and goes itself.
        let mut t = Table::new();
        let old = t.up(Direction::In, OLD).unwrap();
        let new = t.up(Direction::In, NEW).unwrap();
        t.end(Direction::In, new, End::Broken);
        t.end(Direction::In, old, End::Clean);
        assert_eq!(t.told(), [UP, UP_NEW, LinkEvent::Reset, OLDER_CLOSED]);
    }

    #[test]
    fn t13_without_an_orderly_end_nothing_is_told_of_the_older_process() {
        let mut t = Table::new();
        let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.end(Direction::Out, out, End::Broken);
        t.up(Direction::In, NEW).unwrap();
        t.end(Direction::In, old, End::Broken);
        t.end(Direction::In, old, End::Clean);
        assert_eq!(t.told(), [UP, UP_NEW]);

        // Linked again after an orderly end, it lives: a middlebox had ended the link.
        let mut t = Table::new();
        let old = t.up(Direction::In, OLD).unwrap();
        t.end(Direction::In, old, End::Clean);
        t.up(Direction::In, OLD).unwrap();
        t.up(Direction::In, NEW).unwrap();
        assert_eq!(t.told(), [UP, LinkEvent::Closed, UP, UP_NEW]);

        // How a link ended that the same process had replaced says nothing.
        let mut t = Table::new();
        let (out, first) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.up(Direction::In, OLD).unwrap();
        t.end(Direction::In, first, End::Clean);
        t.end(Direction::Out, out, End::Broken);
        t.up(Direction::In, NEW).unwrap();
        assert_eq!(t.told(), [UP, UP_NEW]);
    }

    #[test]
    fn t13_one_link_of_an_older_process_is_waited_for_at_a_time() {
        let mut t = Table::new();
        let old = t.up(Direction::In, OLD).unwrap();
        let new = t.up(Direction::In, NEW).unwrap();
        assert!(t.links.leaves(t.peer, old, Waker::noop()));
        t.up(Direction::In, Incarnation(3)).unwrap();
        assert!(!t.links.leaves(t.peer, old, Waker::noop()) && t.links.leaves(t.peer, new, Waker::noop()));
        t.end(Direction::In, old, End::Clean);
        t.end(Direction::In, new, End::Clean);
        let up = LinkEvent::Up { incarnation: Incarnation(3) };
        assert_eq!(t.told(), [UP, UP_NEW, up, LinkEvent::OlderClosed { incarnation: NEW }]);
    }

    #[test]
    fn t14_an_older_incarnation_is_refused_until_the_newer_was_gone_for_a_while() {
        let mut t = Table::new();
        let new = t.up(Direction::In, NEW).unwrap();
        assert_eq!(t.up(Direction::In, OLD), Err(RefuseReason::StaleIncarnation));
        t.end(Direction::In, new, End::Clean);
        assert_eq!(t.up(Direction::Out, OLD), Err(RefuseReason::StaleIncarnation));
        t.now += Duration::from_secs(2);
        assert!(t.up(Direction::Out, OLD).is_ok());
    }

    #[test]
    fn a_second_link_of_the_same_process_replaces_the_first_without_a_word() {
        let mut t = Table::new();
        let first = t.up(Direction::In, OLD).unwrap();
        let second = t.up(Direction::In, OLD).unwrap();
        t.end(Direction::In, first, End::Clean);
        assert_eq!(t.told(), [UP]);
        t.end(Direction::In, second, End::Broken);
        assert_eq!(t.told(), [LinkEvent::Reset], "how the replaced one ended does not count");
    }
}
