//! Which of kevy's ways to serve clients and to write its log are used.
//!
//! Not io_uring: there, kevy 7.0.0 receives the value of a `SET` that does not come in one piece by itself, and then
//! stores it, logs it, streams it and answers `OK` without asking anybody whether a write may pass. A replica takes such a
//! write, and so does a primary whose lease is over. epoll, which kevy uses where there is no io_uring, brings every
//! command to the gate.
//!
//! And with epoll not the thread that writes the log: it keeps on writing to the file that a full copy from a primary
//! has just replaced, so a replica's log ends there. Without it the shard writes its log itself.
//!
//! Both faults have a test in `tests/upstream` that fails once kevy mends them.

use std::io;

/// How kevy is told.
const OFF: [&str; 2] = ["KEVY_IO_URING", "KEVY_AOF_OFFLOAD"];

/// Says what is wrong with what kevy would choose now.
pub(crate) fn check() -> Result<(), String> {
    match OFF.into_iter().find(|name| cfg!(unix) && !is_off(name)) {
        None => Ok(()),
        Some(name) => Err(match std::env::var(name) {
            Ok(value) => format!(
                "{name}={value} in the environment has kevy use what does not keep writes from a node that may not write, or \
                 loses a replica's log; remove it, or set {name}=0"
            ),
            Err(_) => format!(
                "without {name}=0 in the environment kevy uses what does not keep writes from a node that may not write, or \
                 loses a replica's log; set it before the program starts"
            ),
        }),
    }
}

/// Starts this program once more, as the same process, with what the environment leaves open switched off. To be called before
/// anything is opened; returns if there is nothing to do.
pub(crate) fn settle() -> Result<(), String> {
    let open = OFF.into_iter().filter(|name| std::env::var_os(name).is_none());
    if check().is_ok() || open.clone().next().is_none() {
        return check();
    }
    let error = again(open);
    Err(format!("cannot start again with {}=0 in the environment: {error}", OFF.join("=0 and ")))
}

/// The environment of a running process cannot be changed without `unsafe`.
#[cfg(unix)]
fn again(off: impl Iterator<Item = &'static str>) -> io::Error {
    use std::os::unix::process::CommandExt;
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .arg0(name)
            .args(words)
            .envs(off.map(|name| (name, "0")))
            .exec(),
        Err(error) => error,
    }
}

#[cfg(not(unix))]
fn again(_: impl Iterator<Item = &'static str>) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// Whether the environment says no, in a way that kevy understands.
fn is_off(name: &str) -> bool {
    matches!(std::env::var(name).as_deref(), Ok("0" | "off" | "no" | "false"))
}
