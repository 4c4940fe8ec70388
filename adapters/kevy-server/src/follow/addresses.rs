//! Where a member is, also while its name cannot be resolved, and when it has moved.
//!
//! A name server that hangs would keep a replica from following a primary whose address is known: the election's own
//! link to it is up. So what works is tried first, and names are looked up on another thread, for a bounded time.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for a name server in one attempt. The look-up goes on, and the next attempt waits for the same one.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most addresses of one name that are tried in one attempt.
const ADDRESSES_MAX: usize = 8;

/// Says where the election's link to a node leads.
pub(crate) type Proven = Arc<dyn Fn() -> Option<IpAddr> + Send + Sync>;

/// Where a member is, by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) host: String,
    /// The port of its first shard's stream.
    pub(crate) stream_port: u16,
    /// The port for clients.
    pub(crate) client_port: u16,
}

/// The addresses of one member. Whoever holds them sees where it has moved to.
pub(crate) struct Addresses {
    proven: Option<Proven>,
    state: Mutex<State>,
}

struct State {
    site: Site,
    /// Where a connection was made last.
    worked: Option<IpAddr>,
    /// A look-up under way; whoever waits for it has taken it, so there are as many as streams at most.
    looks: Option<Receiver<Result<Vec<IpAddr>, String>>>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.site().host)
    }
}

impl Addresses {
    pub(crate) fn new(site: Site, proven: Option<Proven>) -> Self {
        Self { proven, state: Mutex::new(State { site, worked: None, looks: None }) }
    }

    /// As the file says.
    pub(crate) fn site(&self) -> Site {
        self.state().site.clone()
    }

    /// From here on it is there. Connections that stand are not touched.
    pub(crate) fn relocate(&self, site: Site) {
        let mut state = self.state();
        if state.site.host != site.host {
            (state.worked, state.looks) = (None, None);
        }
        state.site = site;
    }

    /// A connection to `address` was made.
    pub(crate) fn worked(&self, address: IpAddr) {
        self.state().worked = Some(address);
    }

    /// Tries the addresses that are known to work, then those that the name stands for, until one succeeds.
    pub(crate) fn try_each<T>(
        &self,
        mut attempt: impl FnMut(IpAddr) -> Result<T, String>,
    ) -> Result<(T, IpAddr), String> {
        let proven = self.proven.as_ref().and_then(|proven| proven());
        let worked = self.state().worked.filter(|worked| Some(*worked) != proven);
        let mut tried = Vec::new();
        let mut last = None;
        for address in proven.into_iter().chain(worked) {
            match attempt(address) {
                Ok(made) => return Ok((made, address)),
                Err(error) => last = Some(error),
            }
            tried.push(address);
        }
        let found = match self.resolve() {
            Ok(found) => found,
            // What a known address answered says more.
            Err(error) => return Err(last.unwrap_or(error)),
        };
        for address in found.into_iter().filter(|address| !tried.contains(address)).take(ADDRESSES_MAX) {
            match attempt(address) {
                Ok(made) => return Ok((made, address)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| format!("the name {} has no address", self.site().host)))
    }

    fn resolve(&self) -> Result<Vec<IpAddr>, String> {
        let host = self.site().host;
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let looks = match self.state().looks.take() {
            Some(looks) => looks,
            None => look(host.clone())?,
        };
        match looks.recv_timeout(RESOLVE_TIMEOUT) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => {
                let mut state = self.state();
                if state.site.host == host {
                    state.looks = Some(looks);
                }
                Err(format!("no name server told the address of {host} within {RESOLVE_TIMEOUT:?}"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("the look-up of {host} ended")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(host: String) -> Result<Receiver<Result<Vec<IpAddr>, String>>, String> {
    let (found, looks) = channel();
    let named = host.clone();
    std::thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let addresses = (host.as_str(), 0).to_socket_addrs();
            let ips = addresses.map(|all| all.map(|address| address.ip()).collect());
            // Nobody may wait any more.
            let _ = found.send(ips.map_err(|error| format!("cannot look up {host}: {error}")));
        })
        .map_err(|error| format!("cannot start a thread to look up {named}: {error}"))?;
    Ok(looks)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const PROVEN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const WORKED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn at(host: &str) -> Site {
        Site { host: host.to_owned(), stream_port: 1, client_port: 2 }
    }

    /// A name whose server never answers.
    fn hanging(proven: bool) -> (Addresses, std::sync::mpsc::Sender<Result<Vec<IpAddr>, String>>) {
        let proven: Option<Proven> = proven.then(|| Arc::new(|| Some(PROVEN)) as _);
        let addresses = Addresses::new(at("db.example"), proven);
        let (server, looks) = channel();
        addresses.state().looks = Some(looks);
        (addresses, server)
    }

    #[test]
    fn the_address_that_the_election_uses_needs_no_name_server() {
        let (addresses, _server) = hanging(true);
        assert_eq!(addresses.try_each(|_| Ok(())).unwrap().1, PROVEN);
        addresses.worked(WORKED);
        let only_worked = |address| if address == WORKED { Ok(()) } else { Err("refused".to_owned()) };
        assert_eq!(addresses.try_each(only_worked).unwrap().1, WORKED);
    }

    #[test]
    fn a_name_server_that_hangs_is_waited_for_a_bounded_time_and_asked_once() {
        let (addresses, server) = hanging(false);
        assert!(addresses.try_each(|_| Ok(())).unwrap_err().contains("db.example"));
        server.send(Ok(vec![WORKED])).unwrap();
        assert_eq!(addresses.try_each(|_| Ok(())).unwrap().1, WORKED, "the same look-up");
    }

    #[test]
    fn who_has_moved_is_not_looked_for_where_it_was() {
        let (addresses, server) = hanging(false);
        addresses.worked(WORKED);
        let moved = Site { stream_port: 3, ..at("127.0.0.3") };
        addresses.relocate(moved.clone());
        assert_eq!(addresses.site(), moved);
        drop(server);
        let found =
            addresses.try_each(|address| if address == WORKED { Err("gone".to_owned()) } else { Ok(()) });
        assert_eq!(found.unwrap().1, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
    }

    #[test]
    fn an_address_is_no_name() {
        for host in ["127.0.0.1", "::1", "[::1]"] {
            assert!(Addresses::new(at(host), None).try_each(|ip| Ok(ip.is_loopback())).unwrap().0, "{host}");
        }
        assert_eq!(
            Addresses::new(at("127.0.0.1"), None).try_each(|_| Err::<(), _>("no".to_owned())),
            Err("no".to_owned())
        );
    }
}
