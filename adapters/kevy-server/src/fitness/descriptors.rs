//! Files and sockets: as many as the system grants, and some of them kept from the clients.
//!
//! A server that has no descriptors left cannot take a peer's connection, nor write its log anew. kevy closes clients
//! beyond `max_clients`, which for an ordinary limit of 1 024 is far too late.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the election, the pages, the votes and the process itself need: connections that wait for their greeting (T19),
/// those of the pages, files that are opened for a moment.
const RESERVE: u64 = 96;
/// What each shard needs: its ring or poller, its listeners, its log, a rewrite of it, a snapshot, a stream.
const RESERVE_SHARD: u64 = 12;
/// What each other member needs: two links, a new one of each, their duplicates for the companion, a socket to ask with whether it
/// is gone (T34), and its streams of the first shard.
const RESERVE_MEMBER: u64 = 11;

/// Raises the limit to what the system grants. Says what there is then.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum;
    }
    current
}

/// How many clients there may be: as configured (0 is without a bound), or fewer.
pub(crate) fn clients_max(configured: usize, limit: Option<u64>, shards: usize, members: usize) -> usize {
    let Some(limit) = limit else { return configured };
    let (shards, members) = (shards as u64, members as u64);
    // A replica has a stream of each shard.
    let reserve = RESERVE + RESERVE_SHARD * shards + (RESERVE_MEMBER + shards) * members;
    // kevy divides the number among its shards, and rounds up.
    let room = (limit.saturating_sub(reserve) / shards.max(1) * shards.max(1)).max(shards.max(1));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if configured == 0 { room } else { configured.min(room) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_room_for_the_election() {
        assert_eq!(clients_max(10_000, Some(1 << 20), 2, 3), 10_000);
        assert_eq!(clients_max(10_000, None, 2, 3), 10_000);
        let few = clients_max(10_000, Some(1024), 2, 3);
        assert!((700..1024 - 96).contains(&few) && few.is_multiple_of(2), "{few}");
        assert_eq!(clients_max(0, Some(1024), 2, 3), few, "without a bound means up to this one");
        assert_eq!(clients_max(50, Some(1024), 2, 3), 50);
        assert_eq!(
            clients_max(10_000, Some(64), 2, 3),
            2,
            "one a shard is the least that means a bound to kevy"
        );
    }
}
