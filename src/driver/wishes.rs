//! Orders of operators that the driver has not taken up yet.

use crate::change::MembersChange;
use crate::config::Member;
use crate::elector::Command;
use crate::ids::{ClusterId, NodeId};
use crate::pause::Pause;
use crate::time::Duration;
use futures::task::AtomicWaker;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// Each wish once: of two that say the same one is enough, of two about a pause or a transfer the newer one counts. So there is no
/// queue that could be full, and no wish is lost.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    open: Mutex<Open>,
    waker: AtomicWaker,
}

/// What an operator wants next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Of the elector alone.
    Command(Command),
    /// One more member, which listens there.
    Meet(Member, String),
    /// A member listens there from now on.
    Relocate(NodeId, String),
}

#[derive(Debug, Default)]
struct Open {
    /// As many as there may be members.
    meet: BTreeMap<NodeId, (Member, String)>,
    relocate: BTreeMap<NodeId, String>,
    pause: Option<Pause>,
    transfer: Option<(Option<NodeId>, Duration)>,
    members: Option<(MembersChange, Duration)>,
    shutdown: bool,
    admit: Option<ClusterId>,
    force: bool,
}

impl Wishes {
    pub(crate) fn pause(&self, pause: Pause) {
        self.add(|open| open.pause = open.pause.max(Some(pause)));
    }

    pub(crate) fn transfer(&self, to: Option<NodeId>, patience: Duration) {
        self.add(|open| open.transfer = Some((to, patience)));
    }

    pub(crate) fn members(&self, change: MembersChange, patience: Duration) {
        self.add(|open| open.members = Some((change, patience)));
    }

    pub(crate) fn meet(&self, member: Member, address: &str) {
        self.add(|open| drop(open.meet.insert(member.id, (member, address.to_owned()))));
    }

    pub(crate) fn relocate(&self, node: NodeId, address: &str) {
        self.add(|open| drop(open.relocate.insert(node, address.to_owned())));
    }

    pub(crate) fn shutdown(&self) {
        self.add(|open| open.shutdown = true);
    }

    pub(crate) fn admit(&self, cluster: ClusterId) {
        self.add(|open| open.admit = Some(cluster));
    }

    pub(crate) fn force(&self) {
        self.add(|open| open.force = true);
    }

    fn add(&self, wish: impl FnOnce(&mut Open)) {
        wish(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner));
        self.waker.wake();
    }

    /// The next one, or wakes when there is one.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Wish> {
        self.waker.register(cx.waker());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, (member, address))) = open.meet.pop_first() {
            return Poll::Ready(Wish::Meet(member, address));
        }
        // Behind those that are met: one of them may have moved since.
        if let Some((node, address)) = open.relocate.pop_first() {
            return Poll::Ready(Wish::Relocate(node, address));
        }
        let command = if let Some(pause) = open.pause.take() {
            Command::Pause(pause)
        } else if let Some((to, patience)) = open.transfer.take() {
            Command::Transfer { to, patience }
        } else if let Some((change, patience)) = open.members.take() {
            Command::Members { change, patience }
        } else if let Some(cluster) = open.admit.take() {
            Command::Admit(cluster)
        } else if std::mem::take(&mut open.force) {
            Command::Force
        } else if std::mem::take(&mut open.shutdown) {
            Command::Shutdown
        } else {
            return Poll::Pending;
        };
        Poll::Ready(Wish::Command(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn however_often_it_is_said_each_wish_comes_once_and_the_newest_counts() {
        let wishes = Wishes::default();
        let n4 = Member::observer(NodeId::new("n4").unwrap());
        for round in 0..1000 {
            wishes.transfer(None, Duration::from_millis(round));
            wishes.pause(Pause { number: round, paused: round % 2 == 0 });
            wishes.relocate(n4.id, if round < 999 { "h:2" } else { "h:3" });
            wishes.meet(n4, "h:1");
        }
        wishes.shutdown();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(wishes.poll(&cx), Poll::Ready(Wish::Meet(n4, "h:1".to_owned())));
        assert_eq!(wishes.poll(&cx), Poll::Ready(Wish::Relocate(n4.id, "h:3".to_owned())));
        let transfer = Command::Transfer { to: None, patience: Duration::from_millis(999) };
        for wish in [Command::Pause(Pause { number: 999, paused: false }), transfer, Command::Shutdown] {
            assert_eq!(wishes.poll(&cx), Poll::Ready(Wish::Command(wish)));
        }
        assert_eq!(wishes.poll(&cx), Poll::Pending);
    }
}
