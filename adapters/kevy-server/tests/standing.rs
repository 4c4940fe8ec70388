//! Commands of clients do not wait for the election.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Client, Cluster, until};
use futures::executor::block_on;
use futures::future::BoxFuture;
use kevy_elect_plugin::clock::{Clock, SystemClock};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::time::Instant;
use kevy_elect_plugin::transport::MemoryNetwork;
use kevy_server::Server;
use kevy_server::office::PluginOffice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that keeps one thread waiting whenever it asks.
struct Stuck {
    clock: SystemClock,
    door: Arc<Mutex<()>>,
}

const STUCK: &str = "stuck";

impl Clock for Stuck {
    fn now(&self) -> Instant {
        if std::thread::current().name() == Some(STUCK) {
            drop(self.door.lock());
        }
        self.clock.now()
    }
    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.clock.timer(deadline)
    }
}

#[test]
fn an_election_that_is_stuck_delays_no_command() {
    let cluster = Cluster::new(1, 2);
    let settings = cluster.settings(0, "watchdog = false\nelection_timeout_ms = 5000\n");
    let elect = settings.elect.unwrap();
    let server = Server::new(&settings.kevy, elect.clone()).unwrap();
    let door = Arc::new(Mutex::new(()));
    let node = elect.config.node();
    let parts = QuorumParts {
        config: elect.config,
        clock: Arc::new(Stuck { clock: SystemClock::new(), door: Arc::clone(&door) }),
        store: Arc::new(MemoryVoteStore::new()),
        transport: Arc::new(MemoryNetwork::builder(SystemClock::new(), 1, [node]).build().transport(node)),
        seed: 1,
    };
    let (plugin, election) = QuorumPlugin::start(parts, |_| server.host());
    server.set_office(Arc::new(PluginOffice(Arc::clone(&plugin) as _)));
    let stopper = server.stopper();
    let serving = std::thread::spawn(move || server.run().unwrap());
    let electing = std::thread::spawn(move || block_on(election).unwrap());
    let mut client = until("it listens", || {
        std::net::TcpStream::connect(("127.0.0.1", cluster.ports[0]))
            .ok()
            .map(|_| Client::connect(cluster.ports[0]))
    });
    until("it takes writes", || (client.ask("SET k v") == "+OK").then_some(()));
    // A look at the whole election holds its lock, and asks the clock meanwhile.
    let shut = door.lock().unwrap();
    let looking = Arc::clone(&plugin);
    let look = std::thread::Builder::new().name(STUCK.into()).spawn(move || looking.snapshot()).unwrap();
    let other = Arc::clone(&plugin);
    until("everybody who looks is stuck", || {
        let (tell, told) = std::sync::mpsc::channel();
        let other = Arc::clone(&other);
        std::thread::spawn(move || drop(tell.send(other.snapshot())));
        told.recv_timeout(Duration::from_millis(100)).is_err().then_some(())
    });
    assert!(client.ask("ROLE").starts_with("[master"));
    assert!(client.ask("INFO replication").contains(&format!("elect_primary:{node}")));
    let status = client.ask("elect status");
    assert_eq!(
        status,
        format!("node:{node}\r\nrole:primary\r\nepoch:1\r\nprimary:{node}\r\nrefuses:\r\nstalled:no\r\n")
    );
    let digest = client.ask("ELECT DIGEST INFO");
    assert!(digest.starts_with(&format!("node:{node}\r\nstream_epoch:1\r\noffset:")), "{digest}");
    assert_eq!(client.ask("WAIT 0 10"), ":0");
    assert!(client.ask("REPL.TOKEN").starts_with('['));
    // The gate knows by itself when the lease is over, which nobody renews now.
    until("the lease is over", || client.ask("SET k w").starts_with("-READONLY").then_some(()));
    assert!(client.ask("INFO replication").contains("elect_writable:lease-expired"));
    // It reigns as far as it knows, and names nobody (F18).
    let status = client.ask("ELECT STATUS");
    assert!(
        status.ends_with("role:fenced\r\nepoch:1\r\nprimary:\r\nrefuses:lease-expired\r\nstalled:no\r\n"),
        "{status}"
    );
    drop(shut);
    look.join().unwrap();
    block_on(plugin.shutdown());
    electing.join().unwrap();
    stopper.stop(false);
    serving.join().unwrap();
}
