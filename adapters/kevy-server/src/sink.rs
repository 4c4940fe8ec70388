//! Takes clients' connections away from kevy, so that what it still writes to them reaches nobody.
//!
//! kevy has no way to close a client from outside, and its shards may hang. The system has one: a process may duplicate
//! its own descriptors by number (`pidfd_getfd`), and a TCP socket that is disconnected can be connected anew. So the
//! socket behind kevy's descriptor is disconnected, which resets the client's connection, and then connected to a
//! listener of this process that reads and forgets. kevy finds its client gone, writes the rest into the sink, and closes.
//! Shutting the socket down instead would leave kevy with an answer that it can never write, which it tries for ever
//! (`docs/upstream.md`).

use crate::inline::Inline;
use async_io::{Async, Timer};
use futures::AsyncReadExt;
use futures::future::{Either, select};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{SocketAddrAny, SocketType, connect, connect_unspec, getpeername, getsockname, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::time::Duration;

/// The sink stays open for so long after the last connection that was led there.
const SINK_IDLE: Duration = Duration::from_secs(5);
/// One connection is read for at most so long: kevy closes when it has written what it owes.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// The longest wait for the system to connect to the sink, which is in this process.
const CONNECT_MAX: Duration = Duration::from_millis(50);

/// Whose connections to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those of all clients.
    All,
    /// Those whose client is gone, but which kevy has not closed.
    Dead,
}

/// Where kevy's clients come in.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    ports: Vec<RangeInclusive<u16>>,
    /// Clients come in over a path too, and those cannot be led away.
    paths: bool,
}

impl Sink {
    /// For clients that come in at `ports`.
    pub(crate) fn new(ports: Vec<RangeInclusive<u16>>, paths: bool) -> Self {
        Self { ports, paths }
    }

    /// Leads clients' connections into a sink; says how many there were. `Err`: some may be left.
    ///
    /// Only connections that kevy had accepted before the call are certain to be met.
    pub(crate) fn swallow(&self, whose: Whose) -> io::Result<usize> {
        if whose == Whose::All && self.paths {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "clients that come in over a path stay"));
        }
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A duplicate, and only then a look at what it is: the number may mean another file by now.
            match pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) {
                Ok(socket) if self.is_wanted(&socket, whose) => found.push(socket),
                Ok(_) | Err(rustix::io::Errno::BADF) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if found.is_empty() {
            return Ok(0);
        }
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = door.local_addr()?;
        Inline::get()?.spawn(drink(Async::new(door)?));
        for socket in &found {
            lead(socket, address)?;
        }
        Ok(found.len())
    }

    fn is_wanted(&self, socket: &OwnedFd, whose: Whose) -> bool {
        let stream = sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM);
        if !stream || sockopt::socket_acceptconn(socket).unwrap_or(true) {
            return false;
        }
        let port = getsockname(socket).ok().and_then(port);
        let client = port.is_some_and(|port| self.ports.iter().any(|ports| ports.contains(&port)));
        client && (whose == Whose::All || getpeername(socket).is_err())
    }
}

fn port(address: SocketAddrAny) -> Option<u16> {
    SocketAddr::try_from(address).ok().map(|address| address.port())
}

fn lead(socket: &OwnedFd, sink: SocketAddr) -> io::Result<()> {
    connect_unspec(socket)?;
    // The system connects within the call, unless its queue is full.
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Send, Some(CONNECT_MAX))?;
    match connect(socket, &sink) {
        // The client is gone in any case; kevy may not get rid of its answer.
        Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads and forgets.
async fn drink(door: Async<TcpListener>) {
    let Ok(inline) = Inline::get() else { return };
    loop {
        let next = pin!(door.accept());
        match select(next, Timer::after(SINK_IDLE)).await {
            Either::Left((Ok((mut stream, _)), _)) => inline.spawn(async move {
                // Lets kevy see that its client has nothing more to say.
                drop(stream.get_ref().shutdown(Shutdown::Write));
                let read = pin!(async move {
                    let mut buffer = vec![0; 16 * 1024];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                });
                select(read, Timer::after(DRAIN_MAX)).await;
            }),
            Either::Left((Err(_), _)) => {
                Timer::after(Duration::from_millis(10)).await;
            }
            Either::Right(_) => return,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn pair() -> (TcpStream, TcpStream, Sink) {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = door.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let server = door.accept().unwrap().0;
        (client, server, Sink::new(vec![port..=port], false))
    }

    #[test]
    fn what_is_written_after_it_reaches_nobody_and_the_writer_gets_rid_of_it() {
        let (mut client, mut server, sink) = pair();
        server.write_all(b"before").unwrap();
        let mut got = [0; 6];
        client.read_exact(&mut got).unwrap();
        assert_eq!(sink.swallow(Whose::Dead).unwrap(), 0, "its client lives");
        assert_eq!(sink.swallow(Whose::All).unwrap(), 1);
        server.write_all(&vec![7; 1 << 20]).unwrap();
        assert_eq!(server.read(&mut got).unwrap(), 0, "its client has nothing more to say");
        assert!(client.read(&mut got).map_or(true, |read| read == 0), "the client got something");
    }

    #[test]
    fn the_dead_are_told_from_the_living() {
        let (client, mut server, sink) = pair();
        let (other, _, _) = pair();
        server.write_all(b"never read").unwrap();
        // With something unread, closing resets.
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        let start = std::time::Instant::now();
        while sink.swallow(Whose::Dead).unwrap() == 0 {
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        server.write_all(b"an answer").unwrap();
        drop(other);
    }
}
