//! What the world does with it: frames that are sent and arrive, connections that end and are made.

use super::{Frame, Life, Net, View};
use crate::event::Event;
use crate::node::{Input, Node};
use crate::plan::{MS, between, chance};
use crate::world::World;
use fastrand::Rng;
use kevy_elect_plugin::ids::Incarnation;
use kevy_elect_plugin::link::LinkEvent;

/// The most frames that a cut holds back, per direction; the oldest goes first, as a full queue does.
const HELD_MAX: usize = 256;
/// Between two attempts to dial.
const REDIAL: u64 = 100 * MS;

impl<N: Node> World<N> {
    pub(crate) fn send(&mut self, from: usize, to: usize, message: N::Message) {
        let there = self.net.index(from, to);
        let view = self.net.views[there];
        let Some(from_life) = self.life(from).filter(|_| view.up) else { return };
        let number = match self.net.sent[there] {
            (at, number) if at == self.now => number + 1,
            _ => 0,
        };
        self.net.sent[there] = (self.now, number);
        let mut rng = self.rng(&[2, there as u64, self.now, number]);
        let mut delay = between(&mut rng, (self.plan.delay / 4, self.plan.delay));
        let mut reorder = false;
        for storm in &self.net.storms {
            if chance(&mut rng, storm.loss) {
                return;
            }
            delay += rng.u64(0..storm.delay);
            reorder |= storm.reorder;
        }
        let mut at = self.now + delay;
        if !reorder {
            at = at.max(self.net.last[there] + 1);
            self.net.last[there] = at;
        }
        let frame = Frame { from, to, from_life, to_life: view.life, message };
        self.push(at, Event::Frame(Box::new(frame)));
    }

    pub(crate) fn on_frame(&mut self, frame: Frame<N::Message>) {
        let (from, to) = (frame.from, frame.to);
        if self.net.is_cut(from, to) {
            let there = self.net.index(from, to);
            let held = &mut self.net.held[there];
            if held.len() == HELD_MAX {
                held.pop_front();
            }
            held.push_back(frame);
            return;
        }
        let view = self.net.views[self.net.index(to, from)];
        // Frames of an earlier process end where the greeting of a later one came in.
        if self.life(to) == Some(frame.to_life) && view.life == frame.from_life {
            self.tell_message(from, to, &frame.message);
            self.step(to, Input::Message(from, frame.message));
        }
    }

    /// One more fault cuts this direction, or one fewer. What waited comes late, or is lost with its connection.
    pub(crate) fn set_cut(&mut self, from: usize, to: usize, cut: bool, held: bool) {
        let there = self.net.index(from, to);
        self.net.disturb(from, to, self.now);
        if cut {
            self.net.cut[there] += 1;
            return;
        }
        self.net.cut[there] = self.net.cut[there].saturating_sub(1);
        if self.net.cut[there] > 0 {
            return;
        }
        let frames = std::mem::take(&mut self.net.held[there]);
        let mut rng = self.rng(&[3, there as u64, self.now]);
        if held {
            let mut at = self.now;
            for frame in frames {
                at += rng.u64(1..MS);
                self.net.last[there] = self.net.last[there].max(at);
                self.push(at, Event::Frame(Box::new(frame)));
            }
        } else {
            for (at, peer) in [(from, to), (to, from)] {
                let view = self.net.views[self.net.index(at, peer)];
                if let Some(life) = self.life(at).filter(|_| view.up) {
                    let when = self.now + rng.u64(1..20 * MS);
                    let event = LinkEvent::Reset;
                    self.push(when, Event::LinkEnd { at, peer, life, conn: view.conn, event });
                }
            }
        }
    }

    /// The process of `node` has ended: its kernel tells the peers it reaches, unless the machine went with it.
    pub(crate) fn close_links_of(&mut self, node: usize, power: bool) {
        let mut rng = self.rng(&[4, node as u64, self.now]);
        for peer in (0..self.plan.nodes).filter(|peer| *peer != node) {
            let (there, back) = (self.net.index(node, peer), self.net.index(peer, node));
            self.net.views[there] = View::default();
            let view = self.net.views[back];
            let when = (self.now + rng.u64(1..=self.plan.delay)).max(self.net.last[there] + 1);
            if let Some(life) = self.life(peer).filter(|_| view.up && !power && !self.net.is_cut(node, peer))
            {
                let event = LinkEvent::Closed;
                self.push(when, Event::LinkEnd { at: peer, peer: node, life, conn: view.conn, event });
            }
        }
    }

    pub(crate) fn on_link_end(&mut self, at: usize, peer: usize, life: Life, conn: u64, event: LinkEvent) {
        let there = self.net.index(at, peer);
        let view = self.net.views[there];
        if self.life(at) == Some(life) && view.up && view.conn == conn {
            self.net.views[there].up = false;
            self.step(at, Input::Link(peer, event));
            self.dial(at, peer, self.now + MS);
        }
    }

    /// Connects `a` and `b` at `when`, and if that fails again and again.
    pub(crate) fn dial(&mut self, a: usize, b: usize, when: u64) {
        let (a, b) = (a.min(b), a.max(b));
        let pair = self.net.index(a, b);
        if !std::mem::replace(&mut self.net.dialling[pair], true) {
            self.push(when, Event::Dial(a, b));
        }
    }

    pub(crate) fn on_dial(&mut self, a: usize, b: usize) {
        let pair = self.net.index(a, b);
        self.net.dialling[pair] = false;
        let lives = [self.life(a), self.life(b)];
        let ends = [(a, b, lives[1]), (b, a, lives[0])];
        let seen = |net: &Net<N::Message>, at, peer, life| {
            let view: View = net.views[net.index(at, peer)];
            view.up && Some(view.life) == life
        };
        let linked = ends.iter().all(|(at, peer, life)| seen(&self.net, *at, *peer, *life));
        if linked || lives == [None, None] {
            return;
        }
        let reach = !self.net.is_cut(a, b) && !self.net.is_cut(b, a);
        if let ([Some(life_a), Some(life_b)], true) = (lives, reach) {
            self.net.conns += 1;
            let conn = self.net.conns;
            self.net.disturb(a, b, self.now);
            for (at, peer, life) in [(a, b, life_b), (b, a, life_a)] {
                let there = self.net.index(at, peer);
                self.net.views[there] = View { up: true, conn, life };
            }
            for (at, peer) in [(a, b), (b, a)] {
                let incarnation = Incarnation(self.incarnation(peer));
                self.step(at, Input::Link(peer, LinkEvent::Up { incarnation }));
            }
            return;
        }
        for (at, peer, life) in ends {
            let waits = self.life(at).is_some() && !self.net.views[self.net.index(at, peer)].up;
            // A machine without power answers nothing, not even that nobody listens.
            if waits && reach && life.is_none() && !self.is_dark(peer) {
                self.step(at, Input::Link(peer, LinkEvent::Refused));
            }
        }
        self.dial(a, b, self.now + REDIAL);
    }

    /// Chance for one purpose, the same for all systems.
    pub(crate) fn rng(&self, purpose: &[u64]) -> Rng {
        let mix = |sum: u64, part: &u64| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        Rng::with_seed(purpose.iter().fold(self.plan.seed ^ 0x5851_f42d_4c95_7f2d, mix))
    }
}
