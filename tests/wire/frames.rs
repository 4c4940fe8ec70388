//! Frames, their lengths and their numbers: W1 to W5.

use crate::golden::{golden, hello};
use crate::{bytes_of, frame};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{EPOCH_MAX, Epoch, Round, SHARDS_MAX};
use kevy_elect_plugin::message::{Grant, Heartbeat, Message, Offer};
use kevy_elect_plugin::position::{OFFSET_MAX, Position};
use kevy_elect_plugin::wire::{
    DURATION_US_MAX, DecodeError, FRAME_BYTES_MAX, Frame, NumberFault, PROGRESS_OFFSET_MAX, decode,
};

#[test]
fn w1_a_frame_is_a_resp2_array_of_bulk_strings() {
    let accept = Message::Accept(Grant { epoch: Epoch(12), round: Round(3), identity: None });
    assert_eq!(bytes_of(&accept), b"*3\r\n$6\r\nACCEPT\r\n$2\r\n12\r\n$1\r\n3\r\n");
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
            Message::Heartbeat(_)
            | Message::PreAccept(Grant { identity: None, .. })
            | Message::Accept(Grant { identity: None, .. }) => "|",
            _ => "",
        };
        let bytes = frame(&format!("{text}{left_out}|more|of a newer version"));
        assert_eq!(decode(&bytes), Ok(Some((Frame::Message(message), bytes.len()))), "{text}");
    }
    let bytes = frame("HELLO|1|kevy|n1|1763712000123||cookie");
    assert_eq!(decode(&bytes), Ok(Some((Frame::Hello(hello()), bytes.len()))));
    assert!(decode(b"*3\r\n$8\r\nANNOUNCE\r\n$1\r\n1\r\n:5\r\n").is_err(), "still well formed");
}
