//! Keeps a library's own lines from filling the log, and a log on a slow disk from holding anybody up.
//!
//! Whoever writes to a file waits for the disk when the machine has much to write. The election's thread that tells of
//! the end of a lease must not: its watchdog would end the process meanwhile (seen: 7 of 43 times on a machine whose
//! disk was busy three quarters of the time). And a library may tell of what goes wrong on the standard error, once for
//! each attempt: with a full disk that can be megabytes a second, for as long as the disk is full. So the standard error
//! leads through a pipe, and a thread passes on what comes out of it, the library's lines within one limit and all others within another.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::stdio::dup2_stderr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many of the library's lines may come at once, and how long it takes until one more may. A start says some dozen.
const LIBRARY: (u32, Duration) = (256, Duration::from_millis(100));
/// The same for all other lines together. Each kind of the election's own is limited before (`src/driver/log_limit.rs`): this is for
/// what nobody thought of.
const OTHERS: (u32, Duration) = (8192, Duration::from_millis(20));
/// How much may wait for the disk. Beyond that, whoever has something to say waits too.
const PIPE_BYTES: usize = 1 << 20;
/// A line that is longer is passed on in parts.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines that were left out.
const LEFT_OUT: &str = "kevy_server_log_lines_left_out_total";
/// Numbers below are for the standard streams.
const FIRST_FREE: i32 = 3;

/// Ends the detour when dropped; everything said until then has been passed on.
pub struct Detour {
    original: File,
    passing: Option<JoinHandle<()>>,
}

impl Detour {
    /// Leads the standard error of this process through a pipe. Lines that begin with `limited` are limited.
    pub fn begin(limited: &'static str) -> io::Result<Self> {
        let original = File::from(fcntl_dupfd_cloexec(io::stderr(), FIRST_FREE)?);
        let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
        // Where the system grants no more, it stays as small as it is.
        let _ = fcntl_setpipe_size(&into, PIPE_BYTES);
        let to = original.try_clone()?;
        let passing = thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || pass(File::from(out), to, limited))?;
        dup2_stderr(&into)?;
        Ok(Self { original, passing: Some(passing) })
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        // Closes the last end to write into the pipe, so the thread ends when it has read the rest.
        if dup2_stderr(&self.original).is_ok()
            && let Some(passing) = self.passing.take()
        {
            drop(passing.join());
        }
    }
}

fn pass(mut from: File, mut to: File, limited: &'static str) {
    let mut limits = Limits::new(limited, Instant::now());
    let (mut buffer, mut line) = (vec![0; 64 * 1024], Vec::with_capacity(256));
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let now = Instant::now();
        for part in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.last() == Some(&b'\n') || line.len() >= LINE_BYTES_MAX {
                limits.pass(now, &line, &mut to);
                line.clear();
            }
        }
    }
    limits.pass(Instant::now(), &line, &mut to);
}

struct Limits {
    prefix: &'static str,
    library: Limit,
    others: Limit,
}

impl Limits {
    fn new(prefix: &'static str, now: Instant) -> Self {
        Self { prefix, library: Limit::new(LIBRARY, now), others: Limit::new(OTHERS, now) }
    }

    fn pass(&mut self, now: Instant, line: &[u8], to: &mut impl Write) {
        let library = line.starts_with(self.prefix.as_bytes());
        let limit = if library { &mut self.library } else { &mut self.others };
        let Some(left_out) = limit.admit(now) else { return };
        if left_out > 0 {
            let whose = if library { format!("that begin with {:?} ", self.prefix) } else { String::new() };
            // Nowhere is left to say that it cannot be written.
            let _ = writeln!(to, "{left_out} lines {whose}were left out here");
        }
        let _ = to.write_all(line);
    }
}

struct Limit {
    rate: (u32, Duration),
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Limit {
    fn new(rate: (u32, Duration), now: Instant) -> Self {
        Self { rate, left: rate.0, refilled: now, left_out: 0 }
    }

    /// Whether a line may be written; if so, how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let (lines_max, refill) = self.rate;
        let periods = now.saturating_duration_since(self.refilled).as_nanos() / refill.as_nanos();
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(lines_max);
            self.left = self.left.saturating_add(more).min(lines_max);
            self.refilled = now;
        }
        if self.left == 0 {
            self.left_out += 1;
            metrics::counter!(LEFT_OUT).increment(1);
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::http::counted;

    #[test]
    fn a_flood_of_the_library_is_cut_and_counted_and_hides_nobody_elses_lines() {
        let start = Instant::now();
        let (mut limits, mut out) = (Limits::new("kevy: ", start), Vec::new());
        let left_out = counted(LEFT_OUT, || {
            for _ in 0..1000 {
                limits.pass(start, b"kevy: shard 0 aof append failed\n", &mut out);
                limits.pass(start, b"elect event=fenced\n", &mut out);
            }
        });
        assert_eq!(left_out, 1000 - u64::from(LIBRARY.0));
        let count = |out: &[u8], with: &str| String::from_utf8_lossy(out).matches(with).count();
        assert_eq!((count(&out, "aof"), count(&out, "fenced")), (LIBRARY.0 as usize, 1000));
        limits.pass(start + LIBRARY.1, b"kevy: again\n", &mut out);
        let told = format!("{} lines that begin with \"kevy: \" were left out", 1000 - LIBRARY.0);
        assert_eq!((count(&out, &told), count(&out, "again")), (1, 1));
    }

    #[test]
    fn whatever_else_is_written_has_an_end() {
        let start = Instant::now();
        let (mut limits, mut out) = (Limits::new("kevy: ", start), Vec::new());
        let left_out =
            counted(LEFT_OUT, || (0..20_000).for_each(|_| limits.pass(start, b"anything\n", &mut out)));
        assert_eq!(left_out, 20_000 - u64::from(OTHERS.0));
        limits.pass(start + OTHERS.1, b"more\n", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("anything").count(), OTHERS.0 as usize);
        let told = format!("{} lines were left out here\nmore\n", 20_000 - OTHERS.0);
        assert!(text.ends_with(&told), "{}", &text[text.len() - 100..]);
    }
}
