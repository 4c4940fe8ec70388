//! The table.

use crate::cli::{Options, Plan};
use crate::round::Round;
use std::fmt::Write as _;
use std::time::Duration;

/// All rounds of one line, and those of Redis beside it.
pub(crate) struct Row {
    pub(crate) plan: Plan,
    pub(crate) rounds: Vec<Round>,
    pub(crate) redis: Vec<Round>,
}

impl Row {
    /// Of the longest gaps that the application saw.
    pub(crate) fn median(&self) -> Duration {
        median(self.rounds.iter().map(|round| round.gap))
    }

    pub(crate) fn name(&self) -> String {
        let Plan { client, way, work, fault, .. } = self.plan;
        format!("{}, {}, {}, {}", client.name(), way.name(), work.name(), fault.name())
    }
}

/// In Markdown.
pub(crate) fn table(rows: &[Row], options: &Options) -> String {
    let settings =
        if options.defaults { "at their defaults" } else { "with the settings of docs/clients.md" };
    let mut text = format!(
        "Three nodes, {} rounds, clients {settings}. Milliseconds. Gap: the longest time between two successes that the application saw, from \
         the fault on. Cluster: the same for somebody who asks every node all the time. Redis: the gap with Redis and three Sentinels \
         (down-after 1 s), {} rounds.\n\n",
        options.rounds, options.beside
    );
    text += "| client | way | work | fault | gap, median | worst | cluster, median | over the cluster, median | failed commands, median (worst) | Redis, median |\n\
             |---|---|---|---|--:|--:|--:|--:|--:|--:|\n";
    for row in rows {
        let Plan { client, way, work, fault, dead_first } = row.plan;
        let worst = row.rounds.iter().map(|round| round.gap).max().unwrap_or_default();
        let cluster = median(row.rounds.iter().map(|round| round.cluster));
        let over = median(row.rounds.iter().map(|round| round.gap.saturating_sub(round.cluster)));
        let mut errors: Vec<_> = row.rounds.iter().map(|round| round.errors).collect();
        errors.sort_unstable();
        let redis = match row.redis.is_empty() {
            true => String::new(),
            false => ms(median(row.redis.iter().map(|round| round.gap))),
        };
        let _ = writeln!(
            text,
            "| {} | {}{} | {} | {} | {} | {} | {} | {} | {} ({}) | {redis} |",
            client.name(),
            way.name(),
            if dead_first { ", broken node first" } else { "" },
            work.name(),
            fault.spelled(),
            ms(row.median()),
            ms(worst),
            ms(cluster),
            ms(over),
            errors.get(errors.len() / 2).copied().unwrap_or_default(),
            errors.last().copied().unwrap_or_default(),
        );
    }
    text.trim_end().to_owned()
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    time.as_millis().to_string()
}
