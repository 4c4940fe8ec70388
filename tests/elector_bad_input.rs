//! What no peer and no stranger can make the elector do: whatever they send, no role, no epoch and no vote
//! changes, and a message that cannot be costs nothing.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails says where")]

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, HostAction, HostReport, Output, Status};
use kevy_elect_plugin::event::EventKind;
use kevy_elect_plugin::ids::{EPOCH_MAX, EPOCH_NEAR, EPOCH_STEP_MAX, Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::membership::{Generation, Membership};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use kevy_elect_plugin::position::{OFFSET_MAX, Position, Progress};
use kevy_elect_plugin::state::HardState;
use kevy_elect_plugin::time::{Duration, Instant};
use kevy_elect_plugin::wire::{Frame, decode, encode};

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// What is left of the outputs once persisting and detaching are dealt with.
fn drain(elector: &mut Elector, now: Instant) -> Vec<Output> {
    let mut left = Vec::new();
    while let Some(output) = elector.poll_output() {
        match output {
            Output::Persist(seq, _) => elector.handle_persisted(now, seq),
            Output::Host(HostAction::Detach(seq)) => {
                elector.handle_host(now, HostReport::Detached(seq, &Position::NONE));
            }
            other => left.push(other),
        }
    }
    left
}

/// A node of three that has followed `n1` in epoch 7 and would vote for nobody else now.
fn replica() -> (Elector, Instant) {
    let mut now = Instant::from_nanos(1_000_000_000);
    let record = HardState {
        epoch: Epoch(7),
        voted_for: Some(id("n1")),
        standing: Standing::Member,
        incarnation: Incarnation(1),
        identity: None,
        members: None,
        promise: kevy_elect_plugin::time::Duration::from_secs(1),
        pause: None,
        floor: kevy_elect_plugin::position::Progress::NONE,
        position: Position::single(Epoch(7), 10),
    };
    let config = Config::builder(id("n2"), ["n1", "n2", "n3"].map(|n| Member::voter(id(n)))).build().unwrap();
    let mut elector = Elector::new(config, Some(record), 0, 1, now);
    now += Duration::from_secs(2);
    elector.handle_message(now, id("n1"), heartbeat(7, Role::Primary));
    drain(&mut elector, now);
    assert_eq!(elector.primary(), Some(id("n1")));
    (elector, now)
}

fn heartbeat(epoch: u64, role: Role) -> Message {
    let primary = Some(id("n1"));
    Message::Heartbeat(Heartbeat {
        epoch: Epoch(epoch),
        round: Round(1),
        role,
        standing: Standing::Member,
        progress: Progress { stream_epoch: Epoch(epoch), offset: OFFSET_MAX },
        primary,
        lease: Duration::from_millis(900),
        ..Heartbeat::blank()
    })
}

fn everything(epoch: Epoch) -> Vec<Message> {
    let round = Round(u64::MAX);
    let position = Position::new(epoch.min(EPOCH_MAX), &[u64::MAX; 128]).unwrap();
    let progress = position.progress();
    let offer = Offer { epoch, round, position };
    let (kind, reason) = (OfferKind::Vote, RejectReason::Position);
    let of = |verb: &Verb| match verb {
        Verb::Hello => vec![],
        Verb::Hb => vec![heartbeat(epoch.0, Role::Primary), heartbeat(epoch.0, Role::Replica)],
        Verb::Echo => {
            let (primary, standing) = (Some(id("n2")), Standing::Member);
            vec![Message::Echo(Echo { epoch, round, primary, standing, progress })]
        }
        Verb::PreOffer => vec![Message::PreOffer(offer.clone())],
        Verb::PreAccept => vec![Message::PreAccept(Grant { epoch, round, identity: None })],
        Verb::Offer => vec![Message::Offer(offer.clone())],
        Verb::Accept => vec![Message::Accept(Grant { epoch, round, identity: None })],
        Verb::Reject => vec![Message::Reject(Reject { epoch, round, kind, reason, progress })],
        Verb::Announce => vec![Message::Announce(Announce { epoch })],
        Verb::Resign => vec![Message::Resign(Resign { epoch, successor: Some(id("n3")) })],
        // It names no epoch; what anybody may say in it is in the unit tests of elector/rank.rs.
        Verb::Rank => vec![],
        Verb::Members => {
            let generation = Generation { epoch, counter: 1 };
            vec![Message::Members(Membership::parse(generation, "n1,n2,n3").unwrap())]
        }
        Verb::Held => vec![Message::Held(Generation { epoch, counter: 1 })],
    };
    Verb::ALL.iter().flat_map(of).collect()
}

fn essence(status: &Status) -> (Role, Epoch, Option<NodeId>, Option<NodeId>) {
    (status.role, status.epoch, status.voted_for, status.primary)
}

#[test]
fn epochs_that_no_election_can_have_reached_change_nothing_and_are_told() {
    for epoch in [Epoch(u64::MAX), Epoch(EPOCH_MAX.0 + 1)] {
        for message in everything(epoch) {
            let (mut elector, now) = replica();
            let before = essence(&elector.status());
            elector.handle_message(now, id("n3"), message.clone());
            let outputs = drain(&mut elector, now);
            assert_eq!(essence(&elector.status()), before, "{message:?}");
            let told = |output: &Output| match output {
                Output::Event(event) => matches!(event.kind, EventKind::Implausible { .. }),
                _ => false,
            };
            assert!(outputs.len() == 1 && outputs.iter().all(told), "{message:?}: {outputs:?}");
        }
    }
}

#[test]
fn an_epoch_far_ahead_moves_a_node_by_no_more_than_a_step_and_gives_nothing_else() {
    for epoch in [EPOCH_MAX, Epoch(1 << 40), Epoch(7 + EPOCH_STEP_MAX + 2 * EPOCH_NEAR)] {
        for message in everything(epoch) {
            let (mut elector, now) = replica();
            for _ in 0..100 {
                elector.handle_message(now, id("n3"), message.clone());
            }
            let outputs = drain(&mut elector, now);
            let grant = matches!(message.verb(), Verb::PreAccept | Verb::Accept);
            let (to, primary) = if grant { (7, Some(id("n1"))) } else { (7 + EPOCH_STEP_MAX, None) };
            let voted_for = grant.then(|| id("n1"));
            assert_eq!(
                essence(&elector.status()),
                (Role::Replica, Epoch(to), voted_for, primary),
                "{message:?}"
            );
            let ahead = |output: &&Output| match output {
                Output::Event(event) => matches!(event.kind, EventKind::EpochAhead { .. }),
                _ => false,
            };
            assert_eq!(outputs.iter().filter(ahead).count(), usize::from(!grant), "said once: {outputs:?}");
            assert!(!outputs.iter().any(|output| matches!(output, Output::Send(..))), "{outputs:?}");
        }
    }
}

#[test]
fn two_that_are_far_ahead_are_followed_as_far_as_both_are() {
    let (mut elector, now) = replica();
    elector.handle_message(now, id("n3"), heartbeat(1 << 50, Role::Replica));
    elector.handle_message(now, id("n1"), heartbeat(1 << 40, Role::Primary));
    drain(&mut elector, now);
    assert_eq!((elector.epoch(), elector.primary()), (Epoch(1 << 40), Some(id("n1"))));
    // A claim ends with its link.
    elector.handle_link(now, id("n3"), LinkEvent::Reset);
    elector.handle_message(now, id("n1"), heartbeat(1 << 45, Role::Primary));
    assert_eq!(elector.epoch(), Epoch(1 << 40));
}

#[test]
fn strangers_are_not_heard_whatever_they_say() {
    for epoch in [Epoch(0), Epoch(7), Epoch(8)] {
        for message in everything(epoch) {
            let (mut elector, now) = replica();
            let before = elector.status();
            elector.handle_message(now, id("n4"), message.clone());
            elector.handle_message(now, id("n2"), message.clone());
            elector.handle_link(now, id("n4"), LinkEvent::Up { incarnation: Incarnation(u64::MAX) });
            elector.handle_link(now, id("n4"), LinkEvent::Closed);
            elector.handle_link(now, id("n4"), LinkEvent::Refused);
            assert_eq!(drain(&mut elector, now), [], "{message:?}");
            assert_eq!(elector.status(), before, "{message:?}");
        }
    }
}

#[test]
fn answers_that_nobody_asked_for_elect_nobody() {
    let (mut elector, now) = replica();
    for epoch in [Epoch(7), Epoch(8)] {
        for round in [Round(0), Round(1), Round(2)] {
            for from in ["n1", "n3"] {
                elector.handle_message(
                    now,
                    id(from),
                    Message::PreAccept(Grant { epoch, round, identity: None }),
                );
                elector.handle_message(
                    now,
                    id(from),
                    Message::Accept(Grant { epoch, round, identity: None }),
                );
            }
        }
    }
    assert_eq!((elector.role(), elector.epoch()), (Role::Replica, Epoch(7)));
    assert_eq!(drain(&mut elector, now), []);
}

#[test]
fn a_refusal_or_a_reset_alone_is_no_evidence_of_a_crash() {
    for events in [
        &[LinkEvent::Refused][..],
        &[LinkEvent::Reset, LinkEvent::Refused],
        &[LinkEvent::Closed],
        &[LinkEvent::Closed, LinkEvent::Up { incarnation: Incarnation(5) }, LinkEvent::Refused],
    ] {
        let (mut elector, now) = replica();
        elector.handle_link(now, id("n1"), LinkEvent::Up { incarnation: Incarnation(5) });
        elector.handle_message(now, id("n1"), heartbeat(7, Role::Primary));
        for event in events {
            elector.handle_link(now, id("n1"), *event);
        }
        assert_eq!(elector.primary(), Some(id("n1")), "{events:?}");
        assert!(elector.status().promise.is_some(), "{events:?}");
    }
}

/// A6, E10: two of three seem to have lost their records, and one of these lies.
#[test]
fn one_member_that_says_it_lost_its_record_uses_no_epochs_up() {
    let mut now = Instant::from_nanos(1_000_000_000);
    let config = Config::builder(id("n2"), ["n1", "n2", "n3"].map(|n| Member::voter(id(n)))).build().unwrap();
    let mut elector = Elector::new(config, None, 0, 1, now);
    elector.handle_host(now, HostReport::Position { stream_epoch: Epoch(7), offsets: &[10] });
    let told = Progress { stream_epoch: EPOCH_MAX, offset: 1 };
    let lie = |round| match heartbeat(EPOCH_MAX.0, Role::Replica) {
        Message::Heartbeat(said) => Message::Heartbeat(Heartbeat {
            round: Round(round),
            standing: Standing::New,
            progress: told,
            primary: None,
            ..said
        }),
        other => other,
    };
    for round in 1..40 {
        now += Duration::from_millis(100);
        elector.handle_message(now, id("n1"), lie(round));
        elector.handle_timeout(now);
        drain(&mut elector, now);
    }
    let Status { epoch, standing, .. } = elector.status();
    assert_eq!(standing, Standing::Member);
    assert!(epoch.0 < 16 * EPOCH_STEP_MAX, "{epoch}");
}

/// Found by `cargo fuzz run elector`: the host's word went into every heartbeat, and peers end the link on one
/// that they cannot read.
#[test]
fn a_host_that_tells_of_an_impossible_history_does_not_make_the_node_unreadable() {
    let (mut elector, mut now) = replica();
    let before = elector.status().progress;
    for stream_epoch in [Epoch(u64::MAX), Epoch(EPOCH_MAX.0 + 1)] {
        elector.handle_host(now, HostReport::Position { stream_epoch, offsets: &[1] });
        now += Duration::from_millis(100);
        elector.handle_timeout(now);
        let mut heartbeats = 0;
        for output in drain(&mut elector, now) {
            let Output::Send(_, message) = output else { continue };
            let mut bytes = Vec::new();
            encode(&message, &mut bytes);
            assert_eq!(decode(&bytes), Ok(Some((Frame::Message(message), bytes.len()))));
            heartbeats += 1;
        }
        assert!(heartbeats > 0, "no heartbeat to look at");
        assert_eq!(elector.status().progress, before);
    }
}
