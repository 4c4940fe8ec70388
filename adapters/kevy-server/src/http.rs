//! `/metrics` for Prometheus and `/status` for people, over the smallest HTTP that serves both.
//!
//! One request per connection, a fixed number of threads, a deadline for each: a stranger with a thousand
//! connections costs nothing but the page.

use kevy_elect_plugin::plugin::{ElectPlugin, ElectSnapshot};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections served at once.
const THREADS: usize = 2;
/// Longest time for a request to come in, and for the answer to go out.
const DEADLINE: Duration = Duration::from_secs(1);
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 4096;
const HEADERS_MAX: usize = 32;
/// How often what was recorded is folded into the histograms; also done by every scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of the histograms of times, in seconds: from a local round trip to a hung cluster.
const SECONDS: [f64; 15] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Records the process's metrics from now on. Before the plugin is made: it looks its metrics up once.
pub(crate) fn record_metrics() -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|error| error.to_string())?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    Ok(handle)
}

/// Serves both pages at `address` for the rest of the process's life. Says where.
pub(crate) fn serve(
    address: SocketAddr,
    metrics: PrometheusHandle,
    plugin: Arc<dyn ElectPlugin>,
) -> std::io::Result<SocketAddr> {
    let listener = Arc::new(TcpListener::bind(address)?);
    let bound = listener.local_addr()?;
    for _ in 0..THREADS {
        let (listener, metrics, plugin) = (Arc::clone(&listener), metrics.clone(), Arc::clone(&plugin));
        std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            loop {
                match listener.accept() {
                    // A client that goes away before it is answered is its own affair.
                    Ok((stream, _)) => drop(answer(stream, &metrics, &*plugin)),
                    // Out of file descriptors, most likely: it passes, and spinning would not help.
                    Err(_) => std::thread::sleep(DEADLINE),
                }
            }
        })?;
    }
    std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            metrics.run_upkeep();
        }
    })?;
    Ok(bound)
}

fn answer(
    mut stream: TcpStream,
    metrics: &PrometheusHandle,
    plugin: &dyn ElectPlugin,
) -> std::io::Result<()> {
    stream.set_write_timeout(Some(DEADLINE))?;
    let (status, kind, body) = match request(&mut stream)? {
        Some((method, _)) if method != "GET" && method != "HEAD" => {
            ("405 Method Not Allowed", "text/plain", "use GET\n".to_owned())
        }
        Some((_, path)) if path == "/metrics" => ("200 OK", "text/plain; version=0.0.4", metrics.render()),
        Some((_, path)) if path == "/status" => {
            ("200 OK", "application/json", format!("{:#}\n", status(&plugin.snapshot())))
        }
        Some(_) => ("404 Not Found", "text/plain", "here are /metrics and /status\n".to_owned()),
        None => ("400 Bad Request", "text/plain", "this is not HTTP\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body.as_bytes())
}

/// The method and the path, `None` where what came is no request.
fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, String)>> {
    let end = Instant::now() + DEADLINE;
    let mut head = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
                return Ok(Some((request.method.unwrap_or_default().to_owned(), path.to_owned())));
            }
            Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES_MAX => {}
            Ok(httparse::Status::Partial) | Err(_) => return Ok(None),
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let mut part = [0; 1024];
        match stream.read(&mut part)? {
            0 => return Ok(None),
            n => head.extend_from_slice(&part[..n]),
        }
    }
}

/// What this node believes, as JSON. Times in milliseconds.
fn status(snapshot: &ElectSnapshot) -> Value {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let peers: Vec<Value> = snapshot
        .peers
        .iter()
        .map(|peer| {
            json!({
                "id": peer.id.as_str(),
                "up": peer.up,
                "linked": peer.linked,
                "silence_ms": peer.silence.map(ms),
                "role": peer.role.map(|role| role.as_str()),
                "epoch": peer.epoch.0,
                "primary": peer.primary.map(|id| id.to_string()),
                "stream_epoch": peer.progress.stream_epoch.0,
                "offset": peer.progress.offset,
            })
        })
        .collect();
    json!({
        "node": snapshot.node.as_str(),
        "role": snapshot.role.as_str(),
        "epoch": snapshot.epoch.0,
        "primary": snapshot.primary.map(|id| id.to_string()),
        "writable": snapshot.writable,
        "fenced": snapshot.fenced.map(|reason| reason.as_str()),
        "lease_left_ms": ms(snapshot.lease_left),
        "stream_epoch": snapshot.progress.stream_epoch.0,
        "offset": snapshot.progress.offset,
        "voters_reachable": snapshot.voters_reachable,
        "quorum": snapshot.quorum,
        "incarnation": snapshot.incarnation.0,
        "why": snapshot.why,
        "peers": peers,
    })
}
