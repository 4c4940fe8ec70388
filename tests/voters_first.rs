//! What is for observers stands behind what is for voters: F25 of `docs/protocol.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, GateState, HostAction, HostReport, Output};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Echo, Grant, Heartbeat, Message, Role, Standing, Verb};
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::time::{Duration, Instant};

/// Observers come first by their ids.
const VOTERS: [&str; 3] = ["v1", "v2", "v3"];
const OBSERVERS: [&str; 4] = ["a1", "a2", "a3", "a4"];

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn new() -> Message {
    Message::Heartbeat(Heartbeat { round: Round(1), ..Heartbeat::blank() })
}

/// The first voter. Its peers are the test.
struct Node {
    elector: Elector,
    now: Instant,
    round: Round,
    /// To whom what was said, in order.
    said: Vec<(NodeId, Message)>,
}

impl Node {
    fn new() -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let members = VOTERS.map(|name| Member::voter(id(name))).into_iter();
        let members = members.chain(OBSERVERS.map(|name| Member::observer(id(name))));
        let config = Config::builder(id(VOTERS[0]), members).build().unwrap();
        let elector = Elector::new(config, None, 0, 1, now);
        let mut node = Self { elector, now, round: Round(0), said: Vec::new() };
        for peer in VOTERS[1..].iter().chain(&OBSERVERS) {
            node.elector.handle_link(now, id(peer), LinkEvent::Up { incarnation: Incarnation(1) });
        }
        node.drain();
        node
    }

    fn drain(&mut self) {
        while let Some(output) = self.elector.poll_output() {
            match output {
                Output::Persist(seq, _) => self.elector.handle_persisted(self.now, seq),
                Output::Host(HostAction::Detach(seq)) => {
                    self.elector.handle_host(self.now, HostReport::Detached(seq, &Position::NONE));
                }
                Output::Send(to, message) => {
                    if let Message::Heartbeat(heartbeat) = &message {
                        self.round = heartbeat.round;
                    }
                    self.said.extend(to.ids().iter().map(|to| (*to, message.clone())));
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, from: &str, message: Message) {
        self.elector.handle_message(self.now, id(from), message);
        self.drain();
    }

    fn echo(&mut self, from: &str) {
        let (epoch, primary) = (self.elector.epoch(), Some(id(VOTERS[0])));
        let (standing, progress) = (Standing::Member, Progress::NONE);
        self.hear(from, Message::Echo(Echo { epoch, round: self.round, primary, standing, progress }));
    }

    /// Wins an election; its host is not asked yet.
    fn win(&mut self) {
        for _ in 0..1000 {
            self.now = self.now.max(self.elector.next_timeout().unwrap());
            self.elector.handle_timeout(self.now);
            self.drain();
            // None of them has a record, so nobody may have promised anything.
            VOTERS[1..].iter().for_each(|peer| self.hear(peer, new()));
            for (to, message) in std::mem::take(&mut self.said) {
                let grant = |epoch, round| Grant { epoch, round, identity: None };
                match message {
                    Message::PreOffer(offer) => {
                        let answer = Message::PreAccept(grant(offer.epoch, offer.round));
                        self.elector.handle_message(self.now, to, answer);
                    }
                    Message::Offer(offer) => {
                        let answer = Message::Accept(grant(offer.epoch, offer.round));
                        self.elector.handle_message(self.now, to, answer);
                    }
                    _ => {}
                }
                if self.elector.is_reigning() {
                    return self.drain();
                }
                self.drain();
            }
        }
        panic!("it was never elected");
    }

    /// Who was told what since this was last asked.
    fn told(&mut self) -> Vec<(String, Verb)> {
        std::mem::take(&mut self.said).into_iter().map(|(to, what)| (to.to_string(), what.verb())).collect()
    }
}

fn each(of: &[&str], verb: Verb) -> Vec<(String, Verb)> {
    of.iter().map(|name| ((*name).to_owned(), verb)).collect()
}

#[test]
fn f25_observers_hear_of_a_reign_once_its_gate_is_open_and_every_voter_has_been_told() {
    for lease_first in [false, true] {
        let mut node = Node::new();
        node.win();
        assert_eq!(node.told(), each(&VOTERS[1..], Verb::Hb), "nobody can follow before the host is done");
        let epoch = node.elector.epoch();
        assert!(epoch > Epoch::ZERO);
        let mut told = Vec::new();
        for promoted in [!lease_first, lease_first] {
            assert!(!matches!(node.elector.gate(), GateState::Open(_)));
            if promoted {
                node.elector.handle_host(node.now, HostReport::Promoted(epoch));
                node.drain();
            } else {
                node.echo(VOTERS[1]);
            }
            told.push(node.told());
        }
        assert!(matches!(node.elector.gate(), GateState::Open(_)));
        let voters = [each(&VOTERS[1..], Verb::Announce), each(&VOTERS[1..], Verb::Hb)].concat();
        let observers = each(&OBSERVERS, Verb::Hb);
        let expected = match lease_first {
            true => [Vec::new(), [voters, observers].concat()],
            false => [voters, observers],
        };
        assert_eq!(told, expected);
        assert_eq!(node.elector.role(), Role::Primary);

        node.now = node.now.max(node.elector.next_timeout().unwrap()) + Duration::from_millis(100);
        node.elector.handle_timeout(node.now);
        node.drain();
        let round: Vec<_> = node.told().into_iter().filter(|(_, verb)| *verb == Verb::Hb).collect();
        assert_eq!(round, [each(&VOTERS[1..], Verb::Hb), each(&OBSERVERS, Verb::Hb)].concat());
    }
}

#[test]
fn f25_a_primary_whose_gate_was_never_open_speaks_to_voters_alone() {
    let mut node = Node::new();
    node.win();
    node.elector.handle_host(node.now, HostReport::Promoted(node.elector.epoch()));
    node.drain();
    node.told();
    node.now += Duration::from_millis(100);
    node.elector.handle_timeout(node.now);
    node.drain();
    assert!(!matches!(node.elector.gate(), GateState::Open(_)));
    assert_eq!(node.told(), each(&VOTERS[1..], Verb::Hb));
    node.echo(VOTERS[1]);
    assert!(matches!(node.elector.gate(), GateState::Open(_)));
    assert_eq!(node.told(), each(&OBSERVERS, Verb::Hb));
}
