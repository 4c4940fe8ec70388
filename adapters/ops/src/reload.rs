//! A node's file, read anew while it runs: members that are new in it are taken up, those that it names elsewhere are looked for there, and
//! nothing else is taken (M12 to M14 of `docs/protocol.md`).
//!
//! A signal or an operator's order asks for it. Whatever else the file says by now is told entry by entry, with what to do; a file that cannot
//! be read changes nothing.

use crate::config::{DataNode, ElectSettings, Links, Origin, Peer, SentinelAddresses, SentinelSettings};
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
    /// The members that are looked for elsewhere from now on. (Releases before do not say it.)
    #[serde(default)]
    pub moved: Vec<String>,
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

/// Is told of each member that was taken up or has moved, with what is in force then.
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

    /// Reads it, takes up whom it names beside those that are known, and where these are now, and tells what else it says. `Err`: why nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let _one = match self.busy.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err("the file is being read already".to_owned()),
        };
        let outcome = self.take_up();
        match &outcome {
            Ok(reloaded) => {
                let Reloaded { node, taken, moved, waits } = reloaded;
                log::info!(target: "kevy_elect", "elect event=reloaded taken={:?} moved={:?} waits={} node={node}", taken.join(","), moved.join(","), waits.len());
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
        let (mut taken, mut moved) = (Vec::new(), Vec::new());
        // All at once: two may have changed places.
        let movers: Vec<_> = movers(&in_force, &read).collect();
        let there = relocated(in_force.clone(), &read, &movers);
        // The election first, because it may refuse, and then refuses each of them.
        for id in &movers {
            let at = there.place(*id).election.unwrap_or_default();
            self.plugin.relocate(*id, &at).map_err(|error| nothing(error.to_string()))?;
        }
        in_force = there;
        self.roster.set(in_force.clone());
        for id in movers {
            self.told.iter().for_each(|told| told(&in_force, id));
            moved.push(id.to_string());
        }
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
            let more = match with(&in_force, &read, peer, *member) {
                Ok(more) => more,
                Err(why) => {
                    waits.push(format!("member {id} is not taken up: {why}"));
                    continue;
                }
            };
            // Before anybody is linked to it.
            self.roster.set(more.clone());
            self.told.iter().for_each(|told| told(&more, id));
            if let Err(why) = self.plugin.meet(*member, &address) {
                // Whoever was told of it knows one more that is never linked.
                self.roster.set(in_force.clone());
                waits.push(format!("member {id} is not taken up: {why}"));
                continue;
            }
            in_force = more;
            taken.push(id.to_string());
        }
        Ok(Reloaded { node: in_force.config.node().to_string(), taken, moved, waits })
    }
}

/// Where a member is: for elections, with its data, with its pages, and for clients that speak Sentinel's protocol.
type Whereabouts<'a> =
    (Option<&'a Peer>, Option<&'a DataNode>, Option<&'a String>, Option<&'a SentinelAddresses>);

fn whereabouts(of: &ElectSettings, id: NodeId) -> Whereabouts<'_> {
    let page = of.http_peers.iter().find(|(peer, _)| *peer == id).map(|(_, at)| at);
    let sentinel = of.sentinel.iter().flat_map(|settings| &settings.members);
    let sentinel = sentinel.clone().find(|(name, _)| name == id.as_str()).map(|(_, at)| at);
    (of.peers.iter().find(|peer| peer.id == id), of.data_node(id), page, sentinel)
}

/// Whether the file names a member elsewhere than it is in force. Pages, and what Sentinel's clients are told, count where both have them.
fn is_elsewhere(in_force: &ElectSettings, read: &ElectSettings, id: NodeId) -> bool {
    let (here, there) = (whereabouts(in_force, id), whereabouts(read, id));
    (here.0, here.1) != (there.0, there.1)
        || here.2.zip(there.2).is_some_and(|(here, there)| here != there)
        || here.3.zip(there.3).is_some_and(|(here, there)| here != there)
}

/// The members that the file names elsewhere, and that can be looked for there. This node itself is not looked for.
fn movers<'a>(in_force: &'a ElectSettings, read: &'a ElectSettings) -> impl Iterator<Item = NodeId> + 'a {
    let known = in_force.peers.iter().map(|peer| peer.id).filter(|id| *id != in_force.config.node());
    known.filter(|id| is_elsewhere(in_force, read, *id) && stays(in_force, read, *id).is_none())
}

/// Why a member that the file names elsewhere is looked for where it was all the same.
fn stays(in_force: &ElectSettings, read: &ElectSettings, id: NodeId) -> Option<String> {
    let (here, there) = (whereabouts(in_force, id), whereabouts(read, id));
    let (Some(_), Some(peer)) = (here.0, there.0) else { return Some("it is not in both".to_owned()) };
    if here.1.is_some() != there.1.is_some() {
        return Some("it has data on one side only".to_owned());
    }
    let other = in_force.peers.iter().find(|other| {
        other.id != id
            && (&other.host, other.elect_port) == (&peer.host, peer.elect_port)
            && read.peers.iter().all(|named| named.id != other.id)
    });
    other.map(|other| format!("{} is there until this node is restarted", other.id))
}

/// What is in force, with these where the file says.
fn relocated(mut in_force: ElectSettings, read: &ElectSettings, movers: &[NodeId]) -> ElectSettings {
    for id in movers {
        let (peer, data, page, sentinel) = whereabouts(read, *id);
        let known = in_force.peers.iter_mut().find(|known| known.id == *id);
        known.zip(peer).into_iter().for_each(|(known, peer)| peer.clone_into(known));
        let known = in_force.data_nodes.iter_mut().find(|known| known.id == *id);
        known.zip(data).into_iter().for_each(|(known, data)| data.clone_into(known));
        let known = in_force.http_peers.iter_mut().find(|(known, _)| known == id);
        known.zip(page).into_iter().for_each(|((_, known), at)| at.clone_into(known));
        let members = in_force.sentinel.iter_mut().flat_map(|settings| &mut settings.members);
        let known = members.into_iter().find(|(known, _)| known == id.as_str());
        known.zip(sentinel).into_iter().for_each(|((_, known), at)| at.clone_into(known));
    }
    in_force
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
            "it has the host and the port of {}, which is there until this node is restarted",
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
    let keys = |settings: &ElectSettings, id: NodeId| settings.links.keys().map(|keys| keys.of(id).to_vec());
    for id in
        in_force.peers.iter().map(|peer| peer.id).filter(|id| read.peers.iter().any(|peer| peer.id == *id))
    {
        let (keys, read_keys) = (keys(in_force, id), keys(read, id));
        let own = id == in_force.config.node();
        let why = if own { Some("it is this node".to_owned()) } else { stays(in_force, read, id) };
        if let Some(why) = why.filter(|_| is_elsewhere(in_force, read, id)) {
            let (here, there) = (in_force.place(id), read.place(id));
            let shown = |at: &crate::members::Addresses| {
                format!(
                    "{} and {}",
                    at.election.as_deref().unwrap_or("-"),
                    at.clients.as_deref().unwrap_or("-")
                )
            };
            differs.push(format!(
                "member {id} is at {} in the file, and at {} here, because {why}: {RESTART}",
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
    use crate::http::Listed;
    use async_trait::async_trait;
    use futures_lite::future::{block_on, pending, poll_once};
    use kevy_config::CliOverrides;
    use kevy_elect_plugin::clock::SystemClock;
    use kevy_elect_plugin::host::NoData;
    use kevy_elect_plugin::message::{Hello, Message};
    use kevy_elect_plugin::plugin::QuorumParts;
    use kevy_elect_plugin::store::MemoryVoteStore;
    use kevy_elect_plugin::transport::{SendError, Transport, TransportError, TransportEvent};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// A file that says this.
    fn file(text: &str) -> PathBuf {
        let file: PathBuf = std::env::temp_dir().join(format!(
            "kevy-elect-reload-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, text).unwrap();
        file
    }

    fn settings(text: &str) -> ElectSettings {
        let file = file(text);
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
            ("n2", 0),
            ("http is something else", 1),
            ("n3", 0),
            ("n1", 0),
        ] {
            assert_eq!(named.iter().filter(|line| line.contains(what)).count(), times, "{what}: {named:#?}");
        }
        let read = settings(&moved);
        assert_eq!(movers(&here, &read).map(|id| id.to_string()).collect::<Vec<_>>(), ["n2"]);
        let id = read.peers[1].id;
        let moved = relocated(here.clone(), &read, &[id]);
        assert_eq!(whereabouts(&moved, id), whereabouts(&read, id));
        assert_eq!((moved.place(id), moved.peers.len()), (read.place(id), 2));
        assert_eq!(movers(&moved, &read).count(), 0);

        let gone = FILE.replace(", \"n2@127.0.0.1:6205:6005\"", "");
        let named = differences(&here, &settings(&gone));
        assert!(
            named.iter().any(|line| line.starts_with("member n2 stands in the file no more")),
            "{named:#?}"
        );
    }

    /// Two that change places are taken, and where a third one is that the file does not name any more nobody goes.
    #[test]
    fn members_may_change_places_and_take_nobodys() {
        let file = added(FILE);
        let here = settings(&file);
        let swapped =
            file.replace("6205:6005", "X").replace("6206:6006", "6205:6005").replace("X", "6206:6006");
        let read = settings(&swapped);
        let all: Vec<_> = movers(&here, &read).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(relocated(here.clone(), &read, &all).listed(), read.listed());
        let read = settings(&FILE.replace("6205:6005", "6206:6006"));
        assert_eq!(movers(&here, &read).count(), 0);
        let named = differences(&here, &read);
        let why = "because n3 is there until this node is restarted: restart this node";
        assert!(
            named.iter().any(|line| line.starts_with("member n2 is at") && line.contains(why)),
            "{named:#?}"
        );
        // This node's own place takes its restart.
        let read = settings(&file.replace("6204:6004", "7204:7004").replace("port = 6004", "port = 7004"));
        assert_eq!(movers(&here, &read).count(), 0);
        let named = differences(&here, &read);
        assert!(named.iter().any(|line| line.contains("because it is this node: restart")), "{named:#?}");
    }

    /// A transport whose peers are those of its start, and who hears nobody.
    struct Fixed;

    #[async_trait]
    impl Transport for Fixed {
        async fn run(&self, _: Hello) -> Result<(), TransportError> {
            pending().await
        }

        fn send(&self, to: NodeId, _: &Message) -> Result<(), SendError> {
            Err(SendError::NoLink(to))
        }

        async fn recv(&self) -> TransportEvent {
            pending().await
        }

        async fn close(&self) {}
    }

    /// What a file gets a node to do whose election can take nothing of it, and who is told of it.
    fn refused(text: &str) -> (Result<Reloaded, String>, Vec<Listed>, usize) {
        let in_force = settings(FILE);
        let roster = Arc::new(Roster::new(in_force.clone()));
        let quorum = QuorumParts {
            config: in_force.config,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(Fixed),
            seed: 1,
        };
        let (plugin, mut election) = QuorumPlugin::start(quorum, |_| Arc::new(NoData::new()));
        while plugin.snapshot().incarnation == Incarnation(0) {
            assert!(block_on(poll_once(&mut election)).is_none(), "it goes on");
        }
        let calls = Arc::new(AtomicUsize::new(0));
        let told: Told = {
            let calls = Arc::clone(&calls);
            Box::new(move |_, _| {
                calls.fetch_add(1, Ordering::Relaxed);
            })
        };
        let file = file(text);
        let origin = Settings::load(Some(&file), [], CliOverrides::default()).unwrap().origin;
        let reloaded = Reloader::new(origin, Arc::clone(&roster), plugin, vec![told]).reload();
        std::fs::remove_file(&file).unwrap();
        (reloaded, roster.get().listed(), calls.load(Ordering::Relaxed))
    }

    #[test]
    fn what_the_election_refuses_is_in_force_nowhere() {
        let before = settings(FILE).listed();
        let (moved, listed, told) = refused(&added(FILE).replace("6205:6005", "7205:7005"));
        let why = moved.unwrap_err();
        assert!(why.starts_with("nothing has changed: the transport of this node"), "{why}");
        assert_eq!((listed, told), (before.clone(), 0));

        let (new, listed, _) = refused(&added(FILE));
        let Reloaded { taken, waits, .. } = new.unwrap();
        assert_eq!((taken, listed), (Vec::new(), before));
        assert!(waits[0].starts_with("member n3 is not taken up: the transport"), "{waits:?}");
    }

    #[test]
    fn what_came_of_it_is_read_as_it_was_said() {
        let [taken, moved, waits] = ["n3", "n2", "x"].map(|word| vec![word.to_owned()]);
        let said = Reloaded { node: "n1".to_owned(), taken, moved, waits };
        assert_eq!(Reloaded::read(&said.text()), Ok(said));
        let before = Reloaded::read(r#"{"node": "n1", "taken": [], "waits": []}"#).unwrap();
        assert_eq!(before.moved, Vec::<String>::new());
        assert!(Reloaded::read("-ERR").is_err());
    }
}
