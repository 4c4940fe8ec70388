//! `ELECT DIGEST`: what this node holds, as a digest per key, so that the contents of nodes can be compared without
//! moving them. `kevy-electctl compare` and `cargo chaos` ask it; it changes nothing and is answered in every role.
//!
//! | command | answer |
//! |---|---|
//! | `ELECT DIGEST INFO` | lines `name:value`: node, role, epoch, position, shards, this node's clock |
//! | `ELECT DIGEST SCAN shard cursor cutoff` | the next slice of a shard: next cursor, 1 if the walk must begin anew, brief records |
//! | `ELECT DIGEST SCAN shard cursor cutoff bits buckets` | the same, full records, only of keys in these buckets |
//! | `ELECT DIGEST KEYS shard cutoff key...` | full records of these keys |
//!
//! The state of a walk is its cursor, so a shard keeps nothing for anybody, and between two slices it serves its
//! clients: a slice ends after [`SLICE_KEYS`] keys or [`SLICE_BYTES`] bytes. One value is digested in one go, however
//! large it is. A key is in bucket `hash >> (64 - bits)`; `buckets` are little-endian `u32` in ascending order.
//!
//! A brief record is three little-endian `u64`: the key's hash, the digest of type and value, and the deadline in Unix
//! milliseconds or 0. A full one is the key's length as `u32`, the key, digest, deadline, and a byte for the type.
//! Keys whose deadline is before `cutoff` are left out: nodes that look at different moments would not agree on them.

use crate::position::sum::digest;
use crate::shards::Shards;
use kevy_resp::{encode_array_len, encode_bulk, encode_integer};
use kevy_rt::Store;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64;

/// Keys after which a slice ends: a third of a millisecond.
const SLICE_KEYS: usize = 1024;
/// Bytes of values after which a slice ends: about a millisecond.
const SLICE_BYTES: usize = 4 << 20;
/// Buckets of kevy's table after which a slice ends, however few keys are in them.
const SLICE_TABLE_BUCKETS: usize = 16 * 1024;
/// Buckets of kevy's table that are looked at together.
const PAGE_TABLE_BUCKETS: usize = 32;
/// A key that ends sooner than this is never touched: looking at one that has ended would remove it.
const SOON_MS: u64 = 1000;
/// Keys of one `KEYS`.
const KEYS_MAX: usize = 1024;

/// The command's name.
pub(crate) const VERB: &[u8] = b"ELECT";

/// What kevy names types, in the order of their codes.
const TYPES: [&str; 7] = ["none", "string", "list", "set", "zset", "hash", "stream"];

/// Whether `argv` is for this module.
pub(crate) fn is_ours(argv: &[Vec<u8>]) -> bool {
    argv.first().is_some_and(|verb| verb.eq_ignore_ascii_case(VERB))
}

/// The shard that answers.
pub(crate) fn target(argv: &[Vec<u8>], shards: usize) -> usize {
    match ask(argv) {
        Ok(Ask::Scan { shard, .. } | Ask::Keys { shard, .. }) if shard < shards => shard,
        _ => 0,
    }
}

/// The whole answer, made on the shard that [`target`] named.
pub(crate) fn answer(shards: &Shards, store: &mut Store, argv: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    match ask(argv) {
        Err(why) => kevy_resp::encode_error(&mut out, &format!("ERR {why}")),
        Ok(Ask::Info) => encode_bulk(&mut out, info(shards).as_bytes()),
        Ok(Ask::Scan { shard, .. } | Ask::Keys { shard, .. }) if shard >= shards.count() => {
            kevy_resp::encode_error(
                &mut out,
                &format!("ERR there is no shard {shard}: this node has {}", shards.count()),
            );
        }
        // Cold rows are read where they lie: a look must not make them hot.
        Ok(Ask::Scan { cursor, cutoff, filter, .. }) => store.peek_scope(|store| {
            let slice = scan(store, cursor, cutoff, filter);
            encode_array_len(&mut out, 3);
            encode_bulk(&mut out, slice.next.to_string().as_bytes());
            encode_integer(&mut out, i64::from(slice.anew));
            encode_bulk(&mut out, &slice.records);
        }),
        Ok(Ask::Keys { cutoff, keys, .. }) => store.peek_scope(|store| {
            let mut records = Vec::new();
            for key in keys {
                if let Some(seen) = look(store, key, cutoff) {
                    full(&mut records, key, &seen);
                }
            }
            encode_bulk(&mut out, &records);
        }),
    }
    out
}

/// What is asked.
enum Ask<'a> {
    Info,
    Scan { shard: usize, cursor: u64, cutoff: u64, filter: Option<Filter<'a>> },
    Keys { shard: usize, cutoff: u64, keys: &'a [Vec<u8>] },
}

fn ask(argv: &[Vec<u8>]) -> Result<Ask<'_>, &'static str> {
    const USAGE: &str = "use ELECT DIGEST INFO, ELECT DIGEST SCAN shard cursor cutoff [bits buckets] or ELECT DIGEST \
                         KEYS shard cutoff key [key ...]";
    let number = |i: usize| {
        let text = argv.get(i).and_then(|part| std::str::from_utf8(part).ok());
        text.and_then(|text| text.parse::<u64>().ok()).ok_or(USAGE)
    };
    let shard = || usize::try_from(number(3)?).map_err(|_| USAGE);
    if !argv.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"DIGEST")) {
        return Err("use ELECT STATUS, ELECT TRANSFER [node] [TIMEOUT ms] or ELECT DIGEST");
    }
    match argv.get(2).map(|word| word.to_ascii_uppercase()).as_deref() {
        Some(b"INFO") if argv.len() == 3 => Ok(Ask::Info),
        Some(b"SCAN") if argv.len() == 6 => {
            Ok(Ask::Scan { shard: shard()?, cursor: number(4)?, cutoff: number(5)?, filter: None })
        }
        Some(b"SCAN") if argv.len() == 8 => {
            let filter = Some(Filter::new(number(6)?, &argv[7])?);
            Ok(Ask::Scan { shard: shard()?, cursor: number(4)?, cutoff: number(5)?, filter })
        }
        Some(b"KEYS") if (6..6 + KEYS_MAX).contains(&argv.len()) => {
            Ok(Ask::Keys { shard: shard()?, cutoff: number(4)?, keys: &argv[5..] })
        }
        _ => Err(USAGE),
    }
}

/// The buckets that are wanted.
struct Filter<'a> {
    shift: u32,
    buckets: &'a [[u8; 4]],
}

impl<'a> Filter<'a> {
    fn new(bits: u64, buckets: &'a [u8]) -> Result<Self, &'static str> {
        let bits = u32::try_from(bits).ok().filter(|bits| (1..=32).contains(bits));
        match (bits, buckets.as_chunks()) {
            (Some(bits), (buckets, [])) => Ok(Self { shift: 64 - bits, buckets }),
            _ => Err("bits are 1 to 32, buckets little-endian 32-bit numbers"),
        }
    }

    fn wants(&self, hash: u64) -> bool {
        let bucket = hash >> self.shift;
        self.buckets.binary_search_by_key(&bucket, |bytes| u64::from(u32::from_le_bytes(*bytes))).is_ok()
    }
}

fn info(shards: &Shards) -> String {
    let (standing, progress) = (shards.standing(), shards.office().and_then(|office| office.progress()));
    let mut lines = String::new();
    if let Some(progress) = progress {
        let _ = write!(
            lines,
            "node:{}\r\nstream_epoch:{}\r\noffset:{}\r\n",
            progress.node, progress.stream_epoch, progress.offset
        );
    }
    let role = if standing.primary { "primary" } else { "replica" };
    let _ = write!(
        lines,
        "role:{role}\r\nepoch:{}\r\nshards:{}\r\nnow_ms:{}\r\n",
        standing.epoch,
        shards.count(),
        now_ms()
    );
    lines
}

struct Slice {
    next: u64,
    /// The table has grown since the cursor was made: some keys would come twice.
    anew: bool,
    records: Vec<u8>,
}

fn scan(store: &mut Store, cursor: u64, cutoff: u64, filter: Option<Filter<'_>>) -> Slice {
    let mut slice = Slice { next: cursor, anew: false, records: Vec::new() };
    if cursor != 0 && table(cursor) != table(start(store)) {
        return Slice { next: 0, anew: true, ..slice };
    }
    let (mut keys_seen, mut bytes, mut table_buckets) = (0, 0, 0);
    loop {
        let (next, keys) = store.walk_page(slice.next, PAGE_TABLE_BUCKETS, None);
        keys_seen += keys.len();
        table_buckets += PAGE_TABLE_BUCKETS;
        for key in keys {
            let hash = xxh3_64(&key);
            if filter.as_ref().is_some_and(|filter| !filter.wants(hash)) {
                continue;
            }
            let Some(seen) = look(store, &key, cutoff) else { continue };
            bytes += seen.bytes;
            match filter {
                Some(_) => full(&mut slice.records, &key, &seen),
                None => {
                    for number in [hash, seen.digest, seen.deadline] {
                        slice.records.extend_from_slice(&number.to_le_bytes());
                    }
                }
            }
        }
        slice.next = next;
        if next == 0
            || keys_seen >= SLICE_KEYS
            || bytes >= SLICE_BYTES
            || table_buckets >= SLICE_TABLE_BUCKETS
        {
            return slice;
        }
    }
}

/// Which table a cursor of kevy's walk belongs to: kevy keeps the table's size there, and begins anew in silence when it
/// does not fit any more.
fn table(cursor: u64) -> u64 {
    cursor >> 56
}

/// A cursor of the table as it is now, or 0 where it is so small that there is none.
fn start(store: &Store) -> u64 {
    store.walk_page(0, 1, Some(b"no key is meant")).0
}

struct Seen {
    digest: u64,
    deadline: u64,
    kind: u8,
    /// How much was read.
    bytes: usize,
}

/// One key; `None` if it is not there, or ends before `cutoff`.
fn look(store: &mut Store, key: &[u8], cutoff: u64) -> Option<Seen> {
    let deadline = store.deadline_unix_ms(key);
    if deadline.is_some_and(|at| at < cutoff.max(now_ms() + SOON_MS)) {
        return None;
    }
    // Strings of more than a few bytes and all collections are shared, not copied.
    let (value, _) = store.clone_with_ttl(key)?;
    let kind = TYPES.iter().position(|name| *name == value.type_name()).unwrap_or(0) as u8;
    let (digest, bytes) = digest(store, key, &value, kind);
    Some(Seen { digest, deadline: deadline.unwrap_or(0), kind, bytes: bytes + key.len() })
}

fn full(records: &mut Vec<u8>, key: &[u8], seen: &Seen) {
    records.extend_from_slice(&(key.len() as u32).to_le_bytes());
    records.extend_from_slice(key);
    records.extend_from_slice(&seen.digest.to_le_bytes());
    records.extend_from_slice(&seen.deadline.to_le_bytes());
    records.push(seen.kind);
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_store::SetCondition;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn set(store: &mut Store, key: &str, value: &[u8], ttl: Option<Duration>) {
        store.set(key.as_bytes(), value.to_vec(), ttl, SetCondition::Always);
    }

    fn of(store: &mut Store, key: &str) -> Option<u64> {
        look(store, key.as_bytes(), 0).map(|seen| seen.digest)
    }

    /// Hash and digest of every key, and how many slices it took. `between`: what happens after each.
    fn walk(store: &mut Store, mut between: impl FnMut(&mut Store, usize)) -> (BTreeMap<u64, u64>, usize) {
        let (mut found, mut slices, mut cursor) = (BTreeMap::new(), 0, 0);
        loop {
            let slice = scan(store, cursor, 0, None);
            slices += 1;
            if slice.anew {
                found.clear();
            }
            for record in slice.records.as_chunks::<24>().0 {
                let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
                assert!(found.insert(number(0), number(8)).is_none(), "a key came twice");
            }
            cursor = slice.next;
            if cursor == 0 && !slice.anew {
                return (found, slices);
            }
            between(store, slices);
        }
    }

    #[test]
    fn every_key_comes_once_in_slices_also_while_the_table_grows() {
        let mut store = Store::new();
        for i in 0..20_000 {
            set(&mut store, &format!("k{i}"), b"v", None);
        }
        let (found, slices) = walk(&mut store, |_, _| {});
        assert_eq!(found.len(), 20_000);
        assert!(slices > 10, "{slices} slices");
        let (found, _) = walk(&mut store, |store, slice| {
            if slice == 3 {
                for i in 0..60_000 {
                    set(store, &format!("more{i}"), b"v", None);
                }
            }
        });
        assert_eq!(found.len(), 80_000);
    }

    #[test]
    fn a_slice_ends_after_so_many_bytes() {
        let mut store = Store::new();
        for i in 0..1000 {
            set(&mut store, &format!("k{i}"), &vec![7; 256 * 1024], None);
        }
        let (found, slices) = walk(&mut store, |_, _| {});
        assert_eq!(found.len(), 1000);
        assert!(slices > 20, "250 MB in {slices} slices");
    }

    #[test]
    fn values_that_clients_cannot_tell_apart_have_one_digest_and_all_others_their_own() {
        let (mut one, mut other) = (Store::new(), Store::new());
        let members: Vec<Vec<u8>> = (0..500).map(|i| format!("member-{i}").into_bytes()).collect();
        let all: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
        let back: Vec<&[u8]> = all.iter().rev().copied().collect();
        one.sadd(b"set", &all).unwrap();
        other.sadd(b"set", &back).unwrap();
        one.rpush(b"list", &all).unwrap();
        other.rpush(b"list", &back).unwrap();
        let pairs = |members: &[&'static [u8]]| members.iter().map(|m| (*m, *m)).collect::<Vec<_>>();
        one.hset(b"hash", &pairs(&[b"a", b"b"])).unwrap();
        other.hset(b"hash", &pairs(&[b"b", b"a"])).unwrap();
        set(&mut one, "n", b"41", None);
        set(&mut other, "n", b"40", None);
        other.incr_by(b"n", 1).unwrap();
        for key in ["set", "hash", "n"] {
            assert_eq!(of(&mut one, key), of(&mut other, key), "{key}");
        }
        assert_ne!(of(&mut one, "list"), of(&mut other, "list"), "a list has an order");
        let mut seen = vec![of(&mut one, "set"), of(&mut one, "list"), of(&mut other, "list")];
        other.srem(b"set", &[b"member-7"]).unwrap();
        seen.push(of(&mut other, "set"));
        other.hset(b"hash", &[(b"a", b"b")]).unwrap();
        seen.extend([of(&mut other, "hash"), of(&mut one, "hash"), of(&mut one, "n")]);
        // The same bytes as other types, and cut at other places.
        one.rpush(b"cut", &[b"ab", b"c"]).unwrap();
        other.rpush(b"cut", &[b"a", b"bc"]).unwrap();
        one.sadd(b"one", &[b"x"]).unwrap();
        other.rpush(b"one", &[b"x"]).unwrap();
        seen.extend([of(&mut one, "cut"), of(&mut other, "cut"), of(&mut one, "one"), of(&mut other, "one")]);
        set(&mut one, "s", b"x", None);
        seen.push(of(&mut one, "s"));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "two different values have one digest");
        assert!(seen.iter().all(Option::is_some));
    }

    #[test]
    fn a_fields_deadline_is_a_part_of_the_hash() {
        let mut store = Store::new();
        store.hset(b"h", &[(b"f", b"v")]).unwrap();
        let before = of(&mut store, "h");
        let at = now_ms() + 100_000;
        store.hexpire_at(b"h", &[b"f"], at, kevy_store::HExpireCond::Always).unwrap();
        assert_ne!(of(&mut store, "h"), before);
    }

    #[test]
    fn keys_that_end_soon_are_left_out_and_looking_removes_nothing() {
        crate::process::clock::advance();
        let mut store = Store::new();
        set(&mut store, "soon", b"v", Some(Duration::from_millis(1)));
        set(&mut store, "later", b"v", Some(Duration::from_secs(100)));
        let until_it_has_ended = now_ms() + 5;
        while now_ms() < until_it_has_ended {
            std::hint::spin_loop();
        }
        assert_eq!(of(&mut store, "soon"), None);
        assert_eq!(walk(&mut store, |_, _| {}).0.len(), 1);
        assert_eq!(store.dbsize(), 2, "nothing was removed");
        let seen = look(&mut store, b"later", 0).unwrap();
        assert!((90_000..101_000).contains(&(seen.deadline - now_ms())));
        assert!(look(&mut store, b"later", seen.deadline + 1).is_none());
    }

    #[test]
    fn buckets_and_questions_are_read_strictly() {
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        for wrong in [
            "ELECT",
            "ELECT STATUSES",
            "ELECT DIGEST",
            "ELECT DIGEST INFO 1",
            "ELECT DIGEST SCAN 0 0",
            "ELECT DIGEST SCAN x 0 0",
            "ELECT DIGEST SCAN 0 0 0 33 abcd",
            "ELECT DIGEST SCAN 0 0 0 4 abc",
            "ELECT DIGEST KEYS 0 0",
        ] {
            assert!(ask(&words(wrong)).is_err(), "{wrong}");
        }
        assert!(matches!(ask(&words("elect digest scan 3 0 0")), Ok(Ask::Scan { shard: 3, cursor: 0, .. })));
        let filter = Filter::new(4, &[0, 0, 0, 0, 15, 0, 0, 0]).unwrap();
        assert!(filter.wants(0) && filter.wants(u64::MAX) && !filter.wants(1 << 60));
    }
}
