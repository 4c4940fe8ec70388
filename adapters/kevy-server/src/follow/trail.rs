//! What a primary writes while this node copies from it (C14 of `docs/protocol.md`).
//!
//! kevy keeps what it streams up to `replication_buffer_size`, and a copy takes as long as the data is large: where more than that is written
//! meanwhile, the copy would be followed by the next one, for ever. So a thread fetches what is written from the moment before the copy is
//! asked for, and puts it into a file that has no name; the stream goes on with it once the copy is there. One round
//! asks for all that there was when the round before was answered: what the primary has to keep is what is written in two rounds.

use crate::follow::feed::{Answer, Feed};
use crate::follow::link::Link;
use kevy_rt::Argv;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames of one question: kevy gives no more at once. And how large they may be together if they are like the ones before.
const FRAMES_MAX: u64 = 4096;
const FRAMES_BYTES: usize = 4 << 20;
/// How many times as many are asked for in the next round, until they are that large: each round waits for a turn of a busy shard.
const FASTER: u64 = 8;
/// Questions of one round: as few as do, because the primary's shard answers them all before it turns to its clients.
const QUESTIONS_MIN: u64 = 2;
const QUESTIONS_MAX: u64 = 16;
/// Between two rounds where nothing was written.
const PAUSE: Duration = Duration::from_millis(2);
/// So close to the primary's end the stream goes on by itself.
const CLOSE_FRAMES: u64 = 256;
/// What the file takes at most.
const BYTES_MAX: u64 = 64 << 30;
/// The largest word, as kevy has it.
const WORD_BYTES_MAX: usize = kevy_resp::MAX_BULK_LEN;

/// Frames that were fetched, in the order of the stream.
pub(crate) struct Trail {
    /// The stream of which they are.
    pub(crate) generation: u64,
    file: BufReader<File>,
    shared: Arc<Shared>,
    /// Frames that were taken out.
    taken: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Frames in the file.
    frames: u64,
    /// Frames that the primary had more when that was looked at, if it was.
    behind: u64,
    looked: bool,
    /// Why no more come.
    failed: Option<String>,
}

/// What comes out of it.
pub(crate) enum Next {
    /// The frame at this offset.
    Frame(u64, Argv),
    /// The primary has no more, or hardly more, than what came out.
    Close,
}

impl Trail {
    /// Begins at this frame, or with the next one that the primary writes. To be called before a copy is asked for.
    pub(crate) fn start(link: &Arc<Link>, at: Option<u64>) -> io::Result<Self> {
        let disk = link.shards.disk().ok_or_else(|| io::Error::other("there is no directory for it"))?;
        let (into, from) = disk.scratch(link.shard)?;
        let (port, asker) = (link.origin.addresses.site().client_port, &link.origin.asker);
        let connect = |ip| {
            Feed::connect(asker, SocketAddr::new(ip, port), CONNECT_TIMEOUT)
                .map_err(|error| error.to_string())
        };
        let (mut feed, _) = link.origin.addresses.try_each(connect).map_err(io::Error::other)?;
        let (generation, tail) = feed.tail(link.shard)?;
        let next = at.unwrap_or(tail);
        // Before anything depends on it: the thread that goes on with this may have to wait for a processor.
        feed.want_room(link.shard, next, 0);
        feed.send()?;
        feed.room_answer()?;
        let handle = feed.handle()?;
        let mut state = link.state();
        if !state.open {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.feed = Some(handle);
        drop(state);
        let shared = Arc::new(Shared::default());
        let (link, of_thread) = (Arc::clone(link), Arc::clone(&shared));
        let name = format!("trail-{}", link.shard);
        std::thread::Builder::new().name(name).spawn(move || {
            let mut fetch = Fetch {
                link,
                feed,
                generation,
                next,
                count: 1,
                questions: QUESTIONS_MIN,
                lag: 0,
                into: BufWriter::new(into),
                bytes: 0,
                frame_bytes: 0,
            };
            if let Err(error) = fetch.run(&of_thread) {
                of_thread.state().failed = Some(error.to_string());
                of_thread.news.notify_all();
            }
        })?;
        Ok(Self { generation, file: BufReader::new(from), shared, taken: 0 })
    }

    /// What comes next. Waits for it.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let mut state = self.shared.state();
        loop {
            if state.frames > self.taken {
                drop(state);
                self.taken += 1;
                return read(&mut self.file).map(|(offset, argv)| Next::Frame(offset, argv));
            }
            if let Some(reason) = &state.failed {
                return Err(io::Error::other(reason.clone()));
            }
            if state.looked && state.behind <= CLOSE_FRAMES {
                return Ok(Next::Close);
            }
            state = self.shared.news.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Frames that are known to come.
    pub(crate) fn left(&self) -> u64 {
        let state = self.shared.state();
        (state.frames + state.behind).saturating_sub(self.taken)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that fetches.
struct Fetch {
    link: Arc<Link>,
    feed: Feed,
    generation: u64,
    next: u64,
    /// Frames of one question: one, until it is known how large they are.
    count: u64,
    /// Questions of one round, at most.
    questions: u64,
    /// Frames that the primary has more.
    lag: u64,
    into: BufWriter<File>,
    bytes: u64,
    /// How large frames were in the last round.
    frame_bytes: usize,
}

impl Fetch {
    fn run(&mut self, shared: &Shared) -> io::Result<()> {
        while !shared.over.load(Ordering::Acquire) && self.link.state().open {
            let frames = self.round()?;
            self.into.flush()?;
            let mut state = shared.state();
            state.frames += frames;
            (state.behind, state.looked) = (self.lag, true);
            shared.news.notify_all();
            drop(state);
            if frames == 0 {
                std::thread::sleep(PAUSE);
            }
        }
        // Nobody has to wait for this one any more.
        self.feed.want_room(self.link.shard, u64::MAX, 0);
        self.feed.send()?;
        self.feed.room_answer()
    }

    /// Asks for what there was when the round before was answered. How many frames came.
    fn round(&mut self) -> io::Result<u64> {
        let shard = self.link.shard;
        let questions = self.lag.div_ceil(self.count).clamp(1, self.questions);
        // Every question but the first is known to be for frames that are there.
        let due = |question: u64| self.next + question * self.count;
        self.feed.want_room(shard, self.next, self.frame_bytes);
        for question in 0..questions {
            self.feed.want(shard, self.generation, due(question), self.count);
        }
        self.feed.want_tail(shard);
        self.feed.send()?;
        self.feed.room_answer()?;
        let (begun, mut largest, bytes) = (self.next, 1, self.bytes);
        for question in 0..questions {
            if question > 0 {
                // To take all that may need a while, in which the primary is not to believe that nobody is here.
                self.feed.want_room(shard, self.next, self.frame_bytes);
                self.feed.send()?;
            }
            let asked = begun + question * self.count;
            let frames = match self.feed.answer(self.generation, asked, self.count)? {
                Answer::Frames(frames) => frames,
                // The stream knows what to do.
                Answer::Unreadable => return Err(io::Error::other("a frame has more words than kevy reads")),
                Answer::Gone(reason) => return Err(io::Error::other(reason)),
            };
            for _ in 0..frames {
                let (offset, argv) = self.feed.frame()?;
                if offset != self.next {
                    return Err(io::Error::other(format!(
                        "frame {offset} where {} was asked for",
                        self.next
                    )));
                }
                largest = largest.max(self.put(offset, &argv)?);
                self.next += 1;
            }
        }
        let (generation, tail) = self.feed.tail_answer()?;
        if generation != self.generation {
            return Err(io::Error::other(format!("its stream is {generation} now")));
        }
        for _ in 1..questions {
            self.feed.room_answer()?;
        }
        let before = std::mem::replace(&mut self.lag, tail.saturating_sub(self.next));
        // Twice as many where they do not bring it nearer.
        self.questions = if self.lag > before { self.questions * 2 } else { self.questions / 2 };
        self.questions = self.questions.clamp(QUESTIONS_MIN, QUESTIONS_MAX);
        let fit = u64::try_from(FRAMES_BYTES / largest).unwrap_or(1);
        self.count = (self.count * FASTER).min(fit).clamp(1, FRAMES_MAX);
        let frames = self.next - begun;
        if let Some(mean) = (self.bytes - bytes).checked_div(frames) {
            self.frame_bytes = usize::try_from(mean).unwrap_or(usize::MAX);
        }
        Ok(frames)
    }

    /// Says how large it is.
    fn put(&mut self, offset: u64, argv: &Argv) -> io::Result<usize> {
        let size = write(&mut self.into, offset, argv)?;
        self.bytes += size as u64;
        if self.bytes > BYTES_MAX {
            return Err(io::Error::other("more was written while a copy came than the file may hold"));
        }
        Ok(size)
    }
}

fn write(into: &mut impl Write, offset: u64, argv: &Argv) -> io::Result<usize> {
    into.write_all(&offset.to_le_bytes())?;
    into.write_all(&(argv.len() as u64).to_le_bytes())?;
    let mut size = 16;
    for word in argv.iter() {
        into.write_all(&(word.len() as u64).to_le_bytes())?;
        into.write_all(word)?;
        size += 8 + word.len();
    }
    Ok(size)
}

fn read(from: &mut impl Read) -> io::Result<(u64, Argv)> {
    let (offset, words) = (number(from)?, number(from)?);
    let (mut argv, mut word) = (Argv::default(), Vec::new());
    for _ in 0..words {
        let size = usize::try_from(number(from)?).unwrap_or(usize::MAX);
        if size > WORD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        word.resize(size, 0);
        from.read_exact(&mut word)?;
        argv.push(&word);
    }
    Ok((offset, argv))
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let frames = [vec![b"SET".to_vec(), b"k".to_vec(), vec![0xff; 70_000]], vec![], vec![Vec::new()]];
        let mut bytes = Vec::new();
        for (offset, frame) in (7..).zip(&frames) {
            let before = bytes.len();
            let size = write(&mut bytes, offset, &Argv::from(frame.clone())).unwrap();
            assert_eq!(size, bytes.len() - before);
        }
        let mut from = bytes.as_slice();
        for (offset, frame) in (7..).zip(frames) {
            assert_eq!(read(&mut from).unwrap(), (offset, Argv::from(frame)));
        }
        assert!(read(&mut from).is_err(), "and no more");
    }
}
