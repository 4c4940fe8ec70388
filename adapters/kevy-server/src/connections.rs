//! Ends connections that kevy accepted.
//!
//! kevy has no way to end a replica's connection, and none to end what a client waits for. The kernel has one: a
//! connection that is shut down gives the end of the stream to its reader, and takes no answer any more. The
//! descriptors are kevy's, so each is looked at through a duplicate: whatever kevy does with its number meanwhile, the
//! duplicate is the connection that was looked at.

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg, shutdown};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Which connections to end, by the port on which they were accepted and by who is at the other end.
#[derive(Debug)]
pub(crate) enum Which<'a> {
    /// All that were accepted on one of these ports, and at this path.
    On { ports: &'a [u16], path: Option<&'a Path> },
    /// Those on one of these ports from one of these addresses.
    From { ports: &'a [u16], peers: &'a [SocketAddrV4] },
}

/// Ends them. Says how many.
pub(crate) fn end(which: &Which<'_>) -> io::Result<usize> {
    let mirror = Mirror::new()?;
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        // Cheap, and sorts out almost all: a number of something else, or one that is gone.
        if !nix::sys::socket::getsockname::<SockaddrStorage>(number).is_ok_and(|own| which.is_at(&own)) {
            continue;
        }
        let Ok(socket) = mirror.duplicate(number) else { continue };
        if which.names(&socket) && shutdown(&socket, Shutdown::Both).is_ok() {
            ended += 1;
        }
    }
    Ok(ended)
}

impl Which<'_> {
    /// Whether they are accepted there.
    fn is_at(&self, own: &SockaddrStorage) -> bool {
        let (Self::On { ports, .. } | Self::From { ports, .. }) = self;
        let port = own.as_sockaddr_in().map(SockaddrIn::port);
        match port.or_else(|| own.as_sockaddr_in6().map(SockaddrIn6::port)) {
            Some(port) => ports.contains(&port),
            None => match self {
                Self::On { path: Some(path), .. } => {
                    own.as_unix_addr().is_some_and(|own| own.path() == Some(path))
                }
                _ => false,
            },
        }
    }

    fn names(&self, socket: &OwnedFd) -> bool {
        let fd = socket.as_raw_fd();
        let own = nix::sys::socket::getsockname::<SockaddrStorage>(fd);
        // A listening socket has no peer.
        let Ok(peer) = nix::sys::socket::getpeername::<SockaddrStorage>(fd) else { return false };
        own.is_ok_and(|own| self.is_at(&own))
            && match self {
                Self::On { .. } => true,
                Self::From { peers, .. } => peer
                    .as_sockaddr_in()
                    .is_some_and(|peer| peers.contains(&SocketAddrV4::new(peer.ip(), peer.port()))),
            }
    }
}

/// Duplicates descriptors that somebody else owns: the kernel makes one when it hands one over.
struct Mirror {
    into: UnixDatagram,
    out: UnixDatagram,
}

impl Mirror {
    fn new() -> io::Result<Self> {
        let (into, out) = UnixDatagram::pair()?;
        // Nothing waits here: what was sent is there.
        out.set_nonblocking(true)?;
        Ok(Self { into, out })
    }

    fn duplicate(&self, number: RawFd) -> io::Result<OwnedFd> {
        let rights = [number];
        sendmsg::<()>(
            self.into.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&rights)],
            MsgFlags::empty(),
            None,
        )?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.out, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let duplicate = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        duplicate.ok_or_else(|| io::Error::other("the kernel handed no descriptor over"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn accepted(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn the_accepted_ones_end_and_nothing_else_does() {
        let (doors, others) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = doors.local_addr().unwrap().port();
        let (mut first, _held) = accepted(&doors);
        let (mut second, mut kept) = accepted(&doors);
        let (mut other, mut other_end) = accepted(&others);
        let SocketAddr::V4(from) = first.local_addr().unwrap() else { panic!("an IPv4 address") };
        assert_eq!(end(&Which::From { ports: &[port], peers: &[from] }).unwrap(), 1);
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0);
        kept.write_all(b"x").unwrap();
        second.read_exact(&mut [0]).unwrap();
        assert_eq!(
            end(&Which::On { ports: &[port], path: None }).unwrap(),
            2,
            "the one that had ended already is still open"
        );
        assert_eq!(second.read(&mut [0; 8]).unwrap(), 0);
        assert!(kept.write_all(b"x").is_err(), "no answer leaves any more");
        other_end.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
        let (_new, _still) = accepted(&doors);
    }
}
