//! `transfer`: the primary hands its office over, and this waits until the other node takes writes.

use crate::cli::Transferred;
use crate::paint::{bold, plain};
use kevy_elect_compare::resp::{Client, Reply};
use serde_json::json;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a node has to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked who reigns.
const LOOK: Duration = Duration::from_millis(5);
/// How long after the operator's time is over: writes may be refused for an election timeout by then, and the other node is elected.
const AFTER: Duration = Duration::from_secs(15);
/// How an answer begins that sends to another node.
pub(crate) const ELSEWHERE: &str = "ERR this node is not primary";

/// A node that answers.
pub(crate) struct Node {
    pub(crate) address: String,
    at: SocketAddr,
    pub(crate) client: Client,
}

/// What a node says of itself.
struct Standing {
    node: String,
    primary: bool,
}

pub(crate) fn run(what: &Transferred, pages: &[String]) -> Result<String, String> {
    let (mut nodes, silent) = connect(&what.targets.addresses(pages)?)?;
    let (from, to) = begin(&mut nodes, what, &silent)?;
    let begun = Instant::now();
    let patience = Duration::from_secs(what.timeout) + AFTER;
    while begun.elapsed() < patience {
        for node in &mut nodes {
            let Some(standing) = node.standing().filter(|standing| standing.primary && standing.node != from)
            else {
                continue;
            };
            let took = begun.elapsed();
            return Ok(if what.json {
                format!("{:#}\n", json!({ "from": from, "to": standing.node, "seconds": took.as_secs_f64() }))
            } else {
                let new = bold(&plain(&standing.node));
                format!(
                    "{new} ({}) took over from {} after {:.0} ms.\n",
                    node.address,
                    plain(&from),
                    took.as_secs_f64() * 1e3
                )
            });
        }
        std::thread::sleep(LOOK);
    }
    Err(format!(
        "{} has not taken over from {}: it did not come near enough in {} s, so nothing has changed. `history` tells more; \
         --timeout gives it more time, and --to names another node",
        plain(&to),
        plain(&from),
        what.timeout
    ))
}

/// Asks one node after the other until the primary begins. Gives it, and the one that is to take over.
fn begin(nodes: &mut [Node], what: &Transferred, silent: &str) -> Result<(String, String), String> {
    let milliseconds = (what.timeout * 1000).to_string();
    let mut words: Vec<&[u8]> = vec![b"ELECT", b"TRANSFER"];
    words.extend(what.to.as_deref().map(str::as_bytes));
    words.extend([b"TIMEOUT".as_slice(), milliseconds.as_bytes()]);
    for node in nodes {
        let from = node.standing().map_or_else(|| node.address.clone(), |standing| standing.node);
        match node.client.call_within(&words, PATIENCE) {
            Ok(Reply::Bulk(to)) => return Ok((from, String::from_utf8_lossy(&to).into_owned())),
            Ok(Reply::Error(why)) if why.starts_with(ELSEWHERE) => {}
            Ok(Reply::Error(why)) => {
                return Err(format!("{}: {}", node.address, plain(why.trim_start_matches("ERR "))));
            }
            Ok(other) => return Err(format!("{}: no answer that is known: {other:?}", node.address)),
            Err(error) => return Err(format!("{}: {error}", node.address)),
        }
    }
    Err(format!("none of these nodes is primary{silent}; `status` tells why"))
}

/// Who reigns, by its own word.
pub(crate) struct Primary {
    pub(crate) node: String,
    pub(crate) address: String,
}

/// The primary of these nodes.
pub(crate) fn primary(clients: &[String]) -> Result<Primary, String> {
    let (mut nodes, silent) = connect(clients)?;
    let reigns = |node: &mut Node| {
        let standing = node.standing().filter(|standing| standing.primary)?;
        Some(Primary { node: standing.node, address: node.address.clone() })
    };
    nodes
        .iter_mut()
        .find_map(reigns)
        .ok_or_else(|| format!("none of these nodes is primary{silent}; `status` tells why"))
}

/// Connects to all that answer; names the others.
pub(crate) fn connect(clients: &[String]) -> Result<(Vec<Node>, String), String> {
    let (mut nodes, mut silent) = (Vec::new(), String::new());
    for address in clients {
        let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
        let at = found.ok_or(format!("{address}: not an address, as in n1:6004"))?;
        match Client::connect_within(at, PATIENCE) {
            Ok(client) => nodes.push(Node { address: address.clone(), at, client }),
            Err(error) => silent += &format!("; {address}: {error}"),
        }
    }
    if nodes.is_empty() {
        return Err(format!(
            "no node answers{silent}. Asked are client ports, as in --clients n1:6004,n2:6004 or in --config kevy.toml"
        ));
    }
    Ok((nodes, silent))
}

impl Node {
    /// What it says of itself. The old primary ends its clients' connections, so they are made anew.
    fn standing(&mut self) -> Option<Standing> {
        let asked = self.client.call_within(&[b"ELECT", b"STATUS"], PATIENCE);
        let Ok(Reply::Bulk(text)) = asked else {
            if let Ok(client) = Client::connect_within(self.at, PATIENCE) {
                self.client = client;
            }
            return None;
        };
        let text = String::from_utf8_lossy(&text);
        let field = |name: &str| {
            text.lines().find_map(|line| Some(line.split_once(':').filter(|(n, _)| *n == name)?.1.to_owned()))
        };
        Some(Standing { node: plain(&field("node")?), primary: field("role")? == "primary" })
    }
}
