//! Keys that ended by themselves: their time was up, or there was no room for them.
//!
//! kevy tells no replica of them, and writes none of them to its log. Here each shard keeps what ended until it can be
//! recorded as a deletion: before the next write to that key, in one frame with it, or else by a command that the server
//! sends to itself, which passes the gate like every other write.

use crate::clients::effects::{Frame, frame};
use crate::clients::loopback::Loopback;
use crate::inline::Inline;
use crate::process::clock;
use crate::shards::Shards;
use async_io::Timer;
use kevy_store::{KeyspaceEvent, Store};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The command by which the server asks a shard to record what ended there. Clients may send it too; it does the same.
pub(crate) const COMMAND: &[u8] = b"ELECT.EXPIRED";

/// Bytes of keys in one frame of deletions, well below what kevy's stream can carry.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// How often the clock is told to the store while keys have deadlines, and shards are asked about what ended.
const BEAT: Duration = Duration::from_millis(5);
/// For how long after a shard has said so.
const BEAT_FOR: Duration = Duration::from_secs(2);
/// Longest wait for the shards' answers; one may be busy with a script.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// What ended on one shard and is not recorded yet.
#[derive(Default)]
pub(crate) struct Ended {
    keys: RefCell<BTreeSet<Vec<u8>>>,
    /// Deletions of fields of hashes.
    fields: RefCell<Vec<Frame>>,
    any: Cell<bool>,
}

impl Ended {
    pub(crate) fn any(&self) -> bool {
        self.any.get()
    }

    pub(crate) fn add(&self, keys: Vec<Vec<u8>>) {
        self.keys.borrow_mut().extend(keys);
        self.update();
    }

    pub(crate) fn add_fields(&self, key: &[u8], fields: &[Vec<u8>]) {
        let mut words: Vec<&[u8]> = vec![b"HDEL", key];
        words.extend(fields.iter().map(Vec::as_slice));
        self.fields.borrow_mut().push(frame(&words));
        self.update();
    }

    /// Forgets the keys that exist again: what made them was recorded without regard to what was there before.
    pub(crate) fn forget_existing(&self, store: &Store) {
        self.keys.borrow_mut().retain(|key| !exists(store, key));
        self.update();
    }

    /// Takes the deletions of fields of these hashes.
    pub(crate) fn take_fields_of<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
        let keys: Vec<&[u8]> = keys.collect();
        let mut fields = self.fields.borrow_mut();
        let (own, others) = fields.drain(..).partition(|words: &Frame| keys.contains(&words[1].as_slice()));
        *fields = others;
        drop(fields);
        self.update();
        own
    }

    /// Takes the keys that exist again, because of the write that ran just now.
    pub(crate) fn take_existing(&self, store: &Store) -> Vec<Vec<u8>> {
        let mut keys = self.keys.borrow_mut();
        let again: Vec<Vec<u8>> = keys.iter().filter(|key| exists(store, key)).cloned().collect();
        keys.retain(|key| !again.contains(key));
        drop(keys);
        self.update();
        again
    }

    /// Takes as much as fits into one frame.
    pub(crate) fn take(&self, store: &Store) -> Vec<Frame> {
        self.forget_existing(store);
        let mut frames = Vec::new();
        let mut bytes = 0;
        let mut keys = self.keys.borrow_mut();
        let mut deletion = frame(&[b"DEL"]);
        while bytes < FRAME_BYTES_MAX
            && let Some(key) = keys.pop_first()
        {
            bytes += key.len();
            deletion.push(key);
        }
        if deletion.len() > 1 {
            frames.push(deletion);
        }
        let mut fields = self.fields.borrow_mut();
        while bytes < FRAME_BYTES_MAX
            && let Some(words) = fields.pop()
        {
            bytes += words.iter().map(Vec::len).sum::<usize>();
            frames.push(words);
        }
        drop((keys, fields));
        self.update();
        frames
    }

    /// Some key of this shard that waits.
    pub(crate) fn some_key(&self) -> Option<Vec<u8>> {
        let key = self.keys.borrow().first().cloned();
        key.or_else(|| self.fields.borrow().first().map(|words| words[1].clone()))
    }

    /// Another primary decides now.
    pub(crate) fn clear(&self) {
        self.keys.borrow_mut().clear();
        self.fields.borrow_mut().clear();
        self.update();
    }

    fn update(&self) {
        self.any.set(!self.keys.borrow().is_empty() || !self.fields.borrow().is_empty());
    }
}

/// A hash's key, and a field of it.
type Field = (Vec<u8>, Vec<u8>);

/// When fields of hashes end on this shard. kevy removes one that is over whenever it touches its hash, and tells
/// nobody; so they are removed here first.
pub(crate) struct Fields {
    due: RefCell<BTreeMap<u64, Vec<Field>>>,
    /// The earliest; `u64::MAX` if there is none.
    next: Cell<u64>,
    known: Cell<bool>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { due: RefCell::default(), next: Cell::new(u64::MAX), known: Cell::new(false) }
    }
}

impl Fields {
    /// Whether some field may be over.
    #[inline]
    pub(crate) fn are_due(&self) -> bool {
        self.any() && self.known.get() && self.next.get() <= kevy_store::now_unix_ms()
    }

    /// Whether any field has a deadline.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.next.get() < u64::MAX
    }

    /// Looks through the whole store, once in a reign.
    pub(crate) fn learn(&self, store: &Store) {
        if self.known.replace(true) {
            return;
        }
        store.hash_ttl_each(|key, field, at| self.insert(key, field, at));
        self.update();
    }

    /// Another primary decides now.
    pub(crate) fn forget(&self) {
        self.known.set(false);
        self.due.borrow_mut().clear();
        self.update();
    }

    /// Learns from what was recorded.
    pub(crate) fn note(&self, frames: &[Frame]) {
        for words in frames.iter().filter(|words| words[0] == b"HPEXPIREAT") {
            let at = std::str::from_utf8(&words[2]).ok().and_then(|at| at.parse().ok());
            for field in words.iter().skip(5) {
                self.insert(&words[1], field, at.unwrap_or(0));
            }
        }
        self.update();
    }

    /// Removes the fields that are over, and gives their hashes and them.
    pub(crate) fn take(&self, store: &mut Store) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
        // Sets, because one that was noted may have been learnt as well.
        let mut over: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let now = kevy_store::now_unix_ms();
        let mut due = self.due.borrow_mut();
        while let Some(entry) = due.first_entry().filter(|entry| *entry.key() <= now) {
            for (key, field) in entry.remove() {
                // It may have got another deadline since, or none, or be gone with its hash.
                if store.hash_field_deadlines(&key, &[&field])[0].is_some_and(|at| at <= now) {
                    over.entry(key).or_default().insert(field);
                }
            }
        }
        drop(due);
        self.update();
        for (key, fields) in &over {
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            // Whatever it says: kevy removes them itself as soon as it looks, so they are gone.
            let _ = store.hdel(key, &fields);
        }
        over.into_iter().map(|(key, fields)| (key, fields.into_iter().collect())).collect()
    }

    fn insert(&self, key: &[u8], field: &[u8], at: u64) {
        self.due.borrow_mut().entry(at).or_default().push((key.to_vec(), field.to_vec()));
    }

    fn update(&self) {
        self.next.set(self.due.borrow().first_key_value().map_or(u64::MAX, |(at, _)| *at));
    }
}

/// Whether a key is there, without a look at its deadline.
pub(crate) fn exists(store: &Store, key: &[u8]) -> bool {
    store.estimate_key_bytes(key).is_some()
}

/// The keys for which there was no room since the last look, if there is a limit.
pub(crate) fn evicted(store: &mut Store) -> Vec<Vec<u8>> {
    if store.maxmemory() == 0 || !store.has_notify_events() {
        return Vec::new();
    }
    let gone = |(event, key)| (event == KeyspaceEvent::Evicted).then_some(key);
    store.take_notify_events().into_iter().filter_map(gone).collect()
}

/// Tells the store the time, and asks shards to record what ended, while that is needed.
pub(crate) struct Keeper {
    shards: Arc<Shards>,
    /// Where this server's clients connect.
    address: SocketAddr,
    inline: Inline,
    /// For each shard, a key that ended there.
    waiting: Box<[Mutex<Option<Vec<u8>>>]>,
    born: Instant,
    /// In milliseconds since `born`.
    until: AtomicU64,
    beating: AtomicBool,
}

impl Keeper {
    pub(crate) fn new(shards: &Arc<Shards>, address: SocketAddr, inline: Inline) -> Arc<Self> {
        Arc::new(Self {
            shards: Arc::clone(shards),
            address,
            inline,
            waiting: (0..shards.count()).map(|_| Mutex::default()).collect(),
            born: Instant::now(),
            until: AtomicU64::new(0),
            beating: AtomicBool::new(false),
        })
    }

    /// Keys have deadlines on this primary, or `ended` there.
    pub(crate) fn call(self: &Arc<Self>, shard: usize, ended: Option<Vec<u8>>) {
        if ended.is_some() {
            *self.slot(shard) = ended;
        }
        let until = self.elapsed_ms() + BEAT_FOR.as_millis() as u64;
        self.until.fetch_max(until, Ordering::SeqCst);
        if !self.beating.swap(true, Ordering::SeqCst) {
            self.inline.spawn(beat(Arc::downgrade(self), self.address));
        }
    }

    fn slot(&self, shard: usize) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        self.waiting[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn goes_on(&self) -> bool {
        let needed = || self.elapsed_ms() < self.until.load(Ordering::SeqCst);
        if needed() {
            return true;
        }
        self.beating.store(false, Ordering::SeqCst);
        // Who called just now may have found it beating.
        needed() && !self.beating.swap(true, Ordering::SeqCst)
    }

    /// One key of every shard that waits.
    fn take_waiting(&self) -> Vec<Vec<u8>> {
        (0..self.waiting.len()).filter_map(|shard| self.slot(shard).take()).collect()
    }
}

async fn beat(keeper: Weak<Keeper>, address: SocketAddr) {
    let mut server = Loopback::new(address, ANSWER_TIMEOUT);
    while let Some(keeper) = keeper.upgrade().filter(|keeper| keeper.goes_on()) {
        if keeper.shards.check().is_ok() {
            clock::advance();
            let keys = keeper.take_waiting();
            if !keys.is_empty() {
                server = blocking::unblock(move || {
                    let commands: Vec<[&[u8]; 2]> = keys.iter().map(|key| [COMMAND, key]).collect();
                    // A shard that is not reached calls again with its next tick.
                    drop(server.ask(&commands));
                    server
                })
                .await;
            }
        }
        drop(keeper);
        Timer::after(BEAT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_store::SetCondition;

    fn text(frames: &[Frame]) -> Vec<String> {
        frames.iter().map(|frame| String::from_utf8_lossy(&frame.join(&b' ')).into_owned()).collect()
    }

    #[test]
    fn what_ended_is_recorded_once_and_not_if_it_exists_again() {
        let (ended, mut store) = (Ended::default(), Store::new());
        ended.add(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
        ended.add_fields(b"h", &[b"f".to_vec()]);
        store.set(b"b", b"new".to_vec(), None, SetCondition::Always);
        assert!(ended.any());
        assert_eq!(text(&ended.take(&store)), ["DEL a c", "HDEL h f"]);
        assert!(!ended.any() && ended.take(&store).is_empty());
    }

    #[test]
    fn a_write_takes_the_keys_that_it_made_again() {
        let (ended, mut store) = (Ended::default(), Store::new());
        ended.add(vec![b"a".to_vec(), b"b".to_vec()]);
        store.set(b"b", b"new".to_vec(), None, SetCondition::Always);
        assert_eq!(ended.take_existing(&store), [b"b".to_vec()]);
        assert_eq!(text(&ended.take(&store)), ["DEL a"]);
    }

    #[test]
    fn a_field_that_is_over_is_removed_once_and_one_that_was_renewed_is_not() {
        clock::advance();
        let (fields, mut store) = (Fields::default(), Store::new());
        let over = kevy_store::now_unix_ms() + 1;
        store.hset(b"h", &[(b"f", b"v"), (b"g", b"v"), (b"k", b"v")]).unwrap();
        for (field, at) in [(b"f", over), (b"g", over), (b"g", over + 100_000)] {
            store.hexpire_at(b"h", &[field], at, kevy_store::HExpireCond::Always).unwrap();
            let words: [&[u8]; 6] =
                [b"HPEXPIREAT", b"h", &at.to_string().into_bytes(), b"FIELDS", b"1", field];
            fields.note(&[frame(&words)]);
        }
        assert!(!fields.are_due(), "nothing is known before the first look");
        fields.learn(&store);
        while kevy_store::now_unix_ms() < over {
            clock::advance();
        }
        assert!(fields.are_due());
        assert_eq!(fields.take(&mut store), [(b"h".to_vec(), vec![b"f".to_vec()])]);
        assert!(!fields.are_due() && fields.take(&mut store).is_empty());
        assert_eq!(store.hlen(b"h").unwrap(), 2);
    }

    #[test]
    fn a_frame_of_deletions_has_a_limit() {
        let (ended, store) = (Ended::default(), Store::new());
        ended.add((0..100_000).map(|i| format!("{i:010}").into_bytes()).collect());
        let frames = ended.take(&store);
        assert!(frames[0].len() > 6_000 && frames[0].len() < 7_000 && ended.any(), "{}", frames[0].len());
    }
}
