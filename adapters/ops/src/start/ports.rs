//! Waits for ports that a process which is gone still holds.
//!
//! The kernel gives the listening sockets of a killed process back a little later, on a busy machine some seconds; kevy takes
//! them for those of another server after 200 ms, and ends.

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::{Duration, Instant};

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Opens a listening socket, once whoever had the port has given it back. `setting`: where the port is set.
pub fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, String> {
    let mut wait = Wait::new(WAIT_MAX);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !wait.goes_on(address.port()) {
                    return Err(taken(address.port(), setting));
                }
            }
            bound => {
                return bound.map_err(|error| format!("cannot listen on {address} ({setting}): {error}"));
            }
        }
    }
}

/// Returns once nobody listens on any of these ports, which a server is about to open.
pub fn until_free(bind: Ipv4Addr, ports: impl IntoIterator<Item = u16>, setting: &str) -> Result<(), String> {
    let mut wait = Wait::new(WAIT_MAX);
    for port in ports {
        while is_held(SocketAddrV4::new(bind, port)) {
            if !wait.goes_on(port) {
                return Err(taken(port, setting));
            }
        }
    }
    Ok(())
}

/// Nobody is connected to for that, and nobody can connect here: whoever hangs does not look as if he were gone, and no client is
/// accepted and dropped.
fn is_held(address: SocketAddrV4) -> bool {
    let tried = net::socket(AddressFamily::INET, SocketType::STREAM, None).and_then(|socket| {
        net::sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &address)
    });
    // Whatever else is wrong, the server says.
    tried == Err(Errno::ADDRINUSE)
}

fn taken(port: u16, setting: &str) -> String {
    format!("another program has port {port}; stop it, or give this node another port in {setting}")
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
            log::warn!(
                "port {port} is still taken, by a process that has just ended perhaps; waiting up to {} s",
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
        assert_eq!(listen(address, "a test").unwrap().local_addr().unwrap(), address);
        dying.join().unwrap();
        let (address, dying) = lingering();
        until_free(Ipv4Addr::UNSPECIFIED, [address.port()], "a test").unwrap();
        dying.join().unwrap();
        assert!(TcpListener::bind(address).is_ok());
    }

    #[test]
    fn a_port_that_stays_taken_is_not_waited_for_for_ever() {
        let mut wait = Wait::new(Duration::from_millis(50));
        while wait.goes_on(1) {}
    }
}
