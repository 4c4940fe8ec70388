//! How replicas are called in kevy's table, and whose acknowledgements `WAIT` may therefore count.
//!
//! kevy counts every name that has a live connection and ever acknowledged enough, whoever it is and whenever
//! that was. So a name says who it is, of which reign, since which flush, and it is used for one connection only:
//! what an earlier connection acknowledged is never found under a later one's name. The primary ends the
//! connections whose acknowledgements would count although they must not (S10 to S12).

use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::words;
use std::net::SocketAddrV4;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of one connection of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// Which node.
    pub(crate) node: String,
    /// The epoch whose primary it was told to follow.
    pub(crate) epoch: Epoch,
    /// After how many flushes of this reign its data begins.
    pub(crate) flushes: u64,
    /// When it connected: of two connections of a node the later one is the living one.
    pub(crate) dialled: u64,
}

impl Name {
    /// Now, for [`Name::dialled`]. Microseconds of Unix time.
    pub(crate) fn now() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
    }

    /// As kevy shall know it. kevy sums up the streams of names that are equal before `#`, and takes what follows the last
    /// `-` before it for the client port.
    pub(crate) fn spell(&self, client_port: u16, shard: usize) -> String {
        let Self { node, epoch, flushes, dialled } = self;
        format!("kevy-replica-{node}.{epoch}.{flushes}-{client_port}#{shard}.{dialled}")
    }

    /// What a name says, if it is one of ours.
    pub(crate) fn read(name: &str) -> Option<Self> {
        let (name, link) = name.strip_prefix("kevy-replica-")?.split_once('#')?;
        let (name, _) = name.rsplit_once('-')?;
        let (name, flushes) = name.rsplit_once('.')?;
        let (node, epoch) = name.rsplit_once('.')?;
        // Releases before this one used one name for all connections of an epoch. Behind it a proof may stand.
        let dialled = link.split('.').nth(1).unwrap_or("0");
        Some(Self {
            node: node.to_owned(),
            epoch: Epoch(epoch.parse().ok()?),
            flushes: flushes.parse().ok()?,
            dialled: dialled.parse().ok()?,
        })
    }
}

/// One connection to the primary's stream, as kevy tells of it.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) peer: SocketAddrV4,
    pub(crate) acknowledged: bool,
    /// It acknowledged more than there is. (It may well have more than this connection brought: see `follow/catch_up.rs`.)
    pub(crate) beyond: bool,
    /// All before this it has, as it says; else it was sent.
    pub(crate) has: u64,
    /// All before this was sent, or it has it.
    pub(crate) sent: u64,
}

impl Row {
    /// In a stream that has come to `end`.
    pub(crate) fn new((name, address, port, sent, ack): kevy_rt::ReplicaViewRow, end: u64) -> Self {
        let beyond = ack.is_some_and(|ack| ack.acked_offset > end);
        let has = ack.map_or(sent, |ack| ack.acked_offset).min(end);
        let (peer, sent) = (SocketAddrV4::new(address, port), sent.max(has).min(end));
        Self { name, peer, acknowledged: ack.is_some(), beyond, has, sent }
    }
}

words! {
    /// Why a connection to a stream ends. The word for it is in logs and metrics.
    pub(crate) enum Why {
        /// It is of no member, or cannot prove to be of the one that it names.
        Stranger = "stranger",
        /// It acknowledged what was not written yet.
        Beyond = "beyond",
        /// It is of an earlier reign or flush, or its node has connected anew.
        Earlier = "earlier",
        /// It acknowledges, and its node has no vote.
        Voteless = "voteless",
        /// It does not say what it wants.
        Silent = "silent",
    }
}

/// What the connections to a stream are good for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Connections that have to end.
    pub(crate) end: Vec<(SocketAddrV4, Why)>,
    /// How many of all would be counted although they must not be.
    pub(crate) wrong: usize,
}

/// Judges the connections of one shard of the primary of `epoch`, which was flushed `flushes` times; of one that does not reign
/// (`None`) only strangers end. `votes` says whose acknowledgements confirm, and `knows` says whether a name is one of the node that it names.
pub(crate) fn judge(
    rows: &[Row],
    reign: Option<(Epoch, u64)>,
    knows: impl Fn(&Name, &str) -> bool,
    votes: impl Fn(&str) -> bool,
) -> Judged {
    let known = |row: &Row| Name::read(&row.name).filter(|name| knows(name, &row.name));
    let names: Vec<Option<Name>> = rows.iter().map(known).collect();
    let mut judged = Judged::default();
    for (row, name) in rows.iter().zip(&names) {
        // A name is used once. Who has heard another one's and repeats it is not told from that one.
        let doubled = rows.iter().filter(|other| other.name == row.name).count() > 1;
        let of_this_reign = |name: &Name| Some((name.epoch, name.flushes)) == reign;
        let superseded = |name: &Name| {
            let later = |other: &Name| other.node == name.node && other.dialled > name.dialled;
            names.iter().flatten().any(later)
        };
        let why = match name {
            // It may acknowledge whatever it likes at any time.
            None => Some(Why::Stranger),
            Some(_) if reign.is_none() => None,
            Some(_) if doubled => Some(Why::Stranger),
            Some(name) if superseded(name) => Some(Why::Earlier),
            Some(name) if row.acknowledged && !votes(&name.node) => Some(Why::Voteless),
            Some(name) if of_this_reign(name) => row.beyond.then_some(Why::Beyond),
            // A name of another reign that has acknowledged nothing is one that has just connected: nodes learn of a reign
            // and of a flush a little later. It ends by itself, or connects anew under the right name.
            Some(_) => row.acknowledged.then_some(Why::Earlier),
        };
        if let Some(why) = why {
            judged.end.push((row.peer, why));
            judged.wrong += usize::from(row.acknowledged);
        }
    }
    judged
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn name(node: &str, epoch: u64, flushes: u64, dialled: u64) -> Name {
        Name { node: node.to_owned(), epoch: Epoch(epoch), flushes, dialled }
    }

    #[test]
    fn kevy_finds_port_and_process_in_a_name_and_we_all_of_it() {
        let name = name("db-1.example", 5, 3, 77);
        let spelt = name.spell(6004, 1);
        assert_eq!(spelt, "kevy-replica-db-1.example.5.3-6004#1.77");
        let process = spelt.split('#').next().unwrap();
        assert_eq!(process.rsplit('-').next(), Some("6004"), "what kevy takes for the client port");
        assert_eq!(Name::read(&spelt), Some(name));
        assert_eq!(
            Name::read("kevy-replica-n1.5.3-6004#1").map(|name| name.dialled),
            Some(0),
            "an older release"
        );
        for other in ["kevy-replica-6004#1", "kevy-replica-n1.x.3-6004#1.7", "someone", ""] {
            assert_eq!(Name::read(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_last_connection_of_a_member_in_this_reign_stays() {
        let row = |port, name: String, acknowledged| Row {
            name,
            peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            acknowledged,
            beyond: port == 7,
            has: 0,
            sent: 0,
        };
        let rows = [
            row(1, name("n1", 5, 1, 10).spell(6004, 0), true),
            row(2, name("n1", 5, 1, 11).spell(6004, 0), true),
            row(3, name("n2", 4, 0, 12).spell(6004, 0), true),
            row(4, name("n3", 5, 2, 13).spell(6004, 0), false),
            row(5, name("n9", 5, 1, 14).spell(6004, 0), false),
            row(6, "kevy-replica-6004#0".to_owned(), true),
            row(7, name("n4", 5, 1, 15).spell(6004, 0), true),
            row(8, name("n5", 5, 1, 16).spell(6004, 0), false),
            row(9, name("n5", 5, 1, 16).spell(6004, 0), false),
        ];
        let knows = |name: &Name, _: &str| ["n1", "n2", "n3", "n4", "n5"].contains(&name.node.as_str());
        let judged = judge(&rows, Some((Epoch(5), 1)), knows, |_| true);
        let ports: Vec<(u16, Why)> = judged.end.iter().map(|(peer, why)| (peer.port(), *why)).collect();
        let ends = [
            (1, Why::Earlier),
            (3, Why::Earlier),
            (5, Why::Stranger),
            (6, Why::Stranger),
            (7, Why::Beyond),
            (8, Why::Stranger),
            (9, Why::Stranger),
        ];
        assert_eq!(ports, ends);
        assert_eq!(judged.wrong, 4, "the others have acknowledged nothing");
        let judged = judge(&rows, None, knows, |_| true);
        let ports: Vec<u16> = judged.end.iter().map(|(peer, _)| peer.port()).collect();
        assert_eq!(ports, [5, 6], "who does not reign is followed by nobody for long");
    }
}
