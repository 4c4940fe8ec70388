//! All clients on one thread that shares nothing with the election's: whatever they do, no timer waits for it.

use super::connection::{Bad, Connection, Request, Wants};
use super::pages::Pages;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Connections at once. One more, and the oldest that has not asked yet is closed: an honest client asks at
/// once, so others cannot keep it out by holding connections.
const CONNECTIONS_MAX: usize = 64;
/// Connections taken in one turn, so that those which are there get theirs.
const ACCEPTS_PER_TURN: usize = 32;
/// How often what was recorded is folded into the histograms; also done by every scrape.
const UPKEEP: Duration = Duration::from_secs(5);
/// The pause after the system would not give us a connection (out of file descriptors, mostly).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `pages` at `address` for the rest of the process's life. Says where.
pub fn serve(address: SocketAddr, pages: Pages) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let server = Server { listener, pages, clients: Vec::new() };
    std::thread::Builder::new().name("http".to_owned()).spawn(move || server.run())?;
    Ok(bound)
}

struct Server {
    listener: TcpListener,
    pages: Pages,
    /// By age.
    clients: Vec<(Connection, Wants)>,
}

impl Server {
    fn run(mut self) {
        let mut upkeep = Instant::now() + UPKEEP;
        loop {
            let first = self.clients.iter().map(|(client, _)| client.deadline()).fold(upkeep, Instant::min);
            let (door, news, ready) = self.wait(first);
            let now = Instant::now();
            if now >= upkeep {
                self.pages.upkeep();
                upkeep = now + UPKEEP;
            }
            self.go_on(now, news, &ready);
            if door && !self.accept(now) {
                std::thread::sleep(ACCEPT_RETRY);
            }
        }
    }

    /// Waits for sockets or `until`. Says whether somebody is at the door, whether a peer has answered, and which
    /// clients can go on.
    fn wait(&self, until: Instant) -> (bool, bool, Vec<bool>) {
        let bell = self.pages.views.bell();
        let mut sockets = vec![PollFd::new(&self.listener, PollFlags::IN), PollFd::new(bell, PollFlags::IN)];
        sockets.extend(self.clients.iter().map(|(client, wants)| {
            let flags = match wants {
                Wants::Write => PollFlags::OUT,
                // Its end is told all the same.
                Wants::News => PollFlags::empty(),
                Wants::Read | Wants::End => PollFlags::IN,
            };
            PollFd::new(&client.stream, flags)
        }));
        // A little late rather than a little early: early is a turn for nothing.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        // Interrupted: nothing is ready, and the next turn asks again.
        let _ = poll(&mut sockets, Timespec::try_from(left).ok().as_ref());
        let mut ready = sockets.iter().map(|socket| !socket.revents().is_empty());
        (ready.next().unwrap_or_default(), ready.next().unwrap_or_default(), ready.collect())
    }

    fn go_on(&mut self, now: Instant, news: bool, ready: &[bool]) {
        let pages = &self.pages;
        let mut desk = |request: &Result<Request, Bad>, late| pages.answer(now, request, late);
        if news {
            pages.views.hush();
        }
        let mut ready = ready.iter();
        self.clients.retain_mut(|(client, wants)| {
            let ready = ready.next() == Some(&true);
            *wants = match *wants {
                // It went away while it waited.
                Wants::News if ready => Wants::End,
                _ if client.deadline() <= now && !ready => client.late(now, &mut desk),
                Wants::News if news => client.go_on(now, &mut desk),
                _ if ready => client.go_on(now, &mut desk),
                same => same,
            };
            *wants != Wants::End
        });
    }

    /// Lets in who waits at the door. `false`: the system has no more connections to give.
    fn accept(&mut self, now: Instant) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    self.make_room();
                    let mut client = Connection::new(stream, now);
                    // Most have asked already.
                    let pages = &self.pages;
                    let wants = client.go_on(now, &mut |request, late| pages.answer(now, request, late));
                    if wants != Wants::End {
                        self.clients.push((client, wants));
                    }
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    std::io::ErrorKind::WouldBlock => return true,
                    // It went away while it waited.
                    std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::Interrupted => {}
                    _ => return false,
                },
            }
        }
        true
    }

    fn make_room(&mut self) {
        if self.clients.len() < CONNECTIONS_MAX {
            return;
        }
        let silent = self.clients.iter().position(|(client, _)| client.is_silent());
        self.clients.remove(silent.unwrap_or_default());
    }
}
