//! The `[elect]` section: its keys, their types, their defaults.

use super::document::{Document, Entry};
use super::error::SetupError;
use super::secret::Secret;
use kevy_elect_plugin::config::{CrashDetection, LossPolicy};
use kevy_elect_plugin::rank::Rank;
use std::net::SocketAddr;
use std::time::Duration;
use toml::de::DeValue;

/// Its name.
pub const SECTION: &str = "elect";

/// Declares the section with its keys: a field without a key, or a key that is not read, cannot be written down.
macro_rules! section {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $key:literal as $read:ident,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        /// Every key, in the order of the documentation.
        pub const KEYS: &[&str] = &[$($key),+];

        impl $name {
            fn set(&mut self, entry: &Entry<'_>) -> Result<(), SetupError> {
                match entry.key {
                    $($key => self.$field = entry.$read()?.into(),)+
                    _ => return Err(entry.error(&unknown(entry.key))),
                }
                Ok(())
            }
        }
    };
}

section! {
    /// What `[elect]` says. Times that are `None` take the defaults of the plugin.
    pub struct ElectSection {
        /// Whether the plugin runs at all.
        enabled: bool = "enabled" as boolean,
        /// How often every node speaks to every other.
        heartbeat_interval: Option<Duration> = "heartbeat_interval_ms" as time,
        /// How long a primary may be silent.
        election_timeout: Option<Duration> = "election_timeout_ms" as time,
        /// How long a primary may write after a quorum answered.
        lease: Option<Duration> = "lease_ms" as time,
        /// How much clocks may run too fast or too slow.
        max_clock_drift_percent: Option<f64> = "max_clock_drift_percent" as number,
        /// Whether closed sockets prove a process dead.
        crash_detection: Option<CrashDetection> = "crash_detection" as crash_detection,
        /// Whether a primary's death that is seen begins an election.
        auto_elect_on_peer_loss: Option<bool> = "auto_elect_on_peer_loss" as boolean,
        /// How long after that.
        settling_delay: Option<Duration> = "settling_delay_ms" as time,
        /// Whether a member of higher priority gets the office back by itself.
        failback: bool = "failback" as boolean,
        /// After how long.
        failback_delay: Option<Duration> = "failback_delay_ms" as time,
        /// Who goes first among candidates with equal data.
        rank: Option<Rank> = "rank" as rank,
        /// What a voter compares.
        loss_policy: Option<LossPolicy> = "loss_policy" as loss_policy,
        /// Whether the kernel ends a primary that is stopped when its lease ends. `None`: where that can be had.
        watchdog: Option<bool> = "watchdog" as boolean,
        /// Whether a process beside the server says when that is dead. `None`: where that can be had.
        companion: Option<bool> = "companion" as boolean,
        /// Whether the election's thread runs before all others. `None`: where the system allows it.
        realtime: Option<bool> = "realtime" as boolean,
        /// How long a shard may not turn before the node is unfit to be primary.
        shard_timeout: Option<Duration> = "shard_timeout_ms" as time,
        /// Nodes of other clusters are refused.
        cluster_name: Option<String> = "cluster_name" as string,
        /// Where pages for operators, Prometheus and load balancers are served.
        http: Option<SocketAddr> = "http" as address,
        /// Whether that may be an address that other machines reach.
        http_public: bool = "http_public" as boolean,
        /// Where other members have theirs, as `id@host:port`, where that is not their host and the port of `http`.
        http_peers: Vec<String> = "http_peers" as list,
        /// Where Sentinel's protocol is served to clients.
        sentinel: Option<SocketAddr> = "sentinel" as address,
        /// The name by which they ask for the primary.
        sentinel_master: Option<String> = "sentinel_master" as string,
        /// What they have to say first.
        sentinel_password: Option<Secret> = "sentinel_password" as secret,
        /// Where other members serve the same, as `id@host:port`, where that is not their host and the port of `sentinel`.
        sentinel_peers: Vec<String> = "sentinel_peers" as list,
        /// Where clients reach the data of members, where that is not what `[cluster] peers` says.
        sentinel_announce: Vec<String> = "sentinel_announce" as list,
        /// Megabytes of received frames that each shard keeps for others.
        continue_buffer_mb: Option<usize> = "continue_buffer_mb" as megabytes,
        /// Whether commands may move data from one shard to another, which is no single step.
        move_between_shards: Option<bool> = "move_between_shards" as boolean,
        /// Whether other machines may reach links that prove nothing.
        insecure: bool = "insecure" as boolean,
        /// Members that vote and hold no data.
        witnesses: Vec<String> = "witnesses" as list,
        /// Members that hold data and do not vote.
        observers: Vec<String> = "observers" as list,
        /// Preferences among members with equal data, as `id=0` (never primary) to `id=255`.
        priorities: Vec<String> = "priorities" as list,
    }
}

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

    fn string(&self) -> Result<String, SetupError> {
        self.text().map(str::to_owned)
    }

    fn secret(&self) -> Result<Secret, SetupError> {
        self.string().map(Secret)
    }

    fn address(&self) -> Result<SocketAddr, SetupError> {
        let wrong = |_| self.error("use an address and a port, as in \"127.0.0.1:9121\"");
        self.text()?.parse().map_err(wrong)
    }

    fn crash_detection(&self) -> Result<CrashDetection, SetupError> {
        self.word(&[("refused", CrashDetection::Refused), ("off", CrashDetection::Off)])
    }

    fn loss_policy(&self) -> Result<LossPolicy, SetupError> {
        self.word(&[("sum", LossPolicy::Sum), ("dominate", LossPolicy::Dominate)])
    }

    fn rank(&self) -> Result<Rank, SetupError> {
        match self.word(&[("position", Rank::Position), ("seniority", Rank::Seniority)])? {
            Rank::Position => Ok(Rank::Position),
            _ => Err(self.error(
                "that is for services without data, which use the library; a server with data elects who has the most: use \"position\"",
            )),
        }
    }

    fn list(&self) -> Result<Vec<String>, SetupError> {
        let list = self.text()?.split(',').map(|item| item.trim().to_owned());
        Ok(list.filter(|item| !item.is_empty()).collect())
    }

    fn integer(&self) -> Option<i64> {
        match self.value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        }
    }

    fn time(&self) -> Result<Duration, SetupError> {
        match self.integer() {
            Some(ms @ 1..=TIME_MS_MAX) => Ok(Duration::from_millis(ms.unsigned_abs())),
            _ => Err(self.error(&format!("use whole milliseconds from 1 to {TIME_MS_MAX}"))),
        }
    }

    fn megabytes(&self) -> Result<usize, SetupError> {
        let mb = self.integer().filter(|mb| *mb <= MB_MAX).and_then(|mb| usize::try_from(mb).ok());
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
