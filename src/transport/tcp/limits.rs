//! Bounds of links over TCP.

use crate::time::Duration;

/// How long a connection may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the first attempt after a loss may take, or twice as long as the last connection took. A connection
/// request that reaches a socket which is
/// just being closed gets no answer at all, and the kernel repeats it only a second later: the next attempt
/// is refused at once.
pub(crate) const CONNECT_AFTER_LOSS_TIMEOUT: Duration = Duration::from_millis(25);
/// For how long after a loss the peer is looked for only where it was.
pub(crate) const LOOK_BACK: Duration = Duration::from_secs(1);
/// How long an attempt waits for a name server before it goes where the peer was last. The look-up goes on.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an attempt beside an established link may take to connect, and the time from one to the next. Each is a fresh request: the
/// kernel would repeat one only after a second.
pub(crate) const BESIDE_TIMEOUT: Duration = Duration::from_millis(100);
/// How long either end waits for the other's `HELLO`.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long written bytes may go unconfirmed before the link counts as broken. Short, because after a
/// partition a new connection carries messages sooner than an old one, whose retries come ever later.
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a link may be silent before the kernel asks whether the peer is there, and between questions.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How many such questions may go unanswered.
pub(crate) const KEEPALIVE_PROBES_MAX: u32 = 2;
/// The shortest time between two attempts, also when there is a reason to try at once.
pub(crate) const RETRY_SPACING_MIN: Duration = Duration::from_millis(1);
/// A link that lived shorter than this does not reset the pause: two ends that agree to connect and then
/// to hang up must not do so in a tight loop.
pub(crate) const LINK_STABLE: Duration = Duration::from_millis(100);
/// The most addresses of one host name that are tried in one attempt.
pub(crate) const ADDRESSES_MAX: usize = 8;
/// The most connections that have not said `HELLO`. One more, and the oldest of them is closed: an honest
/// peer says it within a round trip, so strangers cannot keep it out by just holding connections.
pub const HELLO_PENDING_MAX: usize = 32;
/// The pause after the system would not give us a connection (it is out of file descriptors, mostly).
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long [`Transport::close`](crate::transport::Transport::close) waits for queued messages to be written.
pub(crate) const CLOSE_FLUSH_MAX: Duration = Duration::from_millis(200);
/// How long the end of an earlier process's link is waited for after a later process has said `HELLO`. A lost packet is
/// sent again within that time.
pub(crate) const LATE_END_WAIT: Duration = Duration::from_secs(1);
/// What one peer may send within [`ALLOWANCE_WINDOW`]; beyond it is not read until that is over. An honest one with the shortest heartbeats
/// there are sends 200 frames in that time, and an offer or an answer now and then.
pub const FRAMES_PER_WINDOW_MAX: u32 = 2048;
/// For so many frames counts one that asks for something or answers that: it makes the receiver decide, speak and perhaps save.
pub const DECISION_FRAMES: u32 = 8;
/// The same in bytes: frames of verbs that are not known have no other price.
pub const BYTES_PER_WINDOW_MAX: usize = 512 * 1024;
/// How long the allowance of a peer is for.
pub const ALLOWANCE_WINDOW: Duration = Duration::from_millis(100);
/// Greetings that are heard within [`ALLOWANCE_WINDOW`] from hosts of peers, and as many from all others together. Each costs a tenth of a
/// millisecond where links have keys, so all of them take a tenth of a processor each way.
pub const GREETINGS_PER_WINDOW_MAX: u32 = 100;
