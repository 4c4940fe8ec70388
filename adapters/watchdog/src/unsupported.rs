//! Systems without a timer that ends a stopped process.

use std::io;
use std::time::Duration;

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "only Linux has timers that end a stopped process")
}

pub(crate) fn now() -> io::Result<Duration> {
    Err(unsupported())
}

#[derive(Debug)]
pub(crate) struct Timer;

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn set(&self, _deadline: Option<Duration>) -> io::Result<()> {
        Err(unsupported())
    }
}
