//! A client that keeps what a reply looked like: which kind of nothing, a map or a list, a push or an answer.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A reply, with the byte that it began with where several mean something alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `+`, `-`.
    Line(char, String),
    Number(i64),
    Bulk(String),
    /// `$-1`, `*-1`, `_`.
    Nothing(String),
    /// `*`, `%`, `>`. A map's keys and values follow each other.
    List(char, Vec<Value>),
}

pub struct Talk(BufReader<TcpStream>, u16);

impl Talk {
    /// `None` where nobody listens.
    pub fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self(BufReader::new(stream), port))
    }

    /// The next reply or message; an error once the connection has ended.
    pub fn next(&mut self) -> std::io::Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = (line.chars().next().unwrap(), &line[1..]);
        let count = || rest.parse::<i64>().unwrap();
        Ok(match kind {
            '+' | '-' => Value::Line(kind, rest.to_owned()),
            ':' => Value::Number(count()),
            '_' => Value::Nothing(line.to_owned()),
            '$' | '*' if rest == "-1" => Value::Nothing(line.to_owned()),
            '$' => {
                let mut bytes = vec![0; count() as usize + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(count() as usize);
                Value::Bulk(String::from_utf8(bytes).unwrap())
            }
            '*' | '>' | '%' => {
                let parts = count() * if kind == '%' { 2 } else { 1 };
                Value::List(kind, (0..parts).map(|_| self.next()).collect::<Result<_, _>>()?)
            }
            _ => panic!("not RESP: {line}"),
        })
    }

    /// As typed: one line. Whether it arrives, the answer tells.
    pub fn say(&mut self, line: &str) {
        drop(self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()));
    }

    pub fn ask(&mut self, line: &str) -> Value {
        self.say(line);
        self.next().unwrap_or_else(|error| panic!("no answer to {line} at {}: {error}", self.1))
    }
}

impl Value {
    /// The texts of a list of texts.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::List(_, parts) => parts.iter().filter_map(Self::text).collect(),
            _ => Vec::new(),
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bulk(text) | Self::Line(_, text) => Some(text),
            _ => None,
        }
    }

    /// What stands behind `name` in a list of names and values.
    pub fn field(&self, name: &str) -> Option<&str> {
        let Self::List(_, parts) = self else { return None };
        parts.chunks(2).find(|pair| pair[0].text() == Some(name))?.get(1)?.text()
    }
}
