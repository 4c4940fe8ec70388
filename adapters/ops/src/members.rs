//! Who the members are, where they are, and who of them votes: what `ELECT MEMBERS` and `/status` say, in the one spelling that servers and tools share.

use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::membership::Generation;
use kevy_elect_plugin::plugin::{ElectSnapshot, PeerSnapshot};
use serde::{Deserialize, Serialize};

/// As one node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberList {
    /// Of the list by which this node counts: `<epoch>:<counter>`.
    pub generation: String,
    /// Who votes by it, `@witness` behind the one of a witness: also those of whom this node knows nothing else.
    pub voters: Vec<String>,
    /// How many of them it takes.
    pub quorum: usize,
    /// The change that is under way at this node, and what it waits for.
    pub change: Option<String>,
    /// All members, in the order of their ids.
    pub members: Vec<ListedMember>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMember {
    /// Its id.
    pub node: String,
    /// `voter`, `witness` or `observer`, by the list and not by a file.
    pub kind: String,
    /// Preference among candidates with equal data; 0 is never promoted.
    pub priority: u8,
    /// Whether it is heard.
    pub up: bool,
    /// The generation of the list that it is known to have in its record.
    pub has: Option<String>,
    /// Where it is.
    #[serde(flatten)]
    pub addresses: Addresses,
}

/// Where a member is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where the other members link to it.
    pub election: Option<String>,
    /// Where clients reach its data; a witness has none.
    pub clients: Option<String>,
}

impl MemberList {
    /// What `snapshot` says, of members that are where `place` says.
    pub fn of(snapshot: &ElectSnapshot, place: impl Fn(NodeId) -> Addresses) -> Self {
        let mut own = PeerSnapshot::new(snapshot.node);
        own.kind = snapshot.kind;
        own.priority = snapshot.priority;
        own.up = true;
        own.membership = Some(snapshot.membership.generation);
        let listed = |peer: &PeerSnapshot| ListedMember {
            node: peer.id.to_string(),
            kind: peer.kind.as_str().to_owned(),
            priority: peer.priority,
            up: peer.up,
            has: peer.membership.as_ref().map(Generation::to_string),
            addresses: place(peer.id),
        };
        let mut members: Vec<_> = snapshot.peers.iter().chain([&own]).map(listed).collect();
        members.sort_by(|a, b| a.node.cmp(&b.node));
        let change = snapshot.change.map(|(change, waits_for)| match waits_for {
            Some(why) => format!("{change}: {why}"),
            None => format!("{change}: under way"),
        });
        Self {
            generation: snapshot.membership.generation.to_string(),
            voters: snapshot.membership.list().split(',').map(str::to_owned).collect(),
            quorum: snapshot.membership.quorum(),
            change,
            members,
        }
    }

    /// As a node says it.
    pub fn text(&self) -> String {
        // Nothing in it can fail to be JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// What a node said.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("no list of members: {error}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::http::fixture::behind;

    #[test]
    fn what_a_node_says_is_what_a_tool_reads() {
        let mut snapshot = behind();
        snapshot.peers[0].membership = Some(snapshot.membership.generation);
        let place = |node: NodeId| match node.as_str() {
            "a" => Addresses { election: Some("h:1".to_owned()), clients: Some("h:2".to_owned()) },
            _ => Addresses::default(),
        };
        let list = MemberList::of(&snapshot, place);
        assert_eq!(MemberList::read(&list.text()), Ok(list.clone()));
        assert_eq!((list.voters.join(",").as_str(), list.quorum), ("a,b,c", 2));
        let [a, b] = &list.members[..] else { panic!("{list:?}") };
        assert_eq!(
            (a.node.as_str(), a.has.as_deref(), a.addresses.clients.as_deref()),
            ("a", Some("0:0"), Some("h:2"))
        );
        assert_eq!((b.node.as_str(), b.kind.as_str(), b.priority, b.up), ("b", "voter", 100, true));
        assert!(MemberList::read("generation:1:1\n").unwrap_err().contains("no list of members"));
    }
}
