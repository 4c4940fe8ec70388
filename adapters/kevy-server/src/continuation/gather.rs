//! What others received of the history that ends, and the one who takes over did not: fetched before the new one begins (C12 of
//! `docs/protocol.md`).
//!
//! With several shards each of two survivors may have frames that the other one lacks, behind the last cut. Whoever is elected, the
//! other one would hold what the new history lacks, and copy everything. So the new primary takes what it can get of
//! every shard's stream first; then the others are behind, or equal.

use crate::continuation::passes::Asker;
use crate::follow::addresses::Addresses;
use crate::follow::feed::{Answer, Feed};
use crate::follow::link::Member;
use crate::position::marks::Place;
use crate::shards::Shards;
use kevy_rt::Argv;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The promotion waits no longer for it than this part of the election timeout, whoever answers or not: 25 ms by default.
const PATIENCE_PART: u32 = 40;
/// Between two looks at the shards.
const LOOK_INTERVAL: Duration = Duration::from_micros(100);
/// Frames that are asked for at once, and bytes that one peer may bring for one shard.
const FRAMES_MAX: u64 = 4096;
const BYTES_MAX: usize = 16 << 20;

/// One shard's frames, from its place on.
type Frames = Vec<Argv>;

/// See the head of this file.
pub(crate) struct Gather {
    peers: Vec<Member>,
    shards: Arc<Shards>,
    patience: Duration,
    /// Whether what comes may still be sent to the shards.
    open: Mutex<bool>,
}

impl Gather {
    pub(crate) fn new(peers: Vec<Member>, shards: Arc<Shards>, election_timeout: Duration) -> Self {
        Self { peers, shards, patience: election_timeout / PATIENCE_PART, open: Mutex::new(true) }
    }

    /// From here on nothing is sent to the shards.
    pub(crate) fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Fetches, and returns after its patience at the latest. The streams of the old primary have been stopped.
    pub(crate) fn run(&self) {
        let until = Instant::now() + self.patience;
        let Some(places) = self.places(until) else { return };
        let (found, finds) = channel();
        for (addresses, asker) in self.peers.clone() {
            let (found, places, patience) = (found.clone(), places.clone(), self.patience);
            let ask = move || {
                if let Ok(frames) = ask((&addresses, &asker), &places, patience) {
                    // Nobody may wait any more.
                    drop(found.send(frames));
                }
            };
            // Without it that peer is not asked.
            drop(std::thread::Builder::new().name("gather".to_owned()).spawn(ask));
        }
        drop(found);
        let mut longest: Vec<Frames> = vec![Frames::new(); places.len()];
        while let Some(left) = until.checked_duration_since(Instant::now())
            && let Ok(frames) = finds.recv_timeout(left)
        {
            for (longest, frames) in longest.iter_mut().zip(frames) {
                // Both begin at the same place of the same stream.
                if frames.len() > longest.len() {
                    *longest = frames;
                }
            }
        }
        for (shard, (frames, place)) in longest.into_iter().zip(places).enumerate() {
            self.pass(shard, place, frames);
        }
    }

    /// Where the data of every shard is, once nothing is on its way to any.
    fn places(&self, until: Instant) -> Option<Vec<Place>> {
        let all = || 0..self.shards.count();
        while !all().all(|shard| self.shards.outstanding(shard) == 0) {
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        // Of a stream of its own nobody has more than this node.
        let place = |shard| self.shards.place(shard).filter(|_| !self.shards.is_of_own_stream(shard));
        all().map(place).collect()
    }

    fn pass(&self, shard: usize, from: Place, frames: Frames) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !*open || frames.is_empty() {
            return;
        }
        log::info!("shard {shard}: {} frames that others had received are fetched", frames.len());
        // Frames are counted from a place that is known to the shard.
        self.shards.order_to_go_on(shard, from, from);
        for (offset, argv) in (from.offset..).zip(frames) {
            self.shards.keep(shard, Place { offset, ..from }, &argv);
            if !self.shards.send_frame(shard, offset, argv) {
                return;
            }
            metrics::counter!("kevy_server_continue_fetched_total").increment(1);
        }
    }
}

/// What a peer has behind `places`, shard by shard.
fn ask(
    (addresses, asker): (&Addresses, &Asker),
    places: &[Place],
    patience: Duration,
) -> io::Result<Vec<Frames>> {
    let (until, port) = (Instant::now() + patience, addresses.site().client_port);
    let connect =
        |ip| Feed::connect(asker, SocketAddr::new(ip, port), patience).map_err(|error| error.to_string());
    let (mut feed, _) = addresses.try_each(connect).map_err(io::Error::other)?;
    feed.set_patience(patience)?;
    places.iter().enumerate().map(|(shard, place)| of_shard(&mut feed, shard, *place, until)).collect()
}

fn of_shard(feed: &mut Feed, shard: usize, from: Place, until: Instant) -> io::Result<Frames> {
    let (mut frames, mut bytes, mut next) = (Frames::new(), 0, from);
    while bytes < BYTES_MAX && Instant::now() < until {
        let Answer::Frames(count @ 1..) = feed.ask_kept(shard, next, FRAMES_MAX)? else { break };
        for _ in 0..count {
            let (offset, argv) = feed.frame()?;
            if offset != next.offset {
                return Err(io::ErrorKind::InvalidData.into());
            }
            bytes += argv.iter().map(<[u8]>::len).sum::<usize>();
            frames.push(argv);
            next.offset += 1;
        }
    }
    Ok(frames)
}
