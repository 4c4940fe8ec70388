//! The elector: decides which node may write. Pure: it has no socket, no file, no clock and no thread, draws random
//! numbers only from the seed that it was given, and allocates nothing on the path of heartbeats.
//!
//! **The one rule.** Call a `handle_*` method with the present time; then drain [`Elector::poll_output`]
//! until it says `None`, carrying the outputs out in their order; then copy [`Elector::gate`] to the write
//! gate *before* anything is sent; then wait for the next input or [`Elector::next_timeout`], whichever
//! comes first. The same inputs at the same times give the same outputs, on every machine.
//!
//! Inputs are grouped: `handle_*` change state; `poll_output` and `next_timeout` say what to do; the rest
//! only look. `now` never goes back: an earlier value counts as the latest one seen. Early, late and
//! repeated calls of [`Elector::handle_timeout`] do no harm.
//!
//! Invariants, checked in the simulator after every step (sentences of `docs/protocol.md`):
//!
//! 1. A vote is in an acknowledged [`Output::Persist`] before it is in a [`Output::Send`].
//! 2. One vote per epoch; epochs never go back.
//! 3. The gate is open only on a primary, within its lease.
//! 4. While a promise holds, no vote and no pre-vote goes to another node.
//! 5. Only configured voters count, by the identity of the link.
//!
//! How it is made: each part owns what it knows, and only its own methods change that. `Record` has the epoch, the vote, and
//! what of both is durable; `Promises`, `Lease`, `Campaign`, `Reign`, `Peers` and the others are what they are called. [`Elector`]
//! is all of them together, and the rules of the protocol, in `rules`, say what happens to them when something comes in.

mod admission;
mod approach;
mod campaign;
mod changing;
mod data;
mod failback;
mod fitness;
mod io;
mod judging;
mod last_round;
mod lease;
mod machine;
mod mutation;
mod peer;
mod peers;
mod primary;
mod promise;
mod rank;
mod record;
mod reign;
mod rules;
mod state;
mod status;
mod timers;
mod voters;

pub use crate::fence::GateState;
pub use io::{Command, DetachSeq, HostAction, HostReport, Output, PersistSeq, Receivers};
pub use machine::Elector;
#[cfg(feature = "sim")]
pub use mutation::Mutation;
#[cfg(feature = "sim")]
pub use rules::{Rounds, digest_message};
pub(crate) use status::Signs;
pub use status::{PeerStatus, Status};
