//! The members of a cluster, as a command line names them.

use clap::Args;
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use std::path::{Path, PathBuf};

/// Either a configuration or addresses.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Members {
    /// All members that this configuration names
    #[arg(long, value_name = "kevy.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Where clients reach the nodes (not the port of their pages)
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(crate) clients: Vec<String>,
}

impl Members {
    /// Where the clients of each connect.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, String> {
        self.config.as_deref().map_or_else(|| Ok(self.clients.clone()), of)
    }
}

fn of(file: &Path) -> Result<Vec<String>, String> {
    let settings =
        Settings::load(Some(file), [], CliOverrides::default()).map_err(|error| error.to_string())?;
    let elect = settings
        .elect
        .ok_or_else(|| format!("{}: [elect] enabled is not true, so it names no members", file.display()))?;
    Ok(elect.data_nodes.iter().map(|node| format!("{}:{}", node.host, node.client_port)).collect())
}
