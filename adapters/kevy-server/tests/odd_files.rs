//! What somebody may have put where the election keeps its files: a server neither hangs on it, nor fills its log with it, nor overwrites it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::metrics::{metric, with_pages};
use common::process::{Process, primary};
use common::{Cluster, until, within};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

type Put = fn(&Path, &Path);

const ODD: [(&str, Put); 5] = [
    ("a fifo", |place, _| mknodat(CWD, place, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap()),
    ("a directory", |place, _| fs::create_dir(place).unwrap()),
    ("a link", |place, other| symlink(other, place).unwrap()),
    ("a second name", |place, other| fs::hard_link(other, place).unwrap()),
    ("a socket", |place, _| drop(std::os::unix::net::UnixListener::bind(place).unwrap())),
];
/// What a start may say more than usual.
const SAID_MAX: u64 = 2048;

fn start(cluster: &Cluster) -> Process {
    let node = Process::start(cluster, 0, &with_pages(cluster.ports[0], ""));
    primary(std::slice::from_ref(&node));
    node
}

/// What a node says that starts, is elected, and ends in order.
fn says_usually(cluster: &Cluster) -> u64 {
    let mut node = start(cluster);
    node.signal(Signal::TERM);
    node.wait();
    log(cluster)
}

fn log(cluster: &Cluster) -> u64 {
    fs::metadata(cluster.dirs[0].0.join("log")).unwrap().len()
}

#[test]
fn what_is_no_file_of_ours_stays_as_it_is_and_the_server_serves() {
    let cluster = Cluster::new(1, 1);
    let elect = cluster.dirs[0].0.join("elect");
    let usual = says_usually(&cluster);
    let precious = cluster.dirs[0].0.join("precious");
    fs::write(&precious, "another's").unwrap();
    for name in ["history", "history.new", "admit"] {
        for (what, put) in ODD {
            let place = elect.join(name);
            drop(fs::remove_file(&place));
            put(&place, &precious);
            let (before, said) = (fs::symlink_metadata(&place).unwrap(), log(&cluster));
            let mut node = start(&cluster);
            // Another thread writes the history.
            until(&format!("{name}: {what}: it is counted"), || {
                let refused = metric(&node, "kevy_elect_files_refused_total")?;
                (refused >= 1.0 || name == "history.new").then_some(())
            });
            // A decision that it would write there.
            node.signal(Signal::TERM);
            node.wait();
            let after = fs::symlink_metadata(&place).unwrap();
            assert_eq!(
                (before.ino(), before.mode()),
                (after.ino(), after.mode()),
                "{name}: {what} is replaced"
            );
            assert_eq!(fs::read_to_string(&precious).unwrap(), "another's", "{name}: {what}");
            let said = log(&cluster) - said;
            assert!(said < 2 * usual + SAID_MAX, "{name}: {what}: {said} bytes of log, usually {usual}");
            drop(fs::remove_file(&place).or_else(|_| fs::remove_dir(&place)));
        }
    }
    // Without them it is written again.
    let _node = start(&cluster);
    until("the history is written", || fs::metadata(elect.join("history")).ok());
}

#[test]
fn rubbish_in_place_of_the_history_is_told_in_one_line() {
    let cluster = Cluster::new(1, 1);
    let history = cluster.dirs[0].0.join("elect/history");
    let usual = says_usually(&cluster);
    let text = || fs::read_to_string(cluster.dirs[0].0.join("log")).unwrap();
    fs::write(&history, b"x\n".repeat(4 << 20)).unwrap();
    let node = start(&cluster);
    until("it says so", || text().contains("lines make no sense").then_some(()));
    drop(node);
    fs::File::create(&history).unwrap().set_len(1 << 40).unwrap();
    let _node = start(&cluster);
    until("it says so", || text().contains("at most 16777216 are read").then_some(()));
    // What comes on top would come at the start.
    let more = within(Duration::from_millis(500), || (log(&cluster) > 4 * usual + SAID_MAX).then_some(()));
    assert!(more.is_none(), "{} bytes of log", log(&cluster));
}
