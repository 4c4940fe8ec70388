//! Signals: the first asks for an orderly end, the second ends the process at once. `SIGHUP` has the file read anew.

use crate::ending::Ending;
use crate::inline::Inline;
use async_io::Async;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a shell reports for a process that gave up half-way.
const ABORTED: i32 = 1;

/// Makes known to `ending` when the process is asked to end.
pub fn listen(ending: &Arc<Ending>, inline: Inline) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    let (told, tell) = UnixStream::pair()?;
    let told = Async::new(told)?;
    for signal in [SIGTERM, SIGINT] {
        // In this order: the signal that sets the flag does not yet find it set.
        flag::register_conditional_shutdown(signal, ABORTED, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
        // Before the byte: who reads it finds the wish.
        flag::register(signal, ending.wished())?;
        pipe::register(signal, tell.try_clone()?)?;
    }
    // A file that hits the limit of its size would kill the process; the failed write is dealt with.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let ending = Arc::clone(ending);
    inline.spawn(async move {
        // An error counts as well; it then depends on the wish, and on the shards, which look at every tick.
        drop(told.readable().await);
        ending.look();
    });
    Ok(())
}

/// Calls `reload`, on a thread that may take its time, whenever the process is sent `SIGHUP`.
pub fn on_hangup(inline: Inline, reload: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    let (told, tell) = UnixStream::pair()?;
    let told = Async::new(told)?;
    pipe::register(SIGHUP, tell)?;
    let reload = Arc::new(reload);
    inline.spawn(async move {
        loop {
            // However many came meanwhile, once is enough.
            let read = told.read_with(|mut told| told.read(&mut [0; 64])).await;
            if !matches!(read, Ok(1..)) {
                return log::error!("SIGHUP is not heard any more: {read:?}");
            }
            let reload = Arc::clone(&reload);
            blocking::unblock(move || reload()).await;
        }
    });
    Ok(())
}
