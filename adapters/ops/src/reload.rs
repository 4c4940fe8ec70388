//! A node's file, read anew while it runs: members that are new in it are taken up, and nothing else is (M12 and M13 of
//! `docs/protocol.md`).
//!
//! A signal or an operator's order asks for it. Whatever else the file says by now is told entry by entry, with what to do; a file that cannot
//! be read changes nothing.

use crate::config::{ElectSettings, Links, Origin, Peer, SentinelSettings};
use kevy_elect_noise::Keys;
use kevy_elect_plugin::config::{MEMBERS_MAX, Member};
use kevy_elect_plugin::ids::{Incarnation, NodeId};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumPlugin, agreed};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

/// Who the members are and where, as it is in force: what the file said at the start, and what was taken up since.
#[derive(Debug)]
pub struct Roster {
    now: RwLock<Arc<ElectSettings>>,
    at_start: usize,
}

impl Roster {
    /// As the file says at the start.
    pub fn new(settings: ElectSettings) -> Self {
        let at_start = settings.peers.len();
        Self { now: RwLock::new(Arc::new(settings)), at_start }
    }

    /// As it is now.
    pub fn get(&self) -> Arc<ElectSettings> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, settings: ElectSettings) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// How many members a node with keys takes up while it runs: for so many it has keys of streams (T29).
pub const MET_WITH_KEYS_MAX: usize = 16;

/// What came of reading a file anew, in the one spelling that servers and tools share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whose file it is.
    pub node: String,
    /// The members that were taken up.
    pub taken: Vec<String>,
    /// What else differs from what is in force, and what to do about it.
    pub waits: Vec<String>,
}

impl Reloaded {
    /// As a node says it.
    pub fn text(&self) -> String {
        // Nothing in it can fail to be JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// What a node said.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("not what came of a file: {error}"))
    }
}

/// Is told of each member that was taken up, with what is in force then.
pub type Told = Box<dyn Fn(&ElectSettings, NodeId) + Send + Sync>;

/// Reads the file of this process anew.
pub struct Reloader {
    origin: Origin,
    roster: Arc<Roster>,
    plugin: Arc<QuorumPlugin>,
    told: Vec<Told>,
    /// One at a time.
    busy: Mutex<()>,
}

impl Reloader {
    /// `told` are those beside the election that need to know of members.
    pub fn new(origin: Origin, roster: Arc<Roster>, plugin: Arc<QuorumPlugin>, told: Vec<Told>) -> Self {
        Self { origin, roster, plugin, told, busy: Mutex::default() }
    }

    /// Reads it, takes up whom it names beside those that are known, and tells what else it says. `Err`: why nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let _one = match self.busy.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err("the file is being read already".to_owned()),
        };
        let outcome = self.take_up();
        match &outcome {
            Ok(reloaded) => {
                let Reloaded { node, taken, waits } = reloaded;
                log::info!(target: "kevy_elect", "elect event=reloaded taken={:?} waits={} node={node}", taken.join(","), waits.len());
                for what in waits {
                    log::warn!(target: "kevy_elect", "elect event=reload_waits what={what:?} node={node}");
                }
            }
            Err(why) => log::error!(target: "kevy_elect", "elect event=reload_refused why={why:?}"),
        }
        outcome
    }

    fn take_up(&self) -> Result<Reloaded, String> {
        let nothing = |why: String| format!("nothing has changed: {why}");
        // Before that it would not be taken.
        if self.plugin.snapshot().incarnation == Incarnation(0) {
            return Err(nothing("the election has not started; try again when it has".to_owned()));
        }
        let read = self.origin.read().map_err(|error| nothing(error.to_string()))?;
        let read = read
            .elect
            .ok_or_else(|| nothing("[elect] enabled is not true in the file any more".to_owned()))?;
        let mut in_force = ElectSettings::clone(&self.roster.get());
        for (what, here, there) in [
            ("node_id", in_force.config.node().as_str(), read.config.node().as_str()),
            ("cluster_name", in_force.config.cluster(), read.config.cluster()),
        ] {
            if here != there {
                return Err(nothing(format!(
                    "the file is of another node: {what} is {there} there, and {here} here"
                )));
            }
        }
        let mut waits = differences(&in_force, &read);
        let mut taken = Vec::new();
        for peer in &read.peers {
            if in_force.peers.iter().any(|known| known.id == peer.id) {
                continue;
            }
            let (id, address) = (peer.id, format!("{}:{}", peer.host, peer.elect_port));
            let Some(member) = read.config.members().iter().find(|member| member.id == id) else { continue };
            if in_force.links.keys().is_some()
                && in_force.peers.len() >= self.roster.at_start + MET_WITH_KEYS_MAX
            {
                waits.push(format!(
                    "member {id} is not taken up: with keys a node takes up {MET_WITH_KEYS_MAX} while it runs; restart this node for it"
                ));
                continue;
            }
            match with(&in_force, &read, peer, *member) {
                Ok(more) => in_force = more,
                Err(why) => {
                    waits.push(format!("member {id} is not taken up: {why}"));
                    continue;
                }
            }
            // Before anybody is linked to it.
            self.roster.set(in_force.clone());
            self.told.iter().for_each(|told| told(&in_force, id));
            self.plugin.meet(*member, &address).map_err(|error| error.to_string())?;
            taken.push(id.to_string());
        }
        Ok(Reloaded { node: in_force.config.node().to_string(), taken, waits })
    }
}

/// What is in force, with one more of those that the file names.
fn with(
    in_force: &ElectSettings,
    read: &ElectSettings,
    peer: &Peer,
    member: Member,
) -> Result<ElectSettings, String> {
    let mut more = in_force.clone();
    if let Some(other) =
        more.peers.iter().find(|other| (&other.host, other.elect_port) == (&peer.host, peer.elect_port))
    {
        return Err(format!(
            "it has the host and the port of {}, which is a member until this node is restarted",
            other.id
        ));
    }
    if !more.config.meet(member) {
        return Err(format!("there are {MEMBERS_MAX} members, which is the most"));
    }
    more.links = match (&in_force.links, &read.links) {
        (Links::Proven(keys), Links::Proven(listed)) => {
            let known = keys.peers().chain([(peer.id, listed.of(peer.id))]);
            let known = known.flat_map(|(peer, keys)| keys.iter().map(move |key| (peer, *key)));
            let known: Vec<_> = known.collect();
            let all = Keys::new(in_force.config.node(), keys.own().clone(), known);
            Links::Proven(all.map_err(|error| error.to_string())?)
        }
        (Links::Proven(_), _) => return Err("the file has no keys any more".to_owned()),
        (links, _) => links.clone(),
    };
    more.peers.push(peer.clone());
    more.data_nodes.extend(read.data_node(peer.id).cloned());
    more.http_peers.extend(read.http_peers.iter().find(|(id, _)| *id == peer.id).cloned());
    let name = peer.id.as_str();
    if let (Some(SentinelSettings { members, .. }), Some(read)) = (&mut more.sentinel, &read.sentinel) {
        members.extend(read.members.iter().find(|(id, _)| id == name).cloned());
    }
    Ok(more)
}

/// What the file says otherwise than what is in force, but for members that are new.
fn differences(in_force: &ElectSettings, read: &ElectSettings) -> Vec<String> {
    const RESTART: &str = "restart this node for it";
    let (here, there) = (agreed(&in_force.config), agreed(&read.config));
    let mut differs: Vec<String> = Vec::new();
    for (name, value) in &here {
        match there.iter().find(|(known, _)| known == name) {
            Some((_, read)) if read == value => {}
            Some((_, read)) => differs.push(format!("{name} is {read} in the file, and {value} in force: {RESTART}")),
            None => differs.push(format!(
                "{name} stands in the file no more, and stays until this node is restarted: first take its vote (`members remove`) and end it"
            )),
        }
    }
    let of = |settings: &ElectSettings, id: NodeId| {
        let (peer, data) =
            (settings.peers.iter().find(|peer| peer.id == id).cloned(), settings.data_node(id).cloned());
        let keys = settings.links.keys().map(|keys| keys.of(id).to_vec());
        (peer, data, keys)
    };
    for id in
        in_force.peers.iter().map(|peer| peer.id).filter(|id| read.peers.iter().any(|peer| peer.id == *id))
    {
        let ((peer, data, keys), (read_peer, read_data, read_keys)) = (of(in_force, id), of(read, id));
        if (peer, data) != (read_peer, read_data) {
            let (here, there) = (in_force.place(id), read.place(id));
            let shown = |at: &crate::members::Addresses| {
                format!(
                    "{} and {}",
                    at.election.as_deref().unwrap_or("-"),
                    at.clients.as_deref().unwrap_or("-")
                )
            };
            differs.push(format!(
                "member {id} is at {} in the file, and at {} here: {RESTART}",
                shown(&there),
                shown(&here)
            ));
        }
        if keys != read_keys {
            differs.push(format!("the keys of member {id} are others in the file than here: {RESTART}"));
        }
    }
    let others = [
        ("where elections are reached", in_force.listen != read.listen),
        ("http", in_force.http != read.http),
        ("watchdog", in_force.watchdog != read.watchdog),
        ("companion", in_force.companion != read.companion),
        ("realtime", in_force.realtime != read.realtime),
        ("shard_timeout_ms", in_force.shard_timeout != read.shard_timeout),
        ("continue_buffer_mb", in_force.continue_buffer != read.continue_buffer),
        ("move_between_shards", in_force.move_between_shards != read.move_between_shards),
    ];
    let others = others.into_iter().filter(|(_, differs)| *differs);
    differs
        .extend(others.map(|(what, _)| format!("{what} is something else in the file than here: {RESTART}")));
    differs
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::config::Settings;
    use kevy_config::CliOverrides;
    use std::path::PathBuf;

    const FILE: &str = r#"
[server]
port = 6004
threads = 1
[cluster]
node_id = "n1"
peers = ["n1@127.0.0.1:6204:6004", "n2@127.0.0.1:6205:6005"]
[elect]
enabled = true
http = "127.0.0.1:9121"
election_timeout_ms = 1000
"#;

    fn settings(text: &str) -> ElectSettings {
        let file: PathBuf = std::env::temp_dir().join(format!(
            "kevy-elect-reload-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, text).unwrap();
        let read = Settings::load(Some(&file), [], CliOverrides::default());
        std::fs::remove_file(&file).unwrap();
        read.unwrap().elect.unwrap()
    }

    fn added(text: &str) -> String {
        text.replace("6205:6005\"]", "6205:6005\", \"n3@127.0.0.1:6206:6006\"]")
    }

    #[test]
    fn a_new_entry_is_all_that_is_taken_and_each_other_difference_is_named() {
        let (here, there) = (settings(FILE), settings(&added(FILE)));
        assert_eq!(differences(&here, &there), Vec::<String>::new());
        let (peer, member) = (&there.peers[2], there.config.members()[2]);
        let more = with(&here, &there, peer, member).unwrap();
        assert_eq!(more.listed(), there.listed());
        assert_eq!((more.peers.len(), more.config.members()), (3, there.config.members()));
        assert!(with(&more, &there, peer, member).is_err());

        let moved =
            added(FILE).replace("6205:6005", "7205:7005").replace("= 1000", "= 2000").replace("9121", "9122");
        let named = differences(&here, &settings(&moved));
        for (what, times) in [
            ("election_timeout_us is 2000000 in the file, and 1000000 in force: restart", 1),
            ("member n2 is at 127.0.0.1:7205 and 127.0.0.1:7005 in the file, and at 127.0.0.1:6205", 1),
            ("http is something else", 1),
            ("n3", 0),
            ("n1", 0),
        ] {
            assert_eq!(named.iter().filter(|line| line.contains(what)).count(), times, "{what}: {named:#?}");
        }
        let gone = FILE.replace(", \"n2@127.0.0.1:6205:6005\"", "");
        let named = differences(&here, &settings(&gone));
        assert!(
            named.iter().any(|line| line.starts_with("member n2 stands in the file no more")),
            "{named:#?}"
        );
    }

    #[test]
    fn what_came_of_it_is_read_as_it_was_said() {
        let said =
            Reloaded { node: "n1".to_owned(), taken: vec!["n3".to_owned()], waits: vec!["x".to_owned()] };
        assert_eq!(Reloaded::read(&said.text()), Ok(said));
        assert!(Reloaded::read("-ERR").is_err());
    }
}
