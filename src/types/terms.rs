//! What all members have to have in their configurations alike: who is a member, and the timings by which promises outlast leases.
//!
//! Every greeting says it (W19 of `docs/protocol.md`). Nothing is decided by it; a difference is told to people, entry by entry, at both ends.

use crate::config::{Config, CrashDetection, LossPolicy, Member};
use crate::message::TERMS_BYTES_MAX;
use crate::rank::Rank;
use std::fmt::Write;

/// Digits of the digest.
const DIGEST_DIGITS: usize = 16;
/// Differences that are named.
const NAMED_MAX: usize = 8;

/// What one member's configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    text: String,
}

impl Terms {
    /// Those of this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let policy = match config.loss_policy() {
            LossPolicy::Sum => "sum",
            LossPolicy::Dominate => "dominate",
        };
        let crash = match config.crash_detection() {
            CrashDetection::Refused => "refused",
            CrashDetection::Off => "off",
        };
        let mut entries = vec![
            format!("@election_timeout_us:{}", config.election_timeout().as_micros()),
            format!("@lease_us:{}", config.lease().as_micros()),
            format!("@heartbeat_interval_us:{}", config.heartbeat_interval().as_micros()),
            format!("@clock_drift_percent:{}", config.drift_percent()),
            format!("@loss_policy:{policy}"),
            format!("@crash_detection:{crash}"),
        ];
        // Left out where it says what releases before did: they agree with that.
        if config.rank() != Rank::Position {
            entries.push(format!("@rank:{}", config.rank().as_str()));
        }
        let members = config.members().iter();
        let priority = |member: &Member| match member.priority {
            Member::PRIORITY_PREFERRED => Member::PRIORITY_DEFAULT,
            priority => priority,
        };
        // A name has no `@` and no comma (W15).
        entries.extend(
            members.map(|member| format!("{}@{}:{}", member.id, member.kind.as_str(), priority(member))),
        );
        Self::from_entries(&entries)
    }

    fn from_entries(entries: &[String]) -> Self {
        let mut text = format!("{:016x}", digest(entries));
        for entry in entries {
            if text.len() + 1 + entry.len() > TERMS_BYTES_MAX {
                break;
            }
            let _ = write!(text, ",{entry}");
        }
        Self { text }
    }

    /// As a greeting says it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// In which entries what another member said differs from these; nothing if it agrees, or says nothing that this release reads.
    pub(crate) fn differences(&self, theirs: &str) -> Option<String> {
        let (Some((our_digest, ours)), Some((their_digest, theirs))) = (read(&self.text), read(theirs))
        else {
            return None;
        };
        if our_digest == their_digest {
            return None;
        }
        let of = |entries: &[(&str, &str)], name: &str| {
            entries.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut names: Vec<&str> = ours.iter().chain(&theirs).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let differs = names.into_iter().filter_map(|name| {
            let (here, there) = (of(&ours, name), of(&theirs, name));
            let shown = |value: Option<String>| value.unwrap_or_else(|| "missing".to_owned());
            let what = name.strip_prefix('@').map_or_else(|| format!("member {name}"), str::to_owned);
            (here != there).then(|| format!("{what}: {} here, {} there", shown(here), shown(there)))
        });
        let mut differs: Vec<String> = differs.collect();
        let more = differs.len().saturating_sub(NAMED_MAX);
        differs.truncate(NAMED_MAX);
        match (differs.is_empty(), more) {
            (true, _) => differs.push("entries for which a greeting has no room".to_owned()),
            (false, 0) => {}
            (false, more) => differs.push(format!("{more} more")),
        }
        Some(differs.join("; "))
    }
}

/// The digest, and the entries behind it.
fn read(text: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (digest, entries) = text.split_once(',').unwrap_or((text, ""));
    let is_digest = digest.len() == DIGEST_DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Settings begin with the sign that ends a member's name.
    let entry = |entry: &'_ str| -> Option<(usize, usize)> {
        let at = if entry.starts_with('@') { entry.find(':')? } else { entry.find('@')? };
        Some((at, at + 1))
    };
    let entries = entries.split(',').filter(|entry| !entry.is_empty());
    let read = entries.filter_map(|text| entry(text).map(|(name, value)| (&text[..name], &text[value..])));
    is_digest.then(|| (digest, read.collect()))
}

/// FNV-1a: against mistakes, not against intent.
fn digest(entries: &[String]) -> u64 {
    let bytes = entries.iter().flat_map(|entry| entry.bytes().chain([b',']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::time::Duration;

    fn terms(node: &str, members: &[&str], timeout_ms: u64) -> Terms {
        let id = |name: &str| NodeId::new(name).unwrap();
        let members = members.iter().map(|name| Member::voter(id(name)));
        let config = Config::builder(id(node), members).election_timeout(Duration::from_millis(timeout_ms));
        Terms::of(&config.build().unwrap())
    }

    #[test]
    fn w19_members_that_agree_say_the_same_and_others_are_told_what_differs() {
        let ours = terms("n1", &["n1", "n2", "n3"], 1000);
        assert_eq!(ours, terms("n2", &["n3", "n2", "n1"], 1000));
        assert_eq!(ours.differences(ours.text()), None);
        let theirs = terms("n2", &["n1", "n2", "n=4"], 1200);
        let said = ours.differences(theirs.text()).unwrap();
        for what in [
            "election_timeout_us: 1000000 here, 1200000 there",
            "member n3: voter:100 here, missing there",
            "member n=4: missing here, voter:100 there",
        ] {
            assert!(said.contains(what), "{said}");
        }
        assert!(!said.contains("n1"), "{said}");
    }

    #[test]
    fn w19_a_node_may_prefer_itself_alone() {
        let member = |priority| Member::voter(NodeId::new("n1").unwrap()).with_priority(priority);
        let of = |priority| Terms::of(&Config::builder(member(0).id, [member(priority)]).build().unwrap());
        assert_eq!(of(Member::PRIORITY_PREFERRED), of(Member::PRIORITY_DEFAULT));
        assert_ne!(of(Member::PRIORITY_DEFAULT - 1), of(Member::PRIORITY_DEFAULT));
    }

    #[test]
    fn w19_what_has_no_room_counts_and_what_cannot_be_read_says_nothing() {
        let names: Vec<String> = (0..40).map(|n| format!("{n:060}")).collect();
        let entries = |last: &str| -> Vec<String> {
            let mut entries: Vec<String> = names.iter().map(|name| format!("{name}@voter:100")).collect();
            entries.push(format!("{last}@voter:100"));
            entries
        };
        let (ours, theirs) = (Terms::from_entries(&entries("a")), Terms::from_entries(&entries("b")));
        assert!(ours.text().len() <= TERMS_BYTES_MAX && ours.text().is_ascii());
        assert_eq!(ours.differences(theirs.text()).unwrap(), "entries for which a greeting has no room");
        for nothing in ["", "x", "0123456789abcdeg,n1@voter:1", "short,n1@voter:1"] {
            assert_eq!(ours.differences(nothing), None, "{nothing}");
        }
        let other = Terms::from_entries(&(0..30).map(|n| format!("m{n}@voter:1")).collect::<Vec<_>>());
        let said = other.differences("0000000000000000,,@,:,@:,n1@").unwrap();
        assert!(said.ends_with("more") && said.matches(';').count() == NAMED_MAX, "{said}");
    }
}
