//! A run as people read it.

use std::fmt;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Nanoseconds of virtual time.
    pub at: u64,
    /// What.
    pub what: What,
    /// In words.
    pub text: String,
}

/// What kind of thing it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A fault came or went.
    Fault,
    /// A node came into office, left it, or may or may not write.
    Office,
    /// Another change of a node's role.
    Role,
    /// A node is there, or has merely heard of a new epoch.
    Minor,
    /// A message arrived.
    Message,
    /// What must not be.
    Finding,
    /// What a node is at the end.
    End,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.what {
            What::Fault => "!!",
            What::Message | What::Minor => "  ",
            What::Office | What::Role => "--",
            What::Finding => "**",
            What::End => "..",
        };
        write!(f, "{:>9.3} s  {sign} {}", self.at as f64 / 1e9, self.text)
    }
}
