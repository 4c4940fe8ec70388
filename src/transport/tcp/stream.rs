//! One connection: socket options, bytes in, bytes out. The only place that says how a link ended.

use super::allowance::Allowance;
use super::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_PROBES_MAX, USER_TIMEOUT};
use super::watch::Watched;
use crate::message::Message;
use crate::time::Duration;
use crate::transport::api::RefuseReason;
use crate::transport::greeting::Channel;
use crate::transport::links::End;
use async_io::Async;
use std::io::{self, Read, Write};
use std::net::TcpStream;

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

/// Whether the connection is reset, however it ends: also where its task is dropped.
pub(super) fn resets(stream: &Stream, always: bool) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, always.then_some(Duration::ZERO));
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

/// The next message, or that the peer has spent its allowance. Cancelling loses nothing.
pub(super) async fn next_message(
    stream: &Stream,
    channel: &mut Channel,
    allowance: &mut Allowance,
) -> Result<Heard, Stopped> {
    loop {
        if let Some(pause) = allowance.spent() {
            return Ok(Heard::TooMuch(pause));
        }
        if let Some(message) = channel.message()? {
            allowance.take_frame(message.verb());
            return Ok(Heard::Message(message));
        }
        allowance.take_bytes(read_more(stream, channel).await?);
    }
}

/// What a peer said.
pub(super) enum Heard {
    Message(Message),
    /// So much that nothing is read from it for so long.
    TooMuch(Duration),
}

/// Waits for bytes and puts them into the channel; how many.
pub(super) async fn read_more(stream: &Stream, channel: &mut Channel) -> Result<usize, Stopped> {
    loop {
        // Waiting first and reading then costs one system call for a heartbeat, not two.
        stream.readable().await.map_err(|_| Stopped::Ended(End::Broken))?;
        if let Some(read) = read_ready(stream, channel)? {
            return Ok(read);
        }
    }
}

/// Puts what is there into the channel, and says how much; `None`: nothing was.
pub(super) fn read_ready(stream: &Stream, channel: &mut Channel) -> Result<Option<usize>, Stopped> {
    match stream.get_ref().read(channel.room()) {
        // In the middle of a frame it is no orderly end, whatever the kernel says.
        Ok(0) if channel.is_between_frames() => Err(Stopped::Ended(End::Clean)),
        Ok(0) => Err(Stopped::Ended(End::Broken)),
        Ok(read) => {
            channel.filled(read);
            Ok(Some(read))
        }
        Err(error) if is_transient(&error) => Ok(None),
        Err(_) => Err(Stopped::Ended(End::Broken)),
    }
}

/// Writes what is said before any message is: the buffer has room for it, so this takes no time, or fails.
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
