//! One node, asked over its client port.

use crate::resp::{Client, ClientError, Reply};
use crate::{CompareError, Position};
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

/// Longest time for a connection, and between two parts of an answer: a shard may be busy for some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time for a node to load its data.
const LOADING_PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions to a node that is loading.
const LOADING_PAUSE: Duration = Duration::from_millis(100);

/// A connection to a node.
pub(crate) struct Node {
    address: String,
    client: Client,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    pub(crate) name: String,
    pub(crate) primary: bool,
    pub(crate) position: Position,
    pub(crate) shards: usize,
    pub(crate) now_ms: u64,
}

/// The next slice of a walk.
pub(crate) struct Slice {
    /// 0: this was the last one.
    pub(crate) next: u64,
    /// What came so far does not count: the walk begins anew.
    pub(crate) anew: bool,
    pub(crate) records: Vec<u8>,
}

impl Node {
    pub(crate) fn connect(address: &str) -> Result<Self, CompareError> {
        let failed = |why: String| CompareError::Node { address: address.to_owned(), why };
        let addresses =
            address.to_socket_addrs().map_err(|error| failed(format!("is no address: {error}")))?;
        let mut last = "has no address".to_owned();
        for one in addresses {
            match Client::connect_within(one, PATIENCE) {
                Ok(client) => return Ok(Self { address: address.to_owned(), client }),
                Err(error) => last = format!("cannot be reached: {error}"),
            }
        }
        Err(failed(last))
    }

    pub(crate) fn info(&mut self) -> Result<Info, CompareError> {
        let text = self.bulk(&[b"ELECT", b"DIGEST", b"INFO"])?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(n, _)| *n == name)
                .map(|(_, value)| value)
        };
        let number = |name: &str| value(name).and_then(|value| value.parse::<u64>().ok());
        let (Some(shards), Some(now_ms)) = (number("shards"), number("now_ms")) else {
            return Err(self.failed("says something else than its shards and its time".to_owned()));
        };
        Ok(Info {
            name: value("node").unwrap_or(&self.address).to_owned(),
            primary: value("role") == Some("primary"),
            position: Position {
                stream_epoch: number("stream_epoch").unwrap_or(0),
                offset: number("offset").unwrap_or(0),
            },
            shards: usize::try_from(shards).unwrap_or(usize::MAX),
            now_ms,
        })
    }

    pub(crate) fn keys(&mut self) -> Result<u64, CompareError> {
        match self.ask(&[b"DBSIZE"])? {
            Reply::Integer(keys) => Ok(u64::try_from(keys).unwrap_or(0)),
            _ => Err(self.failed("does not say how many keys it has".to_owned())),
        }
    }

    /// With `filter`, bits and buckets, full records of the keys in these; else brief ones of all.
    pub(crate) fn scan(
        &mut self,
        shard: usize,
        cursor: u64,
        cutoff: u64,
        filter: Option<(u32, &[u8])>,
    ) -> Result<Slice, CompareError> {
        let numbers = [shard as u64, cursor, cutoff].map(|number| number.to_string());
        let mut words: Vec<&[u8]> = vec![b"ELECT", b"DIGEST", b"SCAN"];
        words.extend(numbers.iter().map(String::as_bytes));
        let bits = filter.map(|(bits, _)| bits.to_string());
        if let (Some((_, buckets)), Some(bits)) = (filter, &bits) {
            words.extend([bits.as_bytes(), buckets]);
        }
        let Reply::Array(parts) = self.ask(&words)? else {
            return Err(self.failed("sends something else than a slice".to_owned()));
        };
        match <[Reply; 3]>::try_from(parts) {
            Ok([Reply::Bulk(next), Reply::Integer(anew), Reply::Bulk(records)]) => {
                let next = std::str::from_utf8(&next).ok().and_then(|next| next.parse().ok());
                let next = next.ok_or_else(|| self.failed("sends a cursor that is no number".to_owned()))?;
                Ok(Slice { next, anew: anew != 0, records })
            }
            _ => Err(self.failed("sends something else than a slice".to_owned())),
        }
    }

    /// Full records of these keys, as far as they are there.
    pub(crate) fn look(&mut self, shard: usize, keys: &[&[u8]]) -> Result<Vec<u8>, CompareError> {
        let shard = shard.to_string();
        let mut words: Vec<&[u8]> = vec![b"ELECT", b"DIGEST", b"KEYS", shard.as_bytes(), b"0"];
        words.extend(keys);
        self.bulk(&words)
    }

    fn bulk(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, CompareError> {
        match self.ask(words)? {
            Reply::Bulk(bytes) => Ok(bytes),
            _ => Err(self.failed("sends something else than a string".to_owned())),
        }
    }

    /// Waits while the node loads its data.
    fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, CompareError> {
        let begun = Instant::now();
        loop {
            match self.client.call_within(words, PATIENCE) {
                Ok(Reply::Error(error))
                    if error.starts_with("LOADING") && begun.elapsed() < LOADING_PATIENCE =>
                {
                    std::thread::sleep(LOADING_PAUSE);
                }
                Ok(Reply::Error(error)) if error.contains("unknown command") => {
                    return Err(self.failed(format!(
                        "does not know ELECT DIGEST ({error}): it runs without [elect], or an older kevy-server"
                    )));
                }
                Ok(Reply::Error(error)) => return Err(self.failed(format!("refuses: {error}"))),
                Ok(reply) => return Ok(reply),
                Err(ClientError::GivenUp) => {
                    return Err(self.failed(format!("has not answered within {} s", PATIENCE.as_secs())));
                }
                Err(error) => return Err(self.failed(format!("does not answer: {error}"))),
            }
        }
    }

    pub(crate) fn failed(&self, why: String) -> CompareError {
        CompareError::Node { address: self.address.clone(), why }
    }
}
