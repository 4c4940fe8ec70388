//! `--keep`: the cluster goes on running for somebody to play with.

use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::Cluster;
use kevy_elect_harness::failure::{Failure, Interrupt};
use std::time::Duration;

/// How often the servers are looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a server that ended stays away: long enough to see the others take over.
const AWAY: Duration = Duration::from_secs(3);

/// How to play, for people.
pub(crate) fn instructions(cluster: &Cluster, stock: bool) -> String {
    let port = |node: usize| cluster.members[node].ports.client;
    let mut lines = vec![
        "The cluster keeps running. In another terminal:".to_owned(),
        format!("  redis-cli -p {} ROLE", port(0)),
        format!("  redis-cli -p {} SET hello world", port(0)),
        format!("  redis-cli -p {} GET hello", port(1)),
    ];
    if !stock {
        let http = cluster.members[0].ports.http;
        lines.push(format!("  curl http://127.0.0.1:{http}/status"));
        lines.push(format!("  curl http://127.0.0.1:{http}/metrics"));
    }
    for node in 0..cluster.members.len() {
        if let Some(pid) = cluster.pid(node) {
            lines.push(format!(
                "  kill -9 {pid:<18} # {}; it is started again after 3 s",
                cluster.members[node].id
            ));
        }
    }
    lines.push(format!("Data and logs: {}", cluster.directory.display()));
    lines.push("Ctrl-C stops the servers and removes everything.".to_owned());
    lines.join("\n")
}

/// Shows the servers' decisions and starts again what was killed, until Ctrl-C.
pub(crate) fn run(cluster: &mut Cluster, interrupt: &Interrupt, clock: Clock) -> Result<(), Failure> {
    let mut shown = clock.now();
    let mut away = vec![None; cluster.members.len()];
    let started = shown;
    loop {
        match interrupt.rest(GLANCE) {
            Err(Failure::Interrupted) => return Ok(()),
            other => other?,
        }
        let now = clock.now();
        let mut news = Vec::new();
        for member in &cluster.members {
            let events = member.log.events_since(shown).into_iter().filter(|event| event.at < now);
            news.extend(events.map(|event| {
                let fields: Vec<_> = event.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
                (event.at, format!("{}  {:<12} {}", member.id, event.kind, fields.join(" ")))
            }));
        }
        for (node, away) in away.iter_mut().enumerate() {
            let id = cluster.members[node].id.clone();
            if let Some(status) = cluster.exited(node)? {
                news.push((now, format!("{id}  ended ({status})")));
                *away = Some(now + AWAY);
            } else if away.is_some_and(|until| now >= until) {
                cluster.launch(node)?;
                *away = None;
                let pid = cluster.pid(node).unwrap_or_default();
                news.push((now, format!("{id}  started again, process {pid}")));
            }
        }
        news.sort();
        for (at, text) in news {
            println!("{:>9.3} s  {text}", at.saturating_sub(started).as_secs_f64());
        }
        shown = now;
    }
}
