//! What is under way between the nodes, in the order in which it arrives.

mod dial;
mod frames;

use super::conditions::Conditions;
use crate::ids::NodeId;
use crate::message::Hello;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::transport::links::{Attempt, Direction, End, LinkId, Links};
use crate::transport::retry::Retry;
use crate::transport::wakes::{Wakeful, Wakes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Waker;

/// How soon a full inbox is tried again.
const BACKPRESSURE_RETRY: Duration = Duration::from_millis(1);
/// Everybody's address: the book of links compares them, and here they do not change.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId(u64);

/// What a cut does with what is sent into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Drops,
    Holds,
}

pub(super) struct Network {
    pub(in crate::transport::memory) conditions: Conditions,
    pub(in crate::transport::memory) delivered: u64,
    pub(in crate::transport::memory) lost: u64,
    pub(in crate::transport::memory) duplicated: u64,
    rng: Rng,
    next_number: u64,
    members: BTreeSet<NodeId>,
    nodes: BTreeMap<NodeId, Process>,
    /// The books of processes that have not joined yet, so that they can be asked already.
    fresh: BTreeMap<ProcessId, Links>,
    /// Machines without power answer nobody.
    dark: BTreeSet<NodeId>,
    wakes: Wakes,
    /// By who dialled and who accepted.
    connections: BTreeMap<(NodeId, NodeId), Connection>,
    /// Attempts to dial, by who dials whom.
    dials: BTreeMap<(NodeId, NodeId), Dial>,
    cuts: BTreeMap<(NodeId, NodeId), (Cut, u64)>,
    /// Whose connections a firewall refuses, by who dials whom.
    refused: BTreeSet<(NodeId, NodeId)>,
    due: BTreeMap<(Instant, u64), Due>,
    /// What arrived and found a full inbox, in order: by sender, receiver and the receiver's link.
    stalled: BTreeMap<(NodeId, NodeId, LinkId), VecDeque<Vec<u8>>>,
}

struct Process {
    id: ProcessId,
    hello: Option<Hello>,
    links: Links,
    run: Option<Waker>,
}

struct Connection {
    out: LinkId,
    incoming: LinkId,
    /// Frames overtake each other only where the conditions say so.
    last_arrival: Instant,
    in_flight: usize,
    held: Vec<Vec<u8>>,
}

struct Dial {
    retry: Retry,
    /// Only the attempt with this number is still meant.
    number: u64,
}

enum Due {
    /// Begin to connect.
    Dial {
        from: NodeId,
        to: NodeId,
        number: u64,
    },
    /// The answer to a connection is there.
    Answer {
        from: NodeId,
        to: NodeId,
        number: u64,
        attempt: Option<Attempt>,
    },
    Frame {
        from: NodeId,
        to: NodeId,
        link: LinkId,
        bytes: Vec<u8>,
    },
    /// A receiver's inbox was full: try again.
    Unstall {
        from: NodeId,
        to: NodeId,
        link: LinkId,
    },
    /// The end of a link reaches `node`.
    End {
        node: NodeId,
        process: ProcessId,
        peer: NodeId,
        direction: Direction,
        link: LinkId,
        end: End,
    },
    /// Nothing has come through this cut for the link timeout.
    CutTimeout {
        from: NodeId,
        to: NodeId,
        number: u64,
    },
}

impl Network {
    pub(in crate::transport::memory) fn new(seed: u64, members: Vec<NodeId>, conditions: Conditions) -> Self {
        Self {
            conditions,
            delivered: 0,
            lost: 0,
            duplicated: 0,
            rng: Rng::new(seed),
            next_number: 0,
            members: members.into_iter().collect(),
            nodes: BTreeMap::new(),
            fresh: BTreeMap::new(),
            dark: BTreeSet::new(),
            wakes: Wakes::default(),
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            cuts: BTreeMap::new(),
            refused: BTreeSet::new(),
            due: BTreeMap::new(),
            stalled: BTreeMap::new(),
        }
    }

    // ---- processes ----

    pub(in crate::transport::memory) fn new_process(&mut self, node: NodeId) -> ProcessId {
        let id = ProcessId(self.number());
        let peers = self.members.iter().copied().filter(|peer| *peer != node);
        let links = Links::new(peers, self.conditions.stale_after).numbered_from(id.0 << 32);
        self.fresh.insert(id, links);
        id
    }

    /// The process begins to run; `false`: it was killed or closed before.
    pub(in crate::transport::memory) fn join(
        &mut self,
        now: Instant,
        node: NodeId,
        id: ProcessId,
        hello: Hello,
    ) -> bool {
        let Some(links) = self.fresh.remove(&id) else { return false };
        self.kill(now, node);
        self.dark.remove(&node);
        let hello = links.greeting(&hello);
        let peers: Vec<NodeId> = links.peer_ids().collect();
        self.nodes.insert(node, Process { id, hello: Some(hello), links, run: None });
        peers.into_iter().for_each(|peer| self.begin_to_dial(now, node, peer));
        true
    }

    /// One more peer of this process (T43).
    pub(in crate::transport::memory) fn meet(
        &mut self,
        now: Instant,
        node: NodeId,
        id: ProcessId,
        peer: NodeId,
        terms: &str,
    ) {
        let new = self.links_of(node, id).is_some_and(|links| links.meet(peer, terms));
        let Some(process) = self.nodes.get_mut(&node).filter(|process| process.id == id) else { return };
        let Some(hello) = process.hello.as_mut() else { return };
        hello.terms = terms.to_owned();
        if new {
            self.begin_to_dial(now, node, peer);
        }
        let linked: Vec<_> = self.connections.keys().filter(|(from, _)| *from == node).copied().collect();
        linked.into_iter().for_each(|(_, to)| self.greet_again(now, node, to));
    }

    fn begin_to_dial(&mut self, now: Instant, node: NodeId, peer: NodeId) {
        let retry = Retry::new(self.rng.next());
        self.dials.insert((node, peer), Dial { retry, number: 0 });
        self.dial_at(now, node, peer);
    }

    pub(in crate::transport::memory) fn links_of(
        &mut self,
        node: NodeId,
        id: ProcessId,
    ) -> Option<&mut Links> {
        match self.nodes.get_mut(&node) {
            Some(process) if process.id == id => Some(&mut process.links),
            _ => self.fresh.get_mut(&id),
        }
    }

    pub(in crate::transport::memory) fn runs(&mut self, node: NodeId, id: ProcessId, run: &Waker) -> bool {
        match self.nodes.get_mut(&node).filter(|process| process.id == id && process.hello.is_some()) {
            Some(process) => {
                process.run = Some(run.clone());
                true
            }
            None => false,
        }
    }

    pub(in crate::transport::memory) fn leave(&mut self, now: Instant, node: NodeId, id: ProcessId) {
        self.fresh.remove(&id);
        if self.nodes.get(&node).is_some_and(|process| process.id == id) {
            self.kill(now, node);
        }
    }

    pub(in crate::transport::memory) fn kill(&mut self, now: Instant, node: NodeId) {
        if !self.stop(node) {
            return;
        }
        for ((from, to), connection) in self.take_connections(node) {
            // A kernel ends what has no unread bytes in order. The dead process received on what others
            // dialled, and there may be unread bytes; on what it dialled itself there are none.
            let (peer, direction, link, end) = if from == node {
                (to, Direction::In, connection.incoming, End::Clean)
            } else {
                (from, Direction::Out, connection.out, End::Broken)
            };
            let silent = self.cuts.contains_key(&(node, peer));
            let at = if silent {
                now + self.conditions.link_timeout
            } else {
                (now + self.delay()).max(connection.last_arrival)
            };
            self.end_at(at, peer, node, direction, link, if silent { End::Broken } else { end });
        }
    }

    pub(in crate::transport::memory) fn power_off(&mut self, now: Instant, node: NodeId) {
        self.dark.insert(node);
        if !self.stop(node) {
            return;
        }
        let at = now + self.conditions.link_timeout;
        for ((from, to), connection) in self.take_connections(node) {
            let (peer, direction, link) = match from == node {
                true => (to, Direction::In, connection.incoming),
                false => (from, Direction::Out, connection.out),
            };
            self.end_at(at, peer, node, direction, link, End::Broken);
        }
    }

    /// Stops the node's process; `false`: none runs.
    fn stop(&mut self, node: NodeId) -> bool {
        let Some(process) = self.nodes.get_mut(&node) else { return false };
        if process.hello.take().is_none() {
            return false;
        }
        process.links.begin_close();
        process.run.take().into_iter().for_each(|run| self.wakes.add(run));
        self.dials.retain(|(from, _), _| *from != node);
        true
    }

    fn take_connections(&mut self, node: NodeId) -> Vec<((NodeId, NodeId), Connection)> {
        let of_node: Vec<_> =
            self.connections.keys().copied().filter(|(from, to)| *from == node || *to == node).collect();
        of_node.into_iter().filter_map(|key| Some((key, self.connections.remove(&key)?))).collect()
    }

    // ---- cuts ----

    pub(in crate::transport::memory) fn cut(&mut self, now: Instant, from: NodeId, to: NodeId, cut: Cut) {
        let number = self.number();
        self.cuts.insert((from, to), (cut, number));
        self.push(now + self.conditions.link_timeout, Due::CutTimeout { from, to, number });
    }

    pub(in crate::transport::memory) fn heal(&mut self, now: Instant, from: NodeId, to: NodeId) {
        if self.cuts.remove(&(from, to)).is_none() {
            return;
        }
        let held = self.connections.get_mut(&(from, to)).map(|c| std::mem::take(&mut c.held));
        for bytes in held.unwrap_or_default() {
            self.frame(now, from, to, bytes);
        }
    }

    pub(in crate::transport::memory) fn heal_all(&mut self, now: Instant) {
        let cuts: Vec<_> = self.cuts.keys().copied().collect();
        cuts.into_iter().for_each(|(from, to)| self.heal(now, from, to));
    }

    pub(in crate::transport::memory) fn refuse(&mut self, from: NodeId, to: NodeId) {
        self.refused.insert((from, to));
    }

    pub(in crate::transport::memory) fn accept(&mut self, from: NodeId, to: NodeId) {
        self.refused.remove(&(from, to));
    }

    pub(in crate::transport::memory) fn reset_links(&mut self, now: Instant, a: NodeId, b: NodeId) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(connection) = self.connections.remove(&(from, to)) {
                self.end_at(now, from, to, Direction::Out, connection.out, End::Broken);
                self.end_at(now, to, from, Direction::In, connection.incoming, End::Broken);
            }
        }
    }

    pub(in crate::transport::memory) fn reset_links_at(&mut self, now: Instant, node: NodeId, peer: NodeId) {
        let later = now + self.conditions.link_timeout;
        if let Some(connection) = self.connections.remove(&(node, peer)) {
            self.end_at(now, node, peer, Direction::Out, connection.out, End::Broken);
            self.end_at(later, peer, node, Direction::In, connection.incoming, End::Broken);
        }
        if let Some(connection) = self.connections.remove(&(peer, node)) {
            self.end_at(now, node, peer, Direction::In, connection.incoming, End::Broken);
            self.end_at(later, peer, node, Direction::Out, connection.out, End::Broken);
        }
    }

    // ---- what becomes due ----

    /// Does all that is due by `now`, in order.
    pub(in crate::transport::memory) fn work(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let due = entry.remove();
            self.carry_out(now, due);
        }
    }

    pub(in crate::transport::memory) fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    fn carry_out(&mut self, now: Instant, due: Due) {
        match due {
            Due::Dial { from, to, number } => {
                if self.dials.get(&(from, to)).is_none_or(|dial| dial.number != number) {
                    return;
                }
                let attempt = self.nodes.get(&from).and_then(|process| process.links.attempt(to));
                let there_and_back = self.delay() + self.delay();
                self.push(now + there_and_back, Due::Answer { from, to, number, attempt });
            }
            Due::Answer { from, to, number, attempt } => {
                if self.dials.get(&(from, to)).is_some_and(|dial| dial.number == number) {
                    self.answer(now, from, to, attempt);
                }
            }
            Due::Unstall { from, to, link } => self.unstall(now, from, to, link),
            Due::Frame { from, to, link, bytes } => self.arrive(now, from, to, link, bytes),
            Due::End { node, process, peer, direction, link, end } => {
                // What came before the end is read before the end.
                if direction == Direction::In && self.stalled.contains_key(&(peer, node, link)) {
                    let due = Due::End { node, process, peer, direction, link, end };
                    return self.push(now + BACKPRESSURE_RETRY, due);
                }
                let Some(links) = self.links_of(node, process) else { return };
                links.end(direction, peer, link, end, now);
                if !self.connections.contains_key(&(node, peer)) {
                    self.dial_at(now, node, peer);
                }
            }
            Due::CutTimeout { from, to, number } => {
                if self.cuts.get(&(from, to)).is_some_and(|(_, cut)| *cut == number) {
                    self.reset_links(now, from, to);
                }
            }
        }
    }

    fn end_at(
        &mut self,
        at: Instant,
        node: NodeId,
        peer: NodeId,
        direction: Direction,
        link: LinkId,
        end: End,
    ) {
        if let Some(process) = self.nodes.get(&node).map(|process| process.id) {
            self.push(at, Due::End { node, process, peer, direction, link, end });
        }
    }

    /// Wakes all processes if this is due before what they wait for: any of them may be the one that does
    /// the work, and any may be killed meanwhile.
    fn push(&mut self, at: Instant, due: Due) {
        let number = self.number();
        let first = self.next_due().is_none_or(|next| at < next);
        self.due.insert((at, number), due);
        if first {
            for process in self.nodes.values_mut() {
                process.run.take().into_iter().for_each(|run| self.wakes.add(run));
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn draw(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.unit() < share
    }

    fn delay(&mut self) -> Duration {
        let Conditions { delay_min, delay_max, .. } = self.conditions;
        delay_min + (delay_max - delay_min).mul_f64(self.rng.unit())
    }
}

impl Wakeful for Network {
    fn take_wakes(&mut self) -> Wakes {
        let mut all = std::mem::take(&mut self.wakes);
        self.nodes.values_mut().for_each(|process| all.append(process.links.take_wakes()));
        self.fresh.values_mut().for_each(|links| all.append(links.take_wakes()));
        all
    }
}
