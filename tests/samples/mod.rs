//! One message of each verb. A new verb that has no sample does not compile.

#![allow(unreachable_pub, reason = "every test includes it as a module of its own")]
#![allow(dead_code, reason = "each test uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails says where")]

use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::membership::{Generation, Membership};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::rank::Seniority;
use kevy_elect_plugin::time::Duration;

/// One message of each verb.
pub fn messages() -> Vec<Message> {
    Verb::ALL.iter().filter_map(|verb| message(*verb)).collect()
}

/// A message of this verb; `None`: its frame is no message.
pub fn message(verb: Verb) -> Option<Message> {
    let (epoch, round, node) = (Epoch(7), Round(1201), NodeId::new("n1").unwrap());
    let progress = Progress { stream_epoch: epoch, offset: 48_213 };
    let offer = Offer { epoch, round, position: Position::new(epoch, &[48_000, 213]).unwrap() };
    let grant = Grant { epoch, round, identity: None };
    Some(match verb {
        Verb::Hello => return None,
        Verb::Hb => Message::Heartbeat(Heartbeat {
            epoch,
            round,
            role: Role::Primary,
            standing: Standing::Member,
            progress,
            primary: Some(node),
            promise: Duration::ZERO,
            lease: Duration::from_micros(970_297),
            health: Health::Good,
            identity: None,
            pause: None,
        }),
        Verb::Echo => Message::Echo(Echo { epoch, round, primary: None, standing: Standing::New, progress }),
        Verb::PreOffer => Message::PreOffer(offer),
        Verb::Offer => Message::Offer(offer),
        Verb::PreAccept => Message::PreAccept(grant),
        Verb::Accept => Message::Accept(grant),
        Verb::Reject => {
            let (kind, reason) = (OfferKind::Vote, RejectReason::Position);
            Message::Reject(Reject { epoch, round, kind, reason, progress })
        }
        Verb::Announce => Message::Announce(Announce { epoch }),
        Verb::Resign => Message::Resign(Resign { epoch, successor: Some(node) }),
        Verb::Rank => Message::Rank(Seniority { up: Duration::from_secs(86_400), work: 48_213 }),
        Verb::Members => {
            Message::Members(Membership::parse(Generation { epoch, counter: 1 }, "n1,n2,n3@witness").unwrap())
        }
        Verb::Held => Message::Held(Generation { epoch, counter: 1 }),
    })
}
