//! The metrics that the plugin registers are those of its table, and the table in `docs/metrics.md` is
//! made from it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::FutureExt;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::{LabelValues, METRICS, MetricInfo, MetricKind, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::MemoryNetwork;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
const BEGIN: &str = "<!-- generated from src/driver/catalog.rs by tests/metrics.rs -->\n";
const END: &str = "<!-- end of what is generated -->";

#[test]
fn the_documentation_has_the_table_that_the_code_has() {
    let doc = std::fs::read_to_string(DOC).unwrap();
    let (before, rest) =
        doc.split_once(BEGIN).expect("docs/metrics.md has lost the line that begins the table");
    let (table, after) = rest.split_once(END).expect("docs/metrics.md has lost the line that ends the table");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOC, format!("{before}{BEGIN}{}{END}{after}", markdown())).unwrap();
        return;
    }
    assert_eq!(table, markdown(), "run `UPDATE_DOCS=1 cargo test --test metrics`");
}

fn markdown() -> String {
    let mut text = String::from("\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for &MetricInfo { name, kind, labels, help, .. } in METRICS {
        let labels: Vec<String> = labels.iter().map(|(label, values)| described(label, values)).collect();
        text += &format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join("<br>"));
    }
    text + "\n"
}

fn described(label: &str, values: &LabelValues) -> String {
    match values {
        LabelValues::Words(words) => format!("`{label}`: {}", words().join(", ")),
        LabelValues::Peers => format!("`{label}`: id of another member"),
        LabelValues::Version => format!("`{label}`: version of the plugin"),
        other => unreachable!("no words for {other:?}"),
    }
}

/// Remembers what is described and registered.
#[derive(Default, Clone)]
struct Notes(Arc<Mutex<Seen>>);

/// The labels of each series.
type Series = BTreeSet<Vec<(String, String)>>;

#[derive(Default)]
struct Seen {
    described: BTreeMap<String, (&'static str, Option<Unit>)>,
    registered: BTreeMap<String, (&'static str, Series)>,
}

impl Notes {
    fn describe(&self, key: &KeyName, kind: &'static str, unit: Option<Unit>) {
        let before = self.0.lock().unwrap().described.insert(key.as_str().to_owned(), (kind, unit));
        assert_eq!(before, None, "{} is described twice", key.as_str());
    }
    fn register(&self, key: &Key, kind: &'static str) {
        let labels = key.labels().map(|l| (l.key().to_owned(), l.value().to_owned())).collect();
        let mut seen = self.0.lock().unwrap();
        let entry = seen.registered.entry(key.name().to_owned()).or_insert((kind, BTreeSet::new()));
        assert_eq!(entry.0, kind, "{}", key.name());
        entry.1.insert(labels);
    }
}

impl Recorder for Notes {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "counter", unit);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "gauge", unit);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "histogram", unit);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(key, "counter");
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(key, "gauge");
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(key, "histogram");
        Histogram::noop()
    }
}

/// Every combination of label values.
fn combinations(info: &MetricInfo) -> usize {
    let values = |values: &LabelValues| match values {
        LabelValues::Words(words) => words().len(),
        LabelValues::Peers => 2,
        LabelValues::Version => 1,
        other => unreachable!("no number for {other:?}"),
    };
    match info.name {
        // No two equal roles.
        "kevy_elect_role_transitions_total" => 4 * 3 * values(&info.labels[2].1),
        // "told" only of retargets.
        "kevy_elect_failover_phase_duration_seconds" => 4 * 4 + 1,
        _ => info.labels.iter().map(|(_, v)| values(v)).product(),
    }
}

#[test]
fn everything_in_the_table_is_exported_from_the_start_and_nothing_else() {
    let notes = Notes::default();
    let ids = ["a", "b", "c"].map(|name| NodeId::new(name).unwrap());
    let network = MemoryNetwork::builder(SystemClock::new(), 1, ids).build();
    let parts = QuorumParts {
        config: Config::builder(ids[0], ids.map(Member::voter)).build().unwrap(),
        clock: Arc::new(SystemClock::new()),
        store: Arc::new(MemoryVoteStore::new()),
        transport: Arc::new(network.transport(ids[0])),
        seed: 1,
    };
    let (_plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
    // One poll is the start of the driver.
    let ended = metrics::with_local_recorder(&notes, || election.now_or_never());
    assert!(ended.is_none());
    let seen = notes.0.lock().unwrap();
    for info in METRICS {
        let unit = info.seconds.then_some(Unit::Seconds);
        assert_eq!(seen.described.get(info.name), Some(&(info.kind.as_str(), unit)), "{}", info.name);
        let Some((kind, series)) = seen.registered.get(info.name) else {
            panic!("{} is never there", info.name)
        };
        assert_eq!(*kind, info.kind.as_str(), "{}", info.name);
        assert_eq!(series.len(), combinations(info), "{}: {series:?}", info.name);
        for labels in series {
            let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
            let wanted: Vec<&str> = info.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, wanted, "{}", info.name);
        }
    }
    assert_eq!(seen.described.len(), METRICS.len());
    assert_eq!(seen.registered.len(), METRICS.len(), "{:?}", seen.registered.keys());
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for &MetricInfo { name, kind, seconds, help, .. } in METRICS {
        assert!(
            name.starts_with("kevy_elect_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), kind == MetricKind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), seconds, "{name}");
        assert!(help.ends_with('.') && help.len() > 15, "{name}: {help}");
    }
}

/// The files that use the metrics.
fn prometheus(file: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/adapters/prometheus/").to_owned() + file;
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    let rules = prometheus("rules.yml");
    let recorded: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let suffixes = ["", "_bucket", "_sum", "_count"];
    let mut known: BTreeSet<String> = recorded.iter().map(|name| (*name).to_owned()).collect();
    for &MetricInfo { name, kind, .. } in METRICS {
        let histogram = kind == MetricKind::Histogram;
        known.extend(
            suffixes.iter().filter(|s| s.is_empty() != histogram).map(|suffix| format!("{name}{suffix}")),
        );
    }
    for file in ["rules.yml", "rules_test.yml", "dashboard.json"] {
        let text = prometheus(file);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let names: BTreeSet<&str> =
            text.split(|c| !is_name(c)).filter(|word| word.starts_with("kevy_elect")).collect();
        assert!(names.len() > 5, "{file}: {names:?}");
        for name in names {
            assert!(known.contains(name.trim_end_matches(':')), "{file}: there is no metric {name}");
        }
    }
}

#[test]
fn every_alert_has_its_words_its_runbook_and_its_tests() {
    let (rules, tests) = (prometheus("rules.yml"), prometheus("rules_test.yml"));
    let runbooks = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks.md")).unwrap();
    let sections: Vec<String> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 16, "{}", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(alert.contains("summary: ") && alert.contains("description: "), "{name}");
        let (_, link) = alert.split_once("runbook_url: \"docs/runbooks.md#").expect(name);
        let anchor = link.split('"').next().unwrap();
        assert!(sections.iter().any(|section| section == anchor), "{name}: no section {anchor}");
        let tested: Vec<&str> =
            tests.split("- name: ").filter(|test| test.contains(&format!("alertname=\"{name}\""))).collect();
        for expected in ["value: 1 }", "value: 0 }"] {
            assert!(tested.iter().any(|test| test.contains(expected)), "{name}: no test with {expected}");
        }
    }
}
