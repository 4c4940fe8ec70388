//! The page for people: one HTML file without anything from elsewhere. Whole without JavaScript; with it, it
//! fetches itself anew.

use super::copying::Copying;
use super::html::escape;
use super::links::links;
use super::pages::{Pages, Place};
use super::status::lag;
use super::views::View;
use crate::history::{Decision, now_ms};
use kevy_elect_plugin::config::MemberKind;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::plugin::ElectSnapshot;
use std::fmt::Write;
use std::time::Duration;

/// How many decisions are shown.
const SHOWN_MAX: usize = 10;

const HEAD: &str = include_str!("page_head.html");
const TAIL: &str = include_str!("page_tail.html");

/// `views`: what each of the others said of itself, or why that is not known.
pub(super) fn page(
    snapshot: &ElectSnapshot,
    pages: &Pages,
    copying: Option<Copying>,
    views: &[(NodeId, Result<View, String>)],
) -> String {
    let mut body = String::new();
    let title = format!("{} · {}", snapshot.node, snapshot.role);
    // Writing to a String cannot fail.
    let _ = write!(body, "{}", HEAD.replace("{title}", &escape(&title)));
    headline(&mut body, snapshot, &pages.cluster);
    if let Some(copying) = copying {
        let _ = write!(
            body,
            "<p class=warn>{}: {}</p>",
            escape(snapshot.node.as_str()),
            escape(&copying.to_string())
        );
    }
    if let Some(stalled) = (pages.stall)() {
        let _ = write!(
            body,
            "<p><b class=bad>{} stands still</b>: {}</p>",
            escape(snapshot.node.as_str()),
            escape(&stalled)
        );
    }
    if pages.links == "insecure" {
        body.push_str(
            "<p><b class=bad>Links prove nothing</b>: whoever reaches the ports may say that it is a member \
             (<code>[elect] insecure = true</code>).</p>",
        );
    }
    for peer in &snapshot.peers {
        if let Some(what) = &peer.differs {
            let _ = write!(
                body,
                "<p><b class=bad>{} is configured otherwise</b>: {}</p>",
                escape(peer.id.as_str()),
                escape(what)
            );
        }
    }
    lease(&mut body, snapshot, views);
    nodes(&mut body, snapshot);
    members(&mut body, snapshot, &pages.place);
    links(&mut body, snapshot, views);
    timeline(&mut body, &pages.history.decisions());
    body.push_str(TAIL);
    body
}

fn headline(body: &mut String, snapshot: &ElectSnapshot, cluster: &str) {
    let (tone, word) = match (snapshot.role, snapshot.writable, snapshot.primary) {
        (Role::Primary, true, _) | (Role::Replica, _, Some(_)) => ("good", snapshot.role.as_str()),
        (Role::Primary, false, _) => ("bad", "primary, fenced"),
        (role, ..) => ("warn", role.as_str()),
    };
    let _ = write!(
        body,
        "<h1><span class={tone}>●</span> {} <small>of cluster {}</small></h1>\
         <p class=why><b class={tone}>{word}</b>: {}{}</p>",
        escape(snapshot.node.as_str()),
        escape(cluster),
        escape(&snapshot.why),
        if snapshot.paused { " <b class=warn>Automatic elections are paused.</b>" } else { "" },
    );
    let short = if snapshot.voters_reachable < snapshot.quorum { "bad" } else { "good" };
    let _ = write!(
        body,
        "<p>Epoch <b>{}</b> · voters in reach <b class={short}>{}</b>, needed {}</p>",
        snapshot.epoch, snapshot.voters_reachable, snapshot.quorum
    );
}

/// As a bar: this node's, or what the primary said of its own.
fn lease(body: &mut String, snapshot: &ElectSnapshot, views: &[(NodeId, Result<View, String>)]) {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let bar = match snapshot.role {
        Role::Primary => Some((snapshot.node, (ms(snapshot.lease_left), ms(snapshot.lease)))),
        _ => views.iter().find_map(|(id, view)| Some((*id, view.as_ref().ok()?.lease?))),
    };
    if let Some((id, (left, whole))) = bar {
        let whole = whole.max(1);
        let _ = write!(
            body,
            "<p>Lease of {} <meter min=0 max={whole} low={} value={left}></meter> {left} of {whole} ms</p>",
            escape(id.as_str()),
            whole / 3
        );
    }
}

fn nodes(body: &mut String, snapshot: &ElectSnapshot) {
    body.push_str(
        "<h2>Nodes</h2><div class=wide><table><tr><th>node<th>role<th>epoch<th>position<th>heard</tr>",
    );
    let mark = |id: NodeId| if snapshot.primary == Some(id) { " class=primary" } else { "" };
    let behind =
        lag(snapshot).filter(|lag| *lag > 0).map(|lag| format!(", {lag} behind")).unwrap_or_default();
    let _ = write!(
        body,
        "<tr{}><td><b>{}</b><td>{}<td>{}<td>{}{behind}<td>this node</tr>",
        mark(snapshot.node),
        escape(snapshot.node.as_str()),
        snapshot.role,
        snapshot.epoch,
        snapshot.progress
    );
    for peer in &snapshot.peers {
        let role = match (peer.up, peer.role) {
            (false, _) => "<b class=bad>down</b>",
            (true, Some(role)) => role.as_str(),
            (true, None) => "?",
        };
        let heard = peer.silence.map_or("never".to_owned(), |silence| match silence.as_secs() {
            0..5 => format!("{} ms ago", silence.as_millis()),
            seconds => format!("{} ago", ago(seconds.saturating_mul(1000))),
        });
        let _ = write!(
            body,
            "<tr{}><td>{}<td>{role}<td>{}<td>{}<td>{heard}</tr>",
            mark(peer.id),
            escape(peer.id.as_str()),
            peer.epoch,
            peer.progress
        );
    }
    body.push_str("</table></div>");
}

/// A table of its own: beside the rest it would be too wide for a phone.
fn members(body: &mut String, snapshot: &ElectSnapshot, place: &Place) {
    body.push_str("<h2>Members</h2><div class=wide><table><tr><th>node<th>kind<th>clients at</tr>");
    let own = (snapshot.node, snapshot.kind, snapshot.priority);
    let peers = snapshot.peers.iter().map(|peer| (peer.id, peer.kind, peer.priority));
    for (id, kind, priority) in std::iter::once(own).chain(peers) {
        let preferred =
            if kind == MemberKind::Voter { format!(", priority {priority}") } else { String::new() };
        let at = place(id).clients.unwrap_or_else(|| "-".to_owned());
        let _ = write!(
            body,
            "<tr><td>{}<td>{}{preferred}<td>{}</tr>",
            escape(id.as_str()),
            kind.as_str(),
            escape(&at)
        );
    }
    body.push_str("</table></div>");
}

fn timeline(body: &mut String, decisions: &[Decision]) {
    body.push_str("<h2>What was decided</h2>");
    if decisions.is_empty() {
        body.push_str("<p>Nothing yet.</p>");
        return;
    }
    body.push_str("<ol class=timeline>");
    let now = now_ms();
    for decision in decisions.iter().take(SHOWN_MAX) {
        let or_none = |node: &Option<String>| escape(node.as_deref().unwrap_or("nobody"));
        let Decision { at_ms, epoch, what, why, .. } = decision;
        let (from, to) = (or_none(&decision.from), or_none(&decision.to));
        let whom = if from == to { to } else { format!("{from} → {to}") };
        let _ = write!(
            body,
            "<li><time data-ms={at_ms}>{} ago</time> epoch {epoch}: <b>{}</b> {whom} <i>{}</i>{}</li>",
            ago(now.saturating_sub(*at_ms)),
            escape(what),
            escape(why),
            bars(decision)
        );
    }
    body.push_str("</ol>");
}

/// The phases, side by side, as long as they took.
fn bars(decision: &Decision) -> String {
    let phases = &decision.phases;
    let all = [
        ("detect", phases.detect_ms),
        ("elect", phases.elect_ms),
        ("promote", phases.promote_ms),
        ("retarget", phases.retarget_ms),
    ];
    let parts: String = all
        .iter()
        .filter_map(|(name, took)| took.map(|took| (name, took)))
        .map(|(name, took)| {
            format!("<span class={name} style='flex-grow:{:.3}'>{name} {took:.1} ms</span>", took.max(0.1))
        })
        .collect();
    if parts.is_empty() { parts } else { format!("<div class=phases>{parts}</div>") }
}

fn ago(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
