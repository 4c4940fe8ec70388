//! What a system has to be, to be put into the world.

use kevy_elect_plugin::elector::Mutation;
use kevy_elect_plugin::link::LinkEvent;

/// How far a server's data goes. Offsets go on growing over promotions: kevy counts anew at each, which makes its elector prefer
/// old data to new. Here it is spared that, so that what is counted is elections and not offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Data {
    /// The epoch of the primary whose history this is.
    pub(crate) stream: u64,
    pub(crate) offset: u64,
}

/// What differs between set-ups of one system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Whether what it saves is there after a crash.
    pub(crate) keeps_votes: bool,
    /// What this project's elector does wrong.
    pub(crate) mutation: Option<Mutation>,
}

/// Where a process sits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) me: usize,
    pub(crate) nodes: usize,
    pub(crate) habits: Habits,
    /// Differs from process to process.
    pub(crate) seed: u64,
}

/// What comes to a process.
pub(crate) enum Input<M> {
    /// What it waited for is due.
    Time,
    Message(usize, M),
    Link(usize, LinkEvent),
    Data(Data),
}

/// A process of a system under test. Times are nanoseconds of virtual time.
pub(crate) trait Node: Sized {
    type Message: Clone;
    /// What survives a crash.
    type Disk: Default;

    fn start(seat: Seat, disk: Self::Disk, data: Data, now: u64, out: &mut Outbox<Self::Message>) -> Self;
    fn input(&mut self, now: u64, input: Input<Self::Message>, out: &mut Outbox<Self::Message>);
    /// When it wants to be called, if nothing else comes first.
    fn wake_at(&self) -> u64;
    fn into_disk(self) -> Self::Disk;

    /// The epoch of the office that it believes to hold.
    fn office(&self) -> Option<u64>;
    /// Whether it would let a write pass now. Asked of nodes in office only.
    fn may_write(&self, now: u64) -> bool;
    /// Whose data its server copies.
    fn upstream(&self) -> Option<usize>;
    /// Which start of its process, as its greeting would say.
    fn incarnation(&self) -> u64;
    /// For people: its role and epoch.
    fn state(&self) -> (&'static str, u64);
    /// For people: what a message that matters says. Heartbeats do not.
    fn told(message: &Self::Message) -> Option<String>;
}

/// What a process wants to be sent, and to whom.
pub(crate) type Outbox<M> = Vec<(usize, M)>;

/// As people and electors call a node.
pub(crate) fn name(node: usize) -> String {
    format!("n{}", node + 1)
}
