//! What scripts may do, and what is recorded of it.
//!
//! kevy runs scripts on one interpreter per shard, and takes one that is there. This one sees every `redis.call`:
//! it lets data commands pass and nothing else, asks the gate for every write, and notes what each has done.

use crate::clients::bounds::{self, Bound};
use crate::clients::effects::{self, Frame};
use crate::clients::replies;
use crate::shards::Shards;
use kevy::{KevyCommands, RuntimeState};
use kevy_lua::LuaVersion;
use kevy_lua_host::{LuaHost, with_thread_host};
use kevy_persist::Routing;
use kevy_resp::{Argv, ArgvView, encode_error};
use kevy_rt::{Commands, shard_of_key};
use kevy_store::Store;
use kevy_verbs::args::upper_verb;
use std::cell::RefCell;
use std::sync::Arc;

/// Instructions that kevy takes for a millisecond.
const INSTRUCTIONS_PER_MS: i64 = 40_000;

const NOT_ALLOWED: &str = "ERR This Redis command is not allowed from script";
const READ_ONLY: &[u8] = b"-READONLY can't write against a read-only script\r\n";
const CROSS_SHARD: &str = "CROSSSLOT Lua redis.call target key is on a different shard than the EVAL. \
    Use {hashtag} to colocate keys, or run kevy --threads 1.";
const RECORD_FULL: &str = "ERR this script has written as much as one record holds (a million words, 512 MiB). \
    What it wrote stays; do less in each call.";
const PARTIAL_FLUSH: &str = "ERR a script would empty one shard of several; send FLUSHALL as a command";

/// The verb by which a script may only read, of one that may write.
pub(crate) fn reading(verb: &[u8]) -> Option<&'static [u8]> {
    match () {
        () if verb.eq_ignore_ascii_case(b"EVAL") => Some(b"EVAL_RO"),
        () if verb.eq_ignore_ascii_case(b"EVALSHA") => Some(b"EVALSHA_RO"),
        () => None,
    }
}

/// What a script has done so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) frames: Vec<Frame>,
    /// Keys whose dependants (indexes, watchers) must hear of it.
    pub(crate) touched: Vec<Vec<u8>>,
    pub(crate) flushed: bool,
    /// How much is in `frames`.
    words: usize,
    bytes: usize,
}

impl Done {
    fn add(&mut self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.words += frame.len() + 1;
            self.bytes += frame.iter().map(Vec::len).sum::<usize>();
            self.frames.push(frame);
        }
    }

    /// Whether one more command may be run, of which the record grows by no more than this.
    fn has_room(&self, words: usize, bytes: usize) -> bool {
        self.words + words <= bounds::RECORD_WORDS_MAX && self.bytes + bytes <= bounds::RECORD_BYTES_MAX
    }
}

thread_local! {
    /// Of the script that runs on this thread, if one does.
    static RUNNING: RefCell<Option<Done>> = const { RefCell::new(None) };
}

/// Begins to note what a script does.
pub(crate) fn begin() {
    RUNNING.with_borrow_mut(|running| *running = Some(Done::default()));
}

/// Ends that.
pub(crate) fn end() -> Done {
    RUNNING.with_borrow_mut(Option::take).unwrap_or_default()
}

fn has_room<A: ArgvView + ?Sized>(store: &mut Store, upper: &[u8], args: &A) -> bool {
    let bytes = (0..args.len()).map(|i| args[i].len()).sum();
    // What is drawn is recorded by name.
    let drawn = if upper == b"SPOP" { store.scard(&args[1]).unwrap_or(0) } else { 0 };
    RUNNING.with_borrow(|running| {
        running.as_ref().is_none_or(|done| done.has_room(args.len() + drawn + 1, bytes))
    })
}

fn note(change: impl FnOnce(&mut Done)) {
    RUNNING.with_borrow_mut(|running| running.as_mut().map(change));
}

/// Puts this crate's interpreter where kevy looks for one. On the shard's thread, before any script.
pub(crate) fn install(state: &Arc<RuntimeState>, shards: &Arc<Shards>, shard: usize) {
    let (state, shards) = (Arc::clone(state), Arc::clone(shards));
    // `None` would be a script that runs on this thread already.
    let _ = with_thread_host(|| host(state, shards, shard), |_| ());
}

fn host(state: Arc<RuntimeState>, shards: Arc<Shards>, shard: usize) -> LuaHost<Store> {
    let config = state.config();
    let routing = if config.cluster.enabled { Routing::Slots } else { Routing::KevyHash };
    let caller = Caller { kevy: KevyCommands::with_state(state), shards, shard, routing };
    let mut host = LuaHost::new(move |store: &mut Store, argv: &[&[u8]], read_only| {
        let args = Argv::from(argv.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
        let mut out = Vec::new();
        caller.call(store, &args, read_only, &mut out);
        out
    });
    let limit = i64::try_from(config.lua.time_limit_ms).unwrap_or(i64::MAX);
    host.set_instr_budget(limit.saturating_mul(INSTRUCTIONS_PER_MS));
    let dialects: Vec<LuaVersion> =
        config.lua.allow_dialects.iter().filter_map(|name| dialect(name)).collect();
    if !dialects.is_empty() {
        host.set_allowed_dialects(&dialects);
    }
    host
}

fn dialect(name: &str) -> Option<LuaVersion> {
    Some(match name {
        "5.1" | "51" => LuaVersion::Lua51,
        "5.2" | "52" => LuaVersion::Lua52,
        "5.3" | "53" => LuaVersion::Lua53,
        "5.4" | "54" => LuaVersion::Lua54,
        "5.5" | "55" => LuaVersion::Lua55,
        _ => return None,
    })
}

/// Serves `redis.call`.
struct Caller {
    kevy: KevyCommands,
    shards: Arc<Shards>,
    shard: usize,
    routing: Routing,
}

impl Caller {
    fn call(&self, store: &mut Store, args: &Argv, read_only: bool, out: &mut Vec<u8>) {
        let mut buffer = [0; 32];
        let upper = args.first().map_or(&b""[..], |name| upper_verb(name, &mut buffer));
        match upper {
            b"PING" | b"ECHO" | b"TIME" | b"SELECT" => return self.kevy.dispatch_into(store, args, out),
            b"GEORADIUS_RO" | b"GEORADIUSBYMEMBER_RO" if self.owns_all(upper, args) => {
                kevy_verbs::geo::exec_read_only(upper, store, args, out);
                return;
            }
            _ => {}
        }
        // An allow rule: whatever else kevy has, or gets, is not for scripts.
        let Some(verb) = kevy_verbs::verb(upper) else { return encode_error(out, NOT_ALLOWED) };
        if verb.write && read_only {
            // One that came to a replica, or that may write nowhere.
            let denied = self.shards.check().err().map(replies::denied);
            return out.extend_from_slice(denied.as_deref().unwrap_or(READ_ONLY));
        }
        if !self.owns_all(upper, args) {
            return encode_error(out, CROSS_SHARD);
        }
        let bounded = match bounds::check(store, upper, args) {
            None => None,
            Some(Bound::Refuse(error)) => return encode_error(out, error),
            Some(Bound::Count(at, count)) => {
                let mut words = effects::to_frame(args);
                words[at] = count.to_string().into_bytes();
                Some(Argv::from(words))
            }
        };
        let args = bounded.as_ref().unwrap_or(args);
        if !verb.write {
            kevy_verbs::exec(store, upper, args, out);
            return;
        }
        // Not for a script that is applied or replayed: it comes from a log of plain kevy, and was let pass there.
        if !kevy_rt::applying_record()
            && let Err(denied) = self.shards.runs(self.shard)
        {
            return out.extend_from_slice(&replies::denied(denied));
        }
        let flushes = matches!(upper, b"FLUSHALL" | b"FLUSHDB");
        if flushes && self.shards.count() > 1 {
            return encode_error(out, PARTIAL_FLUSH);
        }
        let grows = !flushes && !shrinks(upper);
        if grows && store.precheck_needed() && store.precheck_for_write().is_err() {
            return encode_error(out, kevy_verbs::reply::OOM_ERR);
        }
        if !has_room(store, upper, args) {
            return encode_error(out, RECORD_FULL);
        }
        self.write(store, upper, args, grows, out);
    }

    fn write(&self, store: &mut Store, upper: &[u8], args: &Argv, grows: bool, out: &mut Vec<u8>) {
        let Some(effect) = kevy_verbs::exec(store, upper, args, out) else { return };
        let failed = out.first() == Some(&b'-');
        let frames = if failed { Vec::new() } else { effects::of_effect(store, upper, args, effect, out) };
        if out.is_empty() {
            // A blocking command that would wait; a script cannot.
            out.extend_from_slice(b"*-1\r\n");
        }
        let ended = store.take_expired_keys();
        note(|done| {
            // What had ended was gone before the command looked.
            done.add(ended.iter().map(|key| effects::frame(&[b"DEL", key])));
            done.touched.extend(ended);
            done.flushed |= !failed && matches!(upper, b"FLUSHALL" | b"FLUSHDB");
            if !frames.is_empty() {
                done.touched.extend(effects::keys(upper, args).into_iter().map(|i| args[i].to_vec()));
            }
            done.add(frames);
        });
        if grows {
            store.try_evict_after_write();
            store.try_demote_after_write();
            let evicted = crate::clients::expiry::evicted(store);
            note(|done| {
                done.add(evicted.iter().map(|key| effects::frame(&[b"DEL", key])));
                done.touched.extend(evicted);
            });
        }
        if !failed && let Some(key) = wakes(&self.kevy, upper, args) {
            kevy_rt::push_lua_wake_key(key);
        }
    }

    fn owns_all(&self, upper: &[u8], args: &Argv) -> bool {
        let count = self.shards.count();
        let own = |i: &usize| shard_of_key(&args[*i], count, self.routing) == self.shard;
        count == 1 || effects::keys(upper, args).iter().all(own)
    }
}

/// The key that others may wait for and that this command gave something to.
pub(crate) fn wakes<'a, A: ArgvView + ?Sized>(
    kevy: &KevyCommands,
    upper: &[u8],
    args: &'a A,
) -> Option<&'a [u8]> {
    match upper {
        b"LMOVE" | b"RPOPLPUSH" | b"BRPOPLPUSH" | b"RENAMENX" => args.get(2),
        _ => args.get(usize::from(kevy.resolve(args).wake_idx?)),
    }
}

/// Writes that need no more memory than they free. All others are refused where there is none.
fn shrinks(upper: &[u8]) -> bool {
    matches!(
        upper,
        b"DEL"
            | b"UNLINK"
            | b"GETDEL"
            | b"GETEX"
            | b"EXPIRE"
            | b"PEXPIRE"
            | b"EXPIREAT"
            | b"PEXPIREAT"
            | b"PERSIST"
            | b"HDEL"
            | b"HEXPIRE"
            | b"HPEXPIRE"
            | b"HPEXPIREAT"
            | b"HPERSIST"
            | b"LPOP"
            | b"RPOP"
            | b"BLPOP"
            | b"BRPOP"
            | b"LREM"
            | b"LTRIM"
            | b"RENAME"
            | b"RENAMENX"
            | b"SREM"
            | b"SPOP"
            | b"XACK"
            | b"XDEL"
            | b"XTRIM"
            | b"ZREM"
            | b"ZPOPMIN"
            | b"ZPOPMIN.BELOW"
            | b"BZPOPMIN"
            | b"ZREMRANGEBYRANK"
            | b"ZREMRANGEBYSCORE"
    )
}
