//! Who votes, changed as an operator changes it (`ELECT MEMBERS`).

use crate::client::{Client, Reply};
use crate::failure::Failure;
use crate::round::Stage;
use crate::verdict::Node;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a node may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a change that is asked for by itself may wait for what it needs.
const CHANGE_MS: &[u8] = b"5000";
/// How long it may take altogether, through elections if need be.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// Gives a node a vote, or takes it. Ends when the primary says that a quorum has that list.
    pub fn set_vote(&mut self, node: Node, votes: bool) -> Result<(), Failure> {
        let id = self.name(node);
        self.progress.say(&format!("{} the vote of {id}", if votes { "giving back" } else { "taking" }));
        let servers: Vec<_> = self.cluster.members.iter().map(|member| member.address()).collect();
        let (cluster, interrupt) = (&mut *self.cluster, self.interrupt);
        let mut asked = None;
        let done = interrupt.wait_for(CHANGE_PATIENCE, || {
            cluster.check_alive()?;
            let Some(primary) =
                asked.or_else(|| servers.iter().copied().find(|server| begins(*server, &id, votes)))
            else {
                return Ok(None);
            };
            asked = Some(primary);
            // It was given up, or another node reigns by now: it is asked for again.
            Ok(match list(primary) {
                Some((_, true)) => None,
                Some((voters, false)) if voters.contains(&id) == votes => Some(()),
                _ => {
                    asked = None;
                    None
                }
            })
        })?;
        done.ok_or_else(|| {
            let what = format!("{id} {}", if votes { "got no vote" } else { "kept its vote" });
            self.cluster.timeout(what, CHANGE_PATIENCE)
        })
    }

    /// Asks `primary` for that and waits for nothing. Gives its answer, for people.
    pub fn ask_for_vote(&self, primary: Node, node: Node, votes: bool) -> String {
        let answer = change(self.cluster.members[primary].address(), &self.name(node), votes);
        answer.unwrap_or_else(|why| why)
    }
}

/// Whether this node is primary, and such a change began or is made already.
fn begins(server: SocketAddr, node: &str, votes: bool) -> bool {
    let nothing_to_do = ["votes already", "has no vote"];
    match change(server, node, votes) {
        Ok(_) => true,
        Err(why) => nothing_to_do.iter().any(|done| why.contains(done)),
    }
}

/// The voters that there are to be, or why not.
fn change(server: SocketAddr, node: &str, votes: bool) -> Result<String, String> {
    let mut client = Client::connect(server).map_err(|error| error.to_string())?;
    let word: &[u8] = if votes { b"ADD" } else { b"REMOVE" };
    let words = [b"ELECT", b"MEMBERS".as_slice(), word, node.as_bytes(), b"TIMEOUT", CHANGE_MS];
    match client.call_within(&words, ANSWER_PATIENCE).map_err(|error| error.to_string())? {
        Reply::Bulk(voters) => Ok(String::from_utf8_lossy(&voters).into_owned()),
        Reply::Error(why) => Err(why),
        other => Err(format!("it says {other:?}")),
    }
}

/// Who votes, as this node counts, and whether that is about to change.
fn list(server: SocketAddr) -> Option<(Vec<String>, bool)> {
    let mut client = Client::connect(server).ok()?;
    let Reply::Bulk(said) = client.call_within(&[b"ELECT", b"MEMBERS"], ANSWER_PATIENCE).ok()? else {
        return None;
    };
    let said: Value = serde_json::from_slice(&said).ok()?;
    let voters = said["voters"].as_array()?.iter().filter_map(|voter| Some(voter.as_str()?.to_owned()));
    Some((voters.collect(), !said["change"].is_null()))
}
