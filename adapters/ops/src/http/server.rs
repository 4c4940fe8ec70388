//! All clients on one thread of their own, which waits for none of them longer than is said here.
//!
//! What is HTTP is hyper's. Here is what it does not bound: how many connections there are, how long each takes, and how
//! one ends. The sockets' readiness comes by the election's reactor, at the price of one wake; everything else that a
//! client can make happen, happens here.

use super::pages::Pages;
use super::views::WAIT_MAX;
use async_executor::{LocalExecutor, Task};
use async_io::{Async, Timer};
use futures_lite::future::{block_on, or, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol_hyper::rt::FuturesIo;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

/// Connections at once. One more, and the oldest that has not asked yet is closed: an honest client asks at
/// once, so others cannot keep it out by holding connections.
const CONNECTIONS_MAX: usize = 64;
/// Longest time for a request to come in, and for the answer to go out.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest head of a request, and the most headers in it.
const HEAD_BYTES_MAX: usize = 4096;
const HEADERS_MAX: usize = 32;
/// How much of what a client still sends is read after the answer, so that it is not reset before it has
/// read that.
const REST_BYTES_MAX: usize = 64 * 1024;
/// How often what was recorded is folded into the histograms; also done by every scrape.
const UPKEEP: Duration = Duration::from_secs(5);
/// The pause after the system would not give us a connection (out of file descriptors, mostly).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections that were closed before they were answered.
const CLOSED: &str = "kevy_elect_http_closed_total";
/// What a client that is too slow to ask is told.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Serves `pages` at an open port for the rest of the process's life. Says where.
pub fn serve(listener: TcpListener, pages: Pages) -> std::io::Result<SocketAddr> {
    metrics::describe_counter!(
        CLOSED,
        "Connections to the pages that were closed without an answer: `too-many` at once, `too-slow` to ask."
    );
    // There from the first scrape.
    for reason in ["too-many", "too-slow"] {
        metrics::counter!(CLOSED, "reason" => reason).increment(0);
    }
    let bound = listener.local_addr()?;
    let listener = Async::new(listener)?;
    // Not async-io's block_on: it would take turns with the election's thread in waiting for all sockets.
    let run = move || block_on(run(&listener, pages));
    std::thread::Builder::new().name("http".to_owned()).spawn(run)?;
    Ok(bound)
}

/// A client that is being served.
struct Client {
    /// Its connection is closed when this is dropped.
    task: Task<()>,
    asked: Rc<Cell<bool>>,
}

async fn run(listener: &Async<TcpListener>, pages: Pages) {
    let (executor, pages) = (LocalExecutor::new(), Rc::new(pages));
    let folded = Rc::clone(&pages);
    let upkeep = async move {
        loop {
            Timer::after(UPKEEP).await;
            folded.upkeep();
        }
    };
    executor.spawn(upkeep).detach();
    executor.run(accept(listener, &pages, &executor)).await;
}

/// Lets in who comes.
async fn accept<'a>(listener: &Async<TcpListener>, pages: &Rc<Pages>, executor: &LocalExecutor<'a>) {
    // By age.
    let mut clients: VecDeque<Client> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                make_room(&mut clients);
                let asked = Rc::new(Cell::new(false));
                let task = executor.spawn(serve_one(stream, Rc::clone(pages), Rc::clone(&asked)));
                clients.push_back(Client { task, asked });
            }
            // It went away while it waited.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(_) => {
                Timer::after(ACCEPT_RETRY).await;
            }
        }
        // Those who are in have their turn.
        yield_now().await;
    }
}

fn make_room(clients: &mut VecDeque<Client>) {
    clients.retain(|client| !client.task.is_finished());
    if clients.len() >= CONNECTIONS_MAX {
        let silent = clients.iter().position(|client| !client.asked.get());
        clients.remove(silent.unwrap_or_default());
        metrics::counter!(CLOSED, "reason" => "too-many").increment(1);
    }
}

/// One request, one answer, and the end of the connection.
async fn serve_one(stream: Async<TcpStream>, pages: Rc<Pages>, asked: Rc<Cell<bool>>) {
    let (inside, said) = (Rc::clone(&asked), Rc::clone(&pages));
    let service = service_fn(move |request| {
        inside.set(true);
        Box::pin(answer(Rc::clone(&said), request))
    });
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .title_case_headers(true)
        .serve_connection(FuturesIo::new(stream), service);
    let mut talk = async || {
        // An error was answered by hyper, or there is nobody to answer.
        let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
        true
    };
    let mut ended = or(talk(), late(DEADLINE)).await;
    if !ended && asked.get() {
        ended = or(talk(), late(WAIT_MAX + DEADLINE)).await;
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    let half_asked = !asked.get() && !parts.read_buf.is_empty();
    if ended || half_asked {
        let end = async {
            if !ended {
                metrics::counter!(CLOSED, "reason" => "too-slow").increment(1);
                let _ = stream.write_all(TOO_SLOW).await;
            }
            hang_up(&mut stream).await;
            true
        };
        or(end, late(DEADLINE)).await;
    }
}

async fn late(after: Duration) -> bool {
    Timer::after(after).await;
    false
}

/// Closes the connection so that the client can still read the answer.
async fn hang_up(stream: &mut Async<TcpStream>) {
    let _ = stream.get_ref().shutdown(Shutdown::Write);
    let (mut part, mut rest) = ([0; 4096], REST_BYTES_MAX);
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        rest = rest.saturating_sub(read);
        if rest == 0 {
            return;
        }
    }
}

async fn answer(
    pages: Rc<Pages>,
    request: Request<Incoming>,
) -> Result<Response<String>, hyper::http::Error> {
    let (method, uri) = (request.method(), request.uri());
    let answer = pages.answer(method, uri.path(), uri.query().unwrap_or_default()).await;
    Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.kind)
        .header(ALLOW, "GET, HEAD, OPTIONS")
        // Nothing here may be kept: it is old a heartbeat later. And nothing else may be loaded by a page.
        .header(CACHE_CONTROL, "no-store")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
        )
        .body(answer.body)
}
