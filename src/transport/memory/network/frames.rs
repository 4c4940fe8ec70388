//! Frames from node to node.

use super::{BACKPRESSURE_RETRY, Cut, Due, Network, ProcessId};
use crate::ids::NodeId;
use crate::message::Message;
use crate::time::Instant;
use crate::transport::api::{Directions, RefuseReason, SendError};
use crate::transport::incoming::{self, Received};
use crate::transport::links::LinkId;
use crate::transport::memory::conditions::IN_FLIGHT_MAX;
use crate::wire;
use std::collections::VecDeque;
use std::task::Waker;

impl Network {
    pub(in crate::transport::memory) fn send(
        &mut self,
        now: Instant,
        from: NodeId,
        id: ProcessId,
        to: NodeId,
        message: &Message,
    ) -> Result<(), SendError> {
        let runs = self.nodes.get(&from).is_some_and(|process| process.id == id && process.hello.is_some());
        if !runs && !self.fresh.contains_key(&id) {
            return Err(SendError::Closed);
        }
        match self.links_of(from, id).and_then(|links| links.directions(to)) {
            None => return Err(SendError::UnknownPeer(to)),
            Some(Directions { out: false, .. }) => return Err(SendError::NoLink(to)),
            Some(_) => {}
        }
        // It is gone, and its end is still under way to us.
        let Some(connection) = self.connections.get_mut(&(from, to)) else { return Ok(()) };
        if connection.in_flight + connection.held.len() >= IN_FLIGHT_MAX {
            return if message.verb().is_repeated() { Ok(()) } else { Err(SendError::QueueFull(to)) };
        }
        let mut bytes = Vec::new();
        wire::encode(message, &mut bytes);
        match self.cuts.get(&(from, to)) {
            Some((Cut::Drops, _)) => return Ok(()),
            Some((Cut::Holds, _)) => {
                connection.held.push(bytes);
                return Ok(());
            }
            None => {}
        }
        if self.refused.contains(&(from, to)) {
            return Ok(());
        }
        if self.draw(self.conditions.loss) {
            self.lost += 1;
            return Ok(());
        }
        if self.draw(self.conditions.duplicate) {
            self.duplicated += 1;
            self.frame(now, from, to, bytes.clone());
        }
        self.frame(now, from, to, bytes);
        Ok(())
    }

    pub(super) fn frame(&mut self, now: Instant, from: NodeId, to: NodeId, bytes: Vec<u8>) {
        let (delay, overtakes) = (self.delay(), self.draw(self.conditions.reorder));
        let Some(connection) = self.connections.get_mut(&(from, to)) else { return };
        let mut at = now + delay;
        if !overtakes {
            at = at.max(connection.last_arrival);
            connection.last_arrival = at;
        }
        connection.in_flight += 1;
        let link = connection.incoming;
        self.push(at, Due::Frame { from, to, link, bytes });
    }

    /// Also what its sender sent before it died arrives, if its link has not ended before.
    pub(super) fn arrive(&mut self, now: Instant, from: NodeId, to: NodeId, link: LinkId, bytes: Vec<u8>) {
        if let Some(stalled) = self.stalled.get_mut(&(from, to, link)) {
            return stalled.push_back(bytes);
        }
        if let Err(bytes) = self.deliver(now, from, to, link, bytes) {
            self.stalled.insert((from, to, link), VecDeque::from([bytes]));
            self.push(now + BACKPRESSURE_RETRY, Due::Unstall { from, to, link });
        }
    }

    /// Gives the frame back where the receiver's inbox is full.
    fn deliver(
        &mut self,
        now: Instant,
        from: NodeId,
        to: NodeId,
        link: LinkId,
        bytes: Vec<u8>,
    ) -> Result<(), Vec<u8>> {
        let Some(process) = self.nodes.get_mut(&to) else { return Ok(()) };
        match incoming::next(&bytes) {
            Ok(Some((Some(Received::Message(message)), _))) => {
                match process.links.deliver(from, link, message, Waker::noop()) {
                    Ok(()) => self.delivered += 1,
                    Err(None) => {}
                    Err(Some(_)) => return Err(bytes),
                }
            }
            _ => process.links.refuse(Some(from), RefuseReason::Garbage, now),
        }
        if let Some(connection) = self.connections.get_mut(&(from, to)).filter(|c| c.incoming == link) {
            connection.in_flight -= 1;
        }
        Ok(())
    }

    pub(super) fn unstall(&mut self, now: Instant, from: NodeId, to: NodeId, link: LinkId) {
        let mut stalled = self.stalled.remove(&(from, to, link)).unwrap_or_default();
        while let Some(bytes) = stalled.pop_front() {
            if let Err(bytes) = self.deliver(now, from, to, link, bytes) {
                stalled.push_front(bytes);
                self.stalled.insert((from, to, link), stalled);
                return self.push(now + BACKPRESSURE_RETRY, Due::Unstall { from, to, link });
            }
        }
    }
}
