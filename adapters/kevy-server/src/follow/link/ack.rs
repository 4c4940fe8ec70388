//! What a link acknowledges to the primary, and when it may.

use super::{End, Link, State};
use crate::position::cuts::Place;
use crate::position::witness;
use kevy_replicate::replica::ReplicaClient;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

impl Link {
    /// A cut is whole: what lies before it may be acknowledged.
    pub(crate) fn allow(self: &Arc<Self>, place: Place) {
        self.state().whole = Some(place);
        self.ack(false);
    }

    /// A cut is on disk on all shards.
    pub(crate) fn allow_durable(self: &Arc<Self>, place: Place) {
        self.state().durable = Some(place);
        self.ack(false);
    }

    /// Whether this shard's part of a cut is on disk.
    pub(crate) fn has_synced(&self, place: Place) -> bool {
        let state = self.state();
        state.flushes == place.flushes && state.synced.is_some_and(|synced| synced >= place.next)
    }

    /// Up to where this shard may acknowledge.
    fn ackable(&self, state: &State) -> Option<u64> {
        if !self.votes() {
            return None;
        }
        let synced = self.shards.acks_after_sync();
        if self.shards.count() == 1 {
            return if synced { state.synced } else { Some(state.next) };
        }
        let whole = if synced { state.durable } else { state.whole };
        let whole = whole.filter(|place| place.flushes == state.flushes)?;
        Some(whole.next.min(state.next))
    }

    /// If something has come that is not acknowledged: when something was.
    pub(crate) fn owes(&self) -> Option<Instant> {
        let state = self.state();
        (self.votes() && state.acked != Some(state.next)).then_some(state.last_ack)
    }

    /// Tells the primary what is held, if the node holds the primary's history and there is news.
    pub(crate) fn ack(self: &Arc<Self>, repeat: bool) {
        if !self.joined() {
            return;
        }
        let mut state = self.state();
        if !state.open || !state.held {
            return;
        }
        if self.shards.acks_after_sync() {
            witness::ask(self, &mut state);
        }
        let Some(ackable) = self.ackable(&state) else { return };
        if state.acked == Some(ackable) && !repeat {
            return;
        }
        if self.origin.credentials.proves() {
            state.due = true;
            drop(state);
            return self.waker.wake();
        }
        let Some(socket) = &state.socket else { return };
        let line = kevy_replicate::wire::encode_replconf_ack(ackable);
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        match rustix::net::send(socket, &line, flags) {
            Ok(sent) if sent == line.len() => {
                state.acked = Some(ackable);
                state.last_ack = Instant::now();
            }
            // The primary does not read: the next acknowledgement covers this one.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // Half a line would make the next one unreadable; and a broken socket is of no use.
            Ok(_) | Err(_) => drop(socket.shutdown(Shutdown::Both)),
        }
    }

    /// Says what is due through `client`, under the lock: once the link is closed nothing is acknowledged any more.
    pub(crate) fn say_due(&self, client: &mut ReplicaClient) -> Result<(), End> {
        let mut state = self.state();
        if !std::mem::take(&mut state.due) {
            return Ok(());
        }
        if !state.open {
            return Err(End::Over);
        }
        // What may be said now, not what it was when it fell due.
        let Some(ackable) = self.ackable(&state).filter(|_| state.held) else { return Ok(()) };
        // It may not wait, and where the primary does not read, half of a sealed line would spoil what follows.
        client.send_ack(ackable).map_err(|error| End::Broken(format!("cannot acknowledge: {error}")))?;
        state.acked = Some(ackable);
        state.last_ack = Instant::now();
        Ok(())
    }
}
