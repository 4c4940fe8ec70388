//! The vote record in a file.

use super::api::{StoreError, VoteStore};
use super::slots::{SlotFile, keep_private};
use async_trait::async_trait;
use futures::channel::oneshot;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the vote record, and apart from it the position, in two small files that `cat` shows.
///
/// Names in one directory: the record; `<record>.position`; `<record>.lock`, which is locked as long as the store lives
/// and never removed; and each file's name with `.tmp`, which is there while a new one is made.
///
/// - **Saving** overwrites one of two slots of the file in place and syncs the data. Only the first save of a new file
///   syncs the file and its directory. An interruption anywhere leaves the old record or the new one.
/// - **Positions** have their own file, so a save of a vote never waits for one of a position.
/// - **Loading** syncs too, before it answers: what a process killed in the middle of a save left behind
///   may be visible and not yet durable, and a vote repeated on the strength of it must not be forgotten.
/// - **Dropping** a `save` before it is done is safe. Either it still takes effect before anything that is
///   called later, or never. The lock is held until then.
/// - **An older release** wrote one text without slots. It is read, and replaced by the first save. The older release
///   does not read the new file: it stops and says that the record is larger than it can be. Going back needs the node's data
///   directory to be removed, as after any damage.
///
/// The system's calls run on the thread pool of `blocking`, so this works on every executor. The
/// directory must be on a local disk, or on a network file system whose locks and syncs can be trusted.
#[derive(Debug)]
pub struct FileVoteStore {
    path: PathBuf,
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    /// One operation on a file at a time: an abandoned save may still run when the next call comes.
    vote: Mutex<SlotFile>,
    position: Mutex<SlotFile>,
    /// Its lock goes when the last user of it does; the kernel sees to that even after `kill -9`.
    _lock: File,
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
        let with = |suffix: &str| {
            let mut name = name.to_owned();
            name.push(suffix);
            name
        };

        let lock = directory.join(with(".lock"));
        // Opening a pipe would wait for ever, and a link leads anywhere.
        if fs::symlink_metadata(&lock).is_ok_and(|there| !there.is_file()) {
            let source = io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
            return Err(failed("open the lock file of")(source));
        }
        let lock = OpenOptions::new().mode(0o600).write(true).create(true).truncate(false).open(lock);
        let lock = lock.map_err(failed("create its lock file"))?;
        keep_private(&lock).map_err(failed("take the rights of others to the lock file of"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        // Under the lock: before it, this would pull a file from under another process's save.
        let vote = SlotFile::new(&directory, name)?;
        let position = SlotFile::new(&directory, &with(".position"))?;
        let path = vote.path().to_owned();
        let files = Files { vote: Mutex::new(vote), position: Mutex::new(position), _lock: lock };
        Ok(Self { path, files: Arc::new(files) })
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl VoteStore for FileVoteStore {
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        load(&self.files, |files| &files.vote).await
    }

    async fn save(&self, record: &[u8]) -> Result<(), StoreError> {
        save(&self.files, |files| &files.vote, record).await
    }

    async fn load_position(&self) -> Result<Option<Vec<u8>>, StoreError> {
        load(&self.files, |files| &files.position).await
    }

    async fn save_position(&self, record: &[u8]) -> Result<(), StoreError> {
        save(&self.files, |files| &files.position, record).await
    }

    fn place(&self) -> PathBuf {
        self.path.clone()
    }
}

async fn load(
    files: &Arc<Files>,
    which: fn(&Files) -> &Mutex<SlotFile>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let files = files.clone();
    blocking::unblock(move || which(&files).lock().unwrap_or_else(PoisonError::into_inner).load()).await
}

async fn save(
    files: &Arc<Files>,
    which: fn(&Files) -> &Mutex<SlotFile>,
    record: &[u8],
) -> Result<(), StoreError> {
    let (of, files, record) = (files, files.clone(), record.to_vec());
    // Lives as long as this future. An abandoned save that has not got its turn yet must not run
    // after a later one: it would bring an old vote back.
    let wanted = Arc::new(());
    let still_wanted = Arc::downgrade(&wanted);
    let (answer, answered) = oneshot::channel();
    blocking::unblock(move || {
        let mut file = which(&files).lock().unwrap_or_else(PoisonError::into_inner);
        if still_wanted.strong_count() == 0 {
            return;
        }
        // An abandoned save has nobody to read this.
        let _ = answer.send(file.save(&record));
        // Still its turn: whatever comes next finds the record in both slots.
        file.copy();
    })
    .detach();
    let saved = answered.await;
    drop(wanted);
    // Its thread panicked.
    saved.unwrap_or_else(|_| {
        let file = which(of).lock().unwrap_or_else(PoisonError::into_inner);
        Err(file.failed("save", ErrorKind::Interrupted.into()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::FutureExt;

    #[test]
    fn a_save_that_is_abandoned_while_it_waits_for_its_turn_never_happens() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileVoteStore::open(directory.path().join("vote")).unwrap();
        block_on(store.save(b"first")).unwrap();
        for _ in 0..100 {
            let turn = store.files.vote.lock().unwrap();
            let mut save = store.save(b"second");
            assert!((&mut save).now_or_never().is_none());
            // The pool takes work in order: once this is done the save has been taken up and waits.
            block_on(blocking::unblock(|| ()));
            drop(save);
            drop(turn);
            for _ in 0..3 {
                assert_eq!(block_on(store.load()).unwrap().as_deref(), Some(b"first".as_slice()));
            }
        }
    }

    /// A disk that hangs on a position is no reason for a vote to wait.
    #[test]
    fn a_vote_is_saved_while_a_save_of_a_position_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileVoteStore::open(directory.path().join("vote")).unwrap();
        let hanging = store.files.position.lock().unwrap();
        let mut position = store.save_position(b"position");
        assert!((&mut position).now_or_never().is_none());
        block_on(store.save(b"vote")).unwrap();
        drop(hanging);
        block_on(position).unwrap();
        assert_eq!(block_on(store.load_position()).unwrap().as_deref(), Some(b"position".as_slice()));
    }
}
