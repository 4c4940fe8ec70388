//! Sentinel's protocol for this server's clients.

use futures::StreamExt;
use kevy_elect_ops::config::SentinelSettings;
use kevy_elect_ops::inline::Inline;
use kevy_elect_ops::start::ports;
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_sentinel::{Member, Members, Settings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Serves it from now on. `promise` is the election timeout.
pub(crate) fn serve(
    settings: SentinelSettings,
    own: &str,
    promise: Duration,
    plugin: Arc<dyn ElectPlugin>,
    inline: Inline,
) -> Result<SocketAddr, String> {
    let door = ports::listen(settings.listen, "[elect] sentinel")?;
    let members = settings.members.into_iter().map(|(id, at)| Member {
        id,
        host: at.data.0,
        port: at.data.1,
        sentinel_host: at.sentinel.0,
        sentinel_port: at.sentinel.1,
    });
    let members = Members::new(&settings.name, members.collect(), own).map_err(|error| error.to_string())?;
    let password = settings.password.map(|password| password.0);
    let mut events = plugin.events();
    let handle = kevy_elect_sentinel::serve(door, Settings { promise, password }, members, plugin)
        .map_err(|error| format!("cannot serve [elect] sentinel: {error}"))?;
    let at = handle.address();
    inline.spawn(async move {
        while events.next().await.is_some() {
            handle.wake();
        }
    });
    Ok(at)
}
