//! What the election runs on.

use crate::config::ElectSettings;
use crate::own_file::VOTE_FILE;
use kevy_elect_noise::NoiseSessions;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::plugin::QuorumParts;
use kevy_elect_plugin::store::FileVoteStore;
use kevy_elect_plugin::transport::TcpTransport;
use kevy_elect_plugin::transport::tcp::{Passes, SocketWatch};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

/// What an election runs on, and what of it somebody else needs as well.
pub struct Parts {
    /// For the plugin.
    pub quorum: QuorumParts,
    /// Its links.
    pub transport: Arc<TcpTransport>,
    /// What proves who is at their other ends, where there are keys.
    pub sessions: Option<Arc<NoiseSessions>>,
}

/// The vote record below `data_dir`, links from `door` to all other members, which are given `passes`, and the system's clock.
pub fn parts(
    elect: &ElectSettings,
    data_dir: &Path,
    door: TcpListener,
    watch: Option<Arc<dyn SocketWatch>>,
    passes: Option<Arc<dyn Passes>>,
) -> Result<Parts, String> {
    let store = FileVoteStore::open(data_dir.join(VOTE_FILE)).map_err(|error| error.to_string())?;
    let node = elect.config.node();
    let seed = RandomState::new().hash_one(node);
    let mut transport = TcpTransport::with_listener(door)
        .stale_after(elect.config.election_timeout())
        .seed(seed)
        .silence(3 * elect.config.heartbeat_interval());
    for peer in elect.peers.iter().filter(|peer| peer.id != node) {
        transport = transport.peer(peer.id, format!("{}:{}", peer.host, peer.elect_port));
    }
    let sessions = elect.links.keys().map(|keys| Arc::new(NoiseSessions::new(keys)));
    if let Some(sessions) = &sessions {
        transport = transport.sessions(Arc::clone(sessions) as _);
    }
    if let Some(watch) = watch {
        transport = transport.watch(watch);
    }
    if let Some(passes) = passes {
        transport = transport.passes(passes);
    }
    let transport = Arc::new(transport.build());
    let quorum = QuorumParts {
        config: elect.config.clone(),
        clock: Arc::new(SystemClock::new()),
        store: Arc::new(store),
        transport: Arc::clone(&transport) as _,
        seed,
    };
    Ok(Parts { quorum, transport, sessions })
}
