//! What the shards and the election's host tell each other.
//!
//! Every shard is a thread of kevy. It reports from its hooks (`commands.rs`) and reads a few atomics;
//! nothing here makes a shard wait.

use crate::clock;
use crate::cuts::Cutter;
use crate::disk::Disk;
use crate::ending::Ending;
use crate::ledger::{Incoming, Ledger};
use crate::link::Link;
use crate::marks::{self, Before, Cuts, Held, Place};
use crate::names::{Row, judge};
use crate::office::{Office, Standing};
use crate::pulse::Pulse;
use crate::tag::{Tag, position_offset};
use crate::waits::Waits;
use event_listener::Event;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::plugin::Denied;
use kevy_elect_plugin::position::Position;
use kevy_rt::{Argv, ArgvView, ReplicaApply, ReplicaInboxSender, SnapshotGate, Store};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often a shard of a node that is not primary looks for orders. Costs nothing while it is idle:
/// kevy ticks only when something else wakes it.
pub(crate) const TICK_MS_STANDBY: u64 = 5;
/// The same while something waits for it.
const TICK_MS_URGENT: u64 = 1;
/// On a primary: its shards have to be heard, or they count as stuck. kevy's own interval, where `hz` is not lower.
const TICK_MS_PRIMARY_MAX: u64 = 100;

/// The name of the order to become the primary's shard, put behind the last frame of the old stream. No
/// client can send it: only records that are applied are looked at.
const BARRIER: &[u8] = b"ELECT.BARRIER";

/// What to do with a record that is applied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is not one of ours.
    Kevys,
    /// It is done with.
    Done,
    /// It is done with, and this goes into the log.
    Logged(Vec<Vec<u8>>),
}

/// All shards of this node.
pub struct Shards {
    shards: Box<[Shard]>,
    office: OnceLock<Arc<dyn Office>>,
    /// The epoch in which this node reigns, zero where it does not.
    reign: AtomicU64,
    /// The epoch whose streams are reported to the election: before it knows that this node holds that
    /// history, their offsets would be taken for ones of the history before.
    reported: AtomicU64,
    /// Snapshots that are on their way into a shard: reads answer `-LOADING`.
    loading: AtomicUsize,
    /// Until when ticks are short, in nanoseconds since `born`.
    urgent_until: AtomicU64,
    born: Instant,
    pulse: OnceLock<Pulse>,
    ending: OnceLock<Arc<Ending>>,
    disk: OnceLock<Disk>,
    /// Whether a replica acknowledges only what is on its disk.
    acks_after_sync: AtomicBool,
    waits: Waits,
    cutter: OnceLock<Cutter>,
    /// The newest cut that was begun.
    cut: AtomicU64,
    /// The reign for which the store's clock goes by this node's.
    told: AtomicU64,
    progress: Event,
}

/// One shard. Written by its own thread, except `inbox`.
struct Shard {
    inbox: ReplicaInboxSender,
    /// Held while the parts of a snapshot are sent: nothing may come between them.
    bulk: Mutex<()>,
    restored: AtomicBool,
    /// What the data is. Others than the shard's thread look at it only while it starts, and at orders.
    ledger: Mutex<Ledger>,
    /// Where the node was when it was ordered to reign.
    before: Mutex<Option<Before>>,
    /// Whether kevy found that a part of the log is missing.
    damaged: AtomicBool,
    /// The epoch whose beginning the log names.
    named: AtomicU64,
    /// The number of the last mark that was asked for, and of the last that was put into the log.
    asked: AtomicU64,
    marked: AtomicU64,
    /// The number of a mark that the next tick is to give; 0: none.
    asked_first: AtomicU64,
    /// Whether the log has to be written anew.
    rewrite: AtomicBool,
    /// Whether kevy has taken the first value of its promotion counter, which promotes nothing.
    based: AtomicBool,
    /// The epoch that the last barrier ordered.
    ordered: AtomicU64,
    /// The epoch for which kevy has started a new stream.
    started: AtomicU64,
    /// The epoch for which the new stream's offset was seen.
    seen: AtomicU64,
    /// How often kevy told the offset of its own stream.
    views: AtomicU64,
    /// Whether it began a snapshot of its data since.
    own_work: AtomicBool,
    /// kevy's offset in its own stream.
    offset: AtomicU64,
    flushes: AtomicU64,
    /// Frames of a followed stream: put into the inbox, and taken out of it.
    sent: AtomicU64,
    applied: AtomicU64,
    /// Snapshots that replaced the keyspace.
    loads: AtomicU64,
    /// Who follows a stream for this shard.
    link: Mutex<Weak<Link>>,
    /// Whether a frame could not be applied: what comes after it is of no use before another snapshot.
    broken: AtomicBool,
    /// Replicas whose acknowledgements kevy would count although they belong to a stream before a flush.
    stale_replicas: AtomicUsize,
    /// The newest cut that this shard has put into its stream.
    cut: AtomicU64,
}

impl Shards {
    /// Shards that are fed through `inboxes`.
    pub fn new(inboxes: Vec<ReplicaInboxSender>) -> Self {
        // Marks of an earlier process have other numbers.
        let born = RandomState::new().build_hasher().finish() >> 1;
        let shard = |inbox| Shard {
            inbox,
            bulk: Mutex::new(()),
            restored: AtomicBool::default(),
            ledger: Mutex::new(Ledger::new()),
            before: Mutex::default(),
            damaged: AtomicBool::default(),
            named: AtomicU64::default(),
            asked: AtomicU64::new(born),
            marked: AtomicU64::new(born),
            asked_first: AtomicU64::default(),
            rewrite: AtomicBool::default(),
            based: AtomicBool::default(),
            ordered: AtomicU64::default(),
            started: AtomicU64::default(),
            seen: AtomicU64::default(),
            views: AtomicU64::default(),
            own_work: AtomicBool::default(),
            offset: AtomicU64::default(),
            flushes: AtomicU64::default(),
            sent: AtomicU64::default(),
            applied: AtomicU64::default(),
            loads: AtomicU64::default(),
            link: Mutex::default(),
            broken: AtomicBool::default(),
            stale_replicas: AtomicUsize::default(),
            cut: AtomicU64::default(),
        };
        Self {
            shards: inboxes.into_iter().map(shard).collect(),
            office: OnceLock::new(),
            reign: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            loading: AtomicUsize::new(0),
            urgent_until: AtomicU64::new(0),
            born: Instant::now(),
            pulse: OnceLock::new(),
            ending: OnceLock::new(),
            disk: OnceLock::new(),
            acks_after_sync: AtomicBool::new(false),
            waits: Waits::default(),
            cutter: OnceLock::new(),
            cut: AtomicU64::new(0),
            told: AtomicU64::new(0),
            progress: Event::new(),
        }
    }

    /// Makes known who decides about writes. Before that, none pass.
    pub fn set_office(&self, office: Arc<dyn Office>) {
        // A second one would be a mistake of this crate; the first stays.
        drop(self.office.set(office));
    }

    /// Gives idle shards what wakes them. Before that, and where nothing does, they take longer.
    pub(crate) fn set_pulse(&self, pulse: Pulse) {
        drop(self.pulse.set(pulse));
    }

    /// Makes known what ends the process, if this is a process's server.
    pub(crate) fn set_ending(&self, ending: Arc<Ending>) {
        drop(self.ending.set(ending));
    }

    /// Makes known where the logs are, if there are any. Before that, there are none.
    pub(crate) fn set_disk(&self, disk: Disk) {
        drop(self.disk.set(disk));
    }

    /// What is parked for acknowledgements, and whose count.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Makes known what cuts the streams. With one shard nothing does.
    pub(crate) fn set_cutter(&self, cutter: Cutter) {
        drop(self.cutter.set(cutter));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// Notified when a shard was restored, and when one has told the offset of its stream.
    pub fn progress(&self) -> &Event {
        &self.progress
    }

    // ---- asked by the write path ----

    /// Whether a write may pass.
    pub fn check(&self) -> Result<(), Denied> {
        self.office.get().map_or(Err(Denied::Replica), |office| office.check())
    }

    /// Who reigns.
    pub fn standing(&self) -> Standing {
        let nobody = Standing { primary: false, epoch: Epoch::ZERO, of: None };
        self.office.get().map_or(nobody, |office| office.standing())
    }

    /// Whether a snapshot is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire) > 0
    }

    /// Whether kevy's count of acknowledgements cannot be trusted: it would count connections of an earlier reign or
    /// flush, of strangers, or one node twice. They are ended as soon as they are seen.
    pub fn acks_are_stale(&self) -> bool {
        self.shards.iter().any(|shard| shard.stale_replicas.load(Ordering::Acquire) > 0)
    }

    // ---- told by the hooks, on the shard's thread ----

    /// A snapshot from disk was loaded; `frame` stood beside the keyspace.
    pub(crate) fn note_data_on_disk(&self, shard: usize, frame: Option<&Argv>) {
        self.ledger(shard).replay().base(frame.and_then(Tag::held_beside).flatten());
    }

    /// A record of the log was applied.
    pub(crate) fn note_replayed<A: ArgvView + ?Sized>(&self, shard: usize, store: &Store, record: &A) {
        if !self.is_restored(shard) {
            self.ledger(shard).replay().applied(store, record);
        }
    }

    /// kevy found that a part of the log is missing.
    pub(crate) fn note_damage(&self, shard: usize) {
        self.shards[shard].damaged.store(true, Ordering::Relaxed);
    }

    /// What was on disk is loaded. Says what the data is.
    pub(crate) fn note_restored(&self, shard: usize) -> Held {
        let state = &self.shards[shard];
        let damaged = state.damaged.load(Ordering::Relaxed)
            || self.disk.get().is_some_and(|disk| disk.logs && disk.is_damaged(shard));
        if damaged {
            log::error!(
                "the log of shard {shard} is damaged, and what follows the damage is lost: this node does not say any more \
                 that it holds anything of its data, and gets a copy from the primary"
            );
        }
        let mut ledger = self.ledger(shard);
        ledger.end_replay(damaged);
        let held = ledger.now(0);
        drop(ledger);
        state.restored.store(true, Ordering::Release);
        self.progress.notify(usize::MAX);
        held
    }

    /// Whether what was on disk is loaded.
    pub fn is_restored(&self, shard: usize) -> bool {
        self.shards[shard].restored.load(Ordering::Relaxed)
    }

    /// A record is applied that no client sent.
    pub(crate) fn note_record<A: ArgvView + ?Sized>(&self, shard: usize, record: &A) -> Applied {
        if !self.is_restored(shard) {
            let mut ledger = self.ledger(shard);
            if let Some(held) = Tag::held_beside(record) {
                // It ends the keyspace of a log that was written anew.
                ledger.replay().base(held);
                return Applied::Kevys;
            }
            return if ledger.replay().take(record) { Applied::Done } else { Applied::Kevys };
        }
        match record.first() {
            Some(BARRIER) => self.obey(shard, record),
            Some(marks::MARK) => self.mark(shard, record),
            Some(marks::LOAD) => match Incoming::read(record) {
                Some((incoming, number)) => Applied::Logged(self.ledger(shard).expect(incoming, number)),
                None => Applied::Done,
            },
            _ => {
                let applied = self.shards[shard].applied.fetch_add(1, Ordering::Release) + 1;
                if let Some(number) = crate::cuts::number(record) {
                    self.ledger(shard).note_cut(number, applied);
                }
                Applied::Kevys
            }
        }
    }

    /// The order to start the stream of an epoch.
    fn obey<A: ArgvView + ?Sized>(&self, shard: usize, order: &A) -> Applied {
        // From here on it is a primary's own, for better or worse.
        self.shards[shard].broken.store(false, Ordering::Release);
        let epoch = order.get(1).and_then(marks::number_of);
        // Only the order that is in force counts; an older one lost to a newer election.
        if epoch == Some(self.reign.load(Ordering::Acquire)) {
            self.shards[shard].ordered.store(epoch.unwrap_or_default(), Ordering::Release);
        }
        Applied::Done
    }

    /// The order to put a mark into the log. What it says is what is true here, behind everything that was applied.
    fn mark<A: ArgvView + ?Sized>(&self, shard: usize, order: &A) -> Applied {
        let number = order.get(1).and_then(marks::number_of).unwrap_or_default();
        let state = &self.shards[shard];
        let mut ledger = self.ledger(shard);
        if ledger.is_loading() {
            // The log rests until it is replaced.
            return Applied::Done;
        }
        let held = ledger.now(state.applied.load(Ordering::Acquire));
        ledger.note_marked(held);
        drop(ledger);
        state.marked.fetch_max(number, Ordering::AcqRel);
        let epoch = held.at.map_or(0, |at| at.epoch.0);
        if epoch != 0 && epoch == state.started.load(Ordering::Relaxed) {
            state.named.store(epoch, Ordering::Release);
            self.note_seen(shard);
        }
        Applied::Logged(held.mark(number))
    }

    /// What this shard tells kevy as its promotion counter, and how long its ticks are at most.
    pub fn tick(&self, shard: usize) -> (u64, u64) {
        if let Some(ending) = self.ending.get() {
            ending.look();
        }
        let reign = self.reign.load(Ordering::Acquire);
        let shard = &self.shards[shard];
        let (ordered, started) =
            (shard.ordered.load(Ordering::Acquire), shard.started.load(Ordering::Relaxed));
        let based = shard.based.swap(true, Ordering::Relaxed);
        if based && ordered > started && ordered == reign && self.tell_time(reign) {
            // kevy starts a new stream right after this call, before any snapshot of it can be taken.
            shard.flushes.store(0, Ordering::Relaxed);
            shard.offset.store(0, Ordering::Relaxed);
            let before = *shard.before.lock().unwrap_or_else(PoisonError::into_inner);
            shard.ledger.lock().unwrap_or_else(PoisonError::into_inner).reign(Epoch(ordered), before);
            shard.started.store(ordered, Ordering::Release);
        }
        let tick_ms = match reign {
            _ if self.is_urgent() => TICK_MS_URGENT,
            0 => TICK_MS_STANDBY,
            reign if shard.seen.load(Ordering::Relaxed) != reign => TICK_MS_URGENT,
            _ => TICK_MS_PRIMARY_MAX,
        };
        (shard.started.load(Ordering::Relaxed), tick_ms)
    }

    /// Whether the store's clock goes by this node's, for the reign that begins. It was at rest until now, so it leaps; and
    /// what is measured before a leap and written behind it is off by all of that. So it leaps when every shard has
    /// applied all that it was sent, and before any of them starts the stream of the new reign, of which alone anybody takes a copy.
    fn tell_time(&self, reign: u64) -> bool {
        if self.told.load(Ordering::Acquire) == reign {
            return true;
        }
        if !self.shards.iter().all(|shard| shard.ordered.load(Ordering::Acquire) == reign) {
            return false;
        }
        clock::advance();
        self.told.store(reign, Ordering::Release);
        true
    }

    /// Whether keys end here by this node's clock, also while it must not write.
    pub(crate) fn tells_time(&self) -> bool {
        let reign = self.reign.load(Ordering::Acquire);
        reign != 0 && self.told.load(Ordering::Acquire) == reign
    }

    /// A replica has not acknowledged all of this shard's stream: it needs a cut to do so.
    pub(crate) fn note_behind(&self, shard: usize) {
        let reign = self.reign.load(Ordering::Acquire);
        if reign != 0
            && self.shards[shard].seen.load(Ordering::Relaxed) == reign
            && let Some(cutter) = self.cutter.get()
        {
            cutter.want();
        }
    }

    /// The number of a cut that begins now.
    pub(crate) fn begin_cut(&self) -> u64 {
        self.cut.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Whether `shard` takes this cut into its stream: the one that was begun last, once. Whoever else sends one can
    /// at most bring it in a little earlier.
    pub(crate) fn take_cut(&self, shard: usize, number: u64) -> bool {
        let taken = number == self.cut.load(Ordering::SeqCst)
            && self.shards[shard].cut.swap(number, Ordering::SeqCst) < number;
        if taken {
            // It is at least as far as kevy has told. The record of it in the log says exactly where.
            self.ledger(shard).note_cut(number, 0);
        }
        taken
    }

    /// kevy's own stream has come to `offset`, and `rows` are the connections to it.
    pub(crate) fn note_stream(&self, shard: usize, offset: u64, rows: &[Row]) {
        let reign = self.reign.load(Ordering::Acquire);
        let state = &self.shards[shard];
        state.offset.store(offset, Ordering::Release);
        let started = state.started.load(Ordering::Relaxed);
        if !rows.is_empty() && reign != 0 && started == reign {
            let flushes = state.flushes.load(Ordering::Relaxed);
            let judged = judge(rows, Epoch(reign), flushes, |node| self.waits.is_member(node));
            state.stale_replicas.store(judged.wrong, Ordering::Release);
            self.waits.end_streams(judged.end);
        } else {
            state.stale_replicas.store(0, Ordering::Release);
        }
        let flushes = state.flushes.load(Ordering::Relaxed);
        let unnamed = started != 0 && state.named.load(Ordering::Relaxed) != started;
        let mut ledger = self.ledger(shard);
        ledger.own(Epoch(started), flushes, offset);
        let due = !ledger.follows() && ledger.due(0, unnamed).is_some();
        drop(ledger);
        if due {
            // kevy takes what is in the inbox before it serves the next client: the mark is true where it is logged.
            self.order_mark(shard, 0, u64::MAX);
        }
        self.note_seen(shard);
        state.own_work.store(false, Ordering::Relaxed);
        // Last: whoever waits for this view may rely on the election having it.
        state.views.fetch_add(1, Ordering::Release);
        self.progress.notify(usize::MAX);
    }

    /// Tells the election how far this shard's stream is, once its log names the epoch.
    fn note_seen(&self, shard: usize) {
        let reign = self.reign.load(Ordering::Acquire);
        let state = &self.shards[shard];
        if reign == 0
            || state.started.load(Ordering::Relaxed) != reign
            || state.named.load(Ordering::Relaxed) != reign
        {
            return;
        }
        if state.seen.swap(reign, Ordering::AcqRel) != reign {
            self.progress.notify(usize::MAX);
        }
        if self.reported.load(Ordering::Acquire) == reign
            && let Some(office) = self.office.get()
        {
            let offset = state.offset.load(Ordering::Relaxed);
            office.on_offset(shard, position_offset(state.flushes.load(Ordering::Relaxed), offset));
        }
    }

    /// A mark for the log, if one is due: asked at every tick, where kevy logs what it is given before anything else.
    pub(crate) fn tick_mark(&self, shard: usize) -> Option<Vec<Vec<u8>>> {
        if !self.is_restored(shard) {
            return None;
        }
        let state = &self.shards[shard];
        let mut ledger = self.ledger(shard);
        let applied = state.applied.load(Ordering::Acquire);
        if !ledger.follows() {
            return None;
        }
        // Asked for before the first frame. What is asked for later is ordered behind the frames.
        let asked = state.asked_first.load(Ordering::Acquire);
        if asked != 0 && !ledger.is_loading() {
            // Whoever asked again meanwhile gets the next one.
            let _ = state.asked_first.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Relaxed);
            state.marked.fetch_max(asked, Ordering::AcqRel);
            let held = ledger.now(applied);
            ledger.note_marked(held);
            return Some(held.mark(asked));
        }
        ledger.due(applied, false).map(|held| held.mark(0))
    }

    /// What stands beside a keyspace that is written now.
    pub(crate) fn beside(&self, shard: usize) -> (Held, Cuts) {
        self.ledger(shard).beside(self.shards[shard].applied.load(Ordering::Acquire))
    }

    /// Puts the order for a mark behind what is in the shard's inbox. `offset`: the last frame that was sent.
    fn order_mark(&self, shard: usize, number: u64, offset: u64) {
        let order = Argv::from(vec![marks::MARK.to_vec(), number.to_string().into_bytes()]);
        drop(self.shards[shard].inbox.send(ReplicaApply::Frame { offset, argv: order }));
    }

    fn ledger(&self, shard: usize) -> MutexGuard<'_, Ledger> {
        self.shards[shard].ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client flushes this shard: kevy starts its stream anew.
    pub fn note_flush(&self, shard: usize) {
        let flushes = self.shards[shard].flushes.fetch_add(1, Ordering::Release) + 1;
        let shard = &self.shards[shard];
        shard.offset.store(0, Ordering::Release);
        let mut ledger = shard.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.own(Epoch(shard.started.load(Ordering::Relaxed)), flushes, 0);
        drop(ledger);
        // Until the next tick has looked: every replica may be one of the old stream.
        shard.stale_replicas.store(usize::MAX, Ordering::Release);
    }

    /// How often this shard was flushed in this reign.
    pub fn flushes(&self, shard: usize) -> u64 {
        self.shards[shard].flushes.load(Ordering::Acquire)
    }

    /// The mark for a snapshot of this shard, which begins now.
    pub fn tag(&self, shard: usize) -> Tag {
        self.shards[shard].own_work.store(true, Ordering::Relaxed);
        let (reign, state) = (self.reign.load(Ordering::Acquire), &self.shards[shard]);
        let reigns = reign != 0 && state.started.load(Ordering::Acquire) == reign;
        let epoch = if reigns { Epoch(reign) } else { Epoch::ZERO };
        Tag { epoch, flushes: state.flushes.load(Ordering::Relaxed), shards: self.count() }
    }

    /// A client wants the server to end, and to write a snapshot before if `save`.
    pub(crate) fn note_shutdown(&self, save: bool) {
        if let Some(ending) = self.ending.get() {
            ending.wish(save);
        }
    }

    /// A frame could not be applied, so this shard is not what its primary's is. Nothing that comes is applied
    /// before a snapshot has replaced it all.
    pub(crate) fn note_unapplied(&self, shard: usize, verb: &str, error: &str) {
        let state = &self.shards[shard];
        if state.broken.swap(true, Ordering::AcqRel) {
            return;
        }
        let reason = format!("cannot apply {verb}: {error}; the data is copied anew");
        eprintln!("kevy-server: shard {shard}: {reason}");
        // Also after a restart: the log says so.
        self.note_lost(shard);
        self.order_mark(shard, 0, 0);
        let link = state.link.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(link) = link {
            link.lost(&reason);
        }
    }

    /// A shipped snapshot has replaced the keyspace.
    pub fn note_load(&self, shard: usize) {
        let state = &self.shards[shard];
        state.broken.store(false, Ordering::Release);
        self.ledger(shard).loaded(state.applied.load(Ordering::Acquire));
        state.loads.fetch_add(1, Ordering::Release);
    }

    /// The data of a shard is not what it was to become.
    pub(crate) fn note_lost(&self, shard: usize) {
        self.ledger(shard).lose();
    }

    /// What kevy's settings are now: whether a replica acknowledges only what is on its disk.
    pub(crate) fn note_sync_policy(&self, always: bool) {
        self.acks_after_sync.store(always && self.has_logs(), Ordering::Relaxed);
    }

    // ---- asked and ordered by the host ----

    /// Whether all shards have loaded what was on disk; then, what that is.
    pub(crate) fn restored(&self) -> Option<Position> {
        if !(0..self.count()).all(|shard| self.shards[shard].restored.load(Ordering::Acquire)) {
            return None;
        }
        let restored: Option<Vec<_>> = (0..self.count()).map(|shard| self.ledger(shard).restored()).collect();
        restored.map(|restored| marks::position(&restored))
    }

    /// Gives up the office, if this node has it: snapshots say so from now on.
    pub fn end_reign(&self) {
        self.reign.store(0, Ordering::Release);
        clock::rest();
    }

    /// Whether this process has, or had, an office.
    pub(crate) fn has_reigned(&self) -> bool {
        self.shards.iter().any(|shard| shard.started.load(Ordering::Acquire) != 0)
    }

    /// Orders every shard to start the stream of `epoch` once it has applied all that it was sent. Nothing
    /// may be sent to the inboxes after this, so the followers must have been stopped. The node held `before`.
    pub fn begin_reign(&self, epoch: Epoch, before: &Position) {
        self.reign.store(epoch.0, Ordering::Release);
        self.set_before(before);
        for shard in &self.shards {
            // Until the first look at who is connected.
            shard.stale_replicas.store(usize::MAX, Ordering::Release);
            let order = Argv::from(vec![BARRIER.to_vec(), epoch.0.to_string().into_bytes()]);
            // The offset means nothing: who follows again after a reign loads a snapshot, which sets it.
            drop(shard.inbox.send(ReplicaApply::Frame { offset: u64::MAX, argv: order }));
        }
    }

    /// Makes known what the node holds while its shards get another history.
    pub(crate) fn set_before(&self, before: &Position) {
        for (i, shard) in self.shards.iter().enumerate() {
            *shard.before.lock().unwrap_or_else(PoisonError::into_inner) = Before::of(before, i);
        }
    }

    /// Whether every shard has started the stream of `epoch`, and its log says so.
    pub fn reigns(&self, epoch: Epoch) -> bool {
        self.shards.iter().all(|shard| shard.seen.load(Ordering::Acquire) == epoch.0)
    }

    /// How often every shard has told its offset.
    pub fn views(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.views.load(Ordering::Acquire)).collect()
    }

    /// How often this shard has told its offset.
    pub(crate) fn views_of(&self, shard: usize) -> u64 {
        self.shards[shard].views.load(Ordering::Relaxed)
    }

    /// Whether this shard has begun a snapshot of its data since it last told its offset.
    pub(crate) fn is_at_own_work(&self, shard: usize) -> bool {
        self.shards[shard].own_work.load(Ordering::Relaxed)
    }

    /// Grows when data came in, from clients or from a stream.
    pub(crate) fn written(&self) -> u64 {
        let of = |shard: &Shard| {
            shard.offset.load(Ordering::Relaxed).wrapping_add(shard.applied.load(Ordering::Relaxed))
        };
        self.shards.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// Tells the election that this node holds the history of `epoch`, its own, and from now on how far.
    pub fn announce_reign(&self, epoch: Epoch) {
        if let Some(office) = self.office.get() {
            office.on_joined(epoch, &self.stream_offsets());
        }
        self.reported.store(epoch.0, Ordering::Release);
    }

    /// Where the streams of this primary have come to.
    pub fn stream_offsets(&self) -> Vec<u64> {
        let offset = |shard: &Shard| {
            position_offset(shard.flushes.load(Ordering::Acquire), shard.offset.load(Ordering::Acquire))
        };
        self.shards.iter().map(offset).collect()
    }

    /// Makes every shard look around now, even an idle one: announces a snapshot that never comes, which
    /// kevy answers by clearing an empty buffer.
    pub fn wake(&self) {
        for shard in &self.shards {
            let _whole = shard.bulk.lock().unwrap_or_else(PoisonError::into_inner);
            drop(shard.inbox.send(ReplicaApply::SnapshotBegin));
        }
    }

    /// Ticks are short, and idle shards are woken, until `duration` from now.
    pub fn hurry(self: &Arc<Self>, duration: Duration) {
        let until = (self.born.elapsed() + duration).as_nanos();
        self.urgent_until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::SeqCst);
        if let Some(pulse) = self.pulse.get() {
            pulse.start(self);
        }
    }

    /// Whether the pulse is needed any longer.
    pub(crate) fn goes_on(&self) -> bool {
        self.pulse.get().is_some_and(|pulse| pulse.goes_on(|| self.is_urgent()))
    }

    /// Whether ticks are short now.
    pub fn is_urgent(&self) -> bool {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
            < self.urgent_until.load(Ordering::SeqCst)
    }

    // ---- used by the links ----

    pub(crate) fn office(&self) -> Option<&Arc<dyn Office>> {
        self.office.get()
    }

    /// Passes a frame on to its shard. False: the server has stopped.
    pub(crate) fn send_frame(&self, shard: usize, offset: u64, argv: Argv) -> bool {
        let state = &self.shards[shard];
        state.sent.fetch_add(1, Ordering::Relaxed);
        state.inbox.send(ReplicaApply::Frame { offset, argv }).is_ok()
    }

    /// Frames that were sent to a shard and not applied yet.
    pub(crate) fn outstanding(&self, shard: usize) -> u64 {
        let state = &self.shards[shard];
        let applied = state.applied.load(Ordering::Acquire);
        state.sent.load(Ordering::Relaxed).saturating_sub(applied)
    }

    /// Passes a whole snapshot on to its shard, which drops `landed` once it has loaded it. False: the
    /// server has stopped.
    /// kevy spoils its own log if it replaces it while a record is on its way to the file: the write fails, or ends in the new one. So the log
    /// rests before: a shard that was told of a copy logs that, and nothing more until it has it. Says the number by
    /// which that record is found.
    pub(crate) fn announce_snapshot(&self, shard: usize, at: Place) -> u64 {
        let state = &self.shards[shard];
        let before = *state.before.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let order = Argv::from(Incoming { at, before }.order(number));
        drop(state.inbox.send(ReplicaApply::Frame { offset: 0, argv: order }));
        number
    }

    /// Passes a whole snapshot on to its shard, which drops `landed` once it has loaded it. It was announced, and nothing
    /// was sent to the shard since. False: the server has stopped.
    pub(crate) fn send_snapshot(
        &self,
        shard: usize,
        bytes: Vec<u8>,
        next: u64,
        landed: SnapshotGate,
    ) -> bool {
        let state = &self.shards[shard];
        let _whole = state.bulk.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ReplicaApply::SnapshotEnd { ack_offset: next, routed: false, gate: Some(landed) };
        [ReplicaApply::SnapshotBegin, ReplicaApply::SnapshotChunk(bytes), end]
            .into_iter()
            .all(|part| state.inbox.send(part).is_ok())
    }

    /// Who is to be told when this shard cannot apply what came.
    pub(crate) fn set_link(&self, shard: usize, link: Weak<Link>) {
        *self.shards[shard].link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    // ---- used by those who look for marks in the logs ----

    pub(crate) fn has_logs(&self) -> bool {
        self.disk.get().is_some_and(|disk| disk.logs)
    }

    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.get()
    }

    /// Whether a replica acknowledges only what is on its disk.
    pub(crate) fn acks_after_sync(&self) -> bool {
        self.acks_after_sync.load(Ordering::Relaxed)
    }

    /// Asks for a mark behind the `next` frames that were put into the shard's inbox. Says its number.
    pub(crate) fn ask_mark(&self, shard: usize, next: u64) -> u64 {
        let state = &self.shards[shard];
        let number = state.asked.fetch_add(1, Ordering::AcqRel) + 1;
        match next.checked_sub(1) {
            Some(last) => self.order_mark(shard, number, last),
            // There is no frame that this order could stand behind: the next tick gives the mark.
            None => {
                state.asked_first.store(number, Ordering::Release);
                self.wake();
            }
        }
        number
    }

    /// The number of the last mark that was put into the log.
    pub(crate) fn marked(&self, shard: usize) -> u64 {
        self.shards[shard].marked.load(Ordering::Acquire)
    }

    /// Has kevy write the log of a shard anew, again and again until it is enough.
    pub(crate) fn ask_rewrite(&self, shard: usize, wanted: bool) {
        self.shards[shard].rewrite.store(wanted, Ordering::Release);
    }

    pub(crate) fn wants_rewrite(&self, shard: usize) -> bool {
        self.shards[shard].rewrite.load(Ordering::Relaxed)
    }

    pub(crate) fn loads(&self, shard: usize) -> u64 {
        self.shards[shard].loads.load(Ordering::Acquire)
    }

    pub(crate) fn loading(&self) -> &AtomicUsize {
        &self.loading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::replica_inbox_pair;

    /// Shards whose inboxes nobody reads: the test plays their threads.
    fn shards(count: usize) -> (Shards, Vec<kevy_rt::ReplicaInboxReceiver>) {
        let (senders, receivers) = (0..count).map(|_| replica_inbox_pair()).unzip();
        (Shards::new(senders), receivers)
    }

    fn order(epoch: u64) -> Argv {
        Argv::from(vec![BARRIER.to_vec(), epoch.to_string().into_bytes()])
    }

    /// What kevy does with a frame or an order. Says whether it is nothing for kevy.
    fn apply(shards: &Shards, shard: usize, record: &Argv) -> bool {
        shards.note_record(shard, record) != Applied::Kevys
    }

    /// kevy tells where the stream is, and takes what is in the inbox right afterwards.
    fn view(shards: &Shards, shard: usize, offset: u64) {
        shards.note_stream(shard, offset, &[]);
        assert!(apply(shards, shard, &Argv::from(vec![marks::MARK.to_vec(), b"0".to_vec()])));
    }

    fn restore(shards: &Shards) {
        for shard in 0..shards.count() {
            shards.note_restored(shard);
            assert_eq!(shards.tick(shard).0, 0, "the first value promotes nothing");
        }
    }

    #[test]
    fn a_shard_starts_its_stream_only_after_it_took_the_order_out_of_its_inbox() {
        let (shards, _inboxes) = shards(2);
        restore(&shards);
        shards.begin_reign(Epoch(7), &Position::NONE);
        assert_eq!(shards.tick(0).0, 0, "frames before the order are not applied yet");
        assert_eq!(shards.tag(0).epoch, Epoch::ZERO);
        assert!(apply(&shards, 0, &order(7)));
        assert_eq!(shards.tick(0).0, 0, "the other shard may still apply: the clock must not leap under it");
        assert!(apply(&shards, 1, &order(7)));
        assert_eq!(shards.tick(0).0, 7);
        assert_eq!(shards.tag(0).epoch, Epoch(7));
        view(&shards, 0, 0);
        assert!(!shards.reigns(Epoch(7)), "the other shard has not");
        assert_eq!(shards.tick(1).0, 7);
        shards.note_stream(1, 0, &[]);
        assert!(!shards.reigns(Epoch(7)), "its log does not say so yet");
        view(&shards, 1, 0);
        assert!(shards.reigns(Epoch(7)));
    }

    #[test]
    fn an_order_that_lost_to_a_newer_election_does_nothing() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.begin_reign(Epoch(7), &Position::NONE);
        shards.end_reign();
        assert!(apply(&shards, 0, &order(7)), "it is still nothing for kevy");
        assert_eq!(shards.tick(0).0, 0);
        shards.begin_reign(Epoch(9), &Position::NONE);
        assert!(apply(&shards, 0, &order(7)));
        assert_eq!(shards.tick(0).0, 0);
        assert!(apply(&shards, 0, &order(9)));
        assert_eq!(shards.tick(0).0, 9);
    }

    #[test]
    fn a_node_that_gave_up_its_office_marks_its_snapshots_with_no_epoch() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.begin_reign(Epoch(7), &Position::NONE);
        apply(&shards, 0, &order(7));
        shards.tick(0);
        assert_eq!(shards.tag(0).epoch, Epoch(7));
        shards.end_reign();
        assert_eq!(shards.tag(0).epoch, Epoch::ZERO);
    }

    #[test]
    fn a_mark_says_what_the_data_is_where_it_is_logged() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        let at = Place { epoch: Epoch(4), flushes: 0, offset: 10 };
        let order = Argv::from(Incoming { at, before: None }.order(5));
        assert!(matches!(shards.note_record(0, &order), Applied::Logged(words) if words[0] == marks::LOAD));
        shards.note_load(0);
        for _ in 0..3 {
            assert!(!apply(&shards, 0, &Argv::from(vec![b"SET".to_vec(), b"k".to_vec(), b"v".to_vec()])));
        }
        let Applied::Logged(words) =
            shards.note_record(0, &Argv::from(vec![marks::MARK.to_vec(), b"77".to_vec()]))
        else {
            unreachable!("a mark is logged");
        };
        assert_eq!((words[2].as_slice(), words[4].as_slice()), (&b"4:0:13"[..], &b"77"[..]));
        assert_eq!(shards.outstanding(0), 0, "orders are no frames");
    }

    #[test]
    fn acknowledgements_count_again_once_no_replica_follows_the_flushed_stream() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.waits().set_up(vec!["n1".to_owned()], crate::waits::Ports::default());
        shards.begin_reign(Epoch(7), &Position::NONE);
        assert!(apply(&shards, 0, &order(7)));
        shards.tick(0);
        let row = |flushes, acknowledged| Row {
            name: format!("kevy-replica-n1.7.{flushes}-6004#0.1"),
            peer: std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1),
            acknowledged,
        };
        shards.note_stream(0, 3, &[row(0, true)]);
        assert!(!shards.acks_are_stale());
        shards.note_flush(0);
        assert!(shards.acks_are_stale(), "before any tick has looked");
        shards.note_stream(0, 3, &[row(0, true)]);
        assert!(shards.acks_are_stale());
        shards.note_stream(0, 5, &[row(1, true)]);
        assert!(!shards.acks_are_stale());
        shards.note_stream(0, 5, &[row(0, false)]);
        assert!(!shards.acks_are_stale(), "it has acknowledged nothing that could count");
        assert_eq!(shards.tag(0).flushes, 1);
    }
}
