//! Whatever a client sends, and whichever way it sends it: a node that may not write changes nothing.
//!
//! The commands are the server's own list, their arguments are drawn from the server's own description of them
//! (`clients/commands`), and what counts is what the server holds afterwards (`contents.rs`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "modules of a test")]

#[path = "../common/mod.rs"]
mod common;

mod blocked;
mod browser;
mod commands;
mod contents;
mod ending;
mod limit;
mod nulls;
mod races;
mod syntax;
mod unknown;
mod ways;
mod wire;
mod world;

use commands::Command;
use common::{Cluster, Node, until};
use contents::{Contents, text};
use kevy_elect_plugin::host::FenceReason;
use limit::Limit;
use std::sync::OnceLock;
use ways::Way;
use wire::{Wire, show, words};
use world::World;

/// How many servers are tried out with: one shard, and several, where most commands go on to another one.
const SHARDS: [u16; 2] = [1, 4];

/// How often a command that waits for data is tried.
const TRIED_AGAIN: usize = 10;

/// Commands after which the contents are looked at.
const AT_ONCE: usize = 8;

/// The commands, tried out once for all tests.
fn commands(shards: u16) -> &'static [Command] {
    static FOUND: [OnceLock<Vec<Command>>; 2] = [OnceLock::new(), OnceLock::new()];
    let at = SHARDS.iter().position(|known| *known == shards).unwrap();
    FOUND[at].get_or_init(|| {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        let limit = Limit::start("trying out what the server knows");
        let found = commands::find(&mut Wire::open(node.port), &mut World::new(shards), &limit);
        node.stop();
        found
    })
}

/// A node that may not write, and the others of its cluster.
struct Shut {
    node: Node,
    /// Who wrote what it holds, where that is another node.
    primary: Option<Node>,
    /// Keeps the directories.
    _cluster: Cluster,
}

/// Why it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Replica,
    Fenced,
    Demoted,
}

impl Shut {
    fn new(why: Why, shards: u16) -> Self {
        let cluster = Cluster::new(2, shards);
        let (a, b) = (cluster.start(0), cluster.start(1));
        let mut world = World::new(shards);
        a.promote(1);
        world.fill(&mut Wire::open(a.port));
        let (node, primary) = match why {
            Why::Fenced => {
                a.fence(FenceReason::LeaseExpired);
                (a, None)
            }
            Why::Replica => {
                b.follow(1, &a);
                b.wait_joined(1);
                (b, Some(a))
            }
            Why::Demoted => {
                b.follow(1, &a);
                b.wait_joined(1);
                a.fence(FenceReason::Deposed);
                b.host.detach();
                b.promote(2);
                a.follow(2, &b);
                a.wait_joined(2);
                (a, Some(b))
            }
        };
        // Neither tells the other about scripts.
        world.load(&mut Wire::open(node.port));
        let shut = Self { node, primary, _cluster: cluster };
        until("it holds what the primary does", || shut.differences_from_primary().is_empty().then_some(()));
        shut
    }

    /// What is not as on the node that may write.
    fn differences_from_primary(&self) -> Vec<String> {
        let Some(primary) = &self.primary else { return Vec::new() };
        let theirs = Contents::of(&mut Wire::open(primary.port));
        let difference = theirs.difference(&Contents::of(&mut Wire::open(self.node.port)));
        difference.into_iter().map(|difference| format!("on the primary {difference}")).collect()
    }

    /// Lets clients queue what they want, and then not.
    fn open_for(&self, act: impl FnOnce()) {
        let shut = std::mem::replace(&mut *self.node.office.gate.lock().unwrap(), Ok(()));
        act();
        *self.node.office.gate.lock().unwrap() = shut;
    }
}

/// Sends every command in every way, and says what went wrong.
fn try_everything(shut: &Shut, commands: &[Command]) -> Vec<String> {
    let limit = Limit::start("trying everything on a node that may not write");
    let mut wrong = Vec::new();
    let mut wire = Wire::open(shut.node.port);
    let mut look = Wire::open(shut.node.port);
    let sha = text(&wire.ask_all(&[Way::prepare()])[0]);
    let mut before = Contents::of(&mut look);
    assert!(before.len() > 10, "there is something to change");
    for &way in Way::ALL {
        for some in commands.chunks(AT_ONCE) {
            limit.at(format!("{way:?}, from {} on", some[0].name));
            for command in some {
                let tries =
                    command.tries.iter().filter(|_| way.takes(command.blocks)).filter_map(|attempt| {
                        Some((attempt, way.group(&attempt.words, &sha, command.waits)?))
                    });
                let (tries, groups): (Vec<_>, Vec<_>) = tries.unzip();
                for (attempt, replies) in tries.iter().zip(wire.exchange(&groups)) {
                    if attempt.changes && !way.refused(&replies) {
                        let said: Vec<String> = replies.iter().map(text).collect();
                        wrong.push(format!("{way:?} {}: was answered {said:?}", show(&attempt.words)));
                    }
                }
            }
            let after = Contents::of(&mut look);
            for difference in before.difference(&after) {
                let names: Vec<&str> = some.iter().map(|command| command.name.as_str()).collect();
                wrong.push(format!("{way:?}, one of {}: {difference}", names.join(" ")));
            }
            before = after;
        }
    }
    wrong.extend(shut.differences_from_primary());
    wrong
}

fn changes_nothing(why: Why) {
    for shards in SHARDS {
        let commands = commands(shards);
        let shut = Shut::new(why, shards);
        let wrong = [unknown::let_through(&shut), try_everything(&shut, commands)].concat();
        assert!(wrong.is_empty(), "{} on {shards} shards, {why:?}:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn a_replica_changes_nothing_whatever_it_is_told() {
    changes_nothing(Why::Replica);
}

#[test]
fn a_fenced_primary_changes_nothing_whatever_it_is_told() {
    changes_nothing(Why::Fenced);
}

#[test]
fn a_demoted_primary_changes_nothing_whatever_it_is_told() {
    changes_nothing(Why::Demoted);
}

/// A transaction that was queued while the node could write, and executed when it could not any more.
#[test]
fn what_was_queued_before_the_gate_shut_changes_nothing_after_it() {
    for (shards, why) in [(1, Why::Fenced), (4, Why::Fenced), (1, Why::Replica), (4, Why::Demoted)] {
        let shut = Shut::new(why, shards);
        let (mut wire, mut look) = (Wire::open(shut.node.port), Wire::open(shut.node.port));
        let before = Contents::of(&mut look);
        let mut wrong = Vec::new();
        for (first, command) in ["PING", "WATCH nobody-writes-this"]
            .into_iter()
            .flat_map(|first| commands(shards).iter().map(move |command| (first, command)))
        {
            let Some(attempt) = command.changing() else { continue };
            shut.open_for(|| drop(wire.ask_all(&[words(first), words("MULTI"), attempt.words.clone()])));
            let exec = wire.ask("EXEC");
            if !Way::Multi.refused(std::slice::from_ref(&exec)) {
                wrong.push(format!("{first}, {}: EXEC said {}", show(&attempt.words), text(&exec)));
            }
        }
        wrong.extend(before.difference(&Contents::of(&mut look)));
        wrong.extend(shut.differences_from_primary());
        assert!(wrong.is_empty(), "{why:?} on {shards} shards:\n{}", wrong.join("\n"));
    }
}

/// The test is worth something only if what it sends does something where it may.
#[test]
fn what_is_tried_is_real() {
    let limit = Limit::start("what_is_tried_is_real");
    for shards in SHARDS {
        let all = commands(shards);
        let mut never: Vec<&str> = all
            .iter()
            .filter(|command| command.changing().is_none())
            .map(|command| command.name.as_str())
            .collect();
        never.sort_unstable();
        // A command that is new here: does it read only, or do the arguments make no sense? Then help syntax.rs.
        assert_eq!(
            never.join(" "),
            NEVER_CHANGE.split_whitespace().collect::<Vec<_>>().join(" "),
            "{shards} shards"
        );
        assert!(
            all.len() - never.len() >= 85,
            "{} of {} change something",
            all.len() - never.len(),
            all.len()
        );
        for (way, of, still) in shares(shards, &limit) {
            let changed = of - still.len();
            assert!(
                changed * 10 >= of * way.least_tenths(),
                "{way:?}: of {of} these changed nothing: {still:?}"
            );
        }
    }
}

/// In each way that can change something: how many commands that do by themselves were tried, and which changed nothing.
fn shares(shards: u16, limit: &Limit) -> Vec<(Way, usize, Vec<String>)> {
    let cluster = Cluster::new(1, shards);
    let node = cluster.start(0);
    node.promote(1);
    let (mut wire, mut look, mut world) = (Wire::open(node.port), Wire::open(node.port), World::new(shards));
    world.fill(&mut look);
    let sha = text(&wire.ask_all(&[Way::prepare()])[0]);
    let pristine = Contents::of(&mut look);
    let mut all = Vec::new();
    for (turn, way) in Way::ALL.iter().copied().filter(|way| way.least_tenths() > 0).enumerate() {
        let (mut of, mut still) = (0, Vec::new());
        // A third of them; together the ways try all.
        for command in commands(shards).iter().skip(turn % 3).step_by(3) {
            // A transaction or a script that waits never ends, in kevy 7.0.0 with several shards.
            if command.blocks && !matches!(way, Way::Plain | Way::SmallLetters | Way::Inline | Way::Resp3) {
                continue;
            }
            // The last way to use it is a short one.
            let Some(attempt) = command.tries.iter().rfind(|attempt| attempt.changes) else { continue };
            let Some(group) = way.group(&attempt.words, &sha, true) else { continue };
            of += 1;
            limit.at(format!("{way:?} {} on {shards} shards", show(&attempt.words)));
            let mut said = Vec::new();
            // One that waits for data on another shard gives up before it has looked there, where the machine is busy.
            let changed = (0..if command.blocks { TRIED_AGAIN } else { 1 }).any(|_| {
                said = wire.exchange(std::slice::from_ref(&group));
                !pristine.difference(&Contents::of(&mut look)).is_empty()
            });
            match changed {
                true => world.restore(&mut look, &pristine),
                false => still.push(format!("{}: {said:?}", show(&attempt.words))),
            }
        }
        all.push((way, of, still));
    }
    all
}

/// What changed nothing, however it was used: what reads, what works on other things than data, and what is refused to
/// every client on every node.
const NEVER_CHANGE: &str = "
    AGG.FETCH BGREWRITEAOF BGSAVE BITCOUNT BITPOS CLIENT CLUSTER COMMAND CONFIG DBSIZE DEBUG DISCARD ECHO
    ELECT.BARRIER EVALSHA_RO EVAL_RO EXEC EXISTS FAILOVER FEED.READ FEED.SHARDS FEED.TAIL GEODIST
    GEOHASH GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GET GETBIT GETRANGE HELLO HEXISTS
    HGET HGETALL HKEYS HLEN HMGET HPTTL HRANDFIELD HSCAN HTTL HVALS IDX.ADVISE IDX.COUNT
    IDX.DESCRIBE IDX.EXPLAIN IDX.LIST IDX.PART IDX.QUERY IDX.REBUILD IDX.VERIFY INFO KEYS LINDEX
    LLEN LPOS LRANGE MATCH.SCORE MEMORY MGET MOVE-SCOPE MOVE-SCOPE-INGEST MULTI PING PREFIX.DIGEST
    PREFIX.STATS PSUBSCRIBE PTTL PUBLISH PUNSUBSCRIBE QUIT RANDOMKEY REPL.TOKEN REPL.WAIT REPLICAOF
    ROLE SAVE SCAN SCARD SCRIPT SDIFF SELECT SHUTDOWN SINTER SISMEMBER SLAVEOF SLOWLOG SMEMBERS SRANDMEMBER
    SSCAN STRLEN SUBSCRIBE SUNION TABLE.DESCRIBE TABLE.LIST TABLE.VERIFY TIME TOUCH TTL TYPE
    UNSUBSCRIBE UNWATCH VIEW.DESCRIBE VIEW.EXPLAIN VIEW.HYDRATE VIEW.LIST VIEW.QUERY VIEW.REBUILD
    VIEW.VERIFY WAIT WATCH XINFO XINTERNAL.CATALOG XINTERNAL.CONSUMERSEEN XINTERNAL.PENDING XLEN
    XPENDING XRANGE XREAD XREVRANGE ZCARD ZCOUNT ZINTERCARD ZPOPMIN.BELOW ZRANGE ZRANGEBYSCORE ZRANK
    ZREVRANGE ZREVRANGEBYSCORE ZSCAN ZSCORE
";
