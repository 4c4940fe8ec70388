//! Connections between nodes.

use super::{ADDRESS, Connection, Due, Network};
use crate::ids::NodeId;
use crate::message::Hello;
use crate::time::Instant;
use crate::transport::RefuseReason;
use crate::transport::links::{Attempt, Direction, End};
use crate::wire::{self, Frame};

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
            Err(reason) => {
                for (node, other) in [(from, to), (to, from)] {
                    if let Some(process) = self.nodes.get_mut(&node) {
                        process.links.refuse(Some(other), reason, now);
                    }
                }
                self.dial_later(now, from, to);
            }
        }
    }

    fn link(
        &mut self,
        now: Instant,
        ours: &Hello,
        theirs: &Hello,
        from: NodeId,
        to: NodeId,
    ) -> Result<(), RefuseReason> {
        let (ours, theirs) = (through_the_codec(ours)?, through_the_codec(theirs)?);
        if ours.protocol != theirs.protocol {
            return Err(RefuseReason::Protocol);
        }
        if ours.cluster != theirs.cluster {
            return Err(RefuseReason::Cluster);
        }
        if ours.node != from || theirs.node != to {
            return Err(RefuseReason::UnknownNode);
        }
        let mut up = |node: NodeId, direction, peer, incarnation| {
            let process = self.nodes.get_mut(&node).ok_or(RefuseReason::UnknownNode)?;
            process.links.up(direction, peer, incarnation, Some(ADDRESS), now)
        };
        let incoming = up(to, Direction::In, from, ours.incarnation)?;
        let out = match up(from, Direction::Out, to, theirs.incarnation) {
            Ok(out) => out,
            Err(reason) => {
                if let Some(process) = self.nodes.get_mut(&to) {
                    process.links.end(Direction::In, from, incoming, End::Broken, now);
                }
                return Err(reason);
            }
        };
        let connection = Connection { out, incoming, last_arrival: now, in_flight: 0, held: Vec::new() };
        self.connections.insert((from, to), connection);
        Ok(())
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

fn through_the_codec(hello: &Hello) -> Result<Hello, RefuseReason> {
    let mut bytes = Vec::new();
    wire::encode_hello(hello, &mut bytes);
    match wire::decode(&bytes) {
        Ok(Some((Frame::Hello(hello), _))) => Ok(hello),
        _ => Err(RefuseReason::Garbage),
    }
}
