//! What an operator would write for the servers.

use super::member::Member;
use super::setup::{Place, Setup, System};
use crate::ports::Ports;
use crate::verdict::Node;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

/// The name under which clients ask for the primary.
pub const SENTINEL_NAME: &str = "cluster";

/// What an operator would write for this node.
pub(super) fn config(members: &[Member], node: Node, setup: &Setup, data: &Path, key: &Path) -> String {
    let peers: Vec<_> = members
        .iter()
        .map(|m| {
            let Ports { client, elect, replication, .. } = m.ports;
            format!("{}@{}:{elect}:{client}:{replication}", m.id, m.place.address())
        })
        .collect();
    let Member { id, ports, place, .. } = &members[node];
    // With the plugin the election decides whom a node follows, and an upstream would be refused.
    let role = match (node, &setup.system) {
        (0, _) => "role = \"primary\"".to_owned(),
        (_, System::Plugin) if setup.elections => "role = \"replica\"".to_owned(),
        _ => {
            let first = &members[0];
            let (address, port) = (first.place.address(), first.ports.replication);
            format!("role = \"replica\"\nupstream = \"{address}:{port}\"")
        }
    };
    let bind = match place {
        Place::Loopback => String::new(),
        Place::Namespace { address, .. } => format!("bind = \"{address}\"\n"),
    };
    let mut text = format!(
        "[server]\n{bind}port = {}\nthreads = {}\ndata_dir = {}\n\n",
        ports.client,
        setup.threads,
        // TOML's basic strings escape like JSON's.
        serde_json::Value::from(data.to_string_lossy()),
    );
    if setup.elections {
        let (elect, peers) = (ports.elect, peers.join(","));
        let keys = members.iter().filter_map(|m| Some(format!("\"{}={}\"", m.id, m.key.as_ref()?)));
        let keys: Vec<String> = keys.collect();
        let mut secure = String::new();
        if !keys.is_empty() {
            let _ = write!(
                text,
                "[secure]\nprivate_key_file = {}\n\n",
                serde_json::Value::from(key.to_string_lossy())
            );
            secure = format!("secure = true\npeer_keys = [{}]\n", keys.join(", "));
        }
        let _ = write!(
            text,
            "[cluster]\nnode_id = \"{id}\"\nelect_port_base = {elect}\npeers = \"{peers}\"\n{secure}\n"
        );
    }
    let _ = write!(text, "[replication]\n{role}\n");
    if setup.system == System::Plugin && setup.elections {
        let (at, public) = match place {
            Place::Loopback => (Ipv4Addr::LOCALHOST, ""),
            // Nobody but these servers is in its network.
            Place::Namespace { address, .. } if setup.secure => (*address, "http_public = true\n"),
            Place::Namespace { address, .. } => (*address, "http_public = true\ninsecure = true\n"),
        };
        let _ = write!(text, "\n[elect]\nenabled = true\nhttp = \"{at}:{}\"\n{public}", ports.http);
        if !setup.watchdog {
            text.push_str("watchdog = false\n");
        }
        if setup.threads > 1 {
            // Without it a confirmed write may be lost: whoever is ahead in sum may be behind on its shard.
            text.push_str("loss_policy = \"dominate\"\n");
        }
        if setup.sentinel {
            let others: Vec<_> = members
                .iter()
                .map(|m| format!("{}@{}:{}", m.id, m.place.address(), m.ports.sentinel))
                .collect();
            let (at, others) = (place.address(), others.join(","));
            let _ = writeln!(
                text,
                "sentinel = \"{at}:{}\"\nsentinel_master = \"{SENTINEL_NAME}\"\nsentinel_peers = \"{others}\"",
                ports.sentinel
            );
        }
    }
    text
}

/// What an operator of Redis would write. The log on disk is on, as it is in kevy.
pub(super) fn redis_config(members: &[Member], node: Node, data: &Path) -> String {
    let Member { ports, place, .. } = &members[node];
    let mut text = format!(
        "bind {}\nport {}\ndir {}\nprotected-mode no\nsave \"\"\nappendonly yes\nappendfsync everysec\n\
         repl-diskless-sync yes\nrepl-diskless-sync-delay 0\n",
        place.address(),
        ports.client,
        data.display(),
    );
    if node != 0 {
        let first = members[0].address();
        let _ = writeln!(text, "replicaof {} {}", first.ip(), first.port());
    }
    text
}

/// A Sentinel that suspects after as long as the plugin does by default.
pub(super) fn sentinel_config(members: &[Member], node: Node, data: &Path) -> String {
    let Member { ports, place, .. } = &members[node];
    let (first, quorum) = (members[0].address(), members.len() / 2 + 1);
    format!(
        "bind {}\nport {}\ndir {}\nprotected-mode no\nsentinel monitor cluster {} {} {quorum}\n\
         sentinel down-after-milliseconds cluster 1000\nsentinel failover-timeout cluster 5000\n\
         sentinel parallel-syncs cluster {}\n",
        place.address(),
        ports.elect,
        data.display(),
        first.ip(),
        first.port(),
        members.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_configuration_is_what_an_operator_would_write() {
        let ports = |base| Ports {
            client: base,
            elect: base + 1,
            http: base + 2,
            sentinel: base + 3,
            replication: base + 10_000,
        };
        let members: Vec<_> =
            (0..3).map(|n| Member::new(n, ports(11_000 + 100 * n as u16), Place::Loopback)).collect();
        let mut setup = Setup {
            server: PathBuf::new(),
            system: System::Plugin,
            elections: true,
            sentinel: false,
            watchdog: true,
            secure: false,
            threads: 2,
            places: vec![Place::Loopback; 3],
        };
        assert_eq!(
            config(&members, 1, &setup, Path::new("/tmp/x/n2"), Path::new("/tmp/x/n2.key")),
            "[server]\nport = 11100\nthreads = 2\ndata_dir = \"/tmp/x/n2\"\n\n\
             [cluster]\nnode_id = \"n2\"\nelect_port_base = 11101\n\
             peers = \"n1@127.0.0.1:11001:11000:21000,n2@127.0.0.1:11101:11100:21100,\
             n3@127.0.0.1:11201:11200:21200\"\n\n\
             [replication]\nrole = \"replica\"\n\n\
             [elect]\nenabled = true\nhttp = \"127.0.0.1:11102\"\nloss_policy = \"dominate\"\n"
        );
        let mut proven = members;
        proven.iter_mut().for_each(|member| member.key = Some(format!("key-of-{}", member.id)));
        let text = config(&proven, 1, &setup, Path::new("/tmp/x/n2"), Path::new("/tmp/x/n2.key"));
        let keys = "secure = true\npeer_keys = [\"n1=key-of-n1\", \"n2=key-of-n2\", \"n3=key-of-n3\"]\n\n";
        assert!(text.contains(keys), "{text}");
        assert!(text.contains("[secure]\nprivate_key_file = \"/tmp/x/n2.key\"\n\n[cluster]"), "{text}");
        let members = proven;
        setup.system = System::Stock;
        let stock = config(&members, 0, &setup, Path::new("/tmp/x/n1"), Path::new("k"));
        assert!(stock.ends_with("[replication]\nrole = \"primary\"\n"), "{stock}");
        let stock = config(&members, 2, &setup, Path::new("/tmp/x/n3"), Path::new("k"));
        assert!(stock.ends_with("role = \"replica\"\nupstream = \"127.0.0.1:21000\"\n"), "{stock}");
    }
}
