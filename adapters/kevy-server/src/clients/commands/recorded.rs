//! What is recorded of a command: this sees each one before and after it ran, and puts in place of its words what makes every
//! node the same.

use super::ElectedCommands;
use crate::clients::bounds::{self, Bound};
use crate::clients::deliveries;
use crate::clients::effects::{self, Frame};
use crate::clients::expiry;
use crate::clients::handling::Handling;
use crate::clients::record::refused;
use crate::clients::replies;
use crate::clients::scripts;
use crate::clients::windows;
use crate::process::clock;
use kevy_resp::{Argv, ArgvView, encode_error, encode_integer};
use kevy_rt::propagation::{Propagate, set_override};
use kevy_rt::{Commands, Route, Store, shard_of_key};
use kevy_store::{EvictionPolicy, KeyspaceEvent};
use kevy_verbs::args::upper_verb;

impl ElectedCommands {
    /// Runs a client's command, and sees to what is recorded of it.
    #[inline]
    pub(super) fn recorded<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        args: &A,
        out: &mut Vec<u8>,
        serve: impl FnOnce(&mut Store, &mut Vec<u8>),
    ) {
        if self.record.is_alert()
            || self.record.fields.are_due()
            || args.first().is_some_and(Handling::may_be_special)
        {
            return self.recorded_closely(store, args, out, serve);
        }
        let from = out.len();
        serve(store, out);
        if out.get(from) == Some(&b'-') {
            refused(self.kevy(), args);
        } else if store.has_expired_keys() {
            self.after_plain(store, args, out, from);
        }
    }

    /// Keys ended while a command ran that is recorded by its words.
    #[cold]
    fn after_plain<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, out: &[u8], from: usize) {
        let mut buffer = [0; 32];
        let upper = args.first().map_or(&b""[..], |name| upper_verb(name, &mut buffer));
        let frames = self.after_endings(store, upper, args, &out[from..], None);
        self.replace(frames);
    }

    /// Puts `frames` in place of a command's words.
    fn replace(&self, frames: Option<Vec<Frame>>) {
        if let Some(frames) = frames {
            self.record.fields.note(&frames);
            if self.weighs.get() {
                // Its own words are weighed already.
                let words = || frames.iter().flatten();
                self.shards().weigh(self.own_shard(), 0, words().count(), words().map(Vec::len).sum());
            }
            set_override(effects::one(frames).map_or(Propagate::Suppress, Propagate::Replace));
        }
    }

    /// The same where there is more to look at.
    fn recorded_closely<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        args: &A,
        out: &mut Vec<u8>,
        serve: impl FnOnce(&mut Store, &mut Vec<u8>),
    ) {
        let from = out.len();
        let mut buffer = [0; 32];
        let upper = args.first().map_or(&b""[..], |name| upper_verb(name, &mut buffer));
        let what = Handling::of(upper);
        match (what == Handling::Bounded).then(|| bounds::check(store, upper, args)).flatten() {
            None => {}
            Some(Bound::Refuse(error)) => {
                encode_error(out, error);
                refused(self.kevy(), args);
                return;
            }
            Some(Bound::Count(at, count)) => {
                let mut words = effects::to_frame(args);
                words[at] = count.to_string().into_bytes();
                self.kevy().dispatch_into(store, &Argv::from(words), out);
                return;
            }
        }
        if what == Handling::Declaration && windows::declares(args) {
            encode_error(out, windows::REFUSED);
            refused(self.kevy(), args);
            return;
        }
        if self.record.fields.are_due() && self.ends_fields(args) {
            self.end_fields(store);
        }
        if self.record.is_alert() {
            self.brace(store);
        }
        match what {
            Handling::Other | Handling::Bounded | Handling::Move | Handling::Declaration => {}
            // Deadlines and ids are as exact as the clock.
            _ if self.shards().check().is_ok() => clock::advance(),
            _ => {}
        }
        if what == Handling::Script {
            scripts::begin();
        }
        // Before it runs: the key that it drops may be the last one that had a deadline.
        let timed = store.expires_count() > 0;
        serve(store, out);
        let failed = out.get(from) == Some(&b'-');
        if what == Handling::Conditional
            && !(store.has_expired_keys() || self.record.is_alert())
            && let Some(words) = effects::timed_set(store, upper, args, &out[from..])
        {
            set_override(Propagate::Replace(words));
            return;
        }
        let frames = match what {
            Handling::Script => Some(self.after_script(store, out, from)),
            _ if failed => {
                refused(self.kevy(), args);
                return;
            }
            Handling::Conditional => {
                // kevy drops a key that ended without a word when `SET` with `XX` finds it.
                let refused = upper == b"SET" && out.get(from) != Some(&b'+');
                if refused && timed && !expiry::exists(store, &args[1]) {
                    self.record.ended.add(vec![args[1].to_vec()]);
                }
                if upper == b"RENAMENX" {
                    self.after_move(store, upper, args, &out[from..]);
                }
                Some(effects::settled(store, upper, args, &out[from..]))
            }
            Handling::Move => {
                self.after_move(store, upper, args, &out[from..]);
                None
            }
            Handling::Deadline => {
                deadline_reply(store, upper, args, out, from);
                None
            }
            _ => None,
        };
        let frames = match store.has_expired_keys() || self.record.is_alert() {
            true => self.after_endings(store, upper, args, &out[from..], frames),
            false => frames,
        };
        self.replace(frames);
    }

    /// Before a command, when keys have ended that are not recorded yet, or may have to give way.
    #[cold]
    fn brace(&self, store: &mut Store) {
        self.record.ended.forget_existing(store);
        if self.record.evicting.get() {
            store.set_notify_capture([KeyspaceEvent::Evicted]);
        }
    }

    /// What ended while a command ran is recorded: before the command, if that made it again, or else later.
    #[cold]
    fn after_endings<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        upper: &[u8],
        args: &A,
        reply: &[u8],
        frames: Option<Vec<Frame>>,
    ) -> Option<Vec<Frame>> {
        if self.shards().runs(self.own_shard()).is_err() {
            return frames;
        }
        self.note_ended(store);
        if !self.kevy().is_write(args) {
            return frames;
        }
        let mut before =
            self.record.ended.take_fields_of(effects::keys(upper, args).into_iter().map(|i| &args[i]));
        let again = self.record.ended.take_existing(store);
        if !again.is_empty() {
            let mut deletion = effects::frame(&[b"DEL"]);
            deletion.extend(again);
            before.push(deletion);
        }
        if before.is_empty() {
            return frames;
        }
        let own = frames.unwrap_or_else(|| vec![effects::of_creation(upper, args, reply)]);
        Some(before.into_iter().chain(own).collect())
    }

    /// Whether what `args` ends by being looked at may end. While a gate shuts for a handover that is for writes alone: what they
    /// find must not be there on replicas either.
    #[cold]
    fn ends_fields<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        let runs = || self.kevy().is_write(args) && self.shards().runs(self.own_shard()).is_ok();
        self.shards().check().is_ok() || runs()
    }

    /// Removes the fields of hashes that are over, before kevy does.
    #[cold]
    fn end_fields(&self, store: &mut Store) {
        for (key, fields) in self.record.fields.take(store) {
            self.touched(store, std::slice::from_ref(&key));
            self.record.ended.add_fields(&key, &fields);
        }
    }

    /// Takes over what the store says has ended.
    fn note_ended(&self, store: &mut Store) {
        let mut keys = store.take_expired_keys();
        if self.record.evicting.get() {
            keys.extend(expiry::evicted(store));
        }
        self.touched(store, &keys);
        self.record.ended.add(keys);
    }

    /// What depends on these keys hears of it, as kevy does for a client's write.
    fn touched(&self, store: &mut Store, keys: &[Vec<u8>]) {
        for key in keys {
            store.bump_if_watched(key);
            self.kevy().on_write(store, key);
        }
    }

    fn after_script(&self, store: &mut Store, out: &mut Vec<u8>, from: usize) -> Vec<Frame> {
        let done = scripts::end();
        self.touched(store, &done.touched);
        if done.flushed {
            self.after_flush(store);
        }
        // A script may run for seconds, and then answer in another's reign.
        if !done.frames.is_empty()
            && let Err(denied) = self.shards().runs(self.own_shard())
        {
            out.truncate(from);
            out.extend_from_slice(&replies::denied(denied));
        }
        done.frames
    }

    fn after_flush(&self, store: &mut Store) {
        self.kevy().on_flush(store);
        store.bump_all_watched();
    }

    /// kevy looks after the first key only.
    fn after_move<A: ArgvView + ?Sized>(&self, store: &mut Store, upper: &[u8], args: &A, reply: &[u8]) {
        if matches!(reply, [b'$', b'0'..=b'9', ..] | b":1\r\n")
            && let Some(to) = scripts::wakes(self.kevy(), upper, args)
        {
            self.touched(store, &[to.to_vec()]);
            kevy_rt::push_lua_wake_key(to);
        }
    }

    /// Applies a record of the log, or a frame of a stream, as its primary did: whatever limits there are here.
    pub(super) fn apply<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, out: &mut Vec<u8>) {
        let limits = store.precheck_needed().then(|| {
            let limits = (store.maxmemory(), store.eviction_policy(), store.memory_refused());
            store.set_max_memory(0, EvictionPolicy::NoEviction);
            store.set_memory_refusal(false);
            limits
        });
        match effects::apart(args) {
            Some(commands) => {
                for command in commands {
                    let from = out.len();
                    self.apply_one(store, &command, out);
                    let mut buffer = [0; 32];
                    let upper = upper_verb(&command[0], &mut buffer);
                    let keys: Vec<_> =
                        effects::keys(upper, &command).iter().map(|i| command[*i].to_vec()).collect();
                    self.touched(store, &keys);
                    if out.get(from) == Some(&b'-') {
                        // Left in front, so that it is seen.
                        out.drain(..from);
                        break;
                    }
                    out.truncate(from);
                }
            }
            None => self.apply_one(store, args, out),
        }
        if let Some((max, policy, refused)) = limits {
            store.set_max_memory(max, policy);
            store.set_memory_refusal(refused);
        }
        // It is written to the log as it came, and as one record.
        set_override(Propagate::AsIs);
        let shard = self.own_shard();
        if out.first() == Some(&b'-') && self.shards().is_restored(shard) {
            let error = String::from_utf8_lossy(&out[1..]);
            let verb = String::from_utf8_lossy(args.first().unwrap_or_default()).into_owned();
            self.shards().note_unapplied(shard, &verb, error.trim_end());
            set_override(Propagate::Suppress);
        }
    }

    fn apply_one<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, out: &mut Vec<u8>) {
        self.kevy().dispatch_into(store, args, out);
        deliveries::settle(store, args);
        let is = |verb: &[u8]| args.len() == 1 && args[0].eq_ignore_ascii_case(verb);
        if is(b"FLUSHALL") || is(b"FLUSHDB") {
            self.after_flush(store);
        }
    }

    /// Records what ended on this shard; the server asks for it.
    pub(super) fn record_ended(&self, store: &mut Store, out: &mut Vec<u8>) {
        let frames = self.record.ended.take(store);
        set_override(effects::one(frames).map_or(Propagate::Suppress, Propagate::Replace));
        out.extend_from_slice(b"+OK\r\n");
    }

    /// Once per tick, around kevy's own.
    pub(super) fn tick(&self, store: &mut Store, kevy: impl FnOnce(&mut Store)) {
        let writes = self.shards().check().is_ok();
        if writes {
            clock::advance();
            self.record.fields.learn(store);
            self.end_fields(store);
        }
        kevy(store);
        let policy = store.eviction_policy();
        self.record.evicting.set(store.maxmemory() > 0 && policy != EvictionPolicy::NoEviction);
        if writes {
            self.note_ended(store);
            self.record.ended.forget_existing(store);
            let ended = self.record.ended.some_key();
            if ended.is_some() || store.expires_count() > 0 || self.record.fields.any() {
                self.record.keeper.call(self.own_shard(), ended);
            }
        } else if self.shards().tells_time() {
            // Recorded once the gate is open.
            self.note_ended(store);
        } else if !self.shards().standing().primary {
            if self.record.has_unrecorded(store) {
                self.shards().note_doubt(self.own_shard());
                drop(store.take_expired_keys());
            }
            self.record.ended.clear();
            self.record.fields.forget();
        }
    }

    /// When both keys are on one shard, kevy forgets the pushed half of a move, and records `RENAMENX` with its condition;
    /// not if the shard's own dispatch runs them. True: the keys are on two shards.
    #[inline]
    pub(super) fn reroute_move<A: ArgvView + ?Sized>(&self, args: &A, route: &mut Route) -> bool {
        let plain = match route {
            Route::ListMove { .. } => false,
            Route::Rename { nx } if args.len() == 3 => !*nx,
            _ => return false,
        };
        let apart = self.differ(args);
        if !apart && !plain {
            *route = Route::Single(1);
        }
        apart
    }

    /// Whether the first two keys are on two shards.
    pub(super) fn differ<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        self.shard_of(&args[1]) != self.shard_of(&args[2])
    }

    /// The shard that has this key.
    pub(super) fn shard_of(&self, key: &[u8]) -> usize {
        shard_of_key(key, self.shards().count(), self.record.routing)
    }
}

/// The store's clock stands still where this node may not write; a deadline is told by the real one.
fn deadline_reply<A: ArgvView + ?Sized>(
    store: &Store,
    upper: &[u8],
    args: &A,
    out: &mut Vec<u8>,
    from: usize,
) {
    let left = |at: u64| {
        let ms = at.saturating_sub(clock::now_ms());
        // kevy's rounding.
        i64::try_from(if upper.starts_with(b"P") || upper.starts_with(b"HP") {
            ms
        } else {
            (ms + 500) / 1000
        })
        .unwrap_or(i64::MAX)
    };
    let is_over = |at: u64| at <= clock::now_ms();
    let answer = |at: u64| if is_over(at) { -2 } else { left(at) };
    if !upper.starts_with(b"H") {
        if let Some(at) = args.get(1).and_then(|key| store.deadline_unix_ms(key))
            && args.len() == 2
        {
            out.truncate(from);
            encode_integer(out, answer(at));
        }
        return;
    }
    let (Some(key), Some(word)) =
        (args.get(1), (2..args.len()).find(|i| args[*i].eq_ignore_ascii_case(b"FIELDS")))
    else {
        return;
    };
    let fields: Vec<&[u8]> = (word + 2..args.len()).map(|i| &args[i]).collect();
    let deadlines = store.hash_field_deadlines(key, &fields);
    let mut told = out.split_off(from);
    let mut lines = told.split_inclusive(|byte| *byte == b'\n');
    out.extend_from_slice(lines.next().unwrap_or_default());
    for (line, deadline) in lines.zip(deadlines.into_iter().chain(std::iter::repeat(None))) {
        match deadline {
            Some(at) => encode_integer(out, answer(at)),
            None => out.extend_from_slice(line),
        }
    }
    told.clear();
}
