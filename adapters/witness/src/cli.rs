//! The command line.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// A member of a kevy cluster's elections that votes and holds no data.
#[derive(Debug, Parser)]
#[command(
    name = "kevy-witness",
    version,
    after_help = HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What to do instead of voting.
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
    /// TOML file (else: $KEVY_DIR/kevy.toml, ./kevy.toml, /etc/kevy/kevy.toml)
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Directory for the vote record (default: .)
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
}

/// What can be done instead of voting.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Print completions of this command line for a shell
    Completions {
        /// Which
        shell: Shell,
    },
    /// Write the manual pages of this command line into a directory
    Man {
        /// Where to
        directory: PathBuf,
    },
}

const HELP: &str = "\
The file is that of the servers, with the same members on all of them:
    [cluster]
    node_id = \"n3\"
    peers = [\"n1@host1:6204:6004\", \"n2@host2:6204:6004\", \"n3@host3:6204\"]
    [elect]
    enabled = true
    witnesses = \"n3\"
A witness has an election port and no client port. Of the rest it reads [server] bind and data_dir, [cluster] secure and
peer_keys, [secure] private_key_file, and the times and http keys of [elect]; see kevy-server --help. It stops at SIGTERM.

Its vote record is what keeps two primaries apart: keep its directory as you keep a server's. A write that WAIT confirmed with
two servers and a witness is on both servers; while one of them is down, WAIT 1 confirms nothing.
";
