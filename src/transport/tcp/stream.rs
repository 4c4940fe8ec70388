//! One connection: socket options, frames in, bytes out.

use super::super::RefuseReason;
use super::super::handshake::{self, Incoming};
use super::super::links::End;
use super::watch::Watched;
use super::{KEEPALIVE_INTERVAL, KEEPALIVE_PROBES_MAX, USER_TIMEOUT};
use crate::wire::FRAME_BYTES_MAX;
use async_io::Async;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The room for what was read and not decoded yet: always enough for the rest of the longest frame.
const READ_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

pub(super) type Stream = Async<TcpStream>;

/// No waiting for more bytes to fill a packet; and the kernel says when the other host is gone, also on
/// the link that we never write to. What a system does not have, it goes without: the election has its
/// own timers.
pub(super) fn tune(stream: &Stream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_tcp_nodelay(stream, true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES_MAX);
    #[cfg(target_os = "linux")]
    {
        let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_INTERVAL);
        let _ = sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT.as_millis() as u32);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = USER_TIMEOUT;
}

/// Ends a connection with a reset. An orderly end of an established link would look like a dying process.
pub(super) fn abort(stream: Watched<Stream>) {
    let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
    #[cfg(target_os = "linux")]
    if stream.is_told() {
        // Resets at once, whoever else holds the socket.
        let _ = rustix::net::connect_unspec(&*stream);
    }
    drop(stream);
}

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The connection ended.
    Ended(End),
    /// The peer sent what it must not.
    Violation(RefuseReason),
}

impl From<RefuseReason> for Stopped {
    fn from(reason: RefuseReason) -> Self {
        Self::Violation(reason)
    }
}

/// Reads frames off one connection.
pub(super) struct Frames {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; READ_BYTES_MAX].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The next frame. Cancelling loses nothing.
    pub(super) async fn next(&mut self, stream: &Stream) -> Result<Incoming, Stopped> {
        loop {
            while let Some((incoming, used)) = handshake::next(&self.bytes[self.start..self.end])? {
                self.start += used;
                if let Some(incoming) = incoming {
                    return Ok(incoming);
                }
            }
            self.fill(stream).await?;
        }
    }

    async fn fill(&mut self, stream: &Stream) -> Result<(), Stopped> {
        const BROKEN: Stopped = Stopped::Ended(End::Broken);
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            // Waiting first and reading then costs one system call for a heartbeat, not two.
            stream.readable().await.map_err(|_| BROKEN)?;
            match stream.get_ref().read(&mut self.bytes[self.end..]) {
                // In the middle of a frame it is no orderly end, whatever the kernel says.
                Ok(0) if self.end == 0 => return Err(Stopped::Ended(End::Clean)),
                Ok(0) => return Err(BROKEN),
                Ok(read) => {
                    self.end += read;
                    return Ok(());
                }
                Err(error) if is_transient(&error) => {}
                Err(_) => return Err(BROKEN),
            }
        }
    }
}

/// Writes a frame to a connection that nothing was written to before, so that its buffer has room: takes
/// no time, or fails.
pub(super) fn write_first(stream: &Stream, frame: &[u8]) -> bool {
    matches!(stream.get_ref().write(frame), Ok(written) if written == frame.len())
}

/// Writes all of `bytes`.
pub(super) async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.get_ref().write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
