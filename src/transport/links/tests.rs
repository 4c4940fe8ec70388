//! Sentences T8 to T15 of `docs/protocol.md`, one by one.

use super::*;

const OLD: Incarnation = Incarnation(1);
const NEW: Incarnation = Incarnation(2);
const HEARTBEAT: Duration = Duration::from_millis(100);

struct Table {
    links: Links,
    peer: NodeId,
    now: Instant,
}

impl Table {
    fn new() -> Self {
        let peer = NodeId::new("b").unwrap();
        let links = Links::new([peer], Duration::from_secs(2)).patient_for(3 * HEARTBEAT);
        Self { links, peer, now: Instant::from_nanos(1) }
    }
    /// So many heartbeats of this node pass.
    fn is_silent_for(&mut self, heartbeats: u32) {
        for _ in 0..heartbeats {
            self.now += HEARTBEAT;
            self.links.look_for_silence(|| self.now);
        }
    }
    fn up(&mut self, direction: Direction, incarnation: Incarnation) -> Result<LinkId, RefuseReason> {
        self.up_at(direction, incarnation, address(1)).map_err(|turned_away| turned_away.reason)
    }
    fn up_at(
        &mut self,
        direction: Direction,
        incarnation: Incarnation,
        at: SocketAddr,
    ) -> Result<LinkId, TurnedAway> {
        self.links.up(direction, self.peer, incarnation, Some(at), self.now)
    }
    fn end(&mut self, direction: Direction, id: LinkId, end: End) {
        self.links.end(direction, self.peer, id, end, self.now);
    }
    fn refused(&mut self, attempt: Option<Attempt>) {
        self.links.connect_refused(self.peer, attempt, address(1));
    }
    fn told(&mut self) -> Vec<LinkEvent> {
        std::iter::from_fn(|| self.links.receive(Waker::noop()))
            .map(|event| match event {
                TransportEvent::Link { event, .. } => event,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

const UP: LinkEvent = LinkEvent::Up { incarnation: OLD };
const UP_NEW: LinkEvent = LinkEvent::Up { incarnation: NEW };
const OLDER_CLOSED: LinkEvent = LinkEvent::OlderClosed { incarnation: OLD };

#[test]
fn t8_a_peer_is_up_with_its_first_link_and_down_with_its_last() {
    let mut t = Table::new();
    let out = t.up(Direction::Out, OLD).unwrap();
    let incoming = t.up(Direction::In, OLD).unwrap();
    assert_eq!(t.told(), [UP]);
    t.end(Direction::Out, out, End::Clean);
    assert_eq!(t.told(), []);
    t.end(Direction::In, incoming, End::Broken);
    assert_eq!(t.told(), [LinkEvent::Closed], "either orderly end is enough");
    t.up(Direction::In, OLD).unwrap();
    assert_eq!(t.told(), [UP]);
}

#[test]
fn t9_resets_on_both_links_are_no_evidence() {
    let mut t = Table::new();
    let (out, incoming) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.end(Direction::In, incoming, End::Broken);
    t.end(Direction::Out, out, End::Broken);
    assert_eq!(t.told(), [UP, LinkEvent::Reset]);
}

#[test]
fn t10_an_orderly_end_counts_no_more_once_that_direction_is_linked_again() {
    let mut t = Table::new();
    let (out, incoming) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.end(Direction::Out, out, End::Clean);
    let out = t.up(Direction::Out, OLD).unwrap();
    t.end(Direction::Out, out, End::Broken);
    t.end(Direction::In, incoming, End::Broken);
    assert_eq!(t.told(), [UP, LinkEvent::Reset]);
}

#[test]
fn t11_a_refusal_counts_only_if_the_attempt_began_after_the_last_link_ended() {
    let mut t = Table::new();
    let never_linked = t.links.attempt(t.peer);
    t.refused(never_linked);
    let (out, incoming) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.end(Direction::Out, out, End::Clean);
    let early = t.links.attempt(t.peer);
    t.end(Direction::In, incoming, End::Clean);
    t.refused(early);
    assert_eq!(t.told(), [UP, LinkEvent::Closed], "begun while a link was still there");
    let attempt = t.links.attempt(t.peer);
    t.refused(attempt);
    t.refused(attempt);
    assert_eq!(t.told(), [LinkEvent::Refused], "once");

    let incoming = t.up(Direction::In, OLD).unwrap();
    t.refused(attempt);
    t.end(Direction::In, incoming, End::Clean);
    t.refused(attempt);
    assert_eq!(t.told(), [UP, LinkEvent::Closed], "an attempt from before the link says nothing");
}

#[test]
fn t12_a_refusal_by_another_address_says_nothing() {
    let mut t = Table::new();
    let out = t.up(Direction::Out, OLD).unwrap();
    t.end(Direction::Out, out, End::Clean);
    let attempt = t.links.attempt(t.peer);
    t.links.connect_refused(t.peer, attempt, address(2));
    assert_eq!(t.told(), [UP, LinkEvent::Closed]);
    t.refused(attempt);
    assert_eq!(t.told(), [LinkEvent::Refused]);
}

#[test]
fn t13_a_newer_incarnation_replaces_all_links_and_silences_the_older() {
    let mut t = Table::new();
    let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.up(Direction::In, NEW).unwrap();
    assert_eq!(t.told(), [UP, LinkEvent::Up { incarnation: NEW }]);
    let message = Message::Announce(crate::message::Announce { epoch: crate::ids::Epoch(1) });
    assert_eq!(t.links.deliver(t.peer, old, message.clone(), Waker::noop()), Ok(()), "taken and dropped");
    t.end(Direction::Out, out, End::Clean);
    assert_eq!(t.told(), [], "it was reset by us");
    t.end(Direction::In, old, End::Clean);
    assert_eq!(t.told(), [OLDER_CLOSED]);
    t.end(Direction::In, old, End::Clean);
    assert_eq!(t.told(), [], "once");
    assert_eq!(t.links.send(t.peer, &message), Err(SendError::NoLink(t.peer)));
}

#[test]
fn t13_an_orderly_end_of_the_older_process_is_told_in_whatever_order_it_comes() {
    // Both ends before the later process: told as ever.
    let mut t = Table::new();
    let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.end(Direction::Out, out, End::Broken);
    t.end(Direction::In, old, End::Clean);
    t.up(Direction::In, NEW).unwrap();
    assert_eq!(t.told(), [UP, LinkEvent::Closed, UP_NEW]);

    // One of the two before, the other never.
    for direction in [Direction::Out, Direction::In] {
        let mut t = Table::new();
        let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
        t.end(direction, if direction == Direction::In { old } else { out }, End::Clean);
        t.up(Direction::In, NEW).unwrap();
        assert_eq!(t.told(), [UP, UP_NEW, OLDER_CLOSED], "{direction:?}");
    }

    // After the later process, which comes and goes itself.
    let mut t = Table::new();
    let old = t.up(Direction::In, OLD).unwrap();
    let new = t.up(Direction::In, NEW).unwrap();
    t.end(Direction::In, new, End::Broken);
    t.end(Direction::In, old, End::Clean);
    assert_eq!(t.told(), [UP, UP_NEW, LinkEvent::Reset, OLDER_CLOSED]);
}

#[test]
fn t13_without_an_orderly_end_nothing_is_told_of_the_older_process() {
    let mut t = Table::new();
    let (out, old) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.end(Direction::Out, out, End::Broken);
    t.up(Direction::In, NEW).unwrap();
    t.end(Direction::In, old, End::Broken);
    t.end(Direction::In, old, End::Clean);
    assert_eq!(t.told(), [UP, UP_NEW]);

    // Linked again after an orderly end, it lives: a middlebox had ended the link.
    let mut t = Table::new();
    let old = t.up(Direction::In, OLD).unwrap();
    t.end(Direction::In, old, End::Clean);
    t.up(Direction::In, OLD).unwrap();
    t.up(Direction::In, NEW).unwrap();
    assert_eq!(t.told(), [UP, LinkEvent::Closed, UP, UP_NEW]);

    // How a link ended that the same process had replaced says nothing.
    let mut t = Table::new();
    let (out, first) = (t.up(Direction::Out, OLD).unwrap(), t.up(Direction::In, OLD).unwrap());
    t.up(Direction::In, OLD).unwrap();
    t.end(Direction::In, first, End::Clean);
    t.end(Direction::Out, out, End::Broken);
    t.up(Direction::In, NEW).unwrap();
    assert_eq!(t.told(), [UP, UP_NEW]);
}

#[test]
fn t13_one_link_of_an_older_process_is_waited_for_at_a_time() {
    let mut t = Table::new();
    let old = t.up(Direction::In, OLD).unwrap();
    let new = t.up(Direction::In, NEW).unwrap();
    assert!(t.links.leaves(t.peer, old, Waker::noop()));
    t.up(Direction::In, Incarnation(3)).unwrap();
    assert!(!t.links.leaves(t.peer, old, Waker::noop()) && t.links.leaves(t.peer, new, Waker::noop()));
    t.end(Direction::In, old, End::Clean);
    t.end(Direction::In, new, End::Clean);
    let up = LinkEvent::Up { incarnation: Incarnation(3) };
    assert_eq!(t.told(), [UP, UP_NEW, up, LinkEvent::OlderClosed { incarnation: NEW }]);
}

#[test]
fn t14_an_older_incarnation_is_refused_until_the_newer_was_gone_for_a_while() {
    let mut t = Table::new();
    let new = t.up(Direction::In, NEW).unwrap();
    assert_eq!(t.up(Direction::In, OLD), Err(RefuseReason::StaleIncarnation));
    t.end(Direction::In, new, End::Clean);
    assert_eq!(t.up(Direction::Out, OLD), Err(RefuseReason::StaleIncarnation));
    t.now += Duration::from_secs(2);
    assert!(t.up(Direction::Out, OLD).is_ok());
}

#[test]
fn a_second_link_of_the_same_process_replaces_the_first_without_a_word() {
    let mut t = Table::new();
    let first = t.up(Direction::In, OLD).unwrap();
    let second = t.up(Direction::In, OLD).unwrap();
    t.end(Direction::In, first, End::Clean);
    assert_eq!(t.told(), [UP]);
    t.end(Direction::In, second, End::Broken);
    assert_eq!(t.told(), [LinkEvent::Reset], "how the replaced one ended does not count");
}

#[test]
fn t25_a_linked_peer_that_says_nothing_is_called_for_once_until_it_is_heard() {
    let mut t = Table::new();
    let message = Message::Announce(crate::message::Announce { epoch: crate::ids::Epoch(1) });
    t.up(Direction::Out, OLD).unwrap();
    t.is_silent_for(10);
    assert_eq!(t.links.beside_called(t.peer), None, "it cannot send yet");
    let incoming = t.up(Direction::In, OLD).unwrap();
    let called = |t: &mut Table, hears: bool| {
        if hears {
            t.links.deliver(t.peer, incoming, message.clone(), Waker::noop()).unwrap();
        }
        t.is_silent_for(1);
        t.links.beside_called(t.peer) == Some(Beside::Silent)
    };
    assert_eq!([true, true, true, false, false].map(|hears| called(&mut t, hears)), [false; 5]);
    assert!(called(&mut t, false));
    assert_eq!([false; 20].map(|hears| called(&mut t, hears)), [false; 20], "once");
    assert_eq!([true, false, false].map(|hears| called(&mut t, hears)), [false; 3]);
    assert!(called(&mut t, false), "again");
}

#[test]
fn t25_whoever_is_dialled_beside_its_link_answers_in_kind_at_most_once_a_second() {
    let mut t = Table::new();
    t.up(Direction::Out, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    assert_eq!(t.links.beside_called(t.peer), None, "our own link is young");
    t.now += Duration::from_secs(1);
    t.up(Direction::In, OLD).unwrap();
    assert_eq!(t.links.beside_called(t.peer), Some(Beside::Answer));
    t.up(Direction::Out, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    assert_eq!(t.links.beside_called(t.peer), None, "two nodes must not call each other for ever");
    assert_eq!(t.told(), [UP]);
}

#[test]
fn t31_a_later_process_at_another_address_is_refused_while_the_earlier_one_lives() {
    let elsewhere = SocketAddr::from(([10, 0, 0, 3], 1));
    let mut t = Table::new();
    t.up(Direction::Out, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    t.told();
    for direction in [Direction::In, Direction::Out] {
        let TurnedAway { claimed, reason, detail } = t.up_at(direction, NEW, elsewhere).unwrap_err();
        assert_eq!((claimed, reason), (Some(t.peer), RefuseReason::Doubled));
        let detail = detail.unwrap();
        assert!(detail.contains("127.0.0.1") && detail.contains("10.0.0.3"), "{detail}");
    }
    assert_eq!(t.told(), [], "the link is as it was");
    assert!(
        t.up_at(Direction::In, OLD, elsewhere).is_ok(),
        "the same process may come from wherever it likes"
    );

    // One of its links is enough to live.
    let mut t = Table::new();
    let out = t.up(Direction::Out, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    t.end(Direction::Out, out, End::Broken);
    assert!(t.up_at(Direction::In, NEW, elsewhere).is_err());

    // A process that is gone, or says nothing any more, is followed by one from anywhere.
    let mut t = Table::new();
    let gone = t.up(Direction::In, OLD).unwrap();
    t.end(Direction::In, gone, End::Clean);
    assert!(t.up_at(Direction::In, NEW, elsewhere).is_ok());
    let mut t = Table::new();
    t.up(Direction::Out, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    t.is_silent_for(4);
    assert!(t.up_at(Direction::In, NEW, elsewhere).is_ok());
}

#[test]
fn t31_a_process_that_was_started_anew_at_its_address_waits_for_nothing() {
    let mut t = Table::new();
    t.up(Direction::Out, OLD).unwrap();
    t.up(Direction::In, OLD).unwrap();
    t.told();
    t.up_at(Direction::In, NEW, address(77)).unwrap();
    assert_eq!(t.told(), [UP_NEW]);
}
