//! Scripts that read run on replicas, and those that write change nothing there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, until_reads};
use kevy_elect_plugin::host::FenceReason;

#[test]
fn a_script_that_only_reads_runs_on_a_replica_and_one_that_writes_stops_at_its_first_write() {
    for shards in [1, 4] {
        let cluster = Cluster::new(2, shards);
        let [a, b] = cluster.reigning(1);
        let (mut on_a, mut on_b) = (a.client(), b.client());
        assert_eq!(on_a.ask("SET {k} v"), "+OK");
        until_reads(&b, "{k}", "v");
        let read = "return redis.call('GET',KEYS[1])";
        let sha = on_b.ask_words(&["SCRIPT", "LOAD", read]);
        // The same on both, and on every shard's connections.
        for _ in 0..2 * shards {
            on_b = b.client();
            assert_eq!(on_b.ask_words(&["EVAL", read, "1", "{k}"]), "v");
            assert_eq!(on_b.ask(&format!("evalsha {sha} 1 {{k}}")), "v");
            assert_eq!(on_b.ask_words(&["EVAL_RO", read, "1", "{k}"]), "v");
            assert_eq!(on_b.ask_words(&["EVAL", "return 7", "0"]), ":7");
            assert!(on_b.ask("EVALSHA 0000000000000000000000000000000000000000 0").starts_with("-NOSCRIPT"));
            let caught = "local r=redis.pcall('SET',KEYS[1],'w') return {redis.call('GET',KEYS[1]),r.err}";
            let said = on_b.ask_words(&["EVAL", caught, "1", "{k}"]);
            assert!(said.starts_with("[v ") && said.contains("READONLY"), "{said}");
            for script in [
                "redis.call('DEL',KEYS[1]) return 1",
                "redis.call('GET',KEYS[1]) return redis.call('SET',KEYS[1],'w')",
                "return redis.call('FLUSHALL')",
                "return redis.call('PEXPIRE',KEYS[1],1)",
            ] {
                let said = on_b.ask_words(&["EVAL", script, "1", "{k}"]);
                assert!(
                    said.starts_with("-READONLY You can't write against a read only replica"),
                    "{script}: {said}"
                );
            }
            // In a transaction too.
            assert_eq!(on_b.ask("MULTI"), "+OK");
            assert_eq!(on_b.ask_words(&["EVAL", read, "1", "{k}"]), "+QUEUED");
            assert_eq!(on_b.ask_words(&["EVAL", "return redis.call('DEL',KEYS[1])", "1", "{k}"]), "+QUEUED");
            let said = on_b.ask("EXEC");
            assert!(said.starts_with("[v -READONLY"), "{said}");
            assert_eq!(on_b.ask("GET {k}"), "v");
        }
        // What a script left behind must not be taken for what the next write did.
        assert_eq!(on_a.ask("SET {k} w"), "+OK");
        until_reads(&b, "{k}", "w");
        // Who asks a primary that may not write has to go elsewhere, also with a script.
        a.fence(FenceReason::LeaseExpired);
        let said = on_a.ask_words(&["EVAL", read, "1", "{k}"]);
        assert!(said.starts_with("-READONLY lease-expired"), "{said}");
        b.host.detach();
        b.promote(2);
        // The same script writes where it may.
        assert_eq!(on_b.ask_words(&["EVAL", "return redis.call('SET',KEYS[1],'x')", "1", "{k}"]), "+OK");
        a.follow(2, &b);
        a.wait_joined(2);
        until_reads(&a, "{k}", "x");
        assert_eq!(a.client().ask_words(&["EVAL", read, "1", "{k}"]), "x");
        a.stop();
        b.stop();
    }
}
