//! Signals: the first asks for an orderly end, the second ends the process at once.

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a shell reports for a process that gave up half-way.
const ABORTED: i32 = 1;

/// Calls `on_first` when the process is asked to end.
pub(crate) fn listen(on_first: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the signal that sets the flag does not yet find it set.
        flag::register_conditional_shutdown(signal, ABORTED, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    // A file that hits the limit of its size would kill the process; the failed write is dealt with.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            on_first();
        }
    })?;
    Ok(())
}
