//! All that a server holds, so that two states can be compared.

use crate::wire::{Wire, Words, words};
use kevy_resp::Reply;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Deadlines closer than this are the same one: what is left of a time is told a little later each time.
const DEADLINE_SLACK_MS: i64 = 60_000;

/// Every key with its type, value and deadlines, and the catalogs.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    keys: BTreeMap<Vec<u8>, Key>,
    catalogs: Vec<String>,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    kind: String,
    value: String,
    deadlines: Vec<Deadline>,
}

/// When something ends, in milliseconds of the Unix clock; -1: never, -2: there is no such thing.
#[derive(Clone, Copy)]
struct Deadline(i64);

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.0, other.0);
        a == b || (a >= 0 && b >= 0 && (a - b).abs() < DEADLINE_SLACK_MS)
    }
}

impl Eq for Deadline {}

impl Contents {
    /// What the server behind `wire` holds now.
    pub fn of(wire: &mut Wire) -> Self {
        let first = ["KEYS *", "IDX.LIST", "TABLE.LIST", "VIEW.LIST"].map(words);
        let mut replies = wire.ask_all(&first).into_iter();
        let Some(Reply::Array(keys)) = replies.next() else { panic!("KEYS") };
        let catalogs = replies.map(|list| names(&list)).collect();
        let keys: Vec<Vec<u8>> = keys
            .into_iter()
            .map(|key| match key {
                Reply::Bulk(key) => key,
                other => panic!("{other:?} in KEYS"),
            })
            .collect();
        let kinds = wire.ask_all(&keys.iter().map(|key| with("TYPE", key)).collect::<Vec<_>>());
        let kinds: Vec<String> = kinds.iter().map(text).collect();
        let questions: Vec<Vec<Words>> =
            keys.iter().zip(&kinds).map(|(key, kind)| questions(key, kind)).collect();
        let mut answers = wire.ask_all(&questions.concat()).into_iter();
        let keys = keys.into_iter().zip(kinds).zip(&questions).map(|((key, kind), asked)| {
            let mut of_key: Vec<Reply> = answers.by_ref().take(asked.len()).collect();
            let mut deadlines = deadlines(&of_key.remove(0));
            if kind == "hash" {
                // Field by field, in the order of FIELDS, which are the ones that the commands name.
                deadlines.extend(self::deadlines(&of_key.remove(0)));
            }
            (key, Key { value: value(&kind, &of_key), kind, deadlines })
        });
        Self { keys: keys.collect(), catalogs }
    }

    /// What is different in `later`, key by key.
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let mut differs = Vec::new();
        for (key, was) in &self.keys {
            let key_text = String::from_utf8_lossy(key);
            match later.keys.get(key) {
                None => differs.push(format!("{key_text} is gone")),
                Some(is) if is != was => differs.push(format!("{key_text} was {was:?} and is {is:?}")),
                Some(_) => {}
            }
        }
        let new = later.keys.iter().filter(|(key, _)| !self.keys.contains_key(*key));
        differs.extend(new.map(|(key, is)| format!("{} is new: {is:?}", String::from_utf8_lossy(key))));
        if self.catalogs != later.catalogs {
            differs.push(format!("catalogs were {:?} and are {:?}", self.catalogs, later.catalogs));
        }
        differs
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadlines: Vec<i64> = self.deadlines.iter().map(|at| at.0).collect();
        let value: String = self.value.chars().take(200).collect();
        write!(f, "{} {value} {deadlines:?}", self.kind)
    }
}

/// What is asked of a key: first its deadlines, then its value.
fn questions(key: &[u8], kind: &str) -> Vec<Words> {
    let then = |verb: &str, rest: &str| {
        let mut command = with(verb, key);
        command.extend(rest.split(' ').filter(|word| !word.is_empty()).map(|word| word.as_bytes().to_vec()));
        command
    };
    let mut all = vec![with("PTTL", key)];
    match kind {
        "string" => all.push(with("GET", key)),
        "list" => all.push(then("LRANGE", "0 -1")),
        "set" => all.push(with("SMEMBERS", key)),
        "hash" => all.extend([then("HPTTL", "FIELDS 4 a b c new"), with("HGETALL", key)]),
        "zset" => all.push(then("ZRANGE", "0 -1 WITHSCORES")),
        "stream" => all.extend([
            then("XRANGE", "- +"),
            [words("XINFO STREAM"), vec![key.to_vec()]].concat(),
            [words("XINFO GROUPS"), vec![key.to_vec()]].concat(),
            then("XPENDING", "g"),
        ]),
        // A script that names no key has put it on a shard where nobody looks for it.
        "none" => {}
        other => panic!("a new type of key, {other}: say here how to read it"),
    }
    all
}

fn with(verb: &str, key: &[u8]) -> Words {
    vec![verb.as_bytes().to_vec(), key.to_vec()]
}

fn deadlines(left: &Reply) -> Vec<Deadline> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    match left {
        Reply::Int(ms) if *ms >= 0 => vec![Deadline(now + ms)],
        Reply::Int(code) => vec![Deadline(*code)],
        Reply::Array(fields) => fields.iter().flat_map(deadlines).collect(),
        // Asked a moment after the key was listed: it ended in between.
        other => panic!("{other:?} for a deadline"),
    }
}

/// The value as text; where the server may choose an order, in ours.
fn value(kind: &str, answers: &[Reply]) -> String {
    let all: Vec<String> = match (kind, answers) {
        ("set", [Reply::Array(members)]) => sorted(members.iter().map(text).collect()),
        ("hash", [Reply::Array(pairs)]) => {
            sorted(pairs.chunks(2).map(|pair| pair.iter().map(text).collect::<Vec<_>>().join("=")).collect())
        }
        _ => answers.iter().map(text).collect(),
    };
    all.join(" ")
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

/// What a reply of `IDX.LIST` and its kin says, without what changes by itself.
fn names(list: &Reply) -> String {
    const COUNTERS: [&str; 5] = ["state", "entries", "bytes", "hits", "last_hit"];
    let Reply::Array(entries) = list else { panic!("{}", text(list)) };
    let entry = |entry: &Reply| {
        let Reply::Array(fields) = entry else { panic!("{}", text(entry)) };
        let kept = fields.chunks(2).filter(|pair| !COUNTERS.contains(&text(&pair[0]).as_str()));
        kept.map(|pair| pair.iter().map(text).collect::<Vec<_>>().join("=")).collect::<Vec<_>>().join(" ")
    };
    sorted(entries.iter().map(entry).collect()).join(", ")
}

pub fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Reply::Int(n) => n.to_string(),
        Reply::Array(all) => format!("[{}]", all.iter().map(text).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}
