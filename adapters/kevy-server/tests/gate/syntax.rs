//! Draws a use of a command from the text that says how it is used, such as
//! `SET key value [EX seconds|PX milliseconds] [NX|XX]`.

use crate::wire::Words;
use crate::world::{SCRIPT, World};
use std::iter::Peekable;
use std::vec::IntoIter;

/// A word, or what stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Word(String),
    Optional(Vec<Part>),
}

/// Draws words; the same ones for the same name.
pub struct Draw<'a> {
    dice: u64,
    /// How many of five optional parts are taken.
    optional: usize,
    group: &'a str,
    world: &'a World,
}

impl<'a> Draw<'a> {
    pub fn new(name: &str, group: &'a str, world: &'a World) -> Self {
        let dice = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self { dice, optional: 0, group, world }
    }

    /// One use.
    pub fn words(&mut self, syntax: &str) -> Words {
        self.optional = self.below(4);
        let parts = parse(&mut tokens(syntax).into_iter().peekable());
        self.sequence(&parts).into_iter().map(String::into_bytes).collect()
    }

    /// SplitMix64.
    fn below(&mut self, n: usize) -> usize {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn sequence(&mut self, parts: &[Part]) -> Vec<String> {
        // `A b | C d`: one of them.
        let bar = Part::Word("|".to_owned());
        let alternatives: Vec<&[Part]> = parts.split(|part| *part == bar).collect();
        let parts = self.one(&alternatives);
        let mut words = Vec::new();
        let mut skipping = false;
        for part in parts {
            match part {
                Part::Optional(inner) => {
                    skipping = false;
                    if self.below(5) < self.optional {
                        words.extend(self.group(inner));
                    }
                }
                Part::Word(word) if word == "..." || word == "…" => {}
                Part::Word(word) if skipping && !word.contains(|c: char| c.is_uppercase()) => {}
                Part::Word(word) => {
                    let all: Vec<&str> = word.split('|').collect();
                    let at = self.below(all.len());
                    words.extend(self.value(all[at]));
                    // `MEMBER member|LONLAT longitude latitude`: with the first, the rest of the second goes too.
                    let begins_another =
                        all[at + 1..].iter().any(|word| word.starts_with(char::is_uppercase));
                    skipping = begins_another && !all[at].starts_with(char::is_uppercase);
                }
            }
        }
        words
    }

    /// What stands in brackets: `[EX seconds|PX milliseconds]` is one of two sequences, `[MAXLEN|MINID threshold]` a
    /// sequence that begins with one of two words. Nothing tells them apart, so both are drawn.
    fn group(&mut self, parts: &[Part]) -> Vec<String> {
        if self.below(2) == 0 {
            return self.sequence(parts);
        }
        let split: Vec<Part> = parts
            .iter()
            .flat_map(|part| match part {
                Part::Word(word) if word.contains('|') && word != "|" => {
                    let bars = word.replace('|', " | ");
                    bars.split(' ').map(|word| Part::Word(word.to_owned())).collect()
                }
                other => vec![other.clone()],
            })
            .collect();
        self.sequence(&split)
    }

    /// What is put in place of `word`; a word that is none of the known names stands for itself.
    fn value(&mut self, word: &str) -> Vec<String> {
        let pick = |draw: &mut Self, of: &[&str]| draw.one(of).to_owned();
        let small = ["a", "b", "c", "new"];
        let value = match word {
            "key" | "newkey" | "source" | "destination" | "destkey" => self.key(),
            "value" | "arg" | "message" => pick(self, &["7", "text", "1", "0"]),
            "element" | "member" | "field" | "pivot" => pick(self, &small),
            // How long a server sleeps.
            "seconds" if self.group == "server" => "0.001".to_owned(),
            // What Redis does behind `DEBUG`.
            "subcommand" => pick(self, &["FLUSHALL", "RELOAD", "LOADAOF", "POPULATE", "CHANGE-REPL-ID"]),
            "seconds" => pick(self, &["5000", "100"]),
            "milliseconds" | "ms" if matches!(self.group, "stream" | "replication") => "5".to_owned(),
            "milliseconds" | "ms" => pick(self, &["5000000", "100000"]),
            "unix-time-seconds" => "4102444800".to_owned(),
            "unix-time-milliseconds" => "4102444800000".to_owned(),
            "timeout" if self.group == "replication" => "5".to_owned(),
            // With several shards kevy looks for the data on another one, and gives up first where the machine is busy.
            "timeout" => "0.25".to_owned(),
            "index" if self.group == "view" => "ix".to_owned(),
            "offset" | "start" | "index" | "min" | "min-idle-time" => pick(self, &["0", "1", "-1"]),
            "stop" | "max" | "threshold" | "count" | "increment" | "decrement" | "cursor" | "score"
            | "weight" => pick(self, &["1", "2", "0", "-1", "100"]),
            "numkeys" | "numfields" => pick(self, &["1", "2"]),
            "longitude" | "latitude" => pick(self, &["10", "10.5"]),
            "radius" | "width" | "height" => pick(self, &["500", "1"]),
            "id" if self.group == "stream" => pick(self, &["1-1", "2-1", "9-1", "0", ">"]),
            "last-id" | "max-deleted-id" | "lastid" => "9-9".to_owned(),
            "entries-added" | "entries-read" => "2".to_owned(),
            "group" => "g".to_owned(),
            "consumer" => pick(self, &["c1", "c2"]),
            "script" => SCRIPT.to_owned(),
            "sha1" => self.world.sha.clone(),
            "frames" => self.frames(),
            "prefix" => pick(self, &["str", "row:", "p:"]),
            "col" => pick(self, &["id", "n"]),
            "name" => pick(self, &["ix", "tab", "view", "new", "id", "n"]),
            "tree" => return ["ix", "RANGE", "0", "50"].map(str::to_owned).to_vec(),
            "parameter" => "maxmemory-samples".to_owned(),
            "host" => "127.0.0.1".to_owned(),
            "port" => "1".to_owned(),
            "channel" | "pattern" | "node" | "section" => "a".to_owned(),
            literal => literal.to_owned(),
        };
        vec![value]
    }

    /// Mostly a key of the type that the command is for.
    fn key(&mut self) -> String {
        let of = match self.below(6) {
            0 => "",
            1 => "nothing",
            _ => self.group,
        };
        let keys = self.world.keys(of);
        self.one(&keys)
    }

    /// Commands as text on the wire.
    fn frames(&mut self) -> String {
        let key = self.key();
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$8\r\ningested\r\n", key.len())
    }
}

fn tokens(syntax: &str) -> Vec<String> {
    // What stands in parentheses explains a word.
    let spaced = syntax.split(" (").next().unwrap_or_default().replace('[', " [ ").replace(']', " ] ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Up to the bracket that closes this level.
fn parse(tokens: &mut Peekable<IntoIter<String>>) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(token) = tokens.next() {
        match token.as_str() {
            "[" => parts.push(Part::Optional(parse(tokens))),
            "]" => break,
            _ => parts.push(Part::Word(token)),
        }
    }
    parts
}
