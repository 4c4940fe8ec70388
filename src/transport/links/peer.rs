//! The two links between this node and one peer, and what their ends say about the peer's process.

use crate::ids::Incarnation;
use crate::link::LinkEvent;
use crate::message::Pass;
use crate::time::{Duration, Instant};
use crate::transport::api::RefuseReason;
use crate::transport::outbox::Outbox;
use crate::transport::wakes::Wakes;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

/// The two links between two nodes, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Direction {
    /// We dialled it and send on it.
    Out,
    /// The peer dialled it; we receive on it.
    In,
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum End {
    /// The end of the stream between two frames.
    Clean,
    /// Everything else.
    Broken,
}

/// Names one link for its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::transport) struct LinkId(pub(super) u64);

/// What an attempt to connect knew when it began.
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) struct Attempt {
    losses: u64,
}

#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The process that is or was linked last.
    incarnation: Option<Incarnation>,
    pub(super) outgoing: Option<Slot>,
    pub(super) incoming: Option<Slot>,
    /// The last incoming link of an earlier process, while its end may still say that this one is gone.
    leaving: Option<Leaving>,
    /// Whether the last link of each direction ended in order: outgoing, incoming.
    ended_clean: [bool; 2],
    /// How often the peer went from linked to not linked, and when last.
    losses: u64,
    lost_at: Option<Instant>,
    refusal_told: bool,
    /// Where the last outgoing link to this incarnation led.
    pub(super) address: Option<SocketAddr>,
    /// The hosts of this incarnation's last links: outgoing, incoming.
    hosts: [Option<IpAddr>; 2],
    pub(super) outbox: Outbox,
    /// A batch was taken from the outbox and is not written yet.
    pub(super) writing: bool,
    redial: bool,
    dialler: Option<Waker>,
    silence: Silence,
    /// What its last greeting said that all members have to agree on, where this node says something else.
    pub(super) differs: String,
    /// What it gave to this process when it dialled last.
    pub(super) pass: Option<Pass>,
}

/// What the peer said lately, and whether to dial it beside the link that is there (T25).
#[derive(Debug, Default)]
struct Silence {
    /// How many messages came in, now and when it was last looked at.
    heard: u64,
    seen: u64,
    /// When it was first seen that nothing more came in.
    since: Option<Instant>,
    /// For too long.
    silent: bool,
    called: Option<Beside>,
    /// When the outgoing link came up.
    out_since: Option<Instant>,
}

/// Why a peer is dialled beside the link that is there (T25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Beside {
    /// Until it is heard: it says nothing.
    Silent,
    /// It did so itself.
    Answer,
    /// What greetings say is something else than it was told (T43).
    News,
}

/// The shortest time between two links that are dialled because the peer did so: it would answer the second in the same way.
const ANSWER_SPACING_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: LinkId,
    pub(super) task: Option<Waker>,
}

/// A link that a later process of the same node has replaced. What comes on it is dropped.
#[derive(Debug)]
struct Leaving {
    slot: Slot,
    incarnation: Incarnation,
}

/// A connection on which both ends said `HELLO`.
pub(super) struct NewLink {
    pub(super) id: LinkId,
    pub(super) direction: Direction,
    /// The peer's process.
    pub(super) incarnation: Incarnation,
    /// Where the other end is.
    pub(super) address: Option<SocketAddr>,
}

/// What is told when a link came up: that the peer is, and that an earlier process of it is gone.
pub(super) type Told = [Option<LinkEvent>; 2];

impl Peer {
    pub(super) fn linked(&self) -> bool {
        self.outgoing.is_some() || self.incoming.is_some()
    }

    pub(super) fn slot(&mut self, direction: Direction) -> &mut Option<Slot> {
        match direction {
            Direction::Out => &mut self.outgoing,
            Direction::In => &mut self.incoming,
        }
    }

    /// Whether a link is there on which the peer was heard lately, as far as that is looked at.
    fn lives(&self) -> bool {
        self.linked() && !self.silence.silent
    }

    /// Where the peer lives and where this is, if it is another process of it at another place (T31). Links of one direction are
    /// compared: a host may have several addresses, and uses the same one again for the same way.
    pub(super) fn doubles(&self, link: &NewLink) -> Option<[IpAddr; 2]> {
        let newer = self.incarnation.is_some_and(|newest| link.incarnation > newest);
        let (lives, other) =
            self.hosts[link.direction as usize].zip(link.address.map(|address| address.ip()))?;
        (newer && self.lives() && lives != other).then_some([lives, other])
    }

    // ---- evidence (T8 to T15) ----

    /// A process said `HELLO` over a new connection.
    pub(super) fn up(
        &mut self,
        link: NewLink,
        now: Instant,
        stale_after: Duration,
        wakes: &mut Wakes,
    ) -> Result<Told, RefuseReason> {
        let NewLink { id, direction, incarnation, address } = link;
        let recent = self.linked() || self.lost_at.is_some_and(|at| now.saturating_since(at) < stale_after);
        if recent && self.incarnation.is_some_and(|newest| incarnation < newest) {
            return Err(RefuseReason::StaleIncarnation);
        }
        let mut older_closed = None;
        if self.incarnation != Some(incarnation) {
            older_closed = self.replace_process(incarnation, wakes);
        }
        let was_linked = self.linked();
        let replaced = self.slot(direction).replace(Slot { id, task: None });
        let again = replaced.is_some();
        replaced.and_then(|slot| slot.task).into_iter().for_each(|task| wakes.add(task));
        self.ended_clean[direction as usize] = false;
        self.hosts[direction as usize] = address.map(|address| address.ip());
        match direction {
            Direction::Out => {
                self.forget_messages();
                self.address = address;
                self.redial = false;
                self.silence.out_since = Some(now);
                self.silence.called = None;
            }
            // Who dials us listens, most likely: do not wait for the next attempt's turn.
            Direction::In if self.outgoing.is_none() => self.call_dialler(wakes),
            // It did not hear us, perhaps; then our link to it is stuck, too.
            Direction::In if again => {
                let since = self.silence.out_since.map(|since| now.saturating_since(since));
                if since.is_some_and(|since| since >= ANSWER_SPACING_MIN) {
                    self.silence.out_since = Some(now);
                    self.call_beside(Beside::Answer, wakes);
                }
            }
            Direction::In => {}
        }
        let mut up = None;
        if !was_linked {
            self.ended_clean = [false; 2];
            self.refusal_told = false;
            up = Some(LinkEvent::Up { incarnation });
        }
        Ok([up, older_closed.map(|incarnation| LinkEvent::OlderClosed { incarnation })])
    }

    /// The links of the other process have no place from here on. If it was linked, one of them may have ended in order already:
    /// then it is given back. Otherwise the end of the incoming one may be on its way, and is waited for.
    fn replace_process(&mut self, incarnation: Incarnation, wakes: &mut Wakes) -> Option<Incarnation> {
        let linked = self.linked();
        let ended = linked && self.ended_clean.contains(&true);
        let older = self.incarnation.filter(|_| linked);
        let leaving = older.filter(|_| !ended).zip(self.incoming.take());
        let leaving = leaving.map(|(incarnation, slot)| Leaving { slot, incarnation });
        let replaced = std::mem::replace(&mut self.leaving, leaving).map(|leaving| leaving.slot);
        let slots = self.outgoing.take().into_iter().chain(self.incoming.take()).chain(replaced);
        slots.filter_map(|slot| slot.task).for_each(|task| wakes.add(task));
        let leaves = self.leaving.iter_mut().filter_map(|leaving| leaving.slot.task.take());
        leaves.for_each(|task| wakes.add(task));
        self.forget_messages();
        (self.address, self.hosts) = (None, [None; 2]);
        self.incarnation = Some(incarnation);
        self.call_dialler(wakes);
        older.filter(|_| ended)
    }

    /// A link ended. Of one that a later process replaced, only an orderly end is told; of one that the same process replaced,
    /// nothing.
    pub(super) fn end(
        &mut self,
        direction: Direction,
        id: LinkId,
        end: End,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<LinkEvent> {
        if let Some(leaving) = self.leaving.take_if(|leaving| leaving.slot.id == id) {
            let incarnation = leaving.incarnation;
            return (end == End::Clean).then_some(LinkEvent::OlderClosed { incarnation });
        }
        self.slot(direction).take_if(|slot| slot.id == id)?;
        self.ended_clean[direction as usize] = end == End::Clean;
        match direction {
            Direction::Out => self.forget_messages(),
            // The dialler itself ends outgoing links and knows.
            Direction::In if self.outgoing.is_none() => self.call_dialler(wakes),
            Direction::In => {}
        }
        if self.linked() {
            return None;
        }
        self.losses += 1;
        self.lost_at = Some(now);
        let orderly = self.ended_clean.contains(&true);
        Some(if orderly { LinkEvent::Closed } else { LinkEvent::Reset })
    }

    /// An attempt to connect begins.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        (!self.linked() && self.losses > 0).then_some(Attempt { losses: self.losses })
    }

    /// The attempt was refused by the host at `address`.
    pub(super) fn connect_refused(
        &mut self,
        attempt: Option<Attempt>,
        address: SocketAddr,
    ) -> Option<LinkEvent> {
        let since_the_loss = attempt.is_some_and(|attempt| attempt.losses == self.losses) && !self.linked();
        if !since_the_loss || self.address != Some(address) || self.refusal_told {
            return None;
        }
        self.refusal_told = true;
        Some(LinkEvent::Refused)
    }

    /// Whether it was linked at this host last.
    pub(super) fn is_at(&self, host: IpAddr) -> bool {
        self.hosts.contains(&Some(host))
    }

    /// Where to look first for a process that was just lost.
    pub(super) fn lost_address(&self) -> Option<SocketAddr> {
        self.address.filter(|_| !self.refusal_told && self.losses > 0)
    }

    /// Whether the link lost its place to a later process and its end would still be evidence; its task is woken when that is
    /// over.
    pub(super) fn leaves(&mut self, id: LinkId, task: Option<&Waker>) -> bool {
        let leaving = self.leaving.as_mut().filter(|leaving| leaving.slot.id == id);
        let leaves = leaving.is_some();
        if let Some((leaving, task)) = leaving.zip(task) {
            leaving.slot.task = Some(task.clone());
        }
        leaves
    }

    // ---- silence (T25) ----

    /// A message came in.
    pub(super) fn heard(&mut self) {
        self.silence.heard = self.silence.heard.wrapping_add(1);
    }

    /// How many came in so far.
    pub(super) fn heard_so_far(&self) -> u64 {
        self.silence.heard
    }

    /// Calls for another link where nothing has come in for so long although the peer can send.
    pub(super) fn look_for_silence(&mut self, now: Instant, patience: Duration, wakes: &mut Wakes) {
        let linked = self.outgoing.is_some() && self.incoming.is_some();
        let silence = &mut self.silence;
        let quiet = linked && silence.heard == silence.seen;
        silence.seen = silence.heard;
        let since = *silence.since.insert(silence.since.filter(|_| quiet).unwrap_or(now));
        let was_silent = std::mem::replace(&mut silence.silent, now.saturating_since(since) >= patience);
        if silence.silent && !was_silent {
            self.call_beside(Beside::Silent, wakes);
        }
    }

    fn call_beside(&mut self, why: Beside, wakes: &mut Wakes) {
        self.silence.called = Some(why);
        let task = self.outgoing.as_ref().and_then(|slot| slot.task.clone());
        task.into_iter().for_each(|task| wakes.add(task));
    }

    /// What greetings say has changed: whoever is linked is greeted again.
    pub(super) fn call_for_greeting(&mut self, wakes: &mut Wakes) {
        if self.outgoing.is_some() {
            self.call_beside(Beside::News, wakes);
        }
    }

    /// Whether another link was called for since this was last asked; the task of the outgoing link is woken at the next call.
    pub(super) fn beside_called(&mut self) -> Option<Beside> {
        self.silence.called.take()
    }

    // ---- the one who dials ----

    pub(super) fn call_dialler(&mut self, wakes: &mut Wakes) {
        self.redial = true;
        self.dialler.take().into_iter().for_each(|dialler| wakes.add(dialler));
    }

    /// Whether the dialler was called since it was last asked; it is woken at the next call.
    pub(super) fn redial_called(&mut self, dialler: &Waker) -> bool {
        self.dialler = Some(dialler.clone());
        std::mem::take(&mut self.redial)
    }

    // ---- the end ----

    /// What waited for a link that ended means nothing on the next (T23).
    fn forget_messages(&mut self) {
        self.outbox.clear();
        self.writing = false;
    }

    /// The sockets are gone, and nobody is told.
    pub(super) fn forget_links(&mut self) {
        (self.outgoing, self.incoming, self.leaving) = (None, None, None);
        self.forget_messages();
    }
}
