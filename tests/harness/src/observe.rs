//! What the servers say about themselves.
//!
//! The contract with `kevy-server`: one line on standard error per decision,
//!
//! ```text
//! ... elect event=<kind> key=value key="value with spaces" ...
//! ```
//!
//! with the kinds `suspected`, `elected`, `promoted`, `following`, `fenced`, `resigned` (others are kept
//! but play no part). Anything may stand before `elect event=`. The instant of an event is the one that its line begins with,
//! told on this program's clock. Lines without one count from their arrival, which on a busy machine is later than
//! the first write that the node acknowledges.

use crate::clock::Clock;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a line about a decision contains.
const TOKEN: &str = "elect event=";
/// How many of a server's last lines are kept for error messages.
const TAIL_LINES_MAX: usize = 25;
/// Longer lines are cut.
const LINE_BYTES_MAX: u64 = 4096;
/// A line that waited longer for its reader is not believed.
const LATE_MAX: Duration = Duration::from_secs(30);
/// How many events of one server are kept. An hour of failovers fits; a server that floods is cut off.
const EVENTS_MAX: usize = 100_000;

/// A decision that a server logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When its line arrived.
    pub at: Duration,
    /// Which, for example `suspected`.
    pub kind: String,
    /// The rest of the line.
    pub fields: Vec<(String, String)>,
}

impl Event {
    /// The value under `key`.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// What one server has said, over all starts of its process.
#[derive(Debug, Default)]
pub struct Log {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tail: VecDeque<String>,
    events: Vec<Event>,
}

impl Log {
    /// Reads `output` until its end on a thread of its own, and copies it to `copy`.
    pub fn follow(
        self: &Arc<Self>,
        output: impl Read + Send + 'static,
        copy: File,
        clock: Clock,
    ) -> std::io::Result<JoinHandle<()>> {
        let log = self.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || log.read(output, copy, clock))
    }

    /// All events since `since`, in order.
    pub fn events_since(&self, since: Duration) -> Vec<Event> {
        self.lock().events.iter().filter(|event| event.at >= since).cloned().collect()
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }

    fn read(&self, output: impl Read, mut copy: File, clock: Clock) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            match output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let arrived = (clock.now(), Timestamp::now());
            // A full disk must not silence the log that the measurement depends on.
            let _ = copy.write_all(&line);
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            let mut inner = self.lock();
            if inner.events.len() < EVENTS_MAX {
                inner.events.extend(parse(text, said(text, arrived)));
            }
            if inner.tail.len() == TAIL_LINES_MAX {
                inner.tail.pop_front();
            }
            inner.tail.push_back(text.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the line was written. `arrived`: when it was read, on this program's clock and on the machine's.
fn said(line: &str, (arrived, now): (Duration, Timestamp)) -> Duration {
    let age = line
        .trim_start_matches('[')
        .split(' ')
        .next()
        .and_then(|first| first.parse::<Timestamp>().ok())
        .and_then(|written| Duration::try_from(now.duration_since(written)).ok());
    // Older ones, and lines out of the future, are of a clock that was set meanwhile.
    age.filter(|age| *age <= LATE_MAX).map_or(arrived, |age| arrived.saturating_sub(age))
}

/// The event in `line`, if there is one.
fn parse(line: &str, at: Duration) -> Option<Event> {
    let (_, said) = line.split_once(TOKEN)?;
    let (kind, mut rest) = said.split_once(' ').unwrap_or((said, ""));
    if kind.is_empty() {
        return None;
    }
    let mut fields = Vec::new();
    while let Some((key, after)) = rest.trim_start().split_once('=') {
        let (value, left) = match after.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some(quoted) => quoted,
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        fields.push((key.to_owned(), value.to_owned()));
        rest = left;
    }
    Some(Event { at, kind: kind.to_owned(), fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_recognised_wherever_they_stand_in_the_line() {
        let at = Duration::from_micros(7);
        let event = parse("2026-01-01T00:00:00.000001Z n2 elect event=suspected primary=n1 why=\"its process is gone\" silence_ms=1.5", at).unwrap();
        assert_eq!((event.at, event.kind.as_str()), (at, "suspected"));
        assert_eq!(event.field("primary"), Some("n1"));
        assert_eq!(event.field("why"), Some("its process is gone"));
        assert_eq!(event.field("silence_ms"), Some("1.5"));
        assert_eq!(event.field("epoch"), None);
        assert_eq!(parse("elect event=promoted", at).unwrap().kind, "promoted");
        assert_eq!(parse("kevy v7.0.0 starting", at), None);
        assert_eq!(parse("elect event=", at), None);
    }

    #[test]
    fn a_line_that_is_read_late_happened_when_it_was_written() {
        let ms = Duration::from_millis;
        let arrived = (ms(13_335), "2026-11-27T05:02:14.638208Z".parse().unwrap());
        let line = |stamp: &str| format!("[{stamp} INFO  kevy_elect] elect event=elected epoch=80 node=n3");
        assert_eq!(said(&line("2026-11-27T05:02:14.604208Z"), arrived), ms(13_301));
        // A clock that was set, and a line without a date.
        assert_eq!(said(&line("2026-11-27T04:02:14.604208Z"), arrived), arrived.0);
        assert_eq!(said(&line("2026-11-27T05:02:15.000000Z"), arrived), arrived.0);
        assert_eq!(said("elect event=elected epoch=80", arrived), arrived.0);
    }

    #[test]
    fn a_log_keeps_events_in_order_and_only_the_last_lines() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let log = Arc::new(Log::default());
        let copy = File::options().write(true).open("/dev/null").unwrap();
        let thread = log.follow(reader, copy, Clock::start()).unwrap();
        writeln!(writer, "elect event=elected epoch=2").unwrap();
        for n in 0..TAIL_LINES_MAX {
            writeln!(writer, "line {n}").unwrap();
        }
        write!(writer, "elect event=promoted epoch=2").unwrap();
        drop(writer);
        thread.join().unwrap();
        let events = log.events_since(Duration::ZERO);
        assert_eq!(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["elected", "promoted"]);
        assert!(events[0].at <= events[1].at);
        assert_eq!(log.events_since(events[1].at + Duration::from_nanos(1)), []);
        assert_eq!(log.tail().len(), TAIL_LINES_MAX);
        assert_eq!(log.tail()[0], "line 1");
    }
}
