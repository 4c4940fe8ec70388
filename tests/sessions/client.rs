//! A peer that the test plays itself, byte by byte, over a session.

use super::Kind;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::transport::session::{Proven, Session};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;

/// A stream of frames: what is written is sealed, what is read was opened.
pub struct Client {
    stream: TcpStream,
    session: Box<dyn Session>,
    unopened: Vec<u8>,
    frames: Vec<u8>,
}

impl Client {
    /// Dials `peer` as `node`; the session greets first, where it has to.
    pub fn dial(kind: Kind, stream: TcpStream, node: NodeId, peer: NodeId) -> io::Result<Self> {
        let session = kind.sessions(node).dial(peer);
        let mut client = Self { stream, session, unopened: Vec::new(), frames: Vec::new() };
        client.write_all(&[])?;
        client.greet(kind)?;
        Ok(client)
    }

    /// Takes up a connection as `node`.
    pub fn accept(kind: Kind, stream: TcpStream, node: NodeId) -> io::Result<Self> {
        let session = kind.sessions(node).accept();
        let mut client = Self { stream, session, unopened: Vec::new(), frames: Vec::new() };
        client.greet(kind)?;
        Ok(client)
    }

    fn greet(&mut self, kind: Kind) -> io::Result<()> {
        while kind != Kind::Plain && self.session.proven() == Proven::Nothing {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// The socket, for what does not pass through the session.
    pub fn wire(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// What the session makes of these frames, which are then not sent.
    pub fn seal(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut bytes = frames.to_vec();
        self.session.seal(&mut bytes).unwrap();
        bytes
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes)?;
        self.unopened.extend(&bytes[..read]);
        loop {
            let mut reply = Vec::new();
            let opened = match self.unopened.is_empty() {
                true => return Ok(read),
                false => self.session.open(&mut self.unopened, &mut reply),
            };
            let opened = opened.map_err(|reason| io::Error::other(reason.as_str()))?;
            self.stream.write_all(&reply)?;
            if opened.used == 0 {
                return Ok(read);
            }
            self.frames.extend(&self.unopened[opened.frames]);
            self.unopened.drain(..opened.used);
        }
    }
}

impl Read for Client {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.frames.is_empty() {
            if self.fill()? == 0 {
                return Ok(0);
            }
        }
        let length = to.len().min(self.frames.len());
        to[..length].copy_from_slice(&self.frames[..length]);
        self.frames.drain(..length);
        Ok(length)
    }
}

impl Write for Client {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let sealed = self.seal(frames);
        self.stream.write_all(&sealed)?;
        Ok(frames.len())
    }

    fn write_all(&mut self, frames: &[u8]) -> io::Result<()> {
        self.write(frames).map(|_| ())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Deref for Client {
    type Target = TcpStream;
    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}
