//! One file with two places for a record: how a save costs no more than one write and one sync of data.
//!
//! ```text
//! kevy-elect-slot 1 00000000000000000017 0107 87ad6dec
//! <107 bytes of record, then zeros up to byte 4096>
//! kevy-elect-slot 1 00000000000000000017 0107 87ad6dec
//! <the same again>
//! ```
//!
//! Number, length and checksum (CRC-32 of number and record) are in the line before the record. Each slot has
//! [`SLOT_BYTES`], so that no sector of a disk is shared by two.
//!
//! - **A save** writes the next number to the slot that is not the newest, and syncs the data: neither the size of the
//!   file nor a directory changes, so no journal of the file system is waited for. An interruption anywhere, with any
//!   of the slot's sectors written, leaves the other slot as it was.
//! - **Afterwards**, when the save has been answered, the same goes to the older slot, without a sync: whoever damages one slot later finds the newest
//!   record in the other, not the one before it, which would bring an old vote back.
//! - **A save that failed** is not the newest: the next one goes to the same slot again.
//! - **The first save** of a new file, and one that finds another file under its name, writes a new file with the record in
//!   both slots, syncs it, renames it into place and syncs the directory.

use super::api::StoreError;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The bytes of a slot: no disk writes less than a sector, and hardly one has sectors larger than this.
pub(super) const SLOT_BYTES: usize = 4096;
/// The largest record.
pub(super) const RECORD_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;

const FILE_BYTES: usize = 2 * SLOT_BYTES;
const MAGIC: &str = "kevy-elect-slot 1 ";
/// Magic, number, length and checksum with a space between each, and the end of the line.
const HEADER_BYTES: usize = MAGIC.len() + 20 + 1 + 4 + 1 + 8 + 1;
/// How a file begins that holds one record as bare text, from before there were slots.
const BARE: &[u8] = b"kevy-elect-vote ";

/// A record in a file of two slots.
#[derive(Debug)]
pub(super) struct SlotFile {
    path: PathBuf,
    temp: PathBuf,
    directory: PathBuf,
    /// The file as it was last read or written; `None`: the next save makes a new one.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Held open, so that a save needs no file descriptor.
    file: File,
    newest: usize,
    number: u64,
    record: Vec<u8>,
    /// The newest slot is known to be on the disk: this process has synced it. What was read may be in the system's
    /// memory alone, if the sync of the process before failed.
    synced: bool,
}

impl SlotFile {
    /// A file in `directory`. Removes the remains of an interrupted first save.
    pub(super) fn new(directory: &Path, name: &std::ffi::OsStr) -> Result<Self, StoreError> {
        let mut temp = name.to_owned();
        temp.push(".tmp");
        let (path, temp) = (directory.join(name), directory.join(temp));
        let this = Self { path, temp, directory: directory.to_owned(), open: None };
        remove_if_there(&this.temp)
            .map_err(|error| this.failed("remove the remains of an interrupted save of", error))?;
        Ok(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The newest record; a file of bare text is given as it is.
    pub(super) fn load(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.open = None;
        // Asked first, because opening a pipe would wait for ever, and because renaming over a link
        // would leave the file that it points to behind.
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let source = io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
                return Err(self.failed("read", source));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        }
        let read_only = |error: &io::Error| {
            matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
        };
        let (file, writable) = match OpenOptions::new().read(true).write(true).open(&self.path) {
            // A node that cannot save may still say what it holds, and serve it. The next save says why it cannot.
            Err(error) if read_only(&error) => (File::open(&self.path), false),
            opened => (opened, true),
        };
        let file = file.map_err(|error| self.failed("read", error))?;
        if writable {
            keep_private(&file).map_err(|error| self.failed("take the rights of others to", error))?;
        }
        // One byte more than fits, so that an oversized file shows.
        let mut bytes = Vec::with_capacity(FILE_BYTES + 1);
        let read = (&file).take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failed("read", error))?;
        let found = newest(&bytes).map_err(|reason| self.corrupt(reason))?;
        // What a process killed in the middle of a save left behind may be visible and not yet durable.
        file.sync_all().map_err(|error| self.failed("sync", error))?;
        self.sync_directory(&self.open_directory()?)?;
        let Some((newest, number, record)) = found else { return Ok(Some(bytes)) };
        let record = record.to_vec();
        let open = Open { file, newest, number, record: record.clone(), synced: false };
        self.open = Some(open).filter(|_| writable);
        Ok(Some(record))
    }

    /// Replaces the record.
    pub(super) fn save(&mut self, record: &[u8]) -> Result<(), StoreError> {
        if record.len() > RECORD_BYTES_MAX {
            let reason = format!("it has {} bytes, at most {RECORD_BYTES_MAX} fit", record.len());
            return Err(StoreError::Unstorable { path: self.path.clone(), reason });
        }
        match self.open.take() {
            Some(mut open) if self.is_in_place(&open.file) => {
                let saved = open.overwrite(record);
                self.open = Some(open);
                saved.map_err(|(action, source)| self.failed(action, source))
            }
            _ => self.replace(record),
        }
    }

    /// Copies the newest record to the other slot. Without that it goes on holding the record before, which only damage brings to light.
    pub(super) fn copy(&mut self) {
        let Some(open) = self.open.as_ref().filter(|open| open.synced) else { return };
        let _ = open.file.write_all_at(&image(open.number, &open.record), offset(1 - open.newest));
    }

    /// Whether the file that is open is the one that a restart would find, at its full length.
    fn is_in_place(&self, file: &File) -> bool {
        let (Ok(there), Ok(ours)) = (fs::symlink_metadata(&self.path), file.metadata()) else { return false };
        (there.dev(), there.ino(), there.len()) == (ours.dev(), ours.ino(), FILE_BYTES as u64)
    }

    fn replace(&mut self, record: &[u8]) -> Result<(), StoreError> {
        // Before anything is changed: a process that has run out of file descriptors would find out when
        // the new record is in place and can no longer be made durable.
        let directory = self.open_directory()?;
        let number = 1;
        let written = self.write_temp(&image(number, record)).and_then(|file| {
            fs::rename(&self.temp, &self.path)
                .map_err(|error| self.failed("rename the new one to", error))?;
            Ok(file)
        });
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                // On a full disk its bytes are needed; where even this fails the next save tries again.
                let _ = fs::remove_file(&self.temp);
                return Err(error);
            }
        };
        self.sync_directory(&directory)?;
        self.open = Some(Open { file, newest: 0, number, record: record.to_vec(), synced: true });
        Ok(())
    }

    fn write_temp(&self, image: &[u8]) -> Result<File, StoreError> {
        remove_if_there(&self.temp).map_err(|error| self.failed("clear the way for", error))?;
        // A new file each time: after a failed sync the old one's pages count as clean and would never
        // reach the disk.
        let file = OpenOptions::new().mode(0o600).read(true).write(true).create_new(true).open(&self.temp);
        let mut file = file.map_err(|error| self.failed("create the new one of", error))?;
        let written = file.write_all(image).and_then(|()| file.write_all(image));
        written.map_err(|error| self.failed("write", error))?;
        file.sync_all().map_err(|error| self.failed("sync", error))?;
        Ok(file)
    }

    fn open_directory(&self) -> Result<File, StoreError> {
        File::open(&self.directory).map_err(|error| self.failed("open the directory of", error))
    }

    fn sync_directory(&self, directory: &File) -> Result<(), StoreError> {
        directory.sync_all().map_err(|error| self.failed("sync the directory of", error))
    }

    pub(super) fn failed(&self, action: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), action, source }
    }

    fn corrupt(&self, reason: String) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), reason }
    }
}

impl Open {
    fn overwrite(&mut self, record: &[u8]) -> Result<(), (&'static str, io::Error)> {
        if !self.synced {
            // Written again, not merely synced: what a failed sync left in memory counts as clean, and the other slot is
            // the only one on the disk until this one is.
            self.write(self.newest, &image(self.number, &self.record))?;
            self.synced = true;
        }
        let (older, number) = (1 - self.newest, self.number + 1);
        let image = image(number, record);
        self.write(older, &image)?;
        (self.newest, self.number, self.record) = (older, number, record.to_vec());
        Ok(())
    }

    fn write(&self, slot: usize, image: &[u8]) -> Result<(), (&'static str, io::Error)> {
        self.file.write_all_at(image, offset(slot)).map_err(|error| ("write", error))?;
        self.file.sync_data().map_err(|error| ("sync", error))
    }
}

/// Restored with other rights, it would be others' to change from then on.
pub(super) fn keep_private(file: &File) -> io::Result<()> {
    match file.metadata()?.mode() & 0o077 {
        0 => Ok(()),
        _ => file.set_permissions(Permissions::from_mode(0o600)),
    }
}

const fn offset(slot: usize) -> u64 {
    (slot * SLOT_BYTES) as u64
}

/// A slot with this record.
fn image(number: u64, record: &[u8]) -> Vec<u8> {
    let crc = checksum(number, record);
    let mut image = format!("{MAGIC}{number:020} {:04} {crc:08x}\n", record.len()).into_bytes();
    image.extend_from_slice(record);
    image.resize(SLOT_BYTES, 0);
    image
}

fn checksum(number: u64, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(record);
    hasher.finalize()
}

/// Number and record of a slot, `None` where it is no whole one.
fn read(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = slot.split_at_checked(HEADER_BYTES)?;
    let mut words = std::str::from_utf8(header).ok()?.strip_prefix(MAGIC)?.strip_suffix('\n')?.split(' ');
    let number = words.next()?.parse().ok()?;
    let record = rest.get(..words.next()?.parse().ok()?)?;
    // Compared with what would be written: every slot has one spelling.
    (image(number, record).get(..HEADER_BYTES) == Some(header)).then_some((number, record))
}

/// The newest slot of a file, its number and record; `None`: it is one bare record.
#[allow(clippy::type_complexity)]
fn newest(bytes: &[u8]) -> Result<Option<(usize, u64, &[u8])>, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.len() <= SLOT_BYTES && bytes.starts_with(BARE) {
        return Ok(None);
    }
    if bytes.len() != FILE_BYTES {
        return Err(format!(
            "it has not the {FILE_BYTES} bytes of a record, nor is it one of an older release"
        ));
    }
    let (first, second) = bytes.split_at(SLOT_BYTES);
    match (read(first), read(second)) {
        (None, None) => Err("neither of its two copies has the right checksum".to_owned()),
        (Some((number, record)), None) => Ok(Some((0, number, record))),
        (None, Some((number, record))) => Ok(Some((1, number, record))),
        (Some(first), Some(second)) if first.0 == second.0 && first.1 != second.1 => {
            Err(format!("its two copies have the number {} and differ", first.0))
        }
        (Some(first), Some(second)) if first.0 >= second.0 => Ok(Some((0, first.0, first.1))),
        (Some(_), Some(second)) => Ok(Some((1, second.0, second.1))),
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
