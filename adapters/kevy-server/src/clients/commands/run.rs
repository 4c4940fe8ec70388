//! What runs: a command that came in, what the log or a stream brings, and what waited for data.

use super::ElectedCommands;
use super::resolve::token;
use crate::clients::handshake;
use crate::clients::record;
use crate::clients::replies::{self, Overridden};
use crate::clients::scripts;
use crate::clients::transfer;
use crate::clients::verdict::Verdict;
use crate::position::cuts;
use crate::position::marks;
use crate::shards::Applied;
use kevy_elect_plugin::plugin::Denied;
use kevy_rt::{Argv, ArgvView, Commands, RespVersion, Store, VerbId, propagation};

impl ElectedCommands {
    /// Sees what runs although no client sent it just now: records of the log, frames of a stream, and
    /// commands that waited for data, such as `BLPOP`. True: it is dealt with, and nothing for kevy.
    pub(super) fn intercept<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        args: &A,
        out: &mut Vec<u8>,
    ) -> bool {
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
        let unblocked = waited && self.must_not_serve(args);
        let applied = match waited {
            false => self.shards().note_record(shard, args),
            true if unblocked => {
                self.shards().farewell().note();
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

    /// Whether a client that waited is to be told that nothing comes.
    fn must_not_serve<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        // It passed the gate when the client asked, in another reign perhaps: it must pass it again.
        let shut = || self.kevy.is_write(args) && self.shards().check().is_err();
        self.refuses_next.take() || self.shards().farewell().is_under_way() || shut()
    }

    /// Wakes whom this server tells that nothing comes.
    fn unblock(&self, out: &mut Vec<u8>) {
        // Or kevy would log it, and stream it.
        propagation::set_override(propagation::Propagate::Suppress);
        if !self.shards().farewell().is_under_way() {
            out.extend_from_slice(replies::UNBLOCK_REFUSED);
            return;
        }
        self.waiting.borrow().wakes().for_each(kevy_rt::push_lua_wake_key);
        out.extend_from_slice(replies::CUT_DONE);
    }

    /// Runs a command that came in, or says why not.
    #[inline]
    pub(super) fn run<A: ArgvView + ?Sized>(
        &self,
        store: &mut Store,
        args: &A,
        verb: VerbId,
        proto: RespVersion,
        out: &mut Vec<u8>,
    ) {
        let (verdict, verb) = Verdict::of(verb);
        let passes = match verdict {
            Verdict::Free | Verdict::Plain => true,
            // It may have come from another shard, and the lease may have ended on its way.
            Verdict::Write => self.shards().check().is_ok(),
            _ => false,
        };
        if !passes && self.answer_verdict(verdict, store, args, proto, out) {
            return;
        }
        if self.weighs.get() && verdict == Verdict::Write {
            self.weigh(args);
        }
        // `GET` and `SET` take no time, unless the table grows: then all its entries move, which is the server's own work.
        let short = match verdict {
            Verdict::Plain => {
                self.serving.begin();
                !self.record.fields.are_due()
            }
            _ => verb != VerbId::UNKNOWN && args.len() <= 3,
        };
        if short && !self.record.is_alert() {
            let from = out.len();
            self.kevy.dispatch_verb_into(store, args, verb, proto, out);
            if out.get(from) == Some(&b'-') {
                record::refused(&self.kevy, args);
            }
            return;
        }
        self.serving.begin();
        self.recorded(store, args, out, |store, out| {
            self.kevy.dispatch_verb_into(store, args, verb, proto, out);
        });
    }

    /// A replica does not keep up: how much it lacks is a matter of how large frames are.
    #[cold]
    fn weigh<A: ArgvView + ?Sized>(&self, args: &A) {
        let bytes = (0..args.len()).map(|i| args[i].len()).sum();
        self.shards().weigh(self.own_shard(), 1, args.len(), bytes);
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
        self.serving.begin();
        let asked = match (verdict, verdict.ask(self.shards())) {
            (Verdict::Write, Err(denied)) => self.shards().runs_late(self.own_shard(), denied),
            (_, asked) => asked,
        };
        match (verdict, asked) {
            (Verdict::Write | Verdict::AnsweredWrite | Verdict::Cut, Err(denied)) => {
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
            (Verdict::Apart, _) => out.extend_from_slice(replies::APART),
            (Verdict::Answered | Verdict::AnsweredWrite | Verdict::Cut, _) => {
                let own = args.first().and_then(Overridden::of);
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
            (Verdict::Free | Verdict::Plain | Verdict::Write, _) => return false,
        }
        true
    }

    /// Answers a command that kevy would answer wrongly. False: kevy may answer it.
    fn answer<A: ArgvView + ?Sized>(
        &self,
        own: Overridden,
        store: &mut Store,
        args: &A,
        proto: RespVersion,
        out: &mut Vec<u8>,
    ) -> bool {
        let primary = || self.shards().standing().primary;
        match own {
            Overridden::Role if args.len() == 1 && !self.shards().is_primary() => self.replies.role(out),
            Overridden::Token if args.len() == 1 && !primary() => self.replies.token(out),
            Overridden::TokenWait if !primary() && token(args).is_some() => {
                out.extend_from_slice(&self.replies.misdirected());
            }
            Overridden::Wait if !primary() => out.extend_from_slice(replies::WAIT_ON_REPLICA),
            Overridden::Wait if self.shards().acks_are_stale() => out.extend_from_slice(b":0\r\n"),
            Overridden::Steer => out.extend_from_slice(replies::STEER),
            Overridden::Failover => out.extend_from_slice(&transfer::failover(&self.replies, args)),
            Overridden::Expired if args.len() == 2 => self.record_ended(store, out),
            Overridden::Cut => {
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
            Overridden::Unblock => self.unblock(out),
            Overridden::Load => out.extend_from_slice(replies::LOAD),
            Overridden::Handshake => match handshake::answer(args, proto) {
                Some(reply) => out.extend_from_slice(&reply),
                None => return false,
            },
            // Answered by what `resolve` made of it.
            Overridden::Browser => return false,
            Overridden::Shutdown if args.len() == 1 => self.shards().note_shutdown(false),
            Overridden::Shutdown if args.len() == 2 && args[1].eq_ignore_ascii_case(b"NOSAVE") => {
                self.shards().note_shutdown(false)
            }
            Overridden::Shutdown if args.len() == 2 && args[1].eq_ignore_ascii_case(b"SAVE") => {
                self.shards().note_shutdown(true)
            }
            Overridden::Info => {
                let from = out.len();
                self.kevy.dispatch_verb_into(store, args, VerbId::UNKNOWN, proto, out);
                self.replies.info(out, from);
            }
            _ => return false,
        }
        true
    }
}
