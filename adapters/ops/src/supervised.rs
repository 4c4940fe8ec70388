//! What a service manager is told (systemd's `Type=notify`): that the node is up, that its election turns, that it stops.
//!
//! Up is a node that takes part in its election, whoever reigns: a cluster's first nodes would otherwise wait for each other. The watchdog
//! is fed by the election's own thread, so a process whose election hangs is ended. A shard that hangs does not end it: the election sees
//! that, and hands over.

use async_io::Timer;
use kevy_elect_plugin::ids::Incarnation;
use kevy_elect_plugin::plugin::ElectPlugin;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the node is up.
const LOOK: Duration = Duration::from_millis(50);
/// The watchdog is fed so many times in its time.
const FEEDS: u32 = 3;
/// How often the manager is told what the node does, where it has no watchdog.
const STATUS: Duration = Duration::from_secs(10);

/// Tells it until the process ends. Ends at once where nobody listens.
pub async fn follow(plugin: Arc<dyn ElectPlugin>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    // The number of this start is known once the vote record was read and the host has started.
    while plugin.snapshot().incarnation == Incarnation::default() {
        Timer::after(LOOK).await;
    }
    tell(&[NotifyState::Ready]);
    let pause = sd_notify::watchdog_enabled().map_or(STATUS, |limit| limit / FEEDS);
    loop {
        let why = plugin.snapshot().why;
        tell(&[NotifyState::Watchdog, NotifyState::Status(&why.replace('\n', " "))]);
        Timer::after(pause).await;
    }
}

/// The same for a server without elections, on a thread of its own: up as soon as it begins.
pub fn alone() {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    tell(&[NotifyState::Ready]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let feed = move || {
        loop {
            tell(&[NotifyState::Watchdog]);
            std::thread::sleep(limit / FEEDS);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed) {
        log::error!("no thread to feed the service manager's watchdog: {error}");
    }
}

/// The process is about to end, in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(what: &[NotifyState<'_>]) {
    // Nobody listens, or the manager is gone: it will see for itself.
    drop(sd_notify::notify(what));
}
