//! What stands in a frame: fields that are missing, impossible, at their longest, or of another version.

use crate::golden::{golden, heartbeat, hello, identity};
use crate::{bytes_of, frame};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{EPOCH_MAX, Incarnation, NodeId, Round, SHARDS_MAX};
use kevy_elect_plugin::membership::{Generation, Membership, Voter};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Hello, Message, OfferKind, Pass, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use kevy_elect_plugin::pause::Pause;
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::rank::Seniority;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{DecodeError, Frame, PROGRESS_OFFSET_MAX, decode, encode_hello, encode_refuse};

#[test]
fn w6_hello_of_another_protocol_is_still_readable() {
    let Ok(Some((Frame::Hello(hello), _))) = decode(&frame("HELLO|2|kevy|n1|5|new|things")) else { panic!() };
    assert_eq!(hello.protocol, 2);
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
fn w19_a_hello_says_what_all_members_have_to_agree_on_and_one_without_it_is_read_as_before() {
    let terms = format!("0123456789abcdef,{}", "x".repeat(2048 - 17));
    for terms in ["0123456789abcdef,n1@voter:100,@lease_us:1".to_owned(), terms, String::new()] {
        let hello = Hello { terms, ..hello() };
        let mut bytes = Vec::new();
        encode_hello(&hello, &mut bytes);
        assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(hello), bytes.len()))));
    }
    let mut bytes = Vec::new();
    encode_hello(&Hello { terms: "x".repeat(5000), ..hello() }, &mut bytes);
    let Ok(Some((Frame::Hello(read), _))) = decode(&bytes) else { panic!("too long for a frame") };
    assert_eq!(read.terms.len(), 2048);
    for strange in ["with space".to_owned(), "x".repeat(2049)] {
        let bytes = frame(&format!("HELLO|2|kevy|n1|1763712000123|{strange}"));
        let expected = Hello { protocol: 2, ..hello() };
        assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(expected), bytes.len()))), "another version's");
    }
}

#[test]
fn w26_who_dials_may_give_a_pass_behind_its_terms_and_whatever_else_stands_there_is_none() {
    let pass = Some(Pass::new(*b"\x00\x01sixteen bytes!"));
    for terms in ["x".repeat(2048), String::new()] {
        let hello = Hello { terms, pass, ..hello() };
        let mut bytes = Vec::new();
        encode_hello(&hello, &mut bytes);
        assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(hello), bytes.len()))));
    }
    for strange in ["", "00", &"G".repeat(32), &"A".repeat(32), &"+".repeat(32), &"0".repeat(33)] {
        let bytes = frame(&format!("HELLO|1|kevy|n1|1763712000123||{strange}|more"));
        assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(hello()), bytes.len()))), "{strange}");
    }
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
fn every_verb_with_all_fields_at_their_longest_fits_the_room_set_aside() {
    let (epoch, round, long) = (EPOCH_MAX, Round(u64::MAX), NodeId::new(&"x".repeat(63)).unwrap());
    let progress = Progress { stream_epoch: EPOCH_MAX, offset: PROGRESS_OFFSET_MAX };
    let grant = Grant { epoch, round, identity: Some(identity(Some(EPOCH_MAX.0))) };
    let message = |verb: &Verb| match verb {
        // Below, and in `w3_the_largest_message_fits_a_frame`.
        Verb::Hello | Verb::PreOffer | Verb::Offer => None,
        Verb::Hb => Some(Message::Heartbeat(Heartbeat {
            epoch,
            round,
            role: Role::Promoting,
            standing: Standing::Member,
            progress,
            primary: Some(long),
            promise: Duration::MAX,
            lease: Duration::MAX,
            health: Health::Descriptors,
            identity: Some(identity(Some(EPOCH_MAX.0))),
            pause: Some(Pause { number: Pause::NUMBER_MAX, paused: false }),
        })),
        Verb::PreAccept => Some(Message::PreAccept(grant)),
        Verb::Accept => Some(Message::Accept(grant)),
        Verb::Echo => Some(Message::Echo(Echo {
            epoch,
            round,
            primary: Some(long),
            standing: Standing::Member,
            progress,
        })),
        Verb::Reject => {
            let (kind, reason) = (OfferKind::PreVote, RejectReason::PrimaryAlive);
            Some(Message::Reject(Reject { epoch, round, kind, reason, progress }))
        }
        Verb::Announce => Some(Message::Announce(Announce { epoch })),
        Verb::Resign => Some(Message::Resign(Resign { epoch, successor: Some(long) })),
        Verb::Rank => Some(Message::Rank(Seniority { up: Duration::MAX, work: u64::MAX })),
        Verb::Members => {
            let generation = Generation { epoch, counter: Generation::COUNTER_MAX };
            let voters = (10..).map(|n| NodeId::new(&format!("{n}{}", "x".repeat(61))).unwrap());
            let voters = voters.map(|id| Voter { id, witness: false });
            let longest = (1..).map_while(|n| Membership::new(generation, voters.clone().take(n))).last();
            Some(Message::Members(longest.unwrap()))
        }
        Verb::Held => Some(Message::Held(Generation { epoch, counter: Generation::COUNTER_MAX })),
    };
    for message in Verb::ALL.iter().filter_map(message) {
        let bytes = bytes_of(&message);
        assert!(matches!(decode(&bytes), Ok(Some((_, used))) if used == bytes.len()), "{message:?}");
    }
    let mut out = Vec::new();
    let name = "c".repeat(1000);
    encode_hello(
        &Hello {
            protocol: u16::MAX,
            cluster: name,
            node: long,
            incarnation: Incarnation(u64::MAX),
            terms: String::new(),
            pass: None,
        },
        &mut out,
    );
    assert_eq!(decode(&out), Err(DecodeError::Value { verb: "HELLO", field: "cluster" }));
    out.clear();
    encode_refuse(&"r".repeat(1000), &"t".repeat(1000), &mut out);
    assert!(matches!(decode(&out), Ok(Some((Frame::Refuse { .. }, _)))));
}
