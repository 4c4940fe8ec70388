//! Whether this server can write to its disk and open files: tried from time to time, because kevy tells of a log that
//! it cannot write on its standard error only. The same thread looks after connections of the dead and of the silent.

use crate::fitness::memory;
use crate::fitness::reset_clients::ResetClients;
use kevy_elect_plugin::host::Health;
use rustix::fs::{OFlags, fstatvfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Below the data directory, beside the votes.
const PROBE_FILE: &str = "elect/probe";
/// How much is written each time. Room for less than this is no room.
const PROBE_BYTES: usize = 256 * 1024;
/// How often it is looked whether a probe is due: at once where data came in, else after the longer time.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_INTERVAL_IDLE: Duration = Duration::from_secs(10);
/// Between two looks after silent strangers while they come in crowds.
const CROWD_INTERVAL: Duration = Duration::from_millis(100);
/// The logs are synced every second. What has been confirmed may be lost with the power if that takes much longer.
const SYNC_MAX: Duration = Duration::from_secs(5);
/// An ailment counts as over when it has been for so long: who deletes a file on a full disk has not made room yet.
const RECOVERY: Duration = Duration::from_secs(10);

/// Memory is short where it was found so at so many looks in a row: a copy for a replica takes much for a moment.
const LOW_LOOKS: u32 = 3;

/// What the last probes found.
pub(crate) struct Probe {
    /// Nothing is tried without one: a server without a log needs no disk to serve.
    path: Option<PathBuf>,
    /// What a disk that cannot be written means for this server.
    full: Health,
    /// Below this the kernel's files say how much memory there is.
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    found: Option<(Health, String)>,
    /// Since when the logs are being synced.
    syncs_since: Option<Instant>,
    /// At how many looks in a row there was hardly any memory.
    low: u32,
    /// Since when nothing is wrong, while something was before.
    well_since: Option<Instant>,
}

impl Probe {
    /// Tries in `data_dir`. With `sync_always`, nobody is answered while the log cannot be written.
    pub(crate) fn new(data_dir: Option<&Path>, sync_always: bool) -> Arc<Self> {
        let full = if sync_always { Health::Failing } else { Health::Disk };
        Arc::new(Self {
            path: data_dir.map(|dir| dir.join(PROBE_FILE)),
            full,
            root: PathBuf::from("/"),
            state: Mutex::default(),
        })
    }

    /// Tries for as long as anybody holds the probe. `written` grows when data comes in: an idle server is hardly ever
    /// disturbed. `silent` ends connections of strangers, and says whether more of them are to be expected at once.
    pub(crate) fn start(
        self: &Arc<Self>,
        written: impl Fn() -> u64 + Send + 'static,
        burn: ResetClients,
        silent: impl FnMut(Instant) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let probe = Arc::downgrade(self);
        let body = move || run(&probe, written, burn, silent);
        thread::Builder::new().name("probe".to_owned()).spawn(body).map(drop)
    }

    pub(crate) fn health(&self) -> Health {
        let mut state = self.state();
        self.look_at_sync(&mut state, Instant::now());
        state.found.as_ref().map_or(Health::Good, |(health, _)| *health)
    }

    /// A round of syncs of the logs begins.
    pub(crate) fn sync_begins(&self, now: Instant) {
        self.state().syncs_since = Some(now);
    }

    /// It has ended.
    pub(crate) fn sync_ended(&self, now: Instant, outcome: io::Result<()>) {
        let mut state = self.state();
        self.look_at_sync(&mut state, now);
        state.syncs_since = None;
        if let Err(error) = outcome {
            self.find(&mut state, format!("cannot sync a log: {error}"));
        }
    }

    fn look_at_sync(&self, state: &mut State, now: Instant) {
        let lasts = state.syncs_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        if lasts >= SYNC_MAX {
            self.find(state, format!("the disk takes more than {} s to sync the logs", SYNC_MAX.as_secs()));
        }
    }

    fn find(&self, state: &mut State, text: String) {
        (state.found, state.well_since) = (Some((self.full, text)), None);
    }

    /// What was found, for people.
    pub(crate) fn ailment(&self) -> Option<String> {
        self.state().found.as_ref().map(|(_, text)| text.clone())
    }

    /// Looks at once, without writing anything. What it does not find, the next try does.
    pub(crate) fn glance(&self) -> Health {
        glance(self.path.as_deref()).map_or_else(|error| self.note(error), |()| Health::Good)
    }

    /// Tries once.
    fn try_once(&self, now: Instant) {
        if let Err(error) = self.path.as_deref().map_or_else(|| glance(None), write) {
            self.note(error);
            return;
        }
        let mut state = self.state();
        self.look_at_memory(&mut state);
        if state.low < LOW_LOOKS && state.found.is_some() {
            let since = *state.well_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= RECOVERY {
                (state.found, state.well_since) = (None, None);
            }
        }
    }

    /// What the disk says comes first: without memory a server serves.
    fn look_at_memory(&self, state: &mut State) {
        let short = memory::nearest(&self.root).filter(memory::Room::is_low);
        state.low = if short.is_some() { state.low.saturating_add(1) } else { 0 };
        if let Some(room) = short.filter(|_| state.low >= LOW_LOOKS)
            && state.found.as_ref().is_none_or(|(found, _)| *found == Health::Memory)
        {
            let (free, of) = (room.free >> 20, room.of >> 20);
            let text = format!("{free} MiB of the {of} MiB of memory of {} are left", room.whose);
            (state.found, state.well_since) = (Some((Health::Memory, text)), None);
        }
    }

    fn note(&self, error: io::Error) -> Health {
        let health = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => Health::Descriptors,
            _ => self.full,
        };
        let waits = if health == Health::Failing {
            ", and with appendfsync = always no write is answered before that is possible"
        } else {
            ""
        };
        let path = self.path.as_deref().unwrap_or(Path::new("/"));
        let text = format!("cannot write {}: {error}{waits}", path.display());
        let mut state = self.state();
        (state.found, state.well_since) = (Some((health, text)), None);
        health
    }

    fn is_ill(&self) -> bool {
        let state = self.state();
        state.found.is_some() || state.low > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes room from the file system, which refuses it here, not when it writes the pages back; then gives it back.
fn write(path: &Path) -> io::Result<()> {
    let mut file = open_own(path)?;
    let result = file.write_all(&vec![0xA5; PROBE_BYTES]);
    let emptied = file.set_len(0);
    result.and(emptied)
}

/// Whether a file can be opened, and whether the disk has room for what a try would write there.
fn glance(path: Option<&Path>) -> io::Result<()> {
    // The data directory: the one of the votes may not be there yet.
    let dir = File::open(path.and_then(|path| path.ancestors().nth(2)).unwrap_or(Path::new("/")))?;
    let disk = fstatvfs(&dir)?;
    // With the room that is kept for root, which may be us; and some file systems do not say.
    let full = disk.f_blocks > 0 && disk.f_bfree.saturating_mul(disk.f_frsize) < PROBE_BYTES as u64;
    if path.is_some() && full { Err(Errno::NOSPC.into()) } else { Ok(()) }
}

fn run(
    probe: &Weak<Probe>,
    written: impl Fn() -> u64,
    mut burn: ResetClients,
    mut silent: impl FnMut(Instant) -> bool,
) {
    let (mut tried, mut known) = (None, 0);
    loop {
        let Some(probe) = probe.upgrade() else { return };
        let (now, data) = (Instant::now(), written());
        let due = tried.is_none_or(|tried| now.saturating_duration_since(tried) >= PROBE_INTERVAL_IDLE);
        if due || data != known || probe.is_ill() {
            probe.try_once(now);
            (tried, known) = (Some(now), data);
        } else {
            probe.glance();
        }
        drop(probe);
        burn.look(now);
        let next = now + PROBE_INTERVAL;
        while silent(Instant::now()) && Instant::now() < next {
            thread::sleep(CROWD_INTERVAL);
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The file that is written for a try, empty. Neither what a link leads to nor what has another name: that is somebody else's.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    let there = file.metadata()?;
    if !there.is_file() || there.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no plain file of its own; remove it"));
    }
    if there.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.set_len(0)?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_told_and_counts_as_over_only_after_a_while() {
        let dir = std::env::temp_dir().join(format!("kevy-elect-probe-{}", std::process::id()));
        let probe = Probe::new(Some(&dir), false);
        let start = Instant::now();
        probe.try_once(start);
        assert_eq!(probe.health(), Health::Disk, "there is no such directory");
        assert!(probe.ailment().unwrap().contains("elect/probe"));
        std::fs::create_dir_all(dir.join("elect")).unwrap();
        probe.try_once(start);
        assert_eq!(probe.health(), Health::Disk, "a moment ago");
        probe.try_once(start + RECOVERY);
        assert_eq!((probe.health(), probe.ailment()), (Health::Good, None));
        assert_eq!(std::fs::metadata(dir.join(PROBE_FILE)).unwrap().len(), 0, "the room is given back");
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(Probe::new(Some(&dir), true).full, Health::Failing);
    }

    /// The readings are injected: files in the place of the kernel's.
    #[test]
    fn too_little_memory_is_told_once_it_lasts_and_counts_as_over_only_after_a_while() {
        let dir = std::env::temp_dir().join(format!("kevy-elect-probe-memory-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("elect")).unwrap();
        std::fs::create_dir_all(dir.join("proc")).unwrap();
        let left = |kilobytes: u64| {
            let text = format!("MemTotal: 4000000 kB\nMemAvailable: {kilobytes} kB\nSwapFree: 0 kB\n");
            std::fs::write(dir.join("proc/meminfo"), text).unwrap();
        };
        let state = Mutex::default();
        let probe = Probe { path: Some(dir.join(PROBE_FILE)), full: Health::Disk, root: dir.clone(), state };
        let start = Instant::now();
        left(10_000);
        for _ in 1..LOW_LOOKS {
            probe.try_once(start);
            assert_eq!(probe.health(), Health::Good, "a moment's need");
        }
        probe.try_once(start);
        assert_eq!(probe.health(), Health::Memory);
        assert_eq!(probe.ailment().unwrap(), "9 MiB of the 3906 MiB of memory of the machine are left");
        probe.try_once(start + RECOVERY * 2);
        assert_eq!(probe.health(), Health::Memory, "it lasts");
        left(1_000_000);
        probe.try_once(start + RECOVERY * 2);
        assert_eq!(probe.health(), Health::Memory, "a moment ago");
        probe.try_once(start + RECOVERY * 3);
        assert_eq!((probe.health(), probe.ailment()), (Health::Good, None));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_disk_that_takes_too_long_to_sync_a_log_is_told_as_one_that_cannot_be_written() {
        let dir = std::env::temp_dir().join(format!("kevy-elect-probe-sync-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("elect")).unwrap();
        let (probe, start) = (Probe::new(Some(&dir), false), Instant::now());
        probe.sync_begins(start);
        probe.sync_ended(start + SYNC_MAX / 2, Ok(()));
        assert_eq!(probe.health(), Health::Good);
        probe.sync_begins(start);
        probe.sync_ended(start + SYNC_MAX, Ok(()));
        assert!(probe.health() == Health::Disk && probe.ailment().unwrap().contains("to sync the logs"));
        probe.try_once(start);
        probe.try_once(start + RECOVERY);
        assert_eq!(probe.health(), Health::Good);
        probe.sync_begins(start);
        probe.sync_ended(start, Err(io::ErrorKind::Other.into()));
        assert_eq!(probe.health(), Health::Disk);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
