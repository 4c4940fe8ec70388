//! Takes a node's data of one cluster out of the way, so that it can follow another one.

use crate::own_file::VOTE_FILE;
use kevy_elect_plugin::ids::ClusterId;
use kevy_elect_plugin::store::FileVoteStore;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How the names of a server's own files begin; others in the data directory are left alone.
const OWN: [&str; 4] = ["aof-", "dump-", "segs-", "elect"];

/// What was taken out of the way.
#[derive(Debug)]
#[non_exhaustive]
pub struct GivenUp {
    /// Where it is now.
    pub to: PathBuf,
    /// Names and bytes.
    pub moved: Vec<(String, u64)>,
}

/// Moves what a server that does not run has in `data_dir` into a directory beside it, if it belongs to `cluster`.
pub fn give_up(data_dir: &Path, cluster: ClusterId) -> Result<GivenUp, String> {
    let at = |error: io::Error| format!("{}: {error}", data_dir.display());
    let record = fs::read(data_dir.join(VOTE_FILE))
        .map_err(|error| format!("{}: {error}", data_dir.join(VOTE_FILE).display()))?;
    // Locked as long as a server runs, and until this is done.
    let _lock = FileVoteStore::open(data_dir.join(VOTE_FILE))
        .map_err(|error| format!("{error}; stop the server first"))?;
    let belongs = format!("\ncluster {cluster}");
    if !String::from_utf8_lossy(&record).contains(&belongs) {
        return Err(format!(
            "the node in {} does not belong to cluster {cluster}; `status` names its cluster",
            data_dir.display()
        ));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let to = data_dir.join(format!("given-up-{}-{now}", &cluster.as_str()[..8]));
    fs::create_dir(&to).map_err(at)?;
    let mut moved: Vec<(String, u64)> = Vec::new();
    let mut names: Vec<String> = fs::read_dir(data_dir)
        .map_err(at)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| OWN.iter().any(|own| name.starts_with(own)))
        .collect();
    // The record last: a node without data and with its record is safe, the other way round it would claim its data.
    names.sort_by_key(|name| name.starts_with("elect"));
    for name in names {
        let bytes = size(&data_dir.join(&name));
        fs::rename(data_dir.join(&name), to.join(&name)).map_err(at)?;
        moved.push((name, bytes));
    }
    Ok(GivenUp { to, moved })
}

fn size(path: &Path) -> u64 {
    let Ok(known) = fs::symlink_metadata(path) else { return 0 };
    match known.is_dir() {
        true => {
            fs::read_dir(path).map_or(0, |entries| entries.flatten().map(|entry| size(&entry.path())).sum())
        }
        false => known.len(),
    }
}
