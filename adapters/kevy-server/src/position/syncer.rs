//! Syncs the logs once a second, beside the shards: `appendfsync = "everysec"` (K10 of `docs/protocol.md`).
//!
//! kevy would sync a log on its shard's thread, whose clients would wait meanwhile: the thread that it has for that loses a replica's log
//! (`process/reactor.rs`). The kernel does not care who asks for a sync, nor through which descriptor: it brings to the disk all that was
//! written to the file before. So kevy is told not to sync at all, and goes on writing while it is done here.

use crate::fitness::probe::Probe;
use crate::inline::Inline;
use crate::shards::Shards;
use async_io::Timer;
use kevy_persist::Fsync;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// From the beginning of a round of syncs to that of the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Rounds after the last data: marks come a little later.
const ROUNDS_BEHIND: u32 = 2;
/// What is written without any data, the order to go on for instance, waits for so many rounds at most.
const ROUNDS_IDLE: u32 = 10;

/// What kevy is told in place of `wanted`.
pub(crate) fn for_kevy(wanted: Fsync) -> Fsync {
    match wanted {
        Fsync::EverySec => Fsync::No,
        other => other,
    }
}

/// Syncs for as long as there are shards.
pub(crate) fn start(shards: &Arc<Shards>, probe: &Arc<Probe>, inline: Inline) {
    inline.spawn(run(Arc::downgrade(shards), Arc::downgrade(probe)));
}

/// The metrics are there from the first scrape.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        "kevy_server_log_sync_seconds",
        metrics::Unit::Seconds,
        "How long the last round of syncs of all logs took, under appendfsync = everysec."
    );
    metrics::gauge!("kevy_server_log_sync_seconds").set(0.0);
    metrics::describe_counter!(
        "kevy_server_log_sync_failures_total",
        "Syncs of a log that failed: what was written before may not be on the disk."
    );
    metrics::counter!("kevy_server_log_sync_failures_total").increment(0);
}

async fn run(shards: Weak<Shards>, probe: Weak<Probe>) {
    let (mut logs, mut known, mut still) = (Vec::new(), 0, 0);
    let mut due = Instant::now();
    loop {
        due = (due + INTERVAL).max(Instant::now());
        Timer::at(due).await;
        let (Some(shards), Some(probe)) = (shards.upgrade(), probe.upgrade()) else { return };
        let Some(disk) = shards.disk().filter(|disk| disk.logs && shards.syncs_every_second()) else {
            // Whoever asks for it again gets all synced that is there.
            logs.clear();
            continue;
        };
        if logs.is_empty() {
            logs = (0..shards.count()).map(|shard| Log::new(disk.log_path(shard))).collect();
        }
        let written = shards.written();
        still = if written == known { still + 1 } else { 0 };
        known = written;
        if still > ROUNDS_BEHIND && !still.is_multiple_of(ROUNDS_IDLE) {
            continue;
        }
        drop(shards);
        probe.sync_begins(Instant::now());
        let mut taken = std::mem::take(&mut logs);
        let begun = Instant::now();
        let (back, outcome) = blocking::unblock(move || {
            // All of them, whatever happens to one.
            let outcomes: Vec<_> = taken.iter_mut().map(Log::sync).collect();
            (taken, outcomes.into_iter().collect::<io::Result<()>>())
        })
        .await;
        logs = back;
        metrics::gauge!("kevy_server_log_sync_seconds").set(begun.elapsed().as_secs_f64());
        if let Err(error) = &outcome {
            metrics::counter!("kevy_server_log_sync_failures_total").increment(1);
            log::error!("a log cannot be synced: {error}; what was written before may not be on the disk");
        }
        probe.sync_ended(Instant::now(), outcome);
    }
}

/// One shard's log.
struct Log {
    path: PathBuf,
    /// Held open, for the kernel tells an earlier failure only through descriptors that were open then.
    open: Option<File>,
    synced: Option<State>,
}

/// By which a change of a file is found.
#[derive(PartialEq, Eq)]
struct State {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl State {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self { inode: meta.ino(), bytes: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl Log {
    const fn new(path: PathBuf) -> Self {
        Self { path, open: None, synced: None }
    }

    /// Brings to the disk what was written before. One that was replaced since is synced from its beginning: kevy did that, too, before it gave the
    /// new one its name.
    fn sync(&mut self) -> io::Result<()> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        let there = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            there => State::of(&there.map_err(named)?),
        };
        if self.synced.as_ref().is_none_or(|synced| synced.inode != there.inode) {
            (self.open, self.synced) = (None, None);
        }
        if self.synced.as_ref() == Some(&there) {
            return Ok(());
        }
        let file = match self.open.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(named)?,
        };
        // Before the sync: what is written meanwhile is due next time.
        let seen = State::of(&file.metadata().map_err(named)?);
        let outcome = file.sync_data().map_err(named);
        self.open = Some(file);
        self.synced = Some(seen).filter(|_| outcome.is_ok());
        outcome
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_is_synced_where_it_has_changed_and_where_it_was_replaced() {
        let dir = std::env::temp_dir().join(format!("kevy-server-syncer-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("aof-0.aof");
        let mut log = Log::new(path.clone());
        log.sync().unwrap();
        assert!(log.synced.is_none(), "there is none");
        std::fs::write(&path, "one").unwrap();
        log.sync().unwrap();
        assert_eq!(log.synced.as_ref().unwrap().bytes, 3);
        File::options().append(true).open(&path).unwrap().write_all(b"two").unwrap();
        log.sync().unwrap();
        assert_eq!(log.synced.as_ref().unwrap().bytes, 6);
        let before = log.synced.as_ref().unwrap().inode;
        std::fs::write(dir.join("next"), "x").unwrap();
        std::fs::rename(dir.join("next"), &path).unwrap();
        log.sync().unwrap();
        let synced = log.synced.as_ref().unwrap();
        assert!(synced.inode != before && synced.bytes == 1);
        assert_eq!(log.open.as_ref().unwrap().metadata().unwrap().ino(), synced.inode);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn kevy_is_never_asked_to_sync_every_second() {
        assert_eq!(for_kevy(Fsync::EverySec), Fsync::No);
        assert_eq!(for_kevy(Fsync::Always), Fsync::Always, "acknowledgements wait for that");
        assert_eq!(for_kevy(Fsync::No), Fsync::No);
    }
}
