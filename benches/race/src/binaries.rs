//! Where the programs are. Nothing is installed: what is missing is named, with the way to get it.

use crate::cli::{Options, Racer};
use kevy_elect_harness::cluster::System;
use kevy_elect_harness::server;
use std::path::{Path, PathBuf};

/// A racer and what it runs.
pub(crate) struct Entry {
    pub(crate) racer: Racer,
    pub(crate) server: PathBuf,
    pub(crate) system: System,
}

/// Finds everything, or says everything that is missing.
pub(crate) fn find(options: &Options) -> Result<Vec<Entry>, String> {
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for racer in &options.racers {
        let entry = match racer {
            Racer::Plugin => match server::locate(&options.server()) {
                Ok(server) => Some((server, System::Plugin)),
                Err(failure) => return Err(failure.to_string()),
            },
            Racer::Stock => program("kevy", options.stock.as_deref()).map(|server| (server, System::Stock)),
            Racer::Redis => program("redis-server", options.redis.as_deref())
                .zip(program("redis-sentinel", options.sentinel.as_deref()))
                .map(|(server, sentinel)| (server, System::Redis { sentinel })),
        };
        match entry {
            Some((server, system)) => entries.push(Entry { racer: *racer, server, system }),
            None => missing.push(how_to_get(*racer)),
        }
    }
    if missing.is_empty() {
        return Ok(entries);
    }
    Err(format!("missing:\n{}\nor race without, with --only", missing.join("\n")))
}

const fn how_to_get(racer: Racer) -> &'static str {
    match racer {
        Racer::Plugin => "  kevy-server: cargo build --release --ignore-rust-version -p kevy-server",
        Racer::Stock => {
            "  kevy 7.0.0: cargo install kevy --version =7.0.0 --ignore-rust-version --locked --root DIR, \
             then --stock DIR/bin/kevy"
        }
        Racer::Redis => {
            "  redis-server and redis-sentinel: apt-get install redis-server redis-sentinel \
             (and stop the services that the packages start)"
        }
    }
}

/// Absolute, because servers run in a directory of their own. Links are kept: Redis looks at its name.
fn program(name: &str, given: Option<&Path>) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = match given {
        Some(path) => vec![path.to_owned()],
        None => std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).collect(),
    };
    candidates.into_iter().find(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        assert_eq!(program("kevy", Some(Path::new("/nonexistent/kevy"))), None);
        assert!(program("sh", None).is_some_and(|path| path.is_absolute()));
        assert!(how_to_get(Racer::Stock).contains("cargo install kevy"));
    }
}
