//! Systems that do not open the locks of dead threads.

use std::convert::Infallible;
use std::io;

/// Whether this system opens the locks of dead threads.
pub const SUPPORTED: bool = false;

/// Says that this program's `main` has called [`enter`].
#[derive(Debug, Clone)]
pub struct Program(());

/// What `main` has to call before anything else.
pub fn enter() -> Program {
    Program(())
}

/// The threads of this process by whose end its companion would know that it is dead. There are none here.
#[derive(Debug, Clone)]
pub struct Lives(Infallible);

impl Lives {
    /// Fails.
    pub fn new(_: usize) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "only Linux opens the locks of dead threads to others",
        ))
    }
}
