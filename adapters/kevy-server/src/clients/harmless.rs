//! Which commands a node that may not write may run.
//!
//! kevy's own table of writes is not enough: it is made for its log, and what kevy does not log (a scope that is moved
//! in) is no write there. So what is not in that table is not let through for that; it has to be in this one. A command
//! that kevy adds is refused until somebody has looked at it.

use kevy_rt::ArgvView;

/// Whether a command changes neither what a server holds nor who may write to it.
pub(crate) fn is_harmless<A: ArgvView + ?Sized>(args: &A) -> bool {
    let Some(verb) = args.first() else { return false };
    is_harmless_verb(verb) || sleeps(verb, args.get(1))
}

/// The same of `verb`, whatever stands behind it.
///
/// What a script does is asked where it does it.
pub(crate) fn is_harmless_verb(verb: &[u8]) -> bool {
    upper(verb, |upper| reads_data(upper) || is_of_the_server(upper))
}

/// `DEBUG` is where servers keep what goes around everything else (Redis fills, empties and reloads the keyspace by it). Of kevy's only
/// one does anything, and it is known; all others are answered `OK`, so that nobody would see it if one began to do something.
fn sleeps(verb: &[u8], word: Option<&[u8]>) -> bool {
    verb.eq_ignore_ascii_case(b"DEBUG") && word.is_some_and(|word| word.eq_ignore_ascii_case(b"SLEEP"))
}

/// Whether `verb` gives what a server holds. Of a server that may have lost its office, others hold something newer.
pub(crate) fn reads(verb: &[u8]) -> bool {
    upper(verb, reads_data)
}

fn upper(verb: &[u8], is: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut upper = [0; LONGEST];
    let Some(upper) = upper.get_mut(..verb.len()) else { return false };
    upper.copy_from_slice(verb);
    upper.make_ascii_uppercase();
    is(upper)
}

fn reads_data(upper: &[u8]) -> bool {
    matches!(
        upper,
        // Of one key or several.
        b"BITCOUNT" | b"BITPOS" | b"DBSIZE" | b"EXISTS" | b"GEODIST" | b"GEOHASH" | b"GEOPOS"
            | b"GEORADIUSBYMEMBER_RO" | b"GEORADIUS_RO" | b"GEOSEARCH" | b"GET" | b"GETBIT" | b"GETRANGE"
            | b"HEXISTS" | b"HGET" | b"HGETALL" | b"HKEYS" | b"HLEN" | b"HMGET" | b"HPTTL" | b"HRANDFIELD"
            | b"HSCAN" | b"HTTL" | b"HVALS" | b"KEYS" | b"LINDEX" | b"LLEN" | b"LPOS" | b"LRANGE" | b"MGET"
            | b"PTTL" | b"RANDOMKEY" | b"SCAN" | b"SCARD" | b"SDIFF" | b"SINTER" | b"SISMEMBER"
            | b"SMEMBERS" | b"SRANDMEMBER" | b"SSCAN" | b"STRLEN" | b"SUNION" | b"TOUCH" | b"TTL" | b"TYPE"
            | b"XINFO" | b"XLEN" | b"XPENDING" | b"XRANGE" | b"XREAD" | b"XREVRANGE" | b"ZCARD" | b"ZCOUNT"
            | b"ZINTERCARD" | b"ZRANGE" | b"ZRANGEBYSCORE" | b"ZRANK" | b"ZREVRANGE" | b"ZREVRANGEBYSCORE"
            | b"ZSCAN" | b"ZSCORE"
            // Of indexes, tables, views and prefixes.
            | b"IDX.ADVISE" | b"IDX.COUNT" | b"IDX.DESCRIBE" | b"IDX.EXPLAIN" | b"IDX.LIST" | b"IDX.QUERY"
            | b"IDX.VERIFY" | b"PREFIX.DIGEST" | b"PREFIX.STATS" | b"TABLE.DESCRIBE" | b"TABLE.LIST"
            | b"TABLE.VERIFY" | b"VIEW.DESCRIBE" | b"VIEW.EXPLAIN" | b"VIEW.LIST" | b"VIEW.QUERY" | b"VIEW.VERIFY"
            // Scripts that kevy does not let write.
            | b"EVALSHA_RO" | b"EVAL_RO"
    )
}

fn is_of_the_server(upper: &[u8]) -> bool {
    matches!(
        upper,
        // What it streams.
        b"FEED.READ" | b"FEED.SHARDS" | b"FEED.TAIL"
            // About the connection, channels and transactions. What is queued is asked when it runs.
            | b"CLIENT" | b"DISCARD" | b"ECHO" | b"EXEC" | b"HELLO" | b"MULTI" | b"PING" | b"PSUBSCRIBE"
            | b"PUBLISH" | b"PUNSUBSCRIBE" | b"QUIT" | b"SELECT" | b"SUBSCRIBE" | b"UNSUBSCRIBE"
            | b"UNWATCH" | b"WATCH"
            // About this server alone: files, settings, numbers, scripts.
            | b"BGREWRITEAOF" | b"BGSAVE" | b"CLUSTER" | b"COMMAND" | b"CONFIG" | b"INFO"
            | b"MEMORY" | b"REPL.TOKEN" | b"REPL.WAIT" | b"ROLE" | b"SAVE" | b"SCRIPT" | b"SHUTDOWN" | b"SLOWLOG"
            | b"TIME" | b"WAIT"
    )
}

/// Bytes of the longest of them.
const LONGEST: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

    #[test]
    fn what_is_not_known_is_not_harmless() {
        for verb in
            ["", "SET", "MOVE-SCOPE-INGEST", "XINTERNAL.CATALOG", "GET ", "A-WORD-LONGER-THAN-ANY-OTHER"]
        {
            assert!(!is_harmless_verb(verb.as_bytes()), "{verb}");
        }
        assert!(is_harmless_verb(b"get") && is_harmless_verb(b"GeoRadiusByMember_RO"));
        let argv =
            |line: &str| Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        for line in ["DEBUG", "DEBUG FLUSHALL", "debug reload", "DEBUG SLEEPY 1", "SLEEP DEBUG"] {
            assert!(!is_harmless(&argv(line)), "{line}");
        }
        assert!(is_harmless(&argv("debug Sleep 1")) && is_harmless(&argv("HGET h f")));
    }

    #[test]
    fn no_verb_that_kevy_takes_for_a_write_is_harmless() {
        for verb in kevy::verb_meta::VERB_META {
            let writes = verb.flags.contains(&"write") && !verb.flags.contains(&"admin");
            assert!(!writes || !is_harmless_verb(verb.name.as_bytes()), "{}", verb.name);
        }
    }
}
