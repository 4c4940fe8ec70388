//! The table.

use crate::cli::Request;
use crate::programs::Client;
use crate::round::Round;
use kevy_elect_harness::fault::Fault;
use std::fmt::Write as _;
use std::time::Duration;

/// All rounds of one client and one fault.
pub(crate) struct Row {
    pub(crate) client: Client,
    pub(crate) fault: Fault,
    pub(crate) rounds: Vec<Round>,
}

impl Row {
    pub(crate) fn new(client: Client, fault: Fault) -> Self {
        Self { client, fault, rounds: Vec::new() }
    }

    /// Of the longest gaps that the application saw.
    pub(crate) fn median(&self) -> Duration {
        median(self.rounds.iter().map(|round| round.gap))
    }
}

/// In Markdown.
pub(crate) fn table(rows: &[Row], request: &Request) -> String {
    let servers = if request.redis { "Redis with Sentinel (down-after 1 s)" } else { "kevy-server" };
    let settings =
        if request.documented { "with the settings of docs/clients.md" } else { "at their defaults" };
    let order = if request.dead_first { "first" } else { "last" };
    let mut text = format!(
        "{servers}, three nodes, {} rounds, clients {settings}, the broken node {order} in their list{}.\n\n",
        request.rounds,
        if request.returns { " and started again at once" } else { "" },
    );
    text += "| client | fault | longest gap, median | worst | the cluster itself, median | errors seen, median |\n|---|---|--:|--:|--:|--:|\n";
    for row in rows {
        let worst = row.rounds.iter().map(|round| round.gap).max().unwrap_or_default();
        let cluster = median(row.rounds.iter().map(|round| round.cluster));
        let mut errors: Vec<_> = row.rounds.iter().map(|round| round.errors).collect();
        errors.sort_unstable();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.client.name(),
            row.fault.spelled(),
            ms(row.median()),
            ms(worst),
            ms(cluster),
            errors.get(errors.len() / 2).copied().unwrap_or_default(),
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
    format!("{} ms", time.as_millis())
}
