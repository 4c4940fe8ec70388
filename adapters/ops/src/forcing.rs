//! Makes the last survivor of a lost quorum the only voter: what only a person may decide, and only for machines that are gone for good.
//!
//! It works on the vote record of a node that does not run, so nobody can order it who could not do anything with that node's data anyway. The list
//! outranks all that the lost nodes can have had (H19 of `docs/protocol.md`).

use crate::config::Settings;
use crate::history::{self, History};
use crate::own_file::{self, VOTE_FILE};
use futures_lite::future::block_on;
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::membership::{Generation, Membership};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::{FileVoteStore, VoteStore, decode_position, decode_vote, encode_vote};
use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The mark, for good.
const MARK: &str = "elect/forced";
const MARK_BYTES_MAX: u64 = 16 * 1024;
/// So far the epoch goes: above all that the lost nodes can have begun without this one, and near enough for those that return to act on it at
/// once (E10).
const EPOCHS: u64 = 200;
/// Who has not accepted a connection by then does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forced {
    /// The epoch from which on the node votes alone.
    pub epoch: Epoch,
    /// Who had a vote and has none any more.
    pub lost: Vec<NodeId>,
    /// Who of them answers.
    pub answered: Vec<NodeId>,
    /// What the node's record says of its data; what lies behind it on the disk counts too.
    pub position: Position,
}

/// Makes `typed` the only voter. Refused where it is not the node of these settings, does not rest, or a quorum answers.
pub fn force(settings: &Settings, typed: NodeId) -> Result<Forced, String> {
    let elect = settings.elect.as_ref().ok_or("[elect] enabled is not true in this file")?;
    let node = elect.config.node();
    if node != typed {
        return Err(format!("this is the file of {node}, not of {typed}: nothing is done"));
    }
    let data_dir = &settings.kevy.server.data_dir;
    let file = data_dir.join(VOTE_FILE);
    if !file.exists() {
        return Err(format!(
            "{}: no vote record, so {node} has never been in a cluster here",
            file.display()
        ));
    }
    let store = FileVoteStore::open(&file).map_err(|error| format!("{error}; stop the server first"))?;
    let record = block_on(store.load()).map_err(|error| error.to_string())?;
    let record = record.ok_or_else(|| format!("{}: it is empty", file.display()))?;
    let mut state = decode_vote(&record).map_err(|error| format!("{}: {error}", file.display()))?;
    if state.standing != Standing::Member {
        return Err(format!("{node} has lost its record: see `kevy-electctl admit`"));
    }
    let members = state.members.take().unwrap_or_else(|| Membership::of_file(&elect.config));
    let own = members.voter(node).ok_or_else(|| format!("{node} has no vote ({})", members.list()))?;
    let lost: Vec<NodeId> = members.voters().iter().map(|voter| voter.id).filter(|id| *id != node).collect();
    if lost.is_empty() {
        return Err(format!("{node} votes alone already: start it"));
    }
    let answered = answering(&lost, |id| elect.place(id).election);
    if answered.len() + 1 >= members.quorum() {
        return Err(format!(
            "{} answer, and with {node} they are a quorum of {}: start {node}, nothing is lost",
            names(&answered),
            members.list()
        ));
    }
    let position = block_on(store.load_position()).map_err(|error| error.to_string())?;
    let position = position.and_then(|bytes| decode_position(&bytes).ok()).unwrap_or(state.position.clone());
    let epoch = Epoch(state.epoch.0 + EPOCHS);
    let alone = Membership::new(Generation { epoch, counter: 1 }, [own])
        .ok_or_else(|| format!("{node} is a witness and holds no data: force a node that has some"))?;
    (state.epoch, state.voted_for, state.members) = (epoch, Some(node), Some(alone));
    let record = encode_vote(&state).map_err(|error| error.to_string())?;
    // The mark first: a record without it would be a list that nobody knows the reason of.
    mark(data_dir, node, epoch, &lost)?;
    History::open(data_dir.join(history::FILE)).note_forced(node, epoch, &names(&lost), position.progress());
    block_on(store.save(&record)).map_err(|error| format!("{error}; {MARK} says what was wanted"))?;
    Ok(Forced { epoch, lost, answered, position })
}

/// These nodes, as the mark, the history and what people are told spell them.
pub fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}

/// Since when, in seconds of Unix time, this node was last forced, and what the mark says. Told at every start.
pub fn last(data_dir: &Path) -> Option<(u64, String)> {
    let text = String::from_utf8(own_file::read(&data_dir.join(MARK), MARK_BYTES_MAX, own_file::SHOWN).ok()?)
        .ok()?;
    let line = text.lines().last()?;
    Some((line.split(' ').next()?.parse().ok()?, line.to_owned()))
}

fn mark(data_dir: &Path, node: NodeId, epoch: Epoch, lost: &[NodeId]) -> Result<(), String> {
    let file = data_dir.join(MARK);
    let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
    let before = match own_file::read(&file, MARK_BYTES_MAX / 2, own_file::SHOWN) {
        Ok(before) => before,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(wrong(error)),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let line = format!("{now} forced node={node} epoch={epoch} lost={}\n", names(lost));
    own_file::replace(&file, &[before, line.into_bytes()].concat(), own_file::SHOWN).map_err(wrong)
}

/// Who of these accepts a connection of the election's.
fn answering(nodes: &[NodeId], place: impl Fn(NodeId) -> Option<String>) -> Vec<NodeId> {
    let asked: Vec<_> = nodes
        .iter()
        .map(|id| (*id, place(*id)))
        .map(|(id, place)| {
            std::thread::spawn(move || place.is_some_and(|place| accepts(&place)).then_some(id))
        })
        .collect();
    asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
}

fn accepts(place: &str) -> bool {
    place
        .to_socket_addrs()
        .is_ok_and(|mut all| all.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok()))
}
