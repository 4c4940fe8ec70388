//! `members`: who votes, and changes of it in the running cluster. A change is asked for at the primary, and this waits until a quorum has it.

use crate::cli::{Changed, Voters};
use crate::paint::plain;
use crate::transfer::{ELSEWHERE, Node, PATIENCE, connect};
use kevy_elect_compare::resp::Reply;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// How often it is looked whether a change has been made.
const LOOK: Duration = Duration::from_millis(20);
/// How long after the operator's time is over.
const AFTER: Duration = Duration::from_secs(5);

pub(crate) fn run(what: &Voters, pages: &[String]) -> Result<String, String> {
    match what {
        Voters::List(what) => {
            let (mut nodes, silent) = connect(&what.members.addresses(pages)?)?;
            let said = nodes.iter_mut().find_map(|node| told(node).ok());
            let said = said.ok_or_else(|| format!("no node tells who votes{silent}"))?;
            Ok(shown(&said, what.json))
        }
        Voters::Add(what) => changed(what, &[("ADD", &what.node)], pages),
        Voters::Remove(what) => changed(what, &[("REMOVE", &what.node)], pages),
        // The other way round there would be a voter less meanwhile.
        Voters::Replace { by, what } => changed(what, &[("ADD", by), ("REMOVE", &what.node)], pages),
    }
}

/// Makes these changes, one after the other.
fn changed(what: &Changed, steps: &[(&str, &str)], pages: &[String]) -> Result<String, String> {
    let (mut nodes, silent) = connect(&what.members.addresses(pages)?)?;
    let mut said = String::new();
    for (done, (word, node)) in steps.iter().enumerate() {
        said = change(&mut nodes, word, node, what.timeout, &silent).map_err(|why| match done {
            0 => why,
            _ => format!("{} has a vote now, and {why}", plain(steps[0].1)),
        })?;
    }
    Ok(shown(&said, what.json))
}

/// Asks one node after the other until the primary begins, and waits for the end. Gives what that one says then.
fn change(nodes: &mut [Node], word: &str, node: &str, timeout: u64, silent: &str) -> Result<String, String> {
    let milliseconds = (timeout * 1000).to_string();
    let words = [b"ELECT", b"MEMBERS".as_slice(), word.as_bytes(), node.as_bytes(), b"TIMEOUT"];
    let words = [&words[..], &[milliseconds.as_bytes()]].concat();
    for asked in nodes {
        let voters = match asked.client.call_within(&words, PATIENCE) {
            Ok(Reply::Bulk(voters)) => String::from_utf8_lossy(&voters).into_owned(),
            Ok(Reply::Error(why)) if why.starts_with(ELSEWHERE) => continue,
            Ok(Reply::Error(why)) => {
                return Err(format!("{}: {}", asked.address, plain(why.trim_start_matches("ERR "))));
            }
            Ok(other) => return Err(format!("{}: no answer that is known: {other:?}", asked.address)),
            Err(error) => return Err(format!("{}: {error}", asked.address)),
        };
        let (begun, patience) = (Instant::now(), Duration::from_secs(timeout) + AFTER);
        let mut waits = "nothing is known of it".to_owned();
        while begun.elapsed() < patience {
            let said = told(asked)
                .map_err(|why| format!("{why}; `members list` tells what became of the change"))?;
            match field(&said, "change") {
                Some(why) => why.clone_into(&mut waits),
                None if field(&said, "voters") == Some(&voters) => return Ok(said),
                None => break,
            }
            std::thread::sleep(LOOK);
        }
        return Err(format!(
            "nothing has changed in {timeout} s ({}); --timeout gives it more time",
            plain(&waits)
        ));
    }
    Err(format!("none of these nodes is primary{silent}; `status` tells why"))
}

/// What a node says of who votes.
fn told(node: &mut Node) -> Result<String, String> {
    match node.client.call_within(&[b"ELECT", b"MEMBERS"], PATIENCE) {
        Ok(Reply::Bulk(said)) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(Reply::Error(why)) => Err(format!("{}: {}", node.address, plain(&why))),
        Ok(other) => Err(format!("{}: no answer that is known: {other:?}", node.address)),
        Err(error) => Err(format!("{}: {error}", node.address)),
    }
}

fn field<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn shown(said: &str, as_json: bool) -> String {
    if !as_json {
        return said.lines().map(|line| plain(line) + "\n").collect();
    }
    let mut all = Map::new();
    for name in ["generation", "voters", "quorum", "change"] {
        let value = field(said, name).map(|value| match name {
            "voters" => json!(value.split(',').collect::<Vec<_>>()),
            "quorum" => json!(value.parse::<u64>().ok()),
            _ => json!(value),
        });
        all.insert(name.to_owned(), value.unwrap_or(Value::Null));
    }
    let member = |line: &str| {
        let mut words = line.strip_prefix("member:")?.split(' ');
        let (node, votes, has) = (words.next()?, words.next()?, words.next()?);
        Some(json!({ "node": node, "votes": votes == "votes", "has": has.strip_prefix("has=") }))
    };
    all.insert("members".to_owned(), said.lines().filter_map(member).collect());
    format!("{:#}\n", Value::Object(all))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_shown_to_people_and_to_programs() {
        let said = "generation:7:2\nvoters:n1,n2,n3@witness\nquorum:2\nmember:n2 votes has=7:2\nmember:n4 does-not-vote has=unknown\n";
        assert_eq!(shown(said, false), said);
        let json: Value = serde_json::from_str(&shown(said, true)).unwrap();
        assert_eq!(json["voters"], json!(["n1", "n2", "n3@witness"]));
        assert_eq!((&json["quorum"], &json["change"]), (&json!(2), &Value::Null));
        assert_eq!(json["members"][1], json!({ "node": "n4", "votes": false, "has": "unknown" }));
    }
}
