//! Any bytes into the decoder: frames, a typed error, or a wish for more; never a panic, never more memory
//! than a frame, and every value has one spelling (W1 to W5 of `docs/protocol.md`).

use kevy_elect_plugin::wire::{FRAME_BYTES_MAX, Frame, decode, encode, encode_hello, encode_refuse};

/// Reads frames off `bytes` to their end.
pub fn check(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((frame, used))) = crate::bound::within_a_frame(|| decode(rest)) {
        assert!(
            used > 0 && used <= rest.len().min(FRAME_BYTES_MAX),
            "a frame of {used} bytes of {}",
            rest.len()
        );
        one_spelling(&frame, &rest[..used]);
        for cut in [used / 2, used - 1] {
            assert_eq!(decode(&rest[..cut]), Ok(None), "the frame cut at {cut}");
        }
        rest = &rest[used..];
    }
    // What is refused stays refused whatever follows, and what is awaited is awaited within a frame's bound.
    let verdict = decode(rest);
    if let Err(error) = decode(&rest[..rest.len() / 2]) {
        assert_eq!(verdict, Err(error), "more bytes made another error of it");
    }
    if verdict == Ok(None) {
        assert!(rest.len() < FRAME_BYTES_MAX, "{} bytes and still no frame", rest.len());
    }
}

/// What was read and is written again reads the same; and it is the same bytes, but for elements that only a
/// newer version knows.
fn one_spelling(frame: &Frame<'_>, read: &[u8]) {
    let mut written = Vec::new();
    match frame {
        Frame::Hello(hello) => encode_hello(hello, &mut written),
        Frame::Refuse { reason, text } => encode_refuse(reason, text, &mut written),
        Frame::Message(message) => encode(message, &mut written),
        Frame::Unknown => return,
    }
    assert_eq!(decode(&written), Ok(Some((frame.clone(), written.len()))), "written again");
    if written.len() == read.len() {
        assert_eq!(written, read, "two spellings of {frame:?}");
    } else {
        assert!(written.len() < read.len(), "{frame:?} was read from fewer bytes than it has");
    }
}
