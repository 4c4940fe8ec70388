//! One client's state, and what an answer to it is made of.

use crate::members::Members;
use crate::pubsub::Subscriptions;
use crate::view::View;
use kevy_resp::RespVersion;
use std::time::{Duration, Instant};

/// How long a question for the primary waits while nobody is known to take writes: most failovers are over by then.
pub(crate) const HOLD_MAX: Duration = Duration::from_millis(300);
/// Longest name that a client may give itself.
pub(super) const NAME_BYTES_MAX: usize = 128;

/// What an answer is made of.
pub(crate) struct Context<'a> {
    pub(crate) members: &'a Members,
    pub(crate) view: &'a View,
    /// Who takes writes, if that may be said now; otherwise who did last.
    pub(crate) primary: Option<usize>,
    pub(crate) last: Option<usize>,
    pub(crate) now: Instant,
    pub(crate) promise: Duration,
    pub(crate) password: Option<&'a str>,
    pub(crate) clients: usize,
    /// Those of them that listen for messages.
    pub(crate) subscribers: usize,
    pub(crate) uptime: Duration,
    /// Begins to hand this node's office over, or says why not.
    pub(crate) hand_over: &'a dyn Fn() -> Result<(), String>,
    /// Whether the primary is being asked to hand the office over, for another client.
    pub(crate) forwarding: bool,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) id: u64,
    pub(super) version: RespVersion,
    pub(super) name: Vec<u8>,
    pub(super) authenticated: bool,
    pub(super) subscriptions: Subscriptions,
    /// Since when its next command waits for a primary.
    pub(super) held: Option<Instant>,
    /// What another node answered to the command that is next.
    pub(super) forwarded: Option<String>,
    /// What came and is not executed yet.
    pub(super) input: Vec<u8>,
}

/// How one command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Answered,
    /// It waits for a primary.
    Held,
    /// It waits for what this member answers.
    Forwarded(usize),
    /// The connection ends once the answer is written.
    Close,
}

impl Session {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            version: RespVersion::V2,
            name: Vec::new(),
            authenticated: false,
            subscriptions: Subscriptions::default(),
            held: None,
            forwarded: None,
            input: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What another node said to the command that waits for it.
    pub(crate) fn forwarded(&mut self, line: String) {
        self.forwarded = Some(line);
    }

    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscriptions.count() > 0
    }
}

/// What a client sent, short and fit to be shown.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(NAME_BYTES_MAX).collect()
}
