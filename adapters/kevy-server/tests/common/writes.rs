//! Commands of every kind, each tried on keys of every type.

use super::Client;

/// Keys of every type, named so that one command can be tried on each. The tag keeps them on one shard.
const KEYS: [(&str, &str); 9] = [
    ("{t}string", "SET {t}string some"),
    ("{t}number", "SET {t}number 17"),
    ("{t}list", "RPUSH {t}list a b c a b c"),
    ("{t}set", "SADD {t}set a b c d e f g h"),
    ("{t}hash", "HSET {t}hash f v g 1 h 2"),
    ("{t}zset", "ZADD {t}zset 1 a 2 b 3 c"),
    ("{t}stream", "XADD {t}stream * f v"),
    ("{t}timed", "SET {t}timed v EX 10000"),
    ("{t}none", "DEL {t}none"),
];

/// What may follow a command's key. Deadlines are near, or hours away: none passes while nodes are compared, however slow the machine is.
const TAILS: [&str; 39] = [
    "1 a x b",
    "f v g",
    "13.4 38.1 p 500 500 q",
    "1 b NX 2 c",
    "",
    "1",
    "2",
    "-1",
    "v",
    "f v",
    "f 2",
    "1 v",
    "2 3",
    "0 -1",
    "f",
    "a b",
    "1 a",
    "1.5 a",
    "{t}list",
    "{t}other",
    "{t}other LEFT RIGHT",
    "{t}other 0.01",
    "1000",
    "10000000 v",
    "v EX 10000",
    "v PX 10000000 NX",
    "v XX",
    "v NX",
    "EX 10000",
    "PX 10000000",
    "* f v",
    "MAXLEN ~ 1 * f v",
    "20000000 FIELDS 1 f",
    "20000000 NX FIELDS 2 f g",
    "FIELDS 1 f",
    "0 FIELDS 1 f",
    "2000000000000 FIELDS 1 g",
    "BEFORE b x",
    "13.4 38.1 p",
];

/// Commands with their key elsewhere, or several.
const OTHERS: [&str; 48] = [
    "PEXPIREAT {t}string 2000000000000",
    "EXPIREAT {t}number 2000000000",
    "EXPIREAT {t}timed 1",
    "EXPIRE {t}number -1",
    "HPEXPIREAT {t}hash 2000000000000 FIELDS 1 f",
    "HPEXPIREAT {t}hash 1 FIELDS 2 f g",
    "HPEXPIRE {t}hash 100 FIELDS 1 h",
    "BLPOP {t}none {t}list 0.01",
    "BRPOP {t}list 0.01",
    "BZPOPMIN {t}zset 0.01",
    "BLPOP {t}none far9 0.01",
    "MSET {t}m1 1 {t}m2 2",
    "MSET m3 1 m4 2 m5 3",
    "DEL {t}m1 m3",
    "UNLINK {t}m2 m4",
    "RENAME {t}string {t}renamed",
    "RENAMENX {t}renamed {t}string",
    "SET far v EX 10000",
    "RENAME far elsewhere",
    "RENAME elsewhere far2",
    "COPY {t}list {t}copied",
    "COPY {t}timed copied",
    "COPY far2 {t}copied REPLACE",
    "BITOP OR {t}bits {t}string {t}number",
    "BITOP AND bits2 {t}string {t}number",
    "SINTERSTORE {t}stored {t}set {t}set",
    "SUNIONSTORE stored2 {t}set {t}set",
    "SDIFFSTORE {t}stored3 {t}set {t}none",
    "ZUNIONSTORE {t}zstored 2 {t}zset {t}set WEIGHTS 2 3",
    "ZINTERSTORE zstored2 1 {t}zset",
    "ZDIFFSTORE {t}zstored3 1 {t}zset",
    "GEOADD {t}geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "GEOSEARCHSTORE {t}found {t}geo FROMLONLAT 15 37 BYRADIUS 200 km ASC",
    "GEORADIUS {t}geo 15 37 200 km STORE {t}found2",
    "XGROUP CREATE {t}stream g 0",
    "XGROUP CREATECONSUMER {t}stream g c",
    "XREADGROUP GROUP g c COUNT 1 STREAMS {t}stream >",
    "XREADGROUP GROUP g d COUNT 1 STREAMS {t}stream 0",
    "XCLAIM {t}stream g d 0 1-1",
    "XAUTOCLAIM {t}stream g d 0 0",
    "XADD {t}stream * k v",
    "XADD {t}stream 9999999999999-* k v",
    "XREADGROUP GROUP g c STREAMS {t}stream >",
    "LMOVE {t}list far3 LEFT RIGHT",
    "LMOVE {t}list {t}moved RIGHT LEFT",
    "RPOPLPUSH {t}list {t}moved",
    "RPOPLPUSH {t}moved far3",
    "BRPOPLPUSH {t}list {t}moved 0.01",
];

/// Commands of which another test, or another part of the server, takes care.
const ELSEWHERE: [&str; 8] =
    ["FLUSHALL", "FLUSHDB", "EVAL", "EVALSHA", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZPOPMIN"];

/// Every command that the server says may change data.
fn writes(client: &mut Client) -> Vec<String> {
    let rows = client.ask_all("COMMAND");
    let mut names = Vec::new();
    for row in rows {
        let (name, flags) = (row[0].clone(), &row[2..]);
        if flags.iter().any(|flag| flag == "write") {
            names.push(name.to_uppercase());
        }
    }
    assert!(names.len() > 60, "{names:?}");
    names
}

/// Tries every command that may change data with every `step`th way to use it. Says how many did something, of how many.
pub fn all(client: &mut Client, step: usize) -> (usize, usize) {
    let (mut done, mut tried) = (0, 0);
    for command in writes(client) {
        if ELSEWHERE.contains(&command.as_str()) {
            continue;
        }
        for (round, tail) in TAILS.iter().enumerate().step_by(step) {
            // What is left of each round, for the comparison: its keys have names of their own.
            let name = |text: &str| text.replace("{t}", &format!("{{{command}{round}}}"));
            for (key, make) in KEYS {
                client.ask(&name(make));
                let reply = client.ask(name(&format!("{command} {key} {tail}")).trim_end());
                tried += 1;
                done += usize::from(!reply.starts_with('-'));
            }
        }
    }
    for round in 0..3 {
        for (_, make) in KEYS {
            client.ask(&make.replace("{t}", "{o}"));
        }
        for line in OTHERS {
            let reply = client.ask(&line.replace("{t}", "{o}"));
            assert!(
                round > 0 || !reply.starts_with("-ERR unknown") && !reply.contains("wrong number"),
                "{line}: {reply}"
            );
        }
    }
    (done, tried)
}
