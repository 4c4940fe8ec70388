//! Starts, votes, ends.

use crate::no_data::NoData;
use kevy_elect_ops::config::Settings;
use kevy_elect_ops::ending::Ending;
use kevy_elect_ops::history::{self, History};
use kevy_elect_ops::http::{self, Facts, Pages, Program, Views};
use kevy_elect_ops::inline::Inline;
use kevy_elect_ops::order;
use kevy_elect_ops::reload::{Reloader, Roster, Told};
use kevy_elect_ops::signals;
use kevy_elect_ops::start::parts::{self, Parts};
use kevy_elect_ops::start::{logging, ports, priority, running};
use kevy_elect_ops::supervised;
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumPlugin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Longest time for an end in order.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Votes until it is told to stop. `Err` is what to tell the operator.
pub fn run(settings: Settings) -> Result<(), String> {
    let origin = settings.origin;
    let Some(elect) = settings.elect else {
        return Err("[elect] enabled is not true in this file, so there is nothing to vote about".to_owned());
    };
    let node = elect.config.node();
    if !elect.is_witness() {
        return Err(format!(
            "{node} is no witness: start kevy-server with this file, or list it in [elect] witnesses on all nodes"
        ));
    }
    for warning in &settings.warnings {
        eprintln!("kevy-witness: warning: {warning}");
    }
    logging::begin(settings.kevy.log.level);
    let data_dir = settings.kevy.server.data_dir;
    std::fs::create_dir_all(&data_dir)
        .map_err(|error| format!("cannot create the data directory {}: {error}", data_dir.display()))?;
    let cluster = elect.config.cluster().to_owned();
    // Bound now and held for the process's life: peers take a refused connection for proof of its death.
    let door = ports::listen(elect.listen, "[cluster] peers")?;
    let recorder = elect.http.map(|_| http::record_metrics(&cluster, node.as_str())).transpose()?;
    let inline = Inline::get().map_err(|error| format!("cannot open a pair of sockets: {error}"))?;
    priority::prefer_election(elect.realtime, inline)?;
    let Parts { quorum, sessions, .. } = parts::parts(&elect, &data_dir, door, None, None)?;
    let (plugin, election) = QuorumPlugin::start(quorum, |_| Arc::new(NoData));
    let roster = Arc::new(Roster::new(elect.clone()));
    let mut told: Vec<Told> = Vec::new();
    if let Some(sessions) = sessions {
        told.push(Box::new(move |in_force, _| {
            in_force.links.keys().into_iter().for_each(|keys| sessions.trust(keys))
        }));
    }
    let decisions = History::open(data_dir.join(history::FILE));
    inline.spawn(order::follow(data_dir.clone(), node, Arc::clone(&plugin)));
    inline.spawn(decisions.clone().follow(node, Arc::clone(&plugin) as _));
    if let (Some(address), Some(metrics)) = (elect.http, recorder) {
        let program = Program {
            name: "kevy-witness",
            version: env!("CARGO_PKG_VERSION"),
            links: elect.links.as_str(),
            data_dir: data_dir.clone(),
        };
        let views = Views::new(&cluster, &elect.http_peers);
        let more = views.clone();
        told.push(Box::new(move |in_force, node| {
            let page = in_force.http_peers.iter().find(|(peer, _)| *peer == node);
            page.into_iter().for_each(|(_, at)| more.meet(node, at));
        }));
        let (listed, place) = (Arc::clone(&roster), Arc::clone(&roster));
        let pages = Pages {
            facts: Facts::new(program, &elect.config, Box::new(move || listed.get().listed())),
            metrics,
            place: Box::new(move |id| place.get().place(id)),
            plugin: Arc::clone(&plugin) as _,
            stall: Box::new(|| None),
            copying: Box::new(|| None),
            history: decisions,
            views,
            cluster,
            links: elect.links.as_str(),
        };
        let at = http::serve(ports::listen(address, "[elect] http")?, pages)
            .map_err(|error| format!("cannot serve [elect] http at {address}: {error}"))?;
        eprintln!("kevy-witness: status page at http://{at}/");
    }
    let reloader = Reloader::new(origin, roster, Arc::clone(&plugin), told);
    signals::on_hangup(inline, move || drop(reloader.reload()))
        .map_err(|error| format!("cannot handle signals: {error}"))?;
    let (ended, end) = sync_channel(1);
    let ending = Arc::new(Ending::default());
    ending.set(move |_| {
        let _ = ended.try_send(());
    });
    signals::listen(&ending, inline).map_err(|error| format!("cannot handle signals: {error}"))?;
    let failed = Arc::new(AtomicBool::new(false));
    inline.spawn(supervised::follow(Arc::clone(&plugin) as _));
    inline.spawn(running::run(election, Arc::clone(&ending), Arc::clone(&failed)));
    eprintln!("kevy-witness {}: {node} votes at {}", env!("CARGO_PKG_VERSION"), elect.listen);
    // The sender lives in `ending`, which this function keeps.
    let _ = end.recv();
    supervised::stopping();
    let (ended, end) = sync_channel(1);
    inline.spawn(async move {
        plugin.shutdown().await;
        let _ = ended.try_send(());
    });
    // The election may be what hangs.
    let _ = end.recv_timeout(STOP_MAX);
    match failed.load(Ordering::Acquire) {
        true => Err("stopped, because its election ended".to_owned()),
        false => Ok(()),
    }
}
