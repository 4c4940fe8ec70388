//! Where a peer is to be looked for (T12).

use super::limits::{ADDRESSES_MAX, CONNECT_AFTER_LOSS_TIMEOUT, CONNECT_TIMEOUT, LOOK_BACK, RESOLVE_TIMEOUT};
use super::shared::Shared;
use super::timer::now;
use crate::ids::NodeId;
use crate::time::{Duration, Instant};
use async_io::Timer;
use futures::future::{BoxFuture, Either, FutureExt, select};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

/// Where a peer is.
#[derive(Default)]
pub(super) struct Place {
    /// A look-up under way, and of what: the next attempt waits for the same one, unless the peer is looked for elsewhere by then.
    looking: Option<(Arc<str>, BoxFuture<'static, Vec<SocketAddr>>)>,
    /// When the last link ended.
    lost: Option<Instant>,
    /// How long it took to connect when that last went well.
    took: Duration,
}

impl Place {
    /// The link to the peer has ended.
    pub(super) fn lost(&mut self) {
        self.lost = Some(now());
    }

    /// A connection was made, and took so long.
    pub(super) fn connected(&mut self, took: Duration) {
        self.took = took;
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
            // Between sites an answer takes longer than that.
            let soon = CONNECT_AFTER_LOSS_TIMEOUT.max(2 * self.took).min(CONNECT_TIMEOUT);
            return (vec![lost], if urgent { soon } else { CONNECT_TIMEOUT });
        }
        let Some(name) = shared.place(peer) else { return (Vec::new(), CONNECT_TIMEOUT) };
        let looking = self.looking.take().filter(|(of, _)| *of == name).map(|(_, looking)| looking);
        let looking = looking.unwrap_or_else(|| resolve(Arc::clone(&name)).boxed());
        let found = match select(looking, Timer::after(RESOLVE_TIMEOUT)).await {
            Either::Left((found, _)) => found,
            Either::Right((_, looking)) => {
                self.looking = Some((name, looking));
                Vec::new()
            }
        };
        // A server that hangs or is gone keeps nobody from going where the peer was.
        let known = if found.is_empty() { shared.links().address(peer) } else { None };
        (found.into_iter().take(ADDRESSES_MAX).chain(known).collect(), CONNECT_TIMEOUT)
    }
}

/// The addresses behind `host:port`. Names are looked up on a thread of their own: that can take seconds.
async fn resolve(address: Arc<str>) -> Vec<SocketAddr> {
    if let Ok(address) = address.parse() {
        return vec![address];
    }
    blocking::unblock(move || {
        address.to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect()).unwrap_or_default()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::transport::links::{Direction, End, Links};
    use crate::transport::session::PlainSessions;

    #[test]
    fn t12_the_first_attempt_after_a_loss_is_given_up_soon_and_between_sites_not_before_an_answer_can_come() {
        let (peer, address) = (NodeId::new("b").unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let shared =
            Shared::new(Links::new([peer], Duration::from_secs(2)), [], Arc::new(PlainSessions), None, None);
        let up = shared.links().up(Direction::Out, peer, Incarnation(1), Some(address), now());
        shared.links().end(Direction::Out, peer, up.unwrap(), End::Clean, now());
        let mut place = Place::default();
        place.lost();
        for (took, limit) in [(0, 25), (5, 25), (80, 160), (10_000, 500)] {
            place.connected(Duration::from_millis(took));
            let found = futures::executor::block_on(place.find(&shared, peer, true));
            assert_eq!(found, (vec![address], Duration::from_millis(limit)), "connecting took {took} ms");
        }
    }
}
