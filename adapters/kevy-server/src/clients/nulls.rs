//! Nulls as RESP3 spells them.
//!
//! kevy answers `$-1` and `*-1` after `HELLO 3` too, and clients that speak RESP3 only wait for the rest of that for ever. So
//! a reply is gone through before it leaves. Three commands never ask for one: a plain `GET` is answered by the shard's loop
//! itself, `MGET` and `RANDOMKEY` are put together from several shards. On a shard where somebody speaks RESP3 they take the
//! one way that says at its end in which protocol the answer is to be.

use kevy_resp::{Argv, encode_array_len, encode_bulk, encode_null_bulk};
use kevy_rt::{ArgvView, Route, Store};
use std::hash::{BuildHasher, RandomState};

/// Spells the nulls of the replies that begin at `from` in RESP3. What is inside of strings is left alone.
pub(crate) fn spell(out: &mut Vec<u8>, from: usize) {
    if !matches!(out.get(from), Some(b'$' | b'*' | b'%' | b'~' | b'>')) {
        return;
    }
    let (mut read, mut write) = (from, from);
    // Up to here nothing has moved, so that a long reply without nulls is only looked at.
    while let Some((end, null)) = frame(out, read) {
        if null {
            out[write..write + NULL.len()].copy_from_slice(NULL);
            write += NULL.len();
        } else {
            if read != write {
                out.copy_within(read..end, write);
            }
            write += end - read;
        }
        read = end;
    }
    // Only a reply that is cut off has a rest.
    let rest = out.len() - read;
    out.copy_within(read.., write);
    out.truncate(write + rest);
}

/// RESP3's null. Shorter than both of RESP2's.
const NULL: &[u8] = b"_\r\n";

/// Where what begins at `at` ends, and whether it is a null of RESP2. Of an array that is its head.
fn frame(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let kind = *bytes.get(at)?;
    let line = at + bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
    let text = bytes.get(at + 1..line.checked_sub(2)?)?;
    match kind {
        b'$' | b'*' if text == b"-1" => Some((line, true)),
        b'$' | b'=' | b'!' => {
            let length: usize = std::str::from_utf8(text).ok()?.parse().ok()?;
            let end = line.checked_add(length)?.checked_add(2)?;
            (end <= bytes.len()).then_some((end, false))
        }
        _ => Some((line, false)),
    }
}

/// A command whose null kevy spells without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detour {
    Get,
    Mget,
    RandomKey,
}

impl Detour {
    /// Whether a command that kevy would send along `route` has to take the longer way, where somebody speaks RESP3.
    pub(crate) fn of<A: ArgvView + ?Sized>(args: &A, route: &Route) -> Option<Self> {
        let verb = args.first()?;
        let is = |word: &[u8]| verb.eq_ignore_ascii_case(word);
        match route {
            Route::Single(1) if args.len() == 2 && is(b"GET") => Some(Self::Get),
            Route::Gather(_) if is(b"MGET") => Some(Self::Mget),
            Route::RandomKey => Some(Self::RandomKey),
            _ => None,
        }
    }

    /// The same for words that came along that way. No other command that does is called like these.
    pub(crate) fn on_way(words: &[Vec<u8>]) -> Option<Self> {
        let verb = words.first()?;
        [(&b"GET"[..], Self::Get), (b"MGET", Self::Mget), (b"RANDOMKEY", Self::RandomKey)]
            .into_iter()
            .find_map(|(word, detour)| verb.eq_ignore_ascii_case(word).then_some(detour))
    }

    /// The shards that have to be asked; all, where none are named.
    pub(crate) fn targets(self, words: &[Vec<u8>], shard_of: impl Fn(&[u8]) -> usize) -> Option<Vec<usize>> {
        if self == Self::RandomKey {
            return None;
        }
        let mut shards: Vec<usize> = words[1..].iter().map(|key| shard_of(key)).collect();
        shards.sort_unstable();
        shards.dedup();
        Some(shards)
    }

    /// What `shard` answers.
    pub(crate) fn serve(
        self,
        words: &[Vec<u8>],
        store: &mut Store,
        shard: usize,
        shard_of: impl Fn(&[u8]) -> usize,
    ) -> Vec<u8> {
        let mut chunk = Vec::new();
        match self {
            Self::Get => drop(kevy_verbs::exec(store, b"GET", &Argv::from(words.to_vec()), &mut chunk)),
            Self::Mget => {
                chunk.extend_from_slice(&(shard as u64).to_le_bytes());
                for key in words[1..].iter().filter(|key| shard_of(key) == shard) {
                    match store.get(key) {
                        Ok(Some(value)) => encode_bulk(&mut chunk, &value),
                        // Also where something else than a string is.
                        _ => encode_null_bulk(&mut chunk),
                    }
                }
            }
            Self::RandomKey => {
                chunk.extend_from_slice(&(store.dbsize() as u64).to_le_bytes());
                match store.random_key() {
                    Some(key) => encode_bulk(&mut chunk, &key),
                    None => encode_null_bulk(&mut chunk),
                }
            }
        }
        chunk
    }

    /// The answer, in RESP2, out of what the shards answered.
    pub(crate) fn answer(
        self,
        words: &[Vec<u8>],
        mut chunks: Vec<Vec<u8>>,
        shard_of: impl Fn(&[u8]) -> usize,
    ) -> Vec<u8> {
        match self {
            Self::Get => chunks.pop().unwrap_or_default(),
            Self::Mget => {
                // What each shard answered to its keys, and how far that has been read.
                let mut parts: Vec<(usize, &[u8], usize)> = chunks
                    .iter()
                    .filter_map(|chunk| {
                        let (shard, values) = head(chunk)?;
                        Some((usize::try_from(shard).ok()?, values, 0))
                    })
                    .collect();
                let mut out = Vec::with_capacity(chunks.iter().map(Vec::len).sum());
                encode_array_len(&mut out, words.len() as i64 - 1);
                for key in &words[1..] {
                    let owner = shard_of(key);
                    let element =
                        parts.iter_mut().find(|part| part.0 == owner).and_then(|(_, values, at)| {
                            let (end, _) = frame(values, *at)?;
                            let element = &values[*at..end];
                            *at = end;
                            Some(element)
                        });
                    out.extend_from_slice(element.unwrap_or(b"$-1\r\n"));
                }
                out
            }
            Self::RandomKey => {
                let held = |chunk: &Vec<u8>| head(chunk).map_or(0, |(keys, _)| keys);
                let all: u64 = chunks.iter().map(held).sum();
                // A shard with twice the keys is chosen twice as often.
                let mut draw = RandomState::new().hash_one(all).checked_rem(all).unwrap_or(0);
                let chosen = chunks.iter().find(|chunk| {
                    let held = held(chunk);
                    let here = draw < held;
                    draw = draw.saturating_sub(held);
                    here
                });
                let reply = chosen.and_then(|chunk| head(chunk)).map(|(_, reply)| reply.to_vec());
                reply.unwrap_or_else(|| b"$-1\r\n".to_vec())
            }
        }
    }
}

fn head(chunk: &[u8]) -> Option<(u64, &[u8])> {
    let (number, reply) = chunk.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(reply: &[u8]) -> String {
        let mut out = [b"+before\r\n", reply].concat();
        spell(&mut out, 9);
        String::from_utf8_lossy(&out[9..]).into_owned()
    }

    #[test]
    fn nulls_are_spelt_anew_wherever_they_are() {
        assert_eq!(spelt(b"$-1\r\n"), "_\r\n");
        assert_eq!(spelt(b"*-1\r\n"), "_\r\n");
        assert_eq!(
            spelt(b"*3\r\n$1\r\na\r\n$-1\r\n*2\r\n*-1\r\n:1\r\n"),
            "*3\r\n$1\r\na\r\n_\r\n*2\r\n_\r\n:1\r\n"
        );
        assert_eq!(
            spelt(b"%1\r\n$1\r\na\r\n$-1\r\n*1\r\n$-1\r\n"),
            "%1\r\n$1\r\na\r\n_\r\n*1\r\n_\r\n",
            "two replies"
        );
    }

    #[test]
    fn what_is_no_null_stays() {
        for reply in [
            "$5\r\n$-1\r\n\r\n",
            "*2\r\n$10\r\n$-1\r\n*-1\r\n\r\n=8\r\ntxt:*-1\n\r\n",
            "-ERR $-1\r\n",
            ":-1\r\n",
            "*0\r\n",
            "$0\r\n\r\n",
            "_\r\n",
            "",
        ] {
            assert_eq!(spelt(reply.as_bytes()), reply);
        }
        assert_eq!(spelt(b"*2\r\n$-1\r\n$9\r\ncut"), "*2\r\n_\r\n$9\r\ncut", "no more than is there");
    }

    #[test]
    fn what_several_shards_answered_is_put_together_in_the_order_of_the_keys() {
        let words: Vec<Vec<u8>> =
            ["MGET", "b1", "a1", "a2", "b1"].map(|word| word.as_bytes().to_vec()).into();
        let shard_of = |key: &[u8]| usize::from(key[0] == b'b');
        let detour = Detour::on_way(&words);
        assert_eq!(detour, Some(Detour::Mget));
        let Some(detour) = detour else { return };
        assert_eq!(detour.targets(&words, shard_of), Some(vec![0, 1]));
        let mut stores = [Store::new(), Store::new()];
        for (shard, key, value) in [(0, "a2", "y"), (1, "b1", "x")] {
            let set = Argv::from(["SET", key, value].map(|word| word.as_bytes().to_vec()).to_vec());
            drop(kevy_verbs::exec(&mut stores[shard], b"SET", &set, &mut Vec::new()));
        }
        let mut chunk = |shard: usize| detour.serve(&words, &mut stores[shard], shard, shard_of);
        let chunks = vec![chunk(1), chunk(0)];
        let answer = detour.answer(&words, chunks, shard_of);
        assert_eq!(String::from_utf8_lossy(&answer), "*4\r\n$1\r\nx\r\n$-1\r\n$1\r\ny\r\n$1\r\nx\r\n");
    }

    #[test]
    fn a_random_key_comes_from_a_shard_that_has_one() {
        let words = vec![b"randomkey".to_vec()];
        let mut store = Store::new();
        let chunk = |store: &mut Store| Detour::RandomKey.serve(&words, store, 0, |_| 0);
        let none = chunk(&mut store);
        let set = Argv::from(["SET", "k", "v"].map(|word| word.as_bytes().to_vec()).to_vec());
        drop(kevy_verbs::exec(&mut store, b"SET", &set, &mut Vec::new()));
        let one = chunk(&mut store);
        let answer = |chunks| Detour::RandomKey.answer(&words, chunks, |_| 0);
        assert_eq!(answer(vec![none.clone(), one, none.clone()]), b"$1\r\nk\r\n");
        assert_eq!(answer(vec![none]), b"$-1\r\n");
    }
}
