//! The nodes that a command is about, as a command line names them.

use crate::discover;
use clap::Args;
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use std::path::{Path, PathBuf};

/// Either a configuration or addresses; without both they are asked for at a page, as --at says.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[group(multiple = false)]
pub(crate) struct Targets {
    /// All members that this configuration names
    #[arg(long, value_name = "kevy.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Where clients reach the nodes (not the port of their pages)
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(crate) clients: Vec<String>,
}

impl Targets {
    /// Where the clients of each connect. `pages`: where that is asked if nothing says it.
    pub(crate) fn addresses(&self, pages: &[String]) -> Result<Vec<String>, String> {
        match &self.config {
            Some(file) => of(file),
            None if self.clients.is_empty() => discover::clients(pages),
            None => Ok(self.clients.clone()),
        }
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
