//! What is looked at. Each check sees all nodes, because most of what is wrong shows in their differences.

use super::finding::{Finding, answered, facts, finding, grouped, told};
use super::lists::{files, records};
use super::places::places;
use crate::client::Look;
use crate::status::{list, word};
use serde_json::Value;
use std::collections::BTreeSet;

/// Share of the descriptors in use above which more are needed soon.
const DESCRIPTORS_USED_MAX: f64 = 0.8;
/// Fewer are not enough for a server that is used.
const DESCRIPTORS_MIN: u64 = 4096;
/// Least free room below the data directory: the vote record, and a rewrite of the log.
const DISK_FREE_MIN: f64 = 0.1;
/// Saves of the vote record that may take longer than [`SLOW_SAVE`], of all.
const SLOW_SAVES_MAX: f64 = 0.01;
/// A bucket of the histogram, in seconds.
const SLOW_SAVE: &str = "0.1";
/// Longest round of syncs of the logs.
const LOG_SYNC_SECONDS_MAX: f64 = 1.0;
/// How far clocks may be apart, besides what asking took: keys end by the primary's clock, and histories are read beside each other.
const CLOCKS_APART_MS_MAX: f64 = 1000.0;
/// A replica further behind than that makes a planned transfer wait.
const LAG_MAX: u64 = 10_000;
/// So many changes of office within [`FLAPPING_MS`] are no accident.
const FLAPPING: usize = 3;
const FLAPPING_MS: u64 = 15 * 60 * 1000;
/// The most findings of one check.
const OF_ONE_MAX: usize = 32;

pub(super) fn all(looks: &[Look]) -> Vec<Finding> {
    let checks = [
        reached, unexamined, writers, quorum, records, files, places, differing, clusters, elections,
        fitness, replicas, links, versions, clocks, machines, disks, secrecy,
    ];
    checks.iter().flat_map(|check| check(looks).into_iter().take(OF_ONE_MAX)).collect()
}

/// What keeps the cluster from being whole; not what is only not as good as it should be.
pub(super) fn missing(looks: &[Look]) -> Vec<Finding> {
    let checks = [reached, writers, quorum, clusters, replicas];
    checks.iter().flat_map(|check| check(looks)).collect()
}

fn reached(looks: &[Look]) -> Vec<Finding> {
    let silent = looks.iter().filter_map(|look| Some((look, look.status.as_ref().err()?)));
    silent
        .map(|(look, error)| {
            let remedy = "Start the node if it is down. If it runs, its pages are not where they are looked for: [elect] http (and \
                          http_public for other machines), http_peers, or name all pages with --at.";
            finding(false, &*look.at, error.clone(), remedy)
        })
        .collect()
}

fn unexamined(looks: &[Look]) -> Vec<Finding> {
    let older = answered(looks).filter(|(look, _)| look.facts.is_none());
    let what = "has no page /facts, so its members, clock, descriptors and disk are not looked at";
    older
        .map(|(_, status)| {
            finding(false, word(status, "node"), what, "Upgrade it: it runs an older version.")
        })
        .collect()
}

fn writers(looks: &[Look]) -> Vec<Finding> {
    let of = |wanted: fn(&Value) -> bool| -> Vec<String> {
        answered(looks).filter(|(_, status)| wanted(status)).map(|(_, status)| word(status, "node")).collect()
    };
    let (writers, fenced) =
        (of(|s| s["writable"] == true), of(|s| s["role"] == "primary" && s["writable"] != true));
    let mut found = Vec::new();
    match &writers[..] {
        // A member that was not asked, or does not answer, may be the one.
        [] => {
            let reigns: BTreeSet<String> = answered(looks)
                .filter_map(|(_, status)| Some((status, status["primary"].as_str()?)))
                .filter(|(status, primary)| list(status, "peers").any(|peer| peer["id"] == *primary && peer["up"] == true))
                .map(|(status, _)| word(status, "primary"))
                .collect();
            if reigns.is_empty() {
                let whys: Vec<String> =
                    answered(looks).map(|(_, status)| format!("{}: {}", word(status, "node"), word(status, "why"))).take(8).collect();
                let remedy = "docs/runbooks.md, KevyElectNoPrimary.";
                found.push(finding(true, "", format!("no node takes writes ({})", whys.join("; ")), remedy));
            }
        }
        [_] => {}
        many => found.push(finding(
            true,
            "",
            format!("{} say that they take writes", many.join(" and ")),
            "Ask again: during a handover they may be asked at different moments. If it stays, docs/runbooks.md, KevyElectTwoPrimaries, at once.",
        )),
    }
    found.extend(fenced.into_iter().map(|node| {
        finding(true, node, "is primary and refuses writes", "docs/runbooks.md, KevyElectFencedPrimary.")
    }));
    found
}

fn quorum(looks: &[Look]) -> Vec<Finding> {
    let voters = |status: &Value| list(status, "voters").count() as u64;
    let mut found = Vec::new();
    for (node, status) in answered(looks).map(|(_, status)| (word(status, "node"), status)) {
        let (Some(reached), Some(needed)) = (status["voters_reachable"].as_u64(), status["quorum"].as_u64())
        else {
            continue;
        };
        let all = voters(status);
        if reached < needed {
            let what = format!("hears {reached} of {all} voters, and {needed} are needed");
            found.push(finding(
                true,
                node,
                what,
                "Start the voters that are down, or repair its links. docs/runbooks.md, KevyElectQuorumLost.",
            ));
        } else if reached < all {
            let what = format!(
                "hears {reached} of {all} voters: {} more may be lost before writes stop",
                reached - needed
            );
            found.push(finding(false, node, what, "Start the missing voter, or repair the link to it."));
        }
    }
    if let Some((_, status)) = answered(looks).next() {
        match voters(status) {
            0 | 1 => {}
            2 => found.push(finding(
                false,
                "",
                "has two voters: the loss of either stops all writes",
                "Add a third: a server, or a witness (docs/operations.md).",
            )),
            even if even % 2 == 0 => found.push(finding(
                false,
                "",
                format!("has {even} voters, which tolerate no more faults than {} do", even - 1),
                "Add one, or make one of them an observer.",
            )),
            _ => {}
        }
    }
    found
}

fn differing(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, status) in answered(looks) {
        for peer in list(status, "peers").filter(|peer| peer["differs"].is_string()) {
            let what = format!("{} is configured otherwise: {}", word(peer, "id"), word(peer, "differs"));
            let remedy = "Make the files alike. docs/runbooks.md, KevyElectTermsDiffer.";
            found.push(finding(false, word(status, "node"), what, remedy));
        }
    }
    found
}

fn clusters(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, status) in answered(looks) {
        for peer in list(status, "peers").filter(|peer| peer["foreign"] == true) {
            let what =
                format!("ignores {}: it belongs to cluster {}", word(peer, "id"), word(peer, "cluster_id"));
            found.push(finding(true, word(status, "node"), what, "docs/runbooks.md, \"Two clusters\"."));
        }
        if status["standing"] == "new" && status["writable"] != true {
            let what = "has no vote record that counts yet: it does not vote";
            let remedy = "Wait until a quorum has told it what it may have forgotten; if a majority lost its disks, docs/runbooks.md, \
                          \"Disks of a majority lost\".";
            found.push(finding(false, word(status, "node"), what, remedy));
        }
    }
    found
}

fn elections(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    let paused: Vec<String> = answered(looks)
        .filter(|(_, status)| status["paused"] == true)
        .map(|(_, status)| word(status, "node"))
        .collect();
    if !paused.is_empty() {
        let what = format!(
            "automatic elections are paused on {}: if the primary fails, nobody takes over",
            paused.join(", ")
        );
        found.push(finding(false, "", what, "`kevy-electctl resume` when the maintenance is over."));
    }
    for (look, status) in answered(looks) {
        let recent = list(status, "transitions").filter(|change| {
            let at = change["at_ms"].as_u64().unwrap_or(0);
            change["to"] == "primary"
                && look.now_ms.saturating_sub(at) < FLAPPING_MS
                && change["reason"] != "planned"
        });
        let recent = recent.count();
        if recent >= FLAPPING {
            let what = format!("became primary {recent} times within a quarter of an hour");
            let remedy = "`kevy-electctl history` tells why. docs/runbooks.md, KevyElectRoleFlapping.";
            found.push(finding(false, word(status, "node"), what, remedy));
        }
    }
    found
}

fn fitness(looks: &[Look]) -> Vec<Finding> {
    let unfit = answered(looks)
        .filter(|(_, status)| status["health"].as_str().is_some_and(|health| health != "good"));
    unfit
        .map(|(_, status)| {
            let what =
                if status["ailment"].is_null() { word(status, "health") } else { word(status, "ailment") };
            let grave = status["writable"] == true;
            finding(
                grave,
                word(status, "node"),
                format!("is unfit to be primary: {what}"),
                "docs/runbooks.md, \"Unfit to be primary\".",
            )
        })
        .collect()
}

fn replicas(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    let holds_data = |status: &Value| {
        let mut of = facts(looks).filter(|(node, ..)| *node == word(status, "node"));
        of.next().is_none_or(|(.., facts)| facts["program"] != "kevy-witness")
    };
    for (look, status) in
        answered(looks).filter(|(_, status)| status["role"] == "replica" && status["primary"].is_string())
    {
        let node = word(status, "node");
        if !holds_data(status) {
            continue;
        }
        if status["copy"].is_object() {
            found.push(finding(
                false,
                node,
                "copies its primary's data",
                "Wait: `status` tells how far it is. Restart no other node meanwhile.",
            ));
            continue;
        }
        match status["lag"].as_u64() {
            None => {
                let remedy = "Wait some seconds; if it stays, docs/runbooks.md, KevyElectReplicaNotJoined.";
                found.push(finding(false, node, "has not joined its primary's history", remedy));
            }
            Some(lag) if lag > LAG_MAX => {
                let remedy =
                    "docs/runbooks.md, KevyElectReplicaLag. What it lacks is lost if it takes over alone.";
                found.push(finding(false, node, format!("is {lag} writes behind"), remedy));
            }
            Some(_) => {}
        }
        if let Some(stalled) =
            look.metric("kevy_server_stream_stalled_seconds").filter(|seconds| *seconds > 0.0)
        {
            let what = format!("is behind and has received nothing for {stalled:.0} s");
            found.push(finding(
                false,
                word(status, "node"),
                what,
                "docs/runbooks.md, KevyServerStreamStalled.",
            ));
        }
    }
    found
}

fn links(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, status) in answered(looks) {
        for peer in list(status, "peers") {
            let cut: Vec<&str> = [("link_out", "to"), ("link_back", "from")]
                .into_iter()
                .filter(|(key, _)| peer[*key] == false)
                .map(|(_, way)| way)
                .collect();
            if peer["up"] == false || !cut.is_empty() {
                let what = match cut.is_empty() {
                    true => format!("does not hear {}", word(peer, "id")),
                    false => format!("has no link {} {}", cut.join(" and "), word(peer, "id")),
                };
                found.push(finding(
                    false,
                    word(status, "node"),
                    what,
                    "Is that node up? Then the network or a firewall between the two.",
                ));
            }
        }
    }
    found
}

fn versions(looks: &[Look]) -> Vec<Finding> {
    let by_version = grouped(looks, |facts| word(facts, "version"));
    match by_version.len() > 1 {
        true => vec![finding(
            false,
            "",
            format!("nodes run different versions: {}", told(&by_version)),
            "Go on with the rolling upgrade, or end it (docs/operations.md).",
        )],
        false => Vec::new(),
    }
}

fn clocks(looks: &[Look]) -> Vec<Finding> {
    let ahead: Vec<(String, f64, f64)> = facts(looks)
        .filter_map(|(node, look, facts)| {
            Some((node, facts["now_ms"].as_f64()? - look.now_ms as f64, look.took_ms))
        })
        .collect();
    let by = |a: &&(String, f64, f64), b: &&(String, f64, f64)| a.1.total_cmp(&b.1);
    let (Some(first), Some(last)) = (ahead.iter().min_by(by), ahead.iter().max_by(by)) else {
        return Vec::new();
    };
    let apart = last.1 - first.1;
    if apart <= CLOCKS_APART_MS_MAX + first.2 + last.2 {
        return Vec::new();
    }
    let what = format!("the clock of {} is {:.1} s ahead of that of {}", last.0, apart / 1e3, first.0);
    let remedy = "Set them by NTP. Elections do not depend on it; keys end by the primary's clock, and histories are read beside each other.";
    vec![finding(false, "", what, remedy)]
}

fn machines(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (node, _, facts) in facts(looks) {
        let descriptors = &facts["descriptors"];
        // No limit at all has no number.
        let Some(limit) = descriptors["limit"].as_u64() else { continue };
        let open = descriptors["open"].as_u64().unwrap_or(0);
        if open as f64 > limit as f64 * DESCRIPTORS_USED_MAX {
            let what = format!("has {open} of {limit} descriptors open");
            found.push(finding(
                false,
                node,
                what,
                "Raise the limit (systemd: LimitNOFILE) before it is unfit to be primary.",
            ));
        } else if limit < DESCRIPTORS_MIN && facts["program"] == "kevy-server" {
            let what = format!("may open {limit} files");
            found.push(finding(
                false,
                node,
                what,
                "Raise the limit (systemd: LimitNOFILE=1048576): clients need one each.",
            ));
        }
    }
    found
}

fn disks(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (node, look, facts) in facts(looks) {
        let (free, all) = (facts["disk"]["free_bytes"].as_f64(), facts["disk"]["bytes"].as_f64());
        if let (Some(free), Some(all)) = (free, all)
            && free < all * DISK_FREE_MIN
        {
            let what = format!("has {:.1} of {:.1} GB free below its data directory", free / 1e9, all / 1e9);
            found.push(finding(
                false,
                node.clone(),
                what,
                "Make room: a rewrite of the log needs as much as the log has.",
            ));
        }
        let name = "kevy_elect_vote_save_duration_seconds";
        let saves = look.metric(&format!("{name}_count")).unwrap_or(0.0);
        let quick = look.bucket(&format!("{name}_bucket"), SLOW_SAVE).unwrap_or(saves);
        if saves > 0.0 && (saves - quick) / saves > SLOW_SAVES_MAX {
            let what = format!(
                "{:.0} of {saves:.0} saves of its vote record took longer than {SLOW_SAVE} s",
                saves - quick
            );
            let remedy = "Every failover waits for one: give the data directory a disk of its own. docs/runbooks.md, KevyElectVoteStoreSlow.";
            found.push(finding(false, node.clone(), what, remedy));
        }
        if look.metric("kevy_elect_vote_save_failures_total").unwrap_or(0.0) > 0.0 {
            let what = "could not save its vote record at least once";
            found.push(finding(false, node.clone(), what, "docs/runbooks.md, KevyElectVoteStoreFailing."));
        }
        if look.metric("kevy_server_log_sync_failures_total").unwrap_or(0.0) > 0.0 {
            let what = "could not sync its log at least once: what was written before may not be on the disk";
            found.push(finding(
                true,
                node.clone(),
                what,
                "Look at the disk and the kernel's log; then restart the node, and `compare`.",
            ));
        }
        if let Some(sync) =
            look.metric("kevy_server_log_sync_seconds").filter(|sync| *sync > LOG_SYNC_SECONDS_MAX)
        {
            let what = format!("took {sync:.1} s for the last sync of its logs");
            found.push(finding(
                false,
                node,
                what,
                "Another writer, a snapshot, a worn disk: give the data a disk of its own.",
            ));
        }
    }
    found
}

fn secrecy(looks: &[Look]) -> Vec<Finding> {
    let by_links = grouped(looks, |facts| word(facts, "links"));
    let mut found = Vec::new();
    if by_links.len() > 1 {
        let what = format!("nodes protect their links differently: {}", told(&by_links));
        found.push(finding(
            true,
            "",
            what,
            "Set [cluster] secure and peer_keys alike on all: docs/security.md.",
        ));
    }
    if let Some(nodes) = by_links.get("insecure") {
        let what = format!(
            "links of {} prove nothing: whoever reaches the election port can forge echoes",
            nodes.join(", ")
        );
        found.push(finding(false, "", what, "[cluster] secure = true with keys: docs/security.md. Without, keep the ports from everybody else."));
    }
    found
}
