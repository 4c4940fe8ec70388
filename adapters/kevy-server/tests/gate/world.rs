//! A keyspace with a key of every type on every shard.

use crate::contents::{Contents, text};
use crate::wire::{Wire, Words, show, words};
use kevy_persist::Routing;
use kevy_resp::Reply;
use kevy_rt::shard_of_key;

/// What writes when a command wants a script.
pub const SCRIPT: &str = "return redis.call('SET',KEYS[1]or'str:script','scripted')";

/// The keys of one type: one per shard, so that whatever shard a connection is on, most are on another one.
pub struct World {
    pub shards: usize,
    /// The digest of [`SCRIPT`].
    pub sha: String,
}

/// What the keys are called, by the group of commands that use them.
const BASES: [(&str, &[&str]); 8] = [
    ("string", &["str", "num"]),
    ("hash", &["hash"]),
    ("list", &["list", "pair"]),
    ("set", &["set", "other"]),
    ("zset", &["zset", "range"]),
    ("stream", &["stream"]),
    ("geo", &["geo"]),
    ("nothing", &["new", "also"]),
];

impl World {
    pub fn new(shards: u16) -> Self {
        Self { shards: usize::from(shards), sha: String::new() }
    }

    /// Keys that commands of `group` work with; all there are where the group is none of the types.
    pub fn keys(&self, group: &str) -> Vec<String> {
        let mine: Vec<&str> = BASES
            .iter()
            .filter(|(of, _)| *of == group)
            .flat_map(|(_, bases)| bases.iter().copied())
            .collect();
        let bases = match mine.is_empty() {
            true => BASES.iter().flat_map(|(_, bases)| bases.iter().copied()).collect(),
            false => mine,
        };
        bases.iter().flat_map(|base| (0..self.shards).map(|shard| self.key(base, shard))).collect()
    }

    /// The key of this name that is on `shard`.
    pub fn key(&self, base: &str, shard: usize) -> String {
        let on = |key: &String| shard_of_key(key.as_bytes(), self.shards, Routing::KevyHash) == shard;
        (0..).map(|n| format!("{base}:{n}")).find(on).unwrap()
    }

    /// Fills the keyspace of a node that may write.
    pub fn fill(&mut self, wire: &mut Wire) {
        let mut all: Vec<Words> = Vec::new();
        for shard in 0..self.shards {
            let mut add =
                |line: &str, base: &str| all.push(words(&line.replace("KEY", &self.key(base, shard))));
            add("SET KEY some-text", "str");
            // Moments, not times from now on: the servers of one process share a clock, and each that starts sets it back.
            add("SET KEY 100", "num");
            add("PEXPIREAT KEY 3900000000000", "num");
            add("HSET KEY a 1 b 2 c 3", "hash");
            add("HPEXPIREAT KEY 3900000000000 FIELDS 1 b", "hash");
            add("RPUSH KEY a b c a", "list");
            add("RPUSH KEY a b", "pair");
            add("PEXPIREAT KEY 3900000000000", "pair");
            add("SADD KEY a b c", "set");
            add("SADD KEY b c d", "other");
            add("ZADD KEY 1 a 2 b 3 c", "zset");
            add("ZADD KEY 2 b 50 d", "range");
            add("GEOADD KEY 10 10 a 11 10 b 10 11 c", "geo");
            add("XADD KEY 1-1 a 1", "stream");
            add("XADD KEY 2-1 b 2", "stream");
            add("XGROUP CREATE KEY g 0", "stream");
            add("XREADGROUP GROUP g c1 COUNT 1 STREAMS KEY >", "stream");
            add("HSET KEY id 1 n 7", "row");
        }
        let replies = wire.ask_all(&all);
        // One after the other: the second is not on the shard of the first, and asks it.
        let catalogs = [
            "IDX.CREATE ix ON PREFIX row: FIELD n TYPE i64 KIND range",
            "TABLE.DECLARE tab PREFIX col: PK id COLUMN id str COLUMN n i64",
            "VIEW.CREATE view QUERY ix RANGE 0 100 ORDER BY ix",
        ];
        let declared = catalogs.map(|line| wire.ask(line));
        all.extend(catalogs.map(words));
        for (command, reply) in all.iter().zip(replies.iter().chain(&declared)) {
            assert!(!matches!(reply, Reply::Error(_)), "{}: {}", show(command), text(reply));
        }
        self.load(wire);
    }

    /// Makes the script known, which replicas do not tell each other.
    pub fn load(&mut self, wire: &mut Wire) {
        let load = vec![b"SCRIPT".to_vec(), b"LOAD".to_vec(), SCRIPT.as_bytes().to_vec()];
        self.sha = text(&wire.ask_all(&[load])[0]);
    }

    /// Puts everything back as [`World::fill`] left it.
    pub fn restore(&mut self, wire: &mut Wire, pristine: &Contents) {
        wire.ask("FLUSHALL");
        for (list, drop) in
            [("VIEW.LIST", "VIEW.DROP"), ("TABLE.LIST", "TABLE.DROP"), ("IDX.LIST", "IDX.DROP")]
        {
            let Reply::Array(entries) = wire.ask(list) else { panic!("{list}") };
            let name = |entry: &Reply| match entry {
                Reply::Array(fields) => text(&fields[1]),
                other => panic!("{}", text(other)),
            };
            let names: Vec<Words> = entries
                .iter()
                .map(|entry| vec![drop.as_bytes().to_vec(), name(entry).into_bytes()])
                .collect();
            wire.ask_all(&names);
        }
        self.fill(wire);
        let now = Contents::of(wire);
        assert_eq!(pristine.difference(&now), Vec::<String>::new(), "put back");
    }
}
