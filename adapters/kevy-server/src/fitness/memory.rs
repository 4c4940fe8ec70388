//! How much memory there is left before the kernel ends this process: of the machine, and of every control group that it is in.
//!
//! What the kernel can take back, the pages of files, is not in use. Memory that is nearly used up is no reason to refuse writes: another
//! node with the same data and the same limit would be no better. So it is an ailment with which a server serves (H2, H3).

use std::fs;
use std::path::Path;

/// Less than this part of what there is, within these bounds, is nearly nothing: a copy for a replica or a turn of a busy shard takes more.
const LOW_PART: u64 = 64;
const LOW_MIN: u64 = 4 << 20;
const LOW_MAX: u64 = 64 << 20;

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u64,
    pub(crate) of: u64,
    /// Whose limit it is.
    pub(crate) whose: &'static str,
}

impl Room {
    pub(crate) fn is_low(&self) -> bool {
        self.free < (self.of / LOW_PART).clamp(LOW_MIN, LOW_MAX)
    }
}

/// The limit that is nearest, as the files below `root` say; `None` where they say nothing.
pub(crate) fn nearest(root: &Path) -> Option<Room> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let of_machine = |name: &str| Some(field(&meminfo, name)? << 10);
    let swap = of_machine("SwapFree:").unwrap_or(0);
    let machine = Room {
        free: of_machine("MemAvailable:")?.saturating_add(swap),
        of: of_machine("MemTotal:")?,
        whose: "the machine",
    };
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().flat_map(|line| of_groups(root, line, swap));
    groups.chain([machine]).min_by_key(|room| room.free)
}

/// The limits of the group in a line of `/proc/self/cgroup`, and of those that it is in.
fn of_groups(root: &Path, line: &str, swap: u64) -> Vec<Room> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (top, read): (_, fn(&Path, u64) -> Option<Room>) = match controllers {
        "" => (root.join("sys/fs/cgroup"), second_version),
        _ if controllers.split(',').any(|one| one == "memory") => {
            (root.join("sys/fs/cgroup/memory"), first_version)
        }
        _ => return Vec::new(),
    };
    // In a container the path may be the one outside: then the limit is at the top of what is seen here.
    let own = top.join(path.trim_start_matches('/'));
    own.ancestors()
        .take_while(|group| group.starts_with(&top))
        .filter_map(|group| read(group, swap))
        .collect()
}

fn second_version(group: &Path, swap: u64) -> Option<Room> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let of = number("memory.max")?;
    let used = number("memory.current")?;
    let stat = fs::read_to_string(group.join("memory.stat")).ok()?;
    let files = field(&stat, "inactive_file")?.saturating_add(field(&stat, "active_file")?);
    // Without a limit of its own (`max`) there is as much as the machine has.
    let swapped = number("memory.swap.current").unwrap_or(0);
    let swap = number("memory.swap.max").map_or(swap, |max| swap.min(max.saturating_sub(swapped)));
    Some(room(of, used, files, swap))
}

fn first_version(group: &Path, swap: u64) -> Option<Room> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let of = number("memory.limit_in_bytes")?;
    let used = number("memory.usage_in_bytes")?;
    let stat = fs::read_to_string(group.join("memory.stat")).ok()?;
    let files = field(&stat, "total_inactive_file")?.saturating_add(field(&stat, "total_active_file")?);
    // Its second limit is for memory and swap together.
    let swap = number("memory.memsw.limit_in_bytes").map_or(swap, |both| swap.min(both.saturating_sub(of)));
    Some(room(of, used, files, swap))
}

fn room(of: u64, used: u64, files: u64, swap: u64) -> Room {
    let free = of.saturating_sub(used.saturating_sub(files)).saturating_add(swap);
    Room { free, of, whose: "its control group" }
}

/// The number behind a name, in a file with one a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_ascii_whitespace().next() == Some(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Files as the kernel shows them, gone with their owner.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("kevy-memory-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    const MACHINE: (&str, &str) =
        ("proc/meminfo", "MemTotal:  8000000 kB\nMemAvailable:  4000000 kB\nSwapFree:  0 kB\n");

    #[test]
    fn without_groups_the_machine_is_the_limit() {
        let files = Files::new("machine", &[MACHINE]);
        let room = nearest(&files.0).unwrap();
        assert_eq!((room.free, room.of), (4_000_000 << 10, 8_000_000 << 10));
        assert!(!room.is_low());
        assert_eq!(nearest(Path::new("/there/is/no/such/place")), None);
    }

    #[test]
    fn a_group_that_is_nearly_full_is_low_and_pages_of_files_are_not_in_use() {
        let group = "sys/fs/cgroup/a/b/";
        let with = |name: &str, current: u64, files: u64| {
            let path = |file: &str| format!("{group}{file}");
            let stat = format!("anon 1\ninactive_file {files}\nactive_file 0\n");
            let of = [
                (path("memory.max"), (1_u64 << 30).to_string()),
                (path("memory.current"), current.to_string()),
                (path("memory.stat"), stat),
                (path("memory.swap.max"), "0\n".to_owned()),
                ("sys/fs/cgroup/a/memory.max".to_owned(), "max\n".to_owned()),
                ("proc/self/cgroup".to_owned(), "0::/a/b\n".to_owned()),
                (MACHINE.0.to_owned(), MACHINE.1.to_owned()),
            ];
            let of: Vec<_> = of.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            nearest(&Files::new(name, &of).0).unwrap()
        };
        let full = with("full", (1 << 30) - (8 << 20), 0);
        assert!(full.is_low() && full.free == 8 << 20, "{full:?}");
        let cached = with("cached", (1 << 30) - (8 << 20), 512 << 20);
        assert!(!cached.is_low(), "{cached:?}");
    }

    #[test]
    fn the_first_version_of_groups_is_understood_also_where_the_path_is_the_one_outside() {
        let files = Files::new(
            "first",
            &[
                MACHINE,
                ("proc/self/cgroup", "4:memory:/outside\n1:cpu:/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "267435456\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 4096\ntotal_active_file 0\n"),
            ],
        );
        let room = nearest(&files.0).unwrap();
        assert_eq!(room, Room { free: 1_004_096, of: 268_435_456, whose: "its control group" });
        assert!(room.is_low());
    }
}
