//! How replicas are called in kevy's table, and whose acknowledgements `WAIT` may therefore count.
//!
//! kevy counts every name that has a live connection and ever acknowledged enough, whoever it is and whenever
//! that was. So a name says who it is, of which reign, since which flush, and it is used for one connection only:
//! what an earlier connection acknowledged is never found under a later one's name. The primary ends the
//! connections whose acknowledgements would count although they must not (S10 to S12).

use kevy_elect_plugin::ids::Epoch;
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
        // Releases before this one used one name for all connections of an epoch.
        let (_, dialled) = link.split_once('.').unwrap_or((link, "0"));
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
}

impl Row {
    pub(crate) fn new((name, address, port, _, ack): kevy_rt::ReplicaViewRow) -> Self {
        Self { name, peer: SocketAddrV4::new(address, port), acknowledged: ack.is_some() }
    }
}

/// What the connections to a primary's stream are good for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Connections that have to end.
    pub(crate) end: Vec<SocketAddrV4>,
    /// How many of all would be counted although they must not be.
    pub(crate) wrong: usize,
}

/// Judges the connections of one shard of the primary of `epoch`, which was flushed `flushes` times.
pub(crate) fn judge(rows: &[Row], epoch: Epoch, flushes: u64, is_member: impl Fn(&str) -> bool) -> Judged {
    let names: Vec<Option<Name>> =
        rows.iter().map(|row| Name::read(&row.name).filter(|name| is_member(&name.node))).collect();
    let mut judged = Judged::default();
    for (row, name) in rows.iter().zip(&names) {
        let of_this_reign = |name: &Name| name.epoch == epoch && name.flushes == flushes;
        let superseded = |name: &Name| {
            let later = |other: &Name| other.node == name.node && other.dialled > name.dialled;
            names.iter().flatten().any(later)
        };
        let ends = match name {
            // It may acknowledge whatever it likes at any time.
            None => true,
            Some(name) if superseded(name) => true,
            // A name of another reign that has acknowledged nothing is one that has just connected: nodes learn of a reign
            // and of a flush a little later. It ends by itself, or connects anew under the right name.
            Some(name) => !of_this_reign(name) && row.acknowledged,
        };
        if ends {
            judged.end.push(row.peer);
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
        };
        let rows = [
            row(1, name("n1", 5, 1, 10).spell(6004, 0), true),
            row(2, name("n1", 5, 1, 11).spell(6004, 0), true),
            row(3, name("n2", 4, 0, 12).spell(6004, 0), true),
            row(4, name("n3", 5, 2, 13).spell(6004, 0), false),
            row(5, name("n9", 5, 1, 14).spell(6004, 0), false),
            row(6, "kevy-replica-6004#0".to_owned(), true),
        ];
        let judged = judge(&rows, Epoch(5), 1, |node| ["n1", "n2", "n3"].contains(&node));
        let ports: Vec<u16> = judged.end.iter().map(SocketAddrV4::port).collect();
        assert_eq!(ports, [1, 3, 5, 6], "superseded, of an earlier reign, no member, no name of ours");
        assert_eq!(judged.wrong, 3, "one of them has acknowledged nothing");
    }
}
