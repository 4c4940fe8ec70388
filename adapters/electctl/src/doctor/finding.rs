//! What `doctor` finds, and what the nodes said that it looks at.

use crate::client::Look;
use crate::status::word;
use serde_json::Value;
use std::collections::BTreeMap;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether it has to be mended now.
    pub(crate) grave: bool,
    /// Where; empty: the cluster.
    pub(crate) node: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

pub(super) fn finding(
    grave: bool,
    node: impl Into<String>,
    what: impl Into<String>,
    remedy: &str,
) -> Finding {
    Finding { grave, node: node.into(), what: what.into(), remedy: remedy.to_owned() }
}

pub(super) fn answered(looks: &[Look]) -> impl Iterator<Item = (&Look, &Value)> {
    looks.iter().filter_map(|look| Some((look, look.status.as_ref().ok()?)))
}

pub(super) fn facts(looks: &[Look]) -> impl Iterator<Item = (String, &Look, &Value)> {
    looks.iter().filter_map(|look| {
        let facts = look.facts.as_ref()?;
        Some((word(facts, "node"), look, facts))
    })
}

/// The nodes by what they say.
pub(super) fn grouped(looks: &[Look], said: impl Fn(&Value) -> String) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, _, facts) in facts(looks) {
        groups.entry(said(facts)).or_default().push(node);
    }
    groups
}

pub(super) fn told(groups: &BTreeMap<String, Vec<String>>) -> String {
    let of = |(said, nodes): (&String, &Vec<String>)| format!("{} ({said})", nodes.join(", "));
    groups.iter().map(of).collect::<Vec<_>>().join("; ")
}
