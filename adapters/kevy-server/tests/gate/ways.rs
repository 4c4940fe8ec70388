//! Every way in which a command can reach a server.

use crate::wire::{Group, Words, words};
use kevy_resp::Reply;

kevy_elect_plugin::words! {
    /// A way in.
    pub enum Way {
        Plain,
        SmallLetters,
        Inline,
        Resp3,
        Multi,
        Watched,
        Eval,
        EvalSha,
        EvalRo,
        EvalShaRo,
        EvalInMulti,
        Pipelined,
    }
}

/// Calls what the arguments say.
const CALL: &str = "local list=unpack or table.unpack return redis.call(list(ARGV))";

/// Keys that are on all shards.
const EVERYWHERE: &str = "EXISTS a b c d e f g h i j k l m n o p";

/// Longest word that is sent without saying its length.
const INLINE_MAX: usize = 10_000;

impl Way {
    /// On a node that may write, how many tenths of the commands that change something do so in this way too.
    pub fn least_tenths(self) -> usize {
        match self {
            Self::Plain | Self::SmallLetters | Self::Resp3 => 10,
            Self::Inline => 9,
            // Some are not allowed there.
            Self::Multi => 9,
            Self::Watched => 8,
            Self::Eval | Self::EvalSha | Self::EvalInMulti => 5,
            // Those are not let write anywhere.
            Self::EvalRo | Self::EvalShaRo => 0,
            // Where they run, kevy mixes up what is behind a command that several shards work on.
            Self::Pipelined => 0,
        }
    }

    /// Whether a command that lets its client wait can come in like this: kevy mixes up what is sent behind one.
    pub fn takes(self, blocks: bool) -> bool {
        !blocks || self != Self::Pipelined
    }

    /// Whether a script runs the command, and not the client.
    pub fn is_script(self) -> bool {
        matches!(self, Self::Eval | Self::EvalSha | Self::EvalRo | Self::EvalShaRo | Self::EvalInMulti)
    }

    /// What makes it possible, sent once to a server.
    pub fn prepare() -> Words {
        vec![b"SCRIPT".to_vec(), b"LOAD".to_vec(), CALL.as_bytes().to_vec()]
    }

    /// What brings `command` in; `None` where it cannot come in like this. `sha` is what the server said to
    /// [`Way::prepare`].
    pub fn group(self, command: &Words, sha: &str, waits: bool) -> Option<Group> {
        let waits = waits && !matches!(self, Self::Multi | Self::Watched) && !self.is_script();
        let group = |all: &[&Words]| Group::of(all, waits);
        let (multi, exec) = (words("MULTI"), words("EXEC"));
        Some(match self {
            Self::Plain => group(&[command]),
            Self::SmallLetters => {
                let mut command = command.clone();
                command[0].make_ascii_lowercase();
                group(&[&command])
            }
            Self::Inline => {
                let fits = |word: &Vec<u8>| {
                    !word.is_empty() && word.iter().all(u8::is_ascii_graphic) && word.len() < INLINE_MAX
                };
                if !command.iter().all(fits) {
                    return None;
                }
                Group { first: None, bytes: [&command.join(&b' ')[..], b"\r\n"].concat(), commands: 1, waits }
            }
            // Between commands that all shards work on, and all of its kind at once.
            Self::Pipelined => Group::of(&[&words(EVERYWHERE), command, &words(EVERYWHERE)], false),
            Self::Resp3 => group(&[&words("HELLO 3"), command]),
            Self::Multi => group(&[&multi, command, &exec]),
            // Sent at once, EXEC would not wait for what WATCH finds on another shard, and watch nothing.
            Self::Watched => {
                Group { first: Some(words("WATCH nobody-writes-this")), ..group(&[&multi, command, &exec]) }
            }
            Self::EvalInMulti => group(&[&multi, &script("EVAL", CALL, command), &exec]),
            Self::Eval => group(&[&script("EVAL", CALL, command)]),
            Self::EvalRo => group(&[&script("EVAL_RO", CALL, command)]),
            Self::EvalSha => group(&[&script("EVALSHA", sha, command)]),
            Self::EvalShaRo => group(&[&script("EVALSHA_RO", sha, command)]),
        })
    }

    /// Whether `replies` to those bytes say that nothing was done.
    pub fn refused(self, replies: &[Reply]) -> bool {
        match replies.last() {
            Some(_) if self == Self::Pipelined => {
                replies.len() < 3 || replies.iter().any(|reply| matches!(reply, Reply::Error(_)))
            }
            // It closed the connection without a word.
            None => true,
            Some(Reply::Error(_)) => true,
            // The same, after it had answered HELLO.
            Some(Reply::Map(_)) if self == Self::Resp3 && replies.len() == 1 => true,
            Some(Reply::Array(results))
                if matches!(self, Self::Multi | Self::Watched | Self::EvalInMulti) =>
            {
                results.iter().all(|result| matches!(result, Reply::Error(_)))
            }
            Some(_) => false,
        }
    }
}

/// A script that runs `command` where its first argument lives.
fn script(verb: &str, script: &str, command: &Words) -> Words {
    let mut all = vec![verb.as_bytes().to_vec(), script.as_bytes().to_vec()];
    match command.get(1) {
        Some(key) => all.extend([b"1".to_vec(), key.clone()]),
        None => all.push(b"0".to_vec()),
    }
    all.extend(command.iter().cloned());
    all
}
