//! Clients that write, and know what was confirmed.

use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Writes a key and has it confirmed by so many replicas.
pub(crate) fn confirmed(client: &mut RespClient, key: &str, replicas: i64) -> bool {
    let set = client.request_borrowed(&[b"SET", key.as_bytes(), b"v"]);
    let replicas_word = replicas.to_string();
    matches!(set, Ok(Reply::Simple(_)))
        && matches!(client.request_borrowed(&[b"WAIT", replicas_word.as_bytes(), b"1000"]), Ok(Reply::Int(n)) if n >= replicas)
}

/// A key, and when it was confirmed.
pub(crate) type Confirmed = (Instant, String);

/// Writes to whoever is primary, and notes which keys were confirmed.
pub(crate) fn write(
    ports: &[u16],
    name: &str,
    replicas: i64,
    stop: &AtomicBool,
    into: &Mutex<Vec<Confirmed>>,
) {
    let (mut at, mut client) = (0, None);
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("{name}:{i}");
        if client.as_mut().is_some_and(|client| confirmed(client, &key, replicas)) {
            into.lock().unwrap().push((Instant::now(), key));
            continue;
        }
        at = (at + 1) % ports.len();
        client = RespClient::connect("127.0.0.1", ports[at]).ok();
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Those keys that a node does not have; `None`: it has gone away meanwhile.
pub(crate) fn missing(port: u16, keys: &[String]) -> Option<Vec<&String>> {
    let mut client = RespClient::connect("127.0.0.1", port).ok()?;
    let mut gone = Vec::new();
    for key in keys {
        match client.request_borrowed(&[b"GET", key.as_bytes()]).ok()? {
            Reply::Bulk(value) if value == b"v" => {}
            // It knows nothing yet, or no more.
            Reply::Error(_) => return None,
            _ => gone.push(key),
        }
    }
    Some(gone)
}
