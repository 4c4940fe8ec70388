//! Memory with one robust lock per thread, shared between two processes.
//!
//! The only place that touches it. The locks are those of the C library, because it keeps each thread's list of robust locks
//! that the kernel goes through (`set_robust_list`): a list of our own would take the place of its.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::cell::Cell;
use std::io;
use std::ptr::null_mut;

thread_local! {
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// A lock to itself in its cache lines, so that taking one costs the holder of another nothing.
#[repr(C, align(64))]
struct Slot(libc::pthread_mutex_t);

/// The shared memory. Mapped for as long as the process lives: the kernel looks there when a thread ends.
#[derive(Debug)]
pub(super) struct Area {
    memory: OwnedFd,
    first: *mut Slot,
    threads: usize,
}

// SAFETY: the memory stays mapped for ever, and what is in it is only touched by functions of the C library that are
// made for being called by several threads and processes at once.
#[allow(unsafe_code)]
unsafe impl Send for Area {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Area {}

impl Area {
    /// New locks, which nobody holds.
    pub(super) fn new(threads: usize) -> io::Result<Self> {
        let memory = memfd_create("kevy-companion", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, size(threads))?;
        let area = Self::open(memory, threads)?;
        for thread in 0..threads {
            initialise(area.slot(thread))?;
        }
        Ok(area)
    }

    /// The locks that another process made.
    pub(super) fn open(memory: OwnedFd, threads: usize) -> io::Result<Self> {
        let length = usize::try_from(size(threads)).map_err(io::Error::other)?;
        if u64::try_from(fstat(&memory)?.st_size) != Ok(size(threads)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory has another size"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses where, so nothing that is there is replaced. No reference is ever made into it.
        #[allow(unsafe_code)]
        let first = unsafe { mmap(null_mut(), length, access, MapFlags::SHARED, &memory, 0)? };
        Ok(Self { memory, first: first.cast(), threads })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Whether the calling thread holds one.
    pub(super) fn is_held_here(&self) -> bool {
        HOLDS.get()
    }

    /// The calling thread takes a lock that nobody has had, and keeps it.
    pub(super) fn hold(&self, thread: usize) -> io::Result<()> {
        // SAFETY: the lock is initialised, and mapped for ever.
        #[allow(unsafe_code)]
        let result = unsafe { libc::pthread_mutex_trylock(self.slot(thread)) };
        if result == 0 {
            HOLDS.set(true);
        }
        check(result)
    }

    /// Returns when the thread that holds this lock has ended, whichever process it was of.
    pub(super) fn wait(&self, thread: usize) -> io::Result<()> {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let result = unsafe { libc::pthread_mutex_lock(self.slot(thread)) };
        match result {
            libc::EOWNERDEAD => Ok(()),
            0 => {
                // Nobody had it. Given back at once: if this process ended with it, it would look like its owner's end.
                // SAFETY: as above, and this thread has just locked it.
                #[allow(unsafe_code)]
                check(unsafe { libc::pthread_mutex_unlock(self.slot(thread)) })?;
                Err(io::Error::new(io::ErrorKind::InvalidData, "nobody holds the lock of a thread"))
            }
            error => check(error),
        }
    }

    fn slot(&self, thread: usize) -> *mut libc::pthread_mutex_t {
        assert!(thread < self.threads, "there is no lock {thread}");
        self.first.wrapping_add(thread).cast()
    }
}

fn size(threads: usize) -> u64 {
    (threads * size_of::<Slot>()) as u64
}

/// Makes a lock whose owner's end another process gets to know.
fn initialise(lock: *mut libc::pthread_mutex_t) -> io::Result<()> {
    let mut kind = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let kind = kind.as_mut_ptr();
    // SAFETY: `kind` is initialised by the first call and only used after it; `lock` points into mapped memory that no
    // other process has seen yet, with the room and the alignment of such a lock.
    #[allow(unsafe_code)]
    unsafe {
        check(libc::pthread_mutexattr_init(kind))?;
        check(libc::pthread_mutexattr_setpshared(kind, libc::PTHREAD_PROCESS_SHARED))?;
        check(libc::pthread_mutexattr_setrobust(kind, libc::PTHREAD_MUTEX_ROBUST))?;
        check(libc::pthread_mutex_init(lock, kind))?;
        check(libc::pthread_mutexattr_destroy(kind))
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_thread_that_holds_it_is_seen_also_through_another_mapping() {
        let area = Area::new(2).unwrap();
        let other = Area::open(area.memory().try_clone_to_owned().unwrap(), 2).unwrap();
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel::<()>();
            let (holds, held) = std::sync::mpsc::channel::<()>();
            let area = &area;
            scope.spawn(move || {
                area.hold(0).unwrap();
                assert!(area.hold(0).is_err(), "it has one");
                holds.send(()).unwrap();
                told.recv().unwrap();
            });
            // A lock that nobody holds yet is not waited for.
            held.recv().unwrap();
            let seen = scope.spawn(move || other.wait(0));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!seen.is_finished(), "it lives");
            tell.send(()).unwrap();
            seen.join().unwrap().unwrap();
        });
        assert!(area.hold(0).is_err(), "nobody else gets it");
    }

    #[test]
    fn a_lock_that_nobody_holds_is_an_error_and_no_death() {
        let area = Area::new(1).unwrap();
        assert!(area.wait(0).is_err());
        area.hold(0).unwrap();
        assert!(Area::open(area.memory().try_clone_to_owned().unwrap(), 3).is_err());
    }
}
