//! Namespaces of this program's own, so that neither bridge nor rules touch the machine, and what to say
//! where they cannot be had. It never runs without them: a chaos test that was skipped looks like one that
//! passed.

use kevy_elect_harness::failure::Failure;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is needed beside root, and the package that has it.
const TOOLS: [(&str, &str); 6] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("umount", "mount"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("iptables-restore", "iptables"),
];
/// Where `ip netns` keeps its names.
pub const NAMES: &str = "/run/netns";

/// Becomes the same program in new network and mount namespaces. Returns only if that fails.
pub fn enter(who: &str) -> Result<std::convert::Infallible, String> {
    if !rustix::process::geteuid().is_root() {
        return Err(format!(
            "{who} needs root: it puts every server into a network namespace and cuts links with firewall rules. \
             Run it as root (for example `sudo -E {who}`), or in a container started with --privileged"
        ));
    }
    let missing: Vec<_> = TOOLS.into_iter().filter(|(tool, _)| !installed(tool)).collect();
    if !missing.is_empty() {
        let tools: Vec<_> = missing.iter().map(|(tool, _)| *tool).collect();
        let packages: std::collections::BTreeSet<_> = missing.iter().map(|(_, package)| *package).collect();
        return Err(format!(
            "missing: {}; on Debian and Ubuntu `apt-get install {}`",
            tools.join(", "),
            packages.into_iter().collect::<Vec<_>>().join(" ")
        ));
    }
    std::fs::create_dir_all(NAMES).map_err(|error| format!("cannot create {NAMES}: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(program)
        .arg("--inside")
        .args(std::env::args_os().skip(1))
        // The server has been built; in there, cargo would have no network.
        .env_remove("CARGO")
        .exec();
    Err(format!("cannot run unshare: {error}"))
}

/// Once inside: names of namespaces that nobody else sees, and that go with this program.
pub fn settle() -> Result<(), Failure> {
    run("mount", &["-t", "tmpfs", "none", NAMES])
}

/// Runs a tool to its end.
pub fn run(program: &str, args: &[&str]) -> Result<(), Failure> {
    let what = format!("run {program} {}", args.join(" "));
    match Command::new(program).args(args).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::os(what)(std::io::Error::other(status.to_string()))),
        Err(error) => Err(Failure::os(what)(error)),
    }
}

fn installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}
