//! Numbers in a command that would end the server, or what is written behind it.
//!
//! kevy reserves memory for as many members, or as long a string, as a client names, and a process that gets none ends.
//! The client comes back, to the next primary. And kevy writes records of more words than it reads: such a record is in no
//! stream, and a restart drops it and all that is behind it in the log.

use kevy_resp::ArgvView;
use kevy_store::Store;

/// Longest string, as Redis has it: kevy writes longer ones into its log, and reads no longer ones back.
const STRING_BYTES_MAX: u64 = kevy_resp::MAX_BULK_LEN as u64;
/// Most members that one command draws with repetition, or without a look at how many there are.
const DRAWN_MAX: u64 = 1 << 20;
/// Most words of one record, less what stands around the commands in it.
pub(crate) const RECORD_WORDS_MAX: usize = kevy_resp::MAX_MULTIBULK_LEN - 1024;
/// Most bytes of one record of a script: the largest value, and what may stand beside it.
pub(crate) const RECORD_BYTES_MAX: usize = kevy_resp::MAX_BULK_LEN + (1 << 20);

const TOO_LONG: &str = "ERR string exceeds maximum allowed size (512 MiB)";
const BIT_TOO_FAR: &str = "ERR bit offset is not an integer or out of range";
const TOO_MANY: &str = "ERR value is out of range";
const TOO_MANY_POPPED: &str = "ERR so many members do not fit into one record; pop fewer at once";

/// What is wrong with a command, or the words to run in its place; `None`: nothing.
pub(crate) enum Bound {
    /// The error to answer.
    Refuse(&'static str),
    /// The count that does the same, and where it is.
    Count(usize, u64),
}

/// Whether a command has such numbers.
pub(crate) fn is_bounded(upper: &[u8]) -> bool {
    matches!(upper, b"APPEND" | b"SETRANGE" | b"SETBIT" | b"SPOP" | b"SRANDMEMBER")
}

/// Looks at the numbers of one command.
pub(crate) fn check<A: ArgvView + ?Sized>(store: &mut Store, upper: &[u8], args: &A) -> Option<Bound> {
    let number = |i: usize| std::str::from_utf8(args.get(i)?).ok()?.parse::<i64>().ok();
    match upper {
        b"SETRANGE" if args.len() == 4 => {
            let end = number(2)?.unsigned_abs().saturating_add(args[3].len() as u64);
            (end > STRING_BYTES_MAX).then_some(Bound::Refuse(TOO_LONG))
        }
        b"APPEND" if args.len() == 3 => {
            let end = (store.strlen(&args[1]).ok()? as u64).saturating_add(args[2].len() as u64);
            (end > STRING_BYTES_MAX).then_some(Bound::Refuse(TOO_LONG))
        }
        b"SETBIT" if args.len() == 4 => {
            (number(2)?.unsigned_abs() >= STRING_BYTES_MAX * 8).then_some(Bound::Refuse(BIT_TOO_FAR))
        }
        b"SRANDMEMBER" if args.len() == 3 && number(2)? < 0 => {
            (number(2)?.unsigned_abs() > DRAWN_MAX).then_some(Bound::Refuse(TOO_MANY))
        }
        b"SPOP" | b"SRANDMEMBER" if args.len() == 3 => {
            let wanted = u64::try_from(number(2)?).ok().filter(|wanted| *wanted > RECORD_WORDS_MAX as u64)?;
            let there = (store.scard(&args[1]).ok()? as u64).max(1);
            if upper == b"SPOP" && there > RECORD_WORDS_MAX as u64 {
                return Some(Bound::Refuse(TOO_MANY_POPPED));
            }
            (wanted > there).then_some(Bound::Count(2, there))
        }
        _ => None,
    }
}
