//! One network namespace per node, a bridge between them, and rules that cut links.
//!
//! Everything lives in a network and a mount namespace of this program's own (see `stage.rs`), so nothing
//! outside is touched, and the kernel clears it away with the last process, however that ends. The rules
//! stand in the nodes' namespaces and name the nodes' addresses only: clients reach a node that its peers
//! cannot reach, which is exactly when it must not acknowledge anything.

use kevy_elect_demo::cluster::Place;
use kevy_elect_demo::failure::Failure;
use kevy_elect_demo::verdict::Node;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
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

/// The nodes' network.
pub struct Net {
    nodes: usize,
    /// Directed: packets from the first node to the second one.
    cuts: BTreeSet<(Node, Node, Cut)>,
}

impl Net {
    /// Builds it.
    pub fn build(nodes: usize) -> Result<Self, Failure> {
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", "hub", "type", "bridge"])?;
        ip(&["link", "set", "hub", "up"])?;
        ip(&["address", "add", OUTSIDE, "dev", "hub"])?;
        for node in 0..nodes {
            let (space, port) = (name(node), format!("port{}", node + 1));
            let address = format!("{}/24", address(node));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            ip(&["link", "set", &port, "master", "hub", "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            ip(&["-n", &space, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        }
        let mut net = Self { nodes, cuts: BTreeSet::new() };
        // Now rather than in the middle of a round: the kernel may have to load its filter first.
        net.heal()?;
        Ok(net)
    }

    /// Where the nodes live.
    pub fn places(&self) -> Vec<Place> {
        (0..self.nodes).map(|node| Place::Namespace { name: name(node), address: address(node) }).collect()
    }

    /// Cuts these directed links, beside those that are cut already.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (Node, Node)>, how: Cut) -> Result<(), Failure> {
        self.cuts.extend(links.into_iter().map(|(from, to)| (from, to, how)));
        self.apply()
    }

    /// Everything passes again.
    pub fn heal(&mut self) -> Result<(), Failure> {
        self.cuts.clear();
        self.apply()
    }

    fn apply(&self) -> Result<(), Failure> {
        (0..self.nodes).try_for_each(|node| load(node, &rules(node, &self.cuts)))
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

fn address(node: Node) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, node as u8 + 1)
}

/// The filter of `node`'s namespace. A link is cut where its packets leave, and where they arrive: what is on
/// its way does not get through either.
fn rules(node: Node, cuts: &BTreeSet<(Node, Node, Cut)>) -> String {
    let mut text = String::from("*filter\n-F INPUT\n-F OUTPUT\n");
    for (from, to, how) in cuts {
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
    finished(&format!("run ip {}", args.join(" ")), Command::new("ip").args(args).status())
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
        let cuts = BTreeSet::from([(0, 1, Cut::Drop)]);
        let filter = |rule: &str| format!("*filter\n-F INPUT\n-F OUTPUT\n{rule}COMMIT\n");
        assert_eq!(rules(0, &cuts), filter("-A OUTPUT -d 10.77.0.2 -j DROP\n"));
        assert_eq!(rules(1, &cuts), filter("-A INPUT -s 10.77.0.1 -j DROP\n"));
        assert_eq!(rules(2, &cuts), filter(""));
    }

    #[test]
    fn isolation_cuts_every_link_of_the_node_and_no_other() {
        let links = around(1, 3);
        assert_eq!(links.len(), 4);
        assert!(links.iter().all(|(from, to)| (*from == 1) != (*to == 1)));
    }
}
