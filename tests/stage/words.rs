//! How scripts tell what happened: one line each, the votes and what was decided by default.

use kevy_elect_plugin::elector::HostAction;
use kevy_elect_plugin::event::{EventKind, Outcome};
use kevy_elect_plugin::fence::Denied;
use kevy_elect_plugin::ids::ClusterId;
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Message, OfferKind, RejectReason, Verb};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::sim::{Note, What};
use kevy_elect_plugin::time::Duration;
use std::fmt::Write;

/// Notes as lines, times in milliseconds since `zero`.
pub(crate) fn notes(notes: &[Note], zero: Duration, shown: &[&str]) -> String {
    let mut lines: Vec<(u64, String, Option<&Message>)> = Vec::new();
    for note in notes {
        if let What::Sent { to, message, cut } = &note.what {
            let Some(text) = self::message(message, shown) else { continue };
            let to = format!("{to}{}", if *cut { " (cut)" } else { "" });
            let head = format!("{} -> ", note.node);
            match lines.last_mut() {
                // One line for all to whom the same is said at once.
                Some((at, line, Some(last)))
                    if *at == note.at && *last == message && line.starts_with(&head) =>
                {
                    line.insert_str(line.len() - text.len() - 2, &format!(", {to}"));
                }
                _ => lines.push((note.at, format!("{head}{to}: {text}"), Some(message))),
            }
        } else if let Some(text) = what(note, shown) {
            lines.push((note.at, format!("{} {text}", note.node), None));
        }
    }
    let mut said = String::new();
    for (at, line, _) in lines {
        let ms = (at as f64 - zero.as_nanos() as f64) / 1e6;
        let _ = writeln!(said, "{ms:>8.1} ms  {line}");
    }
    said
}

/// The history and the offsets in it.
pub(crate) fn position(position: &Position) -> String {
    let offsets: Vec<_> = position.offsets().iter().map(u64::to_string).collect();
    format!("{}:{}", position.stream_epoch(), offsets.join(","))
}

pub(crate) fn denied(denied: Denied) -> String {
    match denied {
        Denied::Replica => "not the primary".to_owned(),
        Denied::Fenced(reason) => format!("fenced, {}", reason.as_str()),
        other => unreachable!("no words for {other:?}"),
    }
}

/// A verb that is missing here has no words below.
const _: fn(Verb) = |verb| match verb {
    Verb::Hello | Verb::Hb | Verb::Echo | Verb::PreOffer | Verb::PreAccept | Verb::Offer => {}
    Verb::Accept | Verb::Reject | Verb::Announce | Verb::Resign | Verb::Members | Verb::Held | Verb::Rank => {
    }
};

fn message(message: &Message, shown: &[&str]) -> Option<String> {
    let verb = message.verb().as_str();
    Some(match message {
        Message::Heartbeat(_) | Message::Echo(_) | Message::Rank(_) if !shown.contains(&"heartbeats") => {
            return None;
        }
        Message::Heartbeat(m) => {
            let primary = m.primary.map_or("nobody".to_owned(), |id| id.to_string());
            format!("{verb} as {} of epoch {}, follows {primary}, at {}", m.role, m.epoch, m.progress)
        }
        Message::Echo(m) => {
            let primary = m.primary.map_or("nobody".to_owned(), |id| id.to_string());
            format!("{verb} in epoch {}, follows {primary}, at {}", m.epoch, m.progress)
        }
        Message::PreOffer(m) | Message::Offer(m) => {
            format!("{verb} epoch {} at {}", m.epoch, position(&m.position))
        }
        Message::PreAccept(m) | Message::Accept(m) => format!("{verb} epoch {}", m.epoch),
        Message::Reject(m) if m.reason == RejectReason::Position => {
            format!("{verb} {}: {}, it is at {}", m.kind.as_str(), m.reason, m.progress)
        }
        Message::Reject(m) if m.reason == RejectReason::Epoch => {
            format!("{verb} {}: {}, it is in epoch {}", m.kind.as_str(), m.reason, m.epoch)
        }
        Message::Reject(m) => format!("{verb} {}: {}", m.kind.as_str(), m.reason),
        Message::Announce(m) => format!("{verb} epoch {}", m.epoch),
        Message::Resign(m) => {
            let successor = m.successor.map_or(String::new(), |id| format!(", {id} is to succeed"));
            format!("{verb} epoch {}{successor}", m.epoch)
        }
        Message::Rank(m) => format!("{verb} up {} s, {} done", m.up.as_secs(), m.work),
        Message::Members(members) => format!("{verb} {members}"),
        Message::Held(generation) => format!("{verb} {generation}"),
        other => unreachable!("no words for {other:?}"),
    })
}

/// Enough of an id to tell it from others.
fn short(cluster: &ClusterId) -> &str {
    &cluster.as_str()[..4]
}

fn what(note: &Note, shown: &[&str]) -> Option<String> {
    let links = shown.contains(&"links");
    let host = shown.contains(&"host");
    Some(match &note.what {
        What::Started => "starts".to_owned(),
        What::Gone => "is gone".to_owned(),
        What::Link(peer, event) if links => match event {
            LinkEvent::Up { .. } => format!("is linked to {peer}"),
            LinkEvent::Closed => format!("sees its link to {peer} end in order"),
            LinkEvent::OlderClosed { .. } => format!("sees the link to an earlier {peer} end in order"),
            LinkEvent::Reset => format!("sees its link to {peer} break"),
            LinkEvent::Refused => format!("is refused by {peer}"),
            other => unreachable!("no words for {other:?}"),
        },
        What::Asked(action) if host => match action {
            HostAction::Fence(epoch, reason) => {
                format!("host: fence, {}, epoch {epoch}", reason.as_str())
            }
            HostAction::Resume(epoch) => format!("host: resume epoch {epoch}"),
            HostAction::Promote(epoch) => format!("host: promote, epoch {epoch}"),
            HostAction::Follow(epoch, primary) => format!("host: follow {primary}, epoch {epoch}"),
            HostAction::Detach(_) => return None,
            other => unreachable!("no words for {other:?}"),
        },
        What::Detached(position) if host => format!("host: let go at {}", self::position(position)),
        What::Joined if host => "host: has joined the primary's history".to_owned(),
        // `Stage` leaves out those that change neither epoch nor vote.
        What::Saved(state) if shown.contains(&"saves") => {
            let vote = state.voted_for.map_or("no vote".to_owned(), |id| format!("vote for {id}"));
            format!("disk: epoch {}, {vote}", state.epoch)
        }
        What::Decided(event) => match &event.kind {
            EventKind::Resigned { node, .. } if *node == note.node => "resigns".to_owned(),
            kind => return decided(kind),
        },
        _ => return None,
    })
}

fn decided(kind: &EventKind) -> Option<String> {
    Some(match kind {
        // Said by the messages, or by what follows.
        EventKind::PrimaryChanged { .. }
        | EventKind::Campaign { .. }
        | EventKind::Answered { .. }
        | EventKind::Judged { .. }
        | EventKind::PeerUp { .. }
        | EventKind::PeerDown { .. }
        | EventKind::Promoted { .. } => return None,
        EventKind::CampaignEnded { kind: OfferKind::PreVote, outcome: Outcome::Won, .. } => return None,
        EventKind::CampaignEnded { kind: OfferKind::Vote, epoch, outcome: Outcome::Won, .. } => {
            format!("is elected for epoch {epoch}")
        }
        EventKind::CampaignEnded { kind, epoch, outcome, .. } => {
            format!("ends its {} for epoch {epoch}: {}", kind.as_str(), outcome.as_str())
        }
        EventKind::RoleChanged { to, reason, .. } => format!("is {to} now ({reason})"),
        EventKind::PrimarySuspected { primary: Some(primary), evidence, silence } => {
            format!("gives {primary} up: {evidence}, silent for {} ms", silence.as_millis())
        }
        EventKind::PrimarySuspected { .. } => return None,
        EventKind::Writable { .. } => "accepts writes".to_owned(),
        EventKind::PromoteFailed { error } => format!("could not be promoted: {error}"),
        EventKind::FollowFailed { primary, error } => format!("could not follow {primary}: {error}"),
        EventKind::Following { primary, .. } => format!("follows {primary}"),
        EventKind::Fenced { reason } => format!("is fenced: {}", reason.as_str()),
        EventKind::Unfenced { .. } => "accepts writes again".to_owned(),
        EventKind::Resigned { node, .. } => format!("takes {node} for resigned"),
        EventKind::Transfer { to: Some(to) } => format!("is to hand over to {to}"),
        EventKind::Transfer { to: None } => "is to hand over".to_owned(),
        EventKind::FailsBack { to, .. } => format!("wants {to} to have the office back"),
        EventKind::TransferRefused { why } => format!("hands nothing over: {why}"),
        EventKind::TransferEnded { outcome, took, .. } => {
            format!("ends the transfer after {} ms: {}", took.as_millis(), outcome.as_str())
        }
        EventKind::Members { generation, voters } => format!("counts by {generation}: {voters}"),
        EventKind::MembersContradict { peer, theirs, ours } => {
            format!("contradicts {peer}: {theirs} there, {ours} here")
        }
        EventKind::ChangeRefused { change, why } => format!("does not {change}: {why}"),
        EventKind::ChangeEnded { change, waits_for: None, .. } => format!("has made the change: {change}"),
        EventKind::ChangeEnded { change, waits_for: Some(why), .. } => format!("gives up to {change}: {why}"),
        EventKind::SaveFailed { error } => format!("could not save: {error}"),
        EventKind::Implausible { peer, what } => format!("ignores an impossible {what} of {peer}"),
        EventKind::EpochAhead { peer, claimed } => format!("approaches epoch {claimed}, which {peer} claims"),
        EventKind::LeaseMismatch { peer, .. } => format!("cannot promise for as long as {peer} writes"),
        EventKind::TermsDiffer { peer, what } => format!("differs from {peer}: {what}"),
        EventKind::TermsAgree { peer } => format!("agrees with {peer} again"),
        EventKind::Admitted => "is admitted".to_owned(),
        EventKind::AdmittedByOrder { .. } => "is admitted by order".to_owned(),
        EventKind::Paused { paused: true } => "keeps out of elections: an operator paused them".to_owned(),
        EventKind::Paused { paused: false } => "takes part in elections again".to_owned(),
        EventKind::Belongs { cluster } => format!("belongs to cluster {}", short(cluster)),
        EventKind::Foreign { peer, theirs, ours } => {
            format!("ignores {peer}: it belongs to {}, this node to {}", short(theirs), short(ours))
        }
        EventKind::TwoPrimaries { primary, other, other_epoch } => {
            format!("hears {other} say that it is primary in epoch {other_epoch}, and knows {primary}")
        }
        EventKind::Fitness { health } if health.is_good() => "is fit again".to_owned(),
        EventKind::Fitness { health } => format!("is unfit: {}", health.as_str()),
        _ => format!("{kind:?}"),
    })
}
