//! A data set of a given size, so that a failover is measured with something in the servers.

use crate::client::{Client, ClientError, Reply};
use crate::failure::{Failure, Interrupt};
use kevy_resp::encode_command_borrowed;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Writes that are sent before their answers are read.
const PIPELINE: u64 = 256;
/// After so many bytes the replicas are waited for: whoever lags further than a server's backlog would be sent everything anew.
const LAG_BYTES_MAX: u64 = 32 << 20;
/// For how long, at most.
const LAG_PATIENCE: Duration = Duration::from_secs(60);
/// How long one batch of answers may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Values are cut out of so many bytes that no compression makes smaller.
const POOL_BYTES: usize = 64 << 10;
/// The largest value that is cut out of them.
pub const VALUE_BYTES_MAX: usize = POOL_BYTES / 2;
/// Keys and values of `cargo demo --data 1gb` are these: five million of them.
pub const VALUE_BYTES: usize = 200;

/// Bytes of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    /// `0`, `200mb`, `1.5gb`: decimal units, as disks have them.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let unit = |unit, bytes| Some((text.strip_suffix(unit)?, bytes));
        let (number, bytes) = unit("gb", 1e9)
            .or_else(|| unit("mb", 1e6))
            .or_else(|| unit("kb", 1e3))
            .unwrap_or((text.as_str(), 1.0));
        match number.parse::<f64>() {
            Ok(number) if (0.0..=1e6).contains(&number) => Ok(Self((number * bytes).round() as u64)),
            _ => Err("takes a size such as 0, 200mb or 1.5gb".to_owned()),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0 => f.write_str("no data"),
            1_000_000_000.. => write!(f, "{} GB", (bytes / 1e8).round() / 10.0),
            _ => write!(f, "{} MB", (bytes / 1e5).round() / 10.0),
        }
    }
}

/// So many keys with values of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    keys: u64,
    value_bytes: usize,
    pool: Vec<u8>,
}

impl Data {
    /// As many keys as make up `size` with values of this length, [`VALUE_BYTES_MAX`] at most.
    pub fn new(size: Size, value_bytes: usize) -> Self {
        let value_bytes = value_bytes.min(VALUE_BYTES_MAX);
        let keys = size.0 / (key(0).len() + value_bytes) as u64;
        // Any numbers will do, as long as they are not all the same.
        let mut rng = fastrand::Rng::with_seed(1);
        let next = || rng.u8(b' '..=b'~');
        Self { keys, value_bytes, pool: std::iter::repeat_with(next).take(POOL_BYTES).collect() }
    }

    /// How many keys.
    pub const fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes of all keys and values.
    pub fn size(&self) -> Size {
        Size(self.keys * (key(0).len() + self.value_bytes) as u64)
    }

    /// Appends the `SET` of a key, with a value that `version` picks.
    pub(crate) fn set(&self, into: &mut Vec<u8>, number: u64, version: u64) {
        let places = (self.pool.len() - self.value_bytes) as u64;
        let from = (number.wrapping_mul(31).wrapping_add(version.wrapping_mul(7919)) % places) as usize;
        encode_command_borrowed(
            into,
            &[b"SET", key(number).as_bytes(), &self.pool[from..from + self.value_bytes]],
        );
    }

    /// Writes all of it from key `done` on to the primary at `server`, and waits until `replicas` have it. How far that went
    /// stands in `done`, also where it fails.
    pub fn fill(
        &self,
        server: SocketAddr,
        replicas: usize,
        interrupt: &Interrupt,
        done: &mut u64,
        progress: impl Fn(Size),
    ) -> Result<(), Failure> {
        let failed = |why: String| Failure::Fill { server, why };
        let mut client =
            Client::connect_within(server, PATIENCE).map_err(|error| failed(error.to_string()))?;
        let per_key = (key(0).len() + self.value_bytes) as u64;
        let block = (LAG_BYTES_MAX / per_key).max(1);
        while *done < self.keys {
            let to = self.keys.min(*done + block);
            self.write(&mut client, *done, to, interrupt).map_err(|error| failed(error.to_string()))?;
            interrupt.check()?;
            confirmed(&mut client, server, replicas, interrupt)?;
            *done = to;
            progress(Size(to * per_key));
        }
        Ok(())
    }

    /// Writes these keys; one batch is always on its way while another one is answered.
    fn write(
        &self,
        client: &mut Client,
        from: u64,
        to: u64,
        interrupt: &Interrupt,
    ) -> Result<(), ClientError> {
        let (mut batch, mut sent, mut answered) = (Vec::new(), from, from);
        while answered < to && interrupt.check().is_ok() {
            while sent < to.min(answered + 2 * PIPELINE) {
                let end = to.min(sent + PIPELINE);
                batch.clear();
                (sent..end).for_each(|number| self.set(&mut batch, number, 0));
                client.send(&batch)?;
                sent = end;
            }
            let deadline = Instant::now() + PATIENCE;
            for _ in 0..PIPELINE.min(sent - answered) {
                match client.reply(|| Instant::now() < deadline)? {
                    reply if reply.is_ok() => answered += 1,
                    other => return Err(ClientError::Protocol(format!("SET said {other:?}"))),
                }
            }
        }
        Ok(())
    }
}

/// The key with that number.
pub fn key(number: u64) -> String {
    format!("data:{number:09}")
}

/// Waits until all replicas have what this connection wrote.
fn confirmed(
    client: &mut Client,
    server: SocketAddr,
    replicas: usize,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let wanted = replicas.to_string();
    let all = interrupt.wait_for(LAG_PATIENCE, || {
        let reply = client.call_within(&[b"WAIT", wanted.as_bytes(), b"1000"], PATIENCE);
        match reply {
            Ok(Reply::Integer(have)) => Ok((have >= replicas as i64).then_some(())),
            Ok(other) => Err(Failure::Fill { server, why: format!("WAIT said {other:?}") }),
            Err(error) => Err(Failure::Fill { server, why: error.to_string() }),
        }
    })?;
    let why = || format!("{replicas} replicas did not have it within {} s", LAG_PATIENCE.as_secs());
    all.ok_or_else(|| Failure::Fill { server, why: why() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_told_as_people_write_them() {
        for (text, bytes, told) in [
            ("0", 0, "no data"),
            ("200mb", 200_000_000, "200 MB"),
            ("1GB", 1_000_000_000, "1 GB"),
            ("1.2gb", 1_200_000_000, "1.2 GB"),
            ("250kb", 250_000, "0.3 MB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size, size.to_string().as_str()), (Size(bytes), told));
        }
        for wrong in ["", "gb", "-1", "much", "1tb"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_is_that_of_keys_and_values_and_values_differ() {
        let data = Data::new(Size(1_000_000), VALUE_BYTES);
        assert_eq!(data.keys(), 1_000_000 / 214);
        let set = |number, version| {
            let mut text = Vec::new();
            data.set(&mut text, number, version);
            text
        };
        assert_eq!(set(1, 0), set(1, 0));
        assert_ne!(set(1, 0), set(1, 1), "another version of the same key");
        assert!(String::from_utf8(set(7, 0)).unwrap().contains("data:000000007"));
    }
}
