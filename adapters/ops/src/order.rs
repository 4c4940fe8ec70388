//! An operator's order to a node that lost its vote record: a file in its data directory, left there by `kevy-electctl admit`.
//!
//! Whoever can write there can do anything with this node's data anyway; no client and no peer can. It is carried out only
//! while this node has no record and the election finds that it makes sense (A5).

use crate::own_file;
use async_io::Timer;
use kevy_elect_plugin::ids::{ClusterId, NodeId};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumPlugin};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Below the data directory.
const FILE: &str = "elect/admit";
/// Longer than any order.
const BYTES_MAX: u64 = 256;
/// How often a node without a record looks for an order.
const LOOK: Duration = Duration::from_secs(1);

/// Admit this node to this cluster, whatever it may have forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The node that is meant: an order that was copied with a directory is for nobody else.
    pub node: NodeId,
    /// The cluster that it belonged to.
    pub cluster: ClusterId,
}

impl Order {
    /// Leaves it for the node whose data is in `data_dir`.
    pub fn leave(&self, data_dir: &Path) -> io::Result<PathBuf> {
        let file = data_dir.join(FILE);
        own_file::replace(
            &file,
            format!("admit {} {}\n", self.node, self.cluster).as_bytes(),
            own_file::SHOWN,
        )?;
        Ok(file)
    }

    /// The one that was left there.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        let text = match own_file::read(&data_dir.join(FILE), BYTES_MAX, own_file::SHOWN) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = || io::Error::new(ErrorKind::InvalidData, format!("{FILE} is not an order"));
        let text = std::str::from_utf8(&text).map_err(|_| wrong())?;
        let order = text.strip_prefix("admit ").and_then(|text| text.strip_suffix('\n')).and_then(|text| {
            let (node, cluster) = text.split_once(' ')?;
            Some(Self { node: NodeId::new(node).ok()?, cluster: ClusterId::from_digits(cluster.as_bytes())? })
        });
        order.map(Some).ok_or_else(wrong)
    }

    /// Takes it away, if it is there.
    pub fn remove(data_dir: &Path) -> io::Result<()> {
        own_file::remove(&data_dir.join(FILE))
    }
}

/// Passes orders for `node` on, until it has its record.
pub async fn follow(data_dir: PathBuf, node: NodeId, plugin: Arc<QuorumPlugin>) {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_order_comes_out_as_it_went_in_and_anything_else_is_none() {
        let dir = std::env::temp_dir().join(format!("kevy-elect-order-{}", std::process::id()));
        fs::create_dir_all(dir.join("elect")).unwrap();
        assert_eq!(Order::read(&dir).unwrap(), None);
        let order = Order { node: NodeId::new("n1").unwrap(), cluster: ClusterId::from_bits(7) };
        order.leave(&dir).unwrap();
        assert_eq!(Order::read(&dir).unwrap(), Some(order));
        for wrong in ["", "admit n1\n", "admit n1 7\n", "admit n@1 x\n", &"x".repeat(9000)] {
            fs::write(dir.join(FILE), wrong).unwrap();
            assert_eq!(Order::read(&dir).unwrap_err().kind(), ErrorKind::InvalidData, "{wrong:?}");
        }
        Order::remove(&dir).unwrap();
        Order::remove(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
