//! Colours, and how numbers are written for people.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: stdout().is_terminal() && !refused }
    }

    /// For golden tests.
    pub const fn with_colours(colours: bool) -> Self {
        Self { colours }
    }

    /// What holds.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }
    /// What must not be.
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }
    /// What matters.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
    /// What stands beside.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
    /// Bars.
    pub fn bar(self, text: &str) -> String {
        self.paint("36", text)
    }
    /// A tick or a cross.
    pub fn mark(self, holds: bool) -> String {
        if holds { self.good("✓") } else { self.bad("✗") }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// "12.3 ms".
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// "12.3 ms", or a dash.
pub fn ms_or_dash(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), ms)
}

/// "12 345".
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
