//! Any message, for random tests.

use crate::id;
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::identity::Identity;
use kevy_elect_plugin::ids::{ClusterId, EPOCH_MAX, Epoch, NodeId, Round, SHARDS_MAX};
use kevy_elect_plugin::membership::{Generation, Membership, Voter};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use kevy_elect_plugin::pause::Pause;
use kevy_elect_plugin::position::{OFFSET_MAX, Position, Progress};
use kevy_elect_plugin::rank::Seniority;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{DURATION_US_MAX, PROGRESS_OFFSET_MAX};
use proptest::prelude::*;

fn any_id() -> impl Strategy<Value = NodeId> {
    proptest::collection::vec(proptest::sample::select(b"abz019._-:/~!".to_vec()), 1..=63)
        .prop_map(|bytes| id(std::str::from_utf8(&bytes).unwrap()))
}

/// Numbers of every length, and the borders.
fn number(max: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..70_u32).prop_map(move |(n, shift)| match shift {
        64..67 => 0,
        67.. => max,
        _ => (n >> shift).min(max),
    })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    number(EPOCH_MAX.0).prop_map(Epoch)
}
fn round() -> impl Strategy<Value = Round> {
    number(u64::MAX).prop_map(Round)
}
fn progress() -> impl Strategy<Value = Progress> {
    (epoch(), number(PROGRESS_OFFSET_MAX))
        .prop_map(|(stream_epoch, offset)| Progress { stream_epoch, offset })
}
fn micros() -> impl Strategy<Value = Duration> {
    number(DURATION_US_MAX).prop_map(Duration::from_micros)
}
fn standing() -> impl Strategy<Value = Standing> {
    any::<bool>().prop_map(|new| if new { Standing::New } else { Standing::Member })
}
fn offer() -> impl Strategy<Value = Offer> {
    let offsets = proptest::collection::vec(number(OFFSET_MAX), 0..=SHARDS_MAX);
    (epoch(), round(), epoch(), offsets).prop_map(|(epoch, round, stream, offsets)| Offer {
        epoch,
        round,
        position: Position::new(stream, &offsets).unwrap(),
    })
}
fn grant() -> impl Strategy<Value = Grant> {
    (epoch(), round(), identities()).prop_map(|(epoch, round, identity)| Grant { epoch, round, identity })
}
fn identities() -> impl Strategy<Value = Option<Identity>> {
    let identity = (any::<u128>(), proptest::option::of(epoch()));
    let identity =
        identity.prop_map(|(bits, proposed)| Identity { cluster: ClusterId::from_bits(bits), proposed });
    proptest::option::of(identity)
}

fn orders() -> impl Strategy<Value = Option<Pause>> {
    let order = (0..=Pause::NUMBER_MAX, any::<bool>());
    proptest::option::of(order.prop_map(|(number, paused)| Pause { number, paused }))
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    proptest::strategy::Union::new(Verb::ALL.iter().filter_map(|verb| message_of(*verb)))
}

/// Any message of this verb; `None`: its frame is no message.
fn message_of(verb: Verb) -> Option<BoxedStrategy<Message>> {
    let roles = proptest::sample::select(Role::ALL.to_vec());
    let reasons = proptest::sample::select(RejectReason::ALL.to_vec());
    let healths = proptest::sample::select(Health::ALL.to_vec());
    let heartbeat = (
        epoch(),
        round(),
        roles,
        (standing(), healths, identities(), orders()),
        progress(),
        proptest::option::of(any_id()),
        (micros(), micros()),
    )
        .prop_map(
            |(
                epoch,
                round,
                role,
                (standing, health, identity, pause),
                progress,
                primary,
                (promise, lease),
            )| {
                Message::Heartbeat(Heartbeat {
                    epoch,
                    round,
                    role,
                    standing,
                    progress,
                    primary,
                    promise,
                    lease,
                    health,
                    identity,
                    pause,
                })
            },
        );
    let echo = (epoch(), round(), proptest::option::of(any_id()), standing(), progress()).prop_map(
        |(epoch, round, primary, standing, progress)| {
            Message::Echo(Echo { epoch, round, primary, standing, progress })
        },
    );
    let reject = (epoch(), round(), any::<bool>(), reasons, progress()).prop_map(
        |(epoch, round, pre, reason, progress)| {
            let kind = if pre { OfferKind::PreVote } else { OfferKind::Vote };
            Message::Reject(Reject { epoch, round, kind, reason, progress })
        },
    );
    let resign = (epoch(), proptest::option::of(any_id()))
        .prop_map(|(epoch, successor)| Message::Resign(Resign { epoch, successor }));
    Some(match verb {
        Verb::Hello => return None,
        Verb::Hb => heartbeat.boxed(),
        Verb::Echo => echo.boxed(),
        Verb::PreOffer => offer().prop_map(Message::PreOffer).boxed(),
        Verb::PreAccept => grant().prop_map(Message::PreAccept).boxed(),
        Verb::Offer => offer().prop_map(Message::Offer).boxed(),
        Verb::Accept => grant().prop_map(Message::Accept).boxed(),
        Verb::Reject => reject.boxed(),
        Verb::Announce => epoch().prop_map(|epoch| Message::Announce(Announce { epoch })).boxed(),
        Verb::Resign => resign.boxed(),
        Verb::Rank => {
            (micros(), any::<u64>()).prop_map(|(up, work)| Message::Rank(Seniority { up, work })).boxed()
        }
        Verb::Members => (generation(), proptest::collection::btree_map(any_id(), any::<bool>(), 1..30))
            .prop_filter_map("a list that can be", |(generation, voters)| {
                let voters = voters.into_iter().map(|(id, witness)| Voter { id, witness });
                Membership::new(generation, voters).map(Message::Members)
            })
            .boxed(),
        Verb::Held => generation().prop_map(Message::Held).boxed(),
    })
}

fn generation() -> impl Strategy<Value = Generation> {
    (epoch(), 0..=Generation::COUNTER_MAX).prop_map(|(epoch, counter)| Generation { epoch, counter })
}
