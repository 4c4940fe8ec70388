//! `admit` and `give-up`: what only a person may decide. Both work on files of the node's own machine: whoever can write
//! there can do anything with its data anyway, and nobody else can order it.

use crate::cli::Node;
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use kevy_elect_ops::forcing;
use kevy_elect_ops::giving_up::{self, GivenUp};
use kevy_elect_ops::order::Order;
use kevy_elect_plugin::ids::{ClusterId, NodeId};
use serde_json::json;
use std::path::Path;

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
    if node.json {
        return Ok(format!("{:#}\n", json!({ "order": file })));
    }
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
    let GivenUp { to, moved, .. } = giving_up::give_up(&node.data_dir, cluster)?;
    if node.json {
        return Ok(format!("{:#}\n", json!({ "to": to, "moved": moved })));
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

/// Makes a node the only voter.
pub(crate) fn force(node: &str, config: &Path, as_json: bool) -> Result<String, String> {
    let id = NodeId::new(node).map_err(|error| error.to_string())?;
    let settings =
        Settings::load(Some(config), [], CliOverrides::default()).map_err(|error| error.to_string())?;
    let done = forcing::force(&settings, id)?;
    let lost = forcing::names(&done.lost);
    if as_json {
        let lost: Vec<String> = done.lost.iter().map(NodeId::to_string).collect();
        let said = json!({ "node": node, "epoch": done.epoch.0, "lost": lost, "position": format!("{:?}", done.position) });
        return Ok(format!("{said:#}\n"));
    }
    let there = match &done.answered[..] {
        [] => String::new(),
        some => format!(
            "{} answer: they have no vote any more, follow, and what only they hold is lost.\n",
            forcing::names(some)
        ),
    };
    Ok(format!(
        "{id} votes alone, from epoch {} on. Its record says that it holds {:?}, and what is on its disk behind that.\n\
         EVERY WRITE THAT ONLY {lost} HELD IS LOST, also one that `WAIT` confirmed; nobody can know which.\n{there}\
         {lost} must never start again with the data that they have: empty their directories first. \
         One that runs on, and does not hear {id}, writes too.\n\
         Start {id}; then give it company: `kevy-electctl members add NODE` for each node that follows it.\n",
        done.epoch, done.position
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_elect_plugin::store::FileVoteStore;
    use std::fs;

    fn node(dir: &Path, cluster: &str) -> Node {
        Node { node: "n1".to_owned(), cluster: cluster.to_owned(), data_dir: dir.to_owned(), json: false }
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
