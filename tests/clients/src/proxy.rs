//! HAProxy before the nodes, as `docs/http.md` sets it up.

use kevy_elect_harness::cluster::Cluster;
use kevy_elect_harness::failure::Failure;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

const DOCUMENTATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");

/// Dropping it ends it.
pub(crate) struct Proxy {
    pub(crate) at: SocketAddr,
    process: Child,
}

impl Proxy {
    pub(crate) fn start(cluster: &Cluster) -> Result<Self, Failure> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let at = free.map_err(Failure::os("find a free port"))?;
        let documented =
            std::fs::read_to_string(DOCUMENTATION).map_err(Failure::os(format!("read {DOCUMENTATION}")))?;
        let servers = cluster.members.iter().map(|member| {
            format!("    server {} {} check port {}\n", member.id, member.address(), member.ports.http)
        });
        let path = cluster.directory.join("haproxy.cfg");
        std::fs::write(&path, configuration(&documented, at) + &servers.collect::<String>())
            .map_err(Failure::os(format!("write {}", path.display())))?;
        let process = Command::new("haproxy")
            // In the foreground, so that it ends with us.
            .args(["-db", "-f"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Failure::os("start haproxy (on Debian `apt-get install haproxy`)"))?;
        Ok(Self { at, process })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the documentation shows first, at another address and without its servers.
fn configuration(documented: &str, at: SocketAddr) -> String {
    let (_, section) = documented.split_once("\n## HAProxy\n").unwrap_or_default();
    let (_, block) = section.split_once("```text\n").unwrap_or_default();
    let (block, _) = block.split_once("```").unwrap_or_default();
    let lines = block.lines().filter(|line| !line.trim_start().starts_with("server "));
    let lines = lines.map(|line| match line.trim_start().starts_with("bind ") {
        true => format!("    bind {at}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_documentation_shows() {
        let documented = std::fs::read_to_string(DOCUMENTATION).unwrap();
        let text = configuration(&documented, SocketAddr::from((Ipv4Addr::LOCALHOST, 7000)));
        for part in ["listen ", "    bind 127.0.0.1:7000\n", "httpchk GET /primary", "default-server inter "]
        {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        assert!(!text.contains("10.0.0.1"), "{text}");
    }
}
