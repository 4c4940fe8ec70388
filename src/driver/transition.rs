//! Calls to the host that take time: at most one promotion or retarget, and one fence or resume.

use crate::elector::{HostAction, HostReport};
use crate::host::{HostError, ReplicationHost};
use crate::ids::Epoch;
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::task::{Context, Poll};

type Call = BoxFuture<'static, Result<(), HostError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Promote,
    Follow,
    Fence,
    Resume,
}

pub(super) struct Transitions {
    host: Arc<dyn ReplicationHost>,
    role: Option<(Kind, Epoch, Call)>,
    fence: Option<(Kind, Epoch, Call)>,
}

/// A call that ended.
pub(super) struct Done {
    kind: Kind,
    epoch: Epoch,
    error: Option<HostError>,
}

impl Done {
    /// What the elector is told. A node whose host could not be fenced counts as not settled: its gate is
    /// shut, and it does not vote before it follows somebody.
    pub(super) fn report(&self) -> Option<HostReport<'_>> {
        Some(match (self.kind, &self.error) {
            (Kind::Fence, None) => HostReport::Fenced,
            (Kind::Fence | Kind::Resume, error) => {
                if let Some(error) = error {
                    log::error!(target: "kevy_elect", "elect event=fence_failed error={:?}", error.0);
                }
                return None;
            }
            (Kind::Promote, None) => HostReport::Promoted(self.epoch),
            (Kind::Promote, Some(error)) => HostReport::PromoteFailed(self.epoch, &error.0),
            (Kind::Follow, None) => HostReport::Followed(self.epoch),
            (Kind::Follow, Some(error)) => HostReport::FollowFailed(self.epoch, &error.0),
        })
    }
}

impl Done {
    /// What failed, of the calls that the elector is not told of.
    pub(super) fn failed(&self) -> Option<&'static str> {
        match (self.kind, &self.error) {
            (Kind::Fence, Some(_)) => Some("fence"),
            (Kind::Resume, Some(_)) => Some("resume"),
            _ => None,
        }
    }
}

impl Transitions {
    pub(super) fn new(host: Arc<dyn ReplicationHost>) -> Self {
        Self { host, role: None, fence: None }
    }

    /// Starts what the elector wants, in place of what it wanted before. With `drop_promotion` a fence drops a promotion
    /// that still runs.
    pub(super) fn start(&mut self, action: HostAction, drop_promotion: bool) {
        let host = self.host.clone();
        match action {
            HostAction::Promote(epoch) => {
                let call = async move { host.promote(epoch).await }.boxed();
                self.role = Some((Kind::Promote, epoch, call));
            }
            HostAction::Follow(epoch, primary) => {
                let call = async move { host.follow(epoch, primary).await }.boxed();
                self.role = Some((Kind::Follow, epoch, call));
            }
            HostAction::Fence(epoch, reason) => {
                // An office that is lost before the host took it is not to be taken.
                self.role.take_if(|(kind, _, _)| *kind == Kind::Promote && drop_promotion);
                let call = async move { host.fence(epoch, reason).await }.boxed();
                self.fence = Some((Kind::Fence, epoch, call));
            }
            HostAction::Resume(epoch) => {
                let call = async move { host.resume(epoch).await }.boxed();
                self.fence = Some((Kind::Resume, epoch, call));
            }
            // Answered at once by the driver.
            HostAction::Detach(_) => {}
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        if let Some((kind, epoch, call)) = &mut self.fence
            && let Poll::Ready(result) = call.poll_unpin(cx)
        {
            let (kind, epoch) = (*kind, *epoch);
            self.fence = None;
            return Poll::Ready(Done { kind, epoch, error: result.err() });
        }
        let Some((kind, epoch, call)) = &mut self.role else { return Poll::Pending };
        let Poll::Ready(result) = call.poll_unpin(cx) else { return Poll::Pending };
        let done = Done { kind: *kind, epoch: *epoch, error: result.err() };
        self.role = None;
        Poll::Ready(done)
    }
}
