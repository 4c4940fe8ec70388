//! Who may ask what members ask each other at the clients' port (T41 and C16 of `docs/protocol.md`).
//!
//! kevy tells its commands nothing of the connection that one came from. So each question proves who asks. The process that answers has given a
//! *pass* to each peer that it dialled: at that peer's address, and by that peer's key where links have keys. A question carries a code that only the
//! two can make, and a number that is never used again.

use kevy_crypto::ct_eq;
use kevy_crypto::hkdf::hmac;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::Pass;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The word behind a question, before who asks, the question's number and the code.
const BY: &[u8] = b"BY";
/// Words of that.
const PROOF_WORDS: usize = 4;
/// Bytes of a code.
const CODE_BYTES: usize = 16;
/// What the secret is used for, so that nothing that is made of it can be taken for something else.
const PURPOSE: &[u8] = b"kevy-elect pass 1";
const PURPOSE_PREPARED: &[u8] = b"kevy-elect prepared pass 1";
/// Questions of one process that may overtake each other.
const WINDOW: u64 = 4096;
/// Processes of one node that are remembered; of an older one nothing is taken any more, and it cannot be alive.
const PROCESSES_MAX: usize = 4;
/// Between two lines of the log that say that somebody asked.
const SAID_INTERVAL: Duration = Duration::from_secs(1);

/// Which pass another node's process gave to this one.
type Received = Box<dyn Fn(NodeId) -> Option<Pass> + Send + Sync>;

/// A member, and what it asks.
pub(crate) type Asked<'a> = (NodeId, &'a [Vec<u8>]);

/// What this process gives, has been given, and has answered.
pub struct Passes {
    own: NodeId,
    secret: [u8; 32],
    received: OnceLock<Received>,
    /// Tells this process from an earlier one of this node.
    process: u64,
    asked: AtomicU64,
    answered: Mutex<BTreeMap<NodeId, VecDeque<Process>>>,
    said: Mutex<Option<Instant>>,
    /// Members that came while this process ran: each has one of the passes that were prepared for such.
    met: RwLock<Vec<NodeId>>,
}

/// A process that asked, the highest number of its questions, and those below that were used.
struct Process {
    number: u64,
    highest: u64,
    used: VecDeque<bool>,
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passes")
    }
}

impl Passes {
    /// Of the node `own`.
    pub(crate) fn new(own: NodeId) -> io::Result<Self> {
        let mut secret = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut secret)?;
        Ok(Self::with(own, secret))
    }

    /// The same, made of a secret that nobody can guess.
    fn with(own: NodeId, secret: [u8; 32]) -> Self {
        metrics::describe_counter!(
            "kevy_server_questions_refused_total",
            "Questions that only members may ask, and that nobody proved to be one asked."
        );
        metrics::counter!("kevy_server_questions_refused_total").increment(0);
        Self {
            own,
            secret,
            received: OnceLock::new(),
            process: RandomState::new().hash_one(own),
            asked: AtomicU64::new(0),
            answered: Mutex::default(),
            said: Mutex::default(),
            met: RwLock::default(),
        }
    }

    /// What `peer` is given.
    pub fn for_peer(&self, peer: NodeId) -> Pass {
        let met = self.met.read().unwrap_or_else(PoisonError::into_inner).iter().position(|met| *met == peer);
        match met {
            Some(number) => self.prepared(number),
            None => self.pass(PURPOSE, peer.as_str().as_bytes()),
        }
    }

    /// `peer` came while this process ran, and was given nothing yet.
    pub(crate) fn meet(&self, peer: NodeId) {
        self.met.write().unwrap_or_else(PoisonError::into_inner).push(peer);
    }

    /// The passes of members that come while this process runs, the first one's first. What is made of them can be known before.
    pub(crate) fn prepared(&self, number: usize) -> Pass {
        self.pass(PURPOSE_PREPARED, &number.to_be_bytes())
    }

    fn pass(&self, purpose: &[u8], of: &[u8]) -> Pass {
        let mut bytes = [0; Pass::BYTES];
        bytes.copy_from_slice(&hmac(&self.secret, &[purpose, of])[..Pass::BYTES]);
        Pass::new(bytes)
    }

    /// What `node` has given to this process.
    pub(crate) fn received(&self, node: NodeId) -> Option<Pass> {
        self.received.get().and_then(|received| received(node))
    }

    /// Makes known what other nodes have given to this one. Before that it has nothing but for itself.
    pub fn set_received(&self, received: impl Fn(NodeId) -> Option<Pass> + Send + Sync + 'static) {
        // A second way would be a mistake of this crate; the first stays.
        drop(self.received.set(Box::new(received)));
    }

    /// A question as `node` answers it. One that gave no pass is of a release before, or has not come to it yet: it is asked as before.
    fn ask(&self, node: NodeId, question: &str) -> String {
        let pass = match node == self.own {
            true => Some(self.for_peer(node)),
            false => self.received(node),
        };
        let Some(pass) = pass else { return question.to_owned() };
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let signed = format!("{question} BY {} {:016x}.{number}", self.own, self.process);
        let code = code(&pass, signed.as_bytes());
        format!("{signed} {code}")
    }

    /// Who asks, and the question itself, if that is a member, and asks it for the first time.
    pub(crate) fn question<'a>(&self, argv: &'a [Vec<u8>]) -> Option<Asked<'a>> {
        let proven = self.proven(argv);
        if proven.is_none() {
            self.refuse();
        }
        proven
    }

    fn proven<'a>(&self, argv: &'a [Vec<u8>]) -> Option<Asked<'a>> {
        let (question, proof) = argv.split_at_checked(argv.len().checked_sub(PROOF_WORDS)?)?;
        let [by, node, number, said] = proof else { return None };
        let node = NodeId::new(std::str::from_utf8(node).ok()?).ok().filter(|_| by == BY)?;
        let (process, count) = std::str::from_utf8(number).ok()?.split_once('.')?;
        let (process, count) = (u64::from_str_radix(process, 16).ok()?, count.parse().ok()?);
        let signed = argv[..argv.len() - 1].join(&b' ');
        let right = ct_eq(code(&self.for_peer(node), &signed).as_bytes(), said);
        (right && self.is_first(node, process, count)).then_some((node, question))
    }

    /// Only of who has proven to be `node`.
    fn is_first(&self, node: NodeId, process: u64, count: u64) -> bool {
        let mut all = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let processes = all.entry(node).or_default();
        if let Some(known) = processes.iter_mut().find(|known| known.number == process) {
            return known.takes(count);
        }
        if processes.len() == PROCESSES_MAX {
            processes.pop_front();
        }
        processes.push_back(Process { number: process, highest: count, used: VecDeque::from([true]) });
        true
    }

    #[cold]
    fn refuse(&self) {
        metrics::counter!("kevy_server_questions_refused_total").increment(1);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAID_INTERVAL) {
            *said = Some(Instant::now());
            log::warn!(
                target: "kevy_elect",
                "elect event=question_refused why=\"somebody at the clients' port asks what only members may ask: histories, frames \
                 or a turn to copy\"",
            );
        }
    }
}

impl Process {
    /// Whether this number was not used before. `used` begins with the highest.
    fn takes(&mut self, count: u64) -> bool {
        let Some(below) = self.highest.checked_sub(count) else {
            let newer = (count - self.highest).min(WINDOW);
            (0..newer).for_each(|_| self.used.push_front(false));
            self.used.truncate(usize::try_from(WINDOW).unwrap_or(usize::MAX));
            self.highest = count;
            self.used[0] = true;
            return true;
        };
        let below = usize::try_from(below).unwrap_or(usize::MAX);
        if below >= usize::try_from(WINDOW).unwrap_or(usize::MAX) {
            return false;
        }
        if self.used.len() <= below {
            self.used.resize(below + 1, false);
        }
        !std::mem::replace(&mut self.used[below], true)
    }
}

/// Asks one node.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) passes: Arc<Passes>,
    /// Who is asked.
    pub(crate) node: NodeId,
}

impl Asker {
    pub(crate) fn ask(&self, question: &str) -> String {
        self.passes.ask(self.node, question)
    }
}

fn code(pass: &Pass, signed: &[u8]) -> String {
    hmac(pass.as_bytes(), &[signed])[..CODE_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
pub(crate) mod tests {
    use super::*;

    /// For tests in which nobody answers.
    pub(crate) fn asker() -> Asker {
        Asker { passes: Arc::new(passes(1, 10, &[])), node: id(2) }
    }

    fn id(number: u8) -> NodeId {
        NodeId::new(&format!("n{number}")).unwrap()
    }

    /// The process of a node, and of those that dialled it.
    fn passes(number: u8, secret: u8, dialled_by: &[(u8, u8)]) -> Passes {
        let passes = Passes::with(id(number), [secret; 32]);
        let given: Vec<(NodeId, Pass)> = dialled_by
            .iter()
            .map(|(other, secret)| {
                let other_passes = Passes::with(id(*other), [*secret; 32]);
                (id(*other), other_passes.for_peer(id(number)))
            })
            .collect();
        passes
            .set_received(move |node| given.iter().find(|(other, _)| *other == node).map(|(_, pass)| *pass));
        passes
    }

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn c16_a_question_proves_who_asks_whom_what_and_is_answered_once() {
        let asks = passes(2, 20, &[(1, 10)]);
        let answers = passes(1, 10, &[]);
        let asked = asks.ask(id(1), "ELECT COPY 0 n2");
        assert_eq!(answers.question(&words(&asked)), Some((id(2), &words("ELECT COPY 0 n2")[..])));
        assert_eq!(answers.question(&words(&asked)), None, "a second time");
        let asked = asks.ask(id(1), "ELECT COPY 0 n2");
        for wrong in [
            "ELECT COPY 0 n2".to_owned(),
            asked.replace("COPY 0", "COPY 1"),
            asked.replace("BY n2", "BY n3"),
            asked.replace("BY", "by"),
            asked.replace(".1 ", ".2 "),
            asked[..asked.len() - 1].to_owned(),
            format!("{asked} more"),
            "BY n2 0.0".to_owned(),
            "ELECT BY".to_owned(),
        ] {
            assert_eq!(answers.question(&words(&wrong)), None, "{wrong}");
        }
        assert_eq!(passes(3, 30, &[]).question(&words(&asked)), None, "meant for another node");
        assert_eq!(passes(1, 11, &[]).question(&words(&asked)), None, "for an earlier process");
        assert!(answers.question(&words(&asked)).is_some());
        assert!(answers.question(&words(&answers.ask(id(1), "ELECT OWN 0"))).is_some(), "it asks itself");
        assert_eq!(asks.ask(id(3), "ELECT OWN 0"), "ELECT OWN 0", "who has given nothing");
    }

    #[test]
    fn c16_questions_may_overtake_each_other_and_none_is_answered_twice() {
        let mut process = Process { number: 1, highest: 5, used: VecDeque::from([true]) };
        assert!(!process.takes(5) && process.takes(3) && !process.takes(3) && process.takes(4));
        assert!(process.takes(7) && process.takes(6) && !process.takes(5) && !process.takes(6));
        assert!(process.takes(3 * WINDOW) && !process.takes(2 * WINDOW) && process.takes(2 * WINDOW + 1));
        assert!(!process.takes(2 * WINDOW + 1) && process.takes(u64::MAX) && !process.takes(0));
        assert!(process.used.len() <= WINDOW as usize);
    }

    #[test]
    fn c16_earlier_processes_of_a_node_are_forgotten_one_by_one() {
        let answers = passes(1, 10, &[]);
        for _ in 0..3 * PROCESSES_MAX {
            assert!(answers.question(&words(&passes(2, 20, &[(1, 10)]).ask(id(1), "ELECT OWN 0"))).is_some());
        }
        assert_eq!(answers.answered.lock().unwrap()[&id(2)].len(), PROCESSES_MAX);
    }
}
