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
use std::collections::BTreeMap;
use std::fmt;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

pub(super) struct Shared {
    links: Mutex<Links>,
    /// Peers that nobody dials yet.
    met: Mutex<Met>,
    /// Where each peer is looked for: `host:port`.
    places: Mutex<BTreeMap<NodeId, Arc<str>>>,
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
    peers: Vec<NodeId>,
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
        places: impl IntoIterator<Item = (NodeId, String)>,
        sessions: Arc<dyn Sessions>,
        watch: Option<Arc<dyn SocketWatch>>,
        passes: Option<Arc<dyn Passes>>,
    ) -> Self {
        let places = places.into_iter().map(|(peer, address)| (peer, address.into())).collect();
        let (links, places) = (Mutex::new(links), Mutex::new(places));
        Self { links, met: Mutex::default(), places, sessions, watch, passes }
    }

    /// What this node says to `peer`, which it dials.
    pub(super) fn hello_to(&self, peer: NodeId, hello: &Hello) -> Hello {
        let pass = self.passes.as_ref().map(|passes| passes.for_peer(peer));
        Hello { pass, ..self.links().greeting(hello) }
    }

    /// One more peer, which is to be dialled there.
    pub(super) fn meet(&self, peer: NodeId, address: &str, terms: &str) {
        if self.links().meet(peer, terms) {
            self.places().insert(peer, address.into());
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            met.peers.push(peer);
            met.runner.take().into_iter().for_each(Waker::wake);
        }
    }

    /// The peer is to be dialled there from now on (T44).
    pub(super) fn relocate(&self, peer: NodeId, address: &str) {
        let mut places = self.places();
        let Some(place) = places.get_mut(&peer).filter(|place| ***place != *address) else { return };
        *place = address.into();
        drop(places);
        self.links().seek(peer);
    }

    /// Where a peer is looked for now.
    pub(super) fn place(&self, peer: NodeId) -> Option<Arc<str>> {
        self.places().get(&peer).cloned()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<str>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that nobody dials yet; `runner` is woken when there are more.
    pub(super) fn take_met(&self, runner: &Waker) -> Vec<NodeId> {
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
