//! Connections between nodes.

use super::{ADDRESS, Connection, Due, Network};
use crate::ids::NodeId;
use crate::message::Hello;
use crate::time::Instant;
use crate::transport::api::RefuseReason;
use crate::transport::greeting::{Greeting, TurnedAway};
use crate::transport::links::{Attempt, Direction, End, LinkId};
use crate::transport::session::Plain;

impl Network {
    /// A connection from `from` to `to` is made, is refused, or nobody answers.
    pub(super) fn answer(&mut self, now: Instant, from: NodeId, to: NodeId, attempt: Option<Attempt>) {
        let cut = self.cuts.contains_key(&(from, to)) || self.cuts.contains_key(&(to, from));
        if cut || self.dark.contains(&to) {
            return self.dial_later(now, from, to);
        }
        let hello_of = |node: &NodeId| self.nodes.get(node).and_then(|process| process.hello.clone());
        let (Some(ours), theirs) = (hello_of(&from), hello_of(&to)) else { return };
        let Some(theirs) = theirs.filter(|_| !self.refused.contains(&(from, to))) else {
            if let Some(process) = self.nodes.get_mut(&from) {
                process.links.connect_refused(to, attempt, ADDRESS);
            }
            return self.dial_later(now, from, to);
        };
        match self.link(now, &ours, &theirs, from, to) {
            Ok(()) => {
                if let Some(dial) = self.dials.get_mut(&(from, to)) {
                    dial.retry.reset();
                }
                // Who dials listens: the acceptor need not wait for its turn to dial.
                if !self.connections.contains_key(&(to, from)) {
                    self.dial_at(now, to, from);
                }
            }
            Err(turned_away) => {
                self.refuse_at(now, from, turned_away);
                self.dial_later(now, from, to);
            }
        }
    }

    /// Another link takes the place of the one there is, so that both ends hear what the other one says now. Where a cut or a firewall is
    /// between them the old one goes on.
    pub(super) fn greet_again(&mut self, now: Instant, from: NodeId, to: NodeId) {
        let cut = self.cuts.contains_key(&(from, to)) || self.cuts.contains_key(&(to, from));
        let hello_of = |node: &NodeId| self.nodes.get(node).and_then(|process| process.hello.clone());
        if let (Some(ours), Some(theirs)) = (hello_of(&from), hello_of(&to))
            && !cut
            && !self.refused.contains(&(from, to))
            && let Err(turned_away) = self.link(now, &ours, &theirs, from, to)
        {
            self.refuse_at(now, from, turned_away);
        }
    }

    /// The greeting. Bytes take no time here: the attempt has waited for them already.
    fn link(
        &mut self,
        now: Instant,
        ours: &Hello,
        theirs: &Hello,
        from: NodeId,
        to: NodeId,
    ) -> Result<(), TurnedAway> {
        // The network knows who is at either end.
        let (known_to, known_from) = (Box::new(Plain::with(to)), Box::new(Plain::with(from)));
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        let mut dialler = Greeting::dial(ours, to, known_to, &mut said)?;
        let mut acceptor = Greeting::accept(theirs, known_from);
        acceptor.channel().put(&said);
        let heard = acceptor.hear(&mut answer).and_then(|heard| heard.ok_or(acceptor.timed_out()));
        let incoming = heard.and_then(|heard| self.up(now, to, Direction::In, theirs, &heard));
        match &incoming {
            Ok(_) => drop(acceptor.admit(&mut answer)?),
            Err(turned_away) => {
                acceptor.refuse(turned_away, &mut answer);
                self.refuse_at(now, to, turned_away.clone());
            }
        }
        dialler.channel().put(&answer);
        let heard = dialler.hear(&mut said).and_then(|heard| heard.ok_or(dialler.timed_out()));
        let out = heard.and_then(|heard| self.up(now, from, Direction::Out, ours, &heard));
        match (incoming, out) {
            (Ok(incoming), Ok(out)) => {
                let connection =
                    Connection { out, incoming, last_arrival: now, in_flight: 0, held: Vec::new() };
                self.connections.insert((from, to), connection);
                Ok(())
            }
            (incoming, Err(turned_away)) => {
                if let (Ok(incoming), Some(process)) = (incoming, self.nodes.get_mut(&to)) {
                    process.links.end(Direction::In, from, incoming, End::Broken, now);
                }
                Err(turned_away)
            }
            (Err(turned_away), Ok(_)) => Err(turned_away),
        }
    }

    fn up(
        &mut self,
        now: Instant,
        node: NodeId,
        direction: Direction,
        ours: &Hello,
        heard: &Hello,
    ) -> Result<LinkId, TurnedAway> {
        let Hello { node: peer, incarnation, .. } = *heard;
        let unknown = || TurnedAway { claimed: Some(peer), reason: RefuseReason::UnknownNode, detail: None };
        let process = self.nodes.get_mut(&node).ok_or_else(unknown)?;
        let id = process.links.up(direction, peer, incarnation, Some(ADDRESS), now)?;
        process.links.compare(ours, heard);
        Ok(id)
    }

    fn refuse_at(&mut self, now: Instant, node: NodeId, turned_away: TurnedAway) {
        if let Some(process) = self.nodes.get_mut(&node) {
            process.links.turn_away(turned_away, now);
        }
    }

    pub(super) fn dial_at(&mut self, at: Instant, from: NodeId, to: NodeId) {
        let number = self.number();
        if let Some(dial) = self.dials.get_mut(&(from, to)) {
            dial.number = number;
            self.push(at, Due::Dial { from, to, number });
        }
    }

    fn dial_later(&mut self, now: Instant, from: NodeId, to: NodeId) {
        let pause = self.dials.get_mut(&(from, to)).map(|dial| dial.retry.next());
        if let Some(pause) = pause {
            self.dial_at(now + pause, from, to);
        }
    }
}
