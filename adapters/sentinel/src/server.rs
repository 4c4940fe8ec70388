//! Sockets, on a thread that shares nothing with the election: whatever clients do, no timer of it waits for them.

use crate::commands::{Context, Next, Session};
use crate::forward::Forward;
use crate::limits::CONNECTIONS_MAX;
use crate::members::{Member, Members};
use crate::switch::Switch;
use crate::view::{Plugin, Source, VIEW_AGE_MAX, View};
use kevy_elect_plugin::plugin::ElectPlugin;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_keepalive;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a client may read nothing of an answer that waits for it.
const STALLED_MAX: Duration = Duration::from_secs(10);
/// Connections taken in one turn, so that those which are there get theirs.
const ACCEPTS_PER_TURN: usize = 64;
/// Bytes read from one client in one turn.
const READ_BYTES: usize = 4096;
/// Answers that may wait for a client before no more of its commands are executed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The same for one that listens and does not read: then it is closed.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Without a primary for so long a node lets nobody in: clients then ask the next one. At once where it hears no quorum.
const LISTENS_WITHOUT_PRIMARY: Duration = Duration::from_secs(2);
/// How often a node looks for a primary while it knows none. The election does not tell of everything that matters here.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The same after [`LISTENS_WITHOUT_PRIMARY`], and while there is one.
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(250);
/// Connections that were closed because there were too many.
const REFUSED: &str = "kevy_elect_sentinel_refused_total";
/// Connections that were closed because nothing of what waited for them was read.
const STALLED: &str = "kevy_elect_sentinel_stalled_total";

/// How it is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a voter elects nobody else after it heard a primary: the election timeout.
    pub promise: Duration,
    /// What clients have to say before they are answered.
    pub password: Option<String>,
}

/// Wakes the server when the election has decided something.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Members that came since it was served, and that it has not taken up yet.
    met: Arc<Mutex<Vec<Member>>>,
    bell: Arc<UnixStream>,
    at: SocketAddr,
}

impl Handle {
    /// Looks at what the election knows now. Call it for every event of the election.
    pub fn wake(&self) {
        // Full: it is ringing already.
        let _ = (&*self.bell).write(&[0]);
    }

    /// One more member. Clients are told of it, too, from then on. Or one that is known, which is elsewhere now.
    pub fn meet(&self, member: Member) {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).push(member);
        self.wake();
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

/// Serves whoever comes to `door` for the rest of the process's life. Without a primary the door is closed for a while, and then opened
/// again at the same address.
pub fn serve(
    door: TcpListener,
    settings: Settings,
    members: Members,
    plugin: Arc<dyn ElectPlugin>,
) -> io::Result<Handle> {
    let source = Plugin { plugin, promise: settings.promise };
    start(door, settings, members, Box::new(source))
}

pub(crate) fn start(
    door: TcpListener,
    settings: Settings,
    members: Members,
    source: Box<dyn Source>,
) -> io::Result<Handle> {
    for (name, about) in [
        (REFUSED, "Connections to Sentinel's port that were closed, because there were too many."),
        (
            STALLED,
            "Connections to Sentinel's port that were closed, because nothing of what waited for them was read.",
        ),
    ] {
        metrics::describe_counter!(name, about);
        metrics::counter!(name).increment(0);
    }
    door.set_nonblocking(true)?;
    let at = door.local_addr()?;
    let (bell, rings) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    rings.set_nonblocking(true)?;
    let bell = Arc::new(bell);
    let (now, met) = (Instant::now(), Arc::<Mutex<Vec<Member>>>::default());
    let server = Server {
        view: source.look(&members),
        settings,
        at,
        members,
        met: Arc::clone(&met),
        source,
        listener: Some(door),
        rings,
        bell: Arc::clone(&bell),
        forward: None,
        clients: Vec::new(),
        switch: Switch::default(),
        born: now,
        primary_at: now,
        clients_ever: 0,
    };
    std::thread::Builder::new().name("sentinel".to_owned()).spawn(move || server.run())?;
    Ok(Handle { met, bell, at })
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Server {
    settings: Settings,
    at: SocketAddr,
    members: Members,
    met: Arc<Mutex<Vec<Member>>>,
    source: Box<dyn Source>,
    view: View,
    listener: Option<TcpListener>,
    rings: UnixStream,
    bell: Arc<UnixStream>,
    /// What the primary is asked for a client. One at a time: it has one office.
    forward: Option<Forward>,
    clients: Vec<Client>,
    switch: Switch,
    born: Instant,
    /// When somebody was last known to take writes.
    primary_at: Instant,
    clients_ever: u64,
}

struct Client {
    stream: TcpStream,
    session: Session,
    /// Answers that are not written yet.
    out: Vec<u8>,
    next: Next,
    active: Instant,
    gone: bool,
}

/// What a turn was woken by.
struct Ready {
    door: bool,
    bell: bool,
    clients: Vec<bool>,
}

impl Server {
    fn run(mut self) {
        loop {
            let ready = self.wait();
            let now = Instant::now();
            if ready.bell {
                // Whatever is in there, one look answers it.
                let _ = self.rings.read(&mut [0; 64]);
            }
            self.look(now, ready.bell);
            self.serve(now, &ready.clients);
            if ready.door {
                self.accept(now);
            }
            self.clients.retain(|client| !client.gone);
            let subscribers = self.clients.iter().filter(|client| client.session.is_subscriber()).count();
            metrics::gauge!("kevy_elect_sentinel_connections").set(self.clients.len() as f64);
            metrics::gauge!("kevy_elect_sentinel_subscribers").set(subscribers as f64);
        }
    }

    fn wait(&self) -> Ready {
        let now = Instant::now();
        let mut until = now + self.look_interval(now);
        until = self.switch.due().map_or(until, |due| until.min(due));
        until = self.forward.as_ref().map_or(until, |forward| until.min(forward.until()));
        let mut sockets = vec![PollFd::new(&self.rings, PollFlags::IN)];
        for client in &self.clients {
            let mut flags = if client.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            match client.next {
                // One who does not read is not read from.
                Next::Read if client.out.is_empty() => flags |= PollFlags::IN,
                Next::Wait(deadline) => until = until.min(deadline),
                Next::Read | Next::More | Next::Forward(_) | Next::Close => {}
            }
            sockets.push(PollFd::new(&client.stream, flags));
        }
        sockets.extend(self.listener.as_ref().map(|listener| PollFd::new(listener, PollFlags::IN)));
        // A little late rather than a little early: early is a turn for nothing.
        let left = until.saturating_duration_since(now) + Duration::from_millis(1);
        // Interrupted: nothing is ready, and the next turn asks again.
        let _ = poll(&mut sockets, Timespec::try_from(left).ok().as_ref());
        let mut ready = sockets.iter().map(|socket| !socket.revents().is_empty());
        let bell = ready.next().unwrap_or_default();
        let clients: Vec<bool> = ready.by_ref().take(self.clients.len()).collect();
        Ready { bell, clients, door: ready.next().unwrap_or_default() }
    }

    fn look_interval(&self, now: Instant) -> Duration {
        match self.view.primary(now) {
            None if now.saturating_duration_since(self.primary_at) < LISTENS_WITHOUT_PRIMARY => LOOK_INTERVAL,
            _ => LOOK_INTERVAL_MAX,
        }
    }

    /// Asks the election, tells listeners of a switch, and opens or closes the door.
    fn look(&mut self, now: Instant, decided: bool) {
        let met = std::mem::take(&mut *self.met.lock().unwrap_or_else(PoisonError::into_inner));
        let more = !met.is_empty();
        for member in met {
            match self.members.all.iter_mut().find(|known| known.id == member.id) {
                Some(known) => *known = member,
                None => self.members.all.push(member),
            }
        }
        if more || decided || now.saturating_duration_since(self.view.taken) >= VIEW_AGE_MAX {
            self.view = self.source.look(&self.members);
        }
        match self.view.primary(now) {
            Some(primary) => {
                self.primary_at = now;
                for message in self.switch.note(&self.members, primary, now) {
                    if message.channel == "+switch-master" {
                        log::info!(target: "kevy_elect", "clients are told of the new primary: {}", message.text);
                        metrics::counter!("kevy_elect_sentinel_switches_total").increment(1);
                    }
                    for client in &mut self.clients {
                        if client.out.is_empty() {
                            client.active = now;
                        }
                        client.session.tell(&message, &mut client.out);
                    }
                }
                self.open();
            }
            None => {
                self.switch.interrupt();
                let alone = self.is_alone(now);
                if alone || now.saturating_duration_since(self.primary_at) >= LISTENS_WITHOUT_PRIMARY {
                    self.close();
                }
                if alone {
                    // Some clients go on with whoever has answered, even that there is no primary.
                    let waits = |client: &Client| matches!(client.next, Next::Wait(_));
                    self.clients
                        .iter_mut()
                        .filter(|client| waits(client))
                        .for_each(|client| client.gone = true);
                }
            }
        }
    }

    /// Whether it knew of a primary, and hears no quorum any more: then it will be the last one to hear of the next, and who asks here
    /// has to ask another node.
    fn is_alone(&self, now: Instant) -> bool {
        let View { reachable, quorum, .. } = self.view;
        self.view.primary(now).is_none() && self.switch.last().is_some() && reachable < quorum
    }

    fn open(&mut self) {
        if self.listener.is_some() {
            return;
        }
        // Where the port is taken meanwhile the next look tries again.
        match listen(self.at) {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => {
                log::warn!(target: "kevy_elect", "cannot listen on {} again: {error}", self.at)
            }
        }
        metrics::gauge!("kevy_elect_sentinel_listening").set(if self.listener.is_some() { 1.0 } else { 0.0 });
    }

    fn close(&mut self) {
        if self.listener.take().is_some() {
            log::warn!(
                target: "kevy_elect",
                "no primary is known: {} is closed until there is one, so that clients ask another node",
                self.at
            );
            metrics::gauge!("kevy_elect_sentinel_listening").set(0.0);
        }
    }

    fn serve(&mut self, now: Instant, ready: &[bool]) {
        let primary = self.view.primary(now);
        let source = &self.source;
        let hand_over = || {
            log::info!(target: "kevy_elect", "a client of the Sentinel port asks this node to hand the office over");
            source.hand_over()
        };
        let mut answered = self.forward.as_ref().and_then(|forward| forward.answer(now));
        if answered.is_some() {
            self.forward = None;
        }
        let count = self.clients.len();
        let mut subscribers = self.clients.iter().filter(|client| client.session.is_subscriber()).count();
        for (client, ready) in self.clients.iter_mut().zip(ready) {
            let due = match client.next {
                Next::Wait(deadline) => primary.is_some() || deadline <= now,
                Next::Forward(_) => {
                    let own = answered.take_if(|(id, _)| *id == client.session.id());
                    own.is_some_and(|(_, line)| {
                        client.session.forwarded(line);
                        true
                    })
                }
                _ => false,
            };
            if !ready && !due && client.out.is_empty() {
                continue;
            }
            let listened = client.session.is_subscriber();
            let mut context = Context {
                members: &self.members,
                view: &self.view,
                primary,
                last: self.switch.last(),
                now,
                promise: self.settings.promise,
                password: self.settings.password.as_deref(),
                clients: count,
                subscribers,
                uptime: now.saturating_duration_since(self.born),
                hand_over: &hand_over,
                forwarding: self.forward.is_some(),
            };
            client.go_on(*ready, due, &mut context);
            if let Next::Forward(to) = client.next
                && self.forward.is_none()
            {
                let password = self.settings.password.as_deref();
                let (id, bell) = (client.session.id(), Arc::clone(&self.bell));
                self.forward = Some(Forward::start(id, &self.members, to, password, bell, now));
            }
            subscribers += usize::from(!listened && client.session.is_subscriber());
        }
    }

    /// Lets in who waits at the door.
    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) =>
                {
                    continue;
                }
                // Nobody is there, or the system has no more to give: those who are in may end before the next turn.
                Err(_) => return,
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            // Clients that listen say nothing for days: the kernel finds out whether they are still there.
            let _ = set_socket_keepalive(&stream, true);
            let _ = stream.set_nodelay(true);
            if self.clients.len() >= CONNECTIONS_MAX {
                let idle =
                    self.clients.iter().enumerate().filter(|(_, client)| !client.session.is_subscriber());
                let Some((index, _)) = idle.min_by_key(|(_, client)| client.active) else {
                    metrics::counter!(REFUSED).increment(1);
                    continue;
                };
                self.clients.swap_remove(index);
                metrics::counter!(REFUSED).increment(1);
            }
            self.clients_ever += 1;
            let session = Session::new(self.clients_ever);
            self.clients.push(Client {
                stream,
                session,
                out: Vec::new(),
                next: Next::Read,
                active: now,
                gone: false,
            });
        }
    }
}

impl Client {
    /// Reads, answers and writes as far as the socket lets it. `due`: what waits for a primary has to be answered.
    fn go_on(&mut self, ready: bool, due: bool, context: &mut Context<'_>) {
        let mut came = [0; READ_BYTES];
        let mut size = 0;
        if ready && self.next == Next::Read && self.out.is_empty() {
            match self.stream.read(&mut came) {
                Ok(0) => return self.gone = true,
                Ok(read) => {
                    size = read;
                    self.active = context.now;
                }
                Err(error) if is_later(&error) => {}
                Err(_) => return self.gone = true,
            }
        }
        if size > 0 || due {
            self.next = self.session.go_on(&came[..size], context, &mut self.out, ANSWER_BYTES_MAX);
        }
        self.write(context.now);
        while self.next == Next::More && self.out.is_empty() && !self.gone {
            self.next = self.session.go_on(&[], context, &mut self.out, ANSWER_BYTES_MAX);
            self.write(context.now);
        }
        let stalled = context.now.saturating_duration_since(self.active) > STALLED_MAX;
        let unread = self.out.len() > MESSAGE_BYTES_MAX || (stalled && !self.out.is_empty());
        metrics::counter!(STALLED).increment(u64::from(unread));
        self.gone |= unread || (self.next == Next::Close && self.out.is_empty());
    }

    fn write(&mut self, now: Instant) {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(0) => break,
                Ok(size) => {
                    written += size;
                    self.active = now;
                }
                Err(error) if is_later(&error) => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.out.drain(..written);
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
