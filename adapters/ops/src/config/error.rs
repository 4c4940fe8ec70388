//! Why a start was refused.

use std::fmt;
use std::path::PathBuf;

/// One wrong or contradictory setting: where it stands, what it is, why it cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupError {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// The line in it, from 1; 0 where the value comes from the command line or the environment.
    pub line: usize,
    /// The key, with its section: `[elect] lease_ms`.
    pub key: String,
    /// Its value as it was given; empty where it is missing.
    pub value: String,
    /// What is wrong with it and what to do.
    pub reason: String,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
            }
            write!(f, " ")?;
        }
        match (self.key.is_empty(), self.value.is_empty()) {
            (true, _) => {}
            (false, true) => write!(f, "{}: ", self.key)?,
            (false, false) => write!(f, "{} = {}: ", self.key, self.value)?,
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SetupError {}
