//! Whether a peer is gone is asked with a socket, and a node that gets none any more must be able to ask all the same (T34).

use super::stream::Stream;
use async_io::Async;
use rustix::io::Errno;
use rustix::net::{connect, connect_unspec};
use std::io;
use std::net::{SocketAddr, TcpStream};

/// A socket that was opened while there was one to be had.
#[derive(Debug, Default)]
pub(super) struct Spare(Option<(TcpStream, SocketAddr)>);

impl Spare {
    /// Sees to it that there is one for connections to `address`, if the system gives one.
    pub(super) fn provide(&mut self, address: SocketAddr) {
        if self.0.as_ref().is_none_or(|(_, of)| of.is_ipv4() != address.is_ipv4()) {
            self.0 = open(address).map(|socket| (socket, address));
        }
    }

    /// Connects to `address`, with this socket where the system gives no other.
    pub(super) async fn connect(&mut self, address: SocketAddr) -> io::Result<Stream> {
        match Async::<TcpStream>::connect(address).await {
            Err(error) if is_shortage(&error) && self.0.is_some() => self.connect_itself(address).await,
            outcome => outcome,
        }
    }

    async fn connect_itself(&mut self, address: SocketAddr) -> io::Result<Stream> {
        let Some((socket, _)) = &self.0 else { return Err(io::ErrorKind::NotFound.into()) };
        let attempt = Attempt(socket);
        match connect(socket, &address) {
            Err(Errno::INPROGRESS) => Async::new_nonblocking(socket)?.writable().await?,
            outcome => outcome?,
        }
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        std::mem::forget(attempt);
        match self.0.take() {
            Some((socket, _)) => Async::new_nonblocking(socket),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// An attempt to connect. If nothing comes of it the socket is as new afterwards: an answer that came too late must not be taken
/// for that of the next attempt.
struct Attempt<'a>(&'a TcpStream);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let _ = connect_unspec(self.0);
        let _ = self.0.take_error();
    }
}

/// Whether the system had no socket to give.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

#[cfg(target_os = "linux")]
fn open(address: SocketAddr) -> Option<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None).ok().map(TcpStream::from)
}

/// Elsewhere a socket whose attempt failed may be good for nothing.
#[cfg(not(target_os = "linux"))]
fn open(_: SocketAddr) -> Option<TcpStream> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::super::timer::within;
    use super::*;
    use crate::time::Duration;
    use futures::executor::block_on;
    use std::net::TcpListener;

    const SOON: Duration = Duration::from_millis(100);

    #[test]
    fn t32_one_socket_asks_as_often_as_it_takes_and_hears_each_time_what_is_so_now() {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap();
        rustix::net::listen(&door, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, SOON) {
            waiting.push(stream);
        }
        let mut spare = Spare::default();
        spare.provide(address);
        let refused = |spare: &mut Spare| {
            let answer = block_on(spare.connect_itself(address));
            assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        };
        assert!(block_on(within(SOON, spare.connect_itself(address))).is_none(), "the queue is full");
        drop(door);
        refused(&mut spare);
        refused(&mut spare);
        drop(waiting);
        let door = TcpListener::bind(address).unwrap();
        let stream = block_on(spare.connect_itself(address)).unwrap();
        assert_eq!(door.accept().unwrap().1, stream.get_ref().local_addr().unwrap());
        assert_eq!(stream.get_ref().peer_addr().unwrap(), address);
    }

    #[test]
    fn t32_there_is_one_for_the_kind_of_address_that_is_asked() {
        let mut spare = Spare::default();
        for address in ["127.0.0.1:1", "[::1]:1", "127.0.0.1:2"] {
            let address: SocketAddr = address.parse().unwrap();
            spare.provide(address);
            assert!(spare.0.as_ref().is_none_or(|(_, of)| of.is_ipv4() == address.is_ipv4()));
        }
        assert!(spare.0.is_some());
    }
}
