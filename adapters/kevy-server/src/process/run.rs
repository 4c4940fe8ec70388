//! The process: server, election, signals, and the order in which they begin and end.

use crate::clients::replies::Source;
use crate::fitness::companion;
use crate::host::KevyHost;
use crate::office::PluginOffice;
use crate::process::clock;
use crate::process::order;
use crate::process::ports;
use crate::process::reactor;
use crate::process::sentinel;
use crate::process::serve::{Server, Stopper};
use futures::executor::block_on;
use futures::future::FutureExt;
use kevy_config::{Config, LogLevel};
use kevy_elect_noise::NoiseSessions;
use kevy_elect_ops::config::{ElectSettings, Settings};
use kevy_elect_ops::ending::Ending;
use kevy_elect_ops::history::History;
use kevy_elect_ops::http::{self, Pages, Views};
use kevy_elect_ops::inline::Inline;
use kevy_elect_ops::signals;
use kevy_elect_ops::stderr::Detour;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::plugin::{ElectPlugin, Election, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::FileVoteStore;
use kevy_elect_plugin::transport::TcpTransport;
use kevy_elect_plugin::transport::tcp::SocketWatch;
use kevy_elect_watchdog::companion::Program;
use log::LevelFilter;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Where the vote record lives, below the data directory.
const VOTE_FILE: &str = "elect/vote";
/// What was decided, beside it.
const HISTORY_FILE: &str = "elect/history";
/// How kevy's own lines begin: with a full disk they are megabytes a second.
const FLOODING: &str = "kevy: ";
/// Longest time for handing over before the server stops anyway, and the same in election timeouts where that is more: it takes
/// two of them if nobody comes near.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);
const HAND_OVER_TIMEOUTS: u32 = 3;

/// Serves until stopped. `Err` is what to tell the operator; the process then ends with 1. For `main`, which has to call
/// [`enter`](kevy_elect_watchdog::companion::enter) before anything else.
pub fn run(settings: Settings, program: &Program) -> Result<(), String> {
    if settings.elect.is_some() {
        reactor::settle()?;
    }
    for warning in &settings.warnings {
        eprintln!("kevy-server: warning: {warning}");
    }
    // Plain kevy ends the process itself, and nothing would be passed on then.
    let _detour = settings.elect.as_ref().and_then(|_| match Detour::begin(FLOODING) {
        Ok(detour) => Some(detour),
        Err(error) => {
            eprintln!("kevy-server: warning: what kevy says is not limited: {error}");
            None
        }
    });
    log(&settings.kevy);
    banner(&settings.kevy);
    match settings.elect {
        Some(elect) => serve(&settings.kevy, elect, program),
        None => {
            clock::run_alone().map_err(|error| format!("cannot start a thread for the clock: {error}"))?;
            // Never returns: it ends the process itself.
            kevy::serve(Arc::new(settings.kevy))
        }
    }
}

/// Every decision of the election, one line each, beside what kevy says. `RUST_LOG` overrides the level.
fn log(kevy: &Config) {
    let level = match kevy.log.level {
        LogLevel::Trace => LevelFilter::Trace,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Error => LevelFilter::Error,
        _ => LevelFilter::Info,
    };
    let logger = env_logger::Builder::new()
        .filter_level(level)
        .format_timestamp_micros()
        .parse_default_env()
        .try_init();
    // Someone who embeds this crate has a logger already.
    drop(logger);
}

fn banner(kevy: &Config) {
    let address = std::net::Ipv4Addr::from(kevy.server.bind);
    let log = if kevy.persistence.aof { "on" } else { "off" };
    eprintln!(
        "kevy-server {} (kevy 7.0.0): {address}:{}, {} shards, data in {}, aof {log}",
        env!("CARGO_PKG_VERSION"),
        kevy.server.port,
        kevy.server.threads,
        kevy.server.data_dir.display(),
    );
    if !address.is_loopback() {
        eprintln!(
            "kevy-server: warning: listening on {address} without passwords or encryption: whoever reaches the ports \
             can read and write everything; keep them in a private network"
        );
    }
}

fn serve(kevy: &Config, elect: ElectSettings, program: &Program) -> Result<(), String> {
    let (http_at, http_peers, listen) = (elect.http, elect.http_peers.clone(), elect.listen);
    let links = elect.links.as_str();
    let (sentinel_at, promise) = (elect.sentinel.clone(), elect.config.election_timeout());
    // Bound now and held for the process's life: peers take a refused connection for proof of its death.
    let door = ports::listen(listen, "[cluster] peers")?;
    let (cluster, node) = (elect.config.cluster().to_owned(), elect.config.node());
    let replication_port = elect.peer(node).map_or(0, |own| own.replication_port);
    let streams =
        (0..kevy.server.threads.max(1)).filter_map(|n| replication_port.checked_add(u16::try_from(n).ok()?));
    ports::until_free(kevy.server.bind.into(), [kevy.server.port], "[server] port")?;
    ports::until_free(kevy.server.bind.into(), streams, "[cluster] peers")?;
    let recorder = http_at.map(|_| http::record_metrics(&cluster, node.as_str())).transpose()?;
    let inline = Inline::get().map_err(|error| format!("cannot open a pair of sockets: {error}"))?;
    let server = Server::new(kevy, elect.clone()).map_err(|error| error.to_string())?;
    let watch = companion(&elect, program, kevy.server.threads.max(1), inline);
    let (parts, transport) = parts(elect, &kevy.server.data_dir, door, watch)?;
    let (plugin, election) = QuorumPlugin::start(parts, |_| server.host());
    server.host().set_proven(move |peer| transport.address(peer).map(|address| address.ip()));
    server.set_office(Arc::new(PluginOffice(Arc::clone(&plugin) as _)));
    let history = History::open(kevy.server.data_dir.join(HISTORY_FILE));
    inline.spawn(order::follow(kevy.server.data_dir.clone(), node, Arc::clone(&plugin)));
    inline.spawn(history.clone().follow(node, Arc::clone(&plugin) as _));
    if let (Some(address), Some(metrics)) = (http_at, recorder) {
        let wrong = |error| format!("cannot serve [elect] http at {address}: {error}");
        let views = Views::new(&cluster, &http_peers);
        let host = server.host();
        let stall = Box::new(move || {
            let upstream = host.upstream();
            upstream.stalled.map(|_| upstream.trouble)
        });
        let host = server.host();
        let copying = Box::new(move || host.upstream().copy);
        let pages = Pages {
            metrics,
            plugin: Arc::clone(&plugin) as _,
            stall,
            copying,
            history,
            cluster,
            links,
            views,
        };
        let at = http::serve(ports::listen(address, "[elect] http")?, pages).map_err(wrong)?;
        eprintln!("kevy-server: status page at http://{at}/");
    }
    if let Some(settings) = sentinel_at {
        let (name, plugin) = (settings.name.clone(), Arc::clone(&plugin) as _);
        let at = sentinel::serve(settings, node.as_str(), promise, plugin, inline)?;
        eprintln!("kevy-server: clients that speak Sentinel's protocol find the primary of {name} at {at}");
    }
    let ending = Arc::new(Ending::default());
    ending.set(end(inline, &plugin, server.host(), server.stopper()));
    server.set_ending(Arc::clone(&ending));
    signals::listen(&ending, inline).map_err(|error| format!("cannot handle signals: {error}"))?;
    let failed = Arc::new(AtomicBool::new(false));
    inline.spawn(watched(election, ending, Arc::clone(&failed)));
    server.run().map_err(|error| error.to_string())?;
    match failed.load(Ordering::Acquire) {
        true => Err("stopped, because a server without its election must not be written to".to_owned()),
        false => Ok(()),
    }
}

/// A companion, if one is wished for and can be had.
fn companion(
    elect: &ElectSettings,
    program: &Program,
    shards: usize,
    inline: Inline,
) -> Option<Arc<dyn SocketWatch>> {
    if !elect.companion {
        return None;
    }
    let begun = companion::begin(program, shards, inline);
    begun.map_err(|error| companion::complain(&error.to_string())).ok()
}

fn parts(
    elect: ElectSettings,
    data_dir: &Path,
    door: TcpListener,
    watch: Option<Arc<dyn SocketWatch>>,
) -> Result<(QuorumParts, Arc<TcpTransport>), String> {
    let store = FileVoteStore::open(data_dir.join(VOTE_FILE)).map_err(|error| error.to_string())?;
    let seed = RandomState::new().hash_one(elect.config.node());
    let node = elect.config.node();
    let mut transport =
        TcpTransport::with_listener(door).stale_after(elect.config.election_timeout()).seed(seed);
    transport = transport.silence(3 * elect.config.heartbeat_interval());
    for peer in elect.peers.iter().filter(|peer| peer.id != node) {
        transport = transport.peer(peer.id, format!("{}:{}", peer.host, peer.elect_port));
    }
    if let Some(keys) = elect.links.keys() {
        transport = transport.sessions(Arc::new(NoiseSessions::new(keys)));
    }
    if let Some(watch) = watch {
        transport = transport.watch(watch);
    }
    let transport = Arc::new(transport.build());
    let parts = QuorumParts {
        config: elect.config,
        clock: Arc::new(SystemClock::new()),
        store: Arc::new(store),
        transport: Arc::clone(&transport) as _,
        seed,
    };
    Ok((parts, transport))
}

/// The election. A server without it ends.
async fn watched(election: Election, ending: Arc<Ending>, failed: Arc<AtomicBool>) {
    let reason = match AssertUnwindSafe(election).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the election ended by a panic".to_owned(),
    };
    eprintln!("kevy-server: {reason}");
    failed.store(true, Ordering::Release);
    ending.wish(false);
}

/// Hands over, then stops. Not by the election's thread: that may be what hangs.
fn end(
    inline: Inline,
    plugin: &Arc<QuorumPlugin>,
    host: Arc<KevyHost>,
    stopper: Stopper,
) -> impl Fn(bool) + Send + Sync + use<> {
    let plugin = Arc::clone(plugin);
    let patience = HAND_OVER_MAX.max(plugin.config().election_timeout() * HAND_OVER_TIMEOUTS);
    move |save| {
        eprintln!("kevy-server: stopping");
        let (tell, handed_over) = sync_channel(1);
        let plugin = Arc::clone(&plugin);
        inline.spawn(async move {
            plugin.shutdown().await;
            let _ = tell.try_send(());
        });
        if handed_over.recv_timeout(patience).is_err() {
            eprintln!(
                "kevy-server: warning: not handed over within {} s; stopping anyway",
                patience.as_secs()
            );
        }
        // Shards that have stopped tell nobody that nothing is under way, and the watchdog would not wait.
        block_on(host.drain());
        stopper.stop(save);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::shards::Shards;

    /// A signal only sets the wish where the election hangs, whose thread would hear it.
    #[test]
    fn every_tick_of_a_shard_looks_whether_the_process_shall_end() {
        let (inbox, _frames) = kevy_rt::replica_inbox_pair();
        let shards = Shards::new(vec![inbox]);
        let (ending, (tell, ended)) = (Arc::new(Ending::default()), sync_channel(1));
        ending.set(move |save| {
            let _ = tell.send(save);
        });
        shards.set_ending(Arc::clone(&ending));
        ending.wished().store(true, Ordering::Release);
        shards.tick(0);
        assert!(!ended.recv_timeout(Duration::from_secs(20)).unwrap());
    }
}
