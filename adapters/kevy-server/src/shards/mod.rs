//! What the shards and the election's host tell each other.
//!
//! Every shard is a thread of kevy. It reports from its hooks (`clients/commands`) and reads a few atomics;
//! nothing here makes a shard wait.
//!
//! - `reign`: taking up an office, and the clock that goes with it
//! - `stream`: a shard's own stream, and who follows it
//! - `inbox`: what is sent to a shard, and what it does with it
//! - `continue_state`: going on in another history, and what others need for it
//! - `followers`: replicas that copy from this node, and what is done for them
//! - `continue_orders`: the order to go on in another history
//! - `throttle`: writers who wait for a replica that copies
//! - `copy_turns`: who may copy from it now
//! - `table_room`: a table that is large enough before many keys come
//! - `data`: what its data is, and the marks that say so in its log
//! - `dumps`: rewrites and snapshots across a leap of the clock
//! - `shutting`: a gate that shuts for a handover, and what is under way then
//! - `counters`: what the next two count
//! - `rounds`: turns of their loops, counted
//! - `short_ticks`: short ticks while something waits

mod continue_orders;
mod continue_state;
mod copy_turns;
mod counters;
mod data;
mod dumps;
mod followers;
pub(crate) mod inbox;
mod lapsed;
pub(crate) mod reign;
mod rounds;
mod short_ticks;
mod shutting;
pub(crate) mod stream;
mod table_room;
mod throttle;

use crate::clients::waiting::Farewell;
use crate::confirm::waits::Waits;
use crate::continuation::passes::Passes;
use crate::continuation::pins::Pins;
use crate::ending::Ending;
use crate::fitness::pulse::Pulse;
use crate::fitness::serving::Serving;
use crate::office::{Office, Standing};
use crate::position::cutter::Cutter;
use crate::position::disk::Disk;
use crate::position::ledger::Ledger;
use crate::position::marks::Before;
use crate::position::pace::Pace;
use event_listener::Event;
use kevy_elect_ops::reload::Reloader;
use kevy_elect_plugin::host::FenceReason;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::plugin::Denied;
use kevy_persist::Fsync;
use kevy_rt::ReplicaInboxSender;
use lapsed::Lapsed;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use continue_state::ContinueState;
use copy_turns::Turns;
use counters::{Rounds, Shutting};
use throttle::Throttle;

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
    reloader: OnceLock<Arc<Reloader>>,
    disk: OnceLock<Disk>,
    /// Whether a replica acknowledges only what is on its disk.
    acks_after_sync: AtomicBool,
    /// Whether the logs are synced every second, beside the shards.
    syncs_every_second: AtomicBool,
    /// Transactions that clients have begun and not ended. Too many, where a connection ended in the middle of one.
    transactions: AtomicUsize,
    waits: Waits,
    farewell: Farewell,
    lapsed: Lapsed,
    cutter: OnceLock<Cutter>,
    pins: OnceLock<Pins>,
    turns: Turns,
    passes: OnceLock<Arc<Passes>>,
    rounds: Rounds,
    /// What kevy keeps of each stream, in bytes.
    buffer: AtomicU64,
    /// The newest cut that was begun.
    cut: AtomicU64,
    /// The reign for which the store's clock goes by this node's.
    told: AtomicU64,
    /// Why the data on disk cannot be served in an election.
    refused: OnceLock<String>,
    progress: Event,
}

/// Takes the reason of something.
type Tell = dyn Fn(&str) + Send + Sync;

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
    /// How many keys are on their way into the shard, all at once.
    expected_keys: AtomicU64,
    /// Whether room was made for those of the log.
    roomy: AtomicBool,
    dumps: Dumps,
    /// Whether kevy has taken the first value of its promotion counter, which promotes nothing.
    based: AtomicBool,
    /// The epoch that the last barrier ordered.
    ordered: AtomicU64,
    /// The epoch for which kevy has started a new stream.
    started: AtomicU64,
    /// The epoch for which the new stream's offset was seen.
    seen: AtomicU64,
    /// Its thread's number; 0: not known.
    thread: AtomicU32,
    /// How often kevy told the offset of its own stream.
    views: AtomicU64,
    /// When it did so last, in nanoseconds since `born`.
    viewed: AtomicU64,
    /// How many of the last ones came while the gate was shut.
    shut_views: AtomicU64,
    /// The newest turns that it has taken.
    turned: AtomicU64,
    /// Whether it is at a command, once its thread runs.
    serving: OnceLock<Serving>,
    /// kevy's offset in its own stream.
    offset: AtomicU64,
    flushes: AtomicU64,
    /// Frames of a followed stream: put into the inbox, and taken out of it.
    sent: AtomicU64,
    applied: AtomicU64,
    /// Snapshots that replaced the keyspace.
    loads: AtomicU64,
    /// Tells who follows a stream for this shard that it could not apply what came.
    told_of_loss: Mutex<Option<Arc<Tell>>>,
    /// Whether a frame could not be applied: what comes after it is of no use before another snapshot.
    broken: AtomicBool,
    /// Replicas whose acknowledgements kevy would count although they belong to a stream before a flush.
    stale_replicas: AtomicUsize,
    /// Clients of this shard that wait for data.
    blocked: AtomicU64,
    /// The newest cut that this shard has put into its stream.
    cut: AtomicU64,
    shutting: Shutting,
    pace: Pace,
    continued: ContinueState,
    throttle: Throttle,
}

/// No number of leaps.
const NOTHING_DUMPED: u64 = u64::MAX;

/// What a shard dumps: see `dumps`.
struct Dumps {
    /// How often the clock had leapt when what is dumped was measured, and at the last tick.
    begun: AtomicU64,
    ticked: AtomicU64,
    /// Whether what is dumped is of no use, and whether it has to be done again.
    spoilt: AtomicBool,
    again: AtomicBool,
}

impl Default for Dumps {
    fn default() -> Self {
        Self {
            begun: AtomicU64::new(NOTHING_DUMPED),
            ticked: AtomicU64::default(),
            spoilt: AtomicBool::default(),
            again: AtomicBool::default(),
        }
    }
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
            expected_keys: AtomicU64::default(),
            roomy: AtomicBool::default(),
            dumps: Dumps::default(),
            based: AtomicBool::default(),
            ordered: AtomicU64::default(),
            started: AtomicU64::default(),
            seen: AtomicU64::default(),
            thread: AtomicU32::default(),
            views: AtomicU64::default(),
            viewed: AtomicU64::default(),
            shut_views: AtomicU64::default(),
            turned: AtomicU64::default(),
            serving: OnceLock::new(),
            offset: AtomicU64::default(),
            flushes: AtomicU64::default(),
            sent: AtomicU64::default(),
            applied: AtomicU64::default(),
            loads: AtomicU64::default(),
            told_of_loss: Mutex::default(),
            broken: AtomicBool::default(),
            stale_replicas: AtomicUsize::default(),
            blocked: AtomicU64::default(),
            cut: AtomicU64::default(),
            shutting: Shutting::default(),
            pace: Pace::default(),
            continued: ContinueState::default(),
            throttle: Throttle::default(),
        };
        Self {
            shards: inboxes.into_iter().map(shard).collect(),
            office: OnceLock::new(),
            refused: OnceLock::new(),
            reign: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            loading: AtomicUsize::new(0),
            urgent_until: AtomicU64::new(0),
            born: Instant::now(),
            pulse: OnceLock::new(),
            ending: OnceLock::new(),
            reloader: OnceLock::new(),
            disk: OnceLock::new(),
            acks_after_sync: AtomicBool::new(false),
            syncs_every_second: AtomicBool::new(false),
            transactions: AtomicUsize::new(0),
            waits: Waits::default(),
            farewell: Farewell::default(),
            lapsed: Lapsed::default(),
            cutter: OnceLock::new(),
            pins: OnceLock::new(),
            passes: OnceLock::new(),
            turns: Turns::default(),
            rounds: Rounds::default(),
            buffer: AtomicU64::new(u64::MAX),
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

    /// Makes known what reads the file anew, for operators.
    pub(crate) fn set_reloader(&self, reloader: Arc<Reloader>) {
        drop(self.reloader.set(reloader));
    }

    /// What reads the file anew.
    pub(crate) fn reloader(&self) -> Option<Arc<Reloader>> {
        self.reloader.get().cloned()
    }

    /// Makes known where the logs are, if there are any. Before that, there are none.
    pub(crate) fn set_disk(&self, disk: Disk) {
        drop(self.disk.set(disk));
    }

    /// A client begins a transaction (`MULTI`), or ends one.
    pub(crate) fn note_transaction(&self, begins: bool) {
        let change = |open: usize| Some(if begins { open.saturating_add(1) } else { open.saturating_sub(1) });
        // Never `Err`: every number changes.
        let _ = self.transactions.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }

    /// Whether one may be under way.
    pub(crate) fn has_transactions(&self) -> bool {
        self.transactions.load(Ordering::Acquire) > 0
    }

    /// So many clients of `shard` wait for data.
    pub(crate) fn note_blocked(&self, shard: usize, clients: u64) {
        self.shards[shard].blocked.store(clients, Ordering::Release);
    }

    /// Whether clients wait for data, as of the last ticks.
    pub(crate) fn has_blocked(&self) -> bool {
        self.shards.iter().any(|shard| shard.blocked.load(Ordering::Acquire) > 0)
    }

    /// Who waits for data, and is told that none comes.
    pub(crate) fn farewell(&self) -> &Farewell {
        &self.farewell
    }

    /// Tells who waits for data that none comes.
    pub(crate) fn unblock_clients(&self) {
        if self.has_blocked() {
            let told = self.farewell.tell();
            log::info!("{told} clients that waited for data were told that none comes");
        }
    }

    /// The same, and ends the connections of all clients.
    pub(crate) fn end_clients(&self, why: &str) {
        self.unblock_clients();
        self.waits.end_clients(why);
    }

    /// What is parked for acknowledgements, and whose count.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Whether it keeps clients.
    pub(crate) fn lapsed(&self) -> &Lapsed {
        &self.lapsed
    }

    /// Whether this node was primary, may not write, and another one may reign. Not while it hands its office over.
    pub(crate) fn keeps_nobody(&self) -> bool {
        self.lapsed.is() && !matches!(self.check(), Ok(()) | Err(Denied::Fenced(FenceReason::StepDown)))
    }

    /// Makes known what cuts the streams. With one shard nothing does.
    pub(crate) fn set_cutter(&self, cutter: Cutter) {
        drop(self.cutter.set(cutter));
    }

    /// Makes known what keeps the beginning of a reign. Before that, nothing does.
    pub(crate) fn set_pins(&self, pins: Pins) {
        drop(self.pins.set(pins));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// Notified when a shard was restored, and when one has told the offset of its stream.
    pub fn progress(&self) -> &Event {
        &self.progress
    }

    /// The data on disk cannot be served in an election.
    pub(crate) fn refuse_data(&self, why: String) {
        // The first reason stays.
        drop(self.refused.set(why));
    }

    /// Why that is, if it is so.
    pub(crate) fn refused_data(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }

    /// Whether a write may pass.
    pub fn check(&self) -> Result<(), Denied> {
        self.office.get().map_or(Err(Denied::Replica), |office| office.check())
    }

    /// Who reigns.
    pub fn standing(&self) -> Standing {
        let nobody = Standing { primary: false, epoch: Epoch::ZERO, of: None };
        self.office.get().map_or(nobody, |office| office.standing())
    }

    /// Whether this node is the primary and may write now. One that is fenced says to nobody that it is primary: another
    /// node may have taken over.
    pub(crate) fn is_primary(&self) -> bool {
        self.standing().primary && self.check().is_ok()
    }

    /// Whether a snapshot is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire) > 0
    }

    /// A client wants the server to end, and to write a snapshot before if `save`.
    pub(crate) fn note_shutdown(&self, save: bool) {
        if let Some(ending) = self.ending.get() {
            ending.wish(save);
        }
    }

    /// What `appendfsync` is now.
    pub(crate) fn note_sync_policy(&self, wanted: Fsync) {
        self.acks_after_sync.store(wanted == Fsync::Always && self.has_logs(), Ordering::Relaxed);
        self.syncs_every_second.store(wanted == Fsync::EverySec && self.has_logs(), Ordering::Relaxed);
    }

    /// Whether the logs are synced every second, beside the shards.
    pub(crate) fn syncs_every_second(&self) -> bool {
        self.syncs_every_second.load(Ordering::Relaxed)
    }

    pub(crate) fn office(&self) -> Option<&Arc<dyn Office>> {
        self.office.get()
    }

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
}

/// For the tests of this folder.
#[cfg(test)]
mod played {
    use super::reign::BARRIER;
    use super::*;
    use crate::position::marks;
    use kevy_rt::{Argv, replica_inbox_pair};

    /// Shards whose inboxes nobody reads: the test plays their threads.
    pub(super) fn shards(count: usize) -> (Shards, Vec<kevy_rt::ReplicaInboxReceiver>) {
        let (senders, receivers) = (0..count).map(|_| replica_inbox_pair()).unzip();
        (Shards::new(senders), receivers)
    }

    pub(super) fn order(epoch: u64) -> Argv {
        Argv::from(vec![BARRIER.to_vec(), epoch.to_string().into_bytes()])
    }

    /// What kevy does with a frame or an order. Says whether it is nothing for kevy.
    pub(super) fn apply(shards: &Shards, shard: usize, record: &Argv) -> bool {
        shards.note_record(shard, record) != Applied::Kevys
    }

    /// kevy tells where the stream is, and takes what is in the inbox right afterwards.
    pub(super) fn view(shards: &Shards, shard: usize, offset: u64) {
        shards.note_stream(shard, offset, &[]);
        assert!(apply(shards, shard, &Argv::from(vec![marks::MARK.to_vec(), b"0".to_vec()])));
    }

    pub(super) fn restore(shards: &Shards) {
        for shard in 0..shards.count() {
            shards.note_restored(shard);
            assert_eq!(shards.tick(shard).0, 0, "the first value promotes nothing");
        }
    }
}
