//! An operator's order to admit a node that lost its vote record, as `kevy-electctl admit` leaves it in the data directory.
//!
//! Whoever can write there can do anything with this node's data anyway; no client and no peer can. It is carried out only
//! while this node has no record and the election finds that it makes sense (A5).

use async_io::Timer;
use kevy_elect_ops::order::Order;
use kevy_elect_plugin::ids::{ClusterId, NodeId};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumPlugin};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a node without a record looks for an order.
const LOOK: Duration = Duration::from_secs(1);

/// Passes orders for `node` on, until it has its record.
pub(super) async fn follow(data_dir: PathBuf, node: NodeId, plugin: Arc<QuorumPlugin>) {
    let mut passed_on: Option<ClusterId> = None;
    loop {
        let snapshot = plugin.snapshot();
        if snapshot.incarnation.0 != 0 && snapshot.standing == Standing::Member {
            // Carried out, or not needed: it must not be there when it is not meant any more.
            let removed = blocking::unblock(move || Order::remove(&data_dir)).await;
            if let Err(error) = removed {
                log::error!(target: "kevy_elect", "elect event=order_stays error={:?}", error.to_string());
            }
            return;
        }
        let dir = data_dir.clone();
        match blocking::unblock(move || Order::read(&dir)).await {
            Ok(Some(order)) if order.node == node && passed_on != Some(order.cluster) => {
                log::warn!(
                    target: "kevy_elect",
                    "elect event=order cluster={} node={node} why=\"an operator wants this node admitted, whatever it may have \
                     forgotten; it waits until all others are heard\"",
                    order.cluster
                );
                passed_on = Some(order.cluster);
                plugin.admit(order.cluster);
            }
            Ok(Some(order)) if order.node != node => {
                log::error!(target: "kevy_elect", "elect event=order_refused for={} node={node}", order.node);
            }
            Ok(_) => {}
            Err(error) => {
                log::error!(target: "kevy_elect", "elect event=order_refused error={:?}", error.to_string())
            }
        }
        Timer::after(LOOK).await;
    }
}
