//! Keeps a library's own lines from filling the log, and a log on a slow disk from holding anybody up.
//!
//! Whoever writes to a file waits for the disk when the machine has much to write. The election's thread that tells of
//! the end of a lease must not: its watchdog would end the process meanwhile (seen: 7 of 43 times on a machine whose
//! disk was busy three quarters of the time). And a library may tell of what goes wrong on the standard error, once for
//! each attempt: with a full disk that can be megabytes a second, for as long as the disk is full. So the standard error
//! leads through a pipe, and a thread passes on what comes out of it, the library's lines within limits and all others as
//! they are.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::stdio::dup2_stderr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many of the library's lines may come at once, and how long it takes until one more may. A start says some dozen.
const LINES_MAX: u32 = 256;
const REFILL: Duration = Duration::from_millis(100);
/// How much may wait for the disk. Beyond that, whoever has something to say waits too.
const PIPE_BYTES: usize = 1 << 20;
/// A line that is longer is passed on in parts.
const LINE_BYTES_MAX: usize = 16 * 1024;
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
    let mut limit = Limit::new(limited, Instant::now());
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
                limit.pass(now, &line, &mut to);
                line.clear();
            }
        }
    }
    limit.pass(Instant::now(), &line, &mut to);
}

struct Limit {
    prefix: &'static str,
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Limit {
    fn new(prefix: &'static str, now: Instant) -> Self {
        Self { prefix, left: LINES_MAX, refilled: now, left_out: 0 }
    }

    fn pass(&mut self, now: Instant, line: &[u8], to: &mut impl Write) {
        if line.starts_with(self.prefix.as_bytes()) {
            let periods = now.saturating_duration_since(self.refilled).as_nanos() / REFILL.as_nanos();
            if periods > 0 {
                let more = u32::try_from(periods).unwrap_or(LINES_MAX);
                self.left = self.left.saturating_add(more).min(LINES_MAX);
                self.refilled = now;
            }
            if self.left == 0 {
                self.left_out += 1;
                return;
            }
            self.left -= 1;
            if self.left_out > 0 {
                // Nowhere is left to say that it cannot be written.
                let _ = writeln!(
                    to,
                    "{} lines that begin with {:?} were left out here",
                    self.left_out, self.prefix
                );
                self.left_out = 0;
            }
        }
        let _ = to.write_all(line);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_the_library_is_cut_and_counted_and_nobody_else_is() {
        let (mut limit, mut out) = (Limit::new("kevy: ", Instant::now()), Vec::new());
        let start = limit.refilled;
        for _ in 0..1000 {
            limit.pass(start, b"kevy: shard 0 aof append failed\n", &mut out);
            limit.pass(start, b"elect event=fenced\n", &mut out);
        }
        let count = |out: &[u8], with: &str| String::from_utf8_lossy(out).matches(with).count();
        assert_eq!((count(&out, "aof"), count(&out, "fenced")), (LINES_MAX as usize, 1000));
        limit.pass(start + REFILL, b"kevy: again\n", &mut out);
        assert_eq!(
            count(&out, &format!("{} lines that begin with \"kevy: \" were left out", 1000 - LINES_MAX)),
            1
        );
        assert_eq!(count(&out, "again"), 1);
    }
}
