//! Looks after a gate that has shut on a reign: see [`Adrift`](crate::clients::adrift::Adrift).

use crate::shards::Shards;
use async_io::Timer;
use kevy_elect_plugin::host::FenceReason;
use kevy_elect_plugin::plugin::Denied;
use std::sync::Arc;
use std::time::Duration;

/// For how long shards look around often, so that they know.
const TOLD_WITHIN: Duration = Duration::from_millis(50);

/// The gate shuts: if it does not open within `patience`, and nobody else is followed by then, clients are let go. Once for each time.
pub(super) async fn watch(shards: Arc<Shards>, patience: Duration) {
    let Some(time) = shards.adrift().begin() else { return };
    loop {
        Timer::after(patience).await;
        if !shards.adrift().is_still(time) {
            return;
        }
        match shards.check() {
            Ok(()) => return shards.adrift().end(),
            // May still be taken back, and ends in any case.
            Err(Denied::Fenced(FenceReason::StepDown)) => {}
            Err(_) => break,
        }
    }
    shards.adrift().let_go(time);
    // Each of them learns of it at its next tick.
    shards.hurry(TOLD_WITHIN);
    blocking::unblock(move || {
        shards.waits().end_clients("this node's lease ran out and did not come back: another one may reign");
    })
    .await;
}
