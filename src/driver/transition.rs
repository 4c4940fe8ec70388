//! Calls to the host that take time: at most one promotion or retarget, one fence or resume, and one question.

use crate::elector::{DetachSeq, HostAction, HostReport};
use crate::host::{HostError, ReplicationHost};
use crate::ids::Epoch;
use crate::position::Position;
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

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
    question: Option<(DetachSeq, BoxFuture<'static, Result<Position, HostError>>)>,
}

/// What a host said to a question.
pub(super) struct Answer {
    pub(super) seq: DetachSeq,
    pub(super) position: Result<Position, HostError>,
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
            (Kind::Fence | Kind::Resume, _) => return None,
            (Kind::Promote, None) => HostReport::Promoted(self.epoch),
            (Kind::Promote, Some(error)) => HostReport::PromoteFailed(self.epoch, &error.0),
            (Kind::Follow, None) => HostReport::Followed(self.epoch),
            (Kind::Follow, Some(error)) => HostReport::FollowFailed(self.epoch, &error.0),
        })
    }
}

impl Done {
    /// What failed, of the calls that the elector is not told of, and why.
    pub(super) fn failed(&self) -> Option<(&'static str, &str)> {
        match (self.kind, &self.error) {
            (Kind::Fence, Some(error)) => Some(("fence", &error.0)),
            (Kind::Resume, Some(error)) => Some(("resume", &error.0)),
            _ => None,
        }
    }
}

impl Transitions {
    pub(super) fn new(host: Arc<dyn ReplicationHost>) -> Self {
        Self { host, role: None, fence: None, question: None }
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
            HostAction::Detach(seq) => {
                // It would follow again what is let go of now.
                self.role.take_if(|(kind, _, _)| *kind == Kind::Follow);
                let call = async move { host.detach().await }.boxed();
                self.question = Some((seq, call));
            }
        }
    }

    /// The answer of a host that gives it without waiting for anything.
    pub(super) fn answer_now(&mut self) -> Option<Answer> {
        // Polled again before the driver waits, and then with a waker that wakes it.
        match self.poll_question(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// Drops a question that is not `wanted` any more.
    pub(super) fn keep_question(&mut self, wanted: impl FnOnce() -> Option<DetachSeq>) {
        if let Some((seq, _)) = &self.question
            && wanted() != Some(*seq)
        {
            self.question = None;
        }
    }

    pub(super) fn poll_question(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some((seq, call)) = &mut self.question else { return Poll::Pending };
        let Poll::Ready(position) = call.poll_unpin(cx) else { return Poll::Pending };
        let answer = Answer { seq: *seq, position };
        self.question = None;
        Poll::Ready(answer)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::FenceReason;
    use crate::ids::NodeId;
    use async_trait::async_trait;
    use std::sync::Mutex;

    /// A host that follows, and lets go, when it is told that it has.
    struct Slow {
        calls: Mutex<Vec<&'static str>>,
        followed: async_channel::Receiver<()>,
        let_go: async_channel::Receiver<()>,
    }

    #[async_trait]
    impl ReplicationHost for Slow {
        async fn promote(&self, _: Epoch) -> Result<(), HostError> {
            Ok(())
        }
        async fn follow(&self, _: Epoch, _: NodeId) -> Result<(), HostError> {
            let _ = self.followed.recv().await;
            self.calls.lock().unwrap().push("follows");
            Ok(())
        }
        async fn detach(&self) -> Result<Position, HostError> {
            let _ = self.let_go.recv().await;
            self.calls.lock().unwrap().push("lets go");
            Ok(Position::single(Epoch(3), 7))
        }
    }

    struct Stage {
        host: Arc<Slow>,
        transitions: Transitions,
        followed: async_channel::Sender<()>,
        let_go: async_channel::Sender<()>,
    }

    fn stage() -> Stage {
        let (followed, on_followed) = async_channel::bounded(8);
        let (let_go, on_let_go) = async_channel::bounded(8);
        let host = Arc::new(Slow { calls: Mutex::default(), followed: on_followed, let_go: on_let_go });
        Stage { transitions: Transitions::new(host.clone()), host, followed, let_go }
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn a_host_that_can_answer_at_once_answers_in_the_same_turn() {
        let mut stage = stage();
        stage.let_go.try_send(()).unwrap();
        stage.transitions.start(HostAction::Detach(DetachSeq(4)), true);
        let answer = stage.transitions.answer_now().unwrap();
        assert_eq!((answer.seq, answer.position), (DetachSeq(4), Ok(Position::single(Epoch(3), 7))));
        assert!(stage.transitions.poll_question(&mut cx()).is_pending(), "answered once");
    }

    #[test]
    fn a_late_answer_comes_when_it_is_there_and_only_to_the_newest_question() {
        let mut stage = stage();
        for seq in [1, 2] {
            stage.transitions.start(HostAction::Detach(DetachSeq(seq)), true);
            assert!(stage.transitions.answer_now().is_none());
        }
        stage.let_go.try_send(()).unwrap();
        let Poll::Ready(answer) = stage.transitions.poll_question(&mut cx()) else { panic!("no answer") };
        assert_eq!(answer.seq, DetachSeq(2));

        stage.transitions.start(HostAction::Detach(DetachSeq(3)), true);
        stage.transitions.keep_question(|| Some(DetachSeq(3)));
        assert!(stage.transitions.answer_now().is_none());
        stage.transitions.keep_question(|| None);
        stage.let_go.try_send(()).unwrap();
        assert!(stage.transitions.poll_question(&mut cx()).is_pending(), "nobody wants to know");
        assert_eq!(*stage.host.calls.lock().unwrap(), ["lets go"]);
    }

    #[test]
    fn a_question_ends_a_retarget_that_would_follow_again_afterwards() {
        let mut stage = stage();
        let primary = NodeId::new("n1").unwrap();
        stage.transitions.start(HostAction::Follow(Epoch(2), primary), true);
        assert!(stage.transitions.poll(&mut cx()).is_pending());
        stage.let_go.try_send(()).unwrap();
        stage.transitions.start(HostAction::Detach(DetachSeq(1)), true);
        assert!(stage.transitions.answer_now().is_some());
        stage.followed.try_send(()).unwrap();
        assert!(stage.transitions.poll(&mut cx()).is_pending());
        assert_eq!(*stage.host.calls.lock().unwrap(), ["lets go"], "and does not follow");
    }

    #[test]
    fn a_question_leaves_a_promotion_and_a_fence_alone() {
        let mut stage = stage();
        stage.transitions.start(HostAction::Promote(Epoch(2)), true);
        stage.transitions.start(HostAction::Fence(Epoch(1), FenceReason::StepDown), false);
        stage.transitions.start(HostAction::Detach(DetachSeq(1)), true);
        let kinds = [stage.transitions.poll(&mut cx()), stage.transitions.poll(&mut cx())];
        let kinds = kinds.map(|done| match done {
            Poll::Ready(done) => done.kind,
            Poll::Pending => panic!("dropped"),
        });
        assert_eq!(kinds, [Kind::Fence, Kind::Promote]);
    }
}
