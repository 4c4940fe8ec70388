//! How often the others speak to witnesses: in every second interval, while there is nothing new for them.

use super::INTERVALS_OF_ROOM;
use crate::config::MemberKind;
use crate::elector::io::{Output, Receivers};
use crate::elector::machine::Elector;
use crate::elector::state::State;
use crate::message::Message;

impl Elector {
    /// One round of heartbeats: to `all`, or without witnesses where it goes `due` and they can wait for the next one.
    #[cold]
    #[inline(never)]
    pub(super) fn send_round_near_witnesses(&mut self, [all, without_witnesses]: [Receivers; 2], due: bool) {
        let can_wait = due && self.witnesses_can_wait();
        let Some(heartbeat) = self.next_heartbeat() else { return };
        let to_all = !(can_wait && self.was_told_before(&heartbeat));
        self.last_round.goes(heartbeat, to_all);
        let to = if to_all { all } else { without_witnesses };
        self.output(Output::Send(to, Message::Heartbeat(heartbeat)));
    }

    /// Whether witnesses lose nothing if they are left out of this round (L10, L11). That the last one went to them, and said the same, is
    /// `LastRound`'s to know.
    fn witnesses_can_wait(&self) -> bool {
        let interval = self.config.heartbeat_interval;
        match &self.state {
            State::Reigning(reign) => {
                reign.opened()
                    && reign.fenced().is_none()
                    && self.config.lease >= interval * INTERVALS_OF_ROOM
                    && self.is_echoed_by_witnesses()
            }
            State::Replica => {
                let (now, me) = (self.now(), &self.peers[self.peers.me()]);
                let half_as_often = |witness| {
                    self.peers[witness].heard().is_some_and(|at| now < at + interval + interval / 2)
                };
                self.peers.my_vote().is_some()
                    && me.kind() != MemberKind::Witness
                    && self.has_room_for_silence()
                    && self.hears_primary()
                    && self.peers.other_witnesses().all(half_as_often)
            }
            State::Campaigning(_) => false,
        }
    }

    /// Whether this node waits with its own rounds as its primary may with its heartbeats.
    pub(super) fn speaks_half_as_often(&self) -> bool {
        self.peers[self.peers.me()].kind() == MemberKind::Witness && self.has_room_for_silence()
    }

    fn has_room_for_silence(&self) -> bool {
        self.config.election_timeout >= self.config.heartbeat_interval * INTERVALS_OF_ROOM
    }
}
