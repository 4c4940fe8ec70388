//! What one client listens for.

use crate::reply::Reply;
use crate::switch::Message;
use std::collections::BTreeSet;

/// Channels and patterns of one client.
const SUBSCRIPTIONS_MAX: usize = 64;

/// What a client listens for: names of channels, and patterns.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    channels: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
}

/// Names or patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    Pattern,
}

impl Subscriptions {
    pub(crate) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(crate) fn begin(&mut self, kind: Kind, wanted: &[&[u8]], reply: &mut Reply<'_>) {
        for name in wanted {
            if self.count() >= SUBSCRIPTIONS_MAX && !self.of(kind).contains(*name) {
                reply
                    .error(&format!("ERR a client may listen for {SUBSCRIPTIONS_MAX} channels and patterns"));
                continue;
            }
            self.of(kind).insert(name.to_vec());
            self.confirm(kind, "subscribe", Some(name), reply);
        }
    }

    /// Ends those that are given, or all.
    pub(crate) fn end(&mut self, kind: Kind, unwanted: &[&[u8]], reply: &mut Reply<'_>) {
        let all: Vec<Vec<u8>> = match unwanted.is_empty() {
            true => self.of(kind).iter().cloned().collect(),
            false => unwanted.iter().map(|name| name.to_vec()).collect(),
        };
        if all.is_empty() {
            self.confirm(kind, "unsubscribe", None, reply);
        }
        for name in all {
            self.of(kind).remove(&name);
            self.confirm(kind, "unsubscribe", Some(&name), reply);
        }
    }

    /// Writes `message` as often as the client has asked for it.
    pub(crate) fn tell(&self, message: &Message, reply: &mut Reply<'_>) {
        let channel = message.channel.as_bytes();
        if self.channels.contains(channel) {
            reply.push(3);
            reply.bulk("message");
            reply.bulk(channel);
            reply.bulk(&message.text);
        }
        for pattern in self.patterns.iter().filter(|pattern| matches(pattern, channel)) {
            reply.push(4);
            reply.bulk("pmessage");
            reply.bulk(pattern);
            reply.bulk(channel);
            reply.bulk(&message.text);
        }
    }

    fn of(&mut self, kind: Kind) -> &mut BTreeSet<Vec<u8>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    fn confirm(&self, kind: Kind, what: &str, name: Option<&[u8]>, reply: &mut Reply<'_>) {
        reply.push(3);
        reply.bulk(match kind {
            Kind::Channel => what.to_owned(),
            Kind::Pattern => format!("p{what}"),
        });
        match name {
            Some(name) => reply.bulk(name),
            None => reply.null(),
        }
        reply.number(i64::try_from(self.count()).unwrap_or(i64::MAX));
    }
}

/// Whether `pattern` matches all of `text`, as Redis has it: `*`, `?`, `[ab]`, `[^a]`, `[a-z]`, and `\` before what is meant as it is.
///
/// Goes back to the last `*` only, so a pattern costs at most its length times that of the text.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, from));
            at += 1;
            continue;
        }
        if let Some(next) = one(pattern, at, text[from]) {
            (at, from) = (next, from + 1);
            continue;
        }
        let Some((after, begun)) = star else { return false };
        star = Some((after, begun + 1));
        (at, from) = (after, begun + 1);
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Where the pattern goes on if its part at `at` matches `byte`.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match (*pattern.get(at)?, pattern.get(at + 1)) {
        (b'?', _) => Some(at + 1),
        (b'\\', Some(meant)) => (*meant == byte).then_some(at + 2),
        (b'[', Some(first)) => {
            let negated = *first == b'^';
            let begin = at + 1 + usize::from(negated);
            let end = begin + pattern[begin..].iter().position(|b| *b == b']')?;
            let mut set = &pattern[begin..end];
            let mut found = false;
            while let [low, rest @ ..] = set {
                match rest {
                    [b'-', high, rest @ ..] => {
                        found |= (*low..=*high).contains(&byte);
                        set = rest;
                    }
                    rest => {
                        found |= *low == byte;
                        set = rest;
                    }
                }
            }
            (found != negated).then_some(end + 1)
        }
        (literal, _) => (literal == byte).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let yes =
            ["*", "+switch-master", "+*", "*master", "?switch*", "[-+]switch-master", "[^a-z]s*", "\\+s*r"];
        for pattern in yes {
            assert!(matches(pattern.as_bytes(), b"+switch-master"), "{pattern}");
        }
        for pattern in ["", "switch-master", "+switch", "[-]*", "[^+]*", "*x", "[", "\\", "+switch-master?"] {
            assert!(!matches(pattern.as_bytes(), b"+switch-master"), "{pattern}");
        }
        assert!(matches(b"***", b"") && !matches(b"?", b""));
    }

    #[test]
    fn a_hostile_pattern_costs_no_time() {
        let pattern = b"*a".repeat(10_000);
        assert!(!matches(&pattern, &b"+switch-master".repeat(1000)));
    }
}
