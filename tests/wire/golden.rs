//! The bytes of every verb, as they stand in the protocol.

use crate::{bytes_of, frame, id};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::identity::Identity;
use kevy_elect_plugin::ids::{ClusterId, Epoch, Incarnation, Round};
use kevy_elect_plugin::membership::{Generation, Membership};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Hello, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use kevy_elect_plugin::pause::Pause;
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::rank::Seniority;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{Frame, PROTOCOL, decode, encode_hello, encode_refuse};

pub(crate) fn heartbeat() -> Heartbeat {
    Heartbeat {
        epoch: Epoch(7),
        round: Round(1201),
        role: Role::Primary,
        standing: Standing::Member,
        progress: Progress { stream_epoch: Epoch(7), offset: 48213 },
        primary: Some(id("n1")),
        lease: Duration::from_micros(970_297),
        ..Heartbeat::blank()
    }
}

pub(crate) fn identity(proposed: Option<u64>) -> Identity {
    Identity { cluster: ClusterId::from_bits(0xab), proposed: proposed.map(Epoch) }
}

fn order(paused: bool) -> Pause {
    Pause { number: 1_763_712_000_123, paused }
}

pub(crate) fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: "kevy".to_owned(),
        node: id("n1"),
        incarnation: Incarnation(1_763_712_000_123),
        terms: String::new(),
        pass: None,
    }
}

pub(crate) fn golden() -> Vec<(&'static str, Message)> {
    Verb::ALL.iter().flat_map(|verb| golden_of(*verb)).collect()
}

/// Each verb has its golden frames; those of a greeting are not messages and stand in the test itself.
fn golden_of(verb: Verb) -> Vec<(&'static str, Message)> {
    let (epoch, round) = (Epoch(8), Round(3));
    let position = Position::new(Epoch(7), &[12, 40, 3]).unwrap();
    let progress = Progress { stream_epoch: Epoch(7), offset: 55 };
    match verb {
        Verb::Hello => Vec::new(),
        Verb::Hb => vec![
            ("HB|7|1201|primary|member|7:48213|n1|0|970297", Message::Heartbeat(heartbeat())),
            (
                "HB|7|1201|primary|member|7:48213|n1|0|970297|disk",
                Message::Heartbeat(Heartbeat { health: Health::Disk, ..heartbeat() }),
            ),
            (
                "HB|7|1201|primary|member|7:48213|n1|0|970297|good|000000000000000000000000000000ab",
                Message::Heartbeat(Heartbeat { identity: Some(identity(None)), ..heartbeat() }),
            ),
            (
                "HB|7|1201|primary|member|7:48213|n1|0|970297|disk|000000000000000000000000000000ab@7",
                Message::Heartbeat(Heartbeat {
                    health: Health::Disk,
                    identity: Some(identity(Some(7))),
                    ..heartbeat()
                }),
            ),
            (
                "HB|7|1201|primary|member|7:48213|n1|0|970297|good||paused@1763712000123",
                Message::Heartbeat(Heartbeat { pause: Some(order(true)), ..heartbeat() }),
            ),
            (
                "HB|7|1201|primary|member|7:48213|n1|0|970297|good|000000000000000000000000000000ab|running@1763712000123",
                Message::Heartbeat(Heartbeat {
                    identity: Some(identity(None)),
                    pause: Some(order(false)),
                    ..heartbeat()
                }),
            ),
            (
                "HB|0|1|replica|new|0:0||0|0",
                Message::Heartbeat(Heartbeat { round: Round(1), ..Heartbeat::blank() }),
            ),
        ],
        Verb::Echo => vec![(
            "ECHO|7|1201|n1|member|7:55",
            Message::Echo(Echo {
                epoch: Epoch(7),
                round: Round(1201),
                primary: Some(id("n1")),
                standing: Standing::Member,
                progress: Progress { stream_epoch: Epoch(7), offset: 55 },
            }),
        )],
        Verb::PreOffer => {
            vec![("PREOFFER|8|3|7:12,40,3", Message::PreOffer(Offer { epoch, round, position }))]
        }
        Verb::PreAccept => {
            vec![("PREACCEPT|8|3", Message::PreAccept(Grant { epoch, round, identity: None }))]
        }
        Verb::Offer => vec![
            ("OFFER|8|3|7:12,40,3", Message::Offer(Offer { epoch, round, position })),
            ("OFFER|8|3|0:", Message::Offer(Offer { epoch, round, position: Position::NONE })),
        ],
        Verb::Accept => vec![
            ("ACCEPT|8|3", Message::Accept(Grant { epoch, round, identity: None })),
            (
                "ACCEPT|8|3|000000000000000000000000000000ab@6",
                Message::Accept(Grant { epoch, round, identity: Some(identity(Some(6))) }),
            ),
        ],
        Verb::Reject => vec![(
            "REJECT|7|3|pre-vote|primary-alive|7:55",
            Message::Reject(Reject {
                epoch: Epoch(7),
                round,
                kind: OfferKind::PreVote,
                reason: RejectReason::PrimaryAlive,
                progress,
            }),
        )],
        Verb::Announce => vec![("ANNOUNCE|8", Message::Announce(Announce { epoch }))],
        Verb::Resign => vec![
            ("RESIGN|8|n2", Message::Resign(Resign { epoch, successor: Some(id("n2")) })),
            ("RESIGN|8|", Message::Resign(Resign { epoch, successor: None })),
        ],
        Verb::Rank => vec![
            ("RANK|0|0", Message::Rank(Seniority::default())),
            (
                "RANK|86400000001|7",
                Message::Rank(Seniority { up: Duration::from_micros(86_400_000_001), work: 7 }),
            ),
        ],
        Verb::Members => {
            let generation = Generation { epoch, counter: 2 };
            let members = Membership::parse(generation, "n1,n2,n3@witness").unwrap();
            vec![("MEMBERS|8|2|n1,n2,n3@witness", Message::Members(members))]
        }
        Verb::Held => vec![("HELD|8|2", Message::Held(Generation { epoch, counter: 2 }))],
    }
}

#[test]
fn w7_to_w15_golden_bytes_of_every_verb() {
    for (text, message) in golden() {
        let bytes = frame(text);
        assert_eq!(String::from_utf8(bytes_of(&message)).unwrap(), String::from_utf8(bytes.clone()).unwrap());
        assert_eq!(decode(&bytes), Ok(Some((Frame::Message(message), bytes.len()))), "{text}");
    }
    for verb in Verb::ALL.iter().filter(|verb| **verb != Verb::Hello) {
        let frames = golden_of(*verb);
        assert!(!frames.is_empty() && frames.iter().all(|(_, message)| message.verb() == *verb), "{verb:?}");
    }

    let bytes = frame("HELLO|1|kevy|n1|1763712000123");
    let mut out = Vec::new();
    encode_hello(&hello(), &mut out);
    assert_eq!(out, bytes);
    assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(hello()), bytes.len()))));

    let bytes = frame("REFUSE|cluster|this is cluster kevy");
    let mut out = Vec::new();
    encode_refuse("cluster", "this is\n cluster kevy", &mut out);
    assert_eq!(out, bytes, "control characters of a name do not reach a terminal");
    let refuse = Frame::Refuse { reason: "cluster", text: "this is cluster kevy" };
    assert_eq!(decode(&bytes), Ok(Some((refuse, bytes.len()))));
}

#[test]
fn every_reject_reason_and_role_has_its_word() {
    for reason in RejectReason::ALL {
        let text = format!("REJECT|1|1|vote|{reason}|0:0");
        let Ok(Some((Frame::Message(Message::Reject(reject)), _))) = decode(&frame(&text)) else {
            panic!("{text}")
        };
        assert_eq!(reject.reason, *reason);
    }
    for role in Role::ALL {
        let text = format!("HB|1|1|{role}|member|0:0||0|0");
        let Ok(Some((Frame::Message(Message::Heartbeat(hb)), _))) = decode(&frame(&text)) else {
            panic!("{text}")
        };
        assert_eq!(hb.role, *role);
    }
}

#[test]
fn every_verb_has_its_row_in_the_protocol() {
    let protocol = std::fs::read_to_string("docs/protocol.md").unwrap();
    let wire = protocol.split("\n## Wire\n").nth(1).unwrap();
    for verb in Verb::ALL {
        let word = format!("`{}`", verb.as_str());
        let stands =
            wire.lines().any(|line| line.starts_with('|') && line.split('|').nth(1).unwrap().contains(&word));
        assert!(stands, "{word} has no row in the table of docs/protocol.md, section \"Wire\"");
    }
}
