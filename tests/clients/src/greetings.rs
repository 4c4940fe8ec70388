//! What libraries say when they connect, taken down on its way, and what they are answered.

use crate::programs::{Client, Programs, Way, Work};
use crate::round::{self, Stage};
use kevy_elect_harness::cluster::{Cluster, Place, SENTINEL_NAME};
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_resp::{Reply, parse_command, parse_reply};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Writes that an application has to have made.
const WRITES: usize = 20;
/// Longest wait for them.
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters of a command that are shown.
const SHOWN_MAX: usize = 100;

/// What may be an error, because there is no better answer: how the command begins, and why.
const ERRORS: [(&str, &str); 1] = [(
    "CLIENT MAINT_NOTIFICATIONS",
    "asked of services that announce their maintenance; libraries take an error for a no, as from Redis itself",
)];

const HEAD: &str = "# What libraries say when they connect

Written by `cargo clients --greetings --markdown docs/evidence/greetings.md`: every library works through a relay that takes down what it sends, at
its defaults and with the settings of docs/clients.md, until it has written twenty times: at the port for clients, and at a Sentinel port. It fails
where anything is answered with an error that is not named below.
`kevy-server/tests/handshake.rs` asks the same of a primary, a replica and a primary without a lease.

";

/// Goes through all clients, and says whether each of them was answered.
pub(crate) fn take_down(stage: &mut Stage<'_>) -> Result<bool, Failure> {
    let places = vec![Place::Loopback; round::NODES];
    let setup = round::setup_for(stage.options, places)?;
    let mut cluster = Cluster::up(&setup, kevy_elect_harness::clock::Clock::start(), stage.interrupt)?;
    let primary = round::ready(&mut cluster, stage.interrupt)?;
    let member = &cluster.members[primary];
    let (mut text, mut wrong) =
        ("| library | port | said | answered |\n|---|---|---|---|\n".to_owned(), Vec::new());
    for client in &stage.options.clients {
        for (way, to, port) in
            [(Way::Sentinel, member.sentinel(), "Sentinel"), (Way::Proxy, member.address(), "clients")]
        {
            if !client.can(way, Work::Write) {
                continue;
            }
            let mut heard = BTreeSet::new();
            for documented in [false, true] {
                let relay = Relay::start(to)?;
                work(stage.programs, (*client, way), documented, relay.at, stage.interrupt)?;
                heard.append(&mut relay.heard());
            }
            for (said, answer) in heard {
                let known = ERRORS.iter().any(|(begins, _)| said.starts_with(begins));
                if answer.starts_with('-') && !known {
                    wrong.push(format!("{}, {port}: {said}: {answer}", client.name()));
                }
                let _ = writeln!(text, "| {} | {port} | `{said}` | `{answer}` |", client.name());
            }
        }
    }
    text.push_str("\nErrors that may be:\n\n");
    for (begins, why) in ERRORS {
        let _ = writeln!(text, "- `{begins}`: {why}");
    }
    println!("{text}");
    if let Some(path) = &stage.options.markdown {
        std::fs::write(path, format!("{HEAD}{text}"))
            .map_err(Failure::os(format!("write {}", path.display())))?;
    }
    wrong.iter().for_each(|line| eprintln!("an error: {line}"));
    Ok(wrong.is_empty())
}

/// Lets an application write a little.
fn work(
    programs: &Programs,
    (client, way): (Client, Way),
    documented: bool,
    at: SocketAddr,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let application = programs.start((client, way, Work::Write), documented, SENTINEL_NAME, &[at])?;
    let wrote = || Ok((application.seen().acks.len() >= WRITES).then_some(()));
    match interrupt.wait_for(PATIENCE, wrote)? {
        Some(()) => Ok(()),
        None => {
            let errors = application.seen().errors.clone();
            let what = format!("{} wrote nothing through a relay: {errors:?}", client.name());
            Err(Failure::os("take down what libraries say")(std::io::Error::other(what)))
        }
    }
}

type Heard = BTreeSet<(String, String)>;

/// Takes down what goes through. Dropping it takes nobody else in.
struct Relay {
    at: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    over: Arc<AtomicBool>,
}

impl Relay {
    fn start(to: SocketAddr) -> Result<Self, Failure> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::os("listen for a library"))?;
        let at = listener.local_addr().map_err(Failure::os("listen for a library"))?;
        let relay = Self { at, heard: Arc::default(), over: Arc::default() };
        let (heard, over) = (Arc::clone(&relay.heard), Arc::clone(&relay.over));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(server) = TcpStream::connect(to) {
                    join(client, server, &heard);
                }
            }
        });
        Ok(relay)
    }

    fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Or its thread would wait for one more.
        drop(TcpStream::connect(self.at));
    }
}

/// One connection, in both directions.
fn join(client: TcpStream, server: TcpStream, heard: &Arc<Mutex<Heard>>) {
    let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let asked: Arc<Mutex<VecDeque<String>>> = Arc::default();
    let asks = Arc::clone(&asked);
    pump(client, to_server, move |bytes| {
        let (command, used) = parse_command(bytes).ok()??;
        let words: Vec<Vec<u8>> = command.iter().map(<[u8]>::to_vec).collect();
        for shown in show(&words) {
            lock(&asks).push_back(shown);
        }
        Some(used)
    });
    let heard = Arc::clone(heard);
    pump(server, to_client, move |bytes| {
        let (reply, used) = parse_reply(bytes).ok()??;
        if !is_message(&reply)
            && let Some(command) = lock(&asked).pop_front()
        {
            lock(&heard).insert((command, kind(&reply)));
        }
        Some(used)
    });
}

/// Hands on what comes, after `take` has taken down what is whole: it says how many bytes that were.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    mut take: impl FnMut(&[u8]) -> Option<usize> + Send + 'static,
) {
    std::thread::spawn(move || {
        let (mut seen, mut bytes) = (Vec::new(), vec![0; 16 * 1024]);
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            seen.extend_from_slice(&bytes[..read]);
            // Before the other side can act on it.
            while let Some(used) = take(&seen) {
                seen.drain(..used);
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        // It may be gone.
        drop(to.shutdown(Shutdown::Both));
    });
}

/// A command as it is shown, once for each answer to it.
fn show(words: &[Vec<u8>]) -> Vec<String> {
    let Some((verb, rest)) = words.split_first() else { return Vec::new() };
    let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
    let verb = text(verb).to_uppercase();
    let answers = if verb.ends_with("SUBSCRIBE") { rest.len().max(1) } else { 1 };
    // What the application wrote is the same to all.
    let words = if verb == "SET" { Vec::new() } else { rest.iter().map(text).collect::<Vec<_>>() };
    let shown: String = std::iter::once(verb).chain(words).collect::<Vec<_>>().join(" ");
    let shown = shown.chars().filter(|c| !c.is_control() && *c != '|').take(SHOWN_MAX).collect::<String>();
    vec![shown; answers]
}

/// What nobody asked for just now.
fn is_message(reply: &Reply) -> bool {
    let parts = match reply {
        Reply::Array(parts) | Reply::Push(parts) => parts,
        _ => return false,
    };
    matches!(parts.first(), Some(Reply::Bulk(word)) if matches!(&**word, b"message" | b"pmessage"))
}

/// An answer, in short.
fn kind(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) => format!("-{}", String::from_utf8_lossy(text)).replace('|', " "),
        Reply::Simple(text) => format!("+{}", String::from_utf8_lossy(text)),
        Reply::Int(_) => "a number".to_owned(),
        Reply::Bulk(_) | Reply::Verbatim { .. } => "a text".to_owned(),
        Reply::Nil | Reply::Null => "nothing".to_owned(),
        Reply::Array(_) => "a list".to_owned(),
        Reply::Map(_) => "a map".to_owned(),
        _ => "a list".to_owned(),
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_once_for_every_answer_that_it_gets() {
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(show(&words("client setinfo LIB-NAME x")), ["CLIENT setinfo LIB-NAME x"]);
        assert_eq!(show(&words("set k v")), ["SET"]);
        assert_eq!(show(&words("psubscribe a b")).len(), 2);
    }
}
