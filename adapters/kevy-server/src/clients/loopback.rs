//! The server as a client of its own: what it has to write passes the gate, the log and the stream as any write does.

use kevy_resp::{encode_array_len, encode_bulk};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection of the server to itself, made when it is needed. Waits for its shards, so not for a thread of theirs.
pub(crate) struct Loopback {
    address: SocketAddr,
    /// How long a shard may take to answer.
    patience: Duration,
    server: Option<TcpStream>,
}

impl Loopback {
    /// A client of the server whose clients connect to `address`.
    pub(crate) fn new(address: SocketAddr, patience: Duration) -> Self {
        Self { address, patience, server: None }
    }

    /// Sends commands, and waits until each has been answered with one line: accepted, or refused because the gate is shut. After
    /// an error the connection is made anew the next time.
    pub(crate) fn ask<const N: usize>(&mut self, commands: &[[&[u8]; N]]) -> io::Result<()> {
        let mut request = Vec::new();
        for command in commands {
            encode_array_len(&mut request, N as i64);
            command.iter().for_each(|word| encode_bulk(&mut request, word));
        }
        let mut server = match self.server.take() {
            Some(server) => server,
            None => self.connect()?,
        };
        server.write_all(&request)?;
        let (mut left, mut bytes) = (commands.len(), [0; 1024]);
        while left > 0 {
            let read = server.read(&mut bytes)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(bytes[..read].iter().filter(|byte| **byte == b'\n').count());
        }
        self.server = Some(server);
        Ok(())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let server = TcpStream::connect_timeout(&self.address, self.patience)?;
        server.set_nodelay(true)?;
        server.set_read_timeout(Some(self.patience))?;
        server.set_write_timeout(Some(self.patience))?;
        Ok(server)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn every_command_is_answered_and_after_an_error_there_is_another_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut itself = Loopback::new(listener.local_addr().unwrap(), Duration::from_secs(20));
        let server = std::thread::spawn(move || {
            let mut request = [0; 28];
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut request).unwrap();
            client.write_all(b"+OK\r\n-RE").unwrap();
            client.write_all(b"ADONLY\r\n").unwrap();
            client.read_exact(&mut request).unwrap();
            drop(client);
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut request).unwrap();
            client.write_all(b"+OK\r\n+OK\r\n").unwrap();
            request
        });
        let commands: [[&[u8]; 1]; 2] = [[b"PING"], [b"PING"]];
        itself.ask(&commands).unwrap();
        assert!(itself.ask(&commands).is_err(), "it was closed");
        itself.ask(&commands).unwrap();
        assert_eq!(&server.join().unwrap(), b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n");
    }
}
