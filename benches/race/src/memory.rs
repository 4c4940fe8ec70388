//! What the servers' memory is, as the kernel counts it and as they say themselves.

use kevy_elect_harness::cluster::Cluster;
use kevy_elect_harness::copying;
use kevy_elect_harness::verdict::Node;
use std::fs::read_to_string;

/// Of all nodes, in MiB; `None` where it cannot be told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Memory {
    /// Resident, of the server that is primary.
    pub(crate) primary: Option<f64>,
    /// The same of the replica that has most.
    pub(crate) replica: Option<f64>,
    /// What of that are frames that it keeps for others.
    pub(crate) kept: Option<f64>,
    /// What the primary's companion has, pages that it shares with the server divided among them.
    pub(crate) companion: Option<f64>,
    /// The most that any of these processes ever had.
    pub(crate) peak: Option<f64>,
}

/// Reads it now.
pub(crate) fn read(cluster: &Cluster, primary: Node) -> Memory {
    let nodes = 0..cluster.members.len();
    let of = |node, name| kib(cluster.pid(node)?, "status", name);
    let replicas = || nodes.clone().filter(|node| *node != primary);
    let companion = cluster.companion_pid(primary).map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    Memory {
        primary: of(primary, "VmRSS:"),
        replica: most(replicas().map(|node| of(node, "VmRSS:"))),
        kept: most(replicas().map(|node| copying::kept_bytes(cluster, node).map(|bytes| bytes as f64 / MIB))),
        companion: companion.and_then(|pid| kib(pid, "smaps_rollup", "Pss:")),
        peak: most(nodes.clone().map(|node| of(node, "VmHWM:"))),
    }
}

const MIB: f64 = (1 << 20) as f64;

fn most(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(f64::max)
}

/// A line of a file about a process that tells kibibytes, in MiB.
fn kib(pid: u32, file: &str, name: &str) -> Option<f64> {
    let text = read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_this_process_has() {
        let pid = std::process::id();
        let (now, peak) = (kib(pid, "status", "VmRSS:").unwrap(), kib(pid, "status", "VmHWM:").unwrap());
        assert!(now > 0.5 && peak >= now, "{now} {peak}");
        assert!(kib(pid, "smaps_rollup", "Pss:").is_some());
        assert_eq!(kib(pid, "status", "Nothing:"), None);
    }
}
