//! Why the demonstration could not be carried out, and Ctrl-C.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Exit code: a write was lost or two nodes acknowledged at once.
pub const EXIT_GUILTY: u8 = 1;
/// Exit code: it could not be carried out.
pub const EXIT_FAILED: u8 = 2;
/// Exit code: Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
    /// No server binary.
    #[error("no kevy-server at {path}: {why}")]
    NoServer {
        /// Where it was expected.
        path: PathBuf,
        /// What to do.
        why: String,
    },
    /// The operating system refused something.
    #[error("cannot {what}: {error}")]
    Os {
        /// What was tried.
        what: String,
        /// What it said.
        error: std::io::Error,
    },
    /// A condition did not come about.
    #[error("{what} within {} s\n\n{evidence}", waited.as_secs())]
    Timeout {
        /// "the cluster was not ready".
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the servers logged last.
        evidence: String,
    },
    /// A server ended by itself.
    #[error("{node} ended by itself ({status})\n\n{evidence}")]
    Died {
        /// The server's node.
        node: String,
        /// Its exit code or signal.
        status: String,
        /// What it logged last.
        evidence: String,
    },
    /// SIGTERM did not end in order.
    #[error("{node} ended with {status} after SIGTERM; a planned stop must exit with 0\n\n{evidence}")]
    BadExit {
        /// The server's node.
        node: String,
        /// Its exit code or signal.
        status: String,
        /// What it logged last.
        evidence: String,
    },
    /// The data that a measurement begins with could not be written.
    #[error("cannot fill the servers through {server}: {why}")]
    Fill {
        /// The primary.
        server: std::net::SocketAddr,
        /// What it said.
        why: String,
    },
    /// A node that had just acknowledged writes could not be read.
    #[error("cannot read the writes back from {node}: {why}")]
    ReadBack {
        /// The node that was read from.
        node: String,
        /// What it said.
        why: String,
    },
}

impl Failure {
    /// For `map_err`.
    pub fn os(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Os { what, error }
    }

    /// What the process exits with.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => EXIT_INTERRUPTED,
            _ => EXIT_FAILED,
        }
    }
}

/// Whether the person wants it to end. Every wait asks.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over the signals that ask a process to end. A second one ends it at once: the guard
    /// process then clears away what is left.
    pub fn install() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let exit = i32::from(EXIT_INTERRUPTED);
            // In this order: the conditional exit looks at the flag before the same signal sets it.
            signal_hook::flag::register_conditional_shutdown(signal, exit, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
                .map_err(Failure::os("install the signal handlers"))?;
        }
        Ok(Self(flag))
    }

    /// An error once the person wants it to end.
    pub fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Waits until `probe` gives something; `Ok(None)` when `patience` has passed.
    pub fn wait_for<T>(
        &self,
        patience: Duration,
        mut probe: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            self.check()?;
            if let Some(found) = probe()? {
                return Ok(Some(found));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Lets time pass.
    pub fn rest(&self, time: Duration) -> Result<(), Failure> {
        self.wait_for::<()>(time, || Ok(None)).map(|_| ())
    }
}
