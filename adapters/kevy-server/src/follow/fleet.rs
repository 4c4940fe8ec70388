//! All streams from one primary, one per shard.

use crate::follow::link::{Link, Look, News, Origin, Reached, Shared};
use crate::position::cuts::{Place, Tracker};
use crate::shards::Shards;
use kevy_elect_plugin::host::HostError;
use kevy_elect_plugin::ids::{Epoch, NodeId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Whole cuts that may wait for the disk. The newest is what matters.
const UNSYNCED_MAX: usize = 64;

/// The streams that make up one following of one primary in one epoch.
pub(crate) struct Fleet {
    primary: NodeId,
    epoch: Epoch,
    links: Vec<Arc<Link>>,
    shards: Arc<Shards>,
    /// That this node holds the primary's history ends only when a shard could not apply a frame.
    shared: Arc<Shared>,
    progress: Mutex<Progress>,
}

struct Progress {
    ended: bool,
    landed: Vec<bool>,
    cuts: Tracker,
    /// The newest whole cut.
    whole: Option<Vec<Place>>,
    /// Whole cuts that are not known to be on disk on all shards, the newest last.
    unsynced: VecDeque<Vec<Place>>,
}

/// How far a fleet came.
pub(crate) struct Held {
    /// Of each stream; enough to go on from there.
    pub(crate) reached: Vec<Reached>,
    /// What the node may say that it holds: with several shards the last whole cut, if there was one.
    pub(crate) places: Option<Vec<Place>>,
}

impl Fleet {
    /// Starts to follow `primary`. With `held`, goes on where an earlier fleet of the same epoch ended.
    pub(crate) fn start(
        primary: NodeId,
        origin: &Origin,
        held: Option<&[Reached]>,
        shards: &Arc<Shards>,
    ) -> Result<Arc<Self>, HostError> {
        let count = shards.count();
        let mut failed = None;
        let fleet = Arc::new_cyclic(|fleet: &Weak<Self>| {
            let of = fleet.clone();
            let tell = move |shard, news| {
                if let Some(fleet) = of.upgrade() {
                    fleet.hear(shard, news);
                }
            };
            let shared = Arc::new(Shared { joined: AtomicBool::new(held.is_some()), tell: Box::new(tell) });
            let link = |shard| {
                let from = held.and_then(|held| held.get(shard).copied()).unwrap_or_default();
                let link = Link::new(shard, origin.clone(), from, Arc::clone(shards), Arc::clone(&shared));
                link.map(Arc::new).map_err(|error| failed = Some(error)).ok()
            };
            Self {
                primary,
                epoch: origin.epoch,
                links: (0..count).map_while(link).collect(),
                shards: Arc::clone(shards),
                shared,
                progress: Mutex::new(Progress {
                    ended: false,
                    landed: vec![held.is_some(); count],
                    cuts: Tracker::new(count),
                    whole: None,
                    unsynced: VecDeque::new(),
                }),
            }
        });
        if let Some(error) = failed {
            return Err(HostError::new(format!("cannot make what wakes a stream: {error}")));
        }
        for (shard, link) in fleet.links.iter().enumerate() {
            let link = Arc::clone(link);
            let thread = std::thread::Builder::new().name(format!("stream-{shard}"));
            // Never joined: it ends within one connection attempt after the link is closed.
            if let Err(error) = thread.spawn(move || link.run()) {
                fleet.stop();
                return Err(HostError::new(format!(
                    "cannot start a thread for the stream of shard {shard}: {error}"
                )));
            }
        }
        Ok(fleet)
    }

    pub(crate) fn follows(&self, primary: NodeId, epoch: Epoch) -> bool {
        self.primary == primary && self.epoch == epoch
    }

    pub(crate) fn primary(&self) -> NodeId {
        self.primary
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Ends it: no frame and no acknowledgement passes after this. Says how far each stream came, if the
    /// node held the primary's history by then.
    pub(crate) fn stop(&self) -> Option<Held> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.ended = true;
        let whole = progress.whole.clone();
        drop(progress);
        let reached: Vec<Reached> = self.links.iter().map(|link| link.close()).collect();
        let places = match reached.as_slice() {
            [alone] => Some(vec![alone.place()]),
            _ => whole,
        };
        self.shared.joined.load(Ordering::Acquire).then_some(Held { reached, places })
    }

    /// Takes the primary's history for held, up to `places`, once all that was in it before is loaded.
    fn join(&self, progress: MutexGuard<'_, Progress>, places: &[Place]) {
        // An ended fleet claims nothing: by now the node may hold a newer history.
        if progress.ended || self.joined() || !progress.landed.iter().all(|landed| *landed) {
            return;
        }
        if let Some(office) = self.shards.office() {
            office.on_joined(self.epoch, &offsets(places));
        }
        self.shared.joined.store(true, Ordering::Release);
        drop(progress);
        log::debug!("this node holds the history of epoch {}", self.epoch);
        self.allow(places);
        for link in &self.links {
            link.announce();
        }
        self.shards.progress().notify(usize::MAX);
    }

    fn allow(&self, places: &[Place]) {
        for (link, place) in self.links.iter().zip(places) {
            link.allow(*place);
        }
    }

    /// How each stream is doing, for who must not wait for it. `behind`: the primary is known to have more than this node.
    pub(crate) fn glance(&self, behind: bool) -> Option<Vec<Look>> {
        // All of them are told, also where one cannot be looked at.
        let looks: Vec<Option<Look>> = self.links.iter().map(|link| link.glance(behind)).collect();
        looks.into_iter().collect()
    }

    /// How each stream is doing.
    pub(crate) fn look(&self) -> Vec<Look> {
        self.links.iter().map(|link| link.look()).collect()
    }

    fn hear(&self, shard: usize, news: News) {
        match news {
            News::Landed => self.landed(shard),
            News::Lost => self.lost(shard),
            News::Restarted => self.restarted(shard),
            News::Cut(number, place) => self.cut(shard, number, place),
            News::Synced => self.synced(),
        }
    }

    fn landed(&self, shard: usize) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.landed[shard] = true;
        let places = match self.links.as_slice() {
            [alone] => vec![alone.look().reached.place()],
            _ => match &progress.whole {
                Some(whole) => whole.clone(),
                None => return,
            },
        };
        self.join(progress, &places);
    }

    fn lost(&self, shard: usize) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.landed[shard] = false;
        progress.cuts.restart(shard);
        progress.whole = None;
        if self.shared.joined.swap(false, Ordering::AcqRel)
            && !progress.ended
            && let Some(office) = self.shards.office()
        {
            office.on_joined(Epoch::ZERO, &vec![0; self.links.len()]);
        }
    }

    fn restarted(&self, shard: usize) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.cuts.restart(shard);
        // The log names this history already, but it is about to be replaced: until it has the copy, a kill brings back the data of
        // before. What the office was told stays true; it is told of more when the copy is in the log.
        progress.landed[shard] = false;
        self.shared.joined.store(false, Ordering::Release);
    }

    fn cut(&self, shard: usize, number: u64, place: Place) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = progress.cuts.note(shard, number, place) else { return };
        progress.whole = Some(places.clone());
        if self.shards.acks_after_sync() {
            if progress.unsynced.len() == UNSYNCED_MAX {
                progress.unsynced.pop_front();
            }
            progress.unsynced.push_back(places.clone());
        }
        if progress.ended {
            return;
        }
        if !self.joined() {
            self.join(progress, &places);
            return;
        }
        // Said before it is acknowledged, and under the lock: an ended fleet claims nothing. All shards at once: of two nodes that
        // hold parts of two cuts neither need be ahead.
        if let Some(office) = self.shards.office() {
            office.on_joined(self.epoch, &offsets(&places));
        }
        drop(progress);
        self.allow(&places);
    }

    fn synced(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let on_disk =
            |places: &Vec<Place>| self.links.iter().zip(places).all(|(link, place)| link.has_synced(*place));
        let Some(newest) = progress.unsynced.iter().rposition(on_disk) else { return };
        let durable = progress.unsynced.drain(..=newest).next_back();
        drop(progress);
        for (link, place) in self.links.iter().zip(durable.iter().flatten()) {
            link.allow_durable(*place);
        }
    }

    fn joined(&self) -> bool {
        self.shared.joined.load(Ordering::Acquire)
    }
}

fn offsets(places: &[Place]) -> Vec<u64> {
    places.iter().map(Place::position_offset).collect()
}
