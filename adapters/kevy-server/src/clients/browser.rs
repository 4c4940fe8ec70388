//! Web pages that talk to a port of the database.
//!
//! A page can have a browser send an HTTP request with any body to any port. Read line by line it is a list of commands,
//! and the body is what the page likes. As Redis does, the server ends such a connection at the first line that begins
//! with `POST` or `Host:`. kevy closes a connection only after everything that came with that line was executed, and does
//! not say which connection a command is from. But it executes what came at once in one go and in the order of its memory.
//! So what stands behind that line in memory is refused until the shard looks at something else, or has gone once through
//! its loop; by then the connection is closed. Another client whose request came in the same turn, and was read into memory
//! behind that line, is told an error that it would not have been told a moment later.

use kevy_rt::ArgvView;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How many commands are told that they are refused. More answers could fill what the connection can take, and keep it
/// open.
const ANSWERS_MAX: u32 = 64;
/// How often it is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The latest request of a browser, on one shard.
#[derive(Default)]
pub(crate) struct Browser {
    /// The address behind what was refused last; zero: nothing is refused.
    behind: Cell<usize>,
    answers: Cell<u32>,
    /// Whether one was refused since the shard was last heard of.
    refused: Cell<bool>,
    logged: Cell<Option<Instant>>,
}

/// What becomes of the line, and of what stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Is told so.
    Refused,
    /// Is told nothing, and its connection is closed.
    Ignored,
}

impl Browser {
    /// A line said that its connection is a browser's.
    #[cold]
    pub(crate) fn line<A: ArgvView + ?Sized>(&self, line: &A) -> Rest {
        if !self.is_near() {
            self.answers.set(0);
        }
        if self.logged.get().is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged.set(Some(Instant::now()));
            log::warn!(
                "an HTTP request came to the port for clients, from a web page perhaps that means this server harm; its \
                 connection was closed"
            );
        }
        self.refuse(line)
    }

    /// Whether that was a moment ago.
    #[inline]
    pub(crate) fn is_near(&self) -> bool {
        self.behind.get() != 0
    }

    /// What to do with `command`, if it may have come with that line.
    #[cold]
    pub(crate) fn rest<A: ArgvView + ?Sized>(&self, command: &A) -> Option<Rest> {
        let start = command.first().map_or(0, |verb| verb.as_ptr().addr());
        if start < self.behind.get() {
            // Another buffer, so that line's own is done with.
            self.end();
            return None;
        }
        Some(self.refuse(command))
    }

    fn refuse<A: ArgvView + ?Sized>(&self, command: &A) -> Rest {
        self.refused.set(true);
        self.behind.set(end(command).max(1));
        let answers = self.answers.get();
        self.answers.set(answers.saturating_add(1));
        if answers < ANSWERS_MAX { Rest::Refused } else { Rest::Ignored }
    }

    /// The shard does what it does at the end of every turn of its loop, and also behind some commands.
    #[inline]
    pub(crate) fn turn(&self) {
        if self.is_near() && !self.refused.take() {
            self.end();
        }
    }

    fn end(&self) {
        self.behind.set(0);
    }
}

/// Whether this is how an HTTP request begins: `PUT /path HTTP/1.1`.
pub(crate) fn is_request<A: ArgvView + ?Sized>(line: &A) -> bool {
    line.len() == 3 && line[2].starts_with(b"HTTP/")
}

/// Where the last word ends.
fn end<A: ArgvView + ?Sized>(command: &A) -> usize {
    let last = command.len().checked_sub(1).and_then(|last| command.get(last));
    last.map_or(0, |word| word.as_ptr().addr() + word.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_resp::parse_command_borrowed;

    #[test]
    fn everything_behind_the_line_is_refused_and_nothing_before_it() {
        let bytes =
            b"SET before 1\r\nPOST / HTTP/1.1\r\nA: b\r\n\r\n\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\nPING\r\n";
        let browser = Browser::default();
        let mut at = 0;
        let mut said = Vec::new();
        while let Some((line, used)) = parse_command_borrowed(&bytes[at..]).unwrap() {
            match line.first() {
                Some(b"POST") => assert_eq!(browser.line(&line), Rest::Refused),
                _ => said.push(browser.is_near().then(|| browser.rest(&line)).flatten()),
            }
            at += used;
        }
        assert_eq!(said, [None, Some(Rest::Refused), Some(Rest::Refused), Some(Rest::Refused)]);
        let (before, _) = parse_command_borrowed(bytes).unwrap().unwrap();
        assert_eq!(browser.rest(&before), None, "another buffer, before it in memory");
        assert!(!browser.is_near(), "so that line's buffer is done with");
    }

    #[test]
    fn it_is_over_with_the_turn_of_the_loop_in_which_nothing_was_refused() {
        let (line, _) = parse_command_borrowed(b"POST / HTTP/1.1\r\n").unwrap().unwrap();
        assert!(is_request(&line));
        let browser = Browser::default();
        browser.line(&line);
        browser.turn();
        assert!(browser.is_near(), "that may have been behind the very line");
        browser.turn();
        assert!(!browser.is_near());
    }

    #[test]
    fn answers_are_bounded() {
        let bytes = b"POST\r\n".repeat(2 + ANSWERS_MAX as usize);
        let browser = Browser::default();
        let (first, mut at) = parse_command_borrowed(&bytes).unwrap().unwrap();
        let mut said = vec![browser.line(&first)];
        while let Some((line, used)) = parse_command_borrowed(&bytes[at..]).unwrap() {
            said.extend(browser.rest(&line));
            at += used;
        }
        let refused = said.iter().filter(|rest| **rest == Rest::Refused).count();
        assert_eq!((refused, said.last()), (ANSWERS_MAX as usize, Some(&Rest::Ignored)));
    }
}
