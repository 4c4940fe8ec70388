//! What is asked of the log files themselves, because kevy does not tell it.
//!
//! kevy repairs a log before it reads it back, so what was damaged looks whole afterwards; what it cut off it keeps
//! in a file beside the log. It tells nobody when a record has reached the file, nor when the file was synced.

use crate::position::tag::Tag;
use kevy_persist::{AOF2_MAGIC, RecordStep, is_log_base, layout, next_record};
use kevy_resp::parse_command;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much of what was cut off is looked at. More than that is no torn write.
const CUT_BYTES_MAX: u64 = 64 << 20;
/// How much of the end of a log is looked at for a record that was written just now.
const TAIL_BYTES_MAX: u64 = 8 << 20;
/// How much of that is looked at first.
const LAST_BYTES: u64 = 64 << 10;
/// A record's length and checksum.
const HEADER: usize = 8;
/// The name of the record that ends what a log was written anew with, as it stands in it.
const BASE_ENDS: &[u8] = b"\r\nXINTERNAL.CATALOG\r\n";
/// How much of a record is looked at for that, and how large such a one is at most.
const LOOKED_AT: usize = 64;
const CATALOG_BYTES_MAX: usize = 16 << 20;
/// How much of a log is read at once.
const READ_BYTES: usize = 1 << 20;

/// A server's log files.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    /// Whether there are logs.
    pub(crate) logs: bool,
    /// What had been cut off before this process began.
    cut_before: HashSet<OsString>,
}

impl Disk {
    pub(crate) fn new(dir: PathBuf, logs: bool) -> Self {
        let cut_before = cut_off(&dir).collect();
        Self { dir, logs, cut_before }
    }

    /// Whether something is missing in the middle of a shard's log: records that were whole follow what could not be read.
    /// A log that just ends early is not damaged.
    pub(crate) fn is_damaged(&self, shard: usize) -> bool {
        let prefix = format!("{}.", layout::aof_file(shard));
        let of_shard = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(&prefix));
        cut_off(&self.dir)
            .filter(|name| of_shard(name) && !self.cut_before.contains(name))
            .any(|name| holds_records_behind_damage(&self.dir.join(name)).unwrap_or(true))
    }

    /// Where the log of a shard is.
    pub(crate) fn log_path(&self, shard: usize) -> PathBuf {
        layout::aof_path(&self.dir, shard)
    }

    /// The log of a shard.
    pub(crate) fn log(&self, shard: usize) -> Log {
        Log { path: self.log_path(shard), open: None, from: 0, rest: Vec::new() }
    }

    /// How many records there are in what a shard's log was written anew with; none, if it only grew.
    pub(crate) fn keys_in_base(&self, shard: usize) -> io::Result<u64> {
        keys_in_base(&layout::aof_path(&self.dir, shard))
    }

    /// Removes what a shard dumps just now, before kevy has given it its name. Says which files there were.
    pub(crate) fn drop_dumps(&self, shard: usize) -> Vec<String> {
        let (log, snapshot) = (layout::aof_path(&self.dir, shard), layout::snapshot_path(&self.dir, shard));
        let half = [(log, ".rewrite"), (snapshot, ".tmp")].map(|(whole, ending)| {
            let mut name = whole.into_os_string();
            name.push(ending);
            PathBuf::from(name)
        });
        let removed = half.into_iter().filter(|path| std::fs::remove_file(path).is_ok());
        removed.map(|path| path.display().to_string()).collect()
    }

    /// How long the log of a shard is.
    pub(crate) fn log_bytes(&self, shard: usize) -> u64 {
        std::fs::metadata(layout::aof_path(&self.dir, shard)).map_or(0, |log| log.len())
    }

    /// A file without a name, to write to and to read from.
    pub(crate) fn scratch(&self, shard: usize) -> io::Result<(File, File)> {
        let path = self.dir.join(format!("elect-trail-{shard}.tmp"));
        let into = File::create(&path)?;
        let from = File::open(&path)?;
        std::fs::remove_file(&path)?;
        Ok((into, from))
    }

    /// Makes durable which files there are.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn keys_in_base(path: &Path) -> io::Result<u64> {
    let mut file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
    let mut magic = [0; AOF2_MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != *AOF2_MAGIC {
        return Ok(0);
    }
    let (mut records, mut seen) = (0, Vec::new());
    loop {
        let mut header = [0; HEADER];
        if file.read_exact(&mut header).is_err() {
            // It was never finished.
            return Ok(records);
        }
        let length = header.first_chunk().copied().map_or(0, u32::from_le_bytes) as usize;
        let ends = |seen: &[u8]| seen.windows(BASE_ENDS.len()).any(|words| words == BASE_ENDS);
        let mut look = |seen: &mut Vec<u8>, bytes: usize| {
            seen.clear();
            file.by_ref().take(bytes as u64).read_to_end(seen).map(|read| read == bytes)
        };
        let part = length.min(LOOKED_AT);
        let whole = look(&mut seen, part)?;
        if !whole || length == 0 {
            return Ok(records);
        }
        let first = records == 0;
        if first || (ends(&seen) && length <= CATALOG_BYTES_MAX) {
            let mut record = [&header[..], &seen[..]].concat();
            let (start, rest) = (record.len(), length - part);
            record.resize(start + rest, 0);
            if file.read_exact(&mut record[start..]).is_err() {
                return Ok(records);
            }
            let RecordStep::Ok { payload, .. } = next_record(&record, 0) else { return Ok(records) };
            let Ok(Some((argv, _))) = parse_command(payload) else { return Ok(records) };
            match () {
                () if first && !is_log_base(&argv) => return Ok(0),
                () if Tag::held_beside(&argv).is_some() => return Ok(records),
                () => {}
            }
        } else {
            file.seek_relative((length - part) as i64)?;
        }
        records += 1;
    }
}

/// The files into which kevy put what it cut off its logs.
fn cut_off(dir: &Path) -> impl Iterator<Item = OsString> + use<> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.contains(".corrupt-quarantine.")))
}

fn holds_records_behind_damage(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    if file.metadata()?.len() > CUT_BYTES_MAX {
        return Ok(true);
    }
    let mut bytes = Vec::new();
    file.take(CUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(records_behind_damage(&bytes))
}

/// Whether whole records follow damage. Whole ones at the very beginning are a transaction that was not finished.
fn records_behind_damage(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let RecordStep::Ok { consumed, .. } = next_record(bytes, at) {
        at += consumed;
    }
    // A record holds one RESP array. So only where one may begin is a checksum worth its price.
    let begins = |at: &usize| {
        bytes.get(at + HEADER) == Some(&b'*') && bytes.get(at + HEADER + 1).is_some_and(u8::is_ascii_digit)
    };
    (at + 1..bytes.len()).filter(begins).any(|at| matches!(next_record(bytes, at), RecordStep::Ok { .. }))
}

/// Whether `words` stand in `bytes`. Whoever waits for it waits to join a history, so it is not looked for at every place: where the last
/// byte does not fit, it goes on behind all places that cannot be right (Horspool).
fn holds(bytes: &[u8], words: &[u8]) -> bool {
    let Some(last) = words.len().checked_sub(1) else { return true };
    let mut skips = [words.len(); 256];
    for (i, byte) in words[..last].iter().enumerate() {
        skips[usize::from(*byte)] = last - i;
    }
    let mut at = 0;
    while let Some(window) = bytes.get(at..=at + last) {
        if window == words {
            return true;
        }
        at += skips[usize::from(window[last])];
    }
    false
}

/// One shard's log, as it grows.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    open: Option<(File, u64)>,
    /// How far it was looked at.
    from: u64,
    /// The last bytes before that: what is looked for may have been written in two parts.
    rest: Vec<u8>,
}

impl Log {
    /// What is there now is not looked at: what is looked for is written later. A log that is replaced afterwards is looked at all the same.
    pub(crate) fn skip(&mut self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        let meta = file.metadata()?;
        (self.open, self.from) = (Some((file, meta.ino())), meta.len());
        self.rest.clear();
        Ok(())
    }

    /// Whether `words` have been written since the last time. A log that was replaced is looked at from its end.
    pub(crate) fn has(&mut self, words: &[u8]) -> io::Result<bool> {
        let inode = std::fs::metadata(&self.path)?.ino();
        if self.open.as_ref().is_none_or(|(_, known)| *known != inode) {
            let file = File::open(&self.path)?;
            let inode = file.metadata()?.ino();
            (self.open, self.from) = (Some((file, inode)), 0);
            self.rest.clear();
        }
        let Some((file, _)) = &mut self.open else { return Ok(false) };
        let end = file.metadata()?.len();
        let from = self.from.max(end.saturating_sub(TAIL_BYTES_MAX)).min(end);
        if from != self.from {
            self.rest.clear();
        }
        // A first look finds it at the very end, as a rule.
        if self.from == 0 && end - from > LAST_BYTES {
            let mut last = Vec::new();
            file.seek(SeekFrom::Start(end - LAST_BYTES))?;
            file.by_ref().take(LAST_BYTES).read_to_end(&mut last)?;
            if holds(&last, words) {
                let kept = last.len().saturating_sub(words.len().saturating_sub(1));
                (self.from, self.rest) = (end, last.split_off(kept));
                return Ok(true);
            }
        }
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = std::mem::take(&mut self.rest);
        let read = file.take(end - from).read_to_end(&mut bytes)?;
        self.from = from + read as u64;
        let found = holds(&bytes, words);
        let kept = bytes.len().saturating_sub(words.len().saturating_sub(1));
        self.rest = bytes.split_off(kept);
        Ok(found)
    }

    /// Waits until everything that was seen is on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(file, _)| file.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_persist::{Argv, write_record_multibulk};
    use std::io::Write;

    fn record(line: &str) -> Vec<u8> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        record_of(words)
    }

    fn record_of(words: Vec<Vec<u8>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_record_multibulk(&mut bytes, &Argv::from(words), &mut Vec::new()).unwrap();
        bytes
    }

    #[test]
    fn a_torn_end_is_not_damage_and_what_has_whole_records_behind_it_is() {
        let (a, b) = (record("SET a 1"), record("SET b 2"));
        assert!(!records_behind_damage(&a[..a.len() - 3]), "a torn record");
        assert!(
            !records_behind_damage(&[a.clone(), b[..5].to_vec()].concat()),
            "a transaction without its end"
        );
        assert!(!records_behind_damage(&[0; 100]));
        let mut broken = a.clone();
        broken[12] ^= 1;
        assert!(!records_behind_damage(&broken));
        assert!(records_behind_damage(&[broken, b.clone()].concat()));
        assert!(records_behind_damage(&[vec![0; 33], b].concat()));
    }

    #[test]
    fn what_a_log_was_written_anew_with_is_counted_up_to_its_end() {
        let path = std::env::temp_dir().join(format!("kevy-server-base-{}", std::process::id()));
        let count = |records: &[Vec<u8>]| {
            std::fs::write(&path, [AOF2_MAGIC.to_vec(), records.concat()].concat()).unwrap();
            keys_in_base(&path).unwrap()
        };
        let base = record_of(vec![b"\0KEVYLOGBASE".to_vec(), vec![0; 8]]);
        let large = record(&format!("SET b {}", "x".repeat(300)));
        let trap = record("SET \r\nXINTERNAL.CATALOG\r\n 1");
        let end = record("XINTERNAL.CATALOG 7 1 - - - ELECT1 4 0 1");
        let after = record("SET c 3");
        let whole = [base, large, trap, end, after];
        assert_eq!(count(&whole), 3, "the first record, and two keys");
        assert_eq!(count(&whole[..3]), 3, "it was never finished");
        assert_eq!(count(&whole[1..]), 0, "it only grew");
        assert_eq!(count(&[]), 0);
        std::fs::remove_file(&path).unwrap();
        assert!(keys_in_base(&path).is_err());
    }

    #[test]
    fn words_are_found_wherever_they_stand() {
        for (bytes, words, found) in [
            ("", "", true),
            ("abc", "", true),
            ("", "a", false),
            ("abc", "c", true),
            ("aab", "ab", true),
            ("\r\n12\r\n123\r\n", "\r\n123\r\n", true),
            ("\r\n12\r\n123\r\n", "\r\n23\r\n", false),
            ("abcabd", "abd", true),
            ("abdabc", "abd", true),
        ] {
            assert_eq!(holds(bytes.as_bytes(), words.as_bytes()), found, "{words:?} in {bytes:?}");
        }
    }

    #[test]
    fn what_was_written_just_now_is_found_at_the_end_of_a_large_log_and_further_up() {
        let dir = std::env::temp_dir().join(format!("kevy-server-large-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let filler = vec![b'x'; 3 * LAST_BYTES as usize];
        for at in [filler.len(), 1000] {
            let bytes = [&filler[..at], b"mark", &filler[at..]].concat();
            std::fs::write(layout::aof_path(&dir, 0), bytes).unwrap();
            let mut log = Disk::new(dir.clone(), true).log(0);
            assert!(log.has(b"mark").unwrap());
            assert!(!log.has(b"mark").unwrap(), "not twice");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_log_shows_what_was_written_also_in_two_parts_and_after_it_was_replaced() {
        let dir = std::env::temp_dir().join(format!("kevy-server-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = layout::aof_path(&dir, 0);
        std::fs::write(&path, "one").unwrap();
        let mut log = Disk::new(dir.clone(), true).log(0);
        assert!(log.has(b"one").unwrap());
        assert!(!log.has(b"two").unwrap());
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b" t").unwrap();
        assert!(!log.has(b"two").unwrap());
        file.write_all(b"wo ").unwrap();
        assert!(log.has(b"two").unwrap());
        log.sync().unwrap();
        let next = dir.join("next");
        std::fs::write(&next, "three").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert!(log.has(b"three").unwrap());
        let mut log = Disk::new(dir.clone(), true).log(0);
        log.skip().unwrap();
        assert!(!log.has(b"three").unwrap(), "it was there before");
        std::fs::write(&next, "three").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert!(log.has(b"three").unwrap(), "another file");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
