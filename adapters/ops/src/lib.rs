//! What a server with an election in it needs beside the election, whatever it serves.
//!
//! | module | what |
//! |---|---|
//! | [`http`] | pages for operators, Prometheus and load balancers |
//! | [`history`] | what was decided, kept over restarts |
//! | [`config`] | the `[elect]` section: its keys, its checks, and errors that name file, line, key and value |
//! | [`members`] | who the members are, where they are, and who votes |
//! | [`inline`] | runs the plugin's future on the thread that its events come from |
//! | [`ending`], [`signals`] | the orderly end of the process, and who wishes for it |
//! | `forcing` | makes the last survivor of a lost quorum the only voter |
//! | [`order`] | what an operator leaves in the data directory of a node that lost its vote record |
//! | [`stderr`] | a log that holds nobody up |
//! | `man` | manual pages, made from a program's command line |
//! | `supervised` | what a service manager is told |
//! | `reload` | members that are new in the file of a node that runs |
//! | `start` | ports, log, store and transport of a program that reads a `kevy.toml` |
//!
//! With the feature `kevy`, [`config`] reads a whole `kevy.toml`, and there is `start`.

pub mod config;
pub mod ending;
#[cfg(feature = "kevy")]
pub mod forcing;
pub mod giving_up;
pub mod history;
pub mod http;
pub mod inline;
#[cfg(feature = "kevy")]
pub mod man;
pub mod members;
pub mod order;
mod own_file;
#[cfg(feature = "kevy")]
pub mod reload;
pub mod signals;
#[cfg(feature = "kevy")]
pub mod start;
pub mod stderr;
#[cfg(feature = "kevy")]
pub mod supervised;
