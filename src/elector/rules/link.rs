//! What links tell: a process that is gone, and one that was started anew.

use crate::config::CrashDetection;
use crate::elector::machine::Elector;
use crate::event::{EventKind, Reason};
use crate::ids::Incarnation;
use crate::link::LinkEvent;
use crate::message::OfferKind;

impl Elector {
    pub(super) fn on_link(&mut self, peer: usize, event: LinkEvent) {
        if matches!(event, LinkEvent::Up { .. } | LinkEvent::Closed | LinkEvent::Reset) && self.claims_end() {
            self.peers.get_mut(peer).forget_claim();
        }
        match event {
            LinkEvent::Up { incarnation } => self.on_link_up(peer, incarnation),
            LinkEvent::Closed | LinkEvent::Reset => {
                self.peers.get_mut(peer).link_down(event == LinkEvent::Closed);
                self.on_support_lost(peer);
            }
            LinkEvent::OlderClosed { incarnation } => self.on_older_closed(peer, incarnation),
            LinkEvent::Refused if self.is_dead_if_refused(peer) => {
                self.peers.get_mut(peer).is_gone();
                self.on_process_gone(peer, Reason::Crash);
            }
            LinkEvent::Refused => {}
        }
    }

    fn on_link_up(&mut self, peer: usize, incarnation: Incarnation) {
        let ended = self.is_dead_if_succeeded(peer);
        let before = self.peers.get_mut(peer).link_up(incarnation);
        // The transport lets nobody in who is older than what it knew, so another number is a later start.
        match before.filter(|before| *before != incarnation) {
            Some(before) if ended => {
                // First: afterwards nobody knows when the old process was last heard.
                let reigned = self.primary.is(peer);
                if reigned {
                    self.suspect(Reason::Restart);
                }
                self.peers.get_mut(peer).restarted();
                self.ranks.forget(peer);
                self.gone(peer, Some(before), reigned, Reason::Restart);
            }
            // Somebody may have started a second process with this node's id: the first one may live, out of our
            // reach, and write. What was promised to it holds.
            Some(_) => {
                if self.primary.is(peer) {
                    self.primary.succeeded(self.peers[peer].heard());
                }
                self.peers.get_mut(peer).restarted();
                self.ranks.forget(peer);
                self.on_support_lost(peer);
            }
            None => {}
        }
        // What this voter echoed before its link ended does not count any more: ask anew at once.
        if self.state.reign().is_some() {
            self.send_heartbeats();
        }
        self.tell_if_it_lacks(peer);
    }

    /// What a link that was replaced still said: the process that it led to is gone.
    fn on_older_closed(&mut self, peer: usize, incarnation: Incarnation) {
        let older = self.peers[peer].incarnation().is_some_and(|present| present != incarnation);
        if older
            && self.config.crash_detection == CrashDetection::Refused
            && self.promises.void(peer, Some(incarnation))
        {
            // The promise was to that process, so the primary that we follow is that one too.
            self.look_for_another_than(peer, false, Reason::Restart);
        }
    }

    /// The process that we knew as `peer` is dead: what was promised to it is void.
    fn on_process_gone(&mut self, peer: usize, reason: Reason) {
        if self.peers.get_mut(peer).is_news(false) {
            let peer = self.id(peer);
            self.event(EventKind::PeerDown { peer });
        }
        self.gone(peer, self.peers[peer].incarnation(), false, reason);
    }

    /// `reigned`: it was the primary, and that has been said.
    fn gone(&mut self, peer: usize, incarnation: Option<Incarnation>, reigned: bool, reason: Reason) {
        self.on_support_lost(peer);
        self.promises.void(peer, incarnation);
        self.look_for_another_than(peer, reigned, reason);
    }

    fn look_for_another_than(&mut self, peer: usize, reigned: bool, reason: Reason) {
        let reigned = reigned || self.primary.is(peer);
        if self.primary.is(peer) {
            self.suspect(reason);
        }
        // Begun anew, a campaign for votes would throw its epoch away, and the votes that are coming.
        let voting = self.state.campaign().is_some_and(|campaign| campaign.kind() == OfferKind::Vote);
        if !self.primary.is_known()
            && !voting
            && let Some(after) = self.settles_after_loss(reigned)
        {
            self.schedule_campaign(self.now() + after);
        }
        self.answer_waiting();
    }
}
