//! Redis Sentinel's protocol, answered by every node of a cluster that elects its primary.
//!
//! Clients of Redis know two ways to find a primary that moves: a proxy, or Sentinel. Here each node says, on a port of its own,
//! what Sentinel would say, out of what its election knows. So an unmodified client follows a failover by itself, and there is no
//! further process to run.
//!
//! ```text
//! members.rs    who is in the cluster, and where clients reach it
//! view.rs       what this node knows now, and for how long it may say so
//! switch.rs     when clients are told of a new primary, and in which words
//! reply.rs      RESP2 and RESP3
//! commands/     one client's commands: bytes in, bytes out, no socket
//! forward.rs    a command that only the primary can carry out, asked of any node
//! pubsub.rs     what a client listens for
//! server.rs     sockets, on a thread that shares nothing with the election
//! ```
//!
//! What each answer promises is in `docs/clients.md`.

mod commands;
mod forward;
mod limits;
mod members;
mod pubsub;
mod reply;
mod server;
mod switch;
mod view;

pub use members::{Member, Members, MembersError};
pub use server::{Handle, Settings, serve};
pub use view::{Source, View};
