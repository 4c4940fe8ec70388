//! What a member says that lies.

use super::plan::cluster;
use super::run::Run;
use crate::config::MemberKind;
use crate::fence::Health;
use crate::identity::Identity;
use crate::ids::{ClusterId, EPOCH_MAX, EPOCH_NEAR, EPOCH_STEP_MAX, Epoch, NodeId, Round};
use crate::membership::{Generation, Membership, Voter};
use crate::message::{
    Announce, Echo, Grant, Heartbeat, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use crate::pause::Pause;
use crate::position::{Position, Progress};
use crate::rank::Seniority;
use crate::time::Duration;

/// The highest number of an order that it makes up: nothing here has a calendar by which a higher one would be refused (H17).
const ORDER_MAX: u64 = 1 << 40;

/// Something that a member may say in its own name to one who is in that epoch.
pub(super) fn lie(run: &mut Run, liar: usize, theirs: Epoch) -> Message {
    let (theirs, members) = (theirs.0, run.ids.len() as u64);
    let somebody = run.ids[run.rng.below(members) as usize];
    let (me, rng) = (run.ids[liar], &mut run.rng);
    let epoch = match rng.below(9) {
        0 => theirs,
        1 => theirs + 1,
        2 => theirs + rng.below(2 * EPOCH_NEAR),
        3 => theirs.saturating_sub(rng.below(3)),
        4 => theirs + rng.below(2 * EPOCH_STEP_MAX),
        5 => theirs + (1 << 32),
        6 => 1 << 60,
        _ => EPOCH_MAX.0,
    };
    let epoch = Epoch(epoch.min(EPOCH_MAX.0));
    let round = Round(rng.between(1, 200));
    let standing = rng.pick(&[Standing::Member, Standing::Member, Standing::New]);
    let history = rng.pick(&[Epoch(0), Epoch(1), Epoch(theirs), EPOCH_MAX]);
    let offset = rng.below(1000);
    let progress = Progress { stream_epoch: history, offset };
    let named: Option<NodeId> = rng.pick(&[None, Some(me), Some(somebody)]);
    let kind = rng.pick(&[OfferKind::PreVote, OfferKind::Vote]);
    let reason = rng.pick(RejectReason::ALL);
    // Every second one is a heartbeat.
    match Verb::ALL[2..].get(rng.below(16) as usize) {
        Some(Verb::Echo) => Message::Echo(Echo { epoch, round, primary: Some(somebody), standing, progress }),
        Some(Verb::PreOffer) => {
            Message::PreOffer(Offer { epoch, round, position: Position::single(history, offset) })
        }
        Some(Verb::Offer) => {
            Message::Offer(Offer { epoch, round, position: Position::single(history, offset) })
        }
        Some(Verb::PreAccept) => {
            Message::PreAccept(Grant { epoch, round: Round(round.0 % 8), identity: None })
        }
        Some(Verb::Accept) => Message::Accept(Grant { epoch, round: Round(round.0 % 8), identity: None }),
        Some(Verb::Reject) => {
            Message::Reject(Reject { epoch, round: Round(round.0 % 8), kind, reason, progress })
        }
        Some(Verb::Announce) => Message::Announce(Announce { epoch }),
        Some(Verb::Resign) => Message::Resign(Resign { epoch, successor: named }),
        Some(Verb::Rank) => {
            Message::Rank(Seniority { up: Duration::from_secs(rng.between(0, 1 << 40)), work: offset })
        }
        // A list of its own would be taken: that is a limit.
        Some(Verb::Hello | Verb::Hb | Verb::Members | Verb::Held) | None => Message::Heartbeat(Heartbeat {
            identity: None,
            pause: None,
            epoch,
            round,
            role: rng.pick(Role::ALL),
            standing,
            progress,
            primary: named,
            promise: Duration::ZERO,
            lease: Duration::from_millis(rng.pick(&[0, 300, 900, 90_000])),
            health: rng.pick(Health::ALL),
        }),
    }
}

/// Has it say that it belongs to another cluster than the one that there is.
pub(super) fn belie(run: &mut Run, message: &mut Message, theirs: Epoch) {
    let cluster =
        run.rng.pick(&[cluster(), ClusterId::from_bits(2), ClusterId::from_bits(2), ClusterId::from_bits(3)]);
    let proposed = run.rng.pick(&[None, None, None, Some(theirs), Some(EPOCH_MAX)]);
    let said = run.rng.chance(800).then_some(Identity { cluster, proposed });
    match message {
        Message::Heartbeat(heartbeat) => heartbeat.identity = said,
        Message::Accept(grant) | Message::PreAccept(grant) => grant.identity = said,
        _ => {}
    }
}

/// The same, and orders, timings and lists beside it.
pub(super) fn forgery(run: &mut Run, liar: usize, theirs: Epoch) -> Message {
    if run.rng.chance(60) {
        return list(run, theirs);
    }
    let mut message = lie(run, liar, theirs);
    if let Message::Heartbeat(heartbeat) = &mut message {
        let rng = &mut run.rng;
        if rng.chance(200) {
            heartbeat.pause = Some(Pause { number: rng.below(ORDER_MAX), paused: rng.chance(700) });
        }
        if rng.chance(200) {
            heartbeat.promise = Duration::from_millis(rng.pick(&[1, 300, 15_000, 1 << 40]));
            heartbeat.lease = Duration::from_millis(rng.pick(&[1, 300, 15_000, 1 << 40]));
        }
    }
    message
}

/// Who votes, and in which generation, as nobody made it. The voters are those that there are: with others it would be the one voter of who
/// believes it, which is a limit.
fn list(run: &mut Run, theirs: Epoch) -> Message {
    let voter =
        |node: usize| Voter { id: run.ids[node], witness: run.plan.setup.kinds[node] == MemberKind::Witness };
    let voters: Vec<Voter> = run.voters().map(voter).collect();
    let epoch = run.rng.pick(&[Epoch(1), theirs, Epoch((theirs.0 + 1).min(EPOCH_MAX.0)), EPOCH_MAX]);
    let counter = run.rng.pick(&[0, 1, 1 << 20, Generation::COUNTER_MAX]);
    let generation = Generation { epoch, counter };
    match Membership::new(generation, voters) {
        Some(list) if run.rng.chance(600) => Message::Members(list),
        _ => Message::Held(generation),
    }
}
