//! A small blocking RESP client: one request, one reply, and a reply that may be long in coming. The encoding is kevy's
//! own; what is said here is how long, and how much.

use kevy_resp::encode_command_borrowed;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a connect may take on one machine. Loopback answers in microseconds; a stopped server's full backlog never.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
/// How often a blocked read looks whether it is still wanted.
const READ_TICK: Duration = Duration::from_millis(50);
/// The longest reply that is taken: a slice of keys, which are short as a rule.
const REPLY_BYTES_MAX: usize = 256 << 20;
/// How much of a reply that makes no sense is shown.
const SHOWN_BYTES_MAX: usize = 40;

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Simple(String),
    /// `-READONLY ...` and the like, without the dash.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// There is no such value.
    Null,
    /// Several replies, one after the other.
    Array(Vec<Reply>),
}

impl Reply {
    /// Whether this is `+OK`.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Simple(text) if text == "OK")
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The connection is gone.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server says something else than RESP.
    #[error("not a RESP reply: {0}")]
    Protocol(String),
    /// Nobody wanted to wait any longer.
    #[error("no reply in time")]
    GivenUp,
}

/// A connection with at most one request under way. After an error it is of no use any more: the reply
/// to the failed request might still come and be taken for the next one's.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    request: Vec<u8>,
}

impl Client {
    /// Connects to a server on this machine.
    pub fn connect(server: SocketAddr) -> Result<Self, ClientError> {
        Self::connect_within(server, CONNECT_TIMEOUT)
    }

    /// Connects within so long; a request takes at most as long to be sent.
    pub fn connect_within(server: SocketAddr, patience: Duration) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&server, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TICK))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, received: Vec::new(), request: Vec::new() })
    }

    /// Sends a request and waits for its reply for as long as `wanted` says so.
    pub fn call(&mut self, parts: &[&[u8]], wanted: impl Fn() -> bool) -> Result<Reply, ClientError> {
        self.request.clear();
        encode_command_borrowed(&mut self.request, parts);
        self.stream.write_all(&self.request)?;
        self.reply(wanted)
    }

    /// Sends these bytes as they are. Their replies come from [`Client::reply`], one each.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for the next reply for as long as `wanted` says so.
    pub fn reply(&mut self, wanted: impl Fn() -> bool) -> Result<Reply, ClientError> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((reply, used)) = decode(&self.received)? {
                self.received.drain(..used);
                return Ok(reply);
            }
            if self.received.len() > REPLY_BYTES_MAX {
                return Err(ClientError::Protocol(format!("longer than {REPLY_BYTES_MAX} bytes")));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Io(ErrorKind::UnexpectedEof.into())),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !wanted() {
                        return Err(ClientError::GivenUp);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Like [`Client::call`] for at most `patience`.
    pub fn call_within(&mut self, parts: &[&[u8]], patience: Duration) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + patience;
        self.call(parts, || Instant::now() < deadline)
    }
}

/// One reply and its length, or `None` when it is not complete yet.
fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, ClientError> {
    match kevy_resp::parse_reply(bytes) {
        Ok(parsed) => Ok(parsed.map(|(reply, used)| (reply.into(), used))),
        Err(error) => {
            let start: Vec<u8> = bytes.iter().copied().take(SHOWN_BYTES_MAX).collect();
            Err(ClientError::Protocol(format!("{} ({error:?})", start.escape_ascii())))
        }
    }
}

impl From<kevy_resp::Reply> for Reply {
    fn from(reply: kevy_resp::Reply) -> Self {
        use kevy_resp::Reply as Wire;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let all = |parts: Vec<Wire>| Self::Array(parts.into_iter().map(Self::from).collect());
        match reply {
            Wire::Simple(bytes) | Wire::BigNumber(bytes) => Self::Simple(text(bytes)),
            Wire::Error(bytes) | Wire::BlobError(bytes) => Self::Error(text(bytes)),
            Wire::Int(number) => Self::Integer(number),
            Wire::Bulk(bytes) | Wire::Verbatim { data: bytes, .. } => Self::Bulk(bytes),
            Wire::Nil | Wire::Null => Self::Null,
            Wire::Array(parts) | Wire::Set(parts) | Wire::Push(parts) => all(parts),
            Wire::Map(pairs) => all(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
            Wire::Double(number) => Self::Simple(number.to_string()),
            Wire::Boolean(yes) => Self::Simple(yes.to_string()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn replies_of_both_versions_are_told_by_what_they_are() {
        for (bytes, reply) in [
            (&b"+OK\r\n"[..], Reply::Simple("OK".into())),
            (b"-READONLY not here\r\n", Reply::Error("READONLY not here".into())),
            (b":2\r\n", Reply::Integer(2)),
            (
                b"*2\r\n$5\r\nhello\r\n$-1\r\n",
                Reply::Array(vec![Reply::Bulk(b"hello".to_vec()), Reply::Null]),
            ),
            (
                b"%1\r\n$5\r\nproto\r\n:3\r\n",
                Reply::Array(vec![Reply::Bulk(b"proto".to_vec()), Reply::Integer(3)]),
            ),
            (b"_\r\n", Reply::Null),
        ] {
            assert_eq!(decode(bytes).unwrap(), Some((reply, bytes.len())));
            assert_eq!(decode(&bytes[..bytes.len() - 1]).unwrap(), None, "cut off");
        }
        let error = decode(b"HTTP/1.1 200 OK\r\n\x1b").unwrap_err().to_string();
        assert!(error.contains("HTTP/1.1") && !error.contains('\x1b'), "{error}");
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(silent.local_addr().unwrap()).unwrap();
        let reply = client.call_within(&[b"PING"], Duration::from_millis(1));
        assert!(matches!(reply, Err(ClientError::GivenUp)), "{reply:?}");
    }
}
