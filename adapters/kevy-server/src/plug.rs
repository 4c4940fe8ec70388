//! Pulls the plug: ends all client connections before the replies in them can leave.
//!
//! A write asks the gate, is done, and is answered a little later. If the process is stopped in between
//! for longer than its lease, the answer would leave on waking, while another primary writes. kevy has no
//! way to take an answer back, but a connection that is shut down carries none: the client sees its
//! connection end and does not know whether the write was done, which is the truth.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{AddressFamily, Shutdown, getsockname, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::io;

/// Ends every connection on `port`, and every one over a Unix socket. Where that cannot be done the process
/// ends instead: an acknowledgement that must not leave is worse than a restart.
pub(crate) fn pull(port: u16) {
    match end_connections(port) {
        Ok(ended) => eprintln!(
            "kevy-server: the lease ran out while writes were under way (was the process stopped?): \
             {ended} client connections ended instead of acknowledging them"
        ),
        Err(error) => {
            eprintln!(
                "kevy-server: the lease ran out while writes were under way, and client connections \
                 cannot be ended ({error}): ending the process instead"
            );
            std::process::abort();
        }
    }
}

fn end_connections(port: u16) -> io::Result<usize> {
    // The sockets are kevy's. A descriptor of our own for each of them comes by way of the process itself.
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let socket = match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            // The listing's own, or one that was closed meanwhile.
            Err(Errno::BADF) => continue,
            Err(error) => return Err(error.into()),
        };
        if is_client(&socket, port) && shutdown(&socket, Shutdown::Both).is_ok() {
            ended += 1;
        }
    }
    Ok(ended)
}

fn is_client(socket: &OwnedFd, port: u16) -> bool {
    // A listener must live on.
    if socket_acceptconn(socket).unwrap_or(true) {
        return false;
    }
    let Ok(address) = getsockname(socket) else { return false };
    match address.address_family() {
        AddressFamily::UNIX => true,
        _ => std::net::SocketAddr::try_from(address).is_ok_and(|address| address.port() == port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn clients_of_the_port_are_cut_off_and_nobody_else() {
        let (ours, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = ours.local_addr().unwrap().port();
        let mut client = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        let (mut served, _) = ours.accept().unwrap();
        let mut elsewhere = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        let (mut kept, _) = other.accept().unwrap();

        assert_eq!(end_connections(port).unwrap(), 1);

        assert_eq!(served.write_all(b"+OK\r\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "nothing was acknowledged");
        kept.write_all(b"+OK\r\n").unwrap();
        assert_eq!(elsewhere.read(&mut [0; 8]).unwrap(), 5);
        let again = TcpStream::connect(ours.local_addr().unwrap());
        assert!(again.is_ok(), "the door stays open");
    }
}
