//! A server whose control group has hardly any memory left. Needs root, for the group:
//! `cargo test --ignore-rust-version -p kevy-server --test full_memory -- --ignored`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::{Cluster, until};
use std::path::PathBuf;

/// What the group may have, and how near to that the test goes: less is left than a node calls low, and more than a turn needs.
const LIMIT: u64 = 160 << 20;
const LEFT: u64 = 3 << 20;
const VALUE_BYTES: usize = 64 << 10;

/// A control group, of whichever version there is; gone with its owner, as its processes are by then.
struct Group {
    at: PathBuf,
    limit: &'static str,
    used: &'static str,
}

impl Group {
    fn new() -> Self {
        let name = format!("kevy-full-{}", std::process::id());
        let second = PathBuf::from("/sys/fs/cgroup/cgroup.controllers").exists();
        let (top, limit, used) = match second {
            true => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        };
        if second {
            // Else groups have no files about memory.
            let all = PathBuf::from(top).join("cgroup.subtree_control");
            std::fs::write(&all, "+memory").unwrap_or_else(|error| panic!("{}: {error}", all.display()));
        }
        let group = Self { at: PathBuf::from(top).join(name), limit, used };
        std::fs::create_dir(&group.at).unwrap_or_else(|error| panic!("{}: {error}", group.at.display()));
        group.write(group.limit, LIMIT);
        group
    }

    #[track_caller]
    fn write(&self, file: &str, what: u64) {
        std::fs::write(self.at.join(file), what.to_string())
            .unwrap_or_else(|error| panic!("{file} of {}: {error}", self.at.display()));
    }

    /// What is used and cannot be taken back.
    fn used(&self) -> u64 {
        let read = |file| std::fs::read_to_string(self.at.join(file)).unwrap();
        let stat = read("memory.stat");
        let field = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap().parse::<u64>().unwrap()
        };
        let used: u64 = read(self.used).trim().parse().unwrap();
        used.saturating_sub(field("inactive_file") + field("active_file"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.at));
    }
}

#[test]
#[ignore = "needs root, see the head of the file"]
fn a_primary_whose_control_group_is_nearly_full_says_so_and_hands_over() {
    let group = Group::new();
    let cluster = Cluster::new(3, 1);
    let nodes = Process::start_three(&cluster, "");
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");
    group.write("cgroup.procs", u64::from(nodes[first].child.id()));
    let value = "x".repeat(VALUE_BYTES);
    for n in 0.. {
        if group.used() + LEFT > LIMIT {
            break;
        }
        assert!(n < LIMIT as usize / VALUE_BYTES, "nothing of that counts for the group");
        assert_eq!(nodes[first].ask(&format!("SET k{n} {value}")).as_deref(), Some("OK"), "k{n}");
    }
    let second = until("another node takes writes", || {
        // It looks once a second, under writes.
        nodes[first].ask("SET probe 1");
        (0..3)
            .filter(|node| *node != first)
            .find(|node| nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
    });
    assert_eq!(nodes[second].ask("GET k0").map(|value| value.len()), Some(VALUE_BYTES));
    let log = std::fs::read_to_string(cluster.dirs[first].0.join("log")).unwrap();
    assert!(log.contains("health=memory"), "{log}");
    until("it follows the next one, and lives", || {
        (nodes[first].ask("ELECT STATUS")?.contains("replica")).then_some(())
    });
}
