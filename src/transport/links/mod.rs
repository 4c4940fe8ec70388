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

mod closing;
mod peer;
#[cfg(test)]
mod tests;

pub(super) use peer::{Attempt, Beside, Direction, End, LinkId};

use super::api::{Directions, RefuseReason, SendError, TransportEvent, TransportStats};
use super::greeting::TurnedAway;
use super::inbox::Inbox;
use super::outbox::Pushed;
use super::wakes::{Wakeful, Wakes};
use crate::ids::{Incarnation, NodeId};
use crate::link::LinkEvent;
use crate::message::{Hello, Message, Pass};
use crate::time::{Duration, Instant};
use crate::wire;
use peer::{NewLink, Peer};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

/// How long a process must have been gone before an older incarnation of its node is linked again, unless
/// the transport's builder says otherwise.
pub(crate) const STALE_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// How often silence is looked at, at most, while a peer may be silent.
const LOOKS_PER_SILENCE_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Links {
    peers: BTreeMap<NodeId, Peer>,
    /// What greetings say that all members have to agree on, once that is something else than at the start.
    terms: Option<String>,
    stale_after: Duration,
    /// How long a linked peer may say nothing, and when that was last looked at (T25).
    patience: Option<Duration>,
    looked: Instant,
    next_id: u64,
    inbox: Inbox,
    dropped: u64,
    /// What is sent, before it is copied to each whom it goes to.
    frame: Vec<u8>,
    /// No more messages are taken; everything is at its end; something runs.
    closing: bool,
    closed: bool,
    running: bool,
    wakes: Wakes,
    /// Who waits for the end of writing, and who for the end of all.
    closer: Option<Waker>,
    runner: Option<Waker>,
}

impl Links {
    pub(super) fn new(peers: impl IntoIterator<Item = NodeId>, stale_after: Duration) -> Self {
        Self {
            peers: peers.into_iter().map(|peer| (peer, Peer::default())).collect(),
            terms: None,
            stale_after,
            patience: None,
            looked: Instant::ZERO,
            next_id: 0,
            inbox: Inbox::default(),
            dropped: 0,
            frame: Vec::new(),
            closing: false,
            closed: false,
            running: false,
            wakes: Wakes::default(),
            closer: None,
            runner: None,
        }
    }

    /// Peers that are linked and say nothing for so long are called for (T25).
    pub(super) fn patient_for(mut self, silence: Duration) -> Self {
        self.patience = Some(silence);
        self
    }

    /// Its links are numbered from `first`. In a network where several processes of a node follow each other each
    /// needs numbers of its own, or what is
    /// under way to one arrives at the next.
    #[cfg(feature = "test-util")]
    pub(super) fn numbered_from(mut self, first: u64) -> Self {
        self.next_id = first;
        self
    }

    #[cfg(feature = "test-util")]
    pub(super) fn peer_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn directions(&self, peer: NodeId) -> Option<Directions> {
        let peer = self.peers.get(&peer)?;
        Some(Directions { out: peer.outgoing.is_some(), back: peer.incoming.is_some() })
    }

    // ---- peers that come later (T43) ----

    /// From here on `peer` is one, and greetings say `terms`: to all to whom this end sends it is to say so. `false`: it is one already.
    pub(super) fn meet(&mut self, peer: NodeId, terms: &str) -> bool {
        let new = !self.peers.contains_key(&peer);
        if new {
            self.peers.insert(peer, Peer::default());
        }
        if self.terms.as_deref() != Some(terms) {
            self.terms = Some(terms.to_owned());
            self.peers.values_mut().for_each(|p| p.call_for_greeting(&mut self.wakes));
        }
        new
    }

    /// The peer is to be looked for elsewhere (T44): at once where no link leads to it.
    pub(super) fn seek(&mut self, peer: NodeId) {
        if let Some(p) = self.peers.get_mut(&peer).filter(|p| p.outgoing.is_none()) {
            p.call_dialler(&mut self.wakes);
        }
    }

    /// What is said to those who are greeted now.
    pub(super) fn greeting(&self, hello: &Hello) -> Hello {
        let terms = self.terms.as_ref().unwrap_or(&hello.terms).clone();
        Hello { terms, ..hello.clone() }
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
    ) -> Result<LinkId, TurnedAway> {
        // Whether a peer lives must not hang on what this node itself has to say.
        self.look_for_silence(|| now);
        let turned_away = |reason, detail| TurnedAway { claimed: Some(peer), reason, detail };
        let Some(p) = self.peers.get_mut(&peer) else {
            return Err(turned_away(RefuseReason::UnknownNode, None));
        };
        let id = LinkId(self.next_id);
        let link = NewLink { id, direction, incarnation, address };
        if let Some([lives, other]) = p.doubles(&link) {
            let detail = format!("node {peer} lives at {lives}, and this is one more at {other}");
            return Err(turned_away(RefuseReason::Doubled, Some(detail)));
        }
        let told =
            p.up(link, now, self.stale_after, &mut self.wakes).map_err(|reason| turned_away(reason, None))?;
        self.next_id += 1;
        told.into_iter().flatten().for_each(|event| self.tell(peer, event));
        Ok(id)
    }

    /// The greeting of a link was `theirs`: tells where it differs from `ours` in what all members have to agree on, or does not any more.
    pub(super) fn compare(&mut self, ours: &Hello, theirs: &Hello) {
        let Some(p) = self.peers.get_mut(&theirs.node) else { return };
        if self.terms.as_ref().is_some_and(|terms| *terms != ours.terms) {
            // Said before it was something else.
            return p.call_for_greeting(&mut self.wakes);
        }
        let differs = if theirs.terms == ours.terms { "" } else { &theirs.terms };
        if p.differs != differs {
            p.differs = differs.to_owned();
            let event = TransportEvent::Terms { peer: theirs.node, terms: theirs.terms.clone() };
            self.inbox.push(event, &mut self.wakes);
        }
    }

    /// The process of `peer` that dialled gave this one something, or nothing.
    pub(super) fn note_pass(&mut self, peer: NodeId, pass: Option<Pass>) {
        if let Some(p) = self.peers.get_mut(&peer) {
            p.pass = pass;
        }
    }

    /// What the process of `peer` that dialled last gave to this one.
    pub(super) fn pass(&self, peer: NodeId) -> Option<Pass> {
        self.peers.get(&peer)?.pass
    }

    /// A link ended.
    pub(super) fn end(&mut self, direction: Direction, peer: NodeId, id: LinkId, end: End, now: Instant) {
        let Some(p) = self.peers.get_mut(&peer) else { return };
        let told = p.end(direction, id, end, now, &mut self.wakes);
        told.into_iter().for_each(|event| self.tell(peer, event));
        // What waited for that link waits no more.
        self.closer.take().into_iter().for_each(|closer| self.wakes.add(closer));
    }

    /// An attempt to connect begins.
    pub(super) fn attempt(&self, peer: NodeId) -> Option<Attempt> {
        self.peers.get(&peer)?.attempt()
    }

    /// The attempt was refused by the host at `address`.
    pub(super) fn connect_refused(&mut self, peer: NodeId, attempt: Option<Attempt>, address: SocketAddr) {
        let told = self.peers.get_mut(&peer).and_then(|p| p.connect_refused(attempt, address));
        told.into_iter().for_each(|event| self.tell(peer, event));
    }

    /// Where to look first for a process that was just lost.
    pub(super) fn lost_address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.peers.get(&peer)?.lost_address()
    }

    /// Whether some peer was linked at this host last.
    pub(super) fn is_at(&self, host: IpAddr) -> bool {
        self.peers.values().any(|p| p.is_at(host))
    }

    /// Where the last `Out` link to this process of `peer` leads, or led.
    pub(super) fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.peers.get(&peer)?.address
    }

    /// Whether the dialler was called since it was last asked; it is woken at the next call.
    pub(super) fn redial_called(&mut self, peer: NodeId, dialler: &Waker) -> bool {
        self.peers.get_mut(&peer).is_some_and(|p| p.redial_called(dialler))
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
        self.peers.get_mut(&peer).is_some_and(|p| p.leaves(id, Some(task)))
    }

    // ---- silence (T25) ----

    /// Peers that say nothing are dialled beside the link that is there. Looked at while this node speaks, which it does at every heartbeat:
    /// so it needs no timer of its own.
    pub(super) fn look_for_silence(&mut self, now: impl FnOnce() -> Instant) {
        let Some(patience) = self.patience else { return };
        let now = now();
        if now.saturating_since(self.looked) >= patience / LOOKS_PER_SILENCE_MAX {
            self.looked = now;
            self.peers.values_mut().for_each(|p| p.look_for_silence(now, patience, &mut self.wakes));
        }
    }

    /// Whether `peer` is to be dialled beside the link that is there.
    pub(super) fn beside_called(&mut self, peer: NodeId) -> Option<Beside> {
        self.peers.get_mut(&peer).and_then(Peer::beside_called)
    }

    /// How many messages of `peer` came in so far.
    pub(super) fn heard_so_far(&self, peer: NodeId) -> u64 {
        self.peers.get(&peer).map_or(0, Peer::heard_so_far)
    }

    // ---- messages out ----

    pub(super) fn send(&mut self, to: NodeId, message: &Message) -> Result<(), SendError> {
        self.send_all(&[to], message).pop().map_or(Ok(()), Err)
    }

    /// The frame is written once, and copied to each.
    pub(super) fn send_all(&mut self, to: &[NodeId], message: &Message) -> Vec<SendError> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        wire::encode(message, &mut frame);
        let repeated = message.verb().is_repeated();
        let refused = to.iter().filter_map(|to| self.queue(*to, &frame, repeated).err()).collect();
        self.frame = frame;
        refused
    }

    fn queue(&mut self, to: NodeId, frame: &[u8], repeated: bool) -> Result<(), SendError> {
        if self.closing {
            return Err(SendError::Closed);
        }
        let p = self.peers.get_mut(&to).ok_or(SendError::UnknownPeer(to))?;
        let slot = p.outgoing.as_mut().ok_or(SendError::NoLink(to))?;
        match p.outbox.push(frame, repeated) {
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
        let Some(p) = self.peers.get_mut(&from) else { return Err(None) };
        if p.leaves(id, None) {
            // Nothing of an earlier process is delivered; what comes behind it may be its end.
            return Ok(());
        }
        if p.incoming.as_ref().is_none_or(|slot| slot.id != id) {
            return Err(None);
        }
        if !self.has_room(task) {
            return Err(Some(message));
        }
        if let Some(p) = self.peers.get_mut(&from) {
            p.heard();
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
        self.turn_away(TurnedAway { claimed, reason, detail: None }, now);
    }

    /// The same, with more to say.
    pub(super) fn turn_away(&mut self, TurnedAway { claimed, reason, detail }: TurnedAway, now: Instant) {
        self.inbox.refuse(claimed, reason, detail, now, &mut self.wakes);
    }

    /// What was counted.
    pub(super) fn stats(&self) -> TransportStats {
        let mut stats = self.inbox.refused();
        stats.dropped = self.dropped;
        stats
    }

    pub(super) fn receive(&mut self, receiver: &Waker) -> Option<TransportEvent> {
        self.inbox.receive(receiver, &mut self.wakes)
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
