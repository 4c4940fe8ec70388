//! The last decisions, in memory and in a file beside the vote record: what happened at night is still
//! there in the morning, also after a restart.

mod decision;

pub(crate) use decision::Decision;

use crate::own_file;
use async_io::Timer;
use decision::Collector;
use futures_lite::StreamExt;
use futures_lite::future::or;
use kevy_elect_plugin::event::{Event, EventKind};
#[cfg(feature = "kevy")]
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::position::Progress;
use serde::Serialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where it lives, below a node's data directory.
pub const FILE: &str = "elect/history";
/// The most decisions that are kept.
pub(crate) const DECISIONS_MAX: usize = 100;
/// The most changes of this node's role that are kept; in memory only.
const TRANSITIONS_MAX: usize = 20;
/// Of these, the newest, which always stay.
const NEWEST_MAX: usize = 25;
/// A file that is larger is none of ours: a hundred decisions with all entries that they may have are smaller.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often the file may be written at once, and how long it takes until it may be once more.
const WRITES: (u32, Duration) = (16, Duration::from_secs(1));
/// Decisions that gave way to others.
const LEFT_OUT: &str = "kevy_elect_history_left_out_total";

/// What this node decided. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    decisions: VecDeque<Decision>,
    transitions: VecDeque<Transition>,
    file: PathBuf,
    /// Whether it was said already that the file cannot be written.
    complained: bool,
}

/// A change of this node's role.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Transition {
    pub(crate) at_ms: u64,
    pub(crate) epoch: u64,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) reason: &'static str,
}

impl History {
    /// Reads what earlier processes left in `file`. Lines that make no sense are left out: a history with a
    /// gap is better than no server.
    pub fn open(file: PathBuf) -> Self {
        metrics::describe_counter!(
            LEFT_OUT,
            "Decisions that the history left out, because there were too many."
        );
        metrics::counter!(LEFT_OUT).increment(0);
        own_file::describe();
        let decisions = read(&file).unwrap_or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                log::warn!("{}: cannot be read: {error}; the history starts anew", file.display());
            }
            VecDeque::new()
        });
        let inner = Inner { decisions, transitions: VecDeque::new(), file, complained: false };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Follows the decisions of `plugin`'s node from this call on. The file is written on a thread of `blocking`'s: no
    /// election waits for it.
    pub fn follow(self, node: NodeId, plugin: Arc<dyn ElectPlugin>) -> impl Future<Output = ()> + Send {
        let mut events = plugin.events();
        async move {
            let mut collector = Collector::new(node);
            let held =
                |id| plugin.snapshot().peers.iter().find(|peer| peer.id == id).map(|peer| peer.progress);
            let (mut pace, mut kept) = (Pace::new(Instant::now()), true);
            loop {
                let event = async { Woken::Event(events.next().await) };
                let due = async {
                    match kept {
                        true => std::future::pending().await,
                        false => Timer::at(pace.next()).await,
                    };
                    Woken::Due
                };
                match or(event, due).await {
                    Woken::Event(None) => break,
                    Woken::Event(Some(event)) => {
                        if let Some(decision) = self.note(&mut collector, &event, now_ms(), held) {
                            push_thinly(&mut self.lock().decisions, decision);
                            kept = false;
                        }
                    }
                    Woken::Due => {}
                }
                if !kept && pace.allows(Instant::now()) {
                    let history = self.clone();
                    blocking::unblock(move || history.write()).await;
                    kept = true;
                }
            }
            if !kept {
                self.write();
            }
        }
    }

    /// An operator made `node` the only voter, while it did not run.
    #[cfg(feature = "kevy")]
    pub(crate) fn note_forced(&self, node: NodeId, epoch: Epoch, lost: &str, held: Progress) {
        let decision = Decision {
            at_ms: now_ms(),
            node: node.to_string(),
            epoch: epoch.0,
            what: "forced".to_owned(),
            to: Some(node.to_string()),
            why: format!("an operator made it the only voter, at {held}, without {lost}"),
            ..Decision::default()
        };
        push_thinly(&mut self.lock().decisions, decision);
        self.write();
    }

    /// The decisions, the newest first.
    pub(crate) fn decisions(&self) -> Vec<Decision> {
        self.lock().decisions.iter().rev().cloned().collect()
    }

    /// The changes of this process's role, the newest first.
    pub(crate) fn transitions(&self) -> Vec<Transition> {
        self.lock().transitions.iter().rev().cloned().collect()
    }

    fn note(
        &self,
        collector: &mut Collector,
        event: &Event,
        at_ms: u64,
        held: impl Fn(NodeId) -> Option<Progress>,
    ) -> Option<Decision> {
        if let EventKind::RoleChanged { from, to, reason } = &event.kind {
            let (from, to, reason) = (from.as_str(), to.as_str(), reason.as_str());
            let transition = Transition { at_ms, epoch: event.epoch.0, from, to, reason };
            push(&mut self.lock().transitions, transition, TRANSITIONS_MAX);
        }
        collector.note(event, at_ms, held)
    }

    fn write(&self) {
        let (text, file) = {
            let inner = self.lock();
            let lines = inner.decisions.iter().filter_map(|decision| serde_json::to_string(decision).ok());
            (lines.map(|line| line + "\n").collect::<String>(), inner.file.clone())
        };
        let written = create_directory(&file)
            .and_then(|()| own_file::replace(&file, text.as_bytes(), own_file::PRIVATE));
        let mut inner = self.lock();
        if let (Err(error), false) = (&written, inner.complained) {
            log::warn!("{}: cannot be written: {error}; the history is kept in memory only", file.display());
        }
        inner.complained = written.is_err();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(entries: &mut VecDeque<T>, entry: T, max: usize) {
    while entries.len() >= max {
        entries.pop_front();
    }
    entries.push_back(entry);
}

/// Adds a decision. Of those that are too many, the earlier one of the two goes that came closest behind each other: a flood of
/// decisions thins itself out, and what was decided before it stays.
fn push_thinly(decisions: &mut VecDeque<Decision>, decision: Decision) {
    decisions.push_back(decision);
    while decisions.len() > DECISIONS_MAX {
        let old = decisions.len() - NEWEST_MAX;
        let gap = |at: &usize| decisions[at + 1].at_ms.abs_diff(decisions[*at].at_ms);
        let closest = (0..old).min_by_key(gap).unwrap_or_default();
        let Some(gone) = decisions.remove(closest) else { return };
        metrics::counter!(LEFT_OUT).increment(1);
        // The place is now the next one's.
        decisions[closest].left_out += 1 + gone.left_out;
    }
}

/// What the loop was woken by.
enum Woken {
    Event(Option<Event>),
    Due,
}

/// How often something may be done.
struct Pace {
    left: u32,
    refilled: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { left: WRITES.0, refilled: now }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let periods = now.saturating_duration_since(self.refilled).as_nanos() / WRITES.1.as_nanos();
        if periods > 0 {
            self.left = WRITES.0.min(self.left.saturating_add(u32::try_from(periods).unwrap_or(WRITES.0)));
            self.refilled = now;
        }
        let allows = self.left > 0;
        self.left -= u32::from(allows);
        allows
    }

    /// When there will be room at the latest.
    fn next(&self) -> Instant {
        self.refilled + WRITES.1
    }
}

fn read(file: &Path) -> std::io::Result<VecDeque<Decision>> {
    let text = own_file::read(file, FILE_BYTES_MAX, own_file::PRIVATE)?;
    let (mut decisions, mut senseless) = (VecDeque::new(), 0_u32);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(decision) => push_thinly(&mut decisions, decision),
            Err(_) => senseless += 1,
        }
    }
    if senseless > 0 {
        log::warn!("{}: {senseless} lines make no sense and are left out", file.display());
    }
    Ok(decisions)
}

fn create_directory(file: &Path) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), std::fs::create_dir_all)
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("kevy-history-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&directory));
        directory.join("elect/history")
    }

    #[test]
    fn the_last_hundred_are_kept_over_a_restart_and_a_damaged_line_costs_only_itself() {
        let file = file("kept");
        let history = History::open(file.clone());
        for epoch in 1..=130 {
            push_thinly(&mut history.lock().decisions, Decision { epoch, ..Decision::default() });
            history.write();
        }
        let again = History::open(file.clone());
        let epochs: Vec<u64> = again.decisions().iter().map(|decision| decision.epoch).collect();
        assert_eq!(epochs, (31..=130).rev().collect::<Vec<_>>());
        let text = std::fs::read_to_string(&file).unwrap().replacen("\"epoch\":130", "\"epoch\":!", 1);
        std::fs::write(&file, text).unwrap();
        assert_eq!(History::open(file.clone()).decisions().len(), 99);
        std::fs::write(&file, [0xff, b'\n'].repeat(1000)).unwrap();
        assert_eq!(History::open(file).decisions(), []);
    }

    #[test]
    fn a_flood_of_decisions_pushes_none_out_that_was_there_before() {
        let mut decisions = VecDeque::new();
        let at = |at_ms| Decision { at_ms, ..Decision::default() };
        // A failover a day, then somebody who causes 200 a second for half an hour, then one more.
        let days: Vec<u64> = (1..=40).map(|day| day * 86_400_000).collect();
        days.iter().for_each(|day| push_thinly(&mut decisions, at(*day)));
        let flood = 360_000;
        let counted = crate::http::counted(LEFT_OUT, || {
            (0..flood).for_each(|n| push_thinly(&mut decisions, at(days[39] + 3_600_000 + 5 * n)));
        });
        assert_eq!(counted, 40 + flood - DECISIONS_MAX as u64);
        push_thinly(&mut decisions, at(days[39] + 7_200_000));
        assert_eq!(decisions.len(), DECISIONS_MAX);
        let kept: Vec<u64> = decisions.iter().map(|decision| decision.at_ms).collect();
        assert!(days.iter().all(|day| kept.contains(day)), "{kept:?}");
        assert_eq!(kept[DECISIONS_MAX - 1], days[39] + 7_200_000);
        let left_out: u64 = decisions.iter().map(|decision| decision.left_out).sum();
        assert_eq!(left_out, 41 + flood - DECISIONS_MAX as u64, "and the rest is counted");
    }

    #[test]
    fn the_file_is_written_often_at_once_and_then_once_a_second() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let often = |pace: &mut Pace, at| (0..1000).filter(|_| pace.allows(at)).count();
        assert_eq!(often(&mut pace, now), WRITES.0 as usize);
        let next = pace.next();
        assert_eq!(often(&mut pace, next), 1);
        assert_eq!(often(&mut pace, now + 3600 * WRITES.1), WRITES.0 as usize);
    }

    #[test]
    fn what_cannot_be_written_is_still_there() {
        let file = file("readonly");
        std::fs::create_dir_all(&file).unwrap();
        let history = History::open(file);
        push_thinly(&mut history.lock().decisions, Decision { epoch: 1, ..Decision::default() });
        history.write();
        assert_eq!(history.decisions().len(), 1);
    }
}
