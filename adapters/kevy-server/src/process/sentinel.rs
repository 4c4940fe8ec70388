//! Sentinel's protocol for this server's clients.

use futures::StreamExt;
use kevy_elect_ops::config::{SentinelAddresses, SentinelSettings};
use kevy_elect_ops::inline::Inline;
use kevy_elect_ops::start::ports;
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_sentinel::{Handle, Member, Members, Settings};
use std::sync::Arc;
use std::time::Duration;

/// Serves it from now on. `promise` is the election timeout.
pub(crate) fn serve(
    settings: SentinelSettings,
    own: &str,
    promise: Duration,
    plugin: Arc<dyn ElectPlugin>,
    inline: Inline,
) -> Result<Handle, String> {
    let door = ports::listen(settings.listen, "[elect] sentinel")?;
    let members = settings.members.into_iter().map(member);
    let members = Members::new(&settings.name, members.collect(), own).map_err(|error| error.to_string())?;
    let password = settings.password.map(|password| password.0);
    let mut events = plugin.events();
    let handle = kevy_elect_sentinel::serve(door, Settings { promise, password }, members, plugin)
        .map_err(|error| format!("cannot serve [elect] sentinel: {error}"))?;
    let woken = handle.clone();
    inline.spawn(async move {
        while events.next().await.is_some() {
            woken.wake();
        }
    });
    Ok(handle)
}

/// As Sentinel's clients know it.
pub(crate) fn member((id, at): (String, SentinelAddresses)) -> Member {
    let SentinelAddresses { data: (host, port), sentinel: (sentinel_host, sentinel_port) } = at;
    Member { id, host, port, sentinel_host, sentinel_port }
}
