//! The process: server, election, signals, and the order in which they begin and end.

use crate::clients::replies::Source;
use crate::fitness::companion;
use crate::host::KevyHost;
use crate::office::PluginOffice;
use crate::process::clock;
use crate::process::reactor;
use crate::process::sentinel;
use crate::process::serve::{Server, Stopper};
use futures::executor::block_on;
use kevy_config::Config;
use kevy_elect_ops::config::{ElectSettings, Origin, Settings};
use kevy_elect_ops::ending::Ending;
use kevy_elect_ops::forcing;
use kevy_elect_ops::history::{self, History};
use kevy_elect_ops::http::{self, Facts, Pages, Program as About, Views};
use kevy_elect_ops::inline::Inline;
use kevy_elect_ops::order;
use kevy_elect_ops::reload::{Reloader, Told};
use kevy_elect_ops::signals;
use kevy_elect_ops::start::parts::{self, Parts};
use kevy_elect_ops::start::{logging, ports, priority, running};
use kevy_elect_ops::stderr::Detour;
use kevy_elect_ops::supervised;
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumPlugin};
use kevy_elect_plugin::transport::tcp::SocketWatch;
use kevy_elect_watchdog::companion::Program;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How kevy's own lines begin: with a full disk they are megabytes a second.
const FLOODING: &str = "kevy: ";
/// Longest time for handing over before the server stops anyway, and the same in election timeouts where that is more: it takes
/// two of them if nobody comes near.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);
const HAND_OVER_TIMEOUTS: u32 = 3;

/// Serves until stopped. `Err` is what to tell the operator; the process then ends with 1. For `main`, which has to call
/// [`enter`](kevy_elect_watchdog::companion::enter) before anything else.
pub fn run(settings: Settings, program: &Program) -> Result<(), String> {
    if let Some(witness) = settings.elect.as_ref().filter(|elect| elect.is_witness()) {
        return Err(format!(
            "{} is a witness ([elect] witnesses), which holds no data: start kevy-witness with this file",
            witness.config.node()
        ));
    }
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
    logging::begin(settings.kevy.log.level);
    banner(&settings.kevy);
    match settings.elect {
        Some(elect) => serve(&settings.kevy, elect, settings.origin, program),
        None => {
            clock::run_alone().map_err(|error| format!("cannot start a thread for the clock: {error}"))?;
            supervised::alone();
            // Never returns: it ends the process itself.
            kevy::serve(Arc::new(settings.kevy))
        }
    }
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

fn serve(kevy: &Config, elect: ElectSettings, origin: Origin, program: &Program) -> Result<(), String> {
    let (http_at, http_peers, listen) = (elect.http, elect.http_peers.clone(), elect.listen);
    let links = elect.links.as_str();
    let (sentinel_at, promise) = (elect.sentinel.clone(), elect.config.election_timeout());
    // Bound now and held for the process's life: peers take a refused connection for proof of its death.
    let door = ports::listen(listen, "[cluster] peers")?;
    let (cluster, node) = (elect.config.cluster().to_owned(), elect.config.node());
    let replication_port = elect.data_node(node).map_or(0, |own| own.replication_port);
    let streams =
        (0..kevy.server.threads.max(1)).filter_map(|n| replication_port.checked_add(u16::try_from(n).ok()?));
    ports::until_free(kevy.server.bind.into(), [kevy.server.port], "[server] port")?;
    ports::until_free(kevy.server.bind.into(), streams, "[cluster] peers")?;
    let recorder = http_at.map(|_| http::record_metrics(&cluster, node.as_str())).transpose()?;
    let inline = Inline::get().map_err(|error| format!("cannot open a pair of sockets: {error}"))?;
    priority::prefer_election(elect.realtime, inline)?;
    let server = Server::new(kevy, elect.clone()).map_err(|error| error.to_string())?;
    let watch = companion(&elect, program, kevy.server.threads.max(1), inline);
    let passes = server.host().passes();
    let given = {
        let passes = Arc::clone(&passes);
        Arc::new(move |peer| passes.for_peer(peer))
    };
    let Parts { quorum, transport, sessions } =
        parts::parts(&elect, &kevy.server.data_dir, door, watch, Some(given))?;
    let (plugin, election) = QuorumPlugin::start(quorum, |_| server.host());
    let received = Arc::clone(&transport);
    passes.set_received(move |peer| received.pass(peer));
    server.host().set_proven(move |peer| transport.address(peer).map(|address| address.ip()));
    server.set_office(Arc::new(PluginOffice(Arc::clone(&plugin) as _)));
    tell_forced(&kevy.server.data_dir);
    let (host, roster) = (server.host(), server.host().roster());
    let mut told: Vec<Told> = vec![Box::new(move |in_force, node| host.meet(in_force, node))];
    if let Some(sessions) = sessions {
        told.push(Box::new(move |in_force, _| {
            in_force.links.keys().into_iter().for_each(|keys| sessions.trust(keys))
        }));
    }
    let decisions = History::open(kevy.server.data_dir.join(history::FILE));
    inline.spawn(order::follow(kevy.server.data_dir.clone(), node, Arc::clone(&plugin)));
    inline.spawn(decisions.clone().follow(node, Arc::clone(&plugin) as _));
    if let (Some(address), Some(metrics)) = (http_at, recorder) {
        let wrong = |error| format!("cannot serve [elect] http at {address}: {error}");
        let views = Views::new(&cluster, &http_peers);
        let more = views.clone();
        told.push(Box::new(move |in_force, node| {
            let page = in_force.http_peers.iter().find(|(peer, _)| *peer == node);
            page.into_iter().for_each(|(_, at)| more.meet(node, at));
        }));
        let host = server.host();
        let stall = Box::new(move || {
            let upstream = host.upstream();
            upstream.stalled.map(|_| upstream.trouble)
        });
        let host = server.host();
        let copying = Box::new(move || host.upstream().copy);
        let told_of = About {
            name: "kevy-server",
            version: env!("CARGO_PKG_VERSION"),
            links,
            data_dir: kevy.server.data_dir.clone(),
        };
        let (listed, place) = (Arc::clone(&roster), Arc::clone(&roster));
        let pages = Pages {
            facts: Facts::new(told_of, &elect.config, Box::new(move || listed.get().listed())),
            metrics,
            place: Box::new(move |id| place.get().place(id)),
            plugin: Arc::clone(&plugin) as _,
            stall,
            copying,
            history: decisions,
            cluster,
            links,
            views,
        };
        let at = http::serve(ports::listen(address, "[elect] http")?, pages).map_err(wrong)?;
        eprintln!("kevy-server: status page at http://{at}/");
    }
    if let Some(settings) = sentinel_at {
        let (name, plugin) = (settings.name.clone(), Arc::clone(&plugin) as _);
        let served = sentinel::serve(settings, node.as_str(), promise, plugin, inline)?;
        let at = served.address();
        eprintln!("kevy-server: clients that speak Sentinel's protocol find the primary of {name} at {at}");
        told.push(Box::new(move |in_force, node| {
            let all = in_force.sentinel.iter().flat_map(|settings| &settings.members);
            let new = all.filter(|(id, _)| id == node.as_str()).cloned();
            new.for_each(|new| served.meet(sentinel::member(new)));
        }));
    }
    let reloader = Arc::new(Reloader::new(origin, roster, Arc::clone(&plugin), told));
    server.set_reloader(Arc::clone(&reloader));
    signals::on_hangup(inline, move || drop(reloader.reload()))
        .map_err(|error| format!("cannot handle signals: {error}"))?;
    let ending = Arc::new(Ending::default());
    ending.set(end(inline, &plugin, server.host(), server.stopper()));
    server.set_ending(Arc::clone(&ending));
    signals::listen(&ending, inline).map_err(|error| format!("cannot handle signals: {error}"))?;
    let failed = Arc::new(AtomicBool::new(false));
    inline.spawn(supervised::follow(Arc::clone(&plugin) as _));
    inline.spawn(running::run(election, ending, Arc::clone(&failed)));
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
    let begun = companion::begin(program, shards, elect.realtime != Some(false), inline);
    begun.map_err(|error| companion::complain(&error.to_string())).ok()
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
        supervised::stopping();
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

/// An operator made this node the only voter once: that is told for good, because what was lost then is not found again.
fn tell_forced(data_dir: &Path) {
    metrics::describe_gauge!(
        "kevy_server_forced_timestamp_seconds",
        "When an operator last made this node the only voter (`kevy-electctl force`); 0: never."
    );
    let forced = forcing::last(data_dir);
    metrics::gauge!("kevy_server_forced_timestamp_seconds")
        .set(forced.as_ref().map_or(0.0, |(since, _)| *since as f64));
    if let Some((_, mark)) = forced {
        log::warn!("an operator made this node the only voter once: {mark:?}");
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
