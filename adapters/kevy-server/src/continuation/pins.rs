//! Keeps the first frames of a reign for replicas that come a little later (C10 of `docs/protocol.md`).
//!
//! At every tick kevy drops what all connected replicas were sent, so the second one to come would find the beginning gone, and
//! be sent a copy. It keeps what a slot has not acknowledged, and a connection that ends without ever having acknowledged leaves
//! such a slot for `reconnect_window_ms`. So while this node does not reign, a client of the server itself renews one on each
//! shard. It has no connection when a reign begins, or hardly ever, and `WAIT` counts nobody who has none.

use crate::follow::keys::Credentials;
use crate::inline::Inline;
use async_io::{Async, Timer};
use event_listener::Event;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use kevy_replicate::feed::FeedPosition;
use kevy_replicate::replica::ConnectOptions;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many times a slot is renewed before it would be gone.
const RENEWALS: u32 = 3;
/// The pause after the server could not be reached, as it starts for instance.
const RETRY: Duration = Duration::from_millis(50);
/// Its own server answers in microseconds, unless it loads data.
const PATIENCE: Duration = Duration::from_secs(5);
/// What it answers has no more bytes.
const ANSWER_BYTES_MAX: usize = 256;

/// Renews the slots until it is dropped.
pub(crate) struct Pins(Arc<Wish>);

#[derive(Default)]
struct Wish {
    due: Event,
    over: AtomicBool,
}

/// The server that has the slots.
struct SlotServer {
    /// Where its clients connect to.
    clients: SocketAddr,
    /// And its replicas, to this port and the ones above.
    streams: u16,
    credentials: Arc<Credentials>,
}

impl Pins {
    /// Slots for this server, which keeps them for `window`. `wanted` says how many shards need one now; `None`: the server is gone.
    pub(crate) fn start(
        wanted: impl Fn() -> Option<usize> + Send + Sync + 'static,
        clients: SocketAddr,
        streams: u16,
        credentials: Credentials,
        window: Duration,
    ) -> io::Result<Self> {
        let wish = Arc::new(Wish::default());
        let own = SlotServer { clients, streams, credentials: Arc::new(credentials) };
        Inline::get()?.spawn(run(Arc::clone(&wish), wanted, own, window / RENEWALS));
        Ok(Self(wish))
    }

    /// The node does not reign any more: it may do so again soon.
    pub(crate) fn renew(&self) {
        self.0.due.notify(usize::MAX);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.due.notify(usize::MAX);
    }
}

async fn run(wish: Arc<Wish>, wanted: impl Fn() -> Option<usize>, own: SlotServer, interval: Duration) {
    loop {
        let due = wish.due.listen();
        if wish.over.load(Ordering::Acquire) {
            return;
        }
        let Some(wanted) = wanted() else { return };
        let pause = match own.pin_all(wanted).await {
            Ok(()) => interval,
            Err(error) => {
                log::debug!("the beginning of a stream cannot be kept yet: {error}");
                RETRY
            }
        };
        select(due, pin!(Timer::after(pause))).await;
    }
}

impl SlotServer {
    async fn pin_all(&self, shards: usize) -> io::Result<()> {
        for shard in 0..shards {
            match select(pin!(self.pin(shard)), pin!(Timer::after(PATIENCE))).await {
                Either::Left((pinned, _)) => pinned?,
                Either::Right(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    /// Leaves a slot that acknowledged nothing. It claims to have all that there is, for a copy would be made for any other.
    async fn pin(&self, shard: usize) -> io::Result<()> {
        let tail = ask(self.clients, &format!("FEED.TAIL {shard}"), 3).await?;
        let numbers: Vec<&str> = tail.lines().filter_map(|line| line.strip_prefix(':')).collect();
        let [generation, next] = numbers[..] else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("FEED.TAIL: {tail:?}")));
        };
        let port = u16::try_from(shard).ok().and_then(|shard| self.streams.checked_add(shard));
        let port = port.ok_or_else(|| io::Error::other("the port is above 65535"))?;
        let (at, name) = (SocketAddr::new(self.clients.ip(), port), format!("kevy-elect-pin#{shard}"));
        if self.credentials.proves() {
            let number =
                |text: &str| text.parse().map_err(|_| io::Error::other(format!("FEED.TAIL: {text:?}")));
            let from = FeedPosition::new(number(generation)?, number(next)?);
            let (credentials, options) =
                (Arc::clone(&self.credentials), ConnectOptions::new(name).with_from(from));
            // On another thread: kevy's client waits for the answer.
            let connect = move || credentials.connect(at, &options.with_timeout(PATIENCE)).map(drop);
            return blocking::unblock(connect).await.map_err(io::Error::other);
        }
        ask(at, &format!("REPLICATE FROM {generation} {next} ID {name}"), 1).await.map(drop)
    }
}

/// Sends one command, and ends the connection once so many lines were answered.
async fn ask(address: SocketAddr, words: &str, lines: usize) -> io::Result<String> {
    let mut server = Async::<TcpStream>::connect(address).await?;
    let words: Vec<&str> = words.split(' ').collect();
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    server.write_all(format!("*{}\r\n{bulks}", words.len()).as_bytes()).await?;
    let (mut answer, mut bytes) = (String::new(), [0; ANSWER_BYTES_MAX]);
    while answer.matches('\n').count() < lines && !answer.starts_with('-') && answer.len() < ANSWER_BYTES_MAX
    {
        match server.read(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.push_str(&String::from_utf8_lossy(&bytes[..read])),
        }
    }
    if answer.starts_with('-') {
        return Err(io::Error::other(answer));
    }
    Ok(answer)
}
