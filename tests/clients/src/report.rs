//! The table.

use crate::plan::Plan;
use crate::programs::{Client, Way};
use crate::round::Round;
use kevy_elect_harness::median::median as middle;
use std::time::Duration;

/// All rounds of one line, and those of Redis beside it.
pub(crate) struct Row {
    pub(crate) plan: Plan,
    pub(crate) rounds: Vec<Round>,
    pub(crate) redis: Vec<Round>,
    /// How busy the machine was, at the end.
    pub(crate) load: f64,
}

impl Row {
    /// Of the longest gaps that the application saw.
    pub(crate) fn median(&self) -> Duration {
        median(self.rounds.iter().map(|round| round.gap))
    }

    /// Of what the client added to the cluster's own gaps.
    pub(crate) fn over(&self) -> Duration {
        median(self.rounds.iter().map(|round| round.gap.saturating_sub(round.cluster)))
    }

    pub(crate) fn name(&self) -> String {
        let Plan { client, way, work, fault, .. } = self.plan;
        format!("{}, {}, {}, {}", client.name(), way.name(), work.name(), fault.name())
    }
}

/// What stands above the lines, in Markdown.
pub(crate) const HEAD: &str = "| client | way | work | fault | rounds | load | gap, median | worst | cluster, median | over the cluster, median \
                               | failed commands, median (worst) | Redis, median |\n\
                               |---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";

/// In Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    format!("{HEAD}{}", rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// One line of it.
pub(crate) fn line(row: &Row) -> String {
    let Plan { client, way, work, fault, dead_first, .. } = row.plan;
    let worst = row.rounds.iter().map(|round| round.gap).max().unwrap_or_default();
    let cluster = median(row.rounds.iter().map(|round| round.cluster));
    let mut errors: Vec<_> = row.rounds.iter().map(|round| round.errors).collect();
    errors.sort_unstable();
    let redis = match row.redis.is_empty() {
        true => String::new(),
        false => ms(median(row.redis.iter().map(|round| round.gap))),
    };
    format!(
        "| {} | {}{} | {} | {} | {} | {:.1} | {} | {} | {} | {} | {} ({}) | {redis} |",
        client.name(),
        way.name(),
        if dead_first && way == Way::Sentinel { ", broken node first" } else { "" },
        work.name(),
        fault.spelled(),
        row.rounds.len(),
        row.load,
        ms(row.median()),
        ms(worst),
        ms(cluster),
        ms(row.over()),
        errors.get(errors.len() / 2).copied().unwrap_or_default(),
        errors.last().copied().unwrap_or_default(),
    )
}

/// Whether a line of a file is one of these.
pub(crate) fn is_line(line: &str) -> bool {
    let what = what(line);
    Client::ALL.iter().any(|client| what.first() == Some(&client.name()))
}

/// What a line is about: client, way, work and fault.
pub(crate) fn what(line: &str) -> Vec<&str> {
    line.split('|').skip(1).take(4).map(str::trim).collect()
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    middle(values).unwrap_or_default()
}

fn ms(time: Duration) -> String {
    time.as_millis().to_string()
}

/// How busy the machine is, as of the last minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default()
}
