//! What the network does: it carries frames, connects, cuts, and tells of it.

use super::World;
use super::event::{Event, Frame, Payload};
use super::net::View;
use crate::ids::Incarnation;
use crate::link::LinkEvent;
use crate::message::Message;
use crate::sim::clock::MS;
use crate::sim::impairments::Life;
use crate::sim::note::What;

/// The most frames that wait behind a cut, per direction; the oldest goes first, as a full queue does.
const STALLED_MAX: usize = 64;

impl World {
    pub(super) fn view(&self, at: usize, peer: usize) -> View {
        self.net.views[self.net.index(at, peer)]
    }

    fn view_mut(&mut self, at: usize, peer: usize) -> &mut View {
        let index = self.net.index(at, peer);
        &mut self.net.views[index]
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.net.cut[self.net.index(from, to)] > 0
    }

    /// Sends what the elector wants sent.
    pub(super) fn send_message(&mut self, from: usize, to: usize, message: Message) {
        let view = self.view(from, to);
        if view.up {
            self.send(from, to, view.conn, view.life, Payload::Elector(message));
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, conn: u64, to_life: Life, payload: Payload) {
        let Some(process) = &self.machines[from].process else { return };
        let (from_life, incarnation) = (process.life, process.incarnation);
        let index = self.net.index(from, to);
        if self.net.refused[index] > 0 {
            return;
        }
        let mut delay = self.run.rng.between(self.run.plan.setup.delay / 8, self.run.plan.setup.delay);
        let mut twice = None;
        for storm in 0..self.net.storms.len() {
            let (loss, duplication, delay_max) = self.net.storms[storm];
            if self.run.rng.chance(loss) {
                self.run.stats.lost += 1;
                return;
            }
            delay += self.run.rng.below(delay_max);
            if self.run.rng.chance(duplication) {
                self.run.stats.duplicated += 1;
                twice = Some(self.run.rng.below(2 * delay_max));
            }
        }
        let mut at = self.run.now + delay;
        // Every shard has a connection of its own.
        let alone = matches!(payload, Payload::Server(crate::sim::server::Payload::Frames(_)));
        if !self.run.plan.setup.unordered && !alone {
            at = at.max(self.net.last[index] + 1);
            self.net.last[index] = at;
        }
        if at > self.run.now + self.run.plan.setup.delay {
            self.net.late[index] = self.net.late[index].max(at);
        }
        let frame = Box::new(Frame { from, to, from_life, to_life, conn, incarnation, payload });
        if let Some(later) = twice {
            let again = if self.run.plan.setup.unordered { at + later } else { at };
            self.push(again, Event::Frame(frame.clone()));
        }
        self.push(at, Event::Frame(frame));
    }

    pub(super) fn on_frame(&mut self, frame: Box<Frame>) {
        let (from, to) = (frame.from, frame.to);
        let index = self.net.index(from, to);
        if self.net.cut[index] > 0 {
            let stalled = &mut self.net.stalled[index];
            if stalled.len() == STALLED_MAX {
                stalled.pop_front();
            }
            stalled.push_back(frame);
            return;
        }
        let life = frame.to_life;
        let Some((_, Event::Frame(frame))) = self.machines[to].deliver(life, Event::Frame(frame)) else {
            return;
        };
        match frame.payload {
            Payload::Elector(message) => {
                let view = self.view(to, from);
                // `HELLO` comes before every frame of a connection.
                if frame.conn > view.conn {
                    self.link_up(to, from, frame.from_life, frame.incarnation, frame.conn);
                }
                let view = self.view(to, from);
                let fits = if self.run.plan.setup.unordered {
                    view.life == frame.from_life
                } else {
                    view.up && view.conn == frame.conn
                };
                if fits {
                    self.deliver(from, to, message);
                }
            }
            payload => self.on_data(from, to, payload),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let peer = self.machines[from].id;
        self.run.log(|| format!("n{to} <- n{from} {message:?}"));
        self.run.stats.messages += 1;
        self.step(to, |elector, now| elector.handle_message(now, peer, message));
    }

    /// A direction that was cut works again: what waited comes late, or the connection breaks.
    pub(super) fn heal_direction(&mut self, from: usize, to: usize) {
        let index = self.net.index(from, to);
        let stalled = std::mem::take(&mut self.net.stalled[index]);
        if self.run.rng.chance(750) {
            let mut at = self.run.now + self.run.rng.below(30 * MS);
            for frame in stalled {
                at += self.run.rng.below(MS);
                self.net.last[index] = self.net.last[index].max(at);
                self.push(at, Event::Frame(frame));
            }
        } else {
            self.break_link(from, to, 20 * MS);
            self.break_link(to, from, 20 * MS);
        }
    }

    /// The connection that `at` has to `peer` breaks within `within`.
    pub(super) fn break_link(&mut self, at: usize, peer: usize, within: u64) {
        let view = self.view(at, peer);
        if let Some(process) = &self.machines[at].process
            && view.up
        {
            let life = process.life;
            let when = self.run.now + self.run.rng.below(within);
            let (conn, incarnation) = (view.conn, view.incarnation);
            self.push(when, Event::LinkEnd { at, peer, life, conn, incarnation, closed: false });
        }
    }

    /// The process of `node` is gone: its kernel tells the peers, unless the machine is dark.
    pub(super) fn close_links_of(&mut self, node: usize) {
        let dark = self.machines[node].dark;
        for peer in (0..self.net.nodes).filter(|peer| *peer != node) {
            *self.view_mut(node, peer) = View::default();
            let view = self.view(peer, node);
            let Some(life) = self.machines[peer].process.as_ref().map(|process| process.life) else {
                continue;
            };
            // A second process with its id may have taken the place of its link.
            if !view.up || self.net.ghosts.contains(&(node, view.life)) {
                continue;
            }
            let (conn, incarnation) = (view.conn, view.incarnation);
            let index = self.net.index(node, peer);
            if dark || self.net.cut[index] > 0 {
                // Nothing comes: only a timeout of the link tells.
                let timeout = crate::time::nanos(self.run.plan.setup.timeout);
                let when = self.run.now + self.run.rng.between(timeout / 2, 2 * timeout);
                self.push(
                    when,
                    Event::LinkEnd { at: peer, peer: node, life, conn, incarnation, closed: false },
                );
            } else {
                // Unread data in its receive buffer makes the kernel reset instead of closing.
                let closed = self.run.rng.chance(750);
                let when = (self.run.now + self.run.rng.below(self.run.plan.setup.delay))
                    .max(self.net.last[index] + 1);
                self.push(when, Event::LinkEnd { at: peer, peer: node, life, conn, incarnation, closed });
            }
        }
    }

    pub(super) fn start_links_of(&mut self, node: usize) {
        for peer in (0..self.net.nodes).filter(|peer| *peer != node) {
            *self.view_mut(node, peer) = View::default();
            self.retry_soon(node, peer);
        }
    }

    fn retry_soon(&mut self, at: usize, peer: usize) {
        let Some(life) = self.machines[at].process.as_ref().map(|process| process.life) else { return };
        let view = self.view_mut(at, peer);
        if view.retrying || view.up {
            return;
        }
        view.retrying = true;
        let when = self.run.now + self.run.rng.between(MS, 120 * MS);
        self.push(when, Event::Retry { at, peer, life });
    }

    pub(super) fn on_retry(&mut self, at: usize, peer: usize, life: Life) {
        let retry = Event::Retry { at, peer, life };
        let Some((process, _)) = self.machines[at].deliver(life, retry) else { return };
        let incarnation = process.incarnation;
        self.view_mut(at, peer).retrying = false;
        if self.view(at, peer).up {
            return;
        }
        // A second process with its id has the place, or had it until just now.
        let refused = self.is_older(peer, at, life);
        let open = !refused && !self.is_cut(at, peer) && !self.is_cut(peer, at) && !self.machines[peer].dark;
        if open {
            let refuses = self.net.refused[self.net.index(at, peer)] > 0;
            let there = self.machines[peer].process.as_ref().map(|p| (p.life, p.incarnation));
            match there {
                Some((peer_life, peer_incarnation)) if !refuses => {
                    if self.machines[peer].runs() {
                        self.net.conns += 1;
                        let conn = self.net.conns;
                        let (a, b) = (self.run.rng.below(3 * MS), self.run.rng.below(3 * MS));
                        let up =
                            Event::LinkUp { at, peer, life, peer_life, incarnation: peer_incarnation, conn };
                        self.push(self.run.now + a, up);
                        let (at, peer, life, peer_life) = (peer, at, peer_life, life);
                        self.push(
                            self.run.now + b,
                            Event::LinkUp { at, peer, life, peer_life, incarnation, conn },
                        );
                    }
                }
                _ => {
                    self.run.stats.refused += 1;
                    self.link_event(at, peer, LinkEvent::Refused);
                }
            }
        }
        self.retry_soon(at, peer);
    }

    pub(super) fn on_link_up(&mut self, event: Event) {
        let Event::LinkUp { at, peer, life, peer_life, incarnation, conn } = event else { return };
        if self.machines[at].deliver(life, event).is_none() {
            return;
        }
        // The other end may have gone since: then there is nobody to say `HELLO`.
        let there = self.machines[peer].process.as_ref().is_some_and(|process| process.life == peer_life)
            || self.net.ghosts.contains(&(peer, peer_life));
        if there && conn > self.view(at, peer).conn {
            self.link_up(at, peer, peer_life, incarnation, conn);
        }
    }

    fn link_up(&mut self, at: usize, peer: usize, peer_life: Life, incarnation: Incarnation, conn: u64) {
        if self.is_older(at, peer, peer_life) {
            return;
        }
        let view = self.view_mut(at, peer);
        (view.conn, view.up, view.life, view.incarnation) = (conn, true, peer_life, incarnation);
        if self.knows_ghosts() {
            // Another process speaks as this node, or the first one does again.
            for (from, to) in [(at, peer), (peer, at)] {
                let index = self.net.index(from, to);
                self.net.disturbed[index] = self.net.disturbed[index].max(self.run.now);
            }
        }
        self.link_event(at, peer, LinkEvent::Up { incarnation });
    }

    /// Whether `at` knows a later process of `peer` than this one, so that this one is refused (T14).
    fn is_older(&self, at: usize, peer: usize, life: Life) -> bool {
        let known = self.view(at, peer).life;
        let gone = |(ghost, until): &(Life, u64)| *ghost == known && *until <= self.run.now;
        life < known && !self.net.gone_ghosts.iter().any(gone)
    }

    /// Whether `at` hears the process of `peer` that all else is judged by, and not a second one with its id.
    pub(super) fn is_itself(&self, at: usize, peer: usize) -> bool {
        let there = self.machines[peer].process.as_ref().map(|process| process.life);
        !self.knows_ghosts() || self.view(at, peer).up && Some(self.view(at, peer).life) == there
    }

    /// Whether there are, or were, second processes with a node's id.
    fn knows_ghosts(&self) -> bool {
        !self.net.ghosts.is_empty() || !self.net.gone_ghosts.is_empty()
    }

    pub(super) fn on_link_end(&mut self, event: Event) {
        let Event::LinkEnd { at, peer, life, conn, incarnation, closed } = event else { return };
        if self.machines[at].deliver(life, event).is_none() {
            return;
        }
        let view = self.view(at, peer);
        if view.up && view.conn == conn {
            self.view_mut(at, peer).up = false;
            let (there, back) = (self.net.index(at, peer), self.net.index(peer, at));
            (self.net.disturbed[there], self.net.disturbed[back]) = (self.run.now, self.run.now);
            self.link_event(at, peer, if closed { LinkEvent::Closed } else { LinkEvent::Reset });
            self.retry_soon(at, peer);
        } else if closed && incarnation != view.incarnation {
            // A later process of the peer said `HELLO` before the end of this one was read.
            self.link_event(at, peer, LinkEvent::OlderClosed { incarnation });
        }
    }

    pub(super) fn link_event(&mut self, at: usize, peer: usize, event: LinkEvent) {
        let id = self.machines[peer].id;
        self.run.log(|| format!("n{at} link to n{peer}: {event:?}"));
        self.note(at, || What::Link(id, event));
        self.step(at, |elector, now| elector.handle_link(now, id, event));
    }
}
