//! Builds and runs the server.

use crate::clients::commands::ElectedCommands;
use crate::clients::expiry::Keeper;
use crate::clients::replies::Replies;
use crate::clients::windows;
use crate::config::ElectSettings;
use crate::confirm::connections::{Listeners, cluster_base};
use crate::confirm::proof::Proofs;
use crate::confirm::silent::Silent;
use crate::confirm::sink::Sink;
use crate::continuation::pins::Pins;
use crate::ending::Ending;
use crate::fitness::descriptors;
use crate::fitness::probe::Probe;
use crate::fitness::pulse::Pulse;
use crate::fitness::reset_clients::ResetClients;
use crate::follow::keys::{self, Credentials};
use crate::host::KevyHost;
use crate::inline::Inline;
use crate::office::Office;
use crate::position::cutter::Cutter;
use crate::position::disk::Disk;
use crate::position::syncer;
use crate::process::clock;
use crate::process::reactor;
use crate::shards::Shards;
use kevy::{KevyCommands, RuntimeState};
use kevy_config::{Config, ReplicationRole};
use kevy_elect_ops::reload::Reloader;
use kevy_elect_plugin::config::MemberKind;
use kevy_persist::{Fsync, ReplayMode, Routing};
use kevy_rt::{Runtime, replica_inbox_pair};
use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// kevy with the election between its commands and its data; not running yet.
pub struct Server {
    runtime: Runtime<ElectedCommands>,
    commands: ElectedCommands,
    state: Arc<RuntimeState>,
    shards: Arc<Shards>,
    host: Arc<KevyHost>,
    probe: Arc<Probe>,
    burn: ResetClients,
    stop: Arc<AtomicBool>,
    clock: clock::Holder,
}

/// Why the server could not be built or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The data directory cannot be made.
    #[error("cannot create the data directory {}: {source}", path.display())]
    DataDir {
        /// Its path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// kevy, or the election with it, cannot run with its settings.
    #[error("the server cannot run with these settings: {0}")]
    Settings(String),
    /// The system refused something, or kevy ended with an error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Server {
    /// Builds the server. Nothing is opened yet, no thread of kevy runs.
    pub fn new(kevy: &Config, elect: ElectSettings) -> Result<Self, ServeError> {
        reactor::check().map_err(ServeError::Settings)?;
        let data_dir = kevy.server.data_dir.clone();
        std::fs::create_dir_all(&data_dir)
            .map_err(|source| ServeError::DataDir { path: data_dir.clone(), source })?;
        let count = kevy.server.threads.max(1);
        windows::refuse(&data_dir, count).map_err(ServeError::Settings)?;
        let moves = elect.move_between_shards;
        let mut known = kevy.clone();
        // For INFO: a node of an election serves replicas, whatever its role is.
        known.replication.role = ReplicationRole::Primary;
        let state = RuntimeState::new(Arc::new(known), data_dir, count)
            .map_err(|error| ServeError::Settings(error.to_string()))?;
        let state = Arc::new(state);
        let stop = Arc::new(AtomicBool::new(false));
        state.register_stop_flag(Arc::clone(&stop));
        let (senders, receivers) = (0..count).map(|_| replica_inbox_pair()).unzip();
        let shards = Arc::new(Shards::new(senders));
        shards.set_pulse(Pulse::new(Inline::get()?));
        shards.set_disk(Disk::new(kevy.server.data_dir.clone(), kevy.persistence.aof));
        shards.note_sync_policy(kevy.persistence.appendfsync);
        let routing = if kevy.cluster.enabled { Routing::Slots } else { Routing::KevyHash };
        shards.farewell().set_up(own_address(kevy), count, routing);
        if count > 1 {
            let of = Arc::downgrade(&shards);
            let begin = move || of.upgrade().map(|shards| shards.begin_cut());
            shards.set_cutter(Cutter::start(count, own_address(kevy), routing, begin)?);
        }
        let replication_port = elect
            .data_node(elect.config.node())
            .map_or(kevy.replication.listen_port_base, |own| own.replication_port);
        shards.keep_at_most(elect.continue_buffer);
        shards.set_buffer(kevy.replication.replication_buffer_size);
        let window = Duration::from_millis(kevy.replication.reconnect_window_ms.into());
        let own = Credentials::towards_self(elect.links.keys());
        let of = Arc::downgrade(&shards);
        // The slots of a primary are for its replicas.
        let wanted = move || of.upgrade().map(|shards| if shards.is_reigning() { 0 } else { shards.count() });
        shards.set_pins(Pins::start(wanted, own_address(kevy), replication_port, own, window)?);
        let members = elect.data_nodes.iter().map(|node| node.id.to_string()).collect();
        let voters = elect.config.members().iter().filter(|member| member.kind == MemberKind::Voter);
        shards.set_voters(voters.map(|member| member.id.to_string()).collect());
        let clients = Sink::new(Listeners::of_clients(kevy));
        let proofs = elect.links.keys().map(Proofs::of);
        shards.waits().set_up(
            members,
            proofs,
            Listeners::of_streams(replication_port, count),
            clients.clone(),
        );
        let clients_max =
            descriptors::clients_max(kevy.server.max_clients, descriptors::raise(), count, elect.peers.len());
        if clients_max < kevy.server.max_clients {
            log::warn!(
                target: "kevy_elect",
                "max_clients = {} is more than the system's limit of open files allows ({}): {clients_max} clients are \
                 taken, so that the election has room for its own. Raise the limit (ulimit -n, LimitNOFILE=)",
                kevy.server.max_clients,
                descriptors::raise().unwrap_or(u64::MAX),
            );
        }
        let own_keys = elect.links.keys().cloned();
        let host = KevyHost::new(elect, Arc::clone(&shards))?;
        let followers = own_keys.map(|own| keys::of_followers(&own, &host.passes()));
        let always = kevy.persistence.appendfsync == Fsync::Always;
        let log_dir = kevy.persistence.aof.then_some(kevy.server.data_dir.as_path());
        if let Some(dir) = log_dir {
            let elect = dir.join("elect");
            let created = DirBuilder::new().recursive(true).mode(0o700).create(&elect);
            created.map_err(|source| ServeError::DataDir { path: elect, source })?;
        }
        let probe = Probe::new(log_dir, always);
        syncer::start(&shards, &probe, Inline::get()?);
        let burn = ResetClients::new(clients);
        let host = Arc::new(host.with_probe(Arc::clone(&probe)));
        let replies = Replies { shards: Arc::clone(&shards), source: Arc::clone(&host) as _ };
        // Before there is a store.
        let clock = clock::Holder::new();
        clock::rest();
        let keeper = Keeper::new(&shards, own_address(kevy), Inline::get()?);
        let commands =
            ElectedCommands::new(KevyCommands::with_state(Arc::clone(&state)), replies, keeper, moves);
        let runtime = runtime(kevy, commands.clone())
            .with_max_clients(clients_max)
            .with_replica_inboxes(receivers)
            .with_replication(true)
            .with_replication_buffer_size(kevy.replication.replication_buffer_size)
            .with_replication_listener(replication_port)
            .with_replication_security_opt(followers)
            .with_replication_reconnect_window(kevy.replication.reconnect_window_ms);
        Ok(Self { runtime, commands, state, shards, host, probe, burn, stop, clock })
    }

    /// The host that the plugin steers.
    pub fn host(&self) -> Arc<KevyHost> {
        Arc::clone(&self.host)
    }

    /// The commands as each shard has them: for measuring.
    pub fn commands(&self) -> ElectedCommands {
        self.commands.clone()
    }

    /// What the shards and the host tell each other.
    pub fn shards(&self) -> Arc<Shards> {
        Arc::clone(&self.shards)
    }

    /// Makes known who decides about writes. Before that, none pass.
    pub fn set_office(&self, office: Arc<dyn Office>) {
        self.shards.set_office(office);
    }

    /// Makes known what reads the file anew. Before that nobody does.
    pub(crate) fn set_reloader(&self, reloader: Arc<Reloader>) {
        self.shards.set_reloader(reloader);
    }

    /// Makes known what ends the process, for clients who wish so. Before that they wish in vain.
    pub(crate) fn set_ending(&self, ending: Arc<Ending>) {
        self.shards.set_ending(ending);
    }

    /// Stops the server from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            stop: Arc::clone(&self.stop),
            state: Arc::clone(&self.state),
            shards: Arc::clone(&self.shards),
        }
    }

    /// Serves until stopped.
    pub fn run(self) -> Result<(), ServeError> {
        let Self { runtime, shards, host, probe, burn, stop, clock, .. } = self;
        let (of, mut silent) = (Arc::downgrade(&shards), Silent::default());
        let look = move |now| of.upgrade().is_some_and(|shards| shards.waits().end_silent(&mut silent, now));
        probe.start(move || shards.written(), burn, look)?;
        let result = runtime.run(Arc::clone(&stop));
        // Its streams would go on dialling.
        host.stop();
        drop(clock);
        result?;
        // kevy ends well, too, where one of its threads panicked.
        match stop.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(std::io::Error::other("a shard has ended by itself, and the server with it").into()),
        }
    }
}

/// Where the server reaches itself.
fn own_address(kevy: &Config) -> SocketAddr {
    let bound = Ipv4Addr::from(kevy.server.bind);
    (if bound.is_unspecified() { Ipv4Addr::LOCALHOST } else { bound }, kevy.server.port).into()
}

/// Stops a running server.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    state: Arc<RuntimeState>,
    shards: Arc<Shards>,
}

impl Stopper {
    /// Lets every shard finish what it does, write its log to disk and end; with `save` it writes a
    /// snapshot too.
    pub fn stop(&self, save: bool) {
        self.shards.unblock_clients();
        if save {
            // kevy keeps the wish for a snapshot to itself; its own command is the way to say it.
            let words: Vec<Vec<u8>> = vec![b"SHUTDOWN".to_vec(), b"SAVE".to_vec()];
            let commands = KevyCommands::with_state(Arc::clone(&self.state));
            drop(commands.dispatch(&mut kevy::KeyspaceStore::new(), &kevy_rt::Argv::from(words)));
        }
        self.stop.store(true, Ordering::SeqCst);
        self.shards.wake();
    }
}

/// kevy's runtime, with what kevy itself would set up for these settings.
fn runtime(kevy: &Config, commands: ElectedCommands) -> Runtime<ElectedCommands> {
    let (server, persistence, advanced) = (&kevy.server, &kevy.persistence, &kevy.advanced);
    let replay = if persistence.replay_resync { ReplayMode::Resync } else { ReplayMode::Strict };
    let mut runtime = Runtime::builder(commands)
        .bind(server.bind, server.port)
        .shards(server.threads.max(1))
        .with_data_dir(server.data_dir.clone())
        .with_accept_shards(server.accept_shards)
        .with_max_clients(server.max_clients)
        .with_aof(persistence.aof)
        .with_appendfsync(syncer::for_kevy(persistence.appendfsync))
        .with_auto_aof_rewrite(persistence.auto_aof_rewrite_percentage, persistence.auto_aof_rewrite_min_size)
        .with_auto_rewrite_bytes(persistence.auto_aof_rewrite_bytes)
        .with_auto_rewrite_interval_secs(persistence.auto_aof_rewrite_interval_secs)
        .with_replay_mode(replay)
        .with_advanced(
            advanced.spin_limit,
            advanced.park_timeout_ms,
            advanced.tick_check_every,
            advanced.ring_capacity,
        )
        .with_recv_buffers(u16::try_from(advanced.recv_buffers).unwrap_or(u16::MAX))
        .with_slowlog(kevy.slowlog.slower_than_micros, kevy.slowlog.max_len);
    if kevy.cluster.enabled {
        let base = cluster_base(kevy);
        let announced = (kevy.cluster.announce_port_base != 0).then_some(kevy.cluster.announce_port_base);
        runtime = runtime.with_cluster(base).with_cluster_announce(kevy.cluster.announce_ip, announced);
    }
    if kevy.feed.enabled {
        runtime = runtime.with_feed(true).with_feed_buffer_size(kevy.feed.feed_buffer_size);
    }
    match std::env::var("KEVY_UNIX_SOCKET") {
        Ok(path) if !path.is_empty() => runtime.with_unix_socket(path.into()),
        _ => runtime,
    }
}
