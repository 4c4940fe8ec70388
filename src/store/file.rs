//! The vote record in a file.

use super::record::{self, RECORD_BYTES_MAX};
use super::{HardState, StoreError, VoteStore};
use async_trait::async_trait;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the vote record in one small text file that `cat` shows.
///
/// Three names in one directory: the record, `<record>.lock`, which is locked as long as the store lives
/// and never removed, and `<record>.tmp`, the next record while it is written.
///
/// - **Saving** writes the next record beside the old one, syncs it, renames it over the old one, and
///   syncs the directory. An interruption anywhere leaves the old record or the new one.
/// - **Loading** syncs too, before it answers: what a process killed in the middle of a save left behind
///   may be visible and not yet durable, and a vote repeated on the strength of it must not be forgotten.
/// - **Dropping** a `save` before it is done is safe. Either it still takes effect before anything that is
///   called later, or never. The lock is held until then.
///
/// The system's calls run on the thread pool of `blocking`, so this works on every executor. The
/// directory must be on a local disk, or on a network file system whose locks and syncs can be trusted.
#[derive(Debug)]
pub struct FileVoteStore(Arc<Files>);

#[derive(Debug)]
struct Files {
    record: PathBuf,
    temp: PathBuf,
    directory: PathBuf,
    /// Its lock goes when the last user of it does; the kernel sees to that even after `kill -9`.
    _lock: File,
    /// One file operation at a time: an abandoned save may still run when the next call comes.
    turn: Mutex<()>,
}

impl FileVoteStore {
    /// Opens the record at `path`, which need not exist, and locks it against every other process.
    ///
    /// Creates the directory (mode 0700) if only that is missing. Blocks for a few short file operations:
    /// call it before the executor runs.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let failed = |action| move |source| StoreError::Io { path: path.to_owned(), action, source };
        let name = path.file_name().ok_or_else(|| {
            failed("open")(io::Error::new(ErrorKind::InvalidInput, "the path does not end with a file name"))
        })?;
        let directory = or_here(path.parent());
        create_directory(directory)
            .map_err(failed("create its directory, whose own parent must exist and be writable"))?;
        // Absolute from here on: a process that becomes a daemon changes its working directory.
        let directory = fs::canonicalize(directory).map_err(failed("find its directory"))?;
        let beside = |suffix: &str| {
            let mut name = name.to_owned();
            name.push(suffix);
            directory.join(name)
        };

        let lock = private().write(true).create(true).truncate(false).open(beside(".lock"));
        let lock = lock.map_err(failed("create its lock file"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let temp = beside(".tmp");
        // Under the lock: before it, this would pull the file from under another process's save.
        remove_if_there(&temp).map_err(failed("remove the remains of an interrupted save of"))?;
        let record = beside("");
        Ok(Self(Arc::new(Files { record, temp, directory, _lock: lock, turn: Mutex::new(()) })))
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.0.record
    }
}

#[async_trait]
impl VoteStore for FileVoteStore {
    async fn load(&self) -> Result<Option<HardState>, StoreError> {
        let files = self.0.clone();
        blocking::unblock(move || {
            let _turn = files.turn.lock().unwrap_or_else(PoisonError::into_inner);
            files.read()
        })
        .await
    }

    async fn save(&self, state: &HardState) -> Result<(), StoreError> {
        let files = self.0.clone();
        let record = record::encode(state).map_err(|reason| StoreError::Unstorable {
            path: files.record.clone(),
            reason: reason.to_string(),
        })?;
        // Lives as long as this future. An abandoned save that has not got its turn yet must not run
        // after a later one: it would bring an old vote back.
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let saved = blocking::unblock(move || {
            let _turn = files.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if still_wanted.strong_count() == 0 {
                // Nobody is left to read this answer.
                return Err(files.failed("save", ErrorKind::Interrupted.into()));
            }
            files.replace(record.as_bytes())
        })
        .await;
        drop(wanted);
        saved
    }
}

impl Files {
    fn read(&self) -> Result<Option<HardState>, StoreError> {
        // Asked first, because opening a pipe would wait for ever, and because renaming over a link
        // would leave the file that it points to behind.
        match fs::symlink_metadata(&self.record) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let source = io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
                return Err(self.failed("read", source));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        }
        let mut bytes = Vec::with_capacity(RECORD_BYTES_MAX);
        let file = File::open(&self.record).map_err(|error| self.failed("read", error))?;
        // One byte more than fits, so that an oversized file shows.
        let mut head = (&file).take(RECORD_BYTES_MAX as u64 + 1);
        head.read_to_end(&mut bytes).map_err(|error| self.failed("read", error))?;
        let state = record::decode(&bytes).map_err(|reason| StoreError::Corrupt {
            path: self.record.clone(),
            reason: reason.to_string(),
        })?;
        file.sync_all().map_err(|error| self.failed("sync", error))?;
        self.sync_directory(&self.open_directory()?)?;
        Ok(Some(state))
    }

    fn replace(&self, record: &[u8]) -> Result<(), StoreError> {
        // Before anything is changed: a process that has run out of file descriptors would find out when
        // the new record is in place and can no longer be made durable.
        let directory = self.open_directory()?;
        let written = self.write_temp(record).and_then(|()| {
            fs::rename(&self.temp, &self.record).map_err(|error| self.failed("rename the new one to", error))
        });
        if written.is_err() {
            // On a full disk its bytes are needed; where even this fails the next save tries again.
            let _ = fs::remove_file(&self.temp);
            return written;
        }
        self.sync_directory(&directory)
    }

    fn write_temp(&self, record: &[u8]) -> Result<(), StoreError> {
        remove_if_there(&self.temp).map_err(|error| self.failed("clear the way for", error))?;
        // A new file each time: after a failed sync the old one's pages count as clean and would never
        // reach the disk.
        let file = private().write(true).create_new(true).open(&self.temp);
        let mut file = file.map_err(|error| self.failed("create the new one of", error))?;
        file.write_all(record).map_err(|error| self.failed("write", error))?;
        file.sync_all().map_err(|error| self.failed("sync", error))
    }

    fn open_directory(&self) -> Result<File, StoreError> {
        File::open(&self.directory).map_err(|error| self.failed("open the directory of", error))
    }

    fn sync_directory(&self, directory: &File) -> Result<(), StoreError> {
        directory.sync_all().map_err(|error| self.failed("sync the directory of", error))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.record.clone(), action, source }
    }
}

/// The directory of a path; a bare file name has an empty one, which no system call takes.
fn or_here(parent: Option<&Path>) -> &Path {
    parent.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn create_directory(directory: &Path) -> io::Result<()> {
    let parent = or_here(directory.parent());
    match DirBuilder::new().mode(0o700).create(directory) {
        // A synced record in a directory that a power cut takes away is gone as well.
        Ok(()) => sync_directory(parent),
        Err(_) if directory.is_dir() => {
            // Perhaps created by a process that was killed before it could do the above. Most of the time
            // by somebody else, whose parent directory we may not even be allowed to open.
            let _ = sync_directory(parent);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Options for files that nobody else may read or, worse, write.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Incarnation};
    use crate::message::Standing;
    use crate::position::Position;
    use futures::executor::block_on;
    use futures::future::FutureExt;

    fn state(epoch: u64) -> HardState {
        HardState {
            epoch: Epoch(epoch),
            voted_for: None,
            standing: Standing::Member,
            incarnation: Incarnation(1),
            position: Position::NONE,
        }
    }

    #[test]
    fn a_save_that_is_abandoned_while_it_waits_for_its_turn_never_happens() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileVoteStore::open(directory.path().join("vote")).unwrap();
        block_on(store.save(&state(1))).unwrap();
        for _ in 0..100 {
            let turn = store.0.turn.lock().unwrap();
            let unwanted = state(2);
            let mut save = store.save(&unwanted);
            assert!((&mut save).now_or_never().is_none());
            // The pool takes work in order: once this is done the save has been taken up and waits.
            block_on(blocking::unblock(|| ()));
            drop(save);
            drop(turn);
            for _ in 0..3 {
                assert_eq!(block_on(store.load()).unwrap(), Some(state(1)));
            }
        }
    }
}
