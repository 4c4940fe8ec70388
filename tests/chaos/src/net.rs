//! One network namespace per node, a bridge between them, and rules that cut links.
//!
//! Everything lives in a network and a mount namespace of this program's own (see `space.rs`), so nothing
//! outside is touched, and the kernel clears it away with the last process, however that ends. The rules
//! stand in the nodes' namespaces and name the nodes' addresses only: clients reach a node that its peers
//! cannot reach, which is exactly when it must not acknowledge anything.

use crate::space::{NAMES, run};
use kevy_elect_harness::cluster::Place;
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::verdict::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the clients are.
const OUTSIDE: &str = "10.77.0.254/24";

/// What happens to packets of a cut link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// They vanish.
    Drop,
    /// The sender is told that the connection does not exist, as some firewalls do.
    Reset,
}

/// What becomes of a replica's connections to its upstream's replication ports. Nothing else is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// They are reset, so that the replica dials again.
    Reset,
    /// They are accepted, and not a byte comes after that.
    Silent,
}

/// The nodes' network. Dropping it takes it down; its processes must be gone by then.
pub struct Net {
    nodes: usize,
    rules: Rules,
}

#[derive(Debug, Default)]
struct Rules {
    /// Directed: packets from the first node to the second one.
    cuts: BTreeSet<(Node, Node, Cut)>,
    /// The replica, its upstream, and the upstream's replication ports.
    streams: BTreeMap<(Node, Node), (Stream, RangeInclusive<u16>)>,
}

impl Net {
    /// Builds it.
    pub fn build(nodes: usize) -> Result<Self, Failure> {
        let mut net = Self { nodes, rules: Rules::default() };
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", "hub", "type", "bridge"])?;
        ip(&["link", "set", "hub", "up"])?;
        ip(&["address", "add", OUTSIDE, "dev", "hub"])?;
        for node in 0..nodes {
            let (space, port) = (name(node), port(node));
            let address = format!("{}/24", address(node));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            ip(&["link", "set", &port, "master", "hub", "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            ip(&["-n", &space, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        }
        // Now rather than in the middle of a round: the kernel may have to load its filter first.
        net.heal()?;
        Ok(net)
    }

    /// Where the nodes live.
    pub fn places(&self) -> Vec<Place> {
        let place = |node| Place::Namespace { name: name(node), address: address(node), votes: None };
        (0..self.nodes).map(place).collect()
    }

    /// What to open to get into the nodes' namespaces.
    pub fn spaces(&self) -> Vec<PathBuf> {
        (0..self.nodes).map(|node| Path::new(NAMES).join(name(node))).collect()
    }

    /// Disturbs a replica's stream from `upstream`, until [`Net::heal`].
    pub fn disturb(
        &mut self,
        replica: Node,
        upstream: Node,
        ports: RangeInclusive<u16>,
        how: Stream,
    ) -> Result<(), Failure> {
        self.rules.streams.insert((replica, upstream), (how, ports));
        self.apply()
    }

    /// Cuts these directed links, beside those that are cut already.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (Node, Node)>, how: Cut) -> Result<(), Failure> {
        self.rules.cuts.extend(links.into_iter().map(|(from, to)| (from, to, how)));
        self.apply()
    }

    /// Everything passes again.
    pub fn heal(&mut self) -> Result<(), Failure> {
        self.rules = Rules::default();
        self.apply()
    }

    fn apply(&self) -> Result<(), Failure> {
        (0..self.nodes).try_for_each(|node| load(node, &rules(node, &self.rules)))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            // First, and by name: with its namespace it would go some time later, when the next network may want it.
            let _ = ip(&["link", "del", &port(node)]);
            let _ = ip(&["netns", "del", &name(node)]);
        }
        let _ = ip(&["link", "del", "hub"]);
    }
}

/// Both directions.
pub fn both(a: Node, b: Node) -> [(Node, Node); 2] {
    [(a, b), (b, a)]
}

/// All links of `node`, in both directions.
pub fn around(node: Node, nodes: usize) -> Vec<(Node, Node)> {
    (0..nodes).filter(|other| *other != node).flat_map(|other| both(node, other)).collect()
}

fn name(node: Node) -> String {
    format!("n{}", node + 1)
}

/// The bridge's end of its link.
fn port(node: Node) -> String {
    format!("port{}", node + 1)
}

fn address(node: Node) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, node as u8 + 1)
}

/// The filter of `node`'s namespace. A link is cut where its packets leave, and where they arrive: what is on
/// its way does not get through either.
fn rules(node: Node, rules: &Rules) -> String {
    let mut text = String::from("*filter\n-F INPUT\n-F OUTPUT\n");
    for (from, to, how) in &rules.cuts {
        let (chain, option, other) = match node {
            _ if node == *from => ("OUTPUT", "-d", to),
            _ if node == *to => ("INPUT", "-s", from),
            _ => continue,
        };
        let target = match how {
            Cut::Drop => "-j DROP",
            Cut::Reset => "-p tcp -j REJECT --reject-with tcp-reset",
        };
        text.push_str(&format!("-A {chain} {option} {} {target}\n", address(*other)));
    }
    for ((_, upstream), (how, ports)) in rules.streams.iter().filter(|((replica, _), _)| *replica == node) {
        let (address, ports) = (address(*upstream), format!("{}:{}", ports.start(), ports.end()));
        match how {
            Stream::Reset => text.push_str(&format!(
                "-A OUTPUT -p tcp -d {address} --dport {ports} -j REJECT --reject-with tcp-reset\n"
            )),
            // The handshake's answer passes; what comes on an open connection does not.
            Stream::Silent => text.push_str(&format!(
                "-A INPUT -p tcp -s {address} --sport {ports} ! --tcp-flags SYN,ACK SYN,ACK -j DROP\n"
            )),
        }
    }
    text + "COMMIT\n"
}

fn load(node: Node, rules: &str) -> Result<(), Failure> {
    let what = "load firewall rules with iptables-restore";
    let mut child = Command::new("ip")
        .args(["netns", "exec", &name(node), "iptables-restore", "--noflush", "--wait"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(Failure::os(what))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).map_err(Failure::os(what))?;
    }
    finished(what, child.wait())
}

fn ip(args: &[&str]) -> Result<(), Failure> {
    run("ip", args)
}

fn finished(what: &str, status: std::io::Result<std::process::ExitStatus>) -> Result<(), Failure> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::os(what)(std::io::Error::other(status.to_string()))),
        Err(error) => Err(Failure::os(what)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_way_cut_stands_at_both_ends_of_one_direction() {
        let cuts = Rules { cuts: BTreeSet::from([(0, 1, Cut::Drop)]), ..Rules::default() };
        let filter = |rule: &str| format!("*filter\n-F INPUT\n-F OUTPUT\n{rule}COMMIT\n");
        assert_eq!(rules(0, &cuts), filter("-A OUTPUT -d 10.77.0.2 -j DROP\n"));
        assert_eq!(rules(1, &cuts), filter("-A INPUT -s 10.77.0.1 -j DROP\n"));
        assert_eq!(rules(2, &cuts), filter(""));
    }

    #[test]
    fn a_silent_upstream_takes_the_handshake_and_only_its_replica_is_told() {
        let streams = BTreeMap::from([((2, 0), (Stream::Silent, 21_000..=21_003))]);
        let all = Rules { streams, ..Rules::default() };
        let rule = "-A INPUT -p tcp -s 10.77.0.1 --sport 21000:21003 ! --tcp-flags SYN,ACK SYN,ACK -j DROP\n";
        assert!(rules(2, &all).contains(rule), "{}", rules(2, &all));
        assert!(!rules(0, &all).contains("-A") && !rules(1, &all).contains("-A"));
    }

    #[test]
    fn isolation_cuts_every_link_of_the_node_and_no_other() {
        let links = around(1, 3);
        assert_eq!(links.len(), 4);
        assert!(links.iter().all(|(from, to)| (*from == 1) != (*to == 1)));
    }
}
