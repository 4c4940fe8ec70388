//! What is going on right now: one line on standard error that is overwritten, on a terminal only.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};

/// Erases the line that the cursor is on.
const ERASE: &str = "\r\x1b[K";

/// The line.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    prefix: Cell<(u32, u32)>,
    shown: Cell<bool>,
}

impl Progress {
    /// Nothing is shown yet.
    #[expect(clippy::new_without_default, reason = "it looks at the terminal")]
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), prefix: Cell::new((0, 0)), shown: Cell::new(false) }
    }

    /// From now on every line begins with "round 3 of 50".
    pub fn round(&self, number: u32, of: u32) {
        self.prefix.set((number, of));
    }

    /// Shows `text` in place of what was shown before.
    pub fn say(&self, text: &str) {
        if self.terminal {
            let prefix = match self.prefix.get() {
                (_, 0) => String::new(),
                (number, of) => format!("round {number} of {of}: "),
            };
            let _ = write!(stderr(), "{ERASE}{prefix}{text} ...");
            let _ = stderr().flush();
            self.shown.set(true);
        }
    }

    /// Something that stays visible.
    pub fn note(&self, text: &str) {
        self.clear();
        let _ = writeln!(stderr(), "note: {text}");
    }

    /// Makes room for other output.
    pub fn clear(&self) {
        if self.shown.replace(false) {
            let _ = write!(stderr(), "{ERASE}");
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
