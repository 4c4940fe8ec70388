//! Asks the nodes, all at once, with a bound on everything they may do.

use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest time for a connection, and between two parts of an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What one node said, or why it said nothing.
pub(crate) struct Answer {
    pub(crate) node: String,
    pub(crate) said: Result<Value, String>,
}

/// Asks all `nodes` for `path`. An error if none of them answers.
pub(crate) fn ask(nodes: &[String], path: &str) -> Result<Vec<Answer>, String> {
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = nodes.iter().map(|node| (node, scope.spawn(|| get(node, path)))).collect();
        asked
            .into_iter()
            .map(|(node, thread)| {
                let said = thread.join().unwrap_or_else(|_| Err("the request failed".to_owned()));
                Answer { node: node.clone(), said }
            })
            .collect()
    });
    if answers.iter().any(|answer| answer.said.is_ok()) {
        return Ok(answers);
    }
    let reasons: Vec<String> = answers
        .iter()
        .map(|answer| format!("  {}: {}", answer.node, answer.said.as_ref().err().map_or("", String::as_str)))
        .collect();
    Err(format!(
        "no node answers:\n{}\nName the addresses of [elect] http with --at HOST:PORT,HOST:PORT or in KEVY_ELECT_AT. Is \
         http set there, and http_public for other machines? Does kevy-server run?",
        reasons.join("\n")
    ))
}

fn get(node: &str, path: &str) -> Result<Value, String> {
    let addresses = node.to_socket_addrs().map_err(|error| format!("is no address: {error}"))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                return exchange(stream, node, path).map_err(|error| match error.kind() {
                    // What the system calls a timeout of a socket helps nobody.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        format!("takes connections and does not answer within {} s", PATIENCE.as_secs())
                    }
                    _ => format!("does not answer: {error}"),
                })?;
            }
            Err(error) => last = format!("cannot be reached: {error}"),
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, node: &str, path: &str) -> std::io::Result<Result<Value, String>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // One write: a server that closes after the first part must not meet the second.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {node}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(read(&answer))
}

fn read(answer: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(answer);
    let strange = || "answers, but not like kevy-server: is this the address of [elect] http?".to_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(strange)?;
    let mut words = head.split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => {}
        (Some(version), Some(code)) if version.starts_with("HTTP/1.") => {
            return Err(format!("answers {code}"));
        }
        _ => return Err(strange()),
    }
    serde_json::from_str(body).map_err(|_| strange())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kevy_is_told_apart_from_what_is_down() {
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}").is_ok());
        assert!(read(b"-ERR unknown command\r\n\r\n").is_err_and(|e| e.contains("not like kevy-server")));
        assert!(read(b"HTTP/1.1 404 Not Found\r\n\r\nx").is_err_and(|e| e.contains("404")));
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n<html>").is_err());
        let error = ask(&["127.0.0.1:1".to_owned()], "/status").err().unwrap_or_default();
        assert!(error.contains("127.0.0.1:1: cannot be reached") && error.contains("--at"), "{error}");
    }
}
