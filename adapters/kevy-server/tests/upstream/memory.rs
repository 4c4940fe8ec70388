//! Limits of memory.

use super::*;

#[test]
fn a_write_that_is_refused_for_want_of_memory_is_streamed() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    assert_eq!(primary.ask("CONFIG SET maxmemory 1"), "+OK");
    until("it refuses", || primary.ask("SET refused v").starts_with("-OOM").then_some(()));
    assert_eq!(primary.ask("CONFIG SET maxmemory 0"), "+OK");
    until("it accepts", || (primary.ask("SET accepted v") == "+OK").then_some(()));
    let accepted = primary.ask("GET refused");
    let frames = feed.until_mark(&primary, "end");
    let refused = frames.iter().filter(|frame| *frame == "SET refused v").count();
    assert!(refused > usize::from(accepted == "v"), "{MENDED}: {frames:?}");
}

#[test]
fn a_replica_over_its_own_maxmemory_drops_what_it_acknowledges() {
    let (primary, replica) = pair("[memory]\nmaxmemory = 1\n");
    assert_eq!(primary.ask("SET dropped 1"), "+OK");
    assert_eq!(primary.ask("WAIT 1 20000"), ":1", "it says that it has it");
    let begun = Instant::now();
    while begun.elapsed() < NOTHING {
        assert_eq!(replica.ask("GET dropped"), "nil", "{MENDED}");
    }
}

#[test]
fn a_key_that_gives_way_to_the_limit_of_memory_is_not_streamed() {
    let primary =
        Plain::with("primary", "", "[memory]\nmaxmemory = 1000000\nmaxmemory_policy = \"allkeys-lru\"\n");
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    let mut client = primary.client();
    for n in 0..2000 {
        assert_eq!(client.ask(&format!("SET k{n} {}", "x".repeat(1000))), "+OK");
    }
    let left = client.ask("DBSIZE").trim_start_matches(':').parse::<usize>().unwrap();
    assert!(left < 2000, "{left} keys fit");
    let frames = feed.until_mark(&primary, "end");
    assert!(!frames.iter().any(|frame| frame.starts_with("DEL") || frame.starts_with("UNLINK")), "{MENDED}");
}

#[test]
fn commands_over_several_keys_are_not_bound_by_maxmemory() {
    let primary = Plain::primary();
    let mut client = primary.client();
    for line in ["SET from v", "SADD s a"] {
        client.ask(line);
    }
    assert_eq!(client.ask("CONFIG SET maxmemory 1"), "+OK");
    until("it refuses", || client.ask("SET refused v").starts_with("-OOM").then_some(()));
    for line in ["MSET a v b v", "COPY from to", "BITOP NOT to from", "SUNIONSTORE both s s"] {
        let said = client.ask(line);
        assert!(!said.starts_with('-'), "{MENDED}: {line}: {said}");
    }
}

#[test]
fn a_number_in_a_command_can_end_the_server() {
    let lines = [
        "SRANDMEMBER s -1000000000000",
        "SRANDMEMBER s 9000000000000000000",
        "SPOP s 9000000000000000000",
        "SETRANGE k 4000000000000 x",
        "SETBIT k 99999999999999 1",
    ];
    for line in lines {
        let mut primary = Plain::primary();
        assert_eq!(primary.ask("SADD s a"), ":1");
        let said = primary.client().try_ask(line);
        assert_eq!(said, None, "{MENDED}: {line}");
        until("the server ends", || primary.child.try_wait().unwrap());
    }
}

#[test]
fn a_copy_for_a_replica_is_made_in_memory_while_nobody_is_served() {
    let primary = Plain::primary();
    let mut client = primary.client();
    let value = "x".repeat(1 << 20);
    for n in 0..16 {
        assert_eq!(client.ask(&format!("SET k{n} {value}")), "+OK");
    }
    let most = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", primary.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap()
    };
    let before = most();
    primary.feed("reader").until_mark(&primary, "copied");
    let grown = most().saturating_sub(before);
    assert!(grown > 14 << 10, "{MENDED}: {grown} KiB for a copy of 16 MiB");
}

/// The allocator of this test's own process, as it is that of kevy's binary.
#[global_allocator]
static ALLOCATOR: kevy_alloc::KevyAlloc = kevy_alloc::KevyAlloc;

#[test]
fn the_allocator_takes_a_new_thread_for_one_that_has_ended() {
    let wrong = || {
        let made = std::thread::spawn(|| vec![vec![0_u8; 900]; 100]).join().unwrap();
        let freed = std::thread::spawn(move || {
            drop(made);
            kevy_alloc::thread_stats().unwrap().live
        });
        // Less than nothing, for what is counted as its own was never allocated by it.
        (freed.join().unwrap() > u64::MAX / 2).then_some(())
    };
    until("a thread gets the place of the one before; if not, kevy has mended this", wrong);
}

#[test]
fn keys_that_one_table_lists_pile_up_in_a_smaller_one() {
    let load = |keys: &[Vec<u8>]| {
        let (mut store, begun) = (kevy_rt::Store::new(), Instant::now());
        keys.iter().for_each(|key| store.load_str(key.clone(), b"v".to_vec(), None));
        (store, begun.elapsed())
    };
    let keys: Vec<_> = (0..150_000).map(|number| number.to_string().into_bytes()).collect();
    // Either may have had to wait for a processor.
    until(&format!("listed keys take longer by far; if not, {MENDED}"), || {
        let (store, mixed) = load(&keys);
        let (_, listed) = load(&store.collect_keys(None, None));
        (listed > mixed * 2).then_some(())
    });
}
