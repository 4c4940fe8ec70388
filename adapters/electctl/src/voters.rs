//! `members`: who is in the cluster and who votes, and changes of that while it runs. A change is asked for at the
//! primary, and this waits until a quorum has it.

use crate::cli::{Changed, Voters};
use crate::paint::{bad, bold, plain, table};
use crate::reload;
use crate::transfer::{ELSEWHERE, Node, PATIENCE, connect};
use kevy_elect_compare::resp::Reply;
use kevy_elect_ops::members::{ListedMember, MemberList};
use std::time::{Duration, Instant};

/// How often it is looked whether a change has been made.
const LOOK: Duration = Duration::from_millis(20);
/// How long after the operator's time is over.
const AFTER: Duration = Duration::from_secs(5);

/// What to say, and whether what the files say is in force.
pub(crate) fn run(what: &Voters, pages: &[String]) -> Result<(String, bool), String> {
    let said = match what {
        Voters::Reload(what) => return reload::run(what, pages),
        Voters::List(what) => {
            let (mut nodes, silent) = connect(&what.targets.addresses(pages)?)?;
            let said = nodes.iter_mut().find_map(|node| told(node).ok());
            let said = said.ok_or_else(|| format!("no node tells who votes{silent}"))?;
            Ok(shown(&said, what.json))
        }
        Voters::Add(what) => changed(what, &[("ADD", &what.node)], pages),
        Voters::Remove(what) => changed(what, &[("REMOVE", &what.node)], pages),
        // The other way round there would be a voter less meanwhile.
        Voters::Replace { by, what } => changed(what, &[("ADD", by), ("REMOVE", &what.node)], pages),
    };
    said.map(|said| (said, true))
}

/// Makes these changes, one after the other.
fn changed(what: &Changed, steps: &[(&str, &str)], pages: &[String]) -> Result<String, String> {
    let (mut nodes, silent) = connect(&what.targets.addresses(pages)?)?;
    let mut said = String::new();
    for (done, (word, node)) in steps.iter().enumerate() {
        let list = change(&mut nodes, word, node, what.timeout, &silent).map_err(|why| match done {
            0 => why,
            _ => format!("{} has a vote now, and {why}", plain(steps[0].1)),
        })?;
        said = shown(&list, what.json);
    }
    Ok(said)
}

/// Asks one node after the other until the primary begins, and waits for the end. Gives what that one says then.
fn change(
    nodes: &mut [Node],
    word: &str,
    node: &str,
    timeout: u64,
    silent: &str,
) -> Result<MemberList, String> {
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
            match said.change {
                Some(why) => waits = why,
                None if said.voters.join(",") == voters => return Ok(said),
                None => break,
            }
            std::thread::sleep(LOOK);
        }
        return Err(format!(
            "nothing has changed in {} s ({}); --timeout gives it more time",
            begun.elapsed().as_secs(),
            plain(&waits)
        ));
    }
    Err(format!("none of these nodes is primary{silent}; `status` tells why"))
}

/// What a node says of the members.
fn told(node: &mut Node) -> Result<MemberList, String> {
    match node.client.call_within(&[b"ELECT", b"MEMBERS"], PATIENCE) {
        Ok(Reply::Bulk(said)) => MemberList::read(&String::from_utf8_lossy(&said))
            .map_err(|why| format!("{}: {why}", node.address)),
        Ok(Reply::Error(why)) => Err(format!("{}: {}", node.address, plain(&why))),
        Ok(other) => Err(format!("{}: no answer that is known: {other:?}", node.address)),
        Err(error) => Err(format!("{}: {error}", node.address)),
    }
}

/// `list`: the generation of the list of voters that it has.
const TITLES: [&str; 7] = ["node", "kind", "priority", "heard", "list", "elections at", "clients at"];

fn shown(said: &MemberList, as_json: bool) -> String {
    if as_json {
        return said.text() + "\n";
    }
    let or_unknown = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let row = |member: &ListedMember| {
        vec![
            bold(&plain(&member.node)),
            plain(&member.kind),
            member.priority.to_string(),
            if member.up { "yes".to_owned() } else { bad("no") },
            or_unknown(&member.has),
            or_unknown(&member.addresses.election),
            or_unknown(&member.addresses.clients),
        ]
    };
    let titles = TITLES.iter().map(|title| bold(title)).collect();
    let rows: Vec<_> = std::iter::once(titles).chain(said.members.iter().map(row)).collect();
    let voters = plain(&said.voters.join(", "));
    let mut text = table(&rows);
    text += &format!(
        "\n{voters} vote, by the list {}; {} of {} are a quorum.\n",
        plain(&said.generation),
        said.quorum,
        said.voters.len()
    );
    if let Some(change) = &said.change {
        text += &format!("Under way: {}.\n", plain(change));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_elect_ops::members::Addresses;

    #[test]
    fn what_a_node_says_is_shown_to_people_and_to_programs() {
        let member = |node: &str, kind: &str, priority, has: Option<&str>| ListedMember {
            node: node.to_owned(),
            kind: kind.to_owned(),
            priority,
            up: has.is_some(),
            has: has.map(str::to_owned),
            addresses: Addresses { election: Some(format!("{node}:16004")), clients: None },
        };
        let list = MemberList {
            generation: "7:2".to_owned(),
            voters: ["n1", "n2", "n3@witness"].map(str::to_owned).to_vec(),
            quorum: 2,
            change: None,
            members: vec![member("n2", "voter", 200, Some("7:2")), member("n4\x1b[", "observer", 0, None)],
        };
        let text = shown(&list, false);
        for words in ["n1, n2, n3@witness vote, by the list 7:2; 2 of 3 are a quorum.", "200", "n2:16004"] {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains("\x1b["), "what a node says is no colour: {text:?}");
        assert_eq!(MemberList::read(&shown(&list, true)), Ok(list));
    }
}
