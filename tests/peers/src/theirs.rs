//! kevy-elect 7.0.0's elector, set up and driven as kevy 7 does it: default timeouts and backoff, every process a replica at
//! first, a tick after every message. Its ticks between messages come far more often than its own transport's 200 ms.

use crate::node::{Data, Input, Node, Outbox, Seat, name};
use crate::{HEARTBEAT_MS, TICK_MS, TIMEOUT_MS};
use kevy_elect::{ElectConfig, Elector, ElectorPersist, Message, NoPersist, Outbound, Role};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub(crate) struct Theirs {
    elector: Elector,
    file: VoteFile,
    seat: Seat,
    ticked: u64,
}

/// kevy's `elect.meta`, in memory: epoch and vote, durable when `save` returns.
#[derive(Debug, Clone, Default)]
pub(crate) struct VoteFile(Arc<Mutex<(u64, Option<String>)>>);

impl ElectorPersist for VoteFile {
    fn save(&self, epoch: u64, voted_for: Option<&str>) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *file = (epoch, voted_for.map(str::to_owned));
    }

    fn load(&self) -> (u64, Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Theirs {
    fn send(&self, outs: Vec<Outbound>, out: &mut Outbox<Message>) {
        for Outbound { to, msg, .. } in outs {
            if to == Outbound::BROADCAST {
                let others = (0..self.seat.nodes).filter(|node| *node != self.seat.me);
                out.extend(others.map(|node| (node, msg.clone())));
            } else {
                out.extend(number(&to, self.seat.nodes).map(|node| (node, msg)));
            }
        }
    }
}

impl Node for Theirs {
    type Message = Message;
    type Disk = VoteFile;

    fn start(seat: Seat, file: VoteFile, data: Data, now: u64, out: &mut Outbox<Message>) -> Self {
        let ids = (0..seat.nodes).map(name).collect();
        let config = ElectConfig::default()
            .with_hb_interval(Duration::from_millis(HEARTBEAT_MS))
            .with_down_after(Duration::from_millis(TIMEOUT_MS));
        let persist: Box<dyn ElectorPersist + Send> =
            if seat.habits.keeps_votes { Box::new(file.clone()) } else { Box::new(NoPersist) };
        // kevy 7 lets every process of a cluster with an elector start as a replica, whatever its configuration says.
        let mut elector = Elector::new(name(seat.me), ids, format!("{}:6004", name(seat.me)), Role::Replica)
            .with_config(config)
            .with_persist(persist);
        elector.set_repl_offset(data.offset);
        let mut node = Self { elector, file, seat, ticked: now };
        node.input(now, Input::Time, out);
        node
    }

    fn input(&mut self, now: u64, input: Input<Message>, out: &mut Outbox<Message>) {
        match input {
            Input::Message(from, message) => {
                let outs = self.elector.on_message(&name(from), message, instant(now));
                self.send(outs, out);
            }
            Input::Data(data) => return self.elector.set_repl_offset(data.offset),
            // It takes no evidence from its links.
            Input::Link(..) => return,
            Input::Time => {}
        }
        self.ticked = now;
        let outs = self.elector.tick(instant(now));
        self.send(outs, out);
    }

    fn wake_at(&self) -> u64 {
        self.ticked + TICK_MS * 1_000_000
    }

    fn into_disk(self) -> VoteFile {
        self.file
    }

    fn office(&self) -> Option<u64> {
        (self.elector.role() == Role::Primary).then(|| self.elector.epoch())
    }

    /// kevy fences a primary that sees no quorum. Asked here at every instant, which is stricter than kevy, who looks when its
    /// elector's thread wakes.
    fn may_write(&self, now: u64) -> bool {
        self.elector.has_quorum(instant(now))
    }

    fn upstream(&self) -> Option<usize> {
        let primary = self.elector.current_primary().and_then(|id| number(id, self.seat.nodes));
        primary.filter(|primary| self.elector.role() != Role::Primary && *primary != self.seat.me)
    }

    fn incarnation(&self) -> u64 {
        self.seat.seed
    }

    fn state(&self) -> (&'static str, u64) {
        (self.elector.role().as_str(), self.elector.epoch())
    }

    fn told(message: &Message) -> Option<String> {
        match message {
            Message::Offer { new_epoch, .. } => Some(format!("OFFER for epoch {new_epoch}")),
            Message::Accept { epoch, .. } => Some(format!("ACCEPT for epoch {epoch}")),
            Message::Announce { epoch, .. } => Some(format!("ANNOUNCE of epoch {epoch}")),
            _ => None,
        }
    }
}

/// It wants instants of the standard library and only ever compares them: any start will do.
fn instant(now: u64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_nanos(now)
}

fn number(id: &str, nodes: usize) -> Option<usize> {
    (0..nodes).find(|node| name(*node) == id)
}
