//! `INFO`

use super::client::VERSION;
use super::session::Context;
use crate::reply::Reply;
use std::fmt::Write as _;

/// `INFO [section ...]`
pub(super) fn answer(sections: &[&[u8]], context: &Context<'_>, reply: &mut Reply<'_>) {
    let all = sections.is_empty()
        || sections.iter().any(|name| {
            [&b"all"[..], b"everything", b"default"].iter().any(|every| name.eq_ignore_ascii_case(every))
        });
    let mut parts = Vec::new();
    for (name, section) in [
        (&b"server"[..], server as fn(&Context<'_>) -> String),
        (b"clients", clients),
        (b"sentinel", sentinel),
    ] {
        if all || sections.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
            parts.push(section(context));
        }
    }
    reply.bulk(parts.join("\r\n"));
}

fn server(context: &Context<'_>) -> String {
    let own = context.members.own();
    format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:sentinel\r\nrun_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{}\r\n",
        own.run_id("sentinel"),
        own.sentinel_port,
        context.uptime.as_secs()
    )
}

fn clients(context: &Context<'_>) -> String {
    format!("# Clients\r\nconnected_clients:{}\r\n", context.clients)
}

fn sentinel(context: &Context<'_>) -> String {
    let members = context.members;
    let status = if context.primary.is_some() { "ok" } else { "odown" };
    let known = &members.all[context.primary.or(context.last).unwrap_or(members.own)];
    let mut text =
        "# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n"
            .to_owned();
    text += "sentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\nsentinel_simulate_failure_flags:0\r\n";
    let _ = write!(
        text,
        "master0:name={},status={status},address={}:{},slaves={},sentinels={}\r\n",
        members.name,
        known.host,
        known.port,
        members.all.len() - 1,
        members.all.len()
    );
    text
}
