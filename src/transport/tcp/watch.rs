//! Whoever wants to know the sockets by which peers see that this process lives, for example to end them when the process is
//! dead and its kernel has not come round to it yet.

use rustix::fd::AsFd;
use rustix::net::{Shutdown, shutdown};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;

/// Told of the sockets of a [`TcpTransport`](super::TcpTransport): see
/// [`TcpTransportBuilder::watch`](super::TcpTransportBuilder::watch).
///
/// The methods are called by the election's thread and must not block. What they return is dropped when the socket is about to
/// be closed; a watcher may keep duplicates (`try_clone`) and must close them then. Until it does, the transport still ends the
/// connection itself, in the way in which it would have ended without duplicates.
///
/// Evidence of death rests on this (T5 to T11 of `docs/protocol.md`): whoever ends one of these sockets while the process can
/// still answer a client may make two primaries.
pub trait SocketWatch: Send + Sync + 'static {
    /// The socket that peers connect to is open.
    fn listening(&self, socket: &TcpListener) -> Box<dyn Send>;
    /// A link is established, in either direction.
    fn linked(&self, socket: &TcpStream) -> Box<dyn Send>;
}

/// A socket, and what the watcher gave for it.
#[derive(Debug)]
pub(super) struct Watched<S: AsFd> {
    told: Option<Told>,
    socket: S,
}

struct Told {
    _until_closed: Box<dyn Send>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl<S: AsFd> Watched<S> {
    /// A socket that nobody was told of.
    pub(super) fn new(socket: S) -> Self {
        Self { told: None, socket }
    }

    /// Tells, where somebody watches.
    pub(super) fn tell(&mut self, tell: impl FnOnce(&S) -> Option<Box<dyn Send>>) {
        self.told = tell(&self.socket).map(|until_closed| Told { _until_closed: until_closed });
    }

    /// Whether somebody may hold duplicates.
    #[cfg(target_os = "linux")]
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }
}

impl<S: AsFd> Deref for Watched<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.socket
    }
}

impl<S: AsFd> Drop for Watched<S> {
    fn drop(&mut self) {
        if self.told.take().is_some() {
            // Closing alone would leave the connection, or the open port, to the duplicates.
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
    }
}
