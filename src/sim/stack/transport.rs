//! The real in-memory transport, with a look at everything that passes.

use super::state::Scene;
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::transport::{
    Directions, MemoryTransport, SendError, Transport, TransportError, TransportEvent, TransportStats,
};
use async_trait::async_trait;

/// A [`MemoryTransport`] whose messages are judged as they leave.
pub(super) struct Watched {
    pub(super) inner: MemoryTransport,
    pub(super) scene: Scene,
    pub(super) node: usize,
}

/// Looks at the gate when the transport's work ends: returned, dropped with the driver, or killed with it.
struct LinksEnd<'a>(&'a Watched);

impl Drop for LinksEnd<'_> {
    fn drop(&mut self) {
        self.0.scene.with(|state| state.judge_end(self.0.node));
    }
}

#[async_trait]
impl Transport for Watched {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        let _end = LinksEnd(self);
        self.inner.run(hello).await
    }

    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        self.scene.with(|state| state.judge_send(self.node, to, message));
        self.inner.send(to, message)
    }

    async fn recv(&self) -> TransportEvent {
        let event = self.inner.recv().await;
        self.scene.with(|state| {
            let node = self.node;
            match &event {
                TransportEvent::Message { from, message } => {
                    state.run.stats.messages += 1;
                    state.run.log(|| format!("n{node} <- {from} {message:?}"));
                }
                TransportEvent::Link { peer, event } => {
                    state.disturb_link(node, *peer);
                    state.run.log(|| format!("n{node} link to {peer}: {event:?}"));
                }
                TransportEvent::Terms { peer, terms } => {
                    state.run.log(|| format!("n{node} differs from {peer}: {terms}"));
                }
                TransportEvent::Refused { claimed, reason, .. } => {
                    state.run.stats.refused += 1;
                    state.run.log(|| format!("n{node} refused {claimed:?}: {reason:?}"));
                }
            }
        });
        event
    }

    fn directions(&self, peer: NodeId) -> Option<Directions> {
        self.inner.directions(peer)
    }

    fn stats(&self) -> Option<TransportStats> {
        self.inner.stats()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
