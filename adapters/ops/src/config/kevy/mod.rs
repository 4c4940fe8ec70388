//! What the server runs with: kevy's own settings, and those of the election.
//!
//! Read in kevy's order (command line over environment over file over defaults); `[elect]` is in the
//! file only. Everything is checked before anything is opened: a start that is refused changes nothing.

mod check;
mod secure;

pub use check::{DataNode, ElectSettings, Peer};
pub use secure::Links;

use super::document::Document;
use super::error::SetupError;
use super::section::{ElectSection, SECTION};
use kevy_config::{CliOverrides, Config, ConfigError};
use std::path::{Path, PathBuf};

/// Everything the server needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Where all of this was read.
    pub origin: Origin,
    /// kevy's part. `server.threads` is the true number of shards.
    pub kevy: Config,
    /// The election's part; `None`: behave as plain kevy.
    pub elect: Option<ElectSettings>,
    /// Things that are allowed and probably not meant, for the log.
    pub warnings: Vec<String>,
}

/// Where settings were read, so that they can be read anew.
#[derive(Debug, Clone)]
pub struct Origin {
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
    cli: CliOverrides,
}

impl Origin {
    /// What stands there now, with the environment and the command line of the start.
    pub fn read(&self) -> Result<Settings, SetupError> {
        Settings::load(self.file.as_deref(), self.env.clone(), self.cli.clone())
    }
}

impl Settings {
    /// Reads the file (the given one, or the first that kevy would find), the environment and the flags.
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        cli: CliOverrides,
    ) -> Result<Self, SetupError> {
        let env: Vec<_> = env.into_iter().collect();
        let found = path.map(Path::to_owned).or_else(|| autodetect(&env));
        let text = match &found {
            Some(file) => std::fs::read_to_string(file).map_err(|error| SetupError {
                file: Some(file.clone()),
                line: 0,
                key: String::new(),
                value: String::new(),
                reason: format!("cannot be read: {error}"),
            })?,
            None => String::new(),
        };
        let origin = Origin { file: found, env, cli };
        let loaded = Self::from_text(&text, origin.clone());
        loaded.map_err(|error| SetupError { file: origin.file, ..error })
    }

    fn from_text(text: &str, origin: Origin) -> Result<Self, SetupError> {
        let document = Document::parse(text)?;
        let section = ElectSection::read(&document)?;
        let named = |error| from_kevy(error, &document);
        // Without a source path CONFIG REWRITE has no file to write: it would drop the lines it does not
        // know, and the node would come back as a plain server that anyone may write to.
        let source = origin.file.as_deref().filter(|_| !document.has(SECTION));
        let mut kevy = Config::from_toml_str(&document.without(SECTION), source).map_err(named)?;
        let before = kevy.clone();
        kevy.merge_env(origin.env.clone()).map_err(named)?;
        kevy.merge_cli(origin.cli.clone()).map_err(named)?;
        if kevy.server.threads == 0 {
            kevy.server.threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        }
        let shards = kevy.server.threads;
        if let Some(accepting) = kevy.server.accept_shards.filter(|n| *n == 0 || *n > shards) {
            let reason = format!("use 1 to {shards}, the number of shards");
            return Err(document.error("server", "accept_shards", accepting, reason));
        }
        let mut warnings = Vec::new();
        let elect = match section.enabled {
            true => Some(check::check(&section, &kevy, &before, &document, &mut warnings)?),
            false => None,
        };
        Ok(Self { origin, kevy, elect, warnings })
    }
}

/// Where kevy looks when no file is named.
fn autodetect(env: &[(String, String)]) -> Option<PathBuf> {
    let in_data_dir =
        env.iter().find(|(key, _)| key == "KEVY_DIR").map(|(_, dir)| Path::new(dir).join("kevy.toml"));
    let usual = ["./kevy.toml", "/etc/kevy/kevy.toml"].map(PathBuf::from);
    in_data_dir.into_iter().chain(usual).find(|file| file.exists())
}

/// One of kevy's own errors, in the form of ours.
fn from_kevy(error: ConfigError, document: &Document<'_>) -> SetupError {
    let plain =
        |line, reason| SetupError { file: None, line, key: String::new(), value: String::new(), reason };
    match error {
        ConfigError::Schema { line, field, msg } => {
            // kevy writes "[section].key", and "[env] NAME" for the environment.
            let (section, key) = field.trim_start_matches('[').split_once(']').unwrap_or(("", &field));
            let key = key.trim_start_matches(['.', ' ']);
            let value = document.find(section, key).map(|entry| entry.raw.to_owned()).unwrap_or_default();
            SetupError { file: None, line, key: format!("[{section}] {key}"), value, reason: msg }
        }
        ConfigError::Parse { line, msg, .. } => plain(line, msg),
        other => plain(0, other.to_string()),
    }
}
