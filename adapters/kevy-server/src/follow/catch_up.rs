//! Fetches the frames that a primary's stream does not bring ([`crate::follow::feed`]), until it may bring them again.
//!
//! Frames that are fetched pass the same checks, under the same lock, as frames that come; acknowledgements go on over
//! the stream's connection, which stands where it stood.

use crate::follow::feed::{Answer, Feed};
use crate::follow::link::{End, Link};
use kevy_rt::Argv;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// kevy's bound, less what surrounds a frame there: larger ones do not come.
const STREAMED_BYTES_MAX: usize = 250 * 1024;
/// What surrounds a word in a frame, at most.
const WORD_BYTES: usize = 16;
/// So long after the last such frame the stream is tried again.
const LINGER: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two attempts that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Frames that are asked for at once, and how large they may be together if they are like the ones before.
const FRAMES_MAX: u64 = 256;
const FRAMES_BYTES: usize = 4 << 20;
/// Questions before the stream's own connection is looked at again.
const ROUNDS_MAX: usize = 16;

/// So many times in a row the primary may end the connection in place of an answer. kevy does that where the answer has more than 512 MiB: it has
/// put all of it together by then, so asking again costs the primary much and brings nothing.
const CUT_OFF_MAX: u32 = 2;

/// How a question ended.
enum Round {
    Went,
    Nothing,
    Gone(String),
    Ended(End),
}

/// Frames being fetched.
pub(crate) struct CatchUp {
    link: Arc<Link>,
    address: SocketAddr,
    feed: Option<Feed>,
    /// When a frame was fetched last that the stream does not bring.
    last_large: Instant,
    retry: Instant,
    /// How many frames to ask for: one, until it is known how large they are.
    count: u64,
    fetched: u64,
    /// How often in a row the primary answered no question for one frame, and ended the connection.
    cut_off: u32,
    over: bool,
}

impl CatchUp {
    /// From the client port of the host at the other end of `stream`.
    pub(crate) fn new(link: &Arc<Link>, stream: &TcpStream) -> Result<Self, String> {
        let ip = stream.peer_addr().map_err(|error| error.to_string())?.ip();
        let address = SocketAddr::new(ip, link.origin.addresses.site().client_port);
        let now = Instant::now();
        let link = Arc::clone(link);
        Ok(Self {
            link,
            address,
            feed: None,
            last_large: now,
            retry: now,
            count: 1,
            fetched: 0,
            cut_off: 0,
            over: false,
        })
    }

    /// Whether there may be more to fetch.
    pub(crate) fn goes_on(&self) -> bool {
        !self.over
    }

    /// Whether anything was fetched.
    pub(crate) fn fetched(&self) -> bool {
        self.fetched > 0
    }

    /// Fetches what there is of the stream `generation`, and hands it to `pass`. Says why something cannot be had, and whether it
    /// never can.
    pub(crate) fn step(
        &mut self,
        generation: u64,
        mut pass: impl FnMut(u64, Argv) -> Result<bool, End>,
    ) -> Result<Option<(String, bool)>, End> {
        if Instant::now() < self.retry {
            return Ok(None);
        }
        for _ in 0..ROUNDS_MAX {
            let next = self.link.state().next;
            match self.round(generation, &mut pass, next) {
                Ok(Round::Went) => self.cut_off = 0,
                Ok(Round::Nothing) => {
                    self.link.state().stall.nothing();
                    // A look that found nothing at all was a false alarm.
                    self.over = !self.fetched() || self.last_large.elapsed() >= LINGER;
                    return Ok(None);
                }
                Ok(Round::Gone(reason)) => return Ok(Some((reason, true))),
                Ok(Round::Ended(end)) => return Err(end),
                Err(error) => {
                    if !self.link.state().open {
                        return Err(End::Over);
                    }
                    self.close();
                    self.retry = Instant::now() + RETRY_INTERVAL;
                    self.cut_off = if self.count == 1 && is_end(&error) { self.cut_off + 1 } else { 0 };
                    let reason = format!("frame {next} does not come, and cannot be fetched: {error}");
                    self.link.complain(&reason);
                    return Ok(Some((reason, self.cut_off >= CUT_OFF_MAX)));
                }
            }
        }
        self.over = self.last_large.elapsed() >= LINGER;
        Ok(None)
    }

    /// One question, and all that is answered.
    fn round(
        &mut self,
        generation: u64,
        pass: &mut impl FnMut(u64, Argv) -> Result<bool, End>,
        next: u64,
    ) -> io::Result<Round> {
        let mut feed = match self.feed.take() {
            Some(feed) => feed,
            None => {
                let feed = Feed::connect(&self.link.origin.asker, self.address, CONNECT_TIMEOUT)?;
                let mut state = self.link.state();
                if !state.open {
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                state.feed = Some(feed.handle()?);
                feed
            }
        };
        let frames = match feed.ask(self.link.shard, generation, next, self.count)? {
            Answer::Gone(reason) => return Ok(Round::Gone(reason)),
            Answer::Unreadable => {
                // Its log has the same record: a restart would drop that, and all that is behind it.
                feed.rewrite_log()?;
                return Ok(Round::Gone(format!(
                    "a frame from {next} on has more words than kevy reads, and the primary writes its log anew"
                )));
            }
            Answer::Frames(frames) => frames,
        };
        let mut largest = 1;
        for _ in 0..frames {
            let (offset, argv) = feed.frame()?;
            largest = largest.max(self.note(offset, &argv));
            if let Err(end) = pass(offset, argv) {
                return Ok(Round::Ended(end));
            }
        }
        self.feed = Some(feed);
        if frames == 0 {
            return Ok(Round::Nothing);
        }
        let fit = u64::try_from(FRAMES_BYTES / largest).unwrap_or(u64::MAX);
        self.count = (self.count * 2).min(fit).clamp(1, FRAMES_MAX);
        Ok(Round::Went)
    }

    /// Counts a frame. Says how large it is.
    fn note(&mut self, offset: u64, argv: &Argv) -> usize {
        let size = argv.iter().map(<[u8]>::len).sum::<usize>();
        if !self.fetched() {
            log::info!(
                "shard {}: frame {offset} of {size} bytes does not come by itself and was fetched",
                self.link.shard
            );
        }
        self.fetched += 1;
        metrics::counter!("kevy_server_stream_fetched_total").increment(1);
        // What surrounds each word counts too.
        let whole = size + argv.len() * WORD_BYTES;
        if self.fetched == 1 || whole >= STREAMED_BYTES_MAX {
            self.last_large = Instant::now();
        }
        whole
    }

    fn close(&mut self) {
        self.feed = None;
        if let Some(socket) = self.link.state().feed.take() {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

/// Whether the other end ended the connection. One that is not there any more refuses the next one.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        self.close();
    }
}
