//! Pages for operators, Prometheus and load balancers. What each says: `docs/http.md`.
//!
//! ```text
//! server.rs   connections, all of them bounded
//! routes.rs   which page, which status                         pages.rs   what they tell of
//! status.rs   what this node believes, as JSON                 page.rs, html.rs   the same for people
//! facts.rs    what it was told, and what its machine gives it, as JSON
//! views.rs    what the others say of their links, for that page      links.rs   all links beside each other
//! copying.rs  a copy that comes in
//! client.rs   asks another node for a page
//! ```

pub mod client;
mod copying;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod html;
mod links;
mod page;
mod pages;
mod routes;
mod server;
mod status;
mod views;

pub use copying::{Copying, Phase};
pub use facts::{Facts, Listed, Members, Program};
pub use pages::{Pages, Place};
pub use server::serve;
pub use views::Views;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Bounds of the histograms of times, in seconds: from a local round trip to a hung cluster.
const SECONDS: [f64; 15] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Records the process's metrics from now on. Before the plugin is made: it looks its metrics up once.
pub fn record_metrics(cluster: &str, node: &str) -> Result<PrometheusHandle, String> {
    let recorder = recorder(cluster, node)?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    Ok(handle)
}

fn recorder(cluster: &str, node: &str) -> Result<PrometheusRecorder, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|error| error.to_string())?
        .add_global_label("cluster", cluster)
        .add_global_label("node", node);
    Ok(builder.build_recorder())
}

/// How far `action` has this counter rise. On this thread alone.
#[cfg(test)]
pub(crate) fn counted(name: &str, action: impl FnOnce()) -> u64 {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, action);
    let text = recorder.handle().render();
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::time::Instant;

    /// What the election's task pays for being watched, and what a scrape costs.
    #[test]
    #[ignore = "for the numbers: run in release with --nocapture"]
    fn cost_of_recording_and_of_a_scrape() {
        const TIMES: u32 = 1_000_000;
        let recorder = recorder("kevy", "n1").unwrap();
        let handle = recorder.handle();
        let (counter, gauge, histogram) = metrics::with_local_recorder(&recorder, || {
            for (number, name) in (0..600).map(|number| (number.to_string(), "kevy_elect_messages_total")) {
                metrics::counter!(name, "verb" => number).increment(0);
            }
            (metrics::counter!("a_total"), metrics::gauge!("b"), metrics::histogram!("c_seconds"))
        });
        let time = |what: &str, times: u32, action: &dyn Fn()| {
            let begun = Instant::now();
            (0..times).for_each(|_| action());
            println!("{what}: {:?}", begun.elapsed() / times);
        };
        time("a counter", TIMES, &|| counter.increment(1));
        time("a gauge", TIMES, &|| gauge.set(1.0));
        time("a value in a histogram", TIMES, &|| histogram.record(0.001));
        time("folding a million values into the buckets", 1, &|| handle.run_upkeep());
        time("a scrape of 600 series", 100, &|| drop(handle.render()));
    }
}
