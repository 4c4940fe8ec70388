//! Asks another node for a page. What it does costs the caller no more than it says.

use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::{Agent, Error};

/// Why a node said nothing. To be read behind its address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// What was given is no address.
    #[error("is no address: use HOST:PORT")]
    Address,
    /// Nobody is there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It takes too long, wherever it hangs.
    #[error("does not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The connection broke.
    #[error("does not answer: {0}")]
    Broken(std::io::Error),
    /// It answers something else than 200.
    #[error("answers {0}")]
    Refused(u16),
    /// It is something else, or another version.
    #[error("answers, but not like kevy-server: is this the address of [elect] http?")]
    Strange,
}

/// What `node`, as `HOST:PORT`, says at `path`, if that is no more than `bytes_max`. Blocks for at most `within`, whatever happens.
pub fn fetch<T: DeserializeOwned>(
    node: &str,
    path: &str,
    within: Duration,
    bytes_max: u64,
) -> Result<T, FetchError> {
    let body = fetch_bytes(node, path, within, bytes_max)?;
    serde_json::from_slice(&body).map_err(|_| FetchError::Strange)
}

/// The same as it comes, for what is no JSON.
pub fn fetch_bytes(node: &str, path: &str, within: Duration, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(within))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build()
        .into();
    let failed = |error| failure(error, within);
    let mut response = agent.get(format!("http://{node}{path}")).call().map_err(failed)?;
    if response.status() != 200 {
        return Err(FetchError::Refused(response.status().as_u16()));
    }
    response.body_mut().with_config().limit(bytes_max).read_to_vec().map_err(failed)
}

fn failure(error: Error, within: Duration) -> FetchError {
    match error {
        Error::BadUri(_) | Error::Http(_) => FetchError::Address,
        Error::HostNotFound => FetchError::Unreachable("the name has no address".to_owned()),
        Error::ConnectionFailed => FetchError::Unreachable("no connection".to_owned()),
        Error::Timeout(_) => FetchError::Silent(within),
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                FetchError::Unreachable(error.to_string())
            }
            ErrorKind::TimedOut | ErrorKind::WouldBlock => FetchError::Silent(within),
            _ => FetchError::Broken(error),
        },
        _ => FetchError::Strange,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    /// A server that sends `first`, and then `more` again and again.
    fn server(first: &'static [u8], more: &'static [u8], pause: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let mut sent = stream.write_all(first);
                while sent.is_ok() && !more.is_empty() {
                    std::thread::sleep(pause);
                    sent = stream.write_all(more);
                }
            }
        });
        address
    }

    fn said(node: &str) -> String {
        match fetch::<serde_json::Value>(node, "/status", Duration::from_millis(500), 4096) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_not_kevy_is_told_apart_from_what_is_down() {
        for (answer, words) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}"[..], "{\"a\":1}"),
            (b"-ERR unknown command\r\n\r\n", "not like kevy-server"),
            (b"HTTP/1.1 404 Not Found\r\n\r\nx", "answers 404"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "answers 302"),
            (b"HTTP/1.1 200 OK\r\n\r\n<html>", "not like kevy-server"),
        ] {
            let said = said(&server(answer, b"", Duration::ZERO));
            assert!(said.contains(words), "{words}: {said}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(said(&free).contains("cannot be reached"), "{}", said(&free));
        assert!(said("no address").contains("no address"), "{}", said("no address"));
    }

    #[test]
    fn a_page_that_drips_or_never_ends_keeps_nobody() {
        let begun = Instant::now();
        let pause = Duration::from_millis(20);
        for (first, more) in [(&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b" "[..]), (b"HTTP/1.1 200 OK\r\nX: ", b"x")]
        {
            let said = said(&server(first, more, pause));
            assert!(said.contains("within 500 ms"), "{said}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    #[test]
    fn an_endless_answer_is_read_up_to_its_bound() {
        let endless = server(b"HTTP/1.1 200 OK\r\n\r\n", &[b' '; 1024], Duration::ZERO);
        assert!(said(&endless).contains("not like kevy-server"), "{}", said(&endless));
    }
}
