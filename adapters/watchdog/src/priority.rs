//! Which thread runs first.

use std::io;

/// The lowest of the real-time priorities: before all ordinary threads, behind everything that really needs to be on time.
#[cfg(target_os = "linux")]
const PRIORITY: libc::c_int = 1;

/// Has the kernel run this thread before all ordinary ones whenever it is ready. For a thread that does little and has to do it in
/// time. Threads that it starts are ordinary ones. Needs `CAP_SYS_NICE` or a limit of real-time priorities (`LimitRTPRIO=1`), else
/// [`io::ErrorKind::PermissionDenied`].
#[cfg(target_os = "linux")]
pub fn prefer_this_thread() -> io::Result<()> {
    // All that it is made of on Linux; other fields exist on some C libraries only.
    let parameter = [PRIORITY; 1];
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one number, which lives until the call returns. By number, because musl's own function does nothing.
    #[allow(unsafe_code)]
    let done = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, parameter.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only Linux is asked.
#[cfg(not(target_os = "linux"))]
pub fn prefer_this_thread() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
