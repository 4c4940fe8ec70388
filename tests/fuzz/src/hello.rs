//! Any bytes from somebody who has not said who it is: accepted, refused for a typed reason, or more bytes are
//! needed; and however the network cuts them, with the same result (T1 to T4 of `docs/protocol.md`).

use kevy_elect_plugin::ids::{Incarnation, NodeId};
use kevy_elect_plugin::message::{Hello, PROTOCOL};
use kevy_elect_plugin::transport::{RefuseReason, handshake};

/// The bytes as a dialler's first ones, and as the answer of one that was dialled.
pub fn check(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let ours = ours();
    let expected = NodeId::new("n2").expect("a name");

    let accepted = crate::within_a_frame(|| handshake::accept(&ours, bytes));
    match &accepted {
        Ok(Some((theirs, used))) => fits(&ours, theirs, *used, bytes),
        Ok(None) => {}
        Err(refused) => {
            use RefuseReason as R;
            let reason = refused.reason;
            assert!(matches!(reason, R::Garbage | R::TooLarge | R::Protocol | R::Cluster | R::UnknownNode));
            let named = matches!(reason, R::Protocol | R::Cluster | R::UnknownNode);
            assert_eq!(refused.claimed.is_some(), named, "{refused:?}");
        }
    }
    let answered = crate::within_a_frame(|| handshake::answer(&ours, expected, bytes));
    if let Ok(Some((theirs, used))) = &answered {
        fits(&ours, theirs, *used, bytes);
        assert_eq!(theirs.node, expected);
        assert_eq!(accepted, Ok(Some((theirs.clone(), *used))), "whom we dial may dial us");
    }

    // The first piece decides alone, or says that it cannot.
    let piece = &bytes[..bytes.len() * usize::from(*cut) / 256];
    let early = handshake::accept(&ours, piece);
    assert!(early == Ok(None) || early == accepted, "{early:?} from a piece, {accepted:?} from the whole");
    let early = handshake::answer(&ours, expected, piece);
    assert!(early == Ok(None) || early == answered, "{early:?} from a piece, {answered:?} from the whole");
}

/// What this node says of itself.
pub fn ours() -> Hello {
    let node = NodeId::new("n1").expect("a name");
    Hello { protocol: PROTOCOL, cluster: "kevy".to_owned(), node, incarnation: Incarnation(7) }
}

fn fits(ours: &Hello, theirs: &Hello, used: usize, bytes: &[u8]) {
    assert!(used > 0 && used <= bytes.len());
    assert_eq!((theirs.protocol, &theirs.cluster), (ours.protocol, &ours.cluster));
    assert_ne!(theirs.node, ours.node);
}
