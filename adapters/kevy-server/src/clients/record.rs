//! Between a command and what is recorded of it.
//!
//! kevy streams and logs a write by its words, with few exceptions. This sees every command before and after it ran,
//! and puts in place of the words what makes every node the same: see `effects.rs`, `scripts.rs` and `expiry.rs`.

use crate::clients::expiry::{Ended, Fields, Keeper};
use kevy::KevyCommands;
use kevy_persist::Routing;
use kevy_resp::ArgvView;
use kevy_rt::propagation::{Propagate, set_override};
use kevy_rt::{Commands, Store};
use std::cell::Cell;
use std::sync::Arc;

/// What one shard needs for it.
pub(crate) struct Record {
    pub(super) keeper: Arc<Keeper>,
    pub(super) routing: Routing,
    pub(super) ended: Ended,
    pub(super) fields: Fields,
    /// Whether there is a limit of memory and keys give way to it.
    pub(super) evicting: Cell<bool>,
}

impl Record {
    pub(crate) fn new(kevy: &KevyCommands, keeper: Arc<Keeper>) -> Self {
        let slots = kevy.state().config().cluster.enabled;
        let routing = if slots { Routing::Slots } else { Routing::KevyHash };
        Self {
            keeper,
            routing,
            ended: Ended::default(),
            fields: Fields::default(),
            evicting: Cell::new(false),
        }
    }

    /// The same for another shard.
    pub(crate) fn fork(&self) -> Self {
        Self {
            keeper: Arc::clone(&self.keeper),
            routing: self.routing,
            ended: Ended::default(),
            fields: Fields::default(),
            evicting: Cell::new(self.evicting.get()),
        }
    }

    /// Whether something ended here that no frame tells of.
    pub(crate) fn has_unrecorded(&self, store: &Store) -> bool {
        self.ended.any() || store.has_expired_keys()
    }

    /// Whether even the simplest write needs a closer look.
    #[inline]
    pub(crate) fn is_alert(&self) -> bool {
        self.evicting.get() || self.ended.any()
    }
}

/// A refused write has changed nothing, and nobody else may do what was refused here.
#[cold]
pub(crate) fn refused<A: ArgvView + ?Sized>(kevy: &KevyCommands, args: &A) {
    if kevy.is_write(args) {
        set_override(Propagate::Suppress);
    }
}
