//! What a node claims after a restart is what its data holds: never more, and not less than it acknowledged.
//!
//! A directory that is copied while its server runs is what a `kill -9` leaves. What a power cut leaves is
//! tried with disk images in `power.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Client, Cluster, Dir, Node, until, until_reads, write_keys};
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;
use kevy_persist::{AOF2_MAGIC, Argv, RecordStep, layout, next_record, write_record_multibulk};
use kevy_resp::parse_command;
use std::path::{Path, PathBuf};

fn position(epoch: u64, offsets: &[u64]) -> Position {
    Position::new(Epoch(epoch), offsets).unwrap()
}

/// A record far ahead of the data, and one far behind: as from a file that is synced at another time.
fn ahead() -> Option<Position> {
    Some(position(99, &[1_000_000]))
}

fn behind() -> Option<Position> {
    Some(position(1, &[1]))
}

/// A copy of a node's data, as a `kill -9` would leave it now.
fn image(cluster: &Cluster, node: usize) -> Dir {
    let copy = Dir::new();
    for file in std::fs::read_dir(&cluster.dirs[node].0).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.0.join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Puts a copy in the place of a stopped node's data.
fn put_back(cluster: &Cluster, node: usize, image: &Dir) {
    let dir = &cluster.dirs[node].0;
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    for file in std::fs::read_dir(&image.0).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
}

fn log(cluster: &Cluster, node: usize, shard: usize) -> PathBuf {
    layout::aof_path(&cluster.dirs[node].0, shard)
}

/// Where each record of a log begins and ends, and its words.
fn records(path: &Path) -> Vec<(usize, usize, Argv)> {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut records) = (AOF2_MAGIC.len(), Vec::new());
    while let RecordStep::Ok { payload, consumed } = next_record(&bytes, at) {
        let (argv, _) = parse_command(payload).unwrap().unwrap();
        records.push((at, at + consumed, argv));
        at += consumed;
    }
    records
}

/// The end of every record of a log.
fn record_ends(path: &Path) -> Vec<usize> {
    let ends: Vec<_> = records(path).iter().map(|(_, end, _)| *end).collect();
    let end = ends.last().copied().unwrap_or(AOF2_MAGIC.len());
    assert_eq!(end as u64, path.metadata().unwrap().len(), "{} is whole", path.display());
    ends
}

/// Where each record of a log that sets a key of this name begins and ends.
fn writes_of(path: &Path, key: &str) -> Vec<(usize, usize)> {
    let of = |argv: &Argv| argv.len() > 1 && argv[1].starts_with(key.as_bytes());
    records(path).iter().filter(|(.., argv)| of(argv)).map(|(begin, end, _)| (*begin, *end)).collect()
}

fn keys(node: &Node) -> u64 {
    node.client().ask("DBSIZE").trim_start_matches(':').parse().unwrap()
}

/// Waits until the election was told of so many writes, and says what it was told.
fn told(node: &Node, writes: u64) -> Vec<u64> {
    let offsets = || node.office.offsets.lock().unwrap().clone();
    until(&format!("the election knows of {writes} writes"), || {
        (offsets().iter().sum::<u64>() == writes).then(offsets)
    })
}

/// Every kind of write whose record differs from its frame, or that has more or fewer of one than of the other.
fn write_everything(client: &mut Client) {
    for line in [
        "SET plain v",
        "SET short v EX 1000",
        "SETEX older 1000 v",
        "PSETEX oldest 1000000 v",
        "EXPIRE plain 1000",
        "PEXPIRE plain 2000000",
        "GETEX plain EX 500",
        "GETEX missing EX 500",
        "PERSIST plain",
        "PEXPIREAT plain 32503680000000",
        "HSET hash f v g v",
        "HEXPIRE hash 1000 FIELDS 1 f",
        "HPEXPIRE hash 1000000 FIELDS 2 f g",
        "MSET a 1 b 2 c 3 d 4",
        "DEL a missing b",
        "SADD set x y z",
        "SPOP set",
        "SPOP missing",
        "XADD stream * f v",
        "RPUSH list x y",
        "LPOP list",
        "INCR counter",
        "APPEND text more",
        "RENAME text other",
        "COPY other third",
    ] {
        let said = client.ask(line);
        assert!(!said.starts_with('-'), "{line}: {said}");
    }
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET in:one 1 EX 1000"), "+QUEUED");
    assert_eq!(client.ask("SET in:two 2"), "+QUEUED");
    client.ask("EXEC");
}

fn claims_what_its_log_gives_back(shards: u16) {
    let cluster = Cluster::new(2, shards);
    let [a, b] = cluster.reigning(3);
    let mut client = a.client();
    write_keys(&mut client, "k", 40);
    write_everything(&mut client);
    write_keys(&mut client, "l", 40);
    assert_eq!(client.ask("WAIT 1 60000"), ":1");
    for i in 0..40 {
        until_reads(&b, &format!("l{i}"), &i.to_string());
    }
    let held = b.host.detach();
    if shards == 1 {
        assert_eq!(held, position(3, &told(&a, held.progress().offset)), "primary and replica agree");
    }
    let (mut of_primary, mut of_replica) = (image(&cluster, 0), image(&cluster, 1));
    // What was said is on its way to the file for a turn of the shard or two.
    until("both logs have every write", || {
        (of_primary, of_replica) = (image(&cluster, 0), image(&cluster, 1));
        // Each shard writes its own.
        let whole = |dir: &Dir| {
            let logs = (0..usize::from(shards)).flat_map(|shard| records(&layout::aof_path(&dir.0, shard)));
            let keys: Vec<_> = logs.filter_map(|(.., argv)| argv.get(1).map(|key| key.to_vec())).collect();
            (0..40).all(|i| keys.contains(&format!("l{i}").into_bytes()))
        };
        (whole(&of_primary) && whole(&of_replica)).then_some(())
    });
    a.stop();
    b.stop();
    for (node, image) in [(0, of_primary), (1, of_replica)] {
        for record in [ahead(), behind(), None] {
            put_back(&cluster, node, &image);
            let restarted = cluster.start_from(node, record.clone());
            let claimed = restarted.position.clone();
            match shards {
                1 => assert_eq!(claimed, held, "node {node} with a record of {record:?}"),
                _ => claims_a_cut_or_two_more(&restarted, &held),
            }
            restarted.stop();
            // And once more, from what an orderly stop left.
            let again = cluster.start_from(node, record);
            assert_eq!(again.position, claimed, "node {node} after an orderly stop");
            again.stop();
        }
    }
}

#[test]
fn a_node_claims_after_a_restart_what_its_log_gives_back_on_one_shard() {
    claims_what_its_log_gives_back(1);
}

#[test]
fn a_node_claims_after_a_restart_what_its_log_gives_back_on_three_shards() {
    claims_what_its_log_gives_back(3);
}

#[test]
fn a_log_that_is_cut_claims_what_is_left_of_it() {
    let cluster = Cluster::new(2, 1);
    let [a, b] = cluster.reigning(3);
    write_keys(&mut a.client(), "k", 200);
    assert_eq!(a.client().ask("WAIT 1 60000"), ":1");
    until_reads(&b, "k199", "199");
    a.stop();
    b.stop();
    for node in [0, 1] {
        let whole = image(&cluster, node);
        let path = log(&cluster, node, 0);
        let ends = record_ends(&path);
        // At the end of a record, in its header, and in its middle.
        for (records, bytes) in [(1, 0), (7, 3), (60, 17)] {
            put_back(&cluster, node, &whole);
            let cut = ends[ends.len() - 1 - records] - bytes;
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut as u64).unwrap();
            let restarted = cluster.start_from(node, ahead());
            assert_eq!(
                restarted.position,
                position(3, &[keys(&restarted)]),
                "node {node}, {records} records cut"
            );
            assert!((130..=200).contains(&keys(&restarted)));
        }
    }
}

/// Overwrites bytes of a stopped node's log with zeros, starts it, and says what it claims and how many keys it has.
fn zeroed(cluster: &Cluster, from: usize, to: usize) -> (Position, u64) {
    let path = log(cluster, 0, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[from..to].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let restarted = cluster.start_from(0, ahead());
    (restarted.position.clone(), keys(&restarted))
}

#[test]
fn a_log_that_is_zeroed_at_its_end_claims_what_is_before_and_one_that_is_damaged_in_the_middle_nothing() {
    let cluster = Cluster::new(1, 1);
    let node = cluster.start(0);
    node.promote(3);
    write_keys(&mut node.client(), "k", 100);
    node.stop();
    let whole = image(&cluster, 0);
    let path = log(&cluster, 0, 0);
    let writes = writes_of(&path, "k");
    assert_eq!(writes.len(), 100);
    let end = *record_ends(&path).last().unwrap();
    // From the middle of a record to the end of the file.
    let (claimed, keys) = zeroed(&cluster, writes[90].0 + 11, end);
    assert_eq!((claimed, keys), (position(3, &[90]), 90));
    // Whole records at the end.
    put_back(&cluster, 0, &whole);
    let (claimed, keys) = zeroed(&cluster, writes[95].0, end);
    assert_eq!((claimed, keys), (position(3, &[95]), 95));
    // In the middle: what follows is gone although it was there.
    for (from, to) in [(writes[50].0, writes[52].1), (writes[50].0 + 10, writes[50].0 + 14)] {
        put_back(&cluster, 0, &whole);
        let (claimed, _) = zeroed(&cluster, from, to);
        assert_eq!(claimed, Position::NONE);
    }
    // A length that lies.
    put_back(&cluster, 0, &whole);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[writes[50].0..writes[50].0 + 4].copy_from_slice(&100_000_000u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(cluster.start_from(0, ahead()).position, Position::NONE);
}

#[test]
fn without_a_log_a_node_claims_its_snapshot_and_no_more() {
    let mut cluster = Cluster::new(2, 1);
    cluster.aof = false;
    let [a, b] = cluster.reigning(3);
    write_keys(&mut a.client(), "k", 100);
    assert_eq!(a.client().ask("WAIT 1 60000"), ":1");
    for node in [&a, &b] {
        until_reads(node, "k99", "99");
        assert!(node.client().ask("BGSAVE").starts_with('+'));
    }
    for node in [0, 1] {
        until("the snapshot is there", || {
            layout::snapshot_path(&cluster.dirs[node].0, 0).exists().then_some(())
        });
    }
    write_keys(&mut a.client(), "later", 1000);
    assert_eq!(a.client().ask("WAIT 1 60000"), ":1");
    a.stop();
    b.stop();
    for node in [0, 1] {
        let restarted = cluster.start_from(node, Some(position(3, &[1100])));
        assert_eq!(keys(&restarted), 100);
        let claimed = restarted.position.clone();
        assert_eq!(claimed.stream_epoch(), Epoch(3));
        // A primary's own snapshot may claim a tick's writes too few.
        assert!((1..=100).contains(&claimed.progress().offset), "{claimed:?}");
        if node == 1 {
            assert_eq!(claimed, position(3, &[100]), "a replica counts what it applies");
        }
        restarted.stop();
    }
}

#[test]
fn without_a_log_and_without_a_snapshot_a_node_claims_nothing() {
    let mut cluster = Cluster::new(1, 1);
    cluster.aof = false;
    let node = cluster.start(0);
    node.promote(3);
    write_keys(&mut node.client(), "k", 10);
    node.stop();
    assert_eq!(cluster.start_from(0, Some(position(3, &[10]))).position, Position::NONE);
}

#[test]
fn a_rewrite_of_the_log_or_a_snapshot_keeps_the_claim_exact() {
    for command in ["BGREWRITEAOF", "BGSAVE"] {
        let cluster = Cluster::new(2, 2);
        let [a, b] = cluster.reigning(3);
        write_keys(&mut a.client(), "k", 300);
        assert_eq!(a.client().ask("WAIT 1 60000"), ":1");
        until_reads(&b, "k299", "299");
        for (at, node) in [&a, &b].into_iter().enumerate() {
            let before: Vec<_> = (0..2).map(|shard| file_id(&log(&cluster, at, shard))).collect();
            assert!(node.client().ask(command).starts_with('+'));
            until(&format!("{command} has replaced both logs"), || {
                (0..2).all(|shard| file_id(&log(&cluster, at, shard)) != before[shard]).then_some(())
            });
        }
        write_keys(&mut a.client(), "l", 50);
        assert_eq!(a.client().ask("WAIT 1 60000"), ":1");
        // Each shard has its own of them.
        (0..50).for_each(|i| until_reads(&b, &format!("l{i}"), &i.to_string()));
        let held = b.host.detach();
        a.stop();
        b.stop();
        for node in [0, 1] {
            let restarted = cluster.start_from(node, ahead());
            assert_eq!(keys(&restarted), 350, "{command}, node {node}");
            claims_a_cut_or_two_more(&restarted, &held);
        }
    }
}

/// Cuts may have come, with several shards, when a replica had said already what it holds.
#[track_caller]
fn claims_a_cut_or_two_more(node: &Node, held: &Position) {
    let claimed = &node.position;
    assert!(claimed.dominates(held), "{claimed:?} and {held:?}");
    assert!(claimed.progress().offset - held.progress().offset <= 8, "{claimed:?} and {held:?}");
}

fn file_id(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|data| data.ino())
}

#[test]
fn a_flush_is_counted_when_it_is_read_back() {
    let cluster = Cluster::new(2, 2);
    let [a, b] = cluster.reigning(3);
    write_keys(&mut a.client(), "k", 50);
    assert_eq!(a.client().ask("FLUSHALL"), "+OK");
    write_keys(&mut a.client(), "l", 20);
    until_reads(&b, "l19", "19");
    until("the replica holds a cut behind the flush and what was written then", || {
        (b.office.offsets.lock().unwrap().iter().sum::<u64>() >= (2 << 40) + 20).then_some(())
    });
    let held = b.host.detach();
    a.stop();
    b.stop();
    claims_a_cut_or_two_more(&cluster.start_from(1, behind()), &held);
    claims_a_cut_or_two_more(&cluster.start_from(0, behind()), &held);
}

#[test]
fn a_newer_history_with_one_write_beats_an_older_one_with_many_after_all_were_killed() {
    let cluster = Cluster::new(3, 1);
    let [a, b] = cluster.reigning(1);
    let c = cluster.start(2);
    c.follow(1, &a);
    c.wait_joined(1);
    write_keys(&mut a.client(), "k", 10);
    assert_eq!(a.client().ask("WAIT 2 60000"), ":2");
    // Nobody follows any more: these are confirmed by nobody.
    b.host.detach();
    c.host.detach();
    write_keys(&mut a.client(), "unconfirmed", 100);
    told(&a, 110);
    a.stop();
    b.promote(2);
    c.follow(2, &b);
    c.wait_joined(2);
    assert_eq!(b.client().ask("SET confirmed yes"), "+OK");
    assert_eq!(b.client().ask("WAIT 1 60000"), ":1");
    until_reads(&c, "confirmed", "yes");
    b.stop();
    c.stop();
    let stale = cluster.start_from(0, ahead()).position.clone();
    assert_eq!(stale, position(1, &[110]));
    for node in [1, 2] {
        let fresh = cluster.start_from(node, behind()).position.clone();
        assert_eq!(fresh, position(2, &[1]));
        assert!(fresh.progress() > stale.progress());
    }
}

#[test]
fn an_office_that_was_taken_up_is_named_before_the_first_write() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(7);
    let image = image(&cluster, 0);
    node.stop();
    assert_eq!(cluster.start_from(0, behind()).position, position(7, &[0, 0]));
    // As it was when the promotion had returned; the file may be a turn behind, but then there are no writes in it.
    put_back(&cluster, 0, &image);
    let claimed = cluster.start_from(0, ahead()).position.clone();
    assert!(claimed == position(7, &[0, 0]) || claimed == Position::NONE, "{claimed:?}");
}

/// Appends records to a stopped node's log, as a server that was killed left them.
fn append(path: &Path, records: &[&str]) {
    let mut bytes = std::fs::read(path).unwrap();
    for record in records {
        let words: Vec<Vec<u8>> = record.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        write_record_multibulk(&mut bytes, &Argv::from(words), &mut Vec::new()).unwrap();
    }
    std::fs::write(path, bytes).unwrap();
}

/// The lineage that a log's last mark names.
fn lineage(path: &Path) -> String {
    let (.., mark) = records(path).into_iter().rfind(|(.., argv)| argv[0] == *b"ELECT.MARK").unwrap();
    String::from_utf8(mark[1].to_vec()).unwrap()
}

#[test]
fn a_kill_while_a_full_copy_lands_claims_the_old_data_or_nothing_and_never_a_mixture() {
    let cluster = Cluster::new(1, 1);
    let node = cluster.start(0);
    node.promote(3);
    write_keys(&mut node.client(), "k", 20);
    node.stop();
    let whole = image(&cluster, 0);
    let path = log(&cluster, 0, 0);
    let line = lineage(&path);
    // Killed before the log was replaced: the old data is whole.
    append(&path, &[&format!("ELECT.LOAD {line} 1")]);
    assert_eq!(cluster.start_from(0, ahead()).position, position(3, &[20]));
    // Killed when the log could not be replaced and frames of the new history went behind the old ones.
    put_back(&cluster, 0, &whole);
    append(&path, &[&format!("ELECT.LOAD {line} 1"), "SET other v", "ELECT.MARK 77 9:0:1 - 0"]);
    assert_eq!(cluster.start_from(0, ahead()).position, Position::NONE);
    // A mark of another lineage belongs to data that is not here.
    put_back(&cluster, 0, &whole);
    append(&path, &["ELECT.MARK 77 9:0:1000 - 0"]);
    assert_eq!(cluster.start_from(0, ahead()).position, position(3, &[20]));
    // Where a mark contradicts the count, the mark is right.
    put_back(&cluster, 0, &whole);
    append(&path, &[&format!("ELECT.MARK {line} 3:0:25 - 0"), "SET other v"]);
    assert_eq!(cluster.start_from(0, ahead()).position, position(3, &[26]));
}

#[test]
fn shards_that_took_up_a_new_history_only_in_part_claim_the_old_one() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(3);
    write_keys(&mut node.client(), "k", 100);
    told(&node, 100);
    node.stop();
    let old = image(&cluster, 0);
    let node = cluster.start(0);
    node.promote(8);
    write_keys(&mut node.client(), "l", 100);
    node.stop();
    // The second shard's log did not reach the disk.
    std::fs::copy(layout::aof_path(&old.0, 1), log(&cluster, 0, 1)).unwrap();
    let node = cluster.start_from(0, ahead());
    // Nobody followed, so there was no cut of that history but its beginning.
    assert_eq!(node.position, position(3, &[0, 0]));
    node.stop();
    // A shard's log is gone altogether.
    std::fs::remove_file(log(&cluster, 0, 1)).unwrap();
    assert_eq!(cluster.start_from(0, ahead()).position, Position::NONE);
}

#[test]
fn data_that_no_election_has_named_is_more_than_nothing_and_less_than_any_history() {
    for shards in [1, 3] {
        let cluster = Cluster::new(1, shards);
        // As plain kevy, or a version before marks, left it.
        drop(cluster.start(0));
        let key_of = |shard| record_ends(&log(&cluster, 0, shard)).is_empty();
        assert!((0..usize::from(shards)).all(key_of), "a new node has nothing to say");
        append(&log(&cluster, 0, usize::from(shards) - 1), &["SET k v"]);
        let mut unnamed = vec![0; usize::from(shards)];
        unnamed[0] = 1;
        let node = cluster.start_from(0, ahead());
        assert_eq!(node.position, position(0, &unnamed));
        node.promote(4);
        node.stop();
        assert_eq!(cluster.start_from(0, behind()).position, position(4, &vec![0; usize::from(shards)]));
    }
}
