//! The ways in which clients write, and what each leaves behind when it was acknowledged.
//!
//! Every operation has a key of its own, in braces, so that the other keys it needs are in the same shard.

use kevy_elect_harness::client::{Client, ClientError, Reply};
use kevy_elect_harness::words;
use kevy_resp::encode_command_borrowed;
use std::time::{Duration, Instant};

/// How long a reply may take: longer than any stop, or what a server answers when it wakes up would be missed.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);
/// Between a client that begins to wait for data and another one that brings them.
const PARKING: Duration = Duration::from_millis(3);
/// More than the 256 KiB that kevy streams at once.
const LARGE_BYTES: usize = 300_000;
const MSET_KEYS: usize = 3000;
const MSET_VALUE: [u8; 90] = [b'm'; 90];
const PIPELINE: usize = 8;
/// A lock's time before it is renewed: some faults hold a replica up for longer.
const LOCK_MS: &[u8] = b"2000";
const RENEWED_MS: &[u8] = b"600000";
const BRIEF_MS: &[u8] = b"40";
/// What comes out is different every time that it is run.
const SCRIPT: &[u8] = b"redis.call('SADD', KEYS[3], 'a', 'b', 'c', 'd') redis.call('SPOP', KEYS[3]) \
    redis.call('SET', KEYS[2], redis.call('TIME')[2] .. ':' .. math.random()) \
    redis.call('SET', KEYS[1], ARGV[1]) return 'done'";

words! {
    /// A way to write.
    pub(crate) enum Way {
        Plain = "plain" => "SET",
        Multi = "multi" => "MULTI, SET and INCR, EXEC",
        Watch = "watch" => "WATCH, MULTI, SET, EXEC",
        Eval = "eval" => "EVAL, with TIME, SPOP and a random number",
        Evalsha = "evalsha" => "the same by its digest",
        Lmove = "lmove" => "RPUSH, LMOVE",
        Rpoplpush = "rpoplpush" => "RPUSH, RPOPLPUSH",
        Spop = "spop" => "SADD, SPOP",
        Expiry = "expiry" => "a lock with two seconds to live, renewed at once; and keys that end",
        Blocked = "blocked" => "BLPOP that waits until another client's RPUSH wakes it",
        Inline = "inline" => "SET as a line of text",
        Resp3 = "resp3" => "HELLO 3, SET",
        Pipeline = "pipeline" => "eight SETs at once",
        Large = "large" => "SET of 300 kB",
        Mset = "mset" => "MSET of 3000 keys",
    }
}

/// An acknowledged operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Before the request was sent that did it.
    pub(crate) sent: Duration,
    /// What the server chose, where it did.
    pub(crate) chosen: Vec<u8>,
}

impl Way {
    /// Between two operations of one client.
    pub(crate) const fn pace(self) -> Duration {
        match self {
            Self::Large | Self::Mset => Duration::from_millis(500),
            _ => Duration::from_millis(10),
        }
    }

    /// What a fresh connection has to say first.
    pub(crate) fn greet(self, client: &mut Client) -> Result<(), ClientError> {
        if self == Self::Resp3 {
            ask(client, &[b"HELLO", b"3"])?;
        }
        Ok(())
    }

    /// Does it once. `None`: it was refused, or what came back promises nothing. `other` brings the data that `client`
    /// waits for.
    pub(crate) fn write(
        self,
        client: &mut Client,
        other: &mut Client,
        key: &str,
        value: &str,
        now: impl Fn() -> Duration,
    ) -> Result<Option<Acked>, ClientError> {
        let (k, v) = (key.as_bytes(), value.as_bytes());
        let [pool, from, count] = ["pool", "from", "count"].map(|part| format!("{key}:{part}").into_bytes());
        let ok = |reply: &Reply| reply.is_ok();
        let value_itself = |reply: &Reply| *reply == Reply::Bulk(v.to_vec());
        let acked = |sent, fine: bool| Ok(fine.then(|| Acked { sent, chosen: Vec::new() }));
        match self {
            Self::Plain | Self::Resp3 => {
                let sent = now();
                acked(sent, ok(&ask(client, &[b"SET", k, v])?))
            }
            Self::Inline => {
                let sent = now();
                client.send(format!("SET {key} {value}\r\n").as_bytes())?;
                acked(sent, ok(&answer(client)?))
            }
            Self::Multi | Self::Watch => {
                if self == Self::Watch {
                    ask(client, &[b"WATCH", k])?;
                }
                ask(client, &[b"MULTI"])?;
                ask(client, &[b"SET", k, v])?;
                if self == Self::Multi {
                    ask(client, &[b"INCR", &count])?;
                }
                let sent = now();
                let done = ask(client, &[b"EXEC"])?;
                acked(sent, matches!(done, Reply::Array(replies) if replies.first().is_some_and(ok)))
            }
            Self::Eval | Self::Evalsha => {
                let words: [&[u8]; 5] = [b"3", k, &count, &pool, v];
                let run = |client: &mut Client, verb: &[u8], script: &[u8]| {
                    ask(client, &[&[verb, script][..], &words[..]].concat())
                };
                let mut sent = now();
                let mut done = match self {
                    Self::Eval => run(client, b"EVAL", SCRIPT)?,
                    _ => run(client, b"EVALSHA", SCRIPT_DIGEST.as_bytes())?,
                };
                if matches!(&done, Reply::Error(why) if why.starts_with("NOSCRIPT")) {
                    ask(client, &[b"SCRIPT", b"LOAD", SCRIPT])?;
                    sent = now();
                    done = run(client, b"EVALSHA", SCRIPT_DIGEST.as_bytes())?;
                }
                acked(sent, done == Reply::Bulk(b"done".to_vec()))
            }
            Self::Lmove | Self::Rpoplpush => {
                ask(client, &[b"RPUSH", &from, v])?;
                let sent = now();
                let moved = match self {
                    Self::Lmove => ask(client, &[b"LMOVE", &from, k, b"LEFT", b"RIGHT"])?,
                    _ => ask(client, &[b"RPOPLPUSH", &from, k])?,
                };
                acked(sent, value_itself(&moved))
            }
            Self::Spop => {
                ask(client, &[b"SADD", k, b"a", b"b", b"c", b"d", b"e"])?;
                let sent = now();
                match ask(client, &[b"SPOP", k])? {
                    Reply::Bulk(chosen) => Ok(Some(Acked { sent, chosen })),
                    _ => Ok(None),
                }
            }
            Self::Expiry => {
                ask(client, &[b"SET", &from, b"brief", b"PX", BRIEF_MS])?;
                ask(client, &[b"SET", k, v, b"PX", LOCK_MS])?;
                let sent = now();
                acked(sent, ask(client, &[b"PEXPIRE", k, RENEWED_MS])? == Reply::Integer(1))
            }
            Self::Blocked => {
                let mut request = Vec::new();
                encode_command_borrowed(&mut request, &[b"BLPOP", k, b"1"]);
                client.send(&request)?;
                // Nothing tells whether it waits already; if not, it is only a plain one.
                std::thread::sleep(PARKING);
                let sent = now();
                let brought = ask(other, &[b"RPUSH", k, v])?;
                let taken = answer(client)?;
                let whole = Reply::Array(vec![Reply::Bulk(k.to_vec()), Reply::Bulk(v.to_vec())]);
                acked(sent, matches!(brought, Reply::Integer(_)) && taken == whole)
            }
            Self::Pipeline => {
                let mut request = Vec::new();
                for i in 0..PIPELINE {
                    let part = if i + 1 == PIPELINE { key.to_owned() } else { format!("{key}:{i}") };
                    encode_command_borrowed(&mut request, &[b"SET", part.as_bytes(), v]);
                }
                let sent = now();
                client.send(&request)?;
                let replies: Vec<_> = (0..PIPELINE).map(|_| answer(client)).collect::<Result<_, _>>()?;
                acked(sent, replies.iter().all(ok))
            }
            Self::Large => {
                let mut large = vec![b'.'; LARGE_BYTES];
                large[..v.len()].copy_from_slice(v);
                let sent = now();
                acked(sent, ok(&ask(client, &[b"SET", k, &large])?))
            }
            Self::Mset => {
                let keys: Vec<_> = (1..MSET_KEYS).map(|i| format!("{key}:{i}")).collect();
                let mut words: Vec<&[u8]> = vec![b"MSET"];
                words.extend(keys.iter().flat_map(|key| [key.as_bytes(), &MSET_VALUE]));
                words.extend([k, v]);
                let sent = now();
                acked(sent, ok(&ask(client, &words)?))
            }
        }
    }

    /// Whether what was acknowledged is still there.
    pub(crate) fn holds(
        self,
        client: &mut Client,
        key: &str,
        value: &str,
        chosen: &[u8],
    ) -> Result<bool, ClientError> {
        let (k, v) = (key.as_bytes(), value.as_bytes());
        let is = |reply: Reply| reply == Reply::Bulk(v.to_vec());
        Ok(match self {
            Self::Lmove | Self::Rpoplpush => {
                ask(client, &[b"LRANGE", k, b"0", b"-1"])? == Reply::Array(vec![Reply::Bulk(v.to_vec())])
            }
            Self::Spop => {
                ask(client, &[b"SCARD", k])? == Reply::Integer(4)
                    && ask(client, &[b"SISMEMBER", k, chosen])? == Reply::Integer(0)
            }
            Self::Expiry => {
                let ends = ask(client, &[b"PTTL", k])?;
                is(ask(client, &[b"GET", k])?) && matches!(ends, Reply::Integer(ms) if ms > 0)
            }
            // What was taken must not come back.
            Self::Blocked => ask(client, &[b"EXISTS", k])? == Reply::Integer(0),
            Self::Large => {
                let end = (v.len() - 1).to_string();
                ask(client, &[b"STRLEN", k])? == Reply::Integer(LARGE_BYTES as i64)
                    && is(ask(client, &[b"GETRANGE", k, b"0", end.as_bytes()])?)
            }
            Self::Pipeline => {
                let first = format!("{key}:0");
                is(ask(client, &[b"GET", first.as_bytes()])?) && is(ask(client, &[b"GET", k])?)
            }
            Self::Mset => {
                let first = format!("{key}:1");
                let first = ask(client, &[b"GET", first.as_bytes()])?;
                first == Reply::Bulk(MSET_VALUE.to_vec()) && is(ask(client, &[b"GET", k])?)
            }
            Self::Plain
            | Self::Multi
            | Self::Watch
            | Self::Eval
            | Self::Evalsha
            | Self::Inline
            | Self::Resp3 => is(ask(client, &[b"GET", k])?),
        })
    }
}

/// Of [`SCRIPT`].
const SCRIPT_DIGEST: &str = "3afb37e57a2c16b73322ee247a35edb9c09d57e8";

fn ask(client: &mut Client, parts: &[&[u8]]) -> Result<Reply, ClientError> {
    client.call_within(parts, REPLY_PATIENCE)
}

fn answer(client: &mut Client) -> Result<Reply, ClientError> {
    let until = Instant::now() + REPLY_PATIENCE;
    client.reply(|| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_name_of_its_own() {
        let mut names: Vec<_> = Way::ALL.iter().map(|way| way.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Way::ALL.len());
    }
}
