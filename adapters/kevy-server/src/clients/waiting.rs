//! Who waits for data is told that none will come (F24 of `docs/protocol.md`), before the connections of all clients end.
//!
//! kevy has no way to answer a client that waits but to wake it, as data do: then it runs the command once more, and this server answers
//! instead (`intercept`). A script says by `push_lua_wake_key` which keys it wrote, and kevy wakes who waits for them behind
//! any command that it takes for a write. So the server sends itself one such command for each shard, which names the keys that somebody waits for.
//! Each shard knows them: kevy asks it for the command to run later (`resolve_block_argv`).
//!
//! One kind of waiter must not be woken: for a `BRPOPLPUSH` between two shards kevy moves the element itself, and asks nobody. Keys
//! that such a client waited for are left alone.

use crate::clients::loopback::Loopback;
use crate::position::cutter;
use kevy_persist::Routing;
use kevy_rt::{ArgvView, BlockKind};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// `ELECT.UNBLOCK <a key of the shard>`: wakes who waits there, while the server is telling them.
pub(crate) const COMMAND: &[u8] = b"ELECT.UNBLOCK";

/// Keys that are remembered, of each of two generations, and bytes of them. Who waits for others is not told; the connection ends anyway.
const KEYS_MAX: usize = 8192;
const BYTES_MAX: usize = 1 << 20;
/// Keys that must not be woken. With more of them nobody is.
const MOVERS_MAX: usize = 1024;
/// Wakes of one shard by one command; as many for each key.
const WAKES_MAX: usize = 2 * KEYS_MAX;
/// Clients that wait and are not told when nothing comes, because there is no room to remember for what.
const FORGOTTEN: &str = "kevy_server_waits_forgotten_total";
/// How old a generation gets while nobody waits.
const GENERATION: Duration = Duration::from_secs(1);

/// The longest time for telling all, with shards that hang: their clients learn by the end of the connection.
const TELLING_MAX: Duration = Duration::from_millis(100);
/// Commands to each shard. Every one finds clients that the one before did not, or it is nearly the last.
const ROUNDS_MAX: usize = 64;
/// Turns of all shards behind the last client that was told, so that its answer has left: it may have come from another shard.
const QUIET_ROUNDS: usize = 3;
/// How long an answer has to reach its client before the connection is reset.
const LEAVES_WITHIN: Duration = Duration::from_millis(10);

/// Makes the count known, as zero.
pub(crate) fn describe() {
    metrics::describe_counter!(
        FORGOTTEN,
        "Waits of clients (BLPOP and its kind) that were not remembered, because there were too many, or their keys were too long."
    );
    metrics::counter!(FORGOTTEN).increment(0);
}

/// The keys of one shard that clients wait for.
#[derive(Debug)]
pub(crate) struct Waiting {
    young: Generation,
    old: Generation,
    began: Instant,
    movers: HashSet<Vec<u8>>,
    /// Whether there were more movers than could be remembered.
    blind: bool,
}

#[derive(Debug, Default)]
struct Generation {
    /// So many clients at most: who gives up is not seen.
    clients: HashMap<Vec<u8>, u32>,
    bytes: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        let (young, old, movers) = Default::default();
        Self { young, old, began: Instant::now(), movers, blind: false }
    }
}

impl Waiting {
    /// A client begins to wait, for one key of this shard. `moves`: kevy would move what it gets to another shard.
    pub(crate) fn note<A: ArgvView + ?Sized>(&mut self, args: &A, kind: BlockKind, moves: bool) {
        let Some(key) = args.get(key_at(args, kind)) else { return };
        if moves {
            self.blind |= self.movers.len() >= MOVERS_MAX;
            if self.blind {
                metrics::counter!(FORGOTTEN).increment(1);
            } else {
                self.movers.insert(key.to_vec());
            }
            return;
        }
        if let Some(clients) = self.young.clients.get_mut(key) {
            *clients = clients.saturating_add(1);
            return;
        }
        if key.len() > BYTES_MAX {
            return metrics::counter!(FORGOTTEN).increment(1);
        }
        if self.young.clients.len() >= KEYS_MAX || self.young.bytes + key.len() > BYTES_MAX {
            let gone = self.old.clients.values().map(|clients| u64::from(*clients)).sum();
            metrics::counter!(FORGOTTEN).increment(gone);
            self.rotate();
        }
        self.young.bytes += key.len();
        self.young.clients.insert(key.to_vec(), 1);
    }

    /// Nobody waits, as of the last ticks of all shards: what is remembered is forgotten, a little later.
    pub(crate) fn note_nobody(&mut self) {
        if self.began.elapsed() >= GENERATION {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.began = Instant::now();
    }

    /// The keys to wake, as often as clients may wait for them, or as one command has room for.
    pub(crate) fn wakes(&self) -> impl Iterator<Item = &[u8]> {
        let each = WAKES_MAX / (self.young.clients.len() + self.old.clients.len()).max(1);
        let all = self.young.clients.iter().chain(&self.old.clients);
        all.filter(|(key, _)| !self.blind && !self.movers.contains(*key)).flat_map(move |(key, clients)| {
            std::iter::repeat_n(key.as_slice(), each.min(usize::try_from(*clients).unwrap_or(each)))
        })
    }
}

/// Where the one key of a command stands that kevy keeps for a client that waits.
fn key_at<A: ArgvView + ?Sized>(args: &A, kind: BlockKind) -> usize {
    match kind {
        BlockKind::XReadBlock | BlockKind::XReadGroupBlock => args.len().saturating_sub(2),
        _ => 1,
    }
}

/// Tells them, for the whole node.
#[derive(Debug, Default)]
pub(crate) struct Farewell {
    setup: OnceLock<(SocketAddr, Vec<Vec<u8>>)>,
    /// How many threads are telling.
    telling: AtomicUsize,
    /// Clients that were told.
    told: AtomicU64,
}

impl Farewell {
    /// Makes known where the server's own commands come in, and how keys come to shards.
    pub(crate) fn set_up(&self, address: SocketAddr, shards: usize, routing: Routing) {
        // A second time would be a mistake of this crate; the first stays.
        drop(self.setup.set((address, cutter::keys(shards, routing))));
    }

    /// Whether who is woken is to be told that nothing comes.
    #[inline]
    pub(crate) fn is_under_way(&self) -> bool {
        self.telling.load(Ordering::Acquire) > 0
    }

    /// One was.
    pub(crate) fn note(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells all who wait, and says how many were told. Waits for the shards, so not for a thread of theirs.
    pub(crate) fn tell(&self) -> u64 {
        let Some((address, keys)) = self.setup.get() else { return 0 };
        let commands: Vec<[&[u8]; 2]> = keys.iter().map(|key| [COMMAND, key.as_slice()]).collect();
        let mut server = Loopback::new(*address, TELLING_MAX);
        let told = || self.told.load(Ordering::Acquire);
        let (begun, before) = (Instant::now(), told());
        self.telling.fetch_add(1, Ordering::AcqRel);
        let (mut last, mut quiet) = (before, 0);
        for _ in 0..ROUNDS_MAX {
            if server.ask(&commands).is_err() || begun.elapsed() > TELLING_MAX {
                break;
            }
            quiet = if told() == last { quiet + 1 } else { 0 };
            last = told();
            if quiet == QUIET_ROUNDS {
                break;
            }
        }
        self.telling.fetch_sub(1, Ordering::AcqRel);
        if told() != before {
            std::thread::sleep(LEAVES_WITHIN);
        }
        told() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn note(waiting: &mut Waiting, line: &str, kind: BlockKind, moves: bool) {
        waiting.note(
            &Argv::from(line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>()),
            kind,
            moves,
        );
    }

    fn wakes(waiting: &Waiting) -> Vec<String> {
        let mut keys: Vec<_> = waiting.wakes().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn every_client_of_a_key_is_woken_and_none_that_kevy_would_serve_by_itself() {
        let mut waiting = Waiting::default();
        for line in ["BLPOP list 0", "BRPOP list 0", "BLPOP shared 0"] {
            note(&mut waiting, line, BlockKind::Blpop, false);
        }
        note(&mut waiting, "XREAD BLOCK 0 STREAMS stream $", BlockKind::XReadBlock, false);
        note(&mut waiting, "BRPOPLPUSH shared away 0", BlockKind::Brpoplpush, true);
        assert_eq!(wakes(&waiting), ["list", "list", "stream"]);
    }

    /// So much `action` has the counter rise.
    fn forgotten(action: impl FnOnce()) -> usize {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, action);
        let text = recorder.handle().render();
        text.lines().find_map(|line| line.strip_prefix(FORGOTTEN)?.trim().parse().ok()).unwrap_or(0)
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut waiting = Waiting::default();
        let gone = forgotten(|| {
            for n in 0..3 * KEYS_MAX {
                note(&mut waiting, &format!("BLPOP list{n} 0"), BlockKind::Blpop, false);
            }
        });
        assert_eq!(gone, KEYS_MAX);
        let all = wakes(&waiting);
        assert!(all.len() <= 2 * KEYS_MAX && all.contains(&format!("list{}", 3 * KEYS_MAX - 1)));
        let long = "k".repeat(BYTES_MAX);
        let too_long = format!("BLPOP {long}x 0");
        assert_eq!(forgotten(|| note(&mut waiting, &too_long, BlockKind::Blpop, false)), 1);
        note(&mut waiting, &format!("BLPOP {long} 0"), BlockKind::Blpop, false);
        let all = wakes(&waiting);
        assert!(all.contains(&long) && all.iter().map(String::len).sum::<usize>() <= 2 * BYTES_MAX);
        let gone = forgotten(|| {
            for n in 0..=MOVERS_MAX {
                note(&mut waiting, &format!("BRPOPLPUSH from{n} to 0"), BlockKind::Brpoplpush, true);
            }
        });
        assert_eq!(gone, 1);
        assert!(wakes(&waiting).is_empty(), "one of them may wait for any key");
    }
}
