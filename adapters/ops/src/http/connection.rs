//! One client: its request comes in, its answer goes out, and nothing it does costs more than this.

use super::views::WAIT_MAX;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Longest time for a request to come in, and for the answer to go out.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// Longest head of a request.
pub(super) const HEAD_BYTES_MAX: usize = 4096;
const HEADERS_MAX: usize = 32;
/// How much of what a client still sends is read after the answer, so that it is not reset before it has
/// read that.
const REST_BYTES_MAX: usize = 64 * 1024;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Garbage,
    TooLarge,
    TooSlow,
}

/// An answer, ready to be written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) kind: &'static str,
    pub(super) body: String,
    /// Whether the client wants only the head.
    pub(super) head_only: bool,
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let Self { status, kind, body, head_only } = self;
        // Nothing here may be kept: it is old a heartbeat later. And nothing else may be loaded by a page.
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAllow: GET, HEAD, OPTIONS\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; \
             style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if !head_only {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

/// Answers a request; `None`: not yet. With `true` it has waited long enough: the answer is what is known.
pub(super) type Desk<'a> = dyn FnMut(&Result<Request, Bad>, bool) -> Option<Answer> + 'a;

enum State {
    /// The head so far.
    Reading(Vec<u8>),
    /// Other nodes are asked for a part of the answer.
    Waiting(Result<Request, Bad>),
    /// The answer, and how much of it is written.
    Writing(Vec<u8>, usize),
    /// Answered; how much was read since.
    Draining(usize),
}

/// A client's connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    state: State,
    deadline: Instant,
}

/// What the connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Read,
    Write,
    /// What other nodes say.
    News,
    /// It is done.
    End,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Self {
        Self { stream, state: State::Reading(Vec::new()), deadline: now + DEADLINE }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its request has not come in yet.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Goes on as far as the socket lets it.
    pub(super) fn go_on(&mut self, now: Instant, desk: &mut Desk<'_>) -> Wants {
        loop {
            let next = match &mut self.state {
                State::Reading(head) => {
                    let mut part = [0; 1024];
                    match self.stream.read(&mut part) {
                        Ok(0) => return Wants::End,
                        Ok(n) => {
                            head.extend_from_slice(&part[..n]);
                            let Some(request) = parse(head) else { continue };
                            match desk(&request, false) {
                                Some(answer) => State::Writing(answer.bytes(), 0),
                                None => {
                                    self.state = State::Waiting(request);
                                    self.deadline = now + WAIT_MAX;
                                    return Wants::News;
                                }
                            }
                        }
                        Err(error) => match wait(&error) {
                            Some(true) => return Wants::Read,
                            Some(false) => continue,
                            None => return Wants::End,
                        },
                    }
                }
                State::Waiting(request) => match desk(request, false) {
                    Some(answer) => State::Writing(answer.bytes(), 0),
                    None => return Wants::News,
                },
                State::Writing(bytes, written) => match self.stream.write(&bytes[*written..]) {
                    Ok(n) => {
                        *written += n;
                        if *written < bytes.len() {
                            continue;
                        }
                        drop(self.stream.shutdown(Shutdown::Write));
                        State::Draining(0)
                    }
                    Err(error) => match wait(&error) {
                        Some(true) => return Wants::Write,
                        Some(false) => continue,
                        None => return Wants::End,
                    },
                },
                State::Draining(read) => {
                    let mut part = [0; 4096];
                    match self.stream.read(&mut part) {
                        Ok(0) => return Wants::End,
                        Ok(n) => {
                            *read += n;
                            if *read > REST_BYTES_MAX {
                                return Wants::End;
                            }
                            continue;
                        }
                        Err(error) => match wait(&error) {
                            Some(true) => return Wants::Read,
                            Some(false) => continue,
                            None => return Wants::End,
                        },
                    }
                }
            };
            // Each part has its own time.
            self.deadline = now + DEADLINE;
            self.state = next;
        }
    }

    /// Its time is over. One that was too slow to ask is told so; one that waited gets what is known.
    pub(super) fn late(&mut self, now: Instant, desk: &mut Desk<'_>) -> Wants {
        let answer = match &self.state {
            State::Reading(head) if !head.is_empty() => desk(&Err(Bad::TooSlow), true),
            State::Waiting(request) => desk(request, true),
            _ => None,
        };
        let Some(answer) = answer else { return Wants::End };
        self.state = State::Writing(answer.bytes(), 0);
        self.deadline = now + DEADLINE;
        self.go_on(now, desk)
    }
}

/// `true`: wait for the socket; `false`: try again; `None`: it is broken.
fn wait(error: &std::io::Error) -> Option<bool> {
    match error.kind() {
        ErrorKind::WouldBlock => Some(true),
        ErrorKind::Interrupted => Some(false),
        _ => None,
    }
}

/// `None`: more is needed.
fn parse(head: &[u8]) -> Option<Result<Request, Bad>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {
            let target = request.path.unwrap_or_default();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let method = request.method.unwrap_or_default().to_owned();
            Some(Ok(Request { method, path: path.to_owned(), query: query.to_owned() }))
        }
        Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES_MAX => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Some(Err(Bad::TooLarge)),
        Err(_) => Some(Err(Bad::Garbage)),
    }
}
