//! A process that holds memory and does nothing else. It is killed together with a primary that holds nothing, so what that costs the others is
//! what the kernel does to take so much memory back, on a machine that all nodes share.

use kevy_elect_harness::data::Size;
use kevy_elect_harness::failure::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};

/// The argument that makes this program a ballast. Nobody types it.
const PART: &str = "--ballast-of";
/// What it says once it holds everything.
const READY: u8 = b'.';

/// Plays the part that the arguments give to this process, if it is this one: until standard input ends, which it does with this program.
pub(crate) fn play_part(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.next()? != PART {
        return None;
    }
    let mut number = || args.next()?.to_str()?.parse::<usize>().ok();
    let (bytes, piece) = (number()?, number()?.max(1));
    // In pieces like a server's values, so that the kernel has as many pages to take back.
    let held: Vec<Box<[u8]>> = (0..bytes / piece).map(|_| vec![1; piece].into_boxed_slice()).collect();
    let mut out = std::io::stdout();
    let told = out.write_all(&[READY]).and_then(|()| out.flush());
    drop(told.and_then(|()| std::io::stdin().read(&mut [0])));
    drop(held);
    Some(ExitCode::SUCCESS)
}

/// One of them, which ends with its owner.
pub(crate) struct Ballast(Child);

impl Ballast {
    /// Starts one, and waits until it holds so much, in pieces of so many bytes.
    pub(crate) fn load(size: Size, piece: usize) -> Result<Self, Failure> {
        let load = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(PART).arg(size.0.to_string()).arg(piece.to_string());
            let mut ballast = Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
            match &mut ballast.0.stdout {
                Some(out) => out.read_exact(&mut [0])?,
                None => return Err(std::io::ErrorKind::BrokenPipe.into()),
            }
            Ok(ballast)
        };
        load().map_err(Failure::os("start a process that holds memory"))
    }

    /// Kills it, and does not wait for that.
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        kill_process(Pid::from_child(&self.0), Signal::KILL)
            .map_err(|error| Failure::os("kill the process that holds memory")(error.into()))
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
