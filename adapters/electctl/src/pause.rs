//! `pause`, `resume`: automatic elections in the whole cluster; this waits until a quorum has the order.

use crate::cli::Ordered;
use crate::paint::plain;
use crate::transfer::{PATIENCE, connect};
use kevy_elect_compare::resp::Reply;
use serde_json::json;
use std::time::{Duration, Instant};

/// Until a quorum has to have the order.
const AGREED_MAX: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(what: &Ordered, paused: bool, pages: &[String]) -> Result<String, String> {
    let (mut nodes, silent) = connect(&what.targets.addresses(pages)?)?;
    let word: &[u8] = if paused { b"PAUSE" } else { b"RESUME" };
    let mut refused = silent;
    for node in &mut nodes {
        let order = match node.client.call_within(&[b"ELECT", word], PATIENCE) {
            Ok(Reply::Bulk(order)) => String::from_utf8_lossy(&order).into_owned(),
            Ok(Reply::Error(why)) => {
                refused += &format!("; {}: {}", node.address, plain(why.trim_start_matches("ERR ")));
                continue;
            }
            Ok(other) => return Err(format!("{}: no answer that is known: {other:?}", node.address)),
            Err(error) => {
                refused += &format!("; {}: {error}", node.address);
                continue;
            }
        };
        let (begun, agreed) = (Instant::now(), format!("{order} agreed"));
        while begun.elapsed() < AGREED_MAX {
            match node.client.call_within(&[b"ELECT", b"PAUSED"], PATIENCE) {
                Ok(Reply::Bulk(said)) if said == agreed.as_bytes() => return Ok(told(what, paused, &order)),
                Ok(_) => std::thread::sleep(LOOK),
                Err(error) => {
                    return Err(format!("{}: {error}; `status` tells what became of {order}", node.address));
                }
            }
        }
        return Err(format!(
            "{} took the order {order}, and no quorum has it after {} s, or another order came: `status` tells more",
            node.address,
            AGREED_MAX.as_secs()
        ));
    }
    Err(format!("no node takes the order{refused}"))
}

fn told(what: &Ordered, paused: bool, order: &str) -> String {
    match (what.json, paused) {
        (true, _) => format!("{:#}\n", json!({ "paused": paused, "order": order, "agreed": true })),
        (false, true) => "Automatic elections are paused: a quorum has the order. If the primary fails now, nobody takes over.\n".to_owned(),
        (false, false) => "Automatic elections go on: a quorum has the order.\n".to_owned(),
    }
}
