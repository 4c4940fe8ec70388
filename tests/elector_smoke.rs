//! The elector by hand: three nodes, a perfect network, virtual time.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails says where")]

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, GateState, HostAction, HostReport, Output};
use kevy_elect_plugin::event::{Event, EventKind};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Message, Offer, OfferKind, Resign, Role};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::time::{Duration, Instant};
use std::collections::VecDeque;

struct Cluster {
    now: Instant,
    nodes: Vec<Option<Elector>>,
    /// What each host holds.
    positions: Vec<Position>,
    ids: Vec<NodeId>,
    wire: VecDeque<(usize, usize, Message)>,
    events: Vec<(usize, Event)>,
}

impl Cluster {
    fn new(n: usize) -> Self {
        let ids: Vec<_> = (0..n).map(|i| NodeId::new(&format!("n{i}")).unwrap()).collect();
        let now = Instant::from_nanos(1_000_000_000);
        let nodes = (0..n)
            .map(|i| {
                let config =
                    Config::builder(ids[i], ids.iter().map(|id| Member::voter(*id))).build().unwrap();
                Some(Elector::new(config, None, 0, i as u64, now))
            })
            .collect();
        let positions = vec![Position::NONE; n];
        let mut cluster = Self { now, nodes, positions, ids, wire: VecDeque::new(), events: Vec::new() };
        for a in 0..n {
            for b in (0..n).filter(|b| *b != a) {
                cluster.link(a, b, LinkEvent::Up { incarnation: Incarnation(1) });
            }
        }
        cluster
    }

    fn link(&mut self, at: usize, peer: usize, event: LinkEvent) {
        let (now, peer) = (self.now, self.ids[peer]);
        if let Some(node) = &mut self.nodes[at] {
            node.handle_link(now, peer, event);
        }
        self.drain(at);
    }

    /// The host of `at` has come to `offset` in the stream of epoch 1.
    fn hold(&mut self, at: usize, offset: u64) {
        self.positions[at] = Position::single(Epoch(1), offset);
        let report = HostReport::Position { stream_epoch: Epoch(1), offsets: &[offset] };
        if let Some(node) = &mut self.nodes[at] {
            node.handle_host(self.now, report);
        }
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        let Some(node) = &mut self.nodes[at] else { return };
        while let Some(output) = node.poll_output() {
            match output {
                Output::Persist(seq, _) => node.handle_persisted(self.now, seq),
                Output::Send(to, message) => {
                    for to in to.ids() {
                        let to = self.ids.iter().position(|id| id == to).unwrap();
                        self.wire.push_back((at, to, message.clone()));
                    }
                }
                Output::Host(HostAction::Detach(seq)) => {
                    node.handle_host(self.now, HostReport::Detached(seq, &self.positions[at]));
                }
                Output::Host(HostAction::Promote(epoch)) => {
                    node.handle_host(self.now, HostReport::Promoted(epoch));
                }
                Output::Host(_) => {}
                Output::Event(event) => self.events.push((at, event)),
                other => unreachable!("nothing here carries out {other:?}"),
            }
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.wire.pop_front() {
            if let Some(node) = &mut self.nodes[to] {
                node.handle_message(self.now, self.ids[from], message);
            }
            self.drain(to);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        (0..self.nodes.len()).for_each(|n| self.drain(n));
        self.settle();
        loop {
            let next = self.nodes.iter().flatten().filter_map(Elector::next_timeout).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for n in 0..self.nodes.len() {
                if let Some(node) = &mut self.nodes[n] {
                    node.handle_timeout(self.now);
                }
                self.drain(n);
            }
            self.settle();
        }
        self.now = end;
    }

    fn primaries(&self) -> Vec<usize> {
        let writable = |n: &usize| {
            self.nodes[*n]
                .as_ref()
                .is_some_and(|e| matches!(e.gate(), GateState::Open(until) if until > self.now))
        };
        (0..self.nodes.len()).filter(writable).collect()
    }
}

#[test]
fn a_new_cluster_elects_the_lowest_id_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_millis(150));
    assert_eq!(cluster.primaries(), [0], "{:#?}", cluster.events);
    let told =
        |(node, event): &&(usize, Event)| *node == 0 && matches!(event.kind, EventKind::Writable { .. });
    assert_eq!(cluster.events.iter().filter(told).count(), 1, "who waits for the gate hears of it");
    assert!(cluster.nodes.iter().flatten().all(|n| n.primary() == Some(cluster.ids[0])));
}

#[test]
fn a_killed_primary_is_replaced_without_waiting_for_the_timeout() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    cluster.nodes[0] = None;
    for at in [1, 2] {
        cluster.link(at, 0, LinkEvent::Closed);
        cluster.link(at, 0, LinkEvent::Refused);
    }
    cluster.run(Duration::from_millis(1));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
}

/// As after a resignation, whose process ends a moment later, or a crash with a restart at once: the election that is
/// under way goes on. An interrupted one has used its epoch up, and may end in a duel.
#[test]
fn more_evidence_that_the_primary_is_gone_does_not_interrupt_an_election() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    cluster.events.clear();
    cluster.nodes[0] = None;
    cluster.link(2, 0, LinkEvent::Closed);
    cluster.link(2, 0, LinkEvent::Refused);
    cluster.link(1, 0, LinkEvent::Closed);
    cluster.link(1, 0, LinkEvent::Refused);
    let voting = |event: &(usize, Event)| {
        event.0 == 1 && matches!(event.1.kind, EventKind::Campaign { kind: OfferKind::Vote, .. })
    };
    while !cluster.events.iter().any(voting) {
        cluster.nodes[1].as_mut().unwrap().handle_timeout(cluster.now);
        cluster.drain(1);
        let (from, to, message) = cluster.wire.pop_front().expect("it asks, or is answered");
        if let Some(node) = &mut cluster.nodes[to] {
            node.handle_message(cluster.now, cluster.ids[from], message);
        }
        cluster.drain(to);
    }
    cluster.link(1, 0, LinkEvent::Up { incarnation: Incarnation(2) });
    // The answers take longer than what it does by itself.
    cluster.nodes[1].as_mut().unwrap().handle_timeout(cluster.now);
    cluster.drain(1);
    cluster.run(Duration::from_millis(1));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
    let campaign = |event: &&(usize, Event)| matches!(event.1.kind, EventKind::Campaign { .. });
    let campaigns: Vec<_> = cluster.events.iter().filter(campaign).collect();
    assert_eq!(campaigns.len(), 2, "one pre-vote, one vote: {campaigns:#?}");
}

/// What the dead primary had still sent is read after the sockets have told of its death: an offer may be behind what
/// its candidate holds when it is judged. Four kills in a hundred cost three heartbeat intervals by that.
#[test]
fn a_candidate_that_has_come_further_than_its_offer_asks_again_at_once() {
    for before_the_refusal in [true, false] {
        let mut cluster = Cluster::new(3);
        cluster.run(Duration::from_secs(3));
        cluster.hold(1, 10);
        cluster.nodes[0] = None;
        cluster.link(1, 0, LinkEvent::Closed);
        cluster.link(1, 0, LinkEvent::Refused);
        let now = cluster.now;
        cluster.nodes[1].as_mut().unwrap().handle_timeout(now);
        cluster.drain(1);
        // It waits there: the other one still promises to the dead primary.
        cluster.settle();
        cluster.hold(2, 20);
        if before_the_refusal {
            cluster.hold(1, 20);
        }
        cluster.link(2, 0, LinkEvent::Closed);
        cluster.link(2, 0, LinkEvent::Refused);
        cluster.settle();
        if !before_the_refusal {
            cluster.hold(1, 20);
        }
        cluster.run(Duration::from_millis(1));
        assert_eq!(cluster.primaries(), [1], "{before_the_refusal}: {:#?}", cluster.events);
    }
}

/// The primary's process and a second one with its id, which says `HELLO` to both voters.
fn doubled_primary(first_event: Option<LinkEvent>) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.primaries(), [0]);
    // Out of reach from here on. Whether its process lives, nobody can know.
    cluster.nodes[0] = None;
    for at in [1, 2] {
        first_event.into_iter().for_each(|event| cluster.link(at, 0, event));
        cluster.link(at, 0, LinkEvent::Up { incarnation: Incarnation(2) });
    }
    cluster
}

#[test]
fn p4_a_later_incarnation_alone_frees_nobody_from_a_promise_to_the_earlier_process() {
    for first_event in [None, Some(LinkEvent::Reset), Some(LinkEvent::Refused)] {
        let mut cluster = doubled_primary(first_event);
        cluster.run(Duration::from_millis(890));
        assert_eq!(
            cluster.primaries(),
            [],
            "{first_event:?}: the first process may write until its lease ends"
        );
        cluster.run(Duration::from_millis(150));
        assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
    }
}

#[test]
fn p4_a_later_incarnation_frees_the_voters_where_the_earlier_ones_links_ended_in_order() {
    let mut cluster = doubled_primary(Some(LinkEvent::Closed));
    cluster.run(Duration::from_millis(1));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
}

#[test]
fn p4_the_orderly_end_may_be_read_after_the_later_process_has_said_hello() {
    let mut cluster = doubled_primary(None);
    cluster.run(Duration::from_millis(20));
    assert_eq!(cluster.primaries(), []);
    for at in [1, 2] {
        cluster.link(at, 0, LinkEvent::OlderClosed { incarnation: Incarnation(1) });
    }
    cluster.run(Duration::from_millis(1));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
}

#[test]
fn p4_the_end_of_the_second_process_frees_nobody_from_a_promise_to_the_first() {
    let mut cluster = doubled_primary(None);
    for at in [1, 2] {
        // About a process that no promise was given to.
        cluster.link(at, 0, LinkEvent::OlderClosed { incarnation: Incarnation(7) });
        cluster.link(at, 0, LinkEvent::Closed);
        cluster.link(at, 0, LinkEvent::Refused);
        cluster.link(at, 0, LinkEvent::Up { incarnation: Incarnation(3) });
    }
    cluster.run(Duration::from_millis(890));
    assert_eq!(cluster.primaries(), []);
    cluster.run(Duration::from_millis(150));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
}

/// A promise is to a process, not to an id: the second one may neither have it nor give it back.
#[test]
fn p1_a_second_process_with_the_primarys_id_gets_no_vote_and_releases_nobody() {
    let mut cluster = doubled_primary(None);
    let epoch = cluster.nodes[1].as_ref().unwrap().epoch();
    let double = cluster.ids[0];
    let offer = Offer { epoch: Epoch(epoch.0 + 1), round: Round(1), position: Position::single(Epoch(9), 9) };
    let resign = Resign { epoch: Epoch(epoch.0 + 1), successor: None };
    for message in [Message::Resign(resign), Message::PreOffer(offer.clone()), Message::Offer(offer)] {
        let now = cluster.now;
        cluster.nodes[1].as_mut().unwrap().handle_message(now, double, message);
        cluster.drain(1);
    }
    let answers: Vec<_> = cluster.wire.drain(..).filter(|(from, to, _)| (*from, *to) == (1, 0)).collect();
    let yes = |(_, _, message): &(usize, usize, Message)| {
        matches!(message, Message::PreAccept(_) | Message::Accept(_))
    };
    assert!(!answers.iter().any(yes), "{answers:?}");
    assert!(cluster.nodes[1].as_ref().unwrap().status().promise.is_some());
}

#[cfg(feature = "sim")]
#[test]
fn a_voter_that_takes_a_later_incarnation_for_proof_is_caught_by_the_tests_above() {
    use kevy_elect_plugin::elector::Mutation;
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    cluster.nodes[0] = None;
    for at in [1, 2] {
        cluster.nodes[at].as_mut().unwrap().set_mutation(Some(Mutation::NewIncarnationIsProof));
        cluster.link(at, 0, LinkEvent::Up { incarnation: Incarnation(2) });
    }
    cluster.run(Duration::from_millis(1));
    assert_eq!(cluster.primaries(), [1], "while the first process may write");
}

#[test]
fn a_silent_primary_is_replaced_after_the_timeout_and_never_before() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    cluster.nodes[0] = None;
    cluster.run(Duration::from_millis(890));
    assert_eq!(cluster.primaries(), [], "promises hold");
    cluster.run(Duration::from_millis(150));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
}

#[test]
fn a_single_voter_elects_itself() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_millis(1));
    assert_eq!(cluster.primaries(), [0]);
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.primaries(), [0]);
    assert_eq!(cluster.nodes[0].as_ref().unwrap().role(), Role::Primary);
}

/// Kept in silence, an old position would vote for somebody who has less than this node holds.
#[test]
fn a_host_with_too_many_shards_neither_votes_nor_stands_and_says_why_once() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    cluster.hold(1, 10);
    for offsets in [&[7; 129][..], &[8; 129], &[9; 129]] {
        let report = HostReport::Position { stream_epoch: Epoch(1), offsets };
        cluster.nodes[1].as_mut().unwrap().handle_host(cluster.now, report);
        cluster.drain(1);
    }
    let refusals =
        cluster.events.iter().filter(|(_, event)| event.to_string().contains("event=position_refused"));
    let refusals: Vec<_> = refusals.map(|(node, event)| format!("{node} {event}")).collect();
    assert!(refusals.len() == 1 && refusals[0].contains("129 shards"), "{refusals:?}");
    cluster.nodes[0] = None;
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.primaries(), [], "one voter of three that may vote is no quorum");
    cluster.hold(1, 10);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.primaries(), [1], "{:#?}", cluster.events);
}
