//! What becomes of a command before it runs: whether it may, where it goes, and what it is told if it may not.

use super::ElectedCommands;
use crate::clients::browser::{self, Rest};
use crate::clients::handshake;
use crate::clients::harmless::is_harmless;
use crate::clients::nulls::Detour;
use crate::clients::replies::{self, Overridden};
use crate::clients::scripts;
use crate::clients::verdict::{self, Verdict};
use kevy_elect_plugin::plugin::Denied;
use kevy_rt::{ArgvView, Commands, ResolvedCmd, Route, TxnKind, VerbId};
use std::time::Duration;

/// For how long after a `WAIT` the shards look for acknowledgements often.
const WAIT_HURRY: Duration = Duration::from_secs(1);

impl ElectedCommands {
    /// What becomes of a command that may change something, while the gate is shut.
    #[cold]
    pub(super) fn resolve_shut<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
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
    pub(super) fn resolve_write<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
        if let Err(denied) = self.shards().check()
            && self.shards().passes_late(self.own_shard(), denied).is_err()
        {
            return self.resolve_shut(args, resolved);
        }
        if resolved.verb == VerbId::UNKNOWN {
            let waits = verdict::note_mover(resolved, self.shards().count());
            let apart = self.reroute_move(args, &mut resolved.route) || waits && self.differ(args);
            if apart && !self.moves {
                return self.resolve_apart(resolved);
            }
        }
        resolved.verb = Verdict::Write.mark(resolved.verb);
    }

    /// What becomes of a command that would move data from one shard to another, where that is not wanted.
    #[cold]
    fn resolve_apart(&self, resolved: &mut ResolvedCmd) {
        self.refused.set(true);
        *resolved = ResolvedCmd::new(Route::Local)
            .with_txn_kind(resolved.txn_kind)
            .with_verb(Verdict::Apart.mark(VerbId::UNKNOWN));
    }

    /// Whether a command would do so.
    pub(super) fn is_apart<A: ArgvView + ?Sized>(&self, args: &A) -> bool {
        // kevy tells that it waits only where it resolves it.
        let waits = args.len() == 4 && args[0].eq_ignore_ascii_case(b"BRPOPLPUSH");
        self.reroute_move(args, &mut self.kevy.route(args)) || waits && self.differ(args)
    }

    /// What becomes of a command that kevy takes for no write, and has no id for.
    pub(super) fn resolve_other<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) {
        let Some(verb) = args.first() else { return };
        let known =
            Overridden::of(verb).filter(|own| *own != Overridden::Handshake || handshake::answers(args));
        let Some(own) = known else {
            let shut = self.shards().lets_pass(self.own_shard()).is_err();
            if (shut || browser::is_request(args)) && !is_harmless(args) {
                self.resolve_unknown(args, resolved);
            }
            match resolved.txn_kind {
                TxnKind::Multi => self.shards().note_transaction(true),
                TxnKind::Exec | TxnKind::Discard => self.shards().note_transaction(false),
                _ => {}
            }
            return;
        };
        if own == Overridden::Browser {
            self.turn_away(args, resolved);
            return;
        }
        resolved.route = self.reroute(own, args, std::mem::replace(&mut resolved.route, Route::Local));
        let verdict = match own {
            Overridden::Cut => Verdict::Cut,
            Overridden::Expired => Verdict::AnsweredWrite,
            _ => Verdict::Answered,
        };
        // Or kevy would wake nobody behind it. It changes nothing, and is sent where the gate is shut.
        resolved.is_write |= own == Overridden::Unblock;
        if verdict != Verdict::Answered {
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
    pub(super) fn refusal<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
        let denied = self.shards().check().err()?;
        let verb = args.first()?;
        let guarded = self.kevy.is_write(args)
            || Overridden::of(verb).map_or(!is_harmless(args), |own| match own {
                Overridden::Cut | Overridden::Expired => true,
                Overridden::Handshake => !handshake::answers(args) && !is_harmless(args),
                _ => false,
            });
        (guarded && !self.may_read_as_script(args)).then(|| replies::denied(denied))
    }

    /// What a command is told while a snapshot is being loaded, if it has to wait for its end.
    #[cold]
    pub(super) fn loading<A: ArgvView + ?Sized>(&self, args: &A) -> Option<Vec<u8>> {
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
        let line =
            args.first().and_then(Overridden::of) == Some(Overridden::Browser) || browser::is_request(args);
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

    /// Whether a command stands behind a browser's request, comes to a node that keeps no clients, or is one whose null kevy would spell
    /// as RESP2 does. It has its route then.
    #[cold]
    pub(super) fn look_closer<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) -> bool {
        if self.browser.is_near() && self.turn_away(args, resolved) {
            return true;
        }
        let keeps_nobody = self.shards().keeps_nobody();
        if keeps_nobody && self.let_go(args, resolved) {
            return true;
        }
        if !self.resp3.get() {
            self.wary.set(self.browser.is_near() || keeps_nobody);
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
    pub(super) fn reroute<A: ArgvView + ?Sized>(&self, own: Overridden, args: &A, route: Route) -> Route {
        let primary = || self.shards().standing().primary;
        match own {
            Overridden::Steer
            | Overridden::Failover
            | Overridden::Load
            | Overridden::Browser
            | Overridden::Handshake => Route::Local,
            Overridden::Elect => Route::Extension,
            // Which may change the connection's protocol.
            Overridden::Reset if args.len() == 1 => Route::Hello,
            Overridden::Wait if self.shards().acks_are_stale() || !primary() => Route::Local,
            Overridden::Wait => {
                // kevy reads acknowledgements when it ticks: by default that is ten times a second.
                self.shards().hurry(WAIT_HURRY);
                self.shards().want_cut();
                if let Route::ReplWait { timeout_ms, .. } = route {
                    self.shards().waits().park(timeout_ms);
                }
                route
            }
            Overridden::Token if !primary() => Route::Local,
            Overridden::TokenWait if !primary() => self.token_barrier(args),
            Overridden::Cut if args.len() == 3 => Route::Single(1),
            Overridden::Unblock if args.len() == 2 => Route::Single(1),
            Overridden::Unblock => Route::Local,
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
pub(super) fn token<A: ArgvView + ?Sized>(args: &A) -> Option<(Vec<(u64, u64)>, u64)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

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
