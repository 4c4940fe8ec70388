//! kevy's commands, with the election between them and the data.
//!
//! A newtype over [`KevyCommands`] that delegates every method of the trait: its defaults would silently
//! switch off RESP3, blocking commands, indexes and more.

use crate::clients::browser::{self, Browser, Rest};
use crate::clients::expiry::Keeper;
use crate::clients::handshake;
use crate::clients::harmless::is_harmless;
use crate::clients::hello;
use crate::clients::nulls::{self, Detour};
use crate::clients::record::{self, Record};
use crate::clients::replies::{self, Own, Replies};
use crate::clients::scripts;
use crate::clients::verdict::{self, Verdict};
use crate::confirm::names::{Name, Row};
use crate::continuation::history;
use crate::fitness::companion;
use crate::position::cuts;
use crate::position::digest;
use crate::position::marks;
use crate::position::syncer;
use crate::position::tag::Tag;
use crate::shards::{Applied, Shards, TICK_MS_STANDBY};
use kevy::KevyCommands;
use kevy_elect_plugin::plugin::Denied;
use kevy_rt::{
    Argv, ArgvView, BlockHint, BlockKind, Commands, ExtensionReduced, GeoHits, LiveRuntimeConfig, NotifyKind,
    ReplicaViewRow, ResolvedCmd, RespVersion, Route, Store, TxnKind, VerbId, propagation,
};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// For how long after a `WAIT` the shards look for acknowledgements often.
const WAIT_HURRY: Duration = Duration::from_secs(1);

/// kevy's own interval.
const TICK_MS_DEFAULT: u64 = 100;

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
    /// Whether a client of this shard may speak RESP3.
    resp3: Cell<bool>,
    /// Whether every command needs a closer look: a browser is near, or somebody speaks RESP3.
    wary: Cell<bool>,
}

impl ElectedCommands {
    /// kevy's commands, answering for the election through `replies`.
    pub(crate) fn new(kevy: KevyCommands, replies: Replies, keeper: Arc<Keeper>) -> Self {
        let record = Record::new(&kevy, keeper);
        let (shard, resolved, refused) = (Cell::new(None), Cell::new(false), Cell::new(false));
        let (browser, resp3, wary) = (Browser::default(), Cell::new(false), Cell::new(false));
        Self { kevy, replies, shard, resolved, refused, record, browser, resp3, wary }
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

    /// Sees what runs although no client sent it just now: records of the log, frames of a stream, and
    /// commands that waited for data, such as `BLPOP`. True: it is dealt with, and nothing for kevy.
    fn intercept<A: ArgvView + ?Sized>(&self, store: &mut Store, args: &A, out: &mut Vec<u8>) -> bool {
        let Some(shard) = self.shard.get() else { return false };
        let applying = kevy_rt::applying_record();
        if applying {
            self.shards().before_record(shard, store, args);
        }
        if applying && cuts::number(args).is_some() {
            // Nothing to kevy, but the log of a replica is to be the stream.
            self.resolved.set(false);
            self.shards().note_record(shard, args);
            return true;
        }
        if applying && args.first() == Some(marks::GO_ON) && self.record.has_unrecorded(store) {
            // Keys are gone here, and no frame says so.
            self.shards().note_doubt(shard);
        }
        // A frame is resolved before it is applied, and what a frame wakes up is not.
        let waited = !applying || (!self.resolved.replace(false) && self.shards().is_restored(shard));
        let applied = match waited {
            false => self.shards().note_record(shard, args),
            // It passed the gate when the client asked, in another reign perhaps: it must pass it again.
            true if self.kevy.is_write(args) && self.shards().check().is_err() => {
                out.extend_from_slice(replies::UNBLOCKED);
                Applied::Done
            }
            true => Applied::Kevys,
        };
        // Or kevy would log it, and stream it.
        propagation::set_override(match applied {
            Applied::Kevys => return false,
            Applied::Done => propagation::Propagate::Suppress,
            Applied::Logged(words) => propagation::Propagate::Replace(words),
        });
        true
    }

    /// Runs a command that came in, or says why not.
    #[inline]
    fn run<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        args: &A,
        verb: VerbId,
        proto: RespVersion,
        out: &mut Vec<u8>,
    ) {
        let (verdict, verb) = Verdict::of(verb);
        let passes = match verdict {
            Verdict::Free => true,
            // It may have come from another shard, and the lease may have ended on its way.
            Verdict::Write => self.shards().check().is_ok(),
            _ => false,
        };
        if !passes && self.answer_verdict(verdict, store, args, proto, out) {
            return;
        }
        if verb != VerbId::UNKNOWN && args.len() <= 3 && !self.record.is_alert() {
            let from = out.len();
            self.kevy.dispatch_verb_into(store, args, verb, proto, out);
            if out.get(from) == Some(&b'-') {
                record::refused(&self.kevy, args);
            }
            return;
        }
        self.recorded(store, args, out, |store, out| {
            self.kevy.dispatch_verb_into(store, args, verb, proto, out);
        });
    }

    /// Answers what `verdict` keeps from kevy. False: kevy may answer it.
    #[cold]
    fn answer_verdict<A: ArgvView + ?Sized>(
        &self,
        verdict: Verdict,
        store: &mut Store,
        args: &A,
        proto: RespVersion,
        out: &mut Vec<u8>,
    ) -> bool {
        match (verdict, verdict.ask(self.shards())) {
            (Verdict::Write | Verdict::OwnWrite | Verdict::Cut, Err(denied)) => {
                out.extend_from_slice(&replies::denied(denied));
                // Or kevy would log it, and stream it.
                propagation::set_override(propagation::Propagate::Suppress);
            }
            // The gate may have opened since; but this was not sent where it would run.
            (Verdict::Refused, asked) => {
                out.extend_from_slice(&replies::denied(asked.err().unwrap_or(Denied::Replica)));
            }
            (Verdict::Intruder, _) => out.extend_from_slice(replies::BROWSER),
            (Verdict::Ignored, _) => {}
            (Verdict::Own | Verdict::OwnWrite | Verdict::Cut, _) => {
                let own = args.first().and_then(Own::of);
                return own.is_some_and(|own| self.answer(own, store, args, proto, out));
            }
            (Verdict::Script, _) => {
                // Also if this node has become the primary since: what it wrote would be in no log and no stream.
                let verb = args.first().and_then(scripts::reading).unwrap_or_default();
                let words = std::iter::once(verb).chain((1..args.len()).map(|i| &args[i]));
                let reads = Argv::from(words.map(<[u8]>::to_vec).collect::<Vec<_>>());
                self.recorded(store, &reads, out, |store, out| {
                    self.kevy.dispatch_verb_into(store, &reads, VerbId::UNKNOWN, proto, out);
                });
            }
            (Verdict::Free | Verdict::Write, _) => return false,
        }
        true
    }

    /// Answers a command that kevy would answer wrongly. False: kevy may answer it.
    fn answer<A: ArgvView + ?Sized>(
        &self,
        own: Own,
        store: &mut Store,
        args: &A,
        proto: RespVersion,
        out: &mut Vec<u8>,
    ) -> bool {
        let primary = || self.shards().standing().primary;
        match own {
            Own::Role if args.len() == 1 && !self.shards().is_primary() => self.replies.role(out),
            Own::Token if args.len() == 1 && !primary() => self.replies.token(out),
            Own::TokenWait if !primary() && token(args).is_some() => {
                out.extend_from_slice(&self.replies.misdirected());
            }
            Own::Wait if !primary() => out.extend_from_slice(replies::WAIT_ON_REPLICA),
            Own::Wait if self.shards().acks_are_stale() => out.extend_from_slice(b":0\r\n"),
            Own::Steer => out.extend_from_slice(replies::STEER),
            Own::Expired if args.len() == 2 => self.record_ended(store, out),
            Own::Cut => {
                let taken = self
                    .shard
                    .get()
                    .zip(cuts::number(args))
                    .is_some_and(|(s, n)| self.shards().take_cut(s, n));
                if taken {
                    out.extend_from_slice(replies::CUT_DONE);
                } else {
                    propagation::set_override(propagation::Propagate::Suppress);
                    out.extend_from_slice(replies::CUT_REFUSED);
                }
            }
            Own::Load => out.extend_from_slice(replies::LOAD),
            Own::Handshake => match handshake::answer(args, proto) {
                Some(reply) => out.extend_from_slice(&reply),
                None => return false,
            },
            // Answered by what `resolve` made of it.
            Own::Browser => return false,
            Own::Shutdown if args.len() == 1 => self.shards().note_shutdown(false),
            Own::Shutdown if args.len() == 2 && args[1].eq_ignore_ascii_case(b"NOSAVE") => {
                self.shards().note_shutdown(false)
            }
            Own::Shutdown if args.len() == 2 && args[1].eq_ignore_ascii_case(b"SAVE") => {
                self.shards().note_shutdown(true)
            }
            Own::Info => {
                let from = out.len();
                self.kevy.dispatch_verb_into(store, args, VerbId::UNKNOWN, proto, out);
                self.replies.info(out, from);
            }
            _ => return false,
        }
        true
    }

    /// What becomes of a command that may change something, while the gate is shut.
    #[cold]
    fn resolve_shut<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
        if !kevy_rt::applying_record() {
            if self.may_read_as_script(args) {
                resolved.is_write = false;
                resolved.wake_idx = None;
                resolved.verb = Verdict::Script.mark(resolved.verb);
                return;
            }
            self.refused.set(true);
            // A client that stays with a fenced primary would ask for ever: it has to look for another. (A replica
            // is where clients read, and those that write there by mistake know the word.)
            let closes = matches!(self.shards().check(), Err(Denied::Fenced(_)));
            // Away from every path that kevy has for it: none of them but the plainest asks again.
            *resolved = ResolvedCmd::new(Route::Local)
                .with_txn_kind(resolved.txn_kind)
                .with_verb(Verdict::Refused.mark(VerbId::UNKNOWN))
                .with_quit(closes);
            return;
        }
        // The primary wrote it.
        let reads = args.first().is_some_and(|verb| verb.eq_ignore_ascii_case(b"XADD"));
        if verdict::has_movers() && !reads {
            resolved.wake_idx = None;
        }
    }

    /// What becomes of a command that may write.
    #[inline]
    fn resolve_write<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
        if self.shards().check().is_err() {
            return self.resolve_shut(args, resolved);
        }
        if resolved.verb == VerbId::UNKNOWN {
            verdict::note_mover(resolved, self.shards().count());
            self.reroute_move(args, &mut resolved.route);
        }
        resolved.verb = Verdict::Write.mark(resolved.verb);
    }

    /// What becomes of a command that kevy takes for no write, and has no id for.
    fn resolve_other<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
        let Some(verb) = args.first() else { return };
        let known = Own::of(verb).filter(|own| *own != Own::Handshake || handshake::answers(args));
        let Some(own) = known else {
            let shut = self.shards().check().is_err();
            if (shut || browser::is_request(args)) && !is_harmless(verb) {
                self.resolve_unknown(args, resolved);
            }
            match resolved.txn_kind {
                TxnKind::Multi => self.shards().note_transaction(true),
                TxnKind::Exec | TxnKind::Discard => self.shards().note_transaction(false),
                _ => {}
            }
            return;
        };
        if own == Own::Browser {
            self.turn_away(args, resolved);
            return;
        }
        resolved.route = self.reroute(own, args, std::mem::replace(&mut resolved.route, Route::Local));
        let verdict = match own {
            Own::Cut => Verdict::Cut,
            Own::Expired => Verdict::OwnWrite,
            _ => Verdict::Own,
        };
        if verdict != Verdict::Own {
            resolved.is_write = true;
            if verdict.ask(self.shards()).is_err() {
                return self.resolve_shut(args, resolved);
            }
        }
        resolved.verb = verdict.mark(resolved.verb);
    }

    /// What becomes of a command that nobody has looked at, of a browser's request, and of both.
    #[cold]
    fn resolve_unknown<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
        if !browser::is_request(args) {
            self.resolve_shut(args, resolved);
        } else {
            self.turn_away(args, resolved);
        }
    }

    /// Whether it is a script on a replica, which may do there whatever changes nothing.
    fn may_read_as_script<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        args.first().and_then(scripts::reading).is_some() && self.shards().check() == Err(Denied::Replica)
    }

    /// Why a command of a client must not run now, if it must not.
    fn refusal<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
        let denied = self.shards().check().err()?;
        let verb = args.first()?;
        let guarded = self.kevy.is_write(args)
            || Own::of(verb).map_or(!is_harmless(verb), |own| match own {
                Own::Cut | Own::Expired => true,
                Own::Handshake => !handshake::answers(args) && !is_harmless(verb),
                _ => false,
            });
        (guarded && !self.may_read_as_script(args)).then(|| replies::denied(denied))
    }

    /// What a command is told while a snapshot is being loaded, if it has to wait for its end.
    #[cold]
    fn loading<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
        // Who cannot write here should not wait for the end of the load.
        let waits = !args.first().is_some_and(replies::answers_while_loading);
        waits.then(|| self.refusal(args).unwrap_or_else(|| replies::LOADING.to_vec()))
    }

    /// Whether a command is a browser's request, or stands behind one. Then it does not run.
    #[cold]
    fn turn_away<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) -> bool {
        if kevy_rt::applying_record() {
            return false;
        }
        let line = args.first().and_then(Own::of) == Some(Own::Browser) || browser::is_request(args);
        let Some(rest) = (if line { Some(self.browser.line(args)) } else { self.browser.rest(args) }) else {
            return false;
        };
        self.wary.set(true);
        let verdict = match rest {
            Rest::Refused => Verdict::Intruder,
            Rest::Ignored => Verdict::Ignored,
        };
        self.refused.set(true);
        // Who is told nothing must not wait for it.
        let closes = line || rest == Rest::Ignored;
        *resolved = ResolvedCmd::new(Route::Local).with_verb(verdict.mark(VerbId::UNKNOWN)).with_quit(closes);
        true
    }

    /// Whether a command stands behind a browser's request, or is one whose null kevy would spell as RESP2 does. It has its route
    /// then.
    #[cold]
    fn look_closer<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) -> bool {
        if self.browser.is_near() && self.turn_away(args, resolved) {
            return true;
        }
        if !self.resp3.get() {
            self.wary.set(self.browser.is_near());
            return false;
        }
        let away = match Detour::of(args, &resolved.route) {
            // Another shard is told which protocol it is.
            Some(Detour::Get) => self.shard_of(&args[1]) == self.own_shard(),
            Some(Detour::Mget | Detour::RandomKey) => true,
            None => false,
        };
        // All three only read. Everything else goes by the gate.
        if away && !resolved.is_write {
            resolved.route = Route::Extension;
            return true;
        }
        false
    }

    /// Where a command goes that kevy, which takes itself for a primary, would send elsewhere.
    fn reroute<A: ArgvView + ?Sized>(&self, own: Own, args: &A, route: Route) -> Route {
        let primary = || self.shards().standing().primary;
        match own {
            Own::Steer | Own::Load | Own::Browser | Own::Handshake => Route::Local,
            Own::Elect => Route::Extension,
            Own::Wait if self.shards().acks_are_stale() || !primary() => Route::Local,
            Own::Wait => {
                // kevy reads acknowledgements when it ticks: by default that is ten times a second.
                self.shards().hurry(WAIT_HURRY);
                self.shards().want_cut();
                if let Route::ReplWait { timeout_ms, .. } = route {
                    self.shards().waits().park(timeout_ms);
                }
                route
            }
            Own::Token if !primary() => Route::Local,
            Own::TokenWait if !primary() => self.token_barrier(args),
            Own::Cut if args.len() == 3 => Route::Single(1),
            _ => route,
        }
    }

    /// `REPL.WAIT` on a replica: wait until the shards have applied what the token covers, if the token is
    /// one of the streams that this replica follows.
    fn token_barrier<A: ArgvView + ?Sized>(&self, args: &A) -> Route {
        let Some((pairs, timeout_ms)) = token(args) else { return Route::Local };
        let followed = self.replies.source.upstream().token;
        let same = pairs.len() == followed.len()
            && pairs
                .iter()
                .zip(&followed)
                .all(|((generation, _), (known, _))| *known != 0 && generation == known);
        if !same {
            return Route::Local;
        }
        self.shards().waits().park(timeout_ms);
        let offsets = pairs.into_iter().map(|(_, offset)| offset).collect();
        Route::ReplBarrier { offsets, timeout_ms, miss: self.replies.misdirected() }
    }
}

/// The pairs and the timeout of a `REPL.WAIT`.
fn token<A: ArgvView + ?Sized>(args: &A) -> Option<(Vec<(u64, u64)>, u64)> {
    const TIMEOUT_MS_DEFAULT: u64 = 1000;
    let number = |i: usize| std::str::from_utf8(args.get(i)?).ok()?.parse::<u64>().ok();
    let (end, timeout_ms) = match args.len() {
        n if n >= 3 && args[n - 2].eq_ignore_ascii_case(b"TIMEOUT") => (n - 2, number(n - 1)?),
        n => (n, TIMEOUT_MS_DEFAULT),
    };
    if end < 3 || end.is_multiple_of(2) {
        return None;
    }
    let pairs: Option<Vec<_>> = (1..end).step_by(2).map(|i| Some((number(i)?, number(i + 1)?))).collect();
    Some((pairs?, timeout_ms))
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
            resp3: Cell::new(false),
            wary: Cell::new(false),
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
        match proto {
            RespVersion::V2 => self.run(store, args, verb, proto, out),
            RespVersion::V3 => {
                let from = out.len();
                self.run(store, args, verb, proto, out);
                nulls::spell(out, from);
            }
        }
    }

    fn route<A: ArgvView + ?Sized>(&self, args: &A) -> Route {
        let mut route = self.kevy.route(args);
        if let Some(own) = args.first().and_then(Own::of) {
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
            self.resolve_other(args, &mut resolved);
        }
        resolved
    }

    fn on_shard_start(&self, shard: usize) {
        self.shard.set(Some(shard));
        companion::shard_begins(shard);
        self.shards().note_thread(shard);
        self.kevy.on_shard_start(shard);
        scripts::install(self.kevy.state(), self.shards(), shard);
    }

    fn on_restored(&self, record: &mut dyn FnMut(&Argv) -> bool) {
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
                Name::read(id).is_some_and(|name| name.flushes == flushes)
                    && ack.is_none_or(|ack| ack.acked_offset < master_repl_offset)
            };
            if replicas.iter().any(behind) {
                self.shards().note_behind(shard);
            }
            // Almost always there are none, or two.
            let rows: Vec<Row> = replicas.iter().cloned().map(Row::new).collect();
            self.shards().note_stream(shard, master_repl_offset, &rows);
        }
        self.kevy.on_replication_view(master_repl_offset, replicas);
    }

    fn snapshot_aux(&self) -> Option<Argv> {
        let frame = self.kevy.snapshot_aux()?;
        Some(match self.shard.get() {
            Some(shard) => {
                let (held, cuts) = self.shards().beside(shard);
                let beginnings = self.shards().beginnings(shard);
                Tag::add_held(self.shards().tag(shard).mark(frame), &held, &cuts, &beginnings)
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
        }
        self.kevy.on_blocked_gauge(blocked);
    }
    fn on_shard_tick(&self, store: &mut Store) {
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
        if history::is_ours(argv) {
            return history::answer(self.shards(), argv);
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
        self.kevy.resolve_block_argv(store, args, kind)
    }
    fn block_serve_argv<A: ArgvView + ?Sized>(&self, args: &A, kind: BlockKind, key: &[u8]) -> Argv {
        self.kevy.block_serve_argv(args, kind, key)
    }
    fn block_restore_argv(&self, store: &mut Store, kind: BlockKind, key: &[u8]) -> Option<Argv> {
        self.kevy.block_restore_argv(store, kind, key)
    }
    fn queue_error<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
        // What is queued was resolved just now.
        if !self.refused.take() {
            return self.kevy.queue_error(args);
        }
        self.kevy.queue_error(args).or_else(|| self.refusal(args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Argv {
        Argv::from(line.split(' ').map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn tokens_are_pairs_with_an_optional_timeout() {
        assert_eq!(token(&argv("REPL.WAIT 7 1 8 2")), Some((vec![(7, 1), (8, 2)], 1000)));
        assert_eq!(token(&argv("REPL.WAIT 7 1 timeout 5")), Some((vec![(7, 1)], 5)));
        for wrong in ["REPL.WAIT", "REPL.WAIT 7", "REPL.WAIT 7 1 8", "REPL.WAIT 7 x", "REPL.WAIT TIMEOUT 5"] {
            assert_eq!(token(&argv(wrong)), None, "{wrong}");
        }
    }
}
