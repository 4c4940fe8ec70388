//! Asks the primary's node to hand its office over, for a client that said so here: who sends `SENTINEL FAILOVER` asks any Sentinel.

use crate::members::{Member, Members};
use kevy_resp::{encode_array_len, encode_bulk};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// To connect, and for each answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// For all of it, names of nodes included. Then the client is told that it was in vain.
const ALL_MAX: Duration = Duration::from_secs(2);
/// Bytes of the longest answer.
const LINE_BYTES_MAX: u64 = 4096;

/// Behind the name: the node that is asked does it or refuses, and asks nobody else. So two nodes that take each other for the primary
/// do not ask each other for ever.
pub(crate) const HERE: &[u8] = b"HERE";

/// A question that is under way.
#[derive(Debug)]
pub(crate) struct Forward {
    client: u64,
    until: Instant,
    at: String,
    answer: Receiver<String>,
}

impl Forward {
    /// Asks the member `primary`, on a thread of its own that rings `bell` when it knows the answer.
    pub(crate) fn start(
        client: u64,
        members: &Members,
        primary: usize,
        password: Option<&str>,
        bell: Arc<UnixStream>,
        now: Instant,
    ) -> Self {
        let member = members.all[primary].clone();
        let (tell, answer) = sync_channel(1);
        let at = format!("{} at {}:{}", member.id, member.sentinel_host, member.sentinel_port);
        let forward = Self { client, until: now + ALL_MAX, at: at.clone(), answer };
        let (name, password) = (members.name.clone(), password.map(str::to_owned));
        let ask = move || {
            let line = ask(&member, &name, password.as_deref());
            let line = line.unwrap_or_else(|error| in_vain(&at, &error.to_string()));
            // Nobody may wait any more; and a bell that is full is ringing already.
            let _ = tell.try_send(line);
            let _ = (&*bell).write(&[0]);
        };
        // Without a thread the channel ends, which is an answer too.
        drop(std::thread::Builder::new().name("sentinel-asks".to_owned()).spawn(ask));
        forward
    }

    /// When it is over in any case.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Whose question it was, and the answer as a line of the protocol, once it is there.
    pub(crate) fn answer(&self, now: Instant) -> Option<(u64, String)> {
        let line = match self.answer.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) if now < self.until => return None,
            Err(_) => in_vain(&self.at, "no answer"),
        };
        Some((self.client, line))
    }
}

fn in_vain(at: &str, why: &str) -> String {
    format!("-ERR {at} is the primary and was asked in vain ({why}): ask it")
}

fn ask(member: &Member, name: &str, password: Option<&str>) -> io::Result<String> {
    let mut failed = io::ErrorKind::NotFound.into();
    for address in (member.sentinel_host.as_str(), member.sentinel_port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_MAX) {
            Ok(stream) => return converse(stream, name, password),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn converse(stream: TcpStream, name: &str, password: Option<&str>) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let mut stream = BufReader::new(stream);
    if let Some(password) = password {
        // Where it was wrong the next answer says so.
        say(&mut stream, &[b"AUTH", password.as_bytes()])?;
    }
    say(&mut stream, &[b"SENTINEL", b"FAILOVER", name.as_bytes(), HERE])
}

fn say(stream: &mut BufReader<TcpStream>, words: &[&[u8]]) -> io::Result<String> {
    let mut command = Vec::new();
    encode_array_len(&mut command, i64::try_from(words.len()).unwrap_or(i64::MAX));
    words.iter().for_each(|word| encode_bulk(&mut command, word));
    stream.get_mut().write_all(&command)?;
    let mut line = String::new();
    stream.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
