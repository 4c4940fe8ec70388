//! The beginning and the end of a transport's work.

use super::Links;
use super::peer::Peer;
use std::task::Waker;

impl Links {
    /// No more messages are taken.
    pub(in crate::transport) fn begin_close(&mut self) {
        self.closing = true;
    }

    /// Whether all that was taken is written; `closer` is woken when that may have changed.
    pub(in crate::transport) fn flushed(&mut self, closer: &Waker) -> bool {
        self.closer = Some(closer.clone());
        self.closed || self.peers.values().all(|p| p.outbox.is_empty() && !p.writing)
    }

    /// Whether nothing runs any more; `closer` is woken when that may have changed.
    pub(in crate::transport) fn stopped(&mut self, closer: &Waker) -> bool {
        self.closer = Some(closer.clone());
        !self.running
    }

    /// The work begins; `false`: it must not, because all is closed.
    pub(in crate::transport) fn begin_run(&mut self) -> bool {
        self.running = !self.closed;
        self.running
    }

    /// Ends everything.
    pub(in crate::transport) fn finish_close(&mut self) {
        self.closed = true;
        self.runner.take().into_iter().for_each(|runner| self.wakes.add(runner));
    }

    /// Whether everything has to end; `runner` is woken when it has to.
    pub(in crate::transport) fn is_closed(&mut self, runner: &Waker) -> bool {
        self.runner = Some(runner.clone());
        self.closed
    }

    /// The sockets are gone: nobody is linked any more, and nobody is told.
    pub(in crate::transport) fn end_run(&mut self) {
        self.running = false;
        self.peers.values_mut().for_each(Peer::forget_links);
        self.closer.take().into_iter().for_each(|closer| self.wakes.add(closer));
    }
}
