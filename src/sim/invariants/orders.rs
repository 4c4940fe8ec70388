//! F7: the gate opens once the host serves as primary of this epoch; F8: a newer promotion, retarget or fence
//! drops an older promotion or retarget, and what the host is told to be never goes back to an older epoch.
//!
//! Only the driver can break these, so only the whole stack is judged by them.

use super::found::Found;
use crate::ids::Epoch;
use std::fmt::Debug;

#[derive(Debug)]
pub(in crate::sim) struct Orders;

const NAME: &str = "host calls in order (F8)";

impl Orders {
    /// The gate lets a write pass.
    pub(in crate::sim) fn on_open(&self, node: usize, epoch: Epoch, promoted: Option<Epoch>) -> Found {
        (promoted != Some(epoch)).then(|| {
            let text = format!("n{node} lets writes pass in epoch {epoch}; its host serves {promoted:?}");
            ("opens once promoted (F7)", text)
        })
    }

    /// A promotion or retarget begins.
    pub(in crate::sim) fn on_order(
        &self,
        node: usize,
        order: impl Debug,
        running: Option<impl Debug>,
        epoch: Epoch,
        newest: Epoch,
    ) -> Found {
        if let Some(running) = running {
            return Some((NAME, format!("n{node}: {order:?} begins while {running:?} runs")));
        }
        (epoch < newest)
            .then(|| (NAME, format!("n{node}: {order:?} begins after an order of epoch {newest}")))
    }

    /// A fence begins.
    pub(in crate::sim) fn on_fence(&self, node: usize, epoch: Epoch, running: Option<impl Debug>) -> Found {
        running.map(|running| (NAME, format!("n{node} is fenced in epoch {epoch} while {running:?} runs")))
    }
}
