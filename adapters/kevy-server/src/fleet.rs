//! All streams from one primary, one per shard.

use crate::link::{Crew, Link, Look, Origin, Reached};
use crate::shards::Shards;
use kevy_elect_plugin::host::HostError;
use kevy_elect_plugin::ids::{Epoch, NodeId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The streams that make up one following of one primary in one epoch.
pub(crate) struct Fleet {
    primary: NodeId,
    epoch: Epoch,
    links: Vec<Arc<Link>>,
    shards: Arc<Shards>,
    /// Whether this node holds the primary's history. Never becomes false again.
    joined: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    ended: bool,
    landed: Vec<bool>,
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
        let fleet = Arc::new_cyclic(|fleet: &Weak<Self>| {
            let link = |shard| {
                let from = held.and_then(|held| held.get(shard).copied()).unwrap_or_default();
                let crew: Weak<dyn Crew> = fleet.clone();
                Arc::new(Link::new(shard, origin.clone(), from, Arc::clone(shards), crew))
            };
            Self {
                primary,
                epoch: origin.epoch,
                links: (0..count).map(link).collect(),
                shards: Arc::clone(shards),
                joined: AtomicBool::new(held.is_some()),
                progress: Mutex::new(Progress { ended: false, landed: vec![held.is_some(); count] }),
            }
        });
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
    pub(crate) fn stop(&self) -> Option<Vec<Reached>> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.ended = true;
        drop(progress);
        let reached = self.links.iter().map(|link| link.close()).collect();
        self.joined.load(Ordering::Acquire).then_some(reached)
    }

    /// How each stream is doing.
    pub(crate) fn look(&self) -> Vec<Look> {
        self.links.iter().map(|link| link.look()).collect()
    }
}

impl Crew for Fleet {
    fn landed(&self, shard: usize) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.landed[shard] = true;
        // An ended fleet claims nothing: by now the node may hold a newer history.
        if progress.ended || self.joined() || !progress.landed.iter().all(|landed| *landed) {
            return;
        }
        if let Some(office) = self.shards.office() {
            let offsets: Vec<u64> = self.look().iter().map(|look| look.reached.position_offset()).collect();
            office.on_joined(self.epoch, &offsets);
        }
        self.joined.store(true, Ordering::Release);
        drop(progress);
        for link in &self.links {
            link.announce();
        }
        self.shards.progress().notify(usize::MAX);
    }

    fn joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }
}
