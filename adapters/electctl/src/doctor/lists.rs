//! Who is in the cluster and who votes, as the nodes' records and files say it.

use super::finding::{Finding, answered, finding, grouped, told};
use crate::client::Look;
use crate::status::{list, word};
use kevy_elect_plugin::config::Member;
use serde_json::Value;
use std::collections::BTreeMap;

/// Lists of voters, by which the nodes count.
pub(super) fn records(looks: &[Look]) -> Vec<Finding> {
    let mut lists: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (_, status) in answered(looks).filter(|(_, status)| status["generation"].is_string()) {
        let voters: Vec<String> =
            list(status, "voters").map(|voter| voter.as_str().unwrap_or("?").to_owned()).collect();
        let nodes =
            lists.entry(word(status, "generation")).or_default().entry(voters.join(", ")).or_default();
        nodes.push(word(status, "node"));
    }
    let mut found: Vec<Finding> = lists
        .values()
        .filter(|of_one| of_one.len() > 1)
        .map(|of_one| {
            let remedy = "The files differed when the cluster was formed, and then two primaries are possible. Stop the odd one, \
                          correct its file, and start it with an empty data directory. docs/runbooks.md, KevyElectTermsDiffer.";
            finding(true, "", format!("nodes count by different voters: {}", told(of_one)), remedy)
        })
        .collect();
    if lists.len() > 1 {
        let by: Vec<String> = lists
            .iter()
            .flat_map(|(generation, of_one)| of_one.values().map(move |nodes| (generation, nodes)))
            .map(|(generation, nodes)| format!("{} ({generation})", nodes.join(", ")))
            .collect();
        let remedy = "One that is linked is told the later one within a second or two. If it stays, look at its links, and at its disk.";
        found.push(finding(
            false,
            "",
            format!("nodes have lists of voters of different generations: {}", by.join("; ")),
            remedy,
        ));
    }
    found
}

/// Lists and times as each node's file says them.
pub(super) fn files(looks: &[Look]) -> Vec<Finding> {
    let list_of = |facts: &Value| {
        // A node that prefers itself alone does not differ (W19).
        let priority = |member: &Value| match member["priority"].as_u64() {
            Some(priority) if priority == u64::from(Member::PRIORITY_PREFERRED) => {
                Member::PRIORITY_DEFAULT.to_string()
            }
            _ => word(member, "priority"),
        };
        let mut all: Vec<String> = list(facts, "members")
            .map(|member| format!("{} {} {}", word(member, "id"), word(member, "kind"), priority(member)))
            .collect();
        all.sort();
        all.join(", ")
    };
    // What has to be alike, which is not the lease: a node that is never primary has one of its own.
    let times_of =
        |facts: &Value| format!("election_timeout_ms {}", word(&facts["times"], "election_timeout_ms"));
    let mut found = Vec::new();
    let by_list = grouped(looks, list_of);
    if by_list.len() > 1 {
        let remedy = "Make the files alike and restart the odd one. Who votes stands in the records and is the same meanwhile; \
                      but a node whose file lacks another one has no link to it, and one whose file lacks a voter does not start again. \
                      docs/runbooks.md, KevyElectTermsDiffer.";
        found.push(finding(
            false,
            "",
            format!("the files of nodes name different members: {}", told(&by_list)),
            remedy,
        ));
    }
    let by_times = grouped(looks, times_of);
    if by_times.len() > 1 {
        let remedy = "Make the files alike and restart the odd one.";
        found.push(finding(
            false,
            "",
            format!("the files of nodes name different times: {}", told(&by_times)),
            remedy,
        ));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes(said: [(&str, &str); 3]) -> Vec<Look> {
        let look = |(number, (generation, voters)): (usize, (&str, &str))| {
            let voters: Vec<&str> = voters.split(',').collect();
            Look::saying(json!({ "node": format!("n{number}"), "generation": generation, "voters": voters }))
        };
        said.into_iter().enumerate().map(look).collect()
    }

    #[test]
    fn lists_of_one_generation_that_differ_are_grave_and_an_older_one_is_not() {
        let same = ("3:1", "n0,n1,n2");
        assert_eq!(records(&nodes([same, same, same])).len(), 0);
        let older = records(&nodes([same, same, ("0:0", "n0,n1")]));
        assert!(
            older.len() == 1 && !older[0].grave && older[0].what.contains("n2 (0:0)"),
            "{}",
            older[0].what
        );
        let differ = records(&nodes([same, same, ("3:1", "n0,n2")]));
        assert!(
            differ.len() == 1 && differ[0].grave && differ[0].what.contains("n2 (n0, n2)"),
            "{}",
            differ[0].what
        );
    }
}
