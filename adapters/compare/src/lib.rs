//! Whether the nodes of a cluster hold the same keys, types, values and expiries, and if not, which keys differ.
//!
//! ```no_run
//! use kevy_elect_compare::{Options, Outcome, compare};
//! # fn main() -> Result<(), kevy_elect_compare::CompareError> {
//! let nodes = ["n1:6004", "n2:6004", "n3:6004"].map(str::to_owned);
//! let seen = compare(&nodes, &Options::default())?;
//! assert_eq!(seen.outcome(), Outcome::Equal, "{:?}", seen.differences);
//! # Ok(())
//! # }
//! ```
//!
//! It reads only, with `ELECT DIGEST` on the client port of every node, whatever its role is. First every node's keys are
//! folded into buckets of about 64 keys, a number each: at most 16 MiB of memory here, 24 bytes on the wire per key,
//! nothing kept there. Then only the buckets that differ are asked for their keys. Then every key that differs is
//! looked at again and again.
//!
//! **A cluster that is written to** need not stop. A key counts as different only if neither node changed it between two
//! looks, while the other node came to the position where the reference was when it was first looked at: by then
//! it must have been the same there. A key that changes all the time, or a node that does not come that far, is
//! undecided. What differs for a moment, and is equal at any later look, is equal.

mod client;
mod fold;
mod record;
pub mod resp;

use client::{Info, Node};
use fold::Fold;
pub use record::{Disagreement, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A key that ends within this time of now is left out: no two nodes look at it in the same moment.
const ENDS_SOON: Duration = Duration::from_secs(10);
/// What a primary tells of its position may be so old: its shards tell it when they tick.
const SETTLE: Duration = Duration::from_millis(300);
/// Between two looks at the keys that differ.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Looks that a key must have stayed the same for.
const LOOKS: usize = 3;
/// Keys of one question.
const KEYS_PER_QUESTION: usize = 512;
/// Keys that one pass over the buckets that differ brings in, about.
const KEYS_PER_PASS: u64 = 100_000;
/// Passes: what differs in more buckets is a load that changes everything, or so many differences that more help nobody.
const PASSES_MAX: usize = 8;
/// Keys that are looked at again and again.
const CANDIDATES_MAX: usize = 1000;

/// How to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// For how long keys that differ while the nodes move are looked at.
    pub patience: Duration,
    /// How far apart the ends of a key may be.
    pub slack: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), slack: Duration::from_secs(1) }
    }
}

/// What a node holds: the epoch of the primary whose history that is, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The epoch.
    pub stream_epoch: u64,
    /// Writes of all shards in it.
    pub offset: u64,
}

/// A node that was compared.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// Where it was asked.
    pub address: String,
    /// What it calls itself.
    pub name: String,
    /// Whether it was primary.
    pub primary: bool,
    /// Its position before its keys were read.
    pub before: Position,
    /// And after.
    pub after: Position,
    /// Keys that were compared.
    pub keys: u64,
}

/// A key that differs from the reference's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The key's name.
    pub key: Vec<u8>,
    /// The node, as an index into [`Comparison::nodes`].
    pub node: usize,
    /// In which way its value differs.
    pub how: Disagreement,
    /// As the reference has it.
    pub there: Option<Record>,
    /// As the node has it.
    pub here: Option<Record>,
}

/// What came of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Comparison {
    /// The nodes, in the order in which they were named.
    pub nodes: Vec<Seen>,
    /// With which of them the others were compared: the primary, or else the one that holds most.
    pub reference: usize,
    /// In the order of their keys.
    pub differences: Vec<Difference>,
    /// Whether there are more than were looked for.
    pub more: bool,
    /// Keys that could not be decided, and why.
    pub undecided: BTreeMap<Vec<u8>, &'static str>,
}

/// The whole in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All nodes hold the same.
    Equal,
    /// They do not.
    Different,
    /// No difference was proved, but not everything could be decided: the nodes move.
    Moving,
}

impl Outcome {
    /// As a person would say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Moving => "moving",
        }
    }
}

impl Comparison {
    /// The whole in a word.
    pub fn outcome(&self) -> Outcome {
        match () {
            () if !self.differences.is_empty() => Outcome::Different,
            () if !self.undecided.is_empty() || self.more => Outcome::Moving,
            () => Outcome::Equal,
        }
    }

    /// Whether all nodes were at one position, from before their keys were read until after.
    pub fn at_one_position(&self) -> bool {
        let position = self.nodes.first().map(|node| node.before).unwrap_or_default();
        self.nodes.iter().all(|node| node.before == position && node.after == position)
    }
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// One node alone is always equal.
    #[error("{0} named: it takes two to compare")]
    TooFew(String),
    /// A node does not do its part.
    #[error("{address} {why}")]
    Node {
        /// The node's address.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// Keys are in other shards.
    #[error("{one} has {ours} shards and {other} has {theirs}: such nodes cannot replicate each other")]
    Shards {
        /// One node.
        one: String,
        /// Its shards.
        ours: usize,
        /// Another node.
        other: String,
        /// Its shards.
        theirs: usize,
    },
}

/// What all nodes are walked over with.
struct Walk {
    bits: u32,
    shards: usize,
    cutoff: u64,
}

/// Compares nodes by their client addresses, `HOST:PORT`.
pub fn compare(addresses: &[String], options: &Options) -> Result<Comparison, CompareError> {
    if addresses.len() < 2 {
        return Err(CompareError::TooFew(match addresses.first() {
            Some(one) => format!("only {one}"),
            None => "no node".to_owned(),
        }));
    }
    let mut nodes: Vec<Node> = each(addresses.iter().map(String::as_str), Node::connect)?;
    let before: Vec<Info> = each(nodes.iter_mut(), Node::info)?;
    let (shards, now_ms) = (before[0].shards, before.iter().map(|info| info.now_ms).max().unwrap_or(0));
    if let Some(other) = before.iter().position(|info| info.shards != shards) {
        return Err(CompareError::Shards {
            one: addresses[0].clone(),
            ours: shards,
            other: addresses[other].clone(),
            theirs: before[other].shards,
        });
    }
    let keys = each(nodes.iter_mut(), Node::keys)?.into_iter().max().unwrap_or(0);
    let walk = Walk { bits: fold::bits(keys), shards, cutoff: now_ms + ms(ENDS_SOON) };
    let folds: Vec<Fold> = each(nodes.iter_mut(), |node| fold::fold(node, &walk, options.slack))?;
    std::thread::sleep(SETTLE);
    let after: Vec<Info> = each(nodes.iter_mut(), Node::info)?;

    let reference = reference(&after);
    let mut comparison = Comparison {
        nodes: (0..nodes.len())
            .map(|node| Seen {
                address: addresses[node].clone(),
                name: after[node].name.clone(),
                primary: after[node].primary,
                before: before[node].position,
                after: after[node].position,
                keys: folds[node].keys,
            })
            .collect(),
        reference,
        differences: Vec::new(),
        more: false,
        undecided: BTreeMap::new(),
    };
    let differing: BTreeSet<u32> = folds.iter().flat_map(|fold| folds[reference].differing(fold)).collect();
    drop(folds);
    let candidates = candidates(&mut nodes, &walk, &differing, keys, options, &mut comparison)?;
    decide(&mut nodes, candidates, options, &mut comparison)?;
    comparison.differences.sort_by(|a, b| (&a.key, a.node).cmp(&(&b.key, b.node)));
    Ok(comparison)
}

/// The primary if there is one, or else who holds most.
fn reference(infos: &[Info]) -> usize {
    let best = (0..infos.len()).max_by_key(|node| (infos[*node].primary, infos[*node].position));
    best.unwrap_or(0)
}

/// A key, the shard it is in, and a node that has it differently from the reference.
type Candidate = (Vec<u8>, usize, usize);

/// The keys in these buckets that differ.
fn candidates(
    nodes: &mut [Node],
    walk: &Walk,
    buckets: &BTreeSet<u32>,
    keys: u64,
    options: &Options,
    comparison: &mut Comparison,
) -> Result<BTreeSet<Candidate>, CompareError> {
    let buckets: Vec<u32> = buckets.iter().copied().collect();
    let in_bucket = (keys >> walk.bits).max(1);
    let pass = usize::try_from(KEYS_PER_PASS / in_bucket).unwrap_or(1).max(1);
    let mut candidates = BTreeSet::new();
    for (number, buckets) in buckets.chunks(pass).enumerate() {
        if number == PASSES_MAX || candidates.len() >= CANDIDATES_MAX {
            comparison.more = true;
            break;
        }
        let found = each(nodes.iter_mut(), |node| fold::keys_in(node, walk, buckets))?;
        let there = &found[comparison.reference];
        for (node, here) in found.iter().enumerate() {
            let all: BTreeSet<&Vec<u8>> = there.keys().chain(here.keys()).collect();
            for key in all {
                let (a, b) = (there.get(key), here.get(key));
                let how = record::disagreement(a.map(|(_, r)| r), b.map(|(_, r)| r), options.slack);
                let shard = a.or(b).map_or(0, |(shard, _)| *shard);
                if how.is_some() && candidates.len() < CANDIDATES_MAX {
                    candidates.insert((key.clone(), shard, node));
                } else if how.is_some() {
                    comparison.more = true;
                }
            }
        }
    }
    Ok(candidates)
}

/// What one look at all candidates showed, and where the nodes were when it began.
struct Look {
    infos: Vec<Info>,
    records: Vec<BTreeMap<Vec<u8>, Record>>,
}

impl Look {
    fn take(nodes: &mut [Node], candidates: &BTreeSet<Candidate>) -> Result<Self, CompareError> {
        let infos = each(nodes.iter_mut(), Node::info)?;
        let mut shards: BTreeMap<usize, BTreeSet<&[u8]>> = BTreeMap::new();
        for (key, shard, _) in candidates {
            shards.entry(*shard).or_default().insert(key);
        }
        let records = each(nodes.iter_mut(), |node| {
            let mut records = BTreeMap::new();
            for (shard, keys) in &shards {
                let keys: Vec<&[u8]> = keys.iter().copied().collect();
                for keys in keys.chunks(KEYS_PER_QUESTION) {
                    let bytes = node.look(*shard, keys)?;
                    record::parse(&bytes, &mut records)
                        .ok_or_else(|| node.failed("sends records that are cut".to_owned()))?;
                }
            }
            Ok(records)
        })?;
        Ok(Self { infos, records })
    }

    fn of(&self, node: usize, key: &[u8]) -> Option<Record> {
        self.records[node].get(key).copied()
    }
}

/// Looks at the candidates until each is decided or the patience is used up.
fn decide(
    nodes: &mut [Node],
    mut open: BTreeSet<Candidate>,
    options: &Options,
    comparison: &mut Comparison,
) -> Result<(), CompareError> {
    let begun = Instant::now();
    let reference = comparison.reference;
    let mut looks: Vec<Look> = Vec::new();
    // With which look a key's present state begins.
    let mut since: BTreeMap<Candidate, usize> = BTreeMap::new();
    while !open.is_empty() {
        if !looks.is_empty() {
            std::thread::sleep(LOOK_PAUSE);
        }
        looks.push(Look::take(nodes, &open)?);
        let last = looks.len() - 1;
        let look = &looks[last];
        let now_ms = look.infos.iter().map(|info| info.now_ms).max().unwrap_or(0);
        let over = begun.elapsed() > options.patience && looks.len() >= LOOKS;
        for candidate in open.clone() {
            let (key, _, node) = &candidate;
            let (there, here) = (look.of(reference, key), look.of(*node, key));
            let ends_soon = |record: Option<Record>| {
                record.is_some_and(|r| r.deadline_ms != 0 && r.deadline_ms < now_ms + ms(ENDS_SOON))
            };
            let how = record::disagreement(there.as_ref(), here.as_ref(), options.slack);
            let Some(how) = how.filter(|_| !ends_soon(there) && !ends_soon(here)) else {
                open.remove(&candidate);
                continue;
            };
            let begins = since.entry(candidate.clone()).or_insert(last);
            let same = |a: Option<Record>, b: Option<Record>| {
                record::disagreement(a.as_ref(), b.as_ref(), options.slack).is_none()
            };
            let first = &looks[*begins];
            if !same(first.of(reference, key), there) || !same(first.of(*node, key), here) {
                *begins = last;
            }
            match verdict(&looks, *begins, reference, *node) {
                Ok(()) => {
                    let difference = Difference { key: key.clone(), node: *node, how, there, here };
                    comparison.differences.push(difference);
                    open.remove(&candidate);
                }
                Err(why) if over => {
                    comparison.undecided.insert(key.clone(), why);
                    open.remove(&candidate);
                }
                Err(_) => {}
            }
        }
        if over {
            break;
        }
    }
    Ok(())
}

/// Whether a difference that is there since look `begins` is one, or what is missing for that.
fn verdict(looks: &[Look], begins: usize, reference: usize, node: usize) -> Result<(), &'static str> {
    if looks.len() - begins < LOOKS {
        return Err("it changes all the time");
    }
    // Told after the look at it, and late by less than the pause between looks: what the reference held, or more.
    let wanted = looks[begins + 1].infos[reference].position;
    let reached = looks[looks.len() - 1].infos[node].position;
    match () {
        () if reached.stream_epoch != wanted.stream_epoch => {
            Err("the nodes hold the histories of different primaries")
        }
        () if reached < wanted => Err("the node is behind"),
        () => Ok(()),
    }
}

/// Does it with all of them at once.
fn each<T: Send, R: Send>(
    of: impl Iterator<Item = T>,
    what: impl Fn(T) -> Result<R, CompareError> + Sync,
) -> Result<Vec<R>, CompareError> {
    let what = &what;
    std::thread::scope(|scope| {
        let threads: Vec<_> = of.map(|one| scope.spawn(move || what(one))).collect();
        let failed = |_| CompareError::Node { address: "a node".to_owned(), why: "was not asked".to_owned() };
        threads.into_iter().map(|thread| thread.join().map_err(failed)?).collect()
    })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(positions: &[[(u64, u64); 2]]) -> Vec<Look> {
        let info =
            |(stream_epoch, offset)| Info { position: Position { stream_epoch, offset }, ..Info::default() };
        let look = |of: &[(u64, u64); 2]| Look { infos: of.map(info).to_vec(), records: Vec::new() };
        positions.iter().map(look).collect()
    }

    #[test]
    fn a_difference_counts_once_the_node_has_come_to_where_the_reference_was() {
        let still = looks(&[[(7, 5), (7, 5)], [(7, 5), (7, 5)], [(7, 5), (7, 5)]]);
        assert_eq!(verdict(&still, 0, 0, 1), Ok(()));
        assert!(verdict(&still, 1, 0, 1).is_err_and(|why| why.contains("changes")));
        let behind = looks(&[[(7, 5), (7, 1)], [(7, 6), (7, 2)], [(7, 9), (7, 5)]]);
        assert!(verdict(&behind, 0, 0, 1).is_err_and(|why| why.contains("behind")));
        let moving = looks(&[[(7, 5), (7, 1)], [(7, 6), (7, 2)], [(7, 9), (7, 6)]]);
        assert_eq!(verdict(&moving, 0, 0, 1), Ok(()));
        let other = looks(&[[(7, 5), (6, 900)], [(7, 6), (6, 900)], [(7, 9), (6, 900)]]);
        assert!(verdict(&other, 0, 0, 1).is_err_and(|why| why.contains("histories")));
    }

    #[test]
    fn one_node_cannot_be_compared_and_one_that_is_not_there_is_named() {
        let one = ["127.0.0.1:1".to_owned()];
        assert!(compare(&one, &Options::default()).is_err_and(|error| error.to_string().contains("two")));
        let error = compare(&["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()], &Options::default());
        assert!(error.is_err_and(|error| error.to_string().contains("127.0.0.1:1 cannot be reached")));
    }
}
