//! What happens next in a run, and when.

use crate::net::{Frame, Life};
use kevy_elect_plugin::link::LinkEvent;

/// What happens.
pub(crate) enum Event<M> {
    Wake { node: usize, life: Life },
    Frame(Box<Frame<M>>),
    LinkEnd { at: usize, peer: usize, life: Life, conn: u64, event: LinkEvent },
    Dial(usize, usize),
    Start(usize),
    Serve,
    Fault(usize),
    Over(usize),
    Heal,
}

/// Equal times: first come, first served.
pub(crate) struct Entry<M> {
    pub(crate) at: u64,
    pub(crate) number: u64,
    pub(crate) event: Event<M>,
}

impl<M> Ord for Entry<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<M> PartialOrd for Entry<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> PartialEq for Entry<M> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<M> Eq for Entry<M> {}
