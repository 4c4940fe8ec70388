//! Small files of this process in its data directory, as nobody else may have put something else there: what is no plain file of
//! this user is neither opened for long nor overwritten.

use rustix::fs::{FileType, Mode, OFlags, lstat, open};
use rustix::process::geteuid;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// For its owner alone.
pub(crate) const PRIVATE: u32 = 0o600;
/// For others to read: an operator who is another user than the server leaves it.
pub(crate) const SHOWN: u32 = 0o644;
/// The vote record, below the data directory.
pub(crate) const VOTE_FILE: &str = "elect/vote";
/// Files that were left alone, each time.
const REFUSED: &str = "kevy_elect_files_refused_total";

/// Makes the count known, as zero.
pub(crate) fn describe() {
    metrics::describe_counter!(
        REFUSED,
        "Times that a file of the election was neither read nor replaced, because something else stands there."
    );
    metrics::counter!(REFUSED).increment(0);
}

/// What is in `file`, if that is no more than `bytes_max`. Nobody can do more with it afterwards than `mode` says.
pub(crate) fn read(file: &Path, bytes_max: u64, mode: u32) -> io::Result<Vec<u8>> {
    // A fifo without a writer would hold up whoever opens it, and a link leads anywhere.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match open(file, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => return Err(odd("is a symbolic link")),
        // Sockets, and devices that are not there.
        Err(rustix::io::Errno::NXIO) => return Err(odd("is no plain file")),
        opened => File::from(opened?),
    };
    plain(&rustix::fs::fstat(opened.as_fd())?)?;
    let metadata = opened.metadata()?;
    if metadata.len() > bytes_max {
        return Err(odd(&format!("has {} bytes, at most {bytes_max} are read", metadata.len())));
    }
    if metadata.permissions().mode() & 0o777 & !mode != 0 {
        opened.set_permissions(Permissions::from_mode(mode))?;
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    opened.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts `bytes` there, whole or not at all, against the process's end. Not synced.
pub(crate) fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = file.with_extension("new");
    vacant_or_plain(file)?;
    remove(&new)?;
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    opened.write_all(bytes)?;
    std::fs::rename(new, file)
}

/// Takes it away, if it is there.
pub(crate) fn remove(file: &Path) -> io::Result<()> {
    if vacant_or_plain(file)? { std::fs::remove_file(file) } else { Ok(()) }
}

/// Whether something is there. An error if that is none of ours.
fn vacant_or_plain(file: &Path) -> io::Result<bool> {
    match lstat(file) {
        Ok(there) => plain(&there).map(|()| true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn plain(there: &rustix::fs::Stat) -> io::Result<()> {
    match FileType::from_raw_mode(there.st_mode) {
        // Root may do anything here as it is.
        FileType::RegularFile if ![0, geteuid().as_raw()].contains(&there.st_uid) => {
            Err(odd(&format!("belongs to user {}", there.st_uid)))
        }
        FileType::RegularFile if there.st_nlink > 1 => Err(odd("has a second name")),
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(odd("is a directory")),
        FileType::Symlink => Err(odd("is a symbolic link")),
        _ => Err(odd("is no plain file")),
    }
}

fn odd(what: &str) -> io::Error {
    metrics::counter!(REFUSED).increment(1);
    io::Error::new(ErrorKind::InvalidData, format!("{what}; remove it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::http::counted;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("kevy-own-file-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn what_was_put_there_comes_out_and_is_for_its_owner_alone() {
        let file = directory("plain").join("file");
        assert_eq!(read(&file, 10, PRIVATE).unwrap_err().kind(), ErrorKind::NotFound);
        for text in [b"one".as_slice(), b"two", b""] {
            replace(&file, text, PRIVATE).unwrap();
            assert_eq!(read(&file, 10, PRIVATE).unwrap(), text);
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, PRIVATE);
        }
        fs::write(&file, "three").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        read(&file, 10, PRIVATE).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, PRIVATE, "made tight");
        assert!(read(&file, 4, PRIVATE).unwrap_err().to_string().contains("has 5 bytes"));
    }

    #[test]
    fn odd_things_in_its_place_are_neither_read_nor_overwritten() {
        for (what, put) in odd_things() {
            let directory = directory(what);
            let (file, other) = (directory.join("file"), directory.join("other"));
            fs::write(&other, "another's").unwrap();
            for place in [file.clone(), directory.join("file.new")] {
                put(&place, &other);
                let before = fs::symlink_metadata(&place).unwrap();
                let refused = counted(REFUSED, || {
                    if place == file {
                        assert!(read(&file, 100, PRIVATE).is_err(), "{what} is read");
                    }
                    assert!(remove(&place).is_err(), "{what} is removed");
                    let error = replace(&file, b"mine", PRIVATE).unwrap_err().to_string();
                    assert!(error.contains("remove it"), "{what}: {error}");
                });
                assert_eq!(refused, 2 + u64::from(place == file), "{what}: each time is counted");
                let after = fs::symlink_metadata(&place).unwrap();
                assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()), "{what} is replaced");
                assert_eq!(fs::read_to_string(&other).unwrap(), "another's", "{what}");
                drop(fs::remove_file(&place).or_else(|_| fs::remove_dir(&place)));
            }
        }
    }

    type Put = fn(&Path, &Path);

    fn odd_things() -> [(&'static str, Put); 6] {
        [
            ("a fifo", |place, _| {
                rustix::fs::mknodat(rustix::fs::CWD, place, FileType::Fifo, Mode::RUSR, 0).unwrap();
            }),
            ("a directory", |place, _| fs::create_dir(place).unwrap()),
            ("a link", |place, other| symlink(other, place).unwrap()),
            ("a link to nothing", |place, _| symlink("/nonexistent/there", place).unwrap()),
            ("a second name", |place, other| fs::hard_link(other, place).unwrap()),
            ("a socket", |place, _| drop(std::os::unix::net::UnixListener::bind(place).unwrap())),
        ]
    }
}
