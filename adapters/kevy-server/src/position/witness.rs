//! Looks into a shard's log for what this node says that it holds.
//!
//! kevy tells nobody when a record has reached the log's file, nor when the file was synced. Two things depend on it.
//! A node joins a history only once its log names that history. And where `appendfsync` is `always`, a replica
//! acknowledges only what is on its disk. So a mark is put behind the frames, looked for in the file, and the file synced.
//!
//! It also finds a log that does not grow any more: where kevy has a thread that writes the log (`KEVY_AOF_OFFLOAD`), it goes on
//! writing into the old file after a full copy, and whatever is acknowledged then is gone with the process. Only when kevy
//! writes the log anew by itself does that end; so it is made to.

use crate::follow::link::{Link, News, State};
use crate::position::disk::Log;
use crate::position::marks::Place;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks: a shard's turn takes so long at least, and a sync so long at most on a good day.
const LOOK_MIN: Duration = Duration::from_micros(100);
const LOOK_MAX: Duration = Duration::from_millis(1);
/// For how long a mark that kevy was given may be missing in the file before the log is written anew.
const MISSING_MAX: Duration = Duration::from_millis(500);
/// For how long one may be missing while the log is written anew.
const AGAIN: Duration = Duration::from_millis(20);
/// For how long a log is waited for that is to rest.
const REST_MAX: Duration = Duration::from_secs(1);
/// For how long shards look around often while a log is to be written anew.
const HURRY: Duration = Duration::from_secs(1);
/// Between two looks at settings that a client may have changed.
const IDLE: Duration = Duration::from_secs(1);

/// A full copy is about to go into the link's shard. Waits until the log rests, for kevy replaces it then. False: the link
/// was closed meanwhile.
pub(crate) fn announce(link: &Link, at: Place) -> bool {
    let mut log = link.shards.disk().filter(|disk| disk.logs).map(|disk| disk.log(link.shard));
    // One that cannot be read is found out below.
    log.iter_mut().for_each(|log| drop(log.skip()));
    let number = link.shards.announce_snapshot(link.shard, at);
    let Some(mut log) = log else { return true };
    let (begun, mut pause) = (Instant::now(), LOOK_MIN);
    // A log that cannot be read, or does not grow, is replaced as well.
    while begun.elapsed() < REST_MAX && !log.has(&needle(number)).unwrap_or(true) {
        let state = link.state();
        if !state.open {
            return false;
        }
        drop(link.closed.wait_timeout(state, pause));
        pause = (pause * 2).min(LOOK_MAX);
    }
    true
}

/// How a number stands in a record.
fn needle(number: u64) -> Vec<u8> {
    format!("\r\n{number}\r\n").into_bytes()
}

/// A full copy has landed in the link's shard. Has the node join once the log names the history.
pub(crate) fn landed(link: &Arc<Link>) {
    if link.shards.has_logs() {
        let mut state = link.state();
        start(link, &mut state, false);
    } else {
        link.tell(News::Landed);
    }
}

/// There may be frames that are not known to be on disk.
pub(crate) fn ask(link: &Arc<Link>, state: &mut State) {
    if state.synced == Some(state.next) {
        return;
    }
    match state.witness {
        0 => start(link, state, true),
        _ => link.closed.notify_all(),
    }
}

/// The newest of a link takes over from the one before, who finds that out by its number.
fn start(link: &Arc<Link>, state: &mut State, joined: bool) {
    let number = state.newest_witness + 1;
    (state.newest_witness, state.witness) = (number, number);
    let shard = link.shard;
    let of = Arc::clone(link);
    let body = move || {
        let witness = Witness { link: of, number };
        if let Err(error) = witness.run(joined) {
            log::error!("shard {shard}: cannot look into the log for what is held: {error}");
            witness.link.lost("the log cannot be read");
        }
        let mut state = witness.link.state();
        if state.witness == number {
            state.witness = 0;
        }
    };
    if let Err(error) = std::thread::Builder::new().name(format!("log-{shard}")).spawn(body) {
        log::error!("shard {shard}: cannot start a thread that looks into the log: {error}");
        state.witness = 0;
        state.held = false;
    }
}

struct Witness {
    link: Arc<Link>,
    number: u64,
}

/// However a search ends, the log is not written anew any more.
struct Rewrite<'a>(&'a Link);

impl Drop for Rewrite<'_> {
    fn drop(&mut self) {
        self.0.shards.ask_rewrite(self.0.shard, false);
    }
}

/// What is to be found: a mark, and the frames of a stream before it.
struct Sought {
    mark: u64,
    generation: u64,
    next: u64,
}

impl Witness {
    fn run(&self, joined: bool) -> io::Result<()> {
        let Some(disk) = self.link.shards.disk() else { return Ok(()) };
        let mut log = disk.log(self.link.shard);
        if !joined {
            let Some(found) = self.find(&mut log)? else { return Ok(()) };
            if self.link.shards.acks_after_sync() {
                log.sync()?;
                disk.sync_names()?;
                self.tell(&found);
            }
            log::debug!("shard {}: the log names epoch {}", self.link.shard, self.link.origin.epoch);
            self.link.tell(News::Landed);
            self.link.tell(News::Synced);
        }
        while self.wait_for_work() {
            let Some(found) = self.find(&mut log)? else { return Ok(()) };
            log.sync()?;
            self.tell(&found);
        }
        Ok(())
    }

    /// Whether there is something to look for; false: it is over.
    fn wait_for_work(&self) -> bool {
        let mut state = self.link.state();
        while self.is_wanted(&state) && self.link.shards.acks_after_sync() {
            if state.held && state.synced != Some(state.next) {
                return true;
            }
            state = self.link.closed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn is_wanted(&self, state: &State) -> bool {
        state.open && state.witness == self.number
    }

    /// Has a mark put behind all frames that have come, and waits until the log has it. `None`: it is over.
    fn find(&self, log: &mut Log) -> io::Result<Option<Sought>> {
        let (link, shard) = (&self.link, self.link.shard);
        let _rewrite = Rewrite(link);
        let mut pause = LOOK_MIN;
        // Millions of bytes may be there, and the mark comes behind them.
        log.skip()?;
        let Some(mut sought) = self.seek() else { return Ok(None) };
        let (mut given, mut anew): (Option<Instant>, _) = (None, false);
        loop {
            if anew {
                link.shards.ask_rewrite(shard, true);
                link.shards.hurry(HURRY);
            }
            if log.has(&needle(sought.mark))? {
                return Ok(Some(sought));
            }
            let missing_max = if anew { AGAIN } else { MISSING_MAX };
            if link.shards.marked(shard) >= sought.mark
                && given.get_or_insert_with(Instant::now).elapsed() > missing_max
            {
                if !anew {
                    log::warn!(
                        "shard {shard}: the log does not grow although kevy writes it; it is written anew"
                    );
                }
                (anew, given) = (true, None);
                // What was logged before the rewrite began is not in the new log.
                match self.seek() {
                    Some(newer) => sought = newer,
                    None => return Ok(None),
                }
            }
            let state = link.state();
            if !self.is_wanted(&state) || !state.held {
                return Ok(None);
            }
            drop(link.closed.wait_timeout(state, pause));
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    fn seek(&self) -> Option<Sought> {
        let state = self.link.state();
        // Under the lock: no frame comes between the last one and the mark.
        (self.is_wanted(&state) && state.held).then(|| Sought {
            mark: self.link.shards.ask_mark(self.link.shard, state.next),
            generation: state.generation,
            next: state.next,
        })
    }

    /// What was found is on disk.
    fn tell(&self, found: &Sought) {
        let mut state = self.link.state();
        if self.is_wanted(&state) && state.generation == found.generation {
            state.synced = Some(found.next);
        }
        drop(state);
        match self.link.shards.count() {
            1 => self.link.ack(false),
            // Of several shards only what all have is acknowledged.
            _ => self.link.tell(News::Synced),
        }
    }
}
