//! Commands about which there is nothing to ask, told by their name in one look.
//!
//! Most reads are of that kind, and kevy numbers only `GET`: without this, each of them would be compared with everything that
//! it is not.

use crate::clients::handling::Handling;
use crate::clients::harmless::is_harmless_verb;
use crate::clients::replies::Overridden;
use std::sync::LazyLock;

/// The one of the process.
static PLAIN: LazyLock<Plain> =
    LazyLock::new(|| Plain::new(kevy::verb_meta::VERB_META.iter().map(|verb| verb.name)));

/// Slots, of which each has at most one name.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;
/// Found by trying: with it no two names come to one slot, as the test says. One that found its slot taken would only take the long
/// way.
const SPREAD: u64 = 0x9E37_79B9_7F4A_DC85;

/// Names of commands that change nothing (F13), are answered by kevy, are no part of a transaction and need no look at their
/// answer. Whoever is in here has been looked at: a command that nobody knows is not.
pub(crate) struct Plain(Box<[u64; SLOTS]>);

impl Plain {
    /// The table of kevy's commands.
    pub(crate) fn get() -> &'static Self {
        &PLAIN
    }

    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut slots = Box::new([0; SLOTS]);
        for word in names.map(str::as_bytes).filter(|name| is_plain(name)).map(word) {
            let slot = &mut slots[slot(word)];
            if *slot == 0 {
                *slot = word;
            }
        }
        Self(slots)
    }

    /// Whether `verb`, in whatever case, is one.
    #[inline]
    pub(crate) fn has(&self, verb: &[u8]) -> bool {
        let word = word(verb);
        word != 0 && self.0[slot(word)] == word
    }
}

fn is_plain(name: &[u8]) -> bool {
    let queues = matches!(name, b"MULTI" | b"EXEC" | b"DISCARD");
    // Only of letters the upper case is told from everything else.
    name.iter().all(u8::is_ascii_uppercase)
        && is_harmless_verb(name)
        && Overridden::of(name).is_none()
        && !Handling::may_be_special(name)
        && !queues
}

/// The letters of a name of four to eight bytes, without their case; zero for any other name.
#[inline]
fn word(verb: &[u8]) -> u64 {
    const CASE: u8 = 0x20;
    const LETTERS: u64 = u64::from_ne_bytes([!CASE; 8]);
    match (verb.first_chunk::<4>(), verb.last_chunk::<4>()) {
        // A zero at the end, or what would become one, looks like the end of a shorter name.
        (Some(first), Some(last)) if verb.len() <= 8 && last[3] & !CASE != 0 => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            // Where the two overlap they are the same.
            (u64::from(first) | u64::from(last) << (8 * (verb.len() - 4))) & LETTERS
        }
        _ => 0,
    }
}

#[inline]
fn slot(word: u64) -> usize {
    (word.wrapping_mul(SPREAD) >> (u64::BITS - SLOT_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_letters_is_told_from_all_others_in_any_case() {
        let names = || kevy::verb_meta::VERB_META.iter().map(|verb| verb.name.as_bytes());
        let plain: Vec<&[u8]> = names().filter(|name| is_plain(name) && word(name) != 0).collect();
        assert!(plain.len() > 40, "{}", plain.len());
        for name in names() {
            let has = plain.contains(&name);
            for spelt in [name.to_vec(), name.to_ascii_lowercase()] {
                assert_eq!(Plain::get().has(&spelt), has, "{}", String::from_utf8_lossy(name));
            }
        }
        for name in ["PING", "HGET", "EXISTS", "MGET", "LRANGE", "SMEMBERS"] {
            assert!(Plain::get().has(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for name in [
            "",
            "GET",
            "PIN",
            "PINGS",
            "PING\0",
            "PING ",
            "PING\0\0\0",
            "\0\0\0\0",
            "P\x09NG",
            "@HGET",
            "HGETALLX",
            "SET",
            "MULTI",
            "EVAL_RO",
        ] {
            assert!(!Plain::get().has(name.as_bytes()), "{name:?}");
        }
        // Another byte of any kind in any place.
        for at in 0..4 {
            for byte in 0..=u8::MAX {
                let mut name = *b"HGET";
                name[at] = byte;
                let is = name.eq_ignore_ascii_case(b"HGET") || kevy_has(&name);
                assert_eq!(Plain::get().has(&name), is, "{name:?}");
            }
        }
    }

    fn kevy_has(name: &[u8]) -> bool {
        is_plain(&name.to_ascii_uppercase())
            && kevy::verb_meta::VERB_META.iter().any(|verb| verb.name.as_bytes().eq_ignore_ascii_case(name))
    }
}
