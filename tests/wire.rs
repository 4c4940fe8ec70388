//! The codec: golden bytes, round trips, a naive twin, and hostile input. One test per sentence W1..W15 of
//! `docs/protocol.md`, or a test that names the sentences it covers.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::identity::Identity;
use kevy_elect_plugin::ids::{ClusterId, EPOCH_MAX, Epoch, Incarnation, NodeId, Round, SHARDS_MAX};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Hello, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use kevy_elect_plugin::pause::Pause;
use kevy_elect_plugin::position::{OFFSET_MAX, Position, Progress};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{
    DURATION_US_MAX, DecodeError, FRAME_BYTES_MAX, Frame, NumberFault, PROGRESS_OFFSET_MAX, PROTOCOL, decode,
    encode, encode_hello, encode_refuse,
};
use proptest::prelude::*;

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    encode(message, &mut out);
    out
}

/// `HB|7` as a frame: an array of bulk strings.
fn frame(elements: &str) -> Vec<u8> {
    let elements: Vec<_> = elements.split('|').collect();
    let mut out = format!("*{}\r\n", elements.len());
    for element in elements {
        out += &format!("${}\r\n{element}\r\n", element.len());
    }
    out.into_bytes()
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        epoch: Epoch(7),
        round: Round(1201),
        role: Role::Primary,
        standing: Standing::Member,
        progress: Progress { stream_epoch: Epoch(7), offset: 48213 },
        primary: Some(id("n1")),
        lease: Duration::from_micros(970_297),
        health: Health::Good,
        identity: None,
        pause: None,
    }
}

fn identity(proposed: Option<u64>) -> Identity {
    Identity { cluster: ClusterId::from_bits(0xab), proposed: proposed.map(Epoch) }
}

fn order(paused: bool) -> Pause {
    Pause { number: 1_763_712_000_123, paused }
}

fn golden() -> Vec<(&'static str, Message)> {
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
                Message::Heartbeat(Heartbeat {
                    epoch: Epoch(0),
                    round: Round(1),
                    role: Role::Replica,
                    standing: Standing::New,
                    progress: Progress::NONE,
                    primary: None,
                    lease: Duration::ZERO,
                    health: Health::Good,
                    identity: None,
                    pause: None,
                }),
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
    }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: "kevy".to_owned(),
        node: id("n1"),
        incarnation: Incarnation(1_763_712_000_123),
    }
}

#[test]
fn w1_a_frame_is_a_resp2_array_of_bulk_strings() {
    let accept = Message::Accept(Grant { epoch: Epoch(12), round: Round(3), identity: None });
    assert_eq!(bytes_of(&accept), b"*3\r\n$6\r\nACCEPT\r\n$2\r\n12\r\n$1\r\n3\r\n");
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
fn w2_a_frame_cut_at_any_byte_needs_more_and_the_whole_gives_its_length() {
    let mut all: Vec<_> = golden().iter().map(|(_, message)| bytes_of(message)).collect();
    all.push(frame("HELLO|1|kevy|n1|1763712000123"));
    all.push(frame("REFUSE|cluster|no"));
    all.push(frame("SHINY|1|2"));
    for bytes in all {
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{:?} cut at {cut}", String::from_utf8_lossy(&bytes));
        }
        let mut two = bytes.clone();
        two.extend_from_slice(b"*3\r\nwhatever follows");
        assert_eq!(decode(&two).unwrap().unwrap().1, bytes.len());
    }
}

#[test]
fn w3_an_oversized_frame_is_refused_by_its_announced_length_before_its_bytes_come() {
    let too_large = |bytes: &[u8]| matches!(decode(bytes), Err(error) if error.is_too_large());
    assert!(too_large(b"*2\r\n$5000"), "even before the end of the number's line");
    assert!(too_large(b"*1\r\n$4096\r\n"));
    assert!(too_large(b"*2\r\n$5\r\nSHINY\r\n$65536\r\n"));
    assert!(too_large(b"*9\r\n$5\r\nSHINY\r\n$4080\r\n"), "no room for the elements after it");
    let lines = "*1\r\n$4085\r\n".len();
    let fits = format!("*1\r\n$4083\r\n{}\r\n", "x".repeat(FRAME_BYTES_MAX - lines - 2));
    assert_eq!(fits.len(), FRAME_BYTES_MAX);
    assert_eq!(decode(fits.as_bytes()), Ok(Some((Frame::Unknown, FRAME_BYTES_MAX))));
    assert_eq!(
        decode(b"*33\r\n").unwrap_err(),
        DecodeError::Elements { elements: 33 },
        "the count alone refuses it"
    );
    assert!(matches!(decode(b"*99999999999999999999\r\n"), Err(DecodeError::Elements { .. })));
    assert_eq!(decode(b"*0\r\n"), Err(DecodeError::Elements { elements: 0 }));
}

#[test]
fn w3_the_largest_message_fits_a_frame() {
    let position = Position::new(EPOCH_MAX, &[OFFSET_MAX; SHARDS_MAX]).unwrap();
    let offer = Message::Offer(Offer { epoch: EPOCH_MAX, round: Round(u64::MAX), position });
    let bytes = bytes_of(&offer);
    assert!(bytes.len() < FRAME_BYTES_MAX, "{}", bytes.len());
    assert_eq!(decode(&bytes), Ok(Some((Frame::Message(offer), bytes.len()))));
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

#[test]
fn every_verb_with_all_fields_at_their_longest_fits_the_room_set_aside() {
    let (epoch, round, long) = (EPOCH_MAX, Round(u64::MAX), NodeId::new(&"x".repeat(63)).unwrap());
    let progress = Progress { stream_epoch: EPOCH_MAX, offset: PROGRESS_OFFSET_MAX };
    let messages = [
        Message::Heartbeat(Heartbeat {
            epoch,
            round,
            role: Role::Promoting,
            standing: Standing::Member,
            progress,
            primary: Some(long),
            lease: Duration::MAX,
            health: Health::Descriptors,
            identity: Some(Identity { proposed: Some(EPOCH_MAX), ..identity(None) }),
            pause: Some(Pause { number: Pause::NUMBER_MAX, paused: false }),
        }),
        Message::Accept(Grant { epoch, round, identity: Some(identity(Some(EPOCH_MAX.0))) }),
        Message::Echo(Echo { epoch, round, primary: Some(long), standing: Standing::Member, progress }),
        Message::Reject(Reject {
            epoch,
            round,
            kind: OfferKind::PreVote,
            reason: RejectReason::PrimaryAlive,
            progress,
        }),
        Message::Resign(Resign { epoch, successor: Some(long) }),
    ];
    for message in messages {
        let bytes = bytes_of(&message);
        assert!(matches!(decode(&bytes), Ok(Some((_, used))) if used == bytes.len()), "{message:?}");
    }
    let mut out = Vec::new();
    let name = "c".repeat(1000);
    encode_hello(
        &Hello { protocol: u16::MAX, cluster: name, node: long, incarnation: Incarnation(u64::MAX) },
        &mut out,
    );
    assert_eq!(decode(&out), Err(DecodeError::Value { verb: "HELLO", field: "cluster" }));
    out.clear();
    encode_refuse(&"r".repeat(1000), &"t".repeat(1000), &mut out);
    assert!(matches!(decode(&out), Ok(Some((Frame::Refuse { .. }, _)))));
}

#[test]
fn w4_numbers_have_one_spelling_and_a_highest_value() {
    let fault = |text: &str| match decode(&frame(text)) {
        Err(DecodeError::Number { verb: "ACCEPT", field: "epoch", fault }) => fault,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(fault("ACCEPT||1"), NumberFault::Empty);
    assert_eq!(fault("ACCEPT|07|1"), NumberFault::LeadingZero);
    assert_eq!(fault("ACCEPT|00|1"), NumberFault::LeadingZero);
    assert_eq!(fault("ACCEPT|+7|1"), NumberFault::NotADigit { found: b'+' });
    assert_eq!(fault("ACCEPT|-7|1"), NumberFault::NotADigit { found: b'-' });
    assert_eq!(fault("ACCEPT|7 |1"), NumberFault::NotADigit { found: b' ' });
    let max = EPOCH_MAX.0;
    assert_eq!(fault(&format!("ACCEPT|{}|1", max + 1)), NumberFault::OutOfRange { max });
    assert_eq!(fault("ACCEPT|99999999999999999999999|1"), NumberFault::OutOfRange { max });
    assert!(decode(&frame(&format!("ACCEPT|{max}|{}", u64::MAX))).is_ok());
    for text in [
        "ACCEPT|1|18446744073709551616".to_owned(),
        format!("OFFER|1|1|{}:1", max + 1),
        format!("OFFER|1|1|1:{}", OFFSET_MAX + 1),
        format!("REJECT|1|1|vote|epoch|1:{}", PROGRESS_OFFSET_MAX + 1),
        format!("HB|1|1|primary|member|1:1||0|{}", DURATION_US_MAX + 1),
        "HELLO|65536|kevy|n1|1".to_owned(),
    ] {
        assert!(
            matches!(
                decode(&frame(&text)),
                Err(DecodeError::Number { fault: NumberFault::OutOfRange { .. }, .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn w4_lengths_have_one_spelling_too() {
    for (bytes, fault) in [
        (&b"*01\r\n"[..], NumberFault::LeadingZero),
        (b"*\r\n", NumberFault::Empty),
        (b"*-1\r\n", NumberFault::NotADigit { found: b'-' }),
        (b"*1\r\n$-1\r\n", NumberFault::NotADigit { found: b'-' }),
        (b"*1\r\n$02\r\nHB\r\n", NumberFault::LeadingZero),
        (b"*1\r\n$\r\n", NumberFault::Empty),
        (b"*1\n", NumberFault::NotADigit { found: b'\n' }),
    ] {
        match decode(bytes) {
            Err(DecodeError::Length { fault: found, .. }) => assert_eq!(found, fault),
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }
    assert_eq!(decode(b"PING\r\n"), Err(DecodeError::NotAnArray { found: b'P' }));
    assert_eq!(decode(b"*1\r\n:1\r\n"), Err(DecodeError::NotABulkString { element: 0, found: b':' }));
    assert_eq!(decode(b"*1\r\n$1\r\nab"), Err(DecodeError::NoLineEnd { at: 9, found: b'b' }));
    assert_eq!(decode(b"*1\rx"), Err(DecodeError::NoLineEnd { at: 3, found: b'x' }));
}

#[test]
fn w5_unknown_verbs_are_skipped_and_further_elements_of_known_ones_ignored() {
    for text in ["SHINY|1|x", "hb|1", "|", "HEARTBEAT"] {
        let bytes = frame(text);
        assert_eq!(decode(&bytes), Ok(Some((Frame::Unknown, bytes.len()))), "{text}");
    }
    for (text, message) in golden() {
        // Whatever comes behind the last field, that field is there then.
        let left_out = match &message {
            Message::Heartbeat(Heartbeat { pause: Some(_), .. }) => "",
            Message::Heartbeat(Heartbeat { identity: None, health: Health::Good, .. }) => "|good||",
            Message::Heartbeat(Heartbeat { identity: None, .. }) => "||",
            Message::Heartbeat(_) => "|",
            Message::PreAccept(Grant { identity: None, .. })
            | Message::Accept(Grant { identity: None, .. }) => "|",
            _ => "",
        };
        let bytes = frame(&format!("{text}{left_out}|more|of a newer version"));
        assert_eq!(decode(&bytes), Ok(Some((Frame::Message(message), bytes.len()))), "{text}");
    }
    let bytes = frame("HELLO|1|kevy|n1|1763712000123|cookie");
    assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(hello()), bytes.len()))));
    assert!(decode(b"*3\r\n$8\r\nANNOUNCE\r\n$1\r\n1\r\n:5\r\n").is_err(), "still well formed");
}

#[test]
fn w6_hello_of_another_protocol_is_still_readable() {
    let Ok(Some((Frame::Hello(hello), _))) = decode(&frame("HELLO|2|kevy|n1|5|new|things")) else { panic!() };
    assert_eq!(hello.protocol, 2);
}

#[test]
fn w16_an_unfit_node_says_what_is_wrong_and_words_of_a_newer_version_count_as_failing() {
    let health =
        |word: &str| match decode(&frame(&format!("HB|7|1201|primary|member|7:48213|n1|0|970297|{word}"))) {
            Ok(Some((Frame::Message(Message::Heartbeat(hb)), _))) => Some(hb.health),
            _ => None,
        };
    for known in Health::ALL {
        assert_eq!(health(known.as_str()), Some(*known));
    }
    assert_eq!(health("on-fire"), Some(Health::Failing));
    assert_eq!(health(&"x".repeat(32)), Some(Health::Failing));
    assert_eq!((health(""), health(&"x".repeat(33))), (None, None));
}

#[test]
fn a_missing_or_impossible_field_is_named() {
    let verbs = golden();
    for (text, _) in &verbs {
        let elements: Vec<_> = text.split('|').collect();
        // The last fields of some are there only if there is something to say.
        let least = match elements[0] {
            "HB" => 9,
            "ACCEPT" | "PREACCEPT" => 3,
            _ => elements.len(),
        };
        for count in 1..least {
            let short = elements[..count].join("|");
            assert!(matches!(decode(&frame(&short)), Err(DecodeError::Missing { .. })), "{short}");
        }
    }
    let field = |text: &str| match decode(&frame(text)) {
        Err(DecodeError::Value { field, .. }) => field,
        other => panic!("{text}: {other:?}"),
    };
    for wrong in ["0", &"A".repeat(32), &"0".repeat(33), &format!("{}@", "0".repeat(32))] {
        assert_eq!(field(&format!("ACCEPT|7|1|{wrong}")), "cluster id");
    }
    assert_eq!(field("HB|7|1|leader|member|7:1|n1|0|1"), "role");
    assert_eq!(field("HB|7|1|Primary|member|7:1|n1|0|1"), "role");
    assert_eq!(field("HB|7|1|primary|guest|7:1|n1|0|1"), "standing");
    assert_eq!(field("HB|7|1|primary|member|71|n1|0|1"), "progress");
    assert_eq!(field("HB|7|1|primary|member|7:1|n 1|0|1"), "primary");
    assert_eq!(field(&format!("RESIGN|7|{}", "x".repeat(64))), "successor");
    assert_eq!(field("RESIGN|7|a@b"), "successor");
    assert_eq!(field("RESIGN|7|é"), "successor");
    assert_eq!(field("REJECT|7|1|ballot|epoch|7:1"), "kind");
    assert_eq!(field("REJECT|7|1|vote|mood|7:1"), "reason");
    assert_eq!(field("HELLO|1||n1|1"), "cluster");
    assert_eq!(field("HELLO|1|a b|n1|1"), "cluster");
    assert_eq!(field("HELLO|1|kevy||1"), "node");
    assert_eq!(field("REFUSE|two words|"), "reason");
    assert_eq!(
        decode(&frame("HB|7|1|leader|member|7:1|n1|0|1")).unwrap_err().to_string(),
        "HB: field role is not one of the values it may have"
    );
}

#[test]
fn w10_more_shards_than_a_node_may_have_are_refused() {
    let offsets = |n: usize| vec!["1"; n].join(",");
    assert!(decode(&frame(&format!("OFFER|1|1|1:{}", offsets(SHARDS_MAX)))).is_ok());
    let over = frame(&format!("OFFER|1|1|1:{}", offsets(SHARDS_MAX + 1)));
    assert_eq!(decode(&over), Err(DecodeError::TooManyShards { verb: "OFFER" }));
    for odd in ["1:,", "1:1,", "1:,1", "1:1,,1", ":", ":1", "1:1:1"] {
        assert!(matches!(
            decode(&frame(&format!("OFFER|1|1|{odd}"))),
            Err(DecodeError::Number { verb: "OFFER", field: "position", .. })
        ));
    }
}

#[test]
fn w8_durations_round_up_so_that_no_lease_looks_shorter_than_it_is() {
    for (nanos, micros) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (2_000_000_001, 2_000_001)] {
        let lease = Duration::from_nanos(nanos);
        let bytes = bytes_of(&Message::Heartbeat(Heartbeat { lease, ..heartbeat() }));
        let Ok(Some((Frame::Message(Message::Heartbeat(hb)), _))) = decode(&bytes) else { panic!() };
        assert_eq!(hb.lease, Duration::from_micros(micros));
    }
}

// ---- round trips ----

fn any_id() -> impl Strategy<Value = NodeId> {
    proptest::collection::vec(proptest::sample::select(b"abz019._-:/~!".to_vec()), 1..=63)
        .prop_map(|bytes| id(std::str::from_utf8(&bytes).unwrap()))
}

/// Numbers of every length, and the borders.
fn number(max: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..70_u32).prop_map(move |(n, shift)| match shift {
        64..67 => 0,
        67.. => max,
        _ => (n >> shift).min(max),
    })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    number(EPOCH_MAX.0).prop_map(Epoch)
}
fn round() -> impl Strategy<Value = Round> {
    number(u64::MAX).prop_map(Round)
}
fn progress() -> impl Strategy<Value = Progress> {
    (epoch(), number(PROGRESS_OFFSET_MAX))
        .prop_map(|(stream_epoch, offset)| Progress { stream_epoch, offset })
}
fn micros() -> impl Strategy<Value = Duration> {
    number(DURATION_US_MAX).prop_map(Duration::from_micros)
}
fn standing() -> impl Strategy<Value = Standing> {
    any::<bool>().prop_map(|new| if new { Standing::New } else { Standing::Member })
}
fn offer() -> impl Strategy<Value = Offer> {
    let offsets = proptest::collection::vec(number(OFFSET_MAX), 0..=SHARDS_MAX);
    (epoch(), round(), epoch(), offsets).prop_map(|(epoch, round, stream, offsets)| Offer {
        epoch,
        round,
        position: Position::new(stream, &offsets).unwrap(),
    })
}
fn grant() -> impl Strategy<Value = Grant> {
    (epoch(), round(), identities()).prop_map(|(epoch, round, identity)| Grant { epoch, round, identity })
}
fn identities() -> impl Strategy<Value = Option<Identity>> {
    let identity = (any::<u128>(), proptest::option::of(epoch()));
    let identity =
        identity.prop_map(|(bits, proposed)| Identity { cluster: ClusterId::from_bits(bits), proposed });
    proptest::option::of(identity)
}

fn orders() -> impl Strategy<Value = Option<Pause>> {
    let order = (0..=Pause::NUMBER_MAX, any::<bool>());
    proptest::option::of(order.prop_map(|(number, paused)| Pause { number, paused }))
}

fn message() -> impl Strategy<Value = Message> {
    proptest::strategy::Union::new(Verb::ALL.iter().filter_map(|verb| message_of(*verb)))
}

/// Any message of this verb; `None`: its frame is no message.
fn message_of(verb: Verb) -> Option<BoxedStrategy<Message>> {
    let roles = proptest::sample::select(Role::ALL.to_vec());
    let reasons = proptest::sample::select(RejectReason::ALL.to_vec());
    let healths = proptest::sample::select(Health::ALL.to_vec());
    let heartbeat = (
        epoch(),
        round(),
        roles,
        (standing(), healths, identities(), orders()),
        progress(),
        proptest::option::of(any_id()),
        micros(),
    )
        .prop_map(
            |(epoch, round, role, (standing, health, identity, pause), progress, primary, lease)| {
                Message::Heartbeat(Heartbeat {
                    epoch,
                    round,
                    role,
                    standing,
                    progress,
                    primary,
                    lease,
                    health,
                    identity,
                    pause,
                })
            },
        );
    let echo = (epoch(), round(), proptest::option::of(any_id()), standing(), progress()).prop_map(
        |(epoch, round, primary, standing, progress)| {
            Message::Echo(Echo { epoch, round, primary, standing, progress })
        },
    );
    let reject = (epoch(), round(), any::<bool>(), reasons, progress()).prop_map(
        |(epoch, round, pre, reason, progress)| {
            let kind = if pre { OfferKind::PreVote } else { OfferKind::Vote };
            Message::Reject(Reject { epoch, round, kind, reason, progress })
        },
    );
    let resign = (epoch(), proptest::option::of(any_id()))
        .prop_map(|(epoch, successor)| Message::Resign(Resign { epoch, successor }));
    Some(match verb {
        Verb::Hello => return None,
        Verb::Hb => heartbeat.boxed(),
        Verb::Echo => echo.boxed(),
        Verb::PreOffer => offer().prop_map(Message::PreOffer).boxed(),
        Verb::PreAccept => grant().prop_map(Message::PreAccept).boxed(),
        Verb::Offer => offer().prop_map(Message::Offer).boxed(),
        Verb::Accept => grant().prop_map(Message::Accept).boxed(),
        Verb::Reject => reject.boxed(),
        Verb::Announce => epoch().prop_map(|epoch| Message::Announce(Announce { epoch })).boxed(),
        Verb::Resign => resign.boxed(),
    })
}

// ---- the naive twin: splits first, then reads strings with std ----

#[derive(Debug, PartialEq)]
enum Naive {
    More,
    Bad,
    Frame(Box<Frame<'static>>, usize),
}

fn naive(bytes: &[u8]) -> Naive {
    let mut at = 0;
    let line = |at: &mut usize, sign: u8, max: usize| -> Result<usize, Naive> {
        let rest = &bytes[*at..];
        match rest.first() {
            None => return Err(Naive::More),
            Some(found) if *found != sign => return Err(Naive::Bad),
            Some(_) => {}
        }
        let digits: String =
            rest[1..].iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
        let number = digits.parse::<u128>().unwrap_or(if digits.is_empty() { 0 } else { u128::MAX });
        if number > max as u128 || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(Naive::Bad);
        }
        let after = &rest[1 + digits.len()..];
        if !b"\r\n".starts_with(&after[..after.len().min(2)]) || (digits.is_empty() && !after.is_empty()) {
            return Err(Naive::Bad);
        }
        if after.len() < 2 {
            return Err(Naive::More);
        }
        *at += 1 + digits.len() + 2;
        Ok(number as usize)
    };
    let mut elements: Vec<String> = Vec::new();
    let mut split = || -> Result<(), Naive> {
        let count = line(&mut at, b'*', 32)?;
        if count == 0 {
            return Err(Naive::Bad);
        }
        for element in 0..count {
            let length = line(&mut at, b'$', FRAME_BYTES_MAX)?;
            if at + length + 2 + (count - element - 1) * 6 > FRAME_BYTES_MAX {
                return Err(Naive::Bad);
            }
            let rest = &bytes[at..];
            let end = &rest[rest.len().min(length)..rest.len().min(length + 2)];
            if !b"\r\n".starts_with(end) {
                return Err(Naive::Bad);
            }
            if end.len() < 2 {
                return Err(Naive::More);
            }
            elements.push(rest[..length].iter().map(|b| *b as char).collect());
            at += length + 2;
        }
        Ok(())
    };
    if let Err(stop) = split() {
        return stop;
    }
    match naive_frame(&elements) {
        Some(frame) => Naive::Frame(Box::new(frame), at),
        None => Naive::Bad,
    }
}

fn naive_frame(elements: &[String]) -> Option<Frame<'static>> {
    fn number(text: &str, max: u64) -> Option<u64> {
        let n = text.parse::<u64>().ok()?;
        (n <= max && n.to_string() == text).then_some(n)
    }
    fn epoch_of(text: &str) -> Option<Epoch> {
        number(text, EPOCH_MAX.0).map(Epoch)
    }
    fn node(text: &str) -> Option<Option<NodeId>> {
        if text.is_empty() { Some(None) } else { NodeId::new(text).ok().map(Some) }
    }
    fn progress(text: &str) -> Option<Progress> {
        let (epoch, offset) = text.split_once(':')?;
        Some(Progress { stream_epoch: epoch_of(epoch)?, offset: number(offset, PROGRESS_OFFSET_MAX)? })
    }
    let verb = elements[0].as_str();
    let field = |n: usize| elements.get(n).map(String::as_str);
    let epoch = || epoch_of(field(1)?);
    let round = || number(field(2)?, u64::MAX).map(Round);
    let micros = |n: usize| number(field(n)?, DURATION_US_MAX).map(Duration::from_micros);
    let standing = |n: usize| match field(n)? {
        "member" => Some(Standing::Member),
        "new" => Some(Standing::New),
        _ => None,
    };
    let offer = || {
        let (stream, list) = field(3)?.split_once(':')?;
        let offsets: Option<Vec<u64>> = match list {
            "" => Some(Vec::new()),
            list => list.split(',').map(|offset| number(offset, OFFSET_MAX)).collect(),
        };
        let position = Position::new(epoch_of(stream)?, &offsets?).ok()?;
        Some(Offer { epoch: epoch()?, round: round()?, position })
    };
    // Of one that is there, and not empty.
    let identity = |n: usize| match field(n) {
        None | Some("") => Some(None),
        Some(word) => {
            let (digits, proposed) = word.split_once('@').map_or((word, None), |(d, e)| (d, Some(e)));
            let lower = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if digits.len() != 32 || !lower {
                return None;
            }
            let cluster = ClusterId::from_bits(u128::from_str_radix(digits, 16).ok()?);
            let proposed = match proposed {
                None => None,
                Some(epoch) => Some(epoch_of(epoch)?),
            };
            Some(Some(Identity { cluster, proposed }))
        }
    };
    let grant = || Some(Grant { epoch: epoch()?, round: round()?, identity: identity(3)? });
    let Some(verb) = Verb::ALL.iter().find(|known| known.as_str() == verb) else {
        return (verb != "REFUSE").then_some(Frame::Unknown);
    };
    let message = match verb {
        Verb::Hb => Message::Heartbeat(Heartbeat {
            epoch: epoch()?,
            round: round()?,
            role: *Role::ALL.iter().find(|role| Some(role.as_str()) == field(3))?,
            standing: standing(4)?,
            progress: progress(field(5)?)?,
            primary: node(field(6)?)?,
            lease: micros(7).and_then(|_| micros(8))?,
            health: match field(9) {
                None => Health::Good,
                Some(word) if word.is_empty() || word.len() > 32 => return None,
                Some(word) => {
                    let known = Health::ALL.iter().find(|health| health.as_str() == word);
                    known.copied().unwrap_or(Health::Failing)
                }
            },
            identity: identity(10)?,
            pause: match field(11) {
                None | Some("") => None,
                Some(word) => Some(Pause::parse(word)?),
            },
        }),
        Verb::Echo => Message::Echo(Echo {
            epoch: epoch()?,
            round: round()?,
            primary: node(field(3)?)?,
            standing: standing(4)?,
            progress: progress(field(5)?)?,
        }),
        Verb::PreOffer => Message::PreOffer(offer()?),
        Verb::Offer => Message::Offer(offer()?),
        Verb::PreAccept => Message::PreAccept(grant()?),
        Verb::Accept => Message::Accept(grant()?),
        Verb::Reject => Message::Reject(Reject {
            epoch: epoch()?,
            round: round()?,
            kind: match field(3)? {
                "vote" => OfferKind::Vote,
                "pre-vote" => OfferKind::PreVote,
                _ => return None,
            },
            reason: *RejectReason::ALL.iter().find(|reason| Some(reason.as_str()) == field(4))?,
            progress: progress(field(5)?)?,
        }),
        Verb::Announce => Message::Announce(Announce { epoch: epoch()? }),
        Verb::Resign => Message::Resign(Resign { epoch: epoch()?, successor: node(field(2)?)? }),
        Verb::Hello => {
            let cluster = field(2)?.to_owned();
            let printable = cluster.bytes().all(|b| b.is_ascii_graphic());
            if cluster.is_empty() || cluster.len() > 63 || !printable {
                return None;
            }
            return Some(Frame::Hello(Hello {
                protocol: number(field(1)?, u64::from(u16::MAX))? as u16,
                cluster,
                node: node(field(3)?)??,
                incarnation: Incarnation(number(field(4)?, u64::MAX)?),
            }));
        }
    };
    Some(Frame::Message(message))
}

/// Both decoders must agree. The fast one may refuse a frame that is not complete yet, but only if the
/// naive one, too, never accepts it: checked by completing it with what its lengths ask for.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    match (decode(bytes), naive(bytes)) {
        (Ok(Some((Frame::Refuse { .. }, _))), Naive::Bad) => {}
        (Ok(Some((frame, used))), Naive::Frame(twin, twin_used)) => {
            prop_assert_eq!(used, twin_used);
            prop_assert_eq!(&frame, &*twin);
        }
        (Ok(None), Naive::More) | (Err(_), Naive::Bad) => {}
        (Err(_), Naive::More) => {
            let mut longer = bytes.to_vec();
            for _ in 0..64 {
                match naive(&longer) {
                    Naive::More => longer.extend_from_slice(b"\r\n$1\r\n1\r\n"),
                    Naive::Bad => return Ok(()),
                    Naive::Frame(..) => {
                        return Err(TestCaseError::fail(format!("{longer:?} became a frame")));
                    }
                }
            }
        }
        (fast, twin) => return Err(TestCaseError::fail(format!("{fast:?} but {twin:?}"))),
    }
    Ok(())
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<proptest::sample::Index>(),
        0..4_u8,
        proptest::sample::select(b"\r\n$*:,0179-+ aH\xff".to_vec()),
    );
    (message(), proptest::collection::vec(edit, 1..4)).prop_map(|(message, edits)| {
        let mut bytes = bytes_of(&message);
        for (index, kind, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_back_as_it_was(message in message()) {
        let mut bytes = b"before".to_vec();
        encode(&message, &mut bytes);
        prop_assert_eq!(&bytes[..6], b"before");
        let frame = &bytes[6..];
        prop_assert!(frame.len() <= FRAME_BYTES_MAX);
        prop_assert_eq!(decode(frame), Ok(Some((Frame::Message(message), frame.len()))));
        agree(frame)?;
    }

    #[test]
    fn the_naive_twin_agrees_on_mutated_frames(bytes in mutated()) {
        agree(&bytes)?;
    }

    #[test]
    fn the_naive_twin_agrees_on_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        agree(&bytes)?;
        let mut started = b"*4\r\n$2\r\nHB\r\n$".to_vec();
        started.extend_from_slice(&bytes);
        agree(&started)?;
    }

    #[test]
    fn the_naive_twin_agrees_on_bytes_that_look_like_frames(
        bytes in proptest::collection::vec(proptest::sample::select(b"*$\r\n0123456789HBEACPT:,".to_vec()), 0..60)
    ) {
        agree(&bytes)?;
    }
}
