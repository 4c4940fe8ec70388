//! Waits for ports that a process which is gone still holds.
//!
//! The kernel gives the listening sockets of a killed process back a little later, on a busy machine some seconds; kevy takes
//! them for those of another server after 200 ms, and ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A port that nobody has refuses at once.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);

/// Opens a listening socket, once whoever had the port has given it back.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let mut wait = Wait::new(WAIT_MAX);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && wait.goes_on(address.port()) => {}
            bound => return bound,
        }
    }
}

/// Returns once nobody listens on `port` any more, or when that takes too long: kevy says then what is wrong.
pub(crate) fn until_free(bind: Ipv4Addr, ports: impl Iterator<Item = u16>) {
    let ip = if bind.is_unspecified() { Ipv4Addr::LOCALHOST } else { bind };
    let mut wait = Wait::new(WAIT_MAX);
    for port in ports {
        let address = SocketAddr::new(IpAddr::V4(ip), port);
        while TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok() && wait.goes_on(port) {}
    }
}

struct Wait {
    until: Instant,
    said: bool,
}

impl Wait {
    fn new(duration: Duration) -> Self {
        Self { until: Instant::now() + duration, said: false }
    }

    /// Waits a little. False: long enough.
    fn goes_on(&mut self, port: u16) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        if !self.said {
            eprintln!(
                "kevy-server: port {port} is still taken, by a process that has just ended perhaps; waiting up to {} s",
                WAIT_MAX.as_secs()
            );
            self.said = true;
        }
        std::thread::sleep(LOOK_INTERVAL);
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    /// A port that is given back after a while.
    fn lingering() -> (SocketAddr, std::thread::JoinHandle<()>) {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let dying = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(600));
            drop(held);
        });
        (address, dying)
    }

    #[test]
    fn a_port_of_a_dead_process_is_waited_for() {
        let (address, dying) = lingering();
        assert_eq!(listen(address).unwrap().local_addr().unwrap(), address);
        dying.join().unwrap();
        let (address, dying) = lingering();
        until_free(Ipv4Addr::UNSPECIFIED, [address.port()].into_iter());
        dying.join().unwrap();
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_port_that_stays_taken_is_not_waited_for_for_ever() {
        let mut wait = Wait::new(Duration::from_millis(50));
        while wait.goes_on(1) {}
    }
}
