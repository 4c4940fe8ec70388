//! A small blocking RESP client: one request, one reply, and a reply that may be long in coming. Of RESP3 it reads
//! what a server says after `HELLO 3`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a connect may take. Loopback answers in microseconds; a stopped server's full backlog never.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
/// How often a blocked read looks whether it is still wanted.
const READ_TICK: Duration = Duration::from_millis(50);
/// The longest reply that is taken: an `MGET` of small values is far below it.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// The deepest array that is taken.
const DEPTH_MAX: usize = 4;

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
    /// Nothing.
    Null,
    /// Several.
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
    /// Connects.
    pub fn connect(server: SocketAddr) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TICK))?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        Ok(Self { stream, received: Vec::new(), request: Vec::new() })
    }

    /// Sends a request and waits for its reply for as long as `wanted` says so.
    pub fn call(&mut self, parts: &[&[u8]], wanted: impl Fn() -> bool) -> Result<Reply, ClientError> {
        self.request.clear();
        encode_request(parts, &mut self.request);
        self.stream.write_all(&self.request)?;
        self.reply(wanted)
    }

    /// Sends these bytes as they are. Their replies come from [`Client::reply`], one each.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for the next reply for as long as `wanted` says so.
    pub fn reply(&mut self, wanted: impl Fn() -> bool) -> Result<Reply, ClientError> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((reply, used)) = decode(&self.received, 0)? {
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

/// Appends a request.
pub fn encode_request(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// One reply and its length, or `None` when it is not complete yet.
fn decode(bytes: &[u8], depth: usize) -> Result<Option<(Reply, usize)>, ClientError> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, after) = (String::from_utf8_lossy(&bytes[..end]), end + 2);
    let protocol = || ClientError::Protocol(format!("{line:?}"));
    let Some(kind) = line.chars().next() else { return Err(protocol()) };
    let rest = line.get(kind.len_utf8()..).unwrap_or_default();
    let length = || match rest.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(n) if (0..=REPLY_BYTES_MAX as i64).contains(&n) => Ok(Some(n as usize)),
        _ => Err(protocol()),
    };
    Ok(Some(match kind {
        '+' => (Reply::Simple(rest.to_owned()), after),
        '-' => (Reply::Error(rest.to_owned()), after),
        ':' => (Reply::Integer(rest.parse().map_err(|_| protocol())?), after),
        '_' => (Reply::Null, after),
        ',' | '#' => (Reply::Simple(rest.to_owned()), after),
        '$' | '=' => match length()? {
            None => (Reply::Null, after),
            Some(n) => match bytes.get(after..after + n + 2) {
                Some(body) if body.ends_with(b"\r\n") => (Reply::Bulk(body[..n].to_vec()), after + n + 2),
                Some(_) => return Err(protocol()),
                None => return Ok(None),
            },
        },
        '*' | '~' | '%' if depth < DEPTH_MAX => match length()? {
            None => (Reply::Null, after),
            Some(n) => {
                // A map is its keys and values in turn.
                let n = if kind == '%' { n * 2 } else { n };
                let (mut items, mut at) = (Vec::new(), after);
                for _ in 0..n {
                    let Some((item, used)) = decode(&bytes[at..], depth + 1)? else { return Ok(None) };
                    items.push(item);
                    at += used;
                }
                (Reply::Array(items), at)
            }
        },
        _ => return Err(protocol()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const REPLIES: &[u8] =
        b"+OK\r\n-READONLY not here\r\n:2\r\n$5\r\nhello\r\n$-1\r\n*3\r\n$1\r\n7\r\n$-1\r\n:1\r\n";

    #[test]
    fn replies_are_read_whole_and_in_order() {
        let (mut at, mut seen) = (0, Vec::new());
        while let Some((reply, used)) = decode(&REPLIES[at..], 0).unwrap() {
            seen.push(reply);
            at += used;
        }
        assert_eq!(at, REPLIES.len());
        assert!(seen[0].is_ok());
        assert_eq!(seen[1], Reply::Error("READONLY not here".into()));
        assert_eq!(seen[2..5], [Reply::Integer(2), Reply::Bulk(b"hello".to_vec()), Reply::Null]);
        assert_eq!(seen[5], Reply::Array(vec![Reply::Bulk(b"7".to_vec()), Reply::Null, Reply::Integer(1)]));
    }

    #[test]
    fn a_reply_cut_anywhere_is_incomplete_never_wrong() {
        let whole = b"*2\r\n$5\r\nhello\r\n:12\r\n";
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole[..cut], 0).unwrap(), None, "cut at {cut}");
        }
        assert!(decode(whole, 0).unwrap().is_some());
    }

    #[test]
    fn what_resp3_adds_is_read_too() {
        let map = b"%1\r\n$5\r\nproto\r\n:3\r\n";
        let pair = Reply::Array(vec![Reply::Bulk(b"proto".to_vec()), Reply::Integer(3)]);
        assert_eq!(decode(map, 0).unwrap(), Some((pair, map.len())));
        assert_eq!(decode(b"_\r\n", 0).unwrap(), Some((Reply::Null, 3)));
        assert_eq!(decode(b"=2\r\nab\r\n", 0).unwrap(), Some((Reply::Bulk(b"ab".to_vec()), 8)));
    }

    #[test]
    fn garbage_is_an_error() {
        for bytes in
            [&b"HTTP/1.1 200 OK\r\n"[..], b"\r\n", b":x\r\n", b"$-2\r\n", b"$99999999\r\n", b"$1\r\nabc"]
        {
            assert!(matches!(decode(bytes, 0), Err(ClientError::Protocol(_))), "{bytes:?}");
        }
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        assert!(matches!(decode(&deep, 0), Err(ClientError::Protocol(_))));
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(silent.local_addr().unwrap()).unwrap();
        let reply = client.call_within(&[b"PING"], Duration::from_millis(1));
        assert!(matches!(reply, Err(ClientError::GivenUp)), "{reply:?}");
    }
}
