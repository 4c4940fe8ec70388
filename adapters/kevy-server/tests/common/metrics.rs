//! What a real process tells of itself on its pages.

use super::process::Process;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Where the node with this client port has its pages: beside its election port.
pub fn page(port: u16) -> u16 {
    port + 201
}

/// What its file says for that.
pub fn with_pages(port: u16, more: &str) -> String {
    format!("http = \"127.0.0.1:{}\"\n{more}", page(port))
}

/// All metrics of the node, as they are scraped.
pub fn metrics(node: &Process) -> Option<String> {
    scraped(page(node.port))
}

/// The same of the node with its pages there.
pub fn scraped(page: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", page)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// One of them: the first one of this name whose labels contain all of `labels`.
pub fn labelled(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{') && labels.iter().all(|label| rest.contains(label)))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// A metric of the node, without labels of its own.
pub fn metric(node: &Process, name: &str) -> Option<f64> {
    labelled(&metrics(node)?, name, &[])
}
