//! Takes clients' connections away from kevy, so that what it still writes to them reaches nobody.
//!
//! kevy has no way to close a client from outside, and its shards may hang. A TCP socket that is disconnected can be
//! connected anew. So the socket behind kevy's descriptor is disconnected, which resets the client's connection, and then
//! connected to a listener of this process that reads and forgets. kevy finds its client gone, writes the rest into the sink,
//! and closes. Shutting the socket down instead would leave kevy with an answer that it can never write, which it tries for
//! ever (`docs/upstream.md`).

use crate::confirm::connections::{Listeners, Whose};
use crate::inline::Inline;
use async_io::{Async, Timer};
use futures::AsyncReadExt;
use futures::future::{Either, select};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{connect, connect_unspec, sockopt};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

/// The sink stays open for so long after the last connection that was led there.
const SINK_IDLE: Duration = Duration::from_secs(5);
/// One connection is read for at most so long: kevy closes when it has written what it owes.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// The longest wait for the system to connect to the sink, which is in this process.
const CONNECT_MAX: Duration = Duration::from_millis(50);

/// For the connections of kevy's clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sink(Listeners);

impl Sink {
    /// For clients that come in at `listeners`.
    pub(crate) fn new(listeners: Listeners) -> Self {
        Self(listeners)
    }

    /// Leads clients' connections into a sink; says how many there were. `Err`: some may be left.
    pub(crate) fn swallow(&self, whose: Whose<'_>) -> io::Result<usize> {
        if whose == Whose::All && self.0.path.is_some() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "clients that come in over a path stay"));
        }
        let found = Listeners { path: None, ..self.0.clone() }.accepted(whose)?;
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

    /// The same, and where they cannot be led away they are shut down, which may cost a processor until a restart.
    pub(crate) fn swallow_or_end(&self) -> io::Result<usize> {
        self.swallow(Whose::All).or_else(|_| self.0.end(Whose::All))
    }
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
        (client, server, Sink::new(Listeners { ports: vec![port], path: None }))
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
