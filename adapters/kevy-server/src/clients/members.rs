//! `ELECT MEMBERS`: who votes, and how an operator changes it (M1 to M13 of `docs/protocol.md`).
//!
//! | command | answer |
//! |---|---|
//! | `ELECT MEMBERS` | all members, where and what they are, who votes by this node's list, and what a change waits for: a [`MemberList`] |
//! | `ELECT MEMBERS RELOAD` | what came of reading this node's file anew: a [`Reloaded`]; at each node |
//! | `ELECT MEMBERS ADD node [TIMEOUT ms]`, `REMOVE node` | the voters that there are to be, or why nothing changes; at the primary |
//!
//! The answer comes when the change begins. Its end shows in `ELECT MEMBERS`.

use crate::clients::replies::Replies;
use crate::clients::transfer::patience;
use crate::position::digest::VERB;
#[cfg(doc)]
use kevy_elect_ops::members::MemberList;
#[cfg(doc)]
use kevy_elect_ops::reload::Reloaded;
use kevy_elect_plugin::change::{ChangeRefused, MembersChange};
use kevy_elect_plugin::ids::NodeId;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long a file may take to be read.
const RELOAD_MAX: Duration = Duration::from_millis(250);
const WORD: &[u8] = b"MEMBERS";
const USAGE: &str = "use ELECT MEMBERS [ADD node | REMOVE node [TIMEOUT ms]], or ELECT MEMBERS RELOAD";

/// Whether `argv` is one of these.
pub(crate) fn is_ours(argv: &[Vec<u8>]) -> bool {
    let is = |i: usize, word: &[u8]| argv.get(i).is_some_and(|there| there.eq_ignore_ascii_case(word));
    is(0, VERB) && is(1, WORD)
}

/// The answer.
pub(crate) fn answer(replies: &Replies, argv: &[Vec<u8>]) -> Vec<u8> {
    let words: Vec<&[u8]> = argv.iter().skip(2).map(Vec::as_slice).collect();
    let mut out = Vec::new();
    match said(replies, &words) {
        Ok(said) => kevy_resp::encode_bulk(&mut out, said.as_bytes()),
        Err(why) => kevy_resp::encode_error(&mut out, &format!("ERR {why}")),
    }
    out
}

fn said(replies: &Replies, words: &[&[u8]]) -> Result<String, String> {
    if let [word] = words
        && word.eq_ignore_ascii_case(b"RELOAD")
    {
        return reload(replies);
    }
    let office = replies.shards.office().ok_or("the election has not started")?;
    let Some((change, patience)) = asked(words)? else {
        let list = office.members(&|node| replies.source.place(node));
        return Ok(list.ok_or("the election has not started")?.text());
    };
    office.change_members(change, patience).map(|members| members.list()).map_err(|why| match why {
        ChangeRefused::NotPrimary { primary: Some(primary) } => match replies.source.address_of(primary) {
            Some((host, port)) => format!("{why}, at {host}:{port}"),
            None => why.to_string(),
        },
        _ => why.to_string(),
    })
}

/// The shard waits for that a little, and never for a disk that does not answer.
fn reload(replies: &Replies) -> Result<String, String> {
    let reloader = replies.shards.reloader().ok_or("the election has not started")?;
    let (tell, told) = sync_channel(1);
    blocking::unblock(move || drop(tell.try_send(reloader.reload()))).detach();
    let late = |_| "the file is still being read: the log tells what comes of it".to_owned();
    told.recv_timeout(RELOAD_MAX).map_err(late)?.map(|reloaded| reloaded.text())
}

/// What is wanted; `None`: to know.
fn asked(words: &[&[u8]]) -> Result<Option<(MembersChange, Duration)>, String> {
    let [word, node, rest @ ..] = words else {
        return if words.is_empty() { Ok(None) } else { Err(USAGE.to_owned()) };
    };
    let node = std::str::from_utf8(node).map_err(|_| USAGE)?;
    let node = NodeId::new(node).map_err(|error| format!("{node:?} is no node id: {error}"))?;
    let change = match word.to_ascii_uppercase().as_slice() {
        b"ADD" => MembersChange::Add(node),
        b"REMOVE" => MembersChange::Remove(node),
        _ => return Err(USAGE.to_owned()),
    };
    Ok(Some((change, patience(rest).ok_or(USAGE)?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn one_node_is_added_or_removed_and_nothing_else() {
        let words = |line: &'static str| line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>();
        let n4 = NodeId::new("n4").unwrap();
        assert_eq!(asked(&[]), Ok(None));
        let (change, time) = asked(&words("add n4 TIMEOUT 5")).unwrap().unwrap();
        assert_eq!((change, time), (MembersChange::Add(n4), Duration::from_millis(5)));
        assert_eq!(asked(&words("REMOVE n4")).unwrap().unwrap().0, MembersChange::Remove(n4));
        for wrong in ["add", "n4", "add n4 n5", "replace n4", "add n4 TIMEOUT", "add a@b"] {
            assert!(asked(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
