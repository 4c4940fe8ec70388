//! `SENTINEL ...`

use super::session::{Context, Done, HOLD_MAX, Session, text};
use crate::forward::HERE;
use crate::members::Member;
use crate::pubsub;
use crate::reply::Reply;
use crate::view::MemberView;

/// Redis' own, for clients that look: nothing here takes so long.
const FAILOVER_TIMEOUT_MS: u64 = 180_000;

/// Answers one of its parts.
pub(super) fn answer(
    session: &mut Session,
    what: &[u8],
    rest: &[&[u8]],
    context: &mut Context<'_>,
    reply: &mut Reply<'_>,
) -> Done {
    let word = what.to_ascii_uppercase();
    let waits = session.held.is_none_or(|since| context.now.saturating_duration_since(since) < HOLD_MAX);
    // Only while nobody takes writes, and only for those who ask where to write.
    let hold = context.primary.is_none() && waits;
    match (&*word, rest) {
        (b"MYID", []) => reply.bulk(context.members.own().run_id("sentinel")),
        (b"MASTERS", []) if hold => return Done::Held,
        (b"MASTERS", []) => {
            reply.list(1);
            reply.fields(&primary(context));
        }
        (b"GET-MASTER-ADDR-BY-NAME", [name]) if !is_known(name, context) => reply.null_list(),
        (b"MASTER" | b"REPLICAS" | b"SLAVES" | b"SENTINELS" | b"CKQUORUM" | b"FAILOVER", [name])
            if !is_known(name, context) =>
        {
            reply.error("ERR No such master with that name")
        }
        (b"GET-MASTER-ADDR-BY-NAME" | b"MASTER", [_]) if hold => return Done::Held,
        (b"GET-MASTER-ADDR-BY-NAME", [_]) => match context.primary {
            Some(primary) => {
                let member = &context.members.all[primary];
                reply.list(2);
                reply.bulk(&member.host);
                reply.bulk(member.port.to_string());
            }
            None => reply.null_list(),
        },
        (b"MASTER", [_]) => reply.fields(&primary(context)),
        (b"REPLICAS" | b"SLAVES", [_]) => {
            let reigns = reigns(context);
            let others: Vec<_> = others(context, reigns).collect();
            reply.list(others.len());
            for (member, view) in others {
                reply.fields(&replica(member, view, context));
            }
        }
        (b"SENTINELS", [_]) => {
            let others: Vec<_> = others(context, context.members.own).collect();
            reply.list(others.len());
            for (member, view) in others {
                reply.fields(&sentinel(member, view, context));
            }
        }
        (b"CKQUORUM", [_]) => {
            let (heard, needed) = (context.view.reachable, context.view.quorum);
            if heard >= needed {
                reply.simple(&format!(
                    "OK {heard} usable Sentinels. Quorum and failover authorization can be reached"
                ));
            } else {
                reply.error(&format!(
                    "NOQUORUM {heard} usable Sentinels. Not enough available Sentinels to reach the majority and authorize a failover"
                ));
            }
        }
        (b"IS-MASTER-DOWN-BY-ADDR", [_, port, epoch, _]) if !is_number(port) || !is_number(epoch) => {
            reply.error("ERR value is not an integer or out of range");
        }
        (b"IS-MASTER-DOWN-BY-ADDR", [host, port, _, _]) => {
            let named = context.members.all.iter().position(|member| member.is_at(host, port));
            let down = named.is_some_and(|index| !context.view.members[index].up);
            reply.list(3);
            reply.number(i64::from(down));
            reply.bulk("*");
            reply.number(0);
        }
        (b"FAILOVER", [_]) => return failover(session, false, context, reply),
        (b"FAILOVER", [_, here]) if here.eq_ignore_ascii_case(HERE) => {
            return failover(session, true, context, reply);
        }
        (b"INFO-CACHE", [name]) if !is_known(name, context) => reply.list(0),
        (b"INFO-CACHE", [_]) => info_cache(context, reply),
        (b"CONFIG", [get, patterns @ ..]) if get.eq_ignore_ascii_case(b"GET") && !patterns.is_empty() => {
            let wanted = |name: &str| {
                let mut patterns = patterns.iter().map(|pattern| pattern.to_ascii_lowercase());
                patterns.any(|pattern| pubsub::matches(&pattern, name.as_bytes()))
            };
            let all = CONFIG.iter().filter(|(name, _)| wanted(name));
            let all: Vec<_> = all.map(|(name, value)| (*name, (*value).to_owned())).collect();
            reply.fields(&all);
        }
        (b"CONFIG", [get]) if get.eq_ignore_ascii_case(b"GET") => {
            reply.error("ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.");
        }
        (b"PENDING-SCRIPTS", []) => reply.list(0),
        (b"MONITOR" | b"REMOVE" | b"SET" | b"FLUSHCONFIG" | b"RESET" | b"SIMULATE-FAILURE" | b"DEBUG", _)
        | (b"CONFIG", [_, ..]) => {
            reply.error(
                "ERR the members and their settings are in each node's kevy.toml, and are changed there",
            );
        }
        (b"HELP", _) => {
            reply.list(HELP.len());
            HELP.iter().for_each(|line| reply.simple(line));
        }
        (
            b"MYID"
            | b"MASTERS"
            | b"GET-MASTER-ADDR-BY-NAME"
            | b"MASTER"
            | b"REPLICAS"
            | b"SLAVES"
            | b"SENTINELS"
            | b"CKQUORUM"
            | b"IS-MASTER-DOWN-BY-ADDR"
            | b"FAILOVER"
            | b"INFO-CACHE"
            | b"CONFIG"
            | b"PENDING-SCRIPTS",
            _,
        ) => {
            let what = text(what).to_lowercase();
            reply.error(&format!("ERR wrong number of arguments for 'sentinel|{what}' command"));
        }
        _ => reply.error(&format!("ERR unknown subcommand '{}'. Try SENTINEL HELP.", text(what))),
    }
    Done::Answered
}

/// Hands the office over: this node's own, or that of the node that has it, unless `here`.
fn failover(session: &mut Session, here: bool, context: &mut Context<'_>, reply: &mut Reply<'_>) -> Done {
    if let Some(line) = session.forwarded.take() {
        reply.line(&line);
        return Done::Answered;
    }
    let own = context.members.own;
    match context.primary {
        None => reply.error("INPROG nobody takes writes: an election is under way, or no quorum is up"),
        Some(primary) if primary == own => match (context.hand_over)() {
            Ok(()) => reply.ok(),
            // The words of Redis first, for programs.
            Err(why) => reply.error(&format!("NOGOODSLAVE No suitable replica to promote: {why}")),
        },
        // It has changed hands just now, or does.
        Some(_) if here || context.forwarding => reply.error("INPROG Failover already in progress"),
        Some(primary) => return Done::Forwarded(primary),
    }
    Done::Answered
}

/// What clients look for before they connect. Names of nodes are for clients to resolve.
const CONFIG: [(&str, &str); 6] = [
    ("resolve-hostnames", "yes"),
    ("announce-hostnames", "yes"),
    ("announce-ip", ""),
    ("announce-port", "0"),
    ("sentinel-user", ""),
    ("sentinel-pass", ""),
];

const HELP: [&str; 12] = [
    "SENTINEL <subcommand> [<arg> ...]. Subcommands are:",
    "GET-MASTER-ADDR-BY-NAME <name>: where the primary takes writes; nil while nobody does",
    "MASTERS, MASTER <name>: the primary",
    "REPLICAS <name>: all other nodes",
    "SENTINELS <name>: where the other nodes serve this protocol",
    "CKQUORUM <name>: whether enough voters are heard",
    "IS-MASTER-DOWN-BY-ADDR <ip> <port> <epoch> <runid>: whether this node hears that one",
    "FAILOVER <name>: hands the office over, whichever node is asked",
    "MYID: the id of this node",
    "CONFIG GET <pattern>: what clients look for",
    "INFO-CACHE <name>: what this node knows of all",
    "HELP: this",
];

fn is_number(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok())
}

fn is_known(name: &[u8], context: &Context<'_>) -> bool {
    context.members.name.as_bytes() == name
}

/// Who is shown as primary: the one who takes writes, the last one that did, or this node, so that there is an address.
fn reigns(context: &Context<'_>) -> usize {
    context.primary.or(context.last).unwrap_or(context.members.own)
}

fn others<'a>(context: &'a Context<'_>, without: usize) -> impl Iterator<Item = (&'a Member, MemberView)> {
    let all = context.members.all.iter().zip(context.view.members.iter().copied());
    all.enumerate().filter(move |(index, _)| *index != without).map(|(_, member)| member)
}

type Fields = Vec<(&'static str, String)>;

/// What every kind begins with.
fn head(name: String, host: &str, port: u16, run_id: String, flags: String, silence_ms: u128) -> Fields {
    vec![
        ("name", name),
        ("ip", host.to_owned()),
        ("port", port.to_string()),
        ("runid", run_id),
        ("flags", flags),
        ("link-pending-commands", "0".to_owned()),
        ("link-refcount", "1".to_owned()),
        ("last-ping-sent", "0".to_owned()),
        ("last-ok-ping-reply", silence_ms.to_string()),
        ("last-ping-reply", silence_ms.to_string()),
    ]
}

fn primary(context: &Context<'_>) -> Fields {
    let index = reigns(context);
    let (member, view) = (&context.members.all[index], context.view.members[index]);
    let silence = silence(view, context);
    let up = context.primary.is_some();
    let flags = if up { "master" } else { "s_down,o_down,master,disconnected" };
    let run_id = member.run_id("data");
    let mut fields =
        head(context.members.name.clone(), &member.host, member.port, run_id, flags.to_owned(), silence);
    if !up {
        fields.push(("s-down-time", silence.to_string()));
        fields.push(("o-down-time", silence.to_string()));
    }
    let others = context.members.all.len() - 1;
    fields.extend([
        ("down-after-milliseconds", context.promise.as_millis().to_string()),
        ("info-refresh", silence.to_string()),
        ("role-reported", "master".to_owned()),
        ("role-reported-time", context.uptime.as_millis().to_string()),
        ("config-epoch", context.view.epoch.to_string()),
        ("num-slaves", others.to_string()),
        ("num-other-sentinels", others.to_string()),
        ("quorum", context.view.quorum.to_string()),
        ("failover-timeout", FAILOVER_TIMEOUT_MS.to_string()),
        ("parallel-syncs", others.to_string()),
    ]);
    fields
}

fn replica(member: &Member, view: MemberView, context: &Context<'_>) -> Fields {
    let silence = silence(view, context);
    let flags = if view.up { "slave" } else { "s_down,slave,disconnected" };
    let name = format!("{}:{}", member.host, member.port);
    let mut fields = head(name, &member.host, member.port, member.run_id("data"), flags.to_owned(), silence);
    if !view.up {
        fields.push(("s-down-time", silence.to_string()));
    }
    let of = &context.members.all[reigns(context)];
    let linked = view.up && context.primary.is_some();
    fields.extend([
        ("down-after-milliseconds", context.promise.as_millis().to_string()),
        ("info-refresh", silence.to_string()),
        ("role-reported", "slave".to_owned()),
        ("role-reported-time", context.uptime.as_millis().to_string()),
        ("master-link-down-time", if linked { 0 } else { silence }.to_string()),
        ("master-link-status", if linked { "ok" } else { "err" }.to_owned()),
        ("master-host", of.host.clone()),
        ("master-port", of.port.to_string()),
        ("slave-priority", "100".to_owned()),
        ("slave-repl-offset", view.offset.to_string()),
        ("replica-announced", "1".to_owned()),
    ]);
    fields
}

/// What each node would say in `INFO`, as far as this one knows, and how old that is: the primary first. Nothing for one that was never heard.
fn info_cache(context: &Context<'_>, reply: &mut Reply<'_>) {
    let reigns = reigns(context);
    let of = &context.members.all[reigns];
    let head = [(of, context.view.members[reigns])];
    let all: Vec<_> = head.into_iter().chain(others(context, reigns)).collect();
    reply.list(2);
    reply.bulk(&context.members.name);
    reply.list(all.len());
    for (index, (member, view)) in all.into_iter().enumerate() {
        reply.list(2);
        reply.number(i64::try_from(silence(view, context)).unwrap_or(i64::MAX));
        if view.silence.is_none() {
            reply.null();
            continue;
        }
        let (run_id, port, offset) = (member.run_id("data"), member.port, view.offset);
        let role = match index {
            0 => format!("role:master\r\nmaster_repl_offset:{offset}"),
            _ => format!(
                "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\nslave_repl_offset:{offset}",
                of.host, of.port
            ),
        };
        reply.bulk(format!(
            "# Server\r\nredis_mode:standalone\r\nrun_id:{run_id}\r\ntcp_port:{port}\r\n\r\n# Replication\r\n{role}\r\n"
        ));
    }
}

fn sentinel(member: &Member, view: MemberView, context: &Context<'_>) -> Fields {
    let silence = silence(view, context);
    let flags = if view.up { "sentinel" } else { "s_down,sentinel,disconnected" };
    let run_id = member.run_id("sentinel");
    let (host, port) = (&member.sentinel_host, member.sentinel_port);
    let mut fields = head(run_id.clone(), host, port, run_id, flags.to_owned(), silence);
    if !view.up {
        fields.push(("s-down-time", silence.to_string()));
    }
    fields.extend([
        ("down-after-milliseconds", context.promise.as_millis().to_string()),
        ("last-hello-message", silence.to_string()),
        ("voted-leader", "?".to_owned()),
        ("voted-leader-epoch", "0".to_owned()),
    ]);
    fields
}

/// For how long a member has been silent by now, in milliseconds. One that was never heard: as long as this process lives.
fn silence(view: MemberView, context: &Context<'_>) -> u128 {
    let since = context.now.saturating_duration_since(context.view.taken);
    view.silence.map_or(context.uptime, |silence| silence + since).as_millis()
}
