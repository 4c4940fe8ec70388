//! `ELECT STATUS`: what a node says of itself, for programs that ask at the port of clients. It asks what is published beside the gate,
//! so it does not wait for the election (F16 of `docs/protocol.md`).
//!
//! | line | meaning |
//! |---|---|
//! | `node:` | its id |
//! | `role:` | `primary` while it takes writes, `fenced` while it reigns and must not, else `replica` |
//! | `epoch:` | of its election |
//! | `primary:` | the node that reigns, as far as this one knows; empty where none is known, or this one must not write |
//! | `refuses:` | why a write would be refused: `replica`, or a word of the election; empty on a node that takes writes |
//! | `stalled:` | `yes` on a replica that is behind its primary and has received nothing for 2 s, else `no` |

use crate::clients::replies::Replies;
use crate::position::digest::VERB;
use kevy_elect_plugin::plugin::Denied;

const WORD: &[u8] = b"STATUS";

/// Whether `argv` is `ELECT STATUS`.
pub(crate) fn is_ours(argv: &[Vec<u8>]) -> bool {
    matches!(argv, [verb, word] if verb.eq_ignore_ascii_case(VERB) && word.eq_ignore_ascii_case(WORD))
}

/// The answer.
pub(crate) fn answer(replies: &Replies) -> Vec<u8> {
    // Before the gate: where the office is lost between the two, nobody is named.
    let standing = replies.shards.standing();
    let (role, refuses) = match replies.shards.check() {
        Ok(()) => ("primary", ""),
        Err(Denied::Fenced(reason)) => ("fenced", reason.as_str()),
        Err(_) => ("replica", "replica"),
    };
    let own = replies.source.node();
    let primary = standing.of.filter(|primary| *primary != own || role == "primary");
    let (epoch, primary) = (standing.epoch, primary.map(|id| id.to_string()).unwrap_or_default());
    let stalled = if replies.source.stands_still() { "yes" } else { "no" };
    let lines = format!(
        "node:{own}\r\nrole:{role}\r\nepoch:{epoch}\r\nprimary:{primary}\r\nrefuses:{refuses}\r\nstalled:{stalled}\r\n"
    );
    let mut out = Vec::new();
    kevy_resp::encode_bulk(&mut out, lines.as_bytes());
    out
}
