//! A primary whose lease ran out and did not come back keeps no clients (F22 of `docs/protocol.md`).
//!
//! Not at once: most leases that run out are renewed by the next echoes. Before the promises behind the lease have ended nobody
//! else can reign, and the other nodes go on naming this one, so clients would come back. After that, whoever stays would never
//! hear of the next primary: who listens waits for messages that are published elsewhere, who reads gets what is out of date.

use crate::shards::Shards;
use async_io::Timer;
use kevy_elect_plugin::host::FenceReason;
use kevy_elect_plugin::plugin::Denied;
use std::sync::Arc;
use std::time::Duration;

/// For how long shards look around often, so that they know.
const TOLD_WITHIN: Duration = Duration::from_millis(50);

/// The gate shuts: if it does not open within `patience`, and nobody else is followed by then, clients are let go. Once for each time.
pub(crate) async fn watch(shards: Arc<Shards>, patience: Duration) {
    let Some(time) = shards.lapsed().begin() else { return };
    loop {
        Timer::after(patience).await;
        if !shards.lapsed().is_still(time) {
            return;
        }
        match shards.check() {
            Ok(()) => return shards.lapsed().end(),
            // May still be taken back, and ends in any case.
            Err(Denied::Fenced(FenceReason::StepDown)) => {}
            Err(_) => break,
        }
    }
    shards.lapsed().lets_go(time);
    // Each of them learns of it at its next tick.
    shards.hurry(TOLD_WITHIN);
    blocking::unblock(move || {
        shards.end_clients("this node's lease ran out and did not come back: another one may reign");
    })
    .await;
}
