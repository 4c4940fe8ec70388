//! Pages for operators, Prometheus and load balancers. What each says: `docs/http.md`.
//!
//! ```text
//! connection.rs   bytes of one client: request in, answer out, all of it bounded
//! server.rs       many of those on one thread
//! pages.rs        which page, which status
//! status.rs       what this node believes, as JSON        page.rs   the same for eyes
//! history.rs      what it decided, kept over restarts     decision.rs   events made into decisions
//! ```

mod connection;
mod decision;
mod history;
mod page;
mod pages;
mod server;
mod status;

pub(crate) use history::History;
pub(crate) use pages::Pages;
pub(crate) use server::serve;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of the histograms of times, in seconds: from a local round trip to a hung cluster.
const SECONDS: [f64; 15] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Records the process's metrics from now on. Before the plugin is made: it looks its metrics up once.
pub(crate) fn record_metrics(cluster: &str, node: &str) -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|error| error.to_string())?
        .add_global_label("cluster", cluster)
        .add_global_label("node", node);
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    Ok(handle)
}
