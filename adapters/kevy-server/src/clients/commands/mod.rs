//! kevy's commands, with the election between them and the data.
//!
//! A newtype over [`KevyCommands`] that delegates every method of the trait: its defaults would silently
//! switch off RESP3, blocking commands, indexes and more.

mod let_go;
mod recorded;
mod resolve;
mod run;

use crate::clients::browser::Browser;
use crate::clients::expiry::Keeper;
use crate::clients::harmless_by_name::Plain;
use crate::clients::hello;
use crate::clients::members;
use crate::clients::nulls::{self, Detour};
use crate::clients::pause;
use crate::clients::record::Record;
use crate::clients::replies::{self, Overridden, Replies};
use crate::clients::scripts;
use crate::clients::status;
use crate::clients::transfer;
use crate::clients::verdict::Verdict;
use crate::clients::waiting::Waiting;
use crate::clients::windows;
use crate::confirm::names::{Name, Row};
use crate::continuation::history;
use crate::fitness::companion;
use crate::fitness::serving::Serving;
use crate::position::digest;
use crate::position::syncer;
use crate::position::tag::Tag;
use crate::shards::Shards;
use crate::shards::reign::TICK_MS_STANDBY;
use kevy::KevyCommands;
use kevy_rt::{
    Argv, ArgvView, BlockHint, BlockKind, Commands, ExtensionReduced, GeoHits, LiveRuntimeConfig, NotifyKind,
    ReplicaViewRow, ResolvedCmd, RespVersion, Route, Store, TxnKind, VerbId, propagation,
};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

/// kevy's own interval.
const TICK_MS_DEFAULT: u64 = 100;

/// For how long shards look around often after one has begun a copy of its data.
const COPY_HURRY: Duration = Duration::from_millis(50);

/// The commands of an elected server. One clone per shard.
pub struct ElectedCommands {
    kevy: KevyCommands,
    replies: Replies,
    /// This clone's shard, once kevy has said which.
    shard: Cell<Option<usize>>,
    /// Whether a command was resolved that has not been dispatched yet. A dispatch without one serves a
    /// client that was waiting for data.
    resolved: Cell<bool>,
    /// Whether a command was refused since one was queued last.
    refused: Cell<bool>,
    /// What is recorded of commands.
    pub(crate) record: Record,
    browser: Browser,
    plain: &'static Plain,
    /// Whether a client of this shard may speak RESP3.
    resp3: Cell<bool>,
    /// Whether commands may move data from one shard to another.
    moves: bool,
    /// The keys that clients wait for.
    waiting: RefCell<Waiting>,
    /// Whether the client that kevy serves next is told that nothing comes.
    refuses_next: Cell<bool>,
    /// Whether every command needs a closer look: a browser is near, somebody speaks RESP3, or this node keeps no clients.
    wary: Cell<bool>,
    /// Whether what is written is weighed.
    weighs: Cell<bool>,
    /// Whether this shard is at a command.
    serving: Serving,
}

impl ElectedCommands {
    /// kevy's commands, answering for the election through `replies`. `moves`: whether data may be moved between shards.
    pub(crate) fn new(kevy: KevyCommands, replies: Replies, keeper: Arc<Keeper>, moves: bool) -> Self {
        let record = Record::new(&kevy, keeper);
        let (shard, resolved, refused) = (Cell::new(None), Cell::new(false), Cell::new(false));
        let (browser, resp3, wary) = (Browser::default(), Cell::new(false), Cell::new(false));
        let (plain, waiting, refuses_next) = (Plain::get(), RefCell::default(), Cell::new(false));
        let (weighs, serving) = (Cell::new(false), Serving::default());
        Self {
            kevy,
            replies,
            shard,
            resolved,
            refused,
            record,
            browser,
            plain,
            resp3,
            moves,
            waiting,
            refuses_next,
            wary,
            weighs,
            serving,
        }
    }

    pub(crate) fn kevy(&self) -> &KevyCommands {
        &self.kevy
    }

    /// This clone's shard; the first before kevy has said which.
    pub(crate) fn own_shard(&self) -> usize {
        self.shard.get().unwrap_or_default()
    }

    pub(crate) fn shards(&self) -> &Arc<Shards> {
        &self.replies.shards
    }
}

/// Whether kevy may declare an index now, because a query for it failed often enough. It does so on a node that it does not
/// take for a replica, and here it takes none for one.
fn declares(query: &[Vec<u8>], chunks: &[Vec<u8>]) -> bool {
    /// How the answer of a shard begins that has no such index, or no such column.
    const MISSING: [u8; 2] = [2, 7];
    let of_index =
        query.first().and_then(|verb| verb.get(..4)).is_some_and(|verb| verb.eq_ignore_ascii_case(b"IDX."));
    of_index && chunks.iter().any(|chunk| chunk.first().is_some_and(|status| MISSING.contains(status)))
}

impl Clone for ElectedCommands {
    fn clone(&self) -> Self {
        Self {
            kevy: self.kevy.clone(),
            replies: self.replies.clone(),
            shard: Cell::new(None),
            resolved: Cell::new(false),
            refused: Cell::new(false),
            record: self.record.fork(),
            browser: Browser::default(),
            plain: self.plain,
            resp3: Cell::new(false),
            moves: self.moves,
            waiting: RefCell::default(),
            refuses_next: Cell::new(false),
            wary: Cell::new(false),
            weighs: Cell::new(false),
            serving: Serving::default(),
        }
    }
}

impl Commands for ElectedCommands {
    // ---- where the election speaks ----

    #[inline]
    fn write_denied(&self) -> Option<Vec<u8>> {
        // `resolve` has asked the gate, on every way in; this is asked on some of them only.
        self.kevy.write_denied()
    }

    #[inline]
    fn read_denied<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
        if self.shards().is_loading()
            && let Some(loading) = self.loading(args)
        {
            return Some(loading);
        }
        self.kevy.read_denied(args)
    }

    fn hello_reply<A: ArgvView + ?Sized>(&self, args: &A, current: RespVersion) -> (RespVersion, Vec<u8>) {
        let (version, reply) = hello::answer(args, current, self.shards().is_primary());
        if version == RespVersion::V3 {
            self.resp3.set(true);
            self.wary.set(true);
        }
        (version, reply)
    }

    fn dispatch<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A) -> Vec<u8> {
        let mut out = Vec::new();
        self.dispatch_into(store, args, &mut out);
        out
    }

    fn dispatch_into<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, out: &mut Vec<u8>) {
        self.serving.begin();
        if self.intercept(store, args, out) {
            return;
        }
        if kevy_rt::applying_record() {
            self.apply(store, args, out);
            if let Some(shard) = self.shard.get() {
                self.shards().note_replayed(shard, store, args);
            }
        } else {
            self.recorded(store, args, out, |store, out| self.kevy.dispatch_into(store, args, out));
        }
    }

    fn dispatch_into_resp3<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, out: &mut Vec<u8>) {
        self.serving.begin();
        if self.intercept(store, args, out) {
            return;
        }
        let from = out.len();
        self.recorded(store, args, out, |store, out| self.kevy.dispatch_into_resp3(store, args, out));
        nulls::spell(out, from);
    }

    fn block_ready<A: ArgvView + ?Sized>(&self, store: &mut Store, argv: &A, kind: BlockKind) -> bool {
        // A client that waits on another shard; it goes on waiting until its time is up.
        let may_serve = kind == BlockKind::XReadBlock || self.shards().check().is_ok();
        may_serve && self.kevy.block_ready(store, argv, kind)
    }

    #[inline]
    fn dispatch_verb_into<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        args: &A,
        verb: VerbId,
        proto: RespVersion,
        out: &mut Vec<u8>,
    ) {
        // One call, so that it is no call at all.
        let from = out.len();
        self.run(store, args, verb, proto, out);
        if proto == RespVersion::V3 {
            nulls::spell(out, from);
        }
    }

    fn route<A: ArgvView + ?Sized>(&self, args: &A) -> Route {
        let mut route = self.kevy.route(args);
        if let Some(own) = args.first().and_then(Overridden::of) {
            route = self.reroute(own, args, route);
        }
        self.reroute_move(args, &mut route);
        route
    }

    #[inline]
    fn resolve<A: ArgvView + ?Sized>(&self, args: &A) -> ResolvedCmd {
        self.resolved.set(true);
        // Changed where it is, and returned in one place: copies of it would cost more than all the rest.
        let mut resolved = self.kevy.resolve(args);
        if self.wary.get() && self.look_closer(args, &mut resolved) {
            // That is all.
        } else if resolved.is_write {
            self.resolve_write(args, &mut resolved);
        } else if resolved.verb == VerbId::UNKNOWN {
            match args.first().is_some_and(|verb| self.plain.has(verb)) {
                true => resolved.verb = Verdict::Plain.mark(VerbId::UNKNOWN),
                false => self.resolve_other(args, &mut resolved),
            }
        }
        resolved
    }

    fn on_shard_start(&self, shard: usize) {
        self.shard.set(Some(shard));
        companion::shard_begins(shard);
        self.shards().note_thread(shard, &self.serving);
        self.kevy.on_shard_start(shard);
        scripts::install(self.kevy.state(), self.shards(), shard);
    }

    fn on_restored(&self, record: &mut dyn FnMut(&Argv) -> bool) {
        // Before kevy counts the shard: the last one that asks sees what all have read.
        if let Some(table) = self.kevy.snapshot_aux().and_then(|beside| windows::declared_beside(&beside)) {
            self.shards().refuse_data(windows::why(&table));
        }
        let mut recorded = false;
        self.kevy.on_restored(&mut |frame| {
            recorded = true;
            record(frame)
        });
        if let Some(shard) = self.shard.get() {
            let held = self.shards().note_restored(shard);
            // What kevy has just logged is no frame of the stream: it must not be counted as one.
            if recorded && !record(&Argv::from(held.mark(0))) {
                log::warn!("shard {shard} could not say in its log what its data is");
            }
        }
    }

    fn on_flush(&self, store: &mut Store) {
        if let Some(shard) = self.shard.get()
            && !kevy_rt::applying_record()
        {
            self.shards().note_flush(shard);
        }
        self.kevy.on_flush(store);
    }

    fn on_replication_view(&self, master_repl_offset: u64, replicas: Vec<ReplicaViewRow>) {
        if let Some(shard) = self.shard.get() {
            let flushes = self.shards().flushes(shard);
            let behind = |(id, _, _, _, ack): &ReplicaViewRow| {
                Name::read(id).is_some_and(|name| name.flushes == flushes && self.shards().votes(&name.node))
                    && ack.is_none_or(|ack| ack.acked_offset < master_repl_offset)
            };
            if replicas.iter().any(behind) {
                self.shards().note_behind(shard, master_repl_offset);
            }
            // Almost always there are none, or two.
            let rows: Vec<Row> =
                replicas.iter().cloned().map(|row| Row::new(row, master_repl_offset)).collect();
            self.shards().note_stream(shard, master_repl_offset, &rows);
            self.weighs.set(self.shards().weighs(shard));
        }
        self.kevy.on_replication_view(master_repl_offset, replicas);
    }

    fn snapshot_aux(&self) -> Option<Argv> {
        let frame = self.kevy.snapshot_aux()?;
        Some(match self.shard.get() {
            Some(shard) => {
                // It may be for a stranger, who is found at the next tick (S11).
                self.shards().hurry(COPY_HURRY);
                let (beside, about) = (self.shards().beside(shard), self.shards().is_about(shard));
                let beginnings = self.shards().beginnings(shard);
                let cluster = self.shards().cluster_beside(shard);
                Tag::add_held(self.shards().tag(shard).mark(frame), &beside, &beginnings, &cluster, about)
            }
            None => frame,
        })
    }

    fn load_snapshot_aux(&self, frame: Option<&Argv>, full_sync: bool) {
        self.kevy.load_snapshot_aux(frame, full_sync);
        match self.shard.get() {
            Some(shard) if full_sync => self.shards().note_load(shard),
            Some(shard) => self.shards().note_data_on_disk(shard, frame),
            None => {}
        }
    }

    fn live_runtime_config(&self) -> LiveRuntimeConfig {
        let mut live = self.kevy.live_runtime_config();
        if let Some(shard) = self.shard.get() {
            self.shards().before_dumps(shard);
            let (promotion, tick_ms_max) = self.shards().tick(shard);
            live.promotion_epoch = promotion;
            // Zero would switch ticks off, and with them every promotion; CONFIG SET can ask for it.
            let wanted = live.tick_interval_ms.filter(|ms| *ms > 0).unwrap_or(TICK_MS_DEFAULT);
            live.tick_interval_ms = Some(wanted.min(tick_ms_max));
            if let Some(wanted) = live.appendfsync {
                self.shards().note_sync_policy(wanted);
                live.appendfsync = Some(syncer::for_kevy(wanted));
            }
            if self.shards().wants_rewrite(shard) {
                // kevy then finds that the log has outgrown its limit.
                live.auto_aof_rewrite_bytes = Some(1);
            }
        }
        live
    }

    // ---- kevy's own ----

    fn notify_class<A: ArgvView + ?Sized>(&self, args: &A) -> Option<NotifyKind> {
        self.kevy.notify_class(args)
    }
    fn is_quit<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        self.kevy.is_quit(args)
    }
    fn is_write<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        self.kevy.is_write(args)
    }
    fn txn_kind<A: ArgvView + ?Sized>(&self, args: &A) -> TxnKind {
        self.kevy.txn_kind(args)
    }
    fn on_shard_init(&self, store: &mut Store) {
        self.kevy.on_shard_init(store);
    }
    fn on_data_dir(&self, dir: &std::path::Path) {
        self.kevy.on_data_dir(dir);
    }
    fn on_persist_stats(&self, in_flight: bool, aof_rewrites_total: u64) {
        if let Some(shard) = self.shard.get() {
            self.shards().after_dumps(shard, in_flight);
        }
        self.kevy.on_persist_stats(in_flight, aof_rewrites_total);
    }
    fn on_tick_gap(&self, excess_us: u64) {
        self.kevy.on_tick_gap(excess_us);
    }
    fn on_query_buffer_exceeded(&self) {
        self.kevy.on_query_buffer_exceeded();
    }
    fn on_aof_format(&self, format: u8) {
        self.kevy.on_aof_format(format);
    }
    fn on_replay_report(&self, dropped_bytes: u64, corrupt: bool) {
        if let Some(shard) = self.shard.get()
            && corrupt
        {
            self.shards().note_damage(shard);
        }
        self.kevy.on_replay_report(dropped_bytes, corrupt);
    }
    fn on_conn_gauge(&self, live: u64) {
        if live == 0 {
            self.resp3.set(false);
        }
        self.kevy.on_conn_gauge(live);
    }
    fn on_blocked_gauge(&self, blocked: u64) {
        if let Some(shard) = self.shard.get() {
            self.shards().note_blocked(shard, blocked);
            if blocked == 0 && !self.shards().has_blocked() {
                self.waiting.borrow_mut().note_nobody();
            }
        }
        self.kevy.on_blocked_gauge(blocked);
    }
    fn on_shard_tick(&self, store: &mut Store) {
        if self.shards().keeps_nobody() {
            self.wary.set(true);
        }
        self.shards().note_tick(self.own_shard());
        self.tick(store, |store| self.kevy.on_shard_tick(store));
        if let Some(mark) = self.shard.get().and_then(|shard| self.shards().tick_mark(shard)) {
            propagation::push_tick_frame(mark);
        }
    }
    fn shutdown_save_requested(&self) -> bool {
        // The last thing that is asked before kevy waits for what it still writes.
        if let Some(shard) = self.shard.get() {
            self.shards().before_dumps(shard);
        }
        self.kevy.shutdown_save_requested()
    }
    fn extension_op(&self, store: &mut Store, argv: &[Vec<u8>]) -> Vec<u8> {
        self.serving.begin();
        if history::is_ours(argv) {
            return history::answer(self.shards(), store, argv);
        }
        if status::is_ours(argv) {
            return status::answer(&self.replies);
        }
        if transfer::is_ours(argv) {
            return transfer::transfer(&self.replies, argv);
        }
        if members::is_ours(argv) {
            return members::answer(&self.replies, argv);
        }
        if pause::is_ours(argv) {
            return pause::answer(&self.replies, argv);
        }
        if digest::is_ours(argv) {
            return digest::answer(self.shards(), store, argv);
        }
        if let Some(detour) = Detour::on_way(argv) {
            return detour.serve(argv, store, self.own_shard(), |key| self.shard_of(key));
        }
        self.kevy.extension_op(store, argv)
    }
    fn geo_search(&self, store: &mut Store, argv: &[Vec<u8>]) -> GeoHits {
        self.kevy.geo_search(store, argv)
    }
    fn xreadgroup_refusal(&self, store: &mut Store, argv: &Argv) -> Option<Vec<u8>> {
        self.kevy.xreadgroup_refusal(store, argv)
    }
    fn extension_reduce(
        &self,
        argv: &[Vec<u8>],
        chunks: Vec<Vec<u8>>,
        proto: RespVersion,
    ) -> ExtensionReduced {
        if digest::is_ours(argv) {
            return ExtensionReduced::Reply(chunks.concat());
        }
        if declares(argv, &chunks) && self.shards().check().is_err() {
            return ExtensionReduced::Reply(replies::NO_INDEX.to_vec());
        }
        let mut reduced = match Detour::on_way(argv) {
            Some(detour) => ExtensionReduced::Reply(detour.answer(argv, chunks, |key| self.shard_of(key))),
            None => self.kevy.extension_reduce(argv, chunks, proto),
        };
        if let ExtensionReduced::Reply(reply) = &mut reduced
            && proto == RespVersion::V3
        {
            nulls::spell(reply, 0);
        }
        reduced
    }
    #[inline]
    fn on_write(&self, store: &mut Store, key: &[u8]) {
        self.kevy.on_write(store, key);
    }
    #[inline]
    fn take_ext_out(&self) -> Vec<(usize, Vec<u8>)> {
        // Asked after every write, and at the end of every turn of the shard's loop.
        self.browser.turn();
        self.serving.end();
        self.kevy.take_ext_out()
    }
    fn apply_ext(&self, store: &mut Store, payload: &[u8]) {
        self.kevy.apply_ext(store, payload);
    }
    fn extension_targets(&self, argv: &[Vec<u8>]) -> Option<Vec<usize>> {
        if history::is_ours(argv) {
            return Some(vec![history::target(argv, self.shards().count())]);
        }
        if digest::is_ours(argv) {
            return Some(vec![digest::target(argv, self.shards().count())]);
        }
        match Detour::on_way(argv) {
            Some(detour) => detour.targets(argv, |key| self.shard_of(key)),
            None => self.kevy.extension_targets(argv),
        }
    }
    #[inline]
    fn on_command(&self) {
        self.kevy.on_command();
    }
    fn on_connection(&self) {
        self.kevy.on_connection();
    }
    fn shard_tick_interval_ms(&self) -> u64 {
        // Before the first tick; every tick after that is told by `live_runtime_config`.
        TICK_MS_STANDBY
    }
    fn block_hint<A: ArgvView + ?Sized>(&self, args: &A) -> BlockHint {
        self.kevy.block_hint(args)
    }
    fn resolve_block_argv<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, kind: BlockKind) -> Argv {
        // Asked where the key is, whenever a client begins to wait for it.
        let moves = kind == BlockKind::Brpoplpush && args.len() == 4 && self.differ(args);
        self.waiting.borrow_mut().note(args, kind, moves);
        self.kevy.resolve_block_argv(store, args, kind)
    }
    fn block_serve_argv<A: ArgvView + ?Sized>(&self, args: &A, kind: BlockKind, key: &[u8]) -> Argv {
        self.kevy.block_serve_argv(args, kind, key)
    }
    fn block_restore_argv(&self, store: &mut Store, kind: BlockKind, key: &[u8]) -> Option<Argv> {
        // Asked before a client of another shard is served. Who is told that nothing comes takes nothing, and there is nothing to put back.
        let shut = || kind != BlockKind::XReadBlock && self.shards().check().is_err();
        self.refuses_next.set(self.shards().farewell().is_under_way() || shut());
        if self.refuses_next.get() {
            return None;
        }
        self.kevy.block_restore_argv(store, kind, key)
    }
    fn queue_error<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
        // What is queued was resolved just now.
        if !self.refused.take() {
            return self.kevy.queue_error(args);
        }
        let apart = || (!self.moves && self.is_apart(args)).then(|| replies::APART.to_vec());
        self.kevy.queue_error(args).or_else(|| self.refusal(args)).or_else(apart)
    }
}
