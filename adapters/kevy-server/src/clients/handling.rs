//! How a command is handled beside being run.

use crate::clients::{bounds, effects};

/// Commands that need more than a look at their answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// Has a condition or a deadline.
    Conditional,
    Script,
    ReadOnlyScript,
    /// Moves an element of a list to another.
    Move,
    /// Depends on the clock, and kevy records what came of it.
    Timed,
    /// Asks for a deadline.
    Deadline,
    /// Has numbers that are looked at before it runs.
    Bounded,
    /// Declares a table.
    Declaration,
    Other,
}

impl Handling {
    pub(crate) fn of(upper: &[u8]) -> Self {
        match upper {
            b"EVAL" | b"EVALSHA" => Self::Script,
            b"EVAL_RO" | b"EVALSHA_RO" => Self::ReadOnlyScript,
            b"LMOVE" | b"RPOPLPUSH" | b"BRPOPLPUSH" => Self::Move,
            b"TABLE.DECLARE" | b"TABLE.ENSURE" | b"TABLE.REPLACE" => Self::Declaration,
            b"TTL" | b"PTTL" | b"HTTL" | b"HPTTL" => Self::Deadline,
            [b'X', ..] => Self::Timed,
            _ if effects::is_conditional(upper) => Self::Conditional,
            _ if bounds::is_bounded(upper) => Self::Bounded,
            _ => Self::Other,
        }
    }

    /// False: `verb`, in whatever case, is an [`Other`](Self::Other). Told by its first letter, its last and its length,
    /// because every command of a client comes here, and few need more.
    #[inline]
    pub(crate) fn may_be_special(verb: &[u8]) -> bool {
        let [first, .., last] = verb else { return false };
        SPECIAL[letter(*first)] >> sign(*last, verb.len()) & 1 != 0
    }
}

/// Those that are no [`Handling::Other`], a space behind each; and there are those that begin with an X.
const VERBS: &[u8] = b"EVAL EVALSHA EVAL_RO EVALSHA_RO LMOVE RPOPLPUSH BRPOPLPUSH TTL PTTL HTTL HPTTL SET SETNX SETEX PSETEX GETEX \
    EXPIRE PEXPIRE EXPIREAT PEXPIREAT HEXPIRE HPEXPIRE HPEXPIREAT RENAMENX APPEND SETRANGE SETBIT SPOP SRANDMEMBER \
    TABLE.DECLARE TABLE.ENSURE TABLE.REPLACE ";

/// For every first letter, the signs of the special commands that begin with it.
const SPECIAL: [u32; 32] = {
    let (mut signs, mut start, mut i) = ([0; 32], 0, 0);
    signs[letter(b'X')] = u32::MAX;
    while i < VERBS.len() {
        if VERBS[i] == b' ' {
            signs[letter(VERBS[start])] |= 1 << sign(VERBS[i - 1], i - start);
            start = i + 1;
        }
        i += 1;
    }
    signs
};

/// A letter without its case.
const fn letter(byte: u8) -> usize {
    (byte & 0x1F) as usize
}

const fn sign(last: u8, len: usize) -> usize {
    (letter(last) + 27 * len) % 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_special_command_is_taken_for_another_and_most_others_are_told_at_a_glance() {
        let verbs: Vec<&[u8]> = kevy::verb_meta::VERB_META.iter().map(|verb| verb.name.as_bytes()).collect();
        for verb in &verbs {
            let glance = Handling::may_be_special(verb);
            assert!(glance || Handling::of(verb) == Handling::Other, "{}", String::from_utf8_lossy(verb));
            assert_eq!(glance, Handling::may_be_special(&verb.to_ascii_lowercase()));
        }
        let others = verbs.iter().filter(|verb| !Handling::may_be_special(verb)).count();
        assert!(others * 10 > verbs.len() * 7, "{others} of {}", verbs.len());
        for verb in [
            "INCR", "DECR", "INCRBY", "DEL", "MGET", "HSET", "HGET", "LPUSH", "LPOP", "RPUSH", "SADD", "ZADD",
        ] {
            assert!(!Handling::may_be_special(verb.as_bytes()), "{verb}");
        }
    }
}
