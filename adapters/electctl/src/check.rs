//! `check`: whether a configuration is accepted, and what follows from it.

use crate::paint::{bold, good, table, warn};
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use kevy_elect_plugin::config::{Config, CrashDetection, LEASE_MARGIN};
use kevy_elect_plugin::plugin::agreed;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn check(file: &Path, as_json: bool) -> Result<String, String> {
    // The environment of who checks is not that of the server.
    let settings =
        Settings::load(Some(file), [], CliOverrides::default()).map_err(|error| error.to_string())?;
    let Some(elect) = settings.elect else {
        if as_json {
            return Ok(format!("{:#}\n", json!({ "accepted": true, "elections": false })));
        }
        return Ok(format!(
            "{}: accepted; [elect] enabled is not true, so this is a plain kevy\n",
            file.display()
        ));
    };
    let all: Vec<String> =
        settings.warnings.into_iter().chain(warnings(&elect.config, elect.http.is_some())).collect();
    if as_json {
        let figures: Map<String, Value> = figures(&elect.config, elect.watchdog)
            .into_iter()
            .map(|(what, value)| (what.to_owned(), Value::String(value)))
            .collect();
        let said = json!({ "accepted": true, "elections": true, "figures": figures, "warnings": all });
        return Ok(format!("{said:#}\n"));
    }
    let mut text = format!("{}: {}\n\n", file.display(), good("accepted"));
    let rows: Vec<Vec<String>> = figures(&elect.config, elect.watchdog)
        .into_iter()
        .map(|(what, value)| vec![bold(what), value])
        .collect();
    text += &table(&rows);
    for warning in all {
        text += &format!("\n{} {warning}", warn("warning:"));
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// Whether members with these files agree in what all have to have alike, and in what not. Each file has to be accepted by itself.
pub(crate) fn compare(files: &[PathBuf], as_json: bool) -> Result<(String, bool), String> {
    let mut all: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut nodes: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let settings =
            Settings::load(Some(file), [], CliOverrides::default()).map_err(|error| error.to_string())?;
        let name = file.display().to_string();
        let elect = settings
            .elect
            .ok_or_else(|| format!("{name}: [elect] enabled is not true: it is no member's file"))?;
        if let Some(other) = nodes.insert(elect.config.node().to_string(), name.clone()) {
            return Err(format!(
                "{other} and {name} are both of node {}: each member needs its own",
                elect.config.node()
            ));
        }
        let mut entries: BTreeMap<String, String> = agreed(&elect.config).into_iter().collect();
        // Links of different clusters, and of one node with keys and one without, are refused.
        entries.insert("cluster".to_owned(), elect.config.cluster().to_owned());
        entries.insert("links".to_owned(), elect.links.as_str().to_owned());
        // Positions of different numbers of shards cannot be compared.
        if !elect.is_witness() {
            entries.insert("threads".to_owned(), settings.kevy.server.threads.max(1).to_string());
        }
        all.push((name, entries));
    }
    let names: BTreeSet<&String> = all.iter().flat_map(|(_, entries)| entries.keys()).collect();
    let mut differ: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for entry in names {
        let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (file, entries) in &all {
            match entries.get(entry) {
                Some(value) => said.entry(value).or_default().push(file),
                // A witness has none.
                None if entry == "threads" => {}
                None => said.entry("missing").or_default().push(file),
            }
        }
        if said.len() > 1 {
            differ.insert(entry, said);
        }
    }
    let agree = differ.is_empty();
    if as_json {
        return Ok((format!("{:#}\n", json!({ "agree": agree, "differ": differ })), agree));
    }
    if agree {
        return Ok((format!("{} files: {}\n", all.len(), good("agree")), true));
    }
    let row = |(entry, said): (&&str, &BTreeMap<&str, Vec<&str>>)| {
        let values = said.iter().map(|(value, files)| format!("{value} in {}", files.join(", ")));
        vec![bold(entry), values.collect::<Vec<_>>().join("; ")]
    };
    let rows: Vec<Vec<String>> = differ.iter().map(row).collect();
    Ok((format!("{} all members need the same:\n\n{}", warn("these files differ:"), table(&rows)), false))
}

fn figures(config: &Config, watchdog: Option<Duration>) -> Vec<(&'static str, String)> {
    let ms = |seconds: f64| format!("{:.0} ms", seconds * 1e3);
    let (promise, lease) = (config.election_timeout().as_secs_f64(), config.lease().as_secs_f64());
    let heartbeat = config.heartbeat_interval().as_secs_f64();
    let (drift, margin) = (config.drift_percent() / 100.0, LEASE_MARGIN.as_secs_f64());
    let (voters, quorum) = (config.voters(), config.quorum());
    let worst = config.bounds();
    // The last of the candidates goes when all better ones have failed to.
    let silent = (worst.silence + worst.ranks).as_secs_f64();
    let crash = match config.crash_detection() {
        CrashDetection::Refused => "at once: a closed link and a refused connection prove it".to_owned(),
        _ => format!("as a silent one, {}", ms(silent)),
    };
    // lease * (1 + d) + margin = promise * (1 - d), solved for d.
    let tolerated = (promise - margin - lease) / (promise + lease) * 100.0;
    vec![
        ("voters, quorum", format!("{voters}, {quorum}")),
        ("faults tolerated", format!("{} of the voters may be down", voters - quorum)),
        ("crashed process: election begins", crash),
        ("silent primary: election begins", format!("after {} at the latest", ms(silent))),
        (
            "worst failover time",
            format!(
                "{} if one round decides, {} more for each that fails; plus two saves of the vote record and the promotion",
                ms(worst.failover.as_secs_f64()),
                ms(worst.attempt.as_secs_f64())
            ),
        ),
        ("all faults healed: settled", format!("after {} at the latest", ms(worst.settled.as_secs_f64()))),
        ("cut-off primary stops writing", format!("{} after its last confirmed heartbeat", ms(lease))),
        (
            "stopped or frozen primary",
            match watchdog {
                Some(slack) => {
                    format!(
                        "its watchdog ends the process {} after the end of its lease",
                        ms(slack.as_secs_f64())
                    )
                }
                None => "has no watchdog: may answer late what it had accepted".to_owned(),
            },
        ),
        (
            "clock drift tolerated",
            format!("{tolerated:.2} % each way ({} % configured)", config.drift_percent()),
        ),
        (
            "fence margin",
            format!(
                "{} between the end of the old lease and the first vote; {} with clocks at their worst",
                ms(promise - lease),
                ms(promise * (1.0 - drift) - lease * (1.0 + drift))
            ),
        ),
        ("heartbeats a lease outlasts", format!("{:.0} lost in a row", (lease / heartbeat).floor() - 1.0)),
    ]
}

fn warnings(config: &Config, pages: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    match config.voters() {
        1 => warnings.push("one voter: there is nobody to fail over to".to_owned()),
        2 => warnings.push(
            "two voters: both are needed for a quorum, so the loss of either stops all writes, which is worse than \
             one server alone. Add a third voter"
                .to_owned(),
        ),
        voters if voters % 2 == 0 => {
            warnings.push(format!("{voters} voters tolerate no more faults than {} do", voters - 1));
        }
        _ => {}
    }
    if config.lease() < config.heartbeat_interval() * 3 {
        warnings.push(
            "the lease outlasts less than two lost heartbeats: short stalls will stop writes".to_owned(),
        );
    }
    if !pages {
        warnings.push("[elect] http is not set: no metrics, no status, no health checks".to_owned());
    }
    warnings
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn with(voters: usize, more: &str) -> Result<String, String> {
        let ids = &["a", "b", "c", "d"][..voters];
        let peers: Vec<String> = ids.iter().map(|id| format!("{id}@10.0.0.1{id}:6204:6004")).collect();
        let file = std::env::temp_dir().join(format!(
            "kevy-electctl-{}-{voters}-{}.toml",
            std::process::id(),
            more.len()
        ));
        let text = format!(
            "[server]\nport = 6004\nthreads = 1\n[cluster]\nnode_id = \"a\"\npeers = \"{}\"\n[elect]\nenabled = true\n{more}",
            peers.join(",")
        );
        std::fs::write(&file, text).unwrap();
        let said = check(&file, false);
        std::fs::remove_file(file).unwrap();
        said
    }

    #[test]
    fn the_bounds_follow_from_the_configuration() {
        let text = with(3, "lease_ms = 500\nhttp = \"127.0.0.1:9121\"\n").unwrap();
        for part in [
            "3, 2",
            "1 of the voters",
            "500 ms after its last",
            "470 ms after the end of its lease",
            "32.67 %",
            "1835 ms if one round decides, 1100 ms more for each that fails",
            "after 6464 ms at the latest",
            "500 ms between",
            "485 ms with clocks",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("warning"), "{text}");
    }

    #[test]
    fn files_of_members_are_compared_and_what_differs_is_named_with_who_says_what() {
        let dir = std::env::temp_dir().join(format!("kevy-electctl-compared-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |node: &str, members: &[&str], threads: u16, more: &str| -> PathBuf {
            let peers: Vec<String> =
                members.iter().map(|id| format!("{id}@10.0.0.1{id}:6204:6004")).collect();
            let file = dir.join(format!("{node}-{}.toml", more.len()));
            let text = format!(
                "[server]\nport = 6004\nthreads = {threads}\n[cluster]\nnode_id = \"{node}\"\npeers = \"{}\"\n[elect]\nenabled = \
                 true\ninsecure = true\n{more}",
                peers.join(",")
            );
            std::fs::write(&file, text).unwrap();
            file
        };
        let all = ["a", "b", "c"];
        let (a, b, c) = (
            write("a", &all, 2, ""),
            write("b", &all, 2, ""),
            write("c", &all, 2, "priorities = \"c=101\"\n"),
        );
        // One node may prefer itself.
        let (said, agree) = compare(&[a.clone(), b.clone(), c.clone()], false).unwrap();
        assert!(agree && said.contains("3 files"), "{said}");
        let longer = write("b", &["a", "b", "d"], 4, "election_timeout_ms = 1200\n");
        let (said, agree) = compare(&[a.clone(), longer.clone(), c], false).unwrap();
        assert!(!agree);
        for part in [
            "election_timeout_us",
            "1200000 in",
            "member c",
            "voter:100 in",
            "missing in",
            "member d",
            "threads",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("member a") && !said.contains("heartbeat"), "{said}");
        let json: Value = serde_json::from_str(&compare(&[a.clone(), longer], true).unwrap().0).unwrap();
        assert_eq!(json["agree"], false);
        assert_eq!(json["differ"]["election_timeout_us"]["1000000"][0], a.display().to_string());
        assert!(compare(&[a.clone(), a], false).unwrap_err().contains("both of node a"));
        assert!(compare(&[b, dir.join("none.toml")], false).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn two_voters_and_even_numbers_are_warned_of_and_contradictions_refused() {
        assert!(with(2, "").unwrap().contains("warning: two voters"));
        assert!(with(4, "").unwrap().contains("4 voters tolerate no more faults than 3"));
        assert!(with(3, "lease_ms = 2000\n").unwrap_err().contains("lease"));
    }
}
