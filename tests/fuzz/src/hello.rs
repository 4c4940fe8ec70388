//! Any bytes from somebody who has not said who it is, into the greeting that every transport runs: taken up, turned away for a typed
//! reason, or more bytes are needed; and however the network cuts them, with the same result. What follows a good greeting is
//! messages, or the end of the link (T1 to T4 and T17 of `docs/protocol.md`).

use kevy_elect_plugin::ids::{Incarnation, NodeId};
use kevy_elect_plugin::message::{Hello, Message, PROTOCOL};
use kevy_elect_plugin::transport::RefuseReason;
use kevy_elect_plugin::transport::greeting::{Greeting, TurnedAway};
use kevy_elect_plugin::transport::session::Plain;

/// What became of a connection.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// More bytes are needed before it is known who is there.
    Unknown,
    TurnedAway(TurnedAway),
    /// Who is there, what came then, and why the link is reset, if it is.
    Linked(Hello, Vec<Message>, Option<RefuseReason>),
}

/// The bytes as a dialler's first ones, and as the answer of one that was dialled.
pub fn check(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let ours = ours();
    let pieces = bytes.split_at(bytes.len() * usize::from(*cut) / 256);
    let (accept, dial) = (|| accepts(&ours), || dials(&ours));

    let accepted = outcome(accept(), &[bytes]);
    match &accepted {
        Outcome::Linked(theirs, ..) => fits(&ours, theirs),
        Outcome::Unknown => {}
        Outcome::TurnedAway(TurnedAway { claimed, reason, .. }) => {
            use RefuseReason as R;
            assert!(matches!(reason, R::Garbage | R::TooLarge | R::Protocol | R::Cluster | R::UnknownNode));
            let named = matches!(reason, R::Protocol | R::Cluster | R::UnknownNode);
            assert_eq!(claimed.is_some(), named, "{accepted:?}");
        }
    }
    let dialled = outcome(dial(), &[bytes]);
    if let Outcome::Linked(theirs, messages, _) = &dialled {
        fits(&ours, theirs);
        assert_eq!(
            (theirs.node, messages.len()),
            (expected(), 0),
            "nothing travels towards the one who dialled"
        );
        let known = matches!(&accepted, Outcome::Linked(accepted, ..) if accepted == theirs);
        assert!(known, "whom we dial may dial us: {accepted:?}");
    }
    assert_eq!(outcome(accept(), &[pieces.0, pieces.1]), accepted, "in two pieces");
    assert_eq!(outcome(dial(), &[pieces.0, pieces.1]), dialled, "in two pieces");
}

fn accepts(ours: &Hello) -> Greeting<'_> {
    Greeting::accept(ours, Box::new(Plain::default()))
}

fn dials(ours: &Hello) -> Greeting<'_> {
    let mut said = Vec::new();
    let greeting = Greeting::dial(ours, expected(), Box::new(Plain::default()), &mut said);
    assert!(!said.is_empty(), "who dials speaks first");
    greeting.unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn outcome(mut greeting: Greeting<'_>, pieces: &[&[u8]]) -> Outcome {
    let mut pieces = pieces.iter();
    let (mut rest, mut answer): (&[u8], _) = (&[], Vec::new());
    let theirs = loop {
        match crate::bound::within_a_frame(|| greeting.hear(&mut answer)) {
            Ok(Some(theirs)) => break theirs,
            Err(turned_away) => return Outcome::TurnedAway(turned_away),
            Ok(None) if rest.is_empty() => match pieces.next() {
                Some(piece) => rest = piece,
                None => return Outcome::Unknown,
            },
            Ok(None) => rest = &rest[greeting.channel().put(rest)..],
        }
    };
    assert!(answer.is_empty(), "nothing is said before it is known to whom");
    let mut channel = greeting.admit(&mut answer).unwrap_or_else(|refused| panic!("{refused:?}"));
    let mut messages = Vec::new();
    loop {
        match crate::bound::within_a_frame(|| channel.message()) {
            Ok(Some(message)) => messages.push(message),
            Err(reason) => return Outcome::Linked(theirs, messages, Some(reason)),
            Ok(None) if rest.is_empty() => match pieces.next() {
                Some(piece) => rest = piece,
                None => return Outcome::Linked(theirs, messages, None),
            },
            Ok(None) => {
                let put = channel.put(rest);
                assert!(put > 0, "no room, and no frame in what is there");
                rest = &rest[put..];
            }
        }
    }
}

/// What this node says of itself.
pub fn ours() -> Hello {
    let node = NodeId::new("n1").expect("a name");
    Hello {
        protocol: PROTOCOL,
        cluster: "kevy".to_owned(),
        node,
        incarnation: Incarnation(7),
        terms: String::new(),
        pass: None,
    }
}

fn expected() -> NodeId {
    NodeId::new("n2").expect("a name")
}

fn fits(ours: &Hello, theirs: &Hello) {
    assert_eq!((theirs.protocol, &theirs.cluster), (ours.protocol, &ours.cluster));
    assert_ne!(theirs.node, ours.node);
}
