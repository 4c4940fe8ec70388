//! Which of kevy's two reactors serves the clients.
//!
//! Not io_uring: there, kevy 7.0.0 receives the value of a `SET` that does not come in one piece by itself, and then
//! stores it, streams it and answers `OK` without asking anybody whether a write may pass. A replica takes such a write,
//! and so does a primary whose lease is over (`tests/upstream.rs`). epoll, which kevy uses where there is no
//! io_uring, brings every command to the gate.

use std::io;

/// How kevy is told.
const VARIABLE: &str = "KEVY_IO_URING";

/// Says what is wrong with the reactor that kevy would choose now.
pub fn check() -> Result<(), String> {
    match std::env::var(VARIABLE) {
        _ if !cfg!(target_os = "linux") => Ok(()),
        Ok(value) if is_off(&value) => Ok(()),
        Ok(value) => Err(format!(
            "{VARIABLE}={value} has kevy use io_uring, where large values reach the data without asking the election; \
             remove it, or set {VARIABLE}=0"
        )),
        Err(_) => Err(format!(
            "without {VARIABLE}=0 in the environment kevy uses io_uring, where large values reach the data without \
             asking the election; set it before the program starts"
        )),
    }
}

/// Starts this program once more, as the same process, with the reactor that every write can be asked on, if the
/// environment leaves the choice to kevy. To be called before anything is opened; returns if there is nothing to do.
pub fn settle() -> Result<(), String> {
    if check().is_ok() || std::env::var_os(VARIABLE).is_some() {
        return check();
    }
    Err(format!("cannot start again with {VARIABLE}=0: {}", again()))
}

/// The environment of a running process cannot be changed without `unsafe`.
#[cfg(unix)]
fn again() -> io::Error {
    use std::os::unix::process::CommandExt;
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program).arg0(name).args(words).env(VARIABLE, "0").exec(),
        Err(error) => error,
    }
}

#[cfg(not(unix))]
fn again() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// What kevy understands as no.
fn is_off(value: &str) -> bool {
    matches!(value, "0" | "off" | "no" | "false")
}
