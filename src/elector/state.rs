//! What this node is doing about the office: nothing, asking for it, or holding it.

use super::campaign::Campaign;
use super::reign::Reign;
use crate::message::Role;

#[derive(Debug, Clone)]
pub(super) enum State {
    Replica,
    Campaigning(Campaign),
    Reigning(Reign),
}

impl State {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Replica => Role::Replica,
            Self::Campaigning(_) => Role::Candidate,
            Self::Reigning(reign) if reign.promoted() => Role::Primary,
            Self::Reigning(_) => Role::Promoting,
        }
    }

    pub(super) fn campaign(&self) -> Option<&Campaign> {
        match self {
            Self::Campaigning(campaign) => Some(campaign),
            _ => None,
        }
    }

    pub(super) fn reign(&self) -> Option<&Reign> {
        match self {
            Self::Reigning(reign) => Some(reign),
            _ => None,
        }
    }

    pub(super) fn campaign_mut(&mut self) -> Option<&mut Campaign> {
        match self {
            Self::Campaigning(campaign) => Some(campaign),
            _ => None,
        }
    }

    pub(super) fn reign_mut(&mut self) -> Option<&mut Reign> {
        match self {
            Self::Reigning(reign) => Some(reign),
            _ => None,
        }
    }
}
