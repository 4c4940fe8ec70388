//! The end of a reign: what passed the gate is counted and answered, and clients that wait for nothing are let go.

use super::{HURRY, KevyHost, lapsed};
use crate::confirm::connections::Whose;
use crate::fitness::guard::Guard;
use crate::inline::Inline;
use async_io::Timer;
use futures::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;

impl KevyHost {
    ///
    /// Answered means handed to the kernel. An answer to a client that does not read stays in kevy's buffer, and one that
    /// waits for `appendfsync always` in its log; of those kevy tells nothing.
    pub(crate) async fn drain(&self) {
        let reading = self.guard.as_ref().map(Guard::reading);
        self.shards.hurry(HURRY);
        let turned = pin!(self.shards.come_to_rest());
        let patience = self.guard.as_ref().filter(|guard| guard.is_up()).map(Guard::patience);
        let waited = async {
            match patience {
                Some(patience) => drop(Timer::after(patience).await),
                None => std::future::pending().await,
            }
        };
        match select(turned, pin!(waited)).await {
            Either::Left(_) => {}
            Either::Right(((), turned)) => {
                if self.swallow_answers()
                    && let (Some(guard), Some(reading)) = (&self.guard, reading)
                {
                    guard.stand_down(reading);
                }
                turned.await;
            }
        }
        if let (Some(guard), Some(reading)) = (&self.guard, reading) {
            guard.stand_down(reading);
        }
    }

    /// Some shard does not turn, and the watchdog is about to end this process for what it may answer. Closes the
    /// connections of all clients instead. Whether that was possible.
    pub(super) fn swallow_answers(&self) -> bool {
        let Some(clients) = self.shards.waits().clients() else { return false };
        match clients.swallow(Whose::All) {
            Ok(clients) => {
                log::warn!(
                    target: "kevy_elect",
                    "elect event=clients_closed clients={clients} why=\"a shard does not turn, and may answer too late\""
                );
                true
            }
            Err(error) => {
                log::error!(target: "kevy_elect", "elect event=clients_not_closed error={error:?}");
                false
            }
        }
    }

    /// Ends the connections of clients that wait for what will not come any more, on a thread that may take its time.
    pub(super) fn end_waits(&self) -> blocking::Task<()> {
        let shards = Arc::clone(&self.shards);
        blocking::unblock(move || shards.waits().end())
    }

    /// Lets clients go if the gate, which shuts now, is not open again when another node may reign.
    pub(super) fn look_after_clients(&self) {
        let settings = self.settings();
        let config = &settings.config;
        // What others promised when they heard the last heartbeat that the lease counts, and the one after it.
        let promise = config.election_timeout().saturating_sub(config.lease()) + config.heartbeat_interval();
        match Inline::get() {
            Ok(inline) => inline.spawn(lapsed::watch(Arc::clone(&self.shards), promise)),
            Err(error) => log::error!("nobody lets clients go whom this node can serve no more: {error}"),
        }
    }
}
