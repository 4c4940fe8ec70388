//! What the shards and the election's host tell each other.
//!
//! Every shard is a thread of kevy. It reports from its hooks (`commands.rs`) and reads a few atomics;
//! nothing here makes a shard wait.

use crate::clock;
use crate::cuts::Cutter;
use crate::ending::Ending;
use crate::link::Link;
use crate::names::{Row, judge};
use crate::office::{Office, Standing};
use crate::pulse::Pulse;
use crate::tag::{Tag, position_offset};
use crate::waits::Waits;
use event_listener::Event;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::plugin::Denied;
use kevy_rt::{Argv, ReplicaApply, ReplicaInboxSender, SnapshotGate};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
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
    waits: Waits,
    cutter: OnceLock<Cutter>,
    /// The newest cut that was begun.
    cut: AtomicU64,
    progress: Event,
}

/// One shard. Written by its own thread, except `inbox`.
struct Shard {
    inbox: ReplicaInboxSender,
    /// Held while the parts of a snapshot are sent: nothing may come between them.
    bulk: Mutex<()>,
    restored: AtomicBool,
    had_data: AtomicBool,
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
        let shard = |inbox| Shard {
            inbox,
            bulk: Mutex::new(()),
            restored: AtomicBool::default(),
            had_data: AtomicBool::default(),
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
            waits: Waits::default(),
            cutter: OnceLock::new(),
            cut: AtomicU64::new(0),
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

    /// A record from disk was applied, or a snapshot from disk loaded.
    pub fn note_data_on_disk(&self, shard: usize) {
        self.shards[shard].had_data.store(true, Ordering::Relaxed);
    }

    /// What was on disk is loaded.
    pub fn note_restored(&self, shard: usize) {
        self.shards[shard].restored.store(true, Ordering::Release);
        self.progress.notify(usize::MAX);
    }

    /// Whether what was on disk is loaded.
    pub fn is_restored(&self, shard: usize) -> bool {
        self.shards[shard].restored.load(Ordering::Relaxed)
    }

    /// A record is applied that no client sent. Says whether it was ours and is done with.
    pub fn note_record<A: kevy_rt::ArgvView + ?Sized>(&self, shard: usize, record: &A) -> bool {
        let shard = &self.shards[shard];
        if !shard.restored.load(Ordering::Relaxed) {
            shard.had_data.store(true, Ordering::Relaxed);
            return false;
        }
        if record.first() != Some(BARRIER) {
            shard.applied.fetch_add(1, Ordering::Release);
            return shard.broken.load(Ordering::Acquire);
        }
        // From here on it is a primary's own, for better or worse.
        shard.broken.store(false, Ordering::Release);
        let epoch =
            record.get(1).and_then(|epoch| std::str::from_utf8(epoch).ok()).and_then(|e| e.parse().ok());
        // Only the order that is in force counts; an older one lost to a newer election.
        if epoch == Some(self.reign.load(Ordering::Acquire)) {
            shard.ordered.store(epoch.unwrap_or_default(), Ordering::Release);
        }
        true
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
        if based && ordered > started && ordered == reign {
            // kevy starts a new stream right after this call, before any snapshot of it can be taken.
            shard.flushes.store(0, Ordering::Relaxed);
            shard.offset.store(0, Ordering::Relaxed);
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
        number == self.cut.load(Ordering::SeqCst)
            && self.shards[shard].cut.swap(number, Ordering::SeqCst) < number
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
        if reign != 0 && state.started.load(Ordering::Relaxed) == reign {
            state.seen.store(reign, Ordering::Release);
            if self.reported.load(Ordering::Acquire) == reign
                && let Some(office) = self.office.get()
            {
                office.on_offset(shard, position_offset(state.flushes.load(Ordering::Relaxed), offset));
            }
        }
        state.own_work.store(false, Ordering::Relaxed);
        // Last: whoever waits for this view may rely on the election having it.
        state.views.fetch_add(1, Ordering::Release);
        self.progress.notify(usize::MAX);
    }

    /// A client flushes this shard: kevy starts its stream anew.
    pub fn note_flush(&self, shard: usize) {
        let shard = &self.shards[shard];
        shard.flushes.fetch_add(1, Ordering::Release);
        shard.offset.store(0, Ordering::Release);
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
        let link = state.link.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(link) = link {
            link.lost(&reason);
        }
    }

    /// A shipped snapshot has replaced the keyspace.
    pub fn note_load(&self, shard: usize) {
        self.shards[shard].broken.store(false, Ordering::Release);
        self.shards[shard].loads.fetch_add(1, Ordering::Release);
    }

    // ---- asked and ordered by the host ----

    /// Whether all shards have loaded what was on disk; then, whether that was anything.
    pub fn restored(&self) -> Option<bool> {
        let all = self.shards.iter().all(|shard| shard.restored.load(Ordering::Acquire));
        all.then(|| self.shards.iter().any(|shard| shard.had_data.load(Ordering::Relaxed)))
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
    /// may be sent to the inboxes after this, so the followers must have been stopped.
    pub fn begin_reign(&self, epoch: Epoch) {
        self.reign.store(epoch.0, Ordering::Release);
        for shard in &self.shards {
            // Until the first look at who is connected.
            shard.stale_replicas.store(usize::MAX, Ordering::Release);
            let order = Argv::from(vec![BARRIER.to_vec(), epoch.0.to_string().into_bytes()]);
            // The offset means nothing: who follows again after a reign loads a snapshot, which sets it.
            drop(shard.inbox.send(ReplicaApply::Frame { offset: u64::MAX, argv: order }));
        }
    }

    /// Whether every shard has started the stream of `epoch`.
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

    /// What kevy does with a frame or an order.
    fn apply(shards: &Shards, shard: usize, record: &Argv) -> bool {
        shards.note_record(shard, record)
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
        shards.begin_reign(Epoch(7));
        assert_eq!(shards.tick(0).0, 0, "frames before the order are not applied yet");
        assert_eq!(shards.tag(0).epoch, Epoch::ZERO);
        assert!(apply(&shards, 0, &order(7)));
        assert_eq!(shards.tick(0).0, 7);
        assert_eq!(shards.tag(0).epoch, Epoch(7));
        shards.note_stream(0, 0, &[]);
        assert!(!shards.reigns(Epoch(7)), "the other shard has not");
        assert!(apply(&shards, 1, &order(7)));
        assert_eq!(shards.tick(1).0, 7);
        shards.note_stream(1, 0, &[]);
        assert!(shards.reigns(Epoch(7)));
    }

    #[test]
    fn an_order_that_lost_to_a_newer_election_does_nothing() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.begin_reign(Epoch(7));
        shards.end_reign();
        assert!(apply(&shards, 0, &order(7)), "it is still nothing for kevy");
        assert_eq!(shards.tick(0).0, 0);
        shards.begin_reign(Epoch(9));
        assert!(apply(&shards, 0, &order(7)));
        assert_eq!(shards.tick(0).0, 0);
        assert!(apply(&shards, 0, &order(9)));
        assert_eq!(shards.tick(0).0, 9);
    }

    #[test]
    fn a_node_that_gave_up_its_office_marks_its_snapshots_with_no_epoch() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.begin_reign(Epoch(7));
        apply(&shards, 0, &order(7));
        shards.tick(0);
        assert_eq!(shards.tag(0).epoch, Epoch(7));
        shards.end_reign();
        assert_eq!(shards.tag(0).epoch, Epoch::ZERO);
    }

    #[test]
    fn acknowledgements_count_again_once_no_replica_follows_the_flushed_stream() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.waits().set_up(vec!["n1".to_owned()], crate::waits::Ports::default());
        shards.begin_reign(Epoch(7));
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
