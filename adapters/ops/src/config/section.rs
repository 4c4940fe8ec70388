//! The `[elect]` section: its keys, their types, their defaults.

use super::document::{Document, Entry};
use super::error::SetupError;
use super::secret::Secret;
use kevy_elect_plugin::config::{CrashDetection, LossPolicy};
use std::net::SocketAddr;
use std::time::Duration;
use toml::de::DeValue;

/// Its name.
pub const SECTION: &str = "elect";

/// What `[elect]` says. Times that are `None` take the defaults of the plugin.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ElectSection {
    /// Whether the plugin runs at all.
    pub enabled: bool,
    /// How often every node speaks to every other.
    pub heartbeat_interval: Option<Duration>,
    /// How long a primary may be silent.
    pub election_timeout: Option<Duration>,
    /// How long a primary may write after a quorum answered.
    pub lease: Option<Duration>,
    /// How much clocks may run too fast or too slow.
    pub max_clock_drift_percent: Option<f64>,
    /// Whether closed sockets prove a process dead.
    pub crash_detection: Option<CrashDetection>,
    /// What a voter compares.
    pub loss_policy: Option<LossPolicy>,
    /// Whether the kernel ends a primary that is stopped when its lease ends. `None`: where that can be had.
    pub watchdog: Option<bool>,
    /// Whether a process beside the server says when that is dead. `None`: where that can be had.
    pub companion: Option<bool>,
    /// Whether the election's thread runs before all others. `None`: where the system allows it.
    pub realtime: Option<bool>,
    /// How long a shard may not turn before the node is unfit to be primary.
    pub shard_timeout: Option<Duration>,
    /// Nodes of other clusters are refused.
    pub cluster_name: Option<String>,
    /// Where pages for operators, Prometheus and load balancers are served.
    pub http: Option<SocketAddr>,
    /// Whether that may be an address that other machines reach.
    pub http_public: bool,
    /// Where other members have theirs, as `id@host:port`, where that is not their host and the port of `http`.
    pub http_peers: Vec<String>,
    /// Where Sentinel's protocol is served to clients.
    pub sentinel: Option<SocketAddr>,
    /// The name by which they ask for the primary.
    pub sentinel_master: Option<String>,
    /// What they have to say first.
    pub sentinel_password: Option<Secret>,
    /// Where other members serve the same, as `id@host:port`, where that is not their host and the port of `sentinel`.
    pub sentinel_peers: Vec<String>,
    /// Where clients reach the data of members, where that is not what `[cluster] peers` says.
    pub sentinel_announce: Vec<String>,
    /// Megabytes of received frames that each shard keeps for others.
    pub continue_buffer_mb: Option<usize>,
    /// Whether other machines may reach links that prove nothing.
    pub insecure: bool,
    /// Members that vote and hold no data.
    pub witnesses: Vec<String>,
    /// Members that hold data and do not vote.
    pub observers: Vec<String>,
    /// Preferences among members with equal data, as `id=0` (never primary) to `id=255`.
    pub priorities: Vec<String>,
}

/// Every key, in the order of the documentation.
pub const KEYS: [&str; 25] = [
    "enabled",
    "heartbeat_interval_ms",
    "election_timeout_ms",
    "lease_ms",
    "max_clock_drift_percent",
    "crash_detection",
    "loss_policy",
    "watchdog",
    "companion",
    "realtime",
    "shard_timeout_ms",
    "cluster_name",
    "http",
    "http_public",
    "http_peers",
    "sentinel",
    "sentinel_master",
    "sentinel_password",
    "sentinel_peers",
    "sentinel_announce",
    "continue_buffer_mb",
    "insecure",
    "witnesses",
    "observers",
    "priorities",
];

/// Longest time a key in milliseconds may give: a day. Longer is a typing error.
const TIME_MS_MAX: i64 = 86_400_000;
/// The most megabytes that a key may give: a terabyte.
const MB_MAX: i64 = 1 << 20;

impl ElectSection {
    /// Reads the section. Errors carry no file name yet.
    pub fn read(document: &Document<'_>) -> Result<Self, SetupError> {
        let mut section = Self::default();
        // In the order of the file, so that the first error is the first that people see there.
        for entry in document.entries(SECTION) {
            section.set(&entry)?;
        }
        Ok(section)
    }

    fn set(&mut self, entry: &Entry<'_>) -> Result<(), SetupError> {
        match entry.key {
            "enabled" => self.enabled = entry.boolean()?,
            "heartbeat_interval_ms" => self.heartbeat_interval = Some(entry.time()?),
            "election_timeout_ms" => self.election_timeout = Some(entry.time()?),
            "lease_ms" => self.lease = Some(entry.time()?),
            "max_clock_drift_percent" => self.max_clock_drift_percent = Some(entry.number()?),
            "crash_detection" => {
                let words = [("refused", CrashDetection::Refused), ("off", CrashDetection::Off)];
                self.crash_detection = Some(entry.word(&words)?);
            }
            "loss_policy" => {
                let words = [("sum", LossPolicy::Sum), ("dominate", LossPolicy::Dominate)];
                self.loss_policy = Some(entry.word(&words)?);
            }
            "watchdog" => self.watchdog = Some(entry.boolean()?),
            "companion" => self.companion = Some(entry.boolean()?),
            "realtime" => self.realtime = Some(entry.boolean()?),
            "shard_timeout_ms" => self.shard_timeout = Some(entry.time()?),
            "cluster_name" => self.cluster_name = Some(entry.text()?.to_owned()),
            "http" => {
                let address = entry.text()?.parse();
                self.http = Some(
                    address
                        .map_err(|_| entry.error("use an address and a port, as in \"127.0.0.1:9121\""))?,
                );
            }
            "http_public" => self.http_public = entry.boolean()?,
            "http_peers" => self.http_peers = entry.list()?,
            "sentinel" => {
                let address = entry.text()?.parse();
                let wrong = |_| entry.error("use an address and a port, as in \"0.0.0.0:26379\"");
                self.sentinel = Some(address.map_err(wrong)?);
            }
            "sentinel_master" => self.sentinel_master = Some(entry.text()?.to_owned()),
            "sentinel_password" => self.sentinel_password = Some(Secret(entry.text()?.to_owned())),
            "sentinel_peers" => self.sentinel_peers = entry.list()?,
            "sentinel_announce" => self.sentinel_announce = entry.list()?,
            "continue_buffer_mb" => self.continue_buffer_mb = Some(entry.megabytes()?),
            "insecure" => self.insecure = entry.boolean()?,
            "witnesses" => self.witnesses = entry.list()?,
            "observers" => self.observers = entry.list()?,
            "priorities" => self.priorities = entry.list()?,
            _ => return Err(entry.error(&unknown(entry.key))),
        }
        Ok(())
    }
}

impl Entry<'_> {
    fn error(&self, reason: &str) -> SetupError {
        SetupError {
            file: None,
            line: self.line,
            key: format!("[{SECTION}] {}", self.key),
            value: self.raw.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn boolean(&self) -> Result<bool, SetupError> {
        match self.value {
            DeValue::Boolean(yes) => Ok(*yes),
            _ => Err(self.error("use true or false")),
        }
    }

    fn text(&self) -> Result<&str, SetupError> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.error("use a text in quotes")),
        }
    }

    fn list(&self) -> Result<Vec<String>, SetupError> {
        let list = self.text()?.split(',').map(|item| item.trim().to_owned());
        Ok(list.filter(|item| !item.is_empty()).collect())
    }

    fn time(&self) -> Result<Duration, SetupError> {
        let ms = match self.value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        match ms {
            Some(ms @ 1..=TIME_MS_MAX) => Ok(Duration::from_millis(ms.unsigned_abs())),
            _ => Err(self.error(&format!("use whole milliseconds from 1 to {TIME_MS_MAX}"))),
        }
    }

    fn megabytes(&self) -> Result<usize, SetupError> {
        let mb = match self.value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        let mb = mb.filter(|mb| *mb <= MB_MAX).and_then(|mb| usize::try_from(mb).ok());
        mb.ok_or_else(|| self.error(&format!("use whole megabytes from 0 to {MB_MAX}")))
    }

    fn number(&self) -> Result<f64, SetupError> {
        let number = match self.value {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().parse().ok(),
            DeValue::Float(n) => n.as_str().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.error("use a number, as in 1 or 0.5"))
    }

    fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, SetupError> {
        let given = match self.value {
            DeValue::String(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        given.map(|(_, value)| *value).ok_or_else(|| self.error(&format!("use {}", list.join(" or "))))
    }
}

/// What to say about a key that does not exist: the nearest one that does, or all of them.
fn unknown(key: &str) -> String {
    let near = KEYS.iter().map(|known| (strsim::levenshtein(key, known), known)).min();
    match near {
        Some((changes, known)) if changes <= 1 + key.len() / 4 => {
            format!("there is no such key; did you mean {known}?")
        }
        _ => format!("there is no such key; the keys are {}", KEYS.join(", ")),
    }
}
