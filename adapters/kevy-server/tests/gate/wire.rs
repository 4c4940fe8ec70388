//! A connection that sends whatever it is told, and takes whatever comes back.

use crate::common::PATIENCE;
use kevy_resp::{Reply, encode_command, parse_reply};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for an answer that may never be whole.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// A command: the verb and its arguments.
pub type Words = Vec<Vec<u8>>;

/// Words from a line, split at spaces.
pub fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The command for people.
pub fn show(words: &[Vec<u8>]) -> String {
    let word = |word: &Vec<u8>| match word.len() {
        0..=60 => String::from_utf8_lossy(word).escape_default().to_string(),
        n => format!("<{n} bytes>"),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Puts one command on the wire.
pub fn frame(out: &mut Vec<u8>, words: &[Vec<u8>]) {
    encode_command(out, words);
}

/// Commands that belong together.
pub struct Group {
    /// Sent, and answered, before the others are.
    pub first: Option<Words>,
    pub bytes: Vec<u8>,
    pub commands: usize,
    /// Whether nothing may be sent behind it before it is answered.
    pub waits: bool,
}

impl Group {
    pub fn of(commands: &[&Words], waits: bool) -> Self {
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| frame(&mut bytes, words));
        Self { first: None, bytes, commands: commands.len(), waits }
    }
}

pub struct Wire {
    stream: TcpStream,
    port: u16,
    unread: Vec<u8>,
    echoes: u64,
    /// Whether the server ends the connection after what it said last.
    ends: bool,
    /// The bytes of all replies so far, if somebody wants to see them.
    pub heard: Option<Vec<u8>>,
}

impl Wire {
    pub fn open(port: u16) -> Self {
        Self { stream: connect(port), port, unread: Vec::new(), echoes: 0, ends: false, heard: None }
    }

    /// Sends commands at once and gives one reply for each. Through a new connection, where a refusal has ended this one.
    pub fn ask_all(&mut self, commands: &[Words]) -> Vec<Reply> {
        if std::mem::take(&mut self.ends) {
            self.stream = connect(self.port);
            self.unread.clear();
        }
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| frame(&mut bytes, words));
        self.send(&bytes);
        let replies: Vec<_> = commands
            .iter()
            .map(|words| self.reply().unwrap_or_else(|| panic!("closed at {}", show(words))))
            .collect();
        self.ends = replies.last().is_some_and(ends);
        replies
    }

    /// One command and its reply.
    pub fn ask(&mut self, line: &str) -> Reply {
        self.ask_all(&[words(line)]).remove(0)
    }

    /// The same; `None` where the connection has ended.
    pub fn try_ask(&mut self, line: &str) -> Option<Reply> {
        let mut bytes = Vec::new();
        frame(&mut bytes, &words(line));
        self.send(&bytes);
        self.reply()
    }

    /// Sends several groups at once, and gives what was answered to each. What a group leaves behind in the connection
    /// (a transaction) is taken back after it. A group that closes the connection ends its own replies; those behind it
    /// go through a new connection.
    pub fn exchange(&mut self, groups: &[Group]) -> Vec<Vec<Reply>> {
        let mut all = Vec::new();
        while all.len() < groups.len() {
            let rest = &groups[all.len()..];
            // Behind a command that waits kevy mixes up the answers, so nothing is sent behind one.
            let alone = |group: &Group| group.waits || group.first.is_some();
            let sent =
                if alone(&rest[0]) { 1 } else { rest.iter().take_while(|group| !alone(group)).count() };
            let first = self.echoes;
            let mut bytes = Vec::new();
            let mut answered = Vec::new();
            for group in &rest[..sent] {
                if let Some(words) = &group.first {
                    self.ask_all(std::slice::from_ref(words));
                }
                bytes.extend_from_slice(&group.bytes);
                if group.waits {
                    self.send(&std::mem::take(&mut bytes));
                    // Some answers are cut off (`*2` and one error): what is sent next ends those.
                    self.stream.set_read_timeout(Some(ANSWERED_WITHIN)).unwrap();
                    answered.extend((0..group.commands).map_while(|_| self.try_reply().ok().flatten()));
                    self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
                }
                frame(&mut bytes, &words("DISCARD"));
                frame(&mut bytes, &words(&format!("ECHO end-of-group-{}", self.echoes)));
                self.echoes += 1;
            }
            self.send(&bytes);
            for (echo, group) in (first..self.echoes).zip(rest) {
                let (replies, open) = self.until(format!("end-of-group-{echo}").as_bytes(), group);
                all.push([std::mem::take(&mut answered), replies].concat());
                if !open {
                    self.reopen();
                    break;
                }
            }
        }
        // QUIT is answered first and closes afterwards.
        self.send(b"PING\r\n");
        if self.reply().is_none() {
            self.reopen();
        }
        all
    }

    fn reopen(&mut self) {
        *self = Self { echoes: self.echoes, heard: self.heard.take(), ..Self::open(self.port) };
    }

    /// The replies before the one to `DISCARD` and `ECHO text`, and whether the connection is still there.
    fn until(&mut self, text: &[u8], group: &Group) -> (Vec<Reply>, bool) {
        let mut replies = Vec::new();
        loop {
            let sent = String::from_utf8_lossy(&group.bytes[..group.bytes.len().min(500)]);
            match self.try_reply().unwrap_or_else(|error| panic!("{error} after {replies:?} to {sent}")) {
                Some(Reply::Bulk(bulk)) if bulk == text => {
                    // What DISCARD said.
                    replies.pop();
                    return (replies, true);
                }
                Some(reply) => replies.push(reply),
                None => return (replies, false),
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // In the background: a server that answers before it has read everything must not wait for us.
        let (mut stream, bytes) = (self.stream.try_clone().unwrap(), bytes.to_vec());
        match bytes.len() {
            0..=16_384 => drop(stream.write_all(&bytes)),
            _ => drop(std::thread::spawn(move || stream.write_all(&bytes))),
        }
    }

    /// The next reply; `None` when the connection has ended.
    pub fn reply(&mut self) -> Option<Reply> {
        let reply = self.try_reply();
        reply.unwrap_or_else(|error| {
            panic!("no reply: {error}; unread {:?}", String::from_utf8_lossy(&self.unread))
        })
    }

    /// A reply that has come.
    pub fn poll(&mut self) -> Option<Reply> {
        self.stream.set_nonblocking(true).unwrap();
        let reply = self.try_reply().ok().flatten();
        self.stream.set_nonblocking(false).unwrap();
        reply
    }

    fn try_reply(&mut self) -> std::io::Result<Option<Reply>> {
        loop {
            if let Some((reply, used)) = parse_reply(&self.unread).unwrap() {
                let bytes = self.unread.drain(..used);
                if let Some(heard) = &mut self.heard {
                    heard.extend(bytes);
                }
                return Ok(Some(reply));
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a fenced primary refused something: then it ends the connection, because a client that goes on asking there would
/// never find another one.
fn ends(reply: &Reply) -> bool {
    match reply {
        Reply::Error(text) => {
            let text = String::from_utf8_lossy(text);
            text.starts_with("READONLY") && text.contains("must not write now")
        }
        Reply::Array(results) => results.iter().any(ends),
        _ => false,
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
