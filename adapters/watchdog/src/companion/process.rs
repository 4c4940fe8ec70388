//! The companion itself: a process with two threads. One hears which sockets there are, the other waits for the locks.

use super::area::Area;
use super::limits::{SOCKETS_MAX, THREADS_MAX};
use super::wire::{self, Heard, Word};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How this process ends if it could not do its work. Nobody but its parent looks.
const FAILED: i32 = 3;
/// What the thread that waits needs, and a little more.
const STACK_BYTES: usize = 64 * 1024;
/// For shutting all sockets down.
const END_MAX: Duration = Duration::from_millis(100);
/// What ends or stops a process from outside in an ordinary way. A supervisor that stops a server sends it to every process
/// of the service; this one has to stay until the server has ended.
const IGNORED: [i32; 9] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// What it holds.
#[derive(Default)]
struct Held(Mutex<BTreeMap<u64, OwnedFd>>);

/// Runs until the server is dead or gone. Gives the code to exit with.
pub(super) fn run(preferred: bool) -> i32 {
    match live(preferred) {
        Ok(()) => 0,
        Err(_) => FAILED,
    }
}

fn live(preferred: bool) -> io::Result<()> {
    ignore_signals();
    close_inherited();
    // For `ps`, and so that what is meant for the server by name does not meet this one.
    let _ = rustix::thread::set_name(c"kevy-companion");
    // Stopped when the server dies, it would keep its connections open.
    set_parent_process_death_signal(Some(Signal::CONT))?;
    let stdin = std::io::stdin();
    let socket = stdin.as_fd();
    let (threads, memory) = match wire::hear(socket, false)? {
        Heard::Word(Word::Begin, threads, Some(memory)) => (threads, memory),
        // The server is gone already, or a person has started this.
        _ => return Ok(()),
    };
    let threads = usize::try_from(threads).ok().filter(|threads| (1..=THREADS_MAX).contains(threads));
    let area = Area::open(memory, threads.ok_or(io::ErrorKind::InvalidData)?)?;
    let held = Box::leak(Box::<Held>::default());
    let waiter: &Held = held;
    std::thread::Builder::new().name("locks".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        if preferred {
            // Where the system does not allow it, the server has said so of its election's thread.
            let _ = crate::prefer_this_thread();
        }
        let all = (0..area.threads()).try_for_each(|thread| area.wait(thread));
        if all.is_err() {
            std::process::exit(FAILED);
        }
        waiter.end();
        std::process::exit(0);
    })?;
    wire::say(socket, Word::Ready, 0, None)?;
    loop {
        poll_readable(socket)?;
        if !Held::hear(&mut held.sockets(), socket)? {
            // The server is gone with its descriptors, so its locks are open: the other thread is about to end this process. Or
            // it wants no companion.
            std::thread::sleep(END_MAX);
            return Ok(());
        }
    }
}

fn poll_readable(socket: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Held {
    fn sockets(&self) -> MutexGuard<'_, BTreeMap<u64, OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears what there is to hear and does it, without waiting. Both under one lock: a word that had been heard and not yet done would be
    /// missed by the thread that ends the sockets. `false` once the server's end is closed.
    fn hear(sockets: &mut BTreeMap<u64, OwnedFd>, socket: BorrowedFd<'_>) -> io::Result<bool> {
        loop {
            match wire::hear(socket, true) {
                Ok(Heard::Word(Word::Hold, key, Some(socket))) if sockets.len() < SOCKETS_MAX => {
                    drop(sockets.insert(key, socket));
                }
                Ok(Heard::Word(Word::Drop, key, _)) => drop(sockets.remove(&key)),
                Ok(Heard::Word(..)) => {}
                Ok(Heard::End) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The server is dead. The ports first: who loses its connection looks at once whether there is somebody at the port.
    fn end(&self) {
        let mut sockets = self.sockets();
        let end_ports = |sockets: &BTreeMap<u64, OwnedFd>| {
            for port in sockets.values().filter(|socket| sockopt::socket_acceptconn(socket).unwrap_or(false))
            {
                let _ = shutdown(port, Shutdown::Both);
            }
        };
        end_ports(&sockets);
        // What it said last and nobody has heard yet. It says nothing new, so there is an end.
        let stdin = std::io::stdin();
        let _ = Self::hear(&mut sockets, stdin.as_fd());
        end_ports(&sockets);
        for link in sockets.values() {
            // One that has ended by itself.
            let _ = shutdown(link, Shutdown::Both);
        }
    }
}

fn ignore_signals() {
    for signal in IGNORED {
        // SAFETY: ignoring a signal runs no code of ours.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_IGN)
        };
    }
}

/// The server has descriptors that are not closed on exec: kevy's connections and ports, which would stay open for as long as
/// this process lives.
fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: nothing in this process has opened a descriptor yet, so none is closed under its owner. The call is made by
    // number, because older C libraries have no name for it.
    #[allow(unsafe_code)]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) } == 0;
    if closed {
        return;
    }
    // Kernels before 5.9.
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= FIRST as i32)
        .collect();
    for number in numbers {
        // SAFETY: as above. The directory itself is closed by now, so its number is nobody's.
        #[allow(unsafe_code)]
        unsafe {
            libc::close(number)
        };
    }
}
