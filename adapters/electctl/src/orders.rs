//! `admit` and `give-up`: what only a person may decide. Both work on files of the node's own machine: whoever can write
//! there can do anything with its data anyway, and nobody else can order it.

use crate::cli::Node;
use kevy_elect_ops::order::Order;
use kevy_elect_plugin::ids::{ClusterId, NodeId};
use kevy_elect_plugin::store::FileVoteStore;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the vote record is, below the data directory.
const VOTE_FILE: &str = "elect/vote";
/// How the names of a server's own files begin; others in the data directory are left alone.
const OWN: [&str; 4] = ["aof-", "dump-", "segs-", "elect"];

fn ids(node: &Node) -> Result<(NodeId, ClusterId), String> {
    let id = NodeId::new(&node.node).map_err(|error| error.to_string())?;
    let cluster = ClusterId::from_digits(node.cluster.as_bytes());
    Ok((id, cluster.ok_or("--cluster is an id of 32 hexadecimal digits, as `status` and the logs name it")?))
}

/// Leaves the order to admit a node.
pub(crate) fn admit(node: &Node) -> Result<String, String> {
    let (id, cluster) = ids(node)?;
    let dir = &node.data_dir;
    if !dir.join("elect").is_dir() {
        return Err(format!("{}: no node has run here; start {id} first", dir.display()));
    }
    let file =
        Order { node: id, cluster }.leave(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(format!(
        "The order to admit {id} to cluster {cluster} is in {}.\n\
         WRITES THAT ONLY THE LOST DISKS HAD CONFIRMED ARE GONE: the cluster goes on with what the nodes that kept their data hold.\n\
         The node looks for it every second, and is admitted once it hears all other voters and one that kept its record answers. Its \
         log says `event=admitted_by_order` then. To take the order back, remove the file.\n",
        file.display()
    ))
}

/// Takes a node's data out of the way.
pub(crate) fn give_up(node: &Node) -> Result<String, String> {
    let (id, cluster) = ids(node)?;
    let dir = &node.data_dir;
    let at = |error: std::io::Error| format!("{}: {error}", dir.display());
    let record = fs::read(dir.join(VOTE_FILE))
        .map_err(|error| format!("{}: {error}", dir.join(VOTE_FILE).display()))?;
    // Locked as long as a server runs, and until this is done.
    let _lock = FileVoteStore::open(dir.join(VOTE_FILE))
        .map_err(|error| format!("{error}; stop the server first"))?;
    let belongs = format!("\ncluster {cluster}");
    if !String::from_utf8_lossy(&record).contains(&belongs) {
        return Err(format!(
            "the node in {} does not belong to cluster {cluster}; `status` names its cluster",
            dir.display()
        ));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let to = dir.join(format!("given-up-{}-{now}", &cluster.as_str()[..8]));
    fs::create_dir(&to).map_err(at)?;
    let mut moved: Vec<(String, u64)> = Vec::new();
    let mut names: Vec<String> = fs::read_dir(dir)
        .map_err(at)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| OWN.iter().any(|own| name.starts_with(own)))
        .collect();
    // The record last: a node without data and with its record is safe, the other way round it would claim its data.
    names.sort_by_key(|name| name.starts_with("elect"));
    for name in names {
        let bytes = size(&dir.join(&name));
        fs::rename(dir.join(&name), to.join(&name)).map_err(at)?;
        moved.push((name, bytes));
    }
    let total: u64 = moved.iter().map(|(_, bytes)| bytes).sum();
    let list: String = moved.iter().map(|(name, bytes)| format!("  {name}  {bytes} bytes\n")).collect();
    Ok(format!(
        "{id} has given up its data of cluster {cluster}: {total} bytes, now in {}:\n{list}\
         WHAT ONLY THIS NODE HELD IS LOST TO THE CLUSTER, and is still there: keep the directory until you know that it is not needed.\n\
         Start the server: it comes back as a node without a record, and copies from the primary of whoever admits it.\n",
        to.display()
    ))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn node(dir: &Path, cluster: &str) -> Node {
        Node { node: "n1".to_owned(), cluster: cluster.to_owned(), data_dir: dir.to_owned() }
    }

    #[test]
    fn a_node_gives_up_only_what_is_its_own_and_only_for_the_cluster_that_is_named() {
        let dir = std::env::temp_dir().join(format!("kevy-electctl-orders-{}", std::process::id()));
        fs::create_dir_all(dir.join("elect")).unwrap();
        let (ours, other) = ("0".repeat(32), "1".repeat(32));
        fs::write(dir.join("elect/vote"), format!("kevy-elect-vote 3\ncluster {ours}\n")).unwrap();
        for name in ["aof-0.aof", "dump-0.rdb", "kevy.toml"] {
            fs::write(dir.join(name), "data").unwrap();
        }
        assert!(give_up(&node(&dir, &other)).unwrap_err().contains("does not belong"));
        assert!(give_up(&node(&dir, "1")).unwrap_err().contains("32"));
        let running = FileVoteStore::open(dir.join("elect/vote")).unwrap();
        assert!(give_up(&node(&dir, &ours)).unwrap_err().contains("stop the server"));
        drop(running);
        let said = give_up(&node(&dir, &ours)).unwrap();
        assert!(said.contains("aof-0.aof  4 bytes") && said.contains("LOST"), "{said}");
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(admit(&node(&dir, &ours)).unwrap_err().contains("no node has run here"));
        fs::create_dir(dir.join("elect")).unwrap();
        assert!(admit(&node(&dir, &ours)).unwrap().contains("ARE GONE"));
        assert!(Order::read(&dir).unwrap().is_some());
        fs::remove_dir_all(&dir).unwrap();
    }
}
