//! `ELECT PAUSE`, `ELECT RESUME` and `ELECT PAUSED`: automatic elections in the whole cluster (H12 to H16 of `docs/protocol.md`).
//!
//! | command | answer |
//! |---|---|
//! | `ELECT PAUSE`, `ELECT RESUME` | the order, as in `paused@1763712000123`, or why it is not taken; at any node that votes |
//! | `ELECT PAUSED` | the last order that this node knows, or `none`; and `agreed` where a quorum has it, else `spreading` |

use crate::clients::replies::Replies;
use crate::position::digest::VERB;

/// Whether `argv` is one of these.
pub(crate) fn is_ours(argv: &[Vec<u8>]) -> bool {
    argv.len() == 2 && argv[0].eq_ignore_ascii_case(VERB) && word(argv).is_some()
}

enum Word {
    Order(bool),
    Ask,
}

fn word(argv: &[Vec<u8>]) -> Option<Word> {
    match argv.get(1)?.to_ascii_uppercase().as_slice() {
        b"PAUSE" => Some(Word::Order(true)),
        b"RESUME" => Some(Word::Order(false)),
        b"PAUSED" => Some(Word::Ask),
        _ => None,
    }
}

/// The answer.
pub(crate) fn answer(replies: &Replies, argv: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let office = replies.shards.office();
    let said = match (office, word(argv)) {
        (Some(office), Some(Word::Order(paused))) => {
            office.pause(paused).map(|order| order.to_string()).map_err(|why| why.to_string())
        }
        (Some(office), _) => {
            let (order, agreed) = office.paused();
            let order = order.map_or("none".to_owned(), |order| order.to_string());
            Ok(format!("{order} {}", if agreed { "agreed" } else { "spreading" }))
        }
        (None, _) => Err("the election has not started".to_owned()),
    };
    match said {
        Ok(said) => kevy_resp::encode_bulk(&mut out, said.as_bytes()),
        Err(why) => kevy_resp::encode_error(&mut out, &format!("ERR {why}")),
    }
    out
}
