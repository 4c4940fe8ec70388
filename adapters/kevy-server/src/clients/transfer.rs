//! `ELECT TRANSFER` and `FAILOVER`: an operator hands the office over (H7 to H11 of `docs/protocol.md`).
//!
//! | command | answer |
//! |---|---|
//! | `ELECT TRANSFER [node] [TIMEOUT ms]` | the id of the node that is to take over, or why nobody is |
//! | `ELECT STEPDOWN [TIMEOUT ms]` | the same, to whoever is best |
//! | `FAILOVER [[TO] host port] [TIMEOUT ms]` | `OK`, or why not; the address is where clients reach the node (Redis says `TO`, kevy does not) |
//!
//! The answer comes when the transfer begins. Whoever asked sees its end in `ROLE` of the other node.

use crate::clients::replies::{Replies, Source};
use crate::position::digest::VERB;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::transfer::TransferRefused;
use kevy_rt::ArgvView;
use std::time::Duration;

const WORD: &[u8] = b"TRANSFER";
const STEP_DOWN: &[u8] = b"STEPDOWN";
/// How long the other node has to come near, if nobody says.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);
const PATIENCE_MAX_MS: u64 = 3_600_000;

/// Whether `argv` is `ELECT TRANSFER` or `ELECT STEPDOWN`.
pub(crate) fn is_ours(argv: &[Vec<u8>]) -> bool {
    let is = |i: usize, word: &[u8]| argv.get(i).is_some_and(|there| there.eq_ignore_ascii_case(word));
    is(0, VERB) && (is(1, WORD) || is(1, STEP_DOWN))
}

/// The answer to `ELECT TRANSFER` and `ELECT STEPDOWN`.
pub(crate) fn transfer(replies: &Replies, argv: &[Vec<u8>]) -> Vec<u8> {
    let words: Vec<&[u8]> = argv.iter().skip(2).map(Vec::as_slice).collect();
    let mut out = Vec::new();
    let asked = match argv.get(1).is_some_and(|word| word.eq_ignore_ascii_case(STEP_DOWN)) {
        true => patience(&words).map(|time| (None, time)).ok_or("use ELECT STEPDOWN [TIMEOUT ms]".to_owned()),
        false => asked(&words),
    };
    match asked.and_then(|(to, patience)| begin(replies, to, patience)) {
        Ok(node) => kevy_resp::encode_bulk(&mut out, node.as_str().as_bytes()),
        Err(why) => kevy_resp::encode_error(&mut out, &format!("ERR {why}")),
    }
    out
}

/// The answer to `FAILOVER`.
pub(crate) fn failover<A: ArgvView + ?Sized>(replies: &Replies, args: &A) -> Vec<u8> {
    let words: Vec<&[u8]> = (1..args.len()).map(|i| &args[i]).collect();
    let mut out = Vec::new();
    match asked_by_address(&*replies.source, &words).and_then(|(to, patience)| begin(replies, to, patience)) {
        Ok(_) => out.extend_from_slice(b"+OK\r\n"),
        Err(why) => kevy_resp::encode_error(&mut out, &format!("ERR {why}")),
    }
    out
}

fn begin(replies: &Replies, to: Option<NodeId>, patience: Duration) -> Result<NodeId, String> {
    let office = replies.shards.office().ok_or("the election has not started")?;
    office.transfer(to, patience).map_err(|why| match why {
        TransferRefused::NotPrimary { primary: Some(primary) } => match replies.source.address_of(primary) {
            Some((host, port)) => format!("{why}, at {host}:{port}"),
            None => why.to_string(),
        },
        _ => why.to_string(),
    })
}

/// The node and the patience of `ELECT TRANSFER`.
fn asked(words: &[&[u8]]) -> Result<(Option<NodeId>, Duration), String> {
    let usage = || "use ELECT TRANSFER [node] [TIMEOUT ms]".to_owned();
    let (to, rest) = match words {
        [] => return Ok((None, PATIENCE_DEFAULT)),
        [word, rest @ ..] if !word.eq_ignore_ascii_case(b"TIMEOUT") => (Some(*word), rest),
        rest => (None, rest),
    };
    let to = to.map(|name| {
        let name = std::str::from_utf8(name).map_err(|_| usage())?;
        NodeId::new(name).map_err(|error| format!("{name:?} is no node id: {error}"))
    });
    Ok((to.transpose()?, patience(rest).ok_or_else(usage)?))
}

/// The node and the patience of `FAILOVER`.
fn asked_by_address(source: &dyn Source, words: &[&[u8]]) -> Result<(Option<NodeId>, Duration), String> {
    let usage = || "use FAILOVER [[TO] host port] [TIMEOUT ms]".to_owned();
    if words.iter().any(|word| word.eq_ignore_ascii_case(b"FORCE")) {
        return Err("no node becomes primary that lacks what this one wrote: leave FORCE out".to_owned());
    }
    if words.iter().any(|word| word.eq_ignore_ascii_case(b"ABORT")) {
        return Err("a transfer ends by itself when its time is over; it cannot be taken back".to_owned());
    }
    let words = match words {
        [to, rest @ ..] if to.eq_ignore_ascii_case(b"TO") => rest,
        words => words,
    };
    let (to, rest) = match words {
        [host, port, rest @ ..] if !host.eq_ignore_ascii_case(b"TIMEOUT") => {
            let host = std::str::from_utf8(host).map_err(|_| usage())?;
            let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok()).ok_or_else(usage)?;
            let node = source.node_at(host, port);
            (
                Some(node.ok_or(format!(
                    "no member has its clients at {host}:{port}; [cluster] peers names all"
                ))?),
                rest,
            )
        }
        rest => (None, rest),
    };
    Ok((to, patience(rest).ok_or_else(usage)?))
}

/// `TIMEOUT ms`, or nothing.
pub(super) fn patience(words: &[&[u8]]) -> Option<Duration> {
    match words {
        [] => Some(PATIENCE_DEFAULT),
        [word, ms] if word.eq_ignore_ascii_case(b"TIMEOUT") => {
            let ms = std::str::from_utf8(ms).ok()?.parse::<u64>().ok()?;
            (1..=PATIENCE_MAX_MS).contains(&ms).then(|| Duration::from_millis(ms))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn a_node_and_a_time_may_be_given_and_nothing_else() {
        let n2 = Some(NodeId::new("n2").unwrap());
        let ms = Duration::from_millis;
        for (line, meant) in [
            ("", (None, PATIENCE_DEFAULT)),
            ("n2", (n2, PATIENCE_DEFAULT)),
            ("timeout 5", (None, ms(5))),
            ("n2 TIMEOUT 3600000", (n2, ms(3_600_000))),
        ] {
            assert_eq!(asked(&words(line)), Ok(meant), "{line}");
        }
        for wrong in
            ["n2 n3", "TIMEOUT", "TIMEOUT x", "TIMEOUT 0", "n2 TIMEOUT 3600001", "n2 TIMEOUT 1 n3", "a@b"]
        {
            assert!(asked(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
