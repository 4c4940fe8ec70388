//! Where the members are, as each node says it.

use super::finding::{Finding, answered, finding, told};
use crate::client::Look;
use crate::status::{list, word};
use std::collections::BTreeMap;

/// Two addresses of one member: one of the nodes was not told that it moved, or not where to.
pub(super) fn places(looks: &[Look]) -> Vec<Finding> {
    // Whose, and what for; then where, and who says so.
    let mut places: BTreeMap<(String, &str), BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (_, status) in answered(looks) {
        let own = (word(status, "node"), status);
        let peers = list(status, "peers").map(|peer| (word(peer, "id"), peer));
        for (member, at) in peers.chain([own.clone()]) {
            for (key, what) in [("election", "for elections"), ("clients", "for clients")] {
                if at[key].is_string() {
                    let said = places.entry((member.clone(), what)).or_default();
                    said.entry(word(at, key)).or_default().push(own.0.clone());
                }
            }
        }
    }
    let differ = places.into_iter().filter(|(_, said)| said.len() > 1);
    differ
        .map(|((member, what), said)| {
            let remedy = "If it has moved, put its new place into the files of all, and have the running nodes read them: `kevy-electctl members \
                          reload`, or SIGHUP (`systemctl reload`), which is the only way for a witness; where a node itself is takes its own \
                          restart. Two names of one place do no harm: make them alike. docs/operations.md, \"Moving to other machines\".";
            finding(false, member, format!("is at different places {what}: {}", told(&said)), remedy)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What a node says of itself, and of one peer.
    fn saying(own: (&str, Value), peer: (&str, Value)) -> Look {
        let (mut status, mut listed) = (own.1, peer.1);
        (status["node"], listed["id"]) = (json!(own.0), json!(peer.0));
        status["peers"] = json!([listed]);
        Look::saying(status)
    }

    fn at(port: u16) -> Value {
        json!({ "election": format!("h:{port}"), "clients": format!("h:{}", port + 1000) })
    }

    #[test]
    fn a_member_that_two_nodes_look_for_at_different_places_is_named_with_both() {
        let of = |n1: Value, n2: Value, n2_here: Value| {
            places(&[saying(("n1", n1), ("n2", n2)), saying(("n2", n2_here), ("n1", at(6201)))])
        };
        assert_eq!(of(at(6201), at(6202), at(6202)), []);
        // A witness has no data, and an older node does not say where anybody is.
        assert_eq!(
            of(at(6201), json!({ "election": "h:6202" }), json!({ "election": "h:6202", "clients": null })),
            []
        );
        assert_eq!(of(json!({}), at(6202), json!({})), []);

        let moved = of(at(6201), at(6202), at(7202));
        let whats: Vec<_> = moved.iter().map(|one| (one.node.as_str(), one.what.as_str())).collect();
        assert_eq!(
            whats,
            [
                ("n2", "is at different places for clients: n1 (h:7202); n2 (h:8202)"),
                ("n2", "is at different places for elections: n1 (h:6202); n2 (h:7202)"),
            ]
        );
        assert!(moved.iter().all(|one| !one.grave && one.remedy.contains("SIGHUP")));
    }
}
