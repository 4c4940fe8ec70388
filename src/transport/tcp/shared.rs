//! What the tasks of one transport share.

use super::passes::Passes;
use super::stream::Stream;
use super::watch::{SocketWatch, Watched};
use crate::ids::NodeId;
use crate::message::Hello;
use crate::transport::links::Links;
use crate::transport::session::Sessions;
use crate::transport::wakes::Locked;
use async_io::Async;
use futures::future::poll_fn;
use std::fmt;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

pub(super) struct Shared {
    links: Mutex<Links>,
    /// Peers that nobody dials yet, and where they are.
    met: Mutex<Met>,
    pub(super) sessions: Arc<dyn Sessions>,
    watch: Option<Arc<dyn SocketWatch>>,
    passes: Option<Arc<dyn Passes>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("links", &self.links).finish_non_exhaustive()
    }
}

/// What is to be dialled from now on, and who does it.
#[derive(Default)]
struct Met {
    peers: Vec<(NodeId, String)>,
    runner: Option<Waker>,
}

/// What every task is given.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    /// What this node says of itself.
    pub(super) hello: &'a Hello,
}

impl Shared {
    pub(super) fn new(
        links: Links,
        sessions: Arc<dyn Sessions>,
        watch: Option<Arc<dyn SocketWatch>>,
        passes: Option<Arc<dyn Passes>>,
    ) -> Self {
        Self { links: Mutex::new(links), met: Mutex::default(), sessions, watch, passes }
    }

    /// What this node says to `peer`, which it dials.
    pub(super) fn hello_to(&self, peer: NodeId, hello: &Hello) -> Hello {
        let pass = self.passes.as_ref().map(|passes| passes.for_peer(peer));
        Hello { pass, ..self.links().greeting(hello) }
    }

    /// One more peer, which is to be dialled there.
    pub(super) fn meet(&self, peer: NodeId, address: &str, terms: &str) {
        if self.links().meet(peer, terms) {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            met.peers.push((peer, address.to_owned()));
            met.runner.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Those that nobody dials yet; `runner` is woken when there are more.
    pub(super) fn take_met(&self, runner: &Waker) -> Vec<(NodeId, String)> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.runner = Some(runner.clone());
        std::mem::take(&mut met.peers)
    }

    pub(super) fn links(&self) -> Locked<'_, Links> {
        Locked::new(&self.links)
    }

    /// Completes when there is room for what will be told of a new link.
    pub(super) async fn room(&self) {
        poll_fn(|cx| match self.links().has_room(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// The socket that peers connect to is open.
    pub(super) fn tell_listening(&self, listener: &mut Watched<Async<TcpListener>>) {
        listener.tell(|socket| Some(self.watch.as_ref()?.listening(socket.get_ref())));
    }

    /// Both ends said `HELLO` on this connection.
    pub(super) fn tell_linked(&self, stream: &mut Watched<Stream>) {
        stream.tell(|socket| Some(self.watch.as_ref()?.linked(socket.get_ref())));
    }
}
