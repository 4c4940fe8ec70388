//! The last resort against processes left behind.
//!
//! A second process of this program that holds one end of a pipe. When the other end closes, whatever
//! became of the demo (even `kill -9`), it kills every server that was registered and removes the
//! directory. It holds a pidfd of each, so it can never hit a stranger that got a recycled process id.
//!
//! A server registers itself: it starts as this program too, tells the guard its process id, and only
//! then becomes the server (`exec` keeps the id). If the demo registered it, there would be a moment
//! after the start in which a `kill -9` of the demo leaves a server that nobody knows about.

use crate::failure::Failure;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

/// The argument that makes this program the guard. Nobody types it.
const GUARD: &str = "--guard";
/// The argument that makes this program a server-to-be.
const LAUNCH: &str = "--launch";

/// Plays the part that the arguments give to this process; `None` if it is the demo itself.
pub fn play_part(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let part = args.next()?;
    if part == GUARD {
        run(Path::new(&args.next()?));
        Some(ExitCode::SUCCESS)
    } else if part == LAUNCH {
        Some(launch(args.next()?, args))
    } else {
        None
    }
}

/// The demo's side.
pub struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts it; it will remove `directory` unless [`Guard::leave_directory`] is called.
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::os("find this program"))?;
        let mut process = Command::new(program)
            .arg(GUARD)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Its own group: Ctrl-C in the terminal must not end it before the servers.
            .process_group(0)
            .spawn()
            .map_err(Failure::os("start the guard process"))?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// A command that runs `server` under the guard's eyes; arguments and so on are added as usual,
    /// except for standard input, which will be empty.
    pub fn command(&self, server: &Path) -> std::io::Result<Command> {
        let pipe = self.pipe.as_ref().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(LAUNCH).arg(server).stdin(pipe.as_fd().try_clone_to_owned()?);
        Ok(command)
    }

    /// `pid` has ended and was waited for.
    pub fn forget(&mut self, pid: u32) {
        self.tell(format!("forget {pid}\n"));
    }

    /// Keeps the logs for whoever wants to find out what went wrong.
    pub fn leave_directory(&mut self) {
        self.tell("leave\n".into());
    }

    fn tell(&mut self, line: String) {
        // A guard that is gone cannot be helped; the demo still kills its servers itself.
        if let Some(pipe) = &mut self.pipe {
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}

/// The server's side: standard input is the pipe to the guard.
fn launch(server: OsString, args: impl Iterator<Item = OsString>) -> ExitCode {
    let error = match register() {
        Ok(()) => Command::new(&server).args(args).stdin(Stdio::null()).exec(),
        Err(error) => error,
    };
    eprintln!("cannot run {}: {error}", Path::new(&server).display());
    ExitCode::FAILURE
}

fn register() -> std::io::Result<()> {
    let mut pipe = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    pipe.write_all(format!("watch {}\n", std::process::id()).as_bytes())
}

/// The guard's side: until standard input ends.
fn run(directory: &Path) {
    let mut servers = BTreeMap::new();
    let mut leave = false;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("watch", pid)) => {
                let pid = pid.parse().ok().and_then(Pid::from_raw);
                if let Some((pid, fd)) =
                    pid.and_then(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
                {
                    servers.insert(pid.as_raw_nonzero().get(), fd);
                }
            }
            Some(("forget", pid)) => {
                if let Ok(pid) = pid.parse::<i32>() {
                    servers.remove(&pid);
                }
            }
            _ if line == "leave" => leave = true,
            _ => {}
        }
    }
    for fd in servers.values() {
        let _ = pidfd_send_signal(fd, Signal::KILL);
    }
    if !leave {
        remove(directory);
    }
}

/// A server that is just dying may still be writing into it: tried a few times.
fn remove(directory: &Path) {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        if std::fs::remove_dir_all(directory).is_ok() || !directory.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
