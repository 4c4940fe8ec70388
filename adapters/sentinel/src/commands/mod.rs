//! One client's commands: bytes in, bytes out, no socket.
//!
//! What is said, and in which order of fields, is what Redis Sentinel says, because clients read it by position.

mod client;
mod info;
mod sentinel;
mod session;

use crate::limits::SUBSCRIBERS_MAX;
use crate::pubsub::Kind;
use crate::reply::Reply;
use crate::switch::Message;
use kevy_resp::{Argv, RespVersion, parse_command_into};
use session::{Done, text};
use std::time::Instant;

pub(crate) use session::{Context, HOLD_MAX, Session};

/// Bytes of one command, and of what a client sends ahead.
pub(crate) const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// What follows from what a client has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may send more.
    Read,
    /// It has sent more than is answered yet: first it has to read.
    More,
    /// It is answered at this time at the latest.
    Wait(Instant),
    /// It is answered with what this member says.
    Forward(usize),
    /// Its connection ends once the answer is written.
    Close,
}

impl Session {
    /// Writes `message` if the client listens for it.
    pub(crate) fn tell(&self, message: &Message, out: &mut Vec<u8>) {
        self.subscriptions.tell(message, &mut Reply { out, version: self.version });
    }

    /// Takes what came, and answers what is complete, unless the answers that wait for the client exceed `out_max`.
    pub(crate) fn go_on(
        &mut self,
        came: &[u8],
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
        out_max: usize,
    ) -> Next {
        self.input.extend_from_slice(came);
        let (mut used, mut argv) = (0, Argv::default());
        let next = loop {
            if out.len() >= out_max {
                break Next::More;
            }
            let size = match parse_command_into(&self.input[used..], &mut argv) {
                Ok(Some(size)) => size,
                Ok(None) if self.input.len() - used > COMMAND_BYTES_MAX => {
                    Reply { out, version: self.version }.error("ERR Protocol error: the command is too long");
                    break Next::Close;
                }
                Ok(None) => break Next::Read,
                Err(error) => {
                    Reply { out, version: self.version }.error(&format!("ERR Protocol error: {error}"));
                    break Next::Close;
                }
            };
            let words: Vec<&[u8]> = argv.iter().collect();
            match self.execute(&words, context, out) {
                Done::Answered => self.held = None,
                Done::Held => {
                    break Next::Wait(*self.held.get_or_insert(context.now) + HOLD_MAX);
                }
                Done::Forwarded(member) => break Next::Forward(member),
                Done::Close => break Next::Close,
            }
            used += size;
        };
        self.input.drain(..used);
        next
    }

    fn execute(&mut self, words: &[&[u8]], context: &mut Context<'_>, out: &mut Vec<u8>) -> Done {
        let [verb, rest @ ..] = words else { return Done::Answered };
        let word = verb.to_ascii_uppercase();
        let mut reply = Reply { out, version: self.version };
        if context.password.is_some()
            && !self.authenticated
            && !matches!(&*word, b"AUTH" | b"HELLO" | b"QUIT")
        {
            reply.error("NOAUTH Authentication required.");
            return Done::Answered;
        }
        let listens_only = self.is_subscriber() && matches!(self.version, RespVersion::V2);
        if listens_only && KNOWN.contains(&&*word) && !LISTENING.contains(&&*word) {
            let verb = text(verb).to_lowercase();
            reply.error(&format!(
                "ERR Can't execute '{verb}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            ));
            return Done::Answered;
        }
        match (&*word, rest) {
            (b"SENTINEL", [what, rest @ ..]) => {
                return sentinel::answer(self, what, rest, context, &mut reply);
            }
            (b"PING", []) if listens_only => {
                reply.list(2);
                reply.bulk("pong");
                reply.bulk("");
            }
            (b"PING", [said]) if listens_only => {
                reply.list(2);
                reply.bulk("pong");
                reply.bulk(said);
            }
            (b"PING", []) => reply.simple("PONG"),
            (b"PING", [said]) => reply.bulk(said),
            (b"SUBSCRIBE" | b"PSUBSCRIBE", [_, ..])
                if !self.is_subscriber() && context.subscribers >= SUBSCRIBERS_MAX =>
            {
                reply.error(&format!(
                    "ERR {SUBSCRIBERS_MAX} clients listen here already: listen to another node"
                ));
            }
            (b"SUBSCRIBE", [_, ..]) => self.subscriptions.begin(Kind::Channel, rest, &mut reply),
            (b"PSUBSCRIBE", [_, ..]) => self.subscriptions.begin(Kind::Pattern, rest, &mut reply),
            (b"UNSUBSCRIBE", _) => self.subscriptions.end(Kind::Channel, rest, &mut reply),
            (b"PUNSUBSCRIBE", _) => self.subscriptions.end(Kind::Pattern, rest, &mut reply),
            (b"INFO", _) => info::answer(rest, context, &mut reply),
            (b"ROLE", []) => {
                reply.list(2);
                reply.bulk("sentinel");
                reply.list(1);
                reply.bulk(&context.members.name);
            }
            (b"HELLO", _) => client::hello(self, rest, context, reply.out),
            (b"AUTH", [_] | [_, _]) => client::auth(self, rest, context, &mut reply),
            (b"AUTH", [_, ..]) => reply.error("ERR syntax error"),
            (b"CLIENT", [what, rest @ ..]) => client::answer(self, what, rest, &mut reply),
            (b"QUIT", _) => {
                reply.ok();
                return Done::Close;
            }
            (b"RESET", []) => {
                *self = Self { input: std::mem::take(&mut self.input), ..Self::new(self.id) };
                reply.simple("RESET");
            }
            (b"ACL", [what]) if what.eq_ignore_ascii_case(b"WHOAMI") => reply.bulk("default"),
            (b"COMMAND", [what]) if what.eq_ignore_ascii_case(b"COUNT") => reply.number(COMMANDS),
            (b"COMMAND", [what, ..]) if what.eq_ignore_ascii_case(b"DOCS") => reply.map(0),
            (b"COMMAND", [what, ..]) if !what.eq_ignore_ascii_case(b"INFO") => {
                reply.error(&format!("ERR unknown subcommand '{}'. Try COMMAND HELP.", text(what)));
            }
            (b"COMMAND", _) => reply.list(0),
            (b"PUBLISH", [_, _]) => {
                reply.error("ERR this port tells of the election; publish at the primary's port for clients")
            }
            _ if KNOWN.contains(&&*word) => {
                let verb = text(verb).to_lowercase();
                reply.error(&format!("ERR wrong number of arguments for '{verb}' command"));
            }
            _ => {
                let with: String = rest.iter().take(8).map(|word| format!("'{}' ", text(word))).collect();
                reply.error(&format!(
                    "ERR unknown command '{}', with args beginning with: {with}",
                    text(verb)
                ));
            }
        }
        Done::Answered
    }
}

const COMMANDS: i64 = KNOWN.len() as i64;
/// What a client of RESP2 that listens may still say.
const LISTENING: [&[u8]; 7] =
    [b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"PING", b"QUIT", b"RESET"];
const KNOWN: [&[u8]; 16] = [
    b"SENTINEL",
    b"PING",
    b"SUBSCRIBE",
    b"PSUBSCRIBE",
    b"UNSUBSCRIBE",
    b"PUNSUBSCRIBE",
    b"INFO",
    b"ROLE",
    b"HELLO",
    b"AUTH",
    b"CLIENT",
    b"QUIT",
    b"RESET",
    b"ACL",
    b"COMMAND",
    b"PUBLISH",
];

#[cfg(test)]
mod tests;
