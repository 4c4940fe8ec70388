//! A link's thread: dials, follows until the connection ends, and dials again.

use super::{End, Link, reached};
use crate::confirm::names::Name;
use crate::continuation::path::Why;
use crate::continuation::resume::{Outcome, resume};
use crate::follow::session::Session;
use crate::follow::trail::Trail;
use kevy_replicate::feed::FeedPosition;
use kevy_replicate::replica::{ConnectOptions, ReplicaClient};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// First and longest pause between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(250);
/// Longest pause after a snapshot that was not loaded: each one costs its sender as much as a good one.
const RETRY_REFUSED_MAX: Duration = Duration::from_secs(2);

impl Link {
    /// The body of the link's thread: follows until closed.
    pub(crate) fn run(self: &Arc<Self>) {
        let (mut pause, mut trail) = (RETRY_MIN, None);
        let link = Arc::downgrade(self);
        self.shards.set_told_of_loss(self.shard, move |reason| {
            if let Some(link) = link.upgrade() {
                link.lost(reason);
            }
        });
        loop {
            let end = self.session(&mut trail);
            let mut state = self.state();
            let end = state.lost.take().map_or(end, End::Broken);
            if !state.open {
                return;
            }
            let (trouble, pause_max) = match end {
                // The stream was good until it ended: the next one may be so at once.
                End::Over => (None, RETRY_MIN),
                End::Broken(reason) => (Some(reason), RETRY_MAX),
                End::Refused(reason) => (Some(reason), RETRY_REFUSED_MAX),
            };
            // Told once, not with every attempt.
            if let Some(reason) = trouble.as_ref().filter(|_| trouble != state.trouble) {
                let (host, port) = (self.origin.addresses.site().host, self.port());
                eprintln!(
                    "kevy-server: shard {}: stream of {host}:{port}: {reason}; trying again",
                    self.shard
                );
            }
            state.trouble = trouble;
            drop(self.closed.wait_timeout_while(state, pause.min(pause_max), |state| state.open));
            pause = (pause * 2).min(pause_max);
        }
    }

    fn port(&self) -> u32 {
        u32::from(self.origin.addresses.site().stream_port) + self.shard as u32
    }

    /// One connection, from dialling to its end.
    ///
    /// `trail`: what is written while a copy comes, also across connections.
    fn session(self: &Arc<Self>, trail: &mut Option<Trail>) -> End {
        if !self.state().held {
            *trail = None;
            match resume(self) {
                Ok(Outcome::Continues) => {}
                Ok(Outcome::Copies(why)) => {
                    self.copies(why);
                    *trail = self.begin_trail();
                }
                Err(end) => return end,
            }
        }
        let (mut client, socket) = match self.dial() {
            Ok(Some(dialled)) => dialled,
            Ok(None) => return End::Over,
            Err(reason) => return End::Broken(reason),
        };
        log::debug!("shard {}: connected to the stream of epoch {}", self.shard, self.origin.epoch);
        let mut session = Session::new(self, client.primary_at_handshake().generation, trail.take());
        let end = session.follow(&mut client, &socket);
        *trail = session.trail.take();
        let mut state = self.state();
        (state.socket, state.copy) = (None, None);
        drop(state);
        end.err().unwrap_or(End::Over)
    }

    /// Keeps what is written while a copy comes. Without it the primary has to.
    fn begin_trail(self: &Arc<Self>) -> Option<Trail> {
        let begun = Trail::start(self, None);
        begun
            .inspect_err(|error| {
                log::warn!("shard {}: cannot keep what is written during a copy: {error}", self.shard)
            })
            .ok()
    }

    /// Says why a copy is made; once, not with every attempt.
    fn copies(&self, why: Why) {
        if self.state().why.replace(why) != Some(why) {
            eprintln!("shard {}: copies the data of epoch {}: {why}", self.shard, self.origin.epoch);
        }
    }

    /// A connection to the primary; `None`: closed meanwhile.
    fn dial(&self) -> Result<Option<(ReplicaClient, TcpStream)>, String> {
        let (from, named) = {
            let state = self.state();
            (reached(&state), state.named)
        };
        let port = u16::try_from(self.port()).map_err(|_| "the port is above 65535".to_owned())?;
        let resume =
            if from.held { FeedPosition::new(from.generation, from.next) } else { FeedPosition::new(0, 0) };
        // One name for one connection: see `names.rs`.
        let name = Name {
            node: self.origin.node.clone(),
            epoch: self.origin.epoch,
            flushes: named,
            dialled: Name::now(),
        };
        let options = ConnectOptions::new(name.spell(self.origin.client_port, self.shard))
            .with_from(resume)
            .with_timeout(CONNECT_TIMEOUT);
        let (client, ip) = self
            .origin
            .addresses
            .try_each(|ip| self.origin.credentials.connect(SocketAddr::new(ip, port), &options))?;
        self.origin.addresses.worked(ip);
        let socket = client.socket_handle().map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let for_others = socket.try_clone().map_err(|error| error.to_string())?;
        let mut state = self.state();
        if !state.open {
            return Ok(None);
        }
        state.socket = Some(for_others);
        state.last_heard = Instant::now();
        (state.acked, state.due) = (None, false);
        Ok(Some((client, socket)))
    }
}
