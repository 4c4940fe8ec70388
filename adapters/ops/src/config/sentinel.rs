//! What the keys of `[elect]` that begin with `sentinel` say.

use super::document::Document;
use super::election::{Host, addresses};
use super::error::SetupError;
use super::secret::Secret;
use super::section::{ElectSection, SECTION};
use kevy_elect_plugin::config::Config;
use kevy_elect_plugin::ids::NodeId;
use std::net::SocketAddr;

/// What clients ask for unless `sentinel_master` says otherwise: the name in every example of Sentinel.
const NAME_DEFAULT: &str = "mymaster";

/// Where and how Sentinel's protocol is served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentinelSettings {
    /// The address that clients connect to.
    pub listen: SocketAddr,
    /// The name by which clients ask for the primary.
    pub name: String,
    /// What clients have to say first.
    pub password: Option<Secret>,
    /// All members, in the order of `[cluster] peers`: where clients reach the data of each, and its Sentinel port.
    pub members: Vec<(String, SentinelAddresses)>,
}

/// Where clients reach a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelAddresses {
    /// Its data.
    pub data: (String, u16),
    /// What it serves of Sentinel's protocol.
    pub sentinel: (String, u16),
}

/// Checks the keys. `data`: where each member's data is, in the order of the file.
pub(super) fn check(
    section: &ElectSection,
    host: &Host<'_>,
    data: &[(NodeId, &str, u16)],
    document: &Document<'_>,
) -> Result<Option<SentinelSettings>, SetupError> {
    let others = addresses("sentinel_peers", &section.sentinel_peers, host, document)?;
    let announced = addresses("sentinel_announce", &section.sentinel_announce, host, document)?;
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
                Err(document.error(SECTION, key, "", reason.to_owned()))
            }
            None => Ok(None),
        };
    };
    let own = host.ports.iter().find(|(port, _)| *port == listen.port());
    let http = section.http.filter(|http| http.port() == listen.port() && listen.port() != 0);
    if let Some(what) = own.map(|(_, what)| *what).or(http.map(|_| "[elect] http")) {
        return Err(document.error(SECTION, "sentinel", listen, format!("is also {what}; use another port")));
    }
    let find = |listed: &[(NodeId, String, u16)], id: NodeId| {
        listed.iter().find(|(listed, ..)| *listed == id).map(|(_, host, port)| (host.clone(), *port))
    };
    let member = |(id, host, port): &(NodeId, &str, u16)| {
        let data = find(&announced, *id).unwrap_or_else(|| ((*host).to_owned(), *port));
        let sentinel = find(&others, *id).unwrap_or_else(|| (data.0.clone(), listen.port()));
        (id.to_string(), SentinelAddresses { data, sentinel })
    };
    let name = section.sentinel_master.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned());
    if !Config::is_cluster_name(&name) {
        let reason = "use 1 to 63 visible characters without spaces, as in \"mymaster\"".to_owned();
        return Err(document.error(SECTION, "sentinel_master", name, reason));
    }
    let password = section.sentinel_password.clone();
    Ok(Some(SentinelSettings { listen, name, password, members: data.iter().map(member).collect() }))
}
