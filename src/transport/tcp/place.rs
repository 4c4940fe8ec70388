//! Where a peer is to be looked for (T12).

use super::limits::{ADDRESSES_MAX, CONNECT_AFTER_LOSS_TIMEOUT, CONNECT_TIMEOUT, LOOK_BACK, RESOLVE_TIMEOUT};
use super::shared::Shared;
use super::timer::now;
use crate::ids::NodeId;
use crate::time::{Duration, Instant};
use async_io::Timer;
use futures::future::{BoxFuture, Either, FutureExt, select};
use std::net::{SocketAddr, ToSocketAddrs};

/// Where a peer is.
pub(super) struct Place<'a> {
    /// `host:port`.
    address: &'a str,
    /// A look-up under way. The next attempt waits for the same one.
    looking: Option<BoxFuture<'a, Vec<SocketAddr>>>,
    /// When the last link ended.
    lost: Option<Instant>,
}

impl<'a> Place<'a> {
    pub(super) fn new(address: &'a str) -> Self {
        Self { address, looking: None, lost: None }
    }

    /// The link to the peer has ended.
    pub(super) fn lost(&mut self) {
        self.lost = Some(now());
    }

    /// The addresses to try now, and for how long each. `urgent`: the attempt was called for by the end of a link.
    pub(super) async fn find(
        &mut self,
        shared: &Shared,
        peer: NodeId,
        urgent: bool,
    ) -> (Vec<SocketAddr>, Duration) {
        // What has just been lost is looked for where it was, without asking a name server that may be gone
        // with it: its refusal is what the peers wait for.
        let recent = self.lost.is_some_and(|lost| now().saturating_since(lost) < LOOK_BACK);
        if let Some(lost) = shared.links().lost_address(peer).filter(|_| urgent || recent) {
            return (vec![lost], if urgent { CONNECT_AFTER_LOSS_TIMEOUT } else { CONNECT_TIMEOUT });
        }
        let looking = self.looking.take().unwrap_or_else(|| resolve(self.address).boxed());
        let found = match select(looking, Timer::after(RESOLVE_TIMEOUT)).await {
            Either::Left((found, _)) => found,
            Either::Right((_, looking)) => {
                self.looking = Some(looking);
                Vec::new()
            }
        };
        // A server that hangs or is gone keeps nobody from going where the peer was.
        let known = if found.is_empty() { shared.links().address(peer) } else { None };
        (found.into_iter().take(ADDRESSES_MAX).chain(known).collect(), CONNECT_TIMEOUT)
    }
}

/// The addresses behind `host:port`. Names are looked up on a thread of their own: that can take seconds.
async fn resolve(address: &str) -> Vec<SocketAddr> {
    if let Ok(address) = address.parse() {
        return vec![address];
    }
    let address = address.to_owned();
    blocking::unblock(move || {
        address.to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect()).unwrap_or_default()
    })
    .await
}
