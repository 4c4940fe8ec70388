//! What client libraries send when they connect, and kevy does not know.
//!
//! Answered as a Redis 7 without passwords, modules and cluster would, where that is the truth here as well. What would
//! promise something that this server does not do (`CLIENT TRACKING ON`, `CLIENT PAUSE`, `CLIENT REPLY OFF`) stays an error.

use crate::clients::hello::NO_PASSWORDS;
use kevy_resp::{
    RespVersion, encode_array_len, encode_bulk, encode_error, encode_integer, encode_map_header,
};
use kevy_rt::ArgvView;

/// What Redis says that is not in cluster mode. Anything else, and a client would take each node for the master of all slots.
const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

/// Whether there is an answer here.
pub(crate) fn answers<A: ArgvView + ?Sized>(args: &A) -> bool {
    answer(args, RespVersion::V2).is_some()
}

/// The answer; `None`: kevy's own.
pub(crate) fn answer<A: ArgvView + ?Sized>(args: &A, proto: RespVersion) -> Option<Vec<u8>> {
    let mut buffers = [[0; LONGEST]; 2];
    let [verb, sub] = &mut buffers;
    let (verb, sub) = (upper(args.first(), verb)?, upper(args.get(1), sub)?);
    let mut out = Vec::new();
    let ok = |out: &mut Vec<u8>| out.extend_from_slice(b"+OK\r\n");
    match (verb, sub, args.len()) {
        (b"AUTH", _, 2 | 3) => encode_error(&mut out, NO_PASSWORDS),
        (b"AUTH", ..) => encode_error(&mut out, "ERR wrong number of arguments for 'auth' command"),
        // There is one user, with all rights and without a password.
        (b"ACL", b"WHOAMI", 2) => encode_bulk(&mut out, b"default"),
        (b"ACL", b"USERS", 2) => list(&mut out, &[b"default"]),
        (b"ACL", b"LIST", 2) => list(&mut out, &[b"user default on nopass ~* &* +@all"]),
        (b"CLIENT", b"SETINFO", 4) if is_info(&args[2]) => ok(&mut out),
        (b"CLIENT", b"NO-TOUCH", 3) if is_switch(&args[2]) => ok(&mut out),
        (b"CLIENT", b"REPLY", 3) if args[2].eq_ignore_ascii_case(b"ON") => ok(&mut out),
        (b"CLIENT", b"TRACKING", 3) if args[2].eq_ignore_ascii_case(b"OFF") => ok(&mut out),
        (b"CLIENT", b"TRACKING", _) => {
            encode_error(
                &mut out,
                "ERR this server does not track what clients have read; switch client-side caching off",
            );
        }
        (b"CLIENT", b"TRACKINGINFO", 2) => {
            match proto {
                RespVersion::V2 => encode_array_len(&mut out, 6),
                RespVersion::V3 => encode_map_header(&mut out, 3),
            }
            encode_bulk(&mut out, b"flags");
            list(&mut out, &[b"off"]);
            encode_bulk(&mut out, b"redirect");
            encode_integer(&mut out, -1);
            encode_bulk(&mut out, b"prefixes");
            list(&mut out, &[]);
        }
        (b"CLIENT", b"GETREDIR", 2) => encode_integer(&mut out, -1),
        (b"CLIENT", b"UNPAUSE", 2) => ok(&mut out),
        (b"CLUSTER", ..) => encode_error(&mut out, NO_CLUSTER),
        (b"FUNCTION", b"LIST", _) | (b"MODULE", b"LIST", 2) => list(&mut out, &[]),
        (b"LATENCY", b"LATEST", 2) | (b"LATENCY", b"HISTORY", 3) => list(&mut out, &[]),
        (b"LATENCY", b"HISTOGRAM", _) => match proto {
            RespVersion::V2 => list(&mut out, &[]),
            RespVersion::V3 => encode_map_header(&mut out, 0),
        },
        (b"LATENCY", b"RESET", _) => encode_integer(&mut out, 0),
        // Every node answers reads, and a replica never anything else.
        (b"READONLY" | b"READWRITE", _, 1) => ok(&mut out),
        _ => return None,
    }
    Some(out)
}

/// Bytes of the longest word here.
const LONGEST: usize = 12;

fn upper<'a>(word: Option<&[u8]>, into: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
    let Some(word) = word else { return Some(b"") };
    // A longer one is none of ours; a password may be.
    let into = &mut into[..word.len().min(LONGEST)];
    into.copy_from_slice(&word[..into.len()]);
    into.make_ascii_uppercase();
    Some(into)
}

fn is_info(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"LIB-NAME") || word.eq_ignore_ascii_case(b"LIB-VER")
}

fn is_switch(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"ON") || word.eq_ignore_ascii_case(b"OFF")
}

fn list(out: &mut Vec<u8>, texts: &[&[u8]]) {
    encode_array_len(out, texts.len() as i64);
    texts.iter().for_each(|text| encode_bulk(out, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

    fn said(line: &str) -> Option<String> {
        let args = Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        answer(&args, RespVersion::V2).map(|reply| String::from_utf8_lossy(&reply).into_owned())
    }

    #[test]
    fn what_would_promise_too_much_is_kevys_to_refuse() {
        for line in [
            "CLIENT PAUSE 5",
            "CLIENT REPLY OFF",
            "CLIENT KILL ID 5",
            "CLIENT CAPA redirect",
            "MODULE LOAD x",
            "GET k",
            "RESET",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
        assert!(said("CLIENT TRACKING ON").is_some_and(|said| said.starts_with("-ERR ")));
    }

    #[test]
    fn a_password_is_refused_however_long_it_is() {
        let long = "x".repeat(500);
        for line in
            ["auth secret", "AUTH default secret", &format!("AUTH {long}"), &format!("AUTH {long} {long}")]
        {
            assert!(
                said(line).is_some_and(|said| said.starts_with("-ERR AUTH called without any password")),
                "{line}"
            );
        }
        assert!(said("AUTH").is_some_and(|said| said.contains("wrong number")));
    }
}
