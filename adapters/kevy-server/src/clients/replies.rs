//! What the server says about its role, and what it refuses because of it.

use crate::clients::waiting;
use crate::position::cuts;
use crate::shards::Shards;
use kevy_elect_ops::http::Copying;
use kevy_elect_ops::members::Addresses;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::Denied;
use kevy_resp::{encode_array_len, encode_bulk, encode_integer};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Where this node gets its data from, for people and clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// The primary's host; empty while nobody is known to reign.
    pub host: String,
    /// The port where clients reach it.
    pub port: u16,
    /// Whether all streams are up, and none stands still although the primary has more.
    pub up: bool,
    /// For how long the primary has had more while nothing came, where that is too long.
    pub stalled: Option<Duration>,
    /// Seconds since the primary was last heard on the stream that was silent longest.
    pub silent_seconds: u64,
    /// Frames received, of all shards.
    pub offset: u64,
    /// Why a stream is not up, where that is known.
    pub trouble: String,
    /// The copies that come in: since when, and how many bytes of them have come.
    pub copy: Option<Copying>,
    /// `(generation, next frame)` of every shard: kevy's token for reading one's own writes.
    pub token: Vec<(u64, u64)>,
}

/// Says where a replica's data comes from.
pub(crate) trait Source: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;
    /// As it is now.
    fn upstream(&self) -> Upstream;
    /// Whether it is behind and has received nothing for a while, as it was at the last heartbeat: waits for nobody who steers.
    fn stands_still(&self) -> bool;
    /// The member whose clients come to this address, as the configuration has it.
    fn node_at(&self, host: &str, port: u16) -> Option<NodeId>;
    /// Where the clients of a member come to.
    fn address_of(&self, node: NodeId) -> Option<(String, u16)>;
    /// Where a member is, for whom it concerns.
    fn place(&self, node: NodeId) -> Addresses;
}

/// Everything a reply about roles needs.
#[derive(Clone)]
pub(crate) struct Replies {
    /// The shards.
    pub shards: Arc<Shards>,
    /// Where a replica's data comes from.
    pub source: Arc<dyn Source>,
}

/// Commands that the server answers differently from kevy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overridden {
    /// `ROLE`
    Role,
    /// `INFO`
    Info,
    /// `WAIT`
    Wait,
    /// `REPL.TOKEN`
    Token,
    /// `REPL.WAIT`
    TokenWait,
    /// `REPLICAOF`, `SLAVEOF`: who is primary is not for clients to say.
    Steer,
    /// `FAILOVER`: but the primary may be asked to hand over.
    Failover,
    /// `SHUTDOWN`
    Shutdown,
    /// `ELECT`, which kevy does not know.
    Elect,
    /// `ELECT.EXPIRED`, by which the server records what ended by itself.
    Expired,
    /// `ELECT.CUT`: see `cuts.rs`
    Cut,
    /// `ELECT.UNBLOCK`, by which the server wakes who waits: see `waiting.rs`.
    Unblock,
    /// `MOVE-SCOPE`, `MOVE-SCOPE-INGEST`: kevy neither logs nor streams what they bring.
    Load,
    /// `AUTH`, `CLIENT`, `CLUSTER` and the like, of which kevy knows only a part: see `handshake.rs`.
    Handshake,
    /// `RESET`, as far as it goes: see `hello.rs`.
    Reset,
    /// `POST`, `Host:`: no command, but a browser that a page has sent here.
    Browser,
}

impl Overridden {
    /// Which of them `verb` is.
    #[inline]
    pub(crate) fn of(verb: &[u8]) -> Option<Self> {
        // Almost every command ends here, on its first letter and its length.
        let (word, own): (&[u8], Self) = match verb.first()?.to_ascii_uppercase() {
            b'R' => match verb.len() {
                4 => (b"ROLE", Self::Role),
                5 => (b"RESET", Self::Reset),
                9 if verb[4] == b'.' => (b"REPL.WAIT", Self::TokenWait),
                9 if verb[4].eq_ignore_ascii_case(&b'W') => (b"READWRITE", Self::Handshake),
                9 => (b"REPLICAOF", Self::Steer),
                8 => (b"READONLY", Self::Handshake),
                10 => (b"REPL.TOKEN", Self::Token),
                _ => return None,
            },
            b'I' if verb.len() == 4 => (b"INFO", Self::Info),
            b'W' if verb.len() == 4 => (b"WAIT", Self::Wait),
            b'S' if verb.len() == 7 => (b"SLAVEOF", Self::Steer),
            b'S' if verb.len() == 8 => (b"SHUTDOWN", Self::Shutdown),
            b'F' if verb.len() == 8 && verb[1].eq_ignore_ascii_case(&b'A') => (b"FAILOVER", Self::Failover),
            b'F' if verb.len() == 8 => (b"FUNCTION", Self::Handshake),
            b'A' if verb.len() == 3 => (b"ACL", Self::Handshake),
            b'A' if verb.len() == 4 => (b"AUTH", Self::Handshake),
            b'C' if verb.len() == 6 => (b"CLIENT", Self::Handshake),
            b'C' if verb.len() == 7 => (b"CLUSTER", Self::Handshake),
            b'L' if verb.len() == 7 => (b"LATENCY", Self::Handshake),
            b'M' if verb.len() == 6 => (b"MODULE", Self::Handshake),
            b'M' if verb.len() == 10 => (b"MOVE-SCOPE", Self::Load),
            b'M' if verb.len() == 17 => (b"MOVE-SCOPE-INGEST", Self::Load),
            b'P' if verb.len() == 4 => (b"POST", Self::Browser),
            b'H' if verb.len() == 5 => (b"HOST:", Self::Browser),
            b'E' => match verb.len() {
                5 => (crate::position::digest::VERB, Self::Elect),
                9 => (cuts::CUT, Self::Cut),
                13 if verb[6].eq_ignore_ascii_case(&b'U') => (waiting::COMMAND, Self::Unblock),
                13 => (crate::clients::expiry::COMMAND, Self::Expired),
                _ => return None,
            },
            _ => return None,
        };
        verb.eq_ignore_ascii_case(word).then_some(own)
    }
}

/// The refusal of a write.
pub(crate) fn denied(denied: Denied) -> Vec<u8> {
    match denied {
        // The same word: on any other, clients stay and ask again here, where nobody may ever write again.
        Denied::Fenced(reason) => {
            let reason = reason.as_str();
            format!("-READONLY {reason}: this node must not write now; ask again which node is primary\r\n")
                .into_bytes()
        }
        // On a replica, and for whatever else there will be: the text that clients of Redis look for.
        _ => b"-READONLY You can't write against a read only replica.\r\n".to_vec(),
    }
}

/// The refusal of a read while another keyspace is being loaded.
pub(crate) const LOADING: &[u8] = b"-LOADING kevy is loading the dataset in memory\r\n";

/// Commands that are answered even then: people and probes must be able to look.
pub(crate) fn answers_while_loading(verb: &[u8]) -> bool {
    const WORDS: [&[u8]; 13] = [
        b"PING",
        b"INFO",
        b"HELLO",
        b"CLIENT",
        b"CONFIG",
        b"SHUTDOWN",
        b"ROLE",
        b"AUTH",
        b"ACL",
        b"COMMAND",
        b"ECHO",
        b"QUIT",
        b"SELECT",
    ];
    WORDS.iter().any(|word| verb.eq_ignore_ascii_case(word))
}

/// The refusal to be steered by a client.
pub(crate) const STEER: &[u8] =
    b"-ERR the election decides which node is primary; ELECT TRANSFER or FAILOVER at the primary hands the office over\r\n";

/// The answer to a cut.
pub(crate) const CUT_DONE: &[u8] = b"+OK\r\n";
/// The answer to a cut that is none.
pub(crate) const CUT_REFUSED: &[u8] = b"-ERR ELECT.CUT is for the server itself\r\n";
/// The same.
pub(crate) const UNBLOCK_REFUSED: &[u8] = b"-ERR ELECT.UNBLOCK is for the server itself\r\n";
/// The refusal of data that would be on this node alone.
pub(crate) const LOAD: &[u8] =
    b"-ERR what this command brings reaches no replica and no log; bring the data with ordinary writes\r\n";

/// The refusal of what moves data from one shard to another. The word is that of Redis for keys that are apart.
pub(crate) const APART: &[u8] =
    b"-CROSSSLOT this moves data between two shards, which is no single step, and [elect] \
    move_between_shards = false refuses that; give both keys the same {tag}\r\n";

/// The refusal of a web page. What follows it gets no answer at all.
pub(crate) const BROWSER: &[u8] =
    b"-ERR this is not a web server; the connection is closed, and nothing of the request is executed\r\n";

/// What a query is told that fails on a node that may not declare the index it wants.
pub(crate) const NO_INDEX: &[u8] = b"-ERR no such index or column (IDX.LIST enumerates the indexes)\r\n";

/// The end of a wait for data that began while this node was primary, as Redis words it.
pub(crate) const UNBLOCKED: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";

/// The refusal of `WAIT` away from the primary.
pub(crate) const WAIT_ON_REPLICA: &[u8] = b"-ERR WAIT cannot be used with replica instances\r\n";

impl Replies {
    /// `ROLE` on a node that may not write; on a primary kevy itself is right.
    pub(crate) fn role(&self, out: &mut Vec<u8>) {
        let upstream = self.source.upstream();
        let state: &[u8] = match (self.shards.is_loading(), upstream.up) {
            (true, _) => b"sync",
            (false, true) => b"connected",
            (false, false) => b"connect",
        };
        encode_array_len(out, 5);
        encode_bulk(out, b"slave");
        encode_bulk(out, upstream.host.as_bytes());
        encode_integer(out, i64::from(upstream.port));
        encode_bulk(out, state);
        encode_integer(out, i64::try_from(upstream.offset).unwrap_or(i64::MAX));
    }

    /// `REPL.TOKEN` on a replica.
    pub(crate) fn token(&self, out: &mut Vec<u8>) {
        let token = self.source.upstream().token;
        encode_array_len(out, token.len() as i64 * 2);
        for number in token.into_iter().flat_map(|(generation, next)| [generation, next]) {
            encode_integer(out, i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// The reply of `REPL.WAIT` that cannot succeed on this replica.
    pub(crate) fn misdirected(&self) -> Vec<u8> {
        let upstream = self.source.upstream();
        match upstream.host.as_str() {
            "" => b"-MISDIRECTED writer is unknown\r\n".to_vec(),
            host => format!("-MISDIRECTED writer is {host}:{}\r\n", upstream.port).into_bytes(),
        }
    }

    /// Corrects the replication section in kevy's reply to `INFO`, which starts at `from` in `out`: kevy
    /// does not know of the election, nor that it is a replica.
    pub(crate) fn info(&self, out: &mut Vec<u8>, from: usize) {
        const TITLE: &str = "# Replication\r\n";
        let Some((prefix, text)) = bulk(&out[from..]) else { return };
        let Some(start) = text.find(TITLE) else { return };
        let end = text[start..].find("\r\n\r\n").map_or(text.len(), |at| start + at + 2);
        let kevy = &text[start + TITLE.len()..end];
        let corrected = format!("{}{TITLE}{}{}", &text[..start], self.replication(kevy), &text[end..]);
        let reply = format!("{}{}\r\n{corrected}\r\n", char::from(prefix), corrected.len());
        out.truncate(from);
        out.extend_from_slice(reply.as_bytes());
    }

    /// The lines of the replication section; `kevy` is what kevy says.
    fn replication(&self, kevy: &str) -> String {
        let standing = self.shards.standing();
        let mut lines = String::new();
        if self.shards.is_primary() {
            lines.push_str(kevy);
        } else {
            let upstream = self.source.upstream();
            let link = if upstream.up { "up" } else { "down" };
            let _ = write!(
                lines,
                "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{link}\r\n\
                 master_last_io_seconds_ago:{}\r\nmaster_sync_in_progress:{}\r\nslave_read_only:1\r\n\
                 slave_repl_offset:{}\r\nelect_stream_error:{}\r\n",
                upstream.host,
                upstream.port,
                upstream.silent_seconds,
                u8::from(self.shards.is_loading()),
                upstream.offset,
                upstream.trouble,
            );
            lines.extend(kevy.lines().filter(|l| l.starts_with("repl_port_base:")).flat_map(|l| [l, "\r\n"]));
        }
        let writable = match self.shards.check() {
            Ok(()) => "yes",
            Err(Denied::Fenced(reason)) => reason.as_str(),
            Err(_) => "replica",
        };
        let (copies, continuations) = self.shards.copies_and_continuations();
        let _ = write!(
            lines,
            "elect_copies:{copies}\r\nelect_continuations:{continuations}\r\nelect_kept_bytes:{}\r\n\
             elect_writes_slowed_ms:{}\r\n",
            self.shards.kept_bytes(),
            self.shards.rested_ms()
        );
        if let Some(copy) = self.source.upstream().copy {
            let (bytes, rate) = (copy.bytes, copy.rate());
            let _ = write!(lines, "elect_copy_bytes:{bytes}\r\nelect_copy_bytes_per_second:{rate}\r\n");
            if let Some(rest) = copy.rest() {
                let _ = write!(lines, "elect_copy_rest_bytes:{rest}\r\n");
            }
        }
        let primary = standing.of.map(|id| id.to_string()).unwrap_or_default();
        let _ = write!(
            lines,
            "elect_epoch:{}\r\nelect_primary:{primary}\r\nelect_writable:{writable}\r\nelect_paused:{}\r\n",
            standing.epoch,
            if self.shards.office().is_some_and(|office| office.is_paused()) { "yes" } else { "no" },
        );
        lines
    }
}

/// The type byte and the text of a bulk or verbatim string.
fn bulk(reply: &[u8]) -> Option<(u8, &str)> {
    let prefix = *reply.first().filter(|byte| matches!(byte, b'$' | b'='))?;
    let text = std::str::from_utf8(reply).ok()?;
    let (_, body) = text.split_once("\r\n")?;
    Some((prefix, body.strip_suffix("\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_commands_are_told_from_all_others_in_any_case() {
        assert_eq!(Overridden::of(b"role"), Some(Overridden::Role));
        assert_eq!(Overridden::of(b"SlaveOf"), Some(Overridden::Steer));
        for own in
            ["INFO", "WAIT", "repl.token", "REPL.wait", "FAILOVER", "Shutdown", "replicaof", "post", "host:"]
                .into_iter()
                .chain([
                    "auth",
                    "ACL",
                    "Client",
                    "cluster",
                    "function",
                    "latency",
                    "module",
                    "readonly",
                    "readWrite",
                ])
        {
            assert!(Overridden::of(own.as_bytes()).is_some(), "{own}");
        }
        assert_eq!(Overridden::of(b"move-scope"), Some(Overridden::Load));
        assert_eq!(Overridden::of(b"MOVE-SCOPE-INGEST"), Some(Overridden::Load));
        for other in
            ["GET", "SET", "INFOS", "ROL", "", "REPL", "FLUSHALL", "SADD", "HSET", "POST:", "REPL.WAI\0"]
        {
            assert_eq!(Overridden::of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_bulk_is_taken_apart_and_anything_else_left_alone() {
        assert_eq!(bulk(b"$2\r\nab\r\n"), Some((b'$', "ab")));
        assert_eq!(bulk(b"=6\r\ntxt:ab\r\n"), Some((b'=', "txt:ab")));
        assert_eq!(bulk(b"-ERR no\r\n"), None);
    }
}
