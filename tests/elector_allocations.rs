//! The heartbeat path of the elector allocates nothing: not on a primary, not on a replica.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails says where")]

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, HostAction, HostReport, Output};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::message::{Echo, Grant, Heartbeat, Message, Role, Standing};
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::time::{Duration, Instant};

fn ids(n: usize) -> Vec<NodeId> {
    (0..n).map(|i| NodeId::new(&format!("n{i:03}")).unwrap()).collect()
}

fn elector(ids: &[NodeId], me: usize, now: Instant) -> Elector {
    let config = Config::builder(ids[me], ids.iter().map(|id| Member::voter(*id))).build().unwrap();
    Elector::new(config, None, 0, 1, now)
}

/// Carries outputs out the way a driver does; gives the messages to `sent`.
fn drain(elector: &mut Elector, now: Instant, mut sent: impl FnMut(NodeId, Message)) {
    while let Some(output) = elector.poll_output() {
        match output {
            Output::Persist(seq, _) => elector.handle_persisted(now, seq),
            Output::Send(to, message) => sent(to, message),
            Output::Host(HostAction::Detach(seq)) => {
                elector.handle_host(now, HostReport::Detached(seq, &Position::NONE));
            }
            Output::Host(HostAction::Promote(epoch)) => {
                elector.handle_host(now, HostReport::Promoted(epoch));
            }
            _ => {}
        }
    }
}

fn heartbeat(epoch: u64, round: u64, role: Role, primary: Option<NodeId>) -> Message {
    let lease = if role == Role::Primary { Duration::from_millis(900) } else { Duration::ZERO };
    Message::Heartbeat(Heartbeat {
        epoch: Epoch(epoch),
        round: Round(round),
        role,
        standing: Standing::Member,
        progress: Progress::NONE,
        primary,
        lease,
        health: Health::Good,
        identity: None,
        pause: None,
    })
}

/// One second of heartbeats at a primary: every round sent, echoed by everybody, and heartbeats received.
fn primary_second(elector: &mut Elector, ids: &[NodeId], now: &mut Instant, round: &mut u64) -> usize {
    let mut seen = 0;
    for _ in 0..10 {
        *now += Duration::from_millis(100);
        elector.handle_timeout(*now);
        let mut sent = Round(0);
        drain(elector, *now, |_, message| {
            if let Message::Heartbeat(heartbeat) = message {
                sent = heartbeat.round;
                seen += 1;
            }
        });
        *round += 1;
        for id in &ids[1..] {
            let epoch = elector.epoch();
            let echo = Echo {
                epoch,
                round: sent,
                primary: Some(ids[0]),
                standing: Standing::Member,
                progress: Progress::NONE,
            };
            elector.handle_message(*now, *id, Message::Echo(echo));
            elector.handle_message(*now, *id, heartbeat(epoch.0, *round, Role::Replica, Some(ids[0])));
            elector.handle_host(*now, HostReport::Position { stream_epoch: Epoch::ZERO, offsets: &[0, 0] });
            drain(elector, *now, |_, _| {});
        }
    }
    seen
}

#[test]
fn a_primary_beats_without_allocating() {
    for n in [3, 7, 101] {
        let ids = ids(n);
        let mut now = Instant::from_nanos(1_000_000_000);
        let mut primary = elector(&ids, 0, now);
        primary.handle_host(now, HostReport::Position { stream_epoch: Epoch::ZERO, offsets: &[0, 0] });
        // Elected by all: everybody is new, then everybody says yes to whatever is asked.
        for id in &ids[1..] {
            let Message::Heartbeat(hb) = heartbeat(0, 1, Role::Replica, None) else { unreachable!() };
            primary.handle_message(now, *id, Message::Heartbeat(Heartbeat { standing: Standing::New, ..hb }));
        }
        now += Duration::from_millis(1);
        primary.handle_timeout(now);
        let mut asked = Vec::new();
        drain(&mut primary, now, |to, message| asked.push((to, message)));
        while let Some((to, message)) = asked.pop() {
            let answer = match message {
                Message::PreOffer(o) => {
                    Message::PreAccept(Grant { epoch: o.epoch, round: o.round, identity: None })
                }
                Message::Offer(o) => {
                    Message::Accept(Grant { epoch: o.epoch, round: o.round, identity: None })
                }
                _ => continue,
            };
            primary.handle_message(now, to, answer);
            drain(&mut primary, now, |to, message| asked.push((to, message)));
        }
        assert_eq!(primary.role(), Role::Primary);

        let mut round = 1;
        primary_second(&mut primary, &ids, &mut now, &mut round);
        let mut seen = 0;
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                seen += primary_second(&mut primary, &ids, &mut now, &mut round);
            }
        });
        assert_eq!(seen, 100 * (n - 1), "it did beat");
        assert!(primary.lease_left(now) > Duration::ZERO, "and held its lease");
        assert_eq!(counted.count_total, 0, "{n} nodes");
    }
}

#[test]
fn a_replica_beats_and_echoes_without_allocating() {
    let ids = ids(3);
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut replica = elector(&ids, 1, now);
    let mut second = |replica: &mut Elector, start: u64| {
        let mut echoes = 0;
        for round in start..start + 10 {
            now += Duration::from_millis(100);
            replica.handle_message(now, ids[0], heartbeat(1, round, Role::Primary, Some(ids[0])));
            replica.handle_message(now, ids[2], heartbeat(1, round, Role::Replica, Some(ids[0])));
            replica.handle_timeout(now);
            drain(replica, now, |_, message| echoes += usize::from(matches!(message, Message::Echo(_))));
        }
        echoes
    };
    second(&mut replica, 1);
    let mut echoes = 0;
    let counted = allocation_counter::measure(|| echoes = second(&mut replica, 11));
    assert_eq!(echoes, 10, "it did answer");
    assert_eq!(counted.count_total, 0);
}
