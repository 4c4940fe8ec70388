//! What the keys of `[elect]` that begin with `sentinel` say.

use super::check::{Peer, addresses, at};
use super::elect::ElectSection;
use super::error::SetupError;
use super::split::{SECTION, Split};
use std::fmt;
use std::net::SocketAddr;

/// What clients ask for unless `sentinel_master` says otherwise: the name in every example of Sentinel.
const NAME_DEFAULT: &str = "mymaster";

/// Where and how Sentinel's protocol is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelSettings {
    /// Where.
    pub listen: SocketAddr,
    /// The name by which clients ask for the primary.
    pub name: String,
    /// What clients have to say first.
    pub password: Option<Secret>,
    /// All members, in the order of `[cluster] peers`: where clients reach the data of each, and its Sentinel port.
    pub members: Vec<(String, SentinelAddresses)>,
}

/// A password. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where clients reach a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelAddresses {
    /// Its data.
    pub data: (String, u16),
    /// What it serves of Sentinel's protocol.
    pub sentinel: (String, u16),
}

/// Checks the keys. `taken`: ports of this node that are something else.
pub(super) fn check(
    section: &ElectSection,
    peers: &[Peer],
    taken: &[(u16, &str)],
    split: &Split,
) -> Result<Option<SentinelSettings>, SetupError> {
    let others = addresses("sentinel_peers", &section.sentinel_peers, peers, split)?;
    let announced = addresses("sentinel_announce", &section.sentinel_announce, peers, split)?;
    let Some(listen) = section.sentinel else {
        let unused = [
            ("sentinel_master", section.sentinel_master.is_some()),
            ("sentinel_password", section.sentinel_password.is_some()),
            ("sentinel_peers", !others.is_empty()),
            ("sentinel_announce", !announced.is_empty()),
        ];
        return match unused.iter().find(|(_, set)| *set) {
            Some((key, _)) => {
                let reason = "does nothing without sentinel = \"host:port\"; set that too, or remove this";
                Err(at(split, SECTION, key, "", reason.to_owned()))
            }
            None => Ok(None),
        };
    };
    let own = taken.iter().find(|(port, _)| *port == listen.port());
    let http = section.http.filter(|http| http.port() == listen.port() && listen.port() != 0);
    if let Some(what) = own.map(|(_, what)| *what).or(http.map(|_| "[elect] http")) {
        return Err(at(split, SECTION, "sentinel", listen, format!("is also {what}; use another port")));
    }
    let find = |listed: &[(_, String, u16)], peer: &Peer| {
        listed.iter().find(|(id, ..)| *id == peer.id).map(|(_, host, port)| (host.clone(), *port))
    };
    let member = |peer: &Peer| {
        let data = find(&announced, peer).unwrap_or_else(|| (peer.host.clone(), peer.client_port));
        let sentinel = find(&others, peer).unwrap_or_else(|| (data.0.clone(), listen.port()));
        (peer.id.to_string(), SentinelAddresses { data, sentinel })
    };
    let name = section.sentinel_master.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned());
    if name.is_empty() || name.len() > 63 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "use 1 to 63 visible characters without spaces, as in \"mymaster\"".to_owned();
        return Err(at(split, SECTION, "sentinel_master", name, reason));
    }
    let password = section.sentinel_password.clone();
    Ok(Some(SentinelSettings { listen, name, password, members: peers.iter().map(member).collect() }))
}
