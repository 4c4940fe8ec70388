//! A change of who votes: what is asked for, why it does not begin, and what it waits for. Sentences in `docs/protocol.md`, "Membership".

use crate::fence::FenceReason;
use crate::ids::NodeId;
use std::fmt;

/// What an operator wants: one voter more, or one less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MembersChange {
    /// This node, which has no vote, has one from then on. It holds data and has caught up, or it is a witness.
    Add(NodeId),
    /// This node has none from then on. It goes on as an observer until it is ended.
    Remove(NodeId),
}

impl MembersChange {
    /// Whom it is about.
    pub const fn node(self) -> NodeId {
        match self {
            Self::Add(node) | Self::Remove(node) => node,
        }
    }
}

impl fmt::Display for MembersChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(node) => write!(f, "add {node}"),
            Self::Remove(node) => write!(f, "remove {node}"),
        }
    }
}

/// Why a change of who votes does not begin. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRefused {
    /// Only the primary changes who votes.
    #[error("this node is not primary{}", Whom(*.primary))]
    NotPrimary {
        /// Whom to ask.
        primary: Option<NodeId>,
    },
    /// It does not serve yet, or not now.
    #[error("this primary takes no writes now{}: try again when it does", Why(*.0))]
    Fenced(Option<FenceReason>),
    /// One at a time.
    #[error("another change, or a transfer, is under way: wait for its end")]
    Underway,
    /// It is in no list of this node.
    #[error(
        "{0} is unknown to this node: add its entry to the file of every node, and have them read it (`members reload`), first"
    )]
    Unknown(NodeId),
    /// There is nothing to add.
    #[error("{0} votes already")]
    Votes(NodeId),
    /// There is nothing to remove.
    #[error("{0} has no vote")]
    HasNoVote(NodeId),
    /// A primary does not take its own vote.
    #[error("{0} is the primary: transfer its office first")]
    Reigns(NodeId),
    /// Nobody could be elected, or the list is too long.
    #[error("the voters would be no list that can be: at least one holds data, and at most 127 are counted")]
    Impossible,
}

/// Why a member that a node's file did not name when it started is not made known to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeetRefused {
    /// Nothing is known of members yet.
    #[error("the election has not started: try again when it has")]
    NotStarted,
    /// Its links are those of its start.
    #[error("the transport of this node takes up no peers while it runs: restart it")]
    Transport,
    /// There is no room.
    #[error("there are as many members as there may be")]
    TooMany,
}

/// What a change waits for. When the time is over, nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Hindrance {
    /// It has no lease, or hands over.
    #[error("this primary takes no writes")]
    Fenced,
    /// M3: no list from before may be able to elect anybody any more.
    #[error("a quorum of the voters has not said yet that it has the present list")]
    Unsettled,
    /// It would count by its file, whatever the lists say.
    #[error("{0} does not say by which list it counts: it is of a release before")]
    OlderRelease(NodeId),
    /// What was confirmed by the present voters could be lost.
    #[error("a quorum of the voters does not hold yet what was written before the change was asked for")]
    Behind,
    /// The node that is to vote could not do so now.
    #[error("{0} is not heard, or has not said that it has the present list")]
    NotHeard(NodeId),
    /// The node that is to vote lacks what was written before the change was asked for (M5).
    #[error("{0} has not caught up")]
    NotCaughtUp(NodeId),
    /// Writes would stop.
    #[error("of the voters that there would be {heard} are heard, and {quorum} are needed")]
    TooFew {
        /// How many are heard, this one included.
        heard: usize,
        /// How many are needed.
        quorum: usize,
    },
    /// It is made, and nobody else has it yet.
    #[error("the new list is made, and a quorum of its voters has not said yet that it has it")]
    Untold,
    /// The office ended.
    #[error("this node lost its office: look at what the next primary has")]
    Overtaken,
}

struct Whom(Option<NodeId>);

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(primary) => write!(f, ", ask {primary}"),
            None => f.write_str(", and knows of none"),
        }
    }
}

struct Why(Option<FenceReason>);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(reason) => write!(f, " ({})", reason.as_str()),
            None => Ok(()),
        }
    }
}
