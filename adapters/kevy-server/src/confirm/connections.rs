//! Finds connections that kevy accepted, and ends them.
//!
//! kevy has no way to end a connection from outside, and its shards may hang. The kernel has one. The descriptors are
//! kevy's, so each is looked at through a duplicate: whatever kevy does with its number meanwhile, the duplicate is the
//! connection that was looked at. The kernel makes one when it hands a descriptor over a pair of sockets, which containers
//! allow too (`pidfd_getfd`, which is meant for it, is forbidden in many).

use kevy_config::Config;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, sendmsg};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg, shutdown, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where connections come in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) ports: Vec<u16>,
    /// For clients on the same machine.
    pub(crate) path: Option<PathBuf>,
}

/// Whose connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose<'a> {
    All,
    /// Those from one of these addresses.
    Of(&'a [SocketAddrV4]),
    /// Those whose other end is gone, but which kevy has not closed.
    Dead,
}

impl Listeners {
    /// Where clients of `kevy` come in.
    pub(crate) fn of_clients(kevy: &Config) -> Self {
        let mut ports = vec![kevy.server.port];
        if kevy.cluster.enabled {
            ports.extend(per_shard(cluster_base(kevy), kevy.server.threads.max(1)));
        }
        let path = std::env::var_os("KEVY_UNIX_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { ports, path }
    }

    /// Where replicas come in for the streams of `shards`.
    pub(crate) fn of_streams(first: u16, shards: usize) -> Self {
        Self { ports: per_shard(first, shards).collect(), path: None }
    }

    /// The connections that were accepted here. Only those that kevy had accepted before the call are certain to be met.
    pub(crate) fn accepted(&self, whose: Whose<'_>) -> io::Result<Vec<OwnedFd>> {
        let mut found = Vec::new();
        self.each(whose, |socket| found.push(socket))?;
        Ok(found)
    }

    /// Likewise, one after the other: whoever lets go of each needs one more descriptor only.
    pub(crate) fn each(&self, whose: Whose<'_>, mut found: impl FnMut(OwnedFd)) -> io::Result<()> {
        let mirror = Mirror::new()?;
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
            // Cheap, and sorts out almost all: a number of something else, or one that is gone.
            if !self.is_at(number) {
                continue;
            }
            match mirror.duplicate(number) {
                Ok(socket) if self.is_at(socket.as_raw_fd()) && is_of(&socket, whose) => found(socket),
                Ok(_) | Err(Errno::BADF) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends them: their readers get the end of the stream, and no answer leaves any more. Says how many there were.
    pub(crate) fn end(&self, whose: Whose<'_>) -> io::Result<usize> {
        let mut ended = 0;
        self.each(whose, |socket| ended += usize::from(shutdown(&socket, Shutdown::Both).is_ok()))?;
        Ok(ended)
    }

    fn is_at(&self, socket: RawFd) -> bool {
        let Ok(own) = nix::sys::socket::getsockname::<SockaddrStorage>(socket) else { return false };
        let port = own.as_sockaddr_in().map(SockaddrIn::port);
        match port.or_else(|| own.as_sockaddr_in6().map(SockaddrIn6::port)) {
            Some(port) => self.ports.contains(&port),
            None => self
                .path
                .as_deref()
                .is_some_and(|path| own.as_unix_addr().is_some_and(|own| own.path() == Some(path))),
        }
    }
}

/// The first port of kevy's cluster mode.
pub(crate) fn cluster_base(kevy: &Config) -> u16 {
    match kevy.cluster.port_base {
        0 => kevy.server.port.saturating_add(1),
        base => base,
    }
}

fn per_shard(base: u16, shards: usize) -> impl Iterator<Item = u16> {
    (0..shards).filter_map(move |n| base.checked_add(u16::try_from(n).ok()?))
}

fn is_of(socket: &OwnedFd, whose: Whose<'_>) -> bool {
    if sockopt::socket_acceptconn(socket).unwrap_or(true) {
        return false;
    }
    match whose {
        Whose::All => true,
        Whose::Dead => nix::sys::socket::getpeername::<SockaddrStorage>(socket.as_raw_fd()).is_err(),
        Whose::Of(peers) => peer_of(socket).is_some_and(|peer| peers.contains(&peer)),
    }
}

/// Where the other end of a connection is; nothing if it is gone, or not of IPv4, which is all that kevy takes at the ports of its streams.
pub(crate) fn peer_of(socket: &OwnedFd) -> Option<SocketAddrV4> {
    let peer = nix::sys::socket::getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    peer.as_sockaddr_in().map(|peer| SocketAddrV4::new(peer.ip(), peer.port()))
}

/// Duplicates descriptors that somebody else owns.
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

    fn duplicate(&self, number: RawFd) -> Result<OwnedFd, Errno> {
        let rights = [number];
        sendmsg::<()>(
            self.into.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&rights)],
            MsgFlags::empty(),
            None,
        )
        .map_err(|error| Errno::from_raw_os_error(error as i32))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.out, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let duplicate = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        // The kernel hands none over where this process may not have one more.
        duplicate.ok_or(Errno::MFILE)
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
        let (listeners, others) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listeners.local_addr().unwrap().port();
        let (mut first, _held) = accepted(&listeners);
        let (mut second, mut kept) = accepted(&listeners);
        let (mut other, mut other_end) = accepted(&others);
        let SocketAddr::V4(from) = first.local_addr().unwrap() else { panic!("an IPv4 address") };
        let here = Listeners { ports: vec![port], path: None };
        assert_eq!(here.end(Whose::Of(&[from])).unwrap(), 1);
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0);
        kept.write_all(b"x").unwrap();
        second.read_exact(&mut [0]).unwrap();
        assert_eq!(here.end(Whose::All).unwrap(), 2, "the one that had ended already is still open");
        assert_eq!(second.read(&mut [0; 8]).unwrap(), 0);
        assert!(kept.write_all(b"x").is_err(), "no answer leaves any more");
        other_end.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
        let (_new, _still) = accepted(&listeners);
        assert_eq!(here.end(Whose::Dead).unwrap(), 0);
    }
}
