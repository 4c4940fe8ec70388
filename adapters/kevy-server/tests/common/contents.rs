//! What a server holds, for comparisons.

use super::{Client, until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// Between two looks at one deadline: a node that is asked answers a little later than the clock was read.
const CLOSE_MS: i64 = 3_000;

/// Every key with its type and value, and when it ends.
pub type Contents = BTreeMap<String, (String, Option<i64>)>;

/// All that a server holds.
pub fn contents(client: &mut Client) -> Contents {
    let keys = client.ask_list("KEYS *");
    keys.into_iter()
        .map(|key| {
            let kind = client.ask_words(&["TYPE", &key]);
            let value = match kind.as_str() {
                "+string" => client.ask_words(&["GET", &key]),
                "+list" => client.ask_words(&["LRANGE", &key, "0", "-1"]),
                "+set" => sorted(client.list(&["SMEMBERS", &key]), 1),
                "+hash" => {
                    let fields = client.list(&["HKEYS", &key]);
                    let mut words = vec!["HPTTL", &key, "FIELDS"];
                    let count = fields.len().to_string();
                    words.push(&count);
                    words.extend(fields.iter().map(String::as_str));
                    let deadlines = client.list(&words);
                    let timed = deadlines.iter().map(|ttl| (ttl.as_str() > ":").to_string());
                    let timed =
                        sorted(fields.iter().cloned().zip(timed).flat_map(|(f, t)| [f, t]).collect(), 2);
                    sorted(client.list(&["HGETALL", &key]), 2) + &timed
                }
                "+zset" => client.ask_words(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]),
                "+stream" => {
                    let groups = client.ask_words(&["XINFO", "GROUPS", &key]);
                    let mut all = client.ask_words(&["XRANGE", &key, "-", "+"]) + &groups;
                    if groups.contains('g') {
                        let pending = client.ask_words(&["XPENDING", &key, "g"]);
                        all += &if pending.starts_with('-') { String::new() } else { pending };
                    }
                    all
                }
                _ => String::new(),
            };
            let ends = until("an answer comes soon after the clock was read", || {
                let now = now_ms();
                let left = client.ask_words(&["PTTL", &key])[1..].parse::<i64>().ok();
                let left = left.filter(|left| *left >= 0);
                (now_ms() - now < CLOSE_MS / 3).then_some(left.map(|left| now + left))
            });
            (key, (format!("{kind} {value}"), ends))
        })
        // It ended after the keys were listed.
        .filter(|(_, (text, _))| !text.starts_with("+none"))
        .collect()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn sorted(list: Vec<String>, by: usize) -> String {
    let mut parts: Vec<String> = list.chunks(by).map(|part| part.join(" ")).collect();
    parts.sort();
    format!("[{}]", parts.join(" "))
}

/// The keys that are not the same in both, and what they are there.
pub fn differences(right: &Contents, other: &Contents) -> Vec<String> {
    let keys: BTreeSet<&String> = right.keys().chain(other.keys()).collect();
    let same = |key: &&String| match (right.get(*key), other.get(*key)) {
        (Some((value, Some(ends))), Some((other, Some(there)))) => {
            value == other && (ends - there).abs() < CLOSE_MS
        }
        (here, there) => here == there,
    };
    keys.into_iter()
        .filter(|key| !same(key))
        .map(|key| format!("{key}: {:?} here, {:?} there", right.get(key), other.get(key)))
        .collect()
}
