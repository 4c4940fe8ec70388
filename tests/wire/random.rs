//! Round trips, and both decoders against each other on damaged and random bytes.

use crate::any::message;
use crate::bytes_of;
use crate::naive::{Naive, naive};
use kevy_elect_plugin::wire::{FRAME_BYTES_MAX, Frame, decode, encode};
use proptest::prelude::*;

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
