//! What clients say about themselves when they connect.

use super::session::{Context, NAME_BYTES_MAX, Session, text};
use crate::reply::Reply;
use kevy_resp::RespVersion;

/// What clients take for the version of Redis: the one that kevy names.
pub(super) const VERSION: &str = "7.4.0";
/// The user whom `AUTH` without a name means.
const USER: &[u8] = b"default";

/// `HELLO [2|3] [AUTH user password] [SETNAME name]`
pub(super) fn hello(session: &mut Session, rest: &[&[u8]], context: &Context<'_>, out: &mut Vec<u8>) {
    let mut reply = Reply { out, version: session.version };
    let (version, mut options) = match rest {
        [] => (session.version, rest),
        [b"2", options @ ..] => (RespVersion::V2, options),
        [b"3", options @ ..] => (RespVersion::V3, options),
        [version, ..] if text(version).parse::<i64>().is_ok() => {
            return reply.error("NOPROTO unsupported protocol version");
        }
        _ => return reply.error("ERR Protocol version is not an integer or out of range"),
    };
    let (mut name, mut authenticated) = (None, session.authenticated);
    while let [option, more @ ..] = options {
        match (&*option.to_ascii_uppercase(), more) {
            (b"AUTH", [user, password, more @ ..]) => {
                if !is_right(user, password, context) {
                    return reply.error(WRONG);
                }
                (authenticated, options) = (true, more);
            }
            (b"SETNAME", [wanted, more @ ..]) if is_name(wanted) => {
                (name, options) = (Some(wanted.to_vec()), more)
            }
            (b"SETNAME", [_, ..]) => return reply.error(NAME),
            _ => return reply.error(&format!("ERR Syntax error in HELLO option '{}'", text(option))),
        }
    }
    if context.password.is_some() && !authenticated {
        return reply.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be \
             used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    (session.version, session.authenticated) = (version, authenticated);
    session.name = name.unwrap_or_else(|| std::mem::take(&mut session.name));
    let mut reply = Reply { out, version };
    reply.map(6);
    for (field, value) in [("server", "redis"), ("version", VERSION)] {
        reply.bulk(field);
        reply.bulk(value);
    }
    reply.bulk("proto");
    reply.number(if matches!(version, RespVersion::V3) { 3 } else { 2 });
    reply.bulk("id");
    reply.number(i64::try_from(session.id).unwrap_or(i64::MAX));
    reply.bulk("mode");
    reply.bulk("sentinel");
    reply.bulk("modules");
    reply.list(0);
}

/// `AUTH [user] password`
pub(super) fn auth(session: &mut Session, rest: &[&[u8]], context: &Context<'_>, reply: &mut Reply<'_>) {
    let (user, password) = match rest {
        [user, password] => (*user, *password),
        [password] if context.password.is_some() => (USER, *password),
        _ => {
            return reply.error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is \
                 correct?",
            );
        }
    };
    if !is_right(user, password, context) {
        return reply.error(WRONG);
    }
    session.authenticated = true;
    reply.ok();
}

/// `CLIENT ...`: what clients send when they connect. Nothing of it changes anything but the connection itself.
pub(super) fn answer(session: &mut Session, what: &[u8], rest: &[&[u8]], reply: &mut Reply<'_>) {
    match (&*what.to_ascii_uppercase(), rest) {
        (b"SETNAME", [name]) if is_name(name) => {
            session.name = name.to_vec();
            reply.ok();
        }
        (b"SETNAME", [_]) => reply.error(NAME),
        (b"GETNAME", []) if session.name.is_empty() => reply.null(),
        (b"GETNAME", []) => reply.bulk(&session.name),
        (b"ID", []) => reply.number(i64::try_from(session.id).unwrap_or(i64::MAX)),
        (b"SETINFO", [_, _]) | (b"NO-EVICT" | b"NO-TOUCH" | b"CAPA", [_, ..]) => reply.ok(),
        (b"INFO" | b"LIST", _) => reply.bulk(format!("id={} name={}\n", session.id, text(&session.name))),
        (b"SETNAME" | b"GETNAME" | b"ID" | b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH" | b"CAPA", _) => {
            let what = text(what).to_lowercase();
            reply.error(&format!("ERR wrong number of arguments for 'client|{what}' command"));
        }
        _ => reply.error(&format!("ERR unknown subcommand '{}'. Try CLIENT HELP.", text(what))),
    }
}

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Without a password any is right for the user that everybody is, as in Redis.
fn is_right(user: &[u8], password: &[u8], context: &Context<'_>) -> bool {
    let same = context.password.is_none_or(|right| is_same(right.as_bytes(), password));
    user == USER && same
}

/// Takes as long wherever the first difference is.
fn is_same(right: &[u8], given: &[u8]) -> bool {
    let differences = right.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    right.len() == given.len() && differences == 0
}

fn is_name(name: &[u8]) -> bool {
    name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic)
}
