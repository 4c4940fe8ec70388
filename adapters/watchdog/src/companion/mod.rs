//! A small process beside this one that says when this one is dead, before its memory is gone.
//!
//! Peers learn of a process's end when its kernel ends its connections, and the kernel does that after it has taken the
//! process's memory apart: hundreds of milliseconds for some gigabytes. It says earlier than that which threads have ended,
//! to whoever waits for a lock that they held: a robust lock is opened when its owner leaves its memory, and a thread that has
//! left its memory executes nothing any more. So every thread that matters holds a lock for as long as it lives, in memory that
//! a second process shares; that process holds duplicates of the sockets, waits for all locks, and shuts the sockets down.
//! That ends connections and closes ports for everybody, whoever else holds them.
//!
//! The second process is this program started anew, so it has nothing of the memory of the first. It ends when the
//! first one does, whatever happens, and its own end means nothing. `docs/protocol.md` has the argument (B1 to B8).
//!
//! ```no_run
//! use kevy_elect_watchdog::companion::{self, Companion, Lives};
//! # fn main() -> std::io::Result<()> {
//! let program = companion::enter(); // first of all: never returns in the companion
//! let lives = Lives::new(1)?;
//! lives.hold(0)?; // by this thread, until it ends
//! let companion = Companion::start(&program, &lives, true)?;
//! let door = std::net::TcpListener::bind("127.0.0.1:0")?;
//! companion.hand_over(1, &door)?;
//! # Ok(())
//! # }
//! ```

mod area;
mod limits;
mod process;
mod wire;

pub use limits::{SOCKETS_MAX, THREADS_MAX};

use area::Area;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::{Heard, Word};

/// Whether this system opens the locks of dead threads.
pub const SUPPORTED: bool = true;

/// What a companion is started with, as its only argument; and where it is to run before others.
const ROLE: &str = "--companion";
const ROLE_PREFERRED: &str = "--companion-preferred";

/// Says that this program's `main` has called [`enter`], so that it can be started anew as a companion.
#[derive(Debug, Clone)]
pub struct Program(());

/// What `main` has to call before anything else. In a companion it never returns.
pub fn enter() -> Program {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(role), None) = (arguments.next(), arguments.next())
        && (role == ROLE || role == ROLE_PREFERRED)
    {
        std::process::exit(process::run(role == ROLE_PREFERRED));
    }
    Program(())
}

/// The threads of this process by whose end its companion knows that it is dead.
#[derive(Debug, Clone)]
pub struct Lives(Arc<Locks>);

#[derive(Debug)]
struct Locks {
    area: Area,
    held: Box<[AtomicBool]>,
}

impl Lives {
    /// For so many threads.
    pub fn new(threads: usize) -> io::Result<Self> {
        if threads == 0 || threads > THREADS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "from 1 to 4096 threads may matter"));
        }
        let held = (0..threads).map(|_| AtomicBool::new(false)).collect();
        Ok(Self(Arc::new(Locks { area: Area::new(threads)?, held })))
    }

    /// The calling thread is number `thread`, and holds its lock until it ends. There is no way to give it back.
    pub fn hold(&self, thread: usize) -> io::Result<()> {
        let held = self.0.held.get(thread).filter(|_| !self.0.area.is_held_here());
        let Some(held) = held else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such lock, or this thread has one"));
        };
        self.0.area.hold(thread)?;
        held.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether every lock has had its thread.
    pub fn are_held(&self) -> bool {
        self.0.held.iter().all(|held| held.load(Ordering::Acquire))
    }
}

/// What [`Companion::hear`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It stands by.
    Ready,
    /// Nothing new.
    Nothing,
    /// It is gone.
    Gone,
}

/// A companion of this process. It goes when this is dropped.
#[derive(Debug)]
pub struct Companion {
    process: Child,
    socket: OwnedFd,
}

impl Companion {
    /// Starts one. All of `lives` must be held: of a thread without its lock it could not know that it lives.
    ///
    /// `preferred`: it runs before all ordinary threads, where the system allows it
    /// ([`prefer_this_thread`](crate::prefer_this_thread)), so that a busy machine hears of a death as early as an idle one.
    /// Takes some milliseconds, whatever this process's size is.
    pub fn start(_: &Program, lives: &Lives, preferred: bool) -> io::Result<Self> {
        if !lives.are_held() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a thread that matters has no lock yet"));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Its end may wait.
        rustix::io::ioctl_fionbio(&theirs, false)?;
        let mut command = Command::new("/proc/self/exe");
        let role = if preferred { ROLE_PREFERRED } else { ROLE };
        command.arg0("kevy-companion").arg(role).env_clear().current_dir("/");
        // Nobody may wait for the end of this process's output and get that of the companion's.
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // What a terminal sends to everybody in the foreground is not meant for it.
        command.process_group(0);
        let process = command.spawn()?;
        let companion = Self { process, socket };
        let area = &lives.0.area;
        companion.say(Word::Begin, area.threads() as u64, Some(area.memory()))?;
        Ok(companion)
    }

    /// Gives it a duplicate of `socket`, which is called `key` from now on. An error: it is gone, or does not listen.
    pub fn hand_over(&self, key: u64, socket: impl AsFd) -> io::Result<()> {
        self.say(Word::Hold, key, Some(socket.as_fd()))
    }

    /// It shall close its duplicate, because this process closes the socket.
    pub fn take_back(&self, key: u64) -> io::Result<()> {
        self.say(Word::Drop, key, None)
    }

    /// Becomes readable when there is news.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What it says, without waiting.
    pub fn hear(&self) -> News {
        match wire::hear(self.socket.as_fd(), true) {
            Ok(Heard::Word(Word::Ready, ..)) => News::Ready,
            Ok(Heard::Word(..)) => News::Nothing,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => News::Nothing,
            Ok(Heard::End) | Err(_) => News::Gone,
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it, and says how it had ended.
    pub fn end(mut self) -> io::Result<ExitStatus> {
        self.kill()?;
        self.process.wait()
    }

    /// Ends it without waiting for that.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    fn say(&self, word: Word, number: u64, handed: Option<BorrowedFd<'_>>) -> io::Result<()> {
        wire::say(self.socket.as_fd(), word, number, handed)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
