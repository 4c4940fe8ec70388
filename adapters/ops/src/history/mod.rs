//! The last decisions, in memory and in a file beside the vote record: what happened at night is still
//! there in the morning, also after a restart.

mod decision;

pub(crate) use decision::Decision;

use decision::Collector;
use futures_lite::StreamExt;
use kevy_elect_plugin::event::{Event, EventKind};
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::position::Progress;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where it lives, below a node's data directory.
pub const FILE: &str = "elect/history";
/// The most decisions that are kept.
pub(crate) const DECISIONS_MAX: usize = 100;
/// The most changes of this node's role that are kept; in memory only.
const TRANSITIONS_MAX: usize = 20;
/// The most of a file that is read: far above what a hundred decisions need.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

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
            while let Some(event) = events.next().await {
                if let Some(decision) = self.note(&mut collector, &event, now_ms(), held) {
                    let history = self.clone();
                    blocking::unblock(move || history.keep(decision)).await;
                }
            }
        }
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

    fn keep(&self, decision: Decision) {
        let (text, file) = {
            let mut inner = self.lock();
            push(&mut inner.decisions, decision, DECISIONS_MAX);
            let lines = inner.decisions.iter().filter_map(|decision| serde_json::to_string(decision).ok());
            (lines.map(|line| line + "\n").collect::<String>(), inner.file.clone())
        };
        let written = write(&file, &text);
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

fn read(file: &Path) -> std::io::Result<VecDeque<Decision>> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    let mut decisions = VecDeque::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(decision) => push(&mut decisions, decision, DECISIONS_MAX),
            Err(error) => log::warn!("{}: a line makes no sense and is left out: {error}", file.display()),
        }
    }
    Ok(decisions)
}

/// Whole or not at all, against the process's end. Not synced: a power cut may cost the last decisions, and
/// a sync could delay that of a vote.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let new = file.with_extension("new");
    std::fs::File::create(&new)?.write_all(text.as_bytes())?;
    std::fs::rename(new, file)
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
            history.keep(Decision { epoch, ..Decision::default() });
        }
        let again = History::open(file.clone());
        let epochs: Vec<u64> = again.decisions().iter().map(|decision| decision.epoch).collect();
        assert_eq!(epochs, (31..=130).rev().collect::<Vec<_>>());
        let text = std::fs::read_to_string(&file).unwrap().replacen("\"epoch\":130", "\"epoch\":!", 1);
        std::fs::write(&file, text).unwrap();
        assert_eq!(History::open(file.clone()).decisions().len(), 99);
        std::fs::write(&file, [0xff; 1000]).unwrap();
        assert_eq!(History::open(file).decisions(), []);
    }

    #[test]
    fn what_cannot_be_written_is_still_there() {
        let file = file("readonly");
        std::fs::create_dir_all(&file).unwrap();
        let history = History::open(file);
        history.keep(Decision { epoch: 1, ..Decision::default() });
        assert_eq!(history.decisions().len(), 1);
    }
}
