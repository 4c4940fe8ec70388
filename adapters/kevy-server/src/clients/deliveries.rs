//! When entries of streams were handed to their consumers.
//!
//! kevy records what a read or a claim left as `XCLAIM key group consumer 0 id.. TIME t RETRYCOUNT n FORCE JUSTID`, and where `t`
//! is later than its own clock it takes that clock instead. Here the clock of a node that applies records rests long
//! before any `t`: every entry would look as if it had been delivered at the beginning of time, and after a failover be taken away
//! from the consumer that works on it.

use kevy_resp::ArgvView;
use kevy_store::{Store, parse_explicit_id};

/// The words of such a record before its ids, and behind them.
const HEAD: usize = 5;
const TAIL: usize = 6;

/// Sets the times and counts of a record that was applied just now.
pub(crate) fn settle<A: ArgvView + ?Sized>(store: &mut Store, args: &A) {
    let Some((time, count)) = told(args) else { return };
    let (key, group, consumer) = (&args[1], &args[2], &args[3]);
    for id in (HEAD..args.len() - TAIL).filter_map(|i| parse_explicit_id(&args[i]).ok()) {
        // Not one whose entry is gone: nothing is pending for that.
        let row = store.stream_group_peek(key, group).and_then(|group| group.pending_entry(id));
        if row.is_some_and(|row| row.delivery_time_ms != time || row.delivery_count != count) {
            // It is no error for a key or a group not to be there, and both were looked at.
            let _ = store.xgroup_restore_pending(key, group, consumer, id, time, count);
        }
    }
}

/// The time and the count in a record of this kind.
fn told<A: ArgvView + ?Sized>(args: &A) -> Option<(u64, u64)> {
    if args.len() <= HEAD + TAIL || !args[0].eq_ignore_ascii_case(b"XCLAIM") {
        return None;
    }
    let tail = args.len() - TAIL;
    let word = |i: usize, word: &[u8]| args[tail + i].eq_ignore_ascii_case(word);
    let number = |i: usize| std::str::from_utf8(&args[tail + i]).ok()?.parse().ok();
    let shaped = word(0, b"TIME") && word(2, b"RETRYCOUNT") && word(4, b"FORCE") && word(5, b"JUSTID");
    shaped.then_some((number(1)?, number(3)?))
}
