//! `members reload`: every node reads its file anew, takes up members that are new in it and the places of those that moved, and tells what else it
//! says.

use crate::cli::Ordered;
use crate::paint::{bad, bold, plain, table};
use crate::transfer::{PATIENCE, connect};
use kevy_elect_compare::resp::Reply;
use kevy_elect_ops::reload::Reloaded;
use serde_json::{Value, json};

/// What one node said, or why it said nothing of use.
type Said = (String, Result<Reloaded, String>);

/// What came of it, and whether all that the files say is in force.
pub(crate) fn run(what: &Ordered, pages: &[String]) -> Result<(String, bool), String> {
    let (mut nodes, silent) = connect(&what.targets.addresses(pages)?)?;
    let words: [&[u8]; 3] = [b"ELECT", b"MEMBERS", b"RELOAD"];
    let said: Vec<Said> = nodes
        .iter_mut()
        .map(|node| {
            let said = match node.client.call_within(&words, PATIENCE) {
                Ok(Reply::Bulk(said)) => Reloaded::read(&String::from_utf8_lossy(&said)),
                Ok(Reply::Error(why)) => Err(why.trim_start_matches("ERR ").to_owned()),
                Ok(other) => Err(format!("no answer that is known: {other:?}")),
                Err(error) => Err(error.to_string()),
            };
            (node.address.clone(), said)
        })
        .collect();
    let in_force = said.iter().all(|(_, said)| said.as_ref().is_ok_and(|said| said.waits.is_empty()));
    Ok((shown(&said, &silent, what.json), in_force))
}

fn shown(said: &[Said], silent: &str, as_json: bool) -> String {
    if as_json {
        let of = |(address, said): &Said| match said {
            Ok(said) => {
                json!({ "address": address, "node": said.node, "taken": said.taken, "moved": said.moved, "waits": said.waits })
            }
            Err(why) => json!({ "address": address, "error": why }),
        };
        return format!("{:#}\n", Value::Array(said.iter().map(of).collect()));
    }
    let titles =
        ["node", "clients at", "taken up", "moved", "not in force"].iter().map(|title| bold(title)).collect();
    let row = |(address, said): &Said| match said {
        Ok(said) => {
            let named =
                |all: &[String], none: &str| if all.is_empty() { none.to_owned() } else { all.join(", ") };
            let (taken, moved) = (named(&said.taken, "nobody new"), named(&said.moved, "-"));
            let waits =
                if said.waits.is_empty() { "-".to_owned() } else { bad(&said.waits.len().to_string()) };
            vec![bold(&plain(&said.node)), plain(address), plain(&taken), plain(&moved), waits]
        }
        Err(_) => vec!["-".to_owned(), plain(address), "-".to_owned(), "-".to_owned(), bad("all")],
    };
    let rows: Vec<_> = std::iter::once(titles).chain(said.iter().map(row)).collect();
    let mut text = table(&rows);
    for (address, said) in said {
        match said {
            Ok(said) => said
                .waits
                .iter()
                .for_each(|what| text += &format!("\n{}: {}.", plain(&said.node), plain(what))),
            Err(why) => text += &format!("\n{}: {}.", plain(address), plain(why)),
        }
    }
    if !silent.is_empty() {
        text += &format!("\nNot asked{}.", plain(silent));
    }
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_that_did_not_take_all_is_named_with_what_to_do() {
        let said = Reloaded {
            node: "n1".to_owned(),
            taken: vec!["n4".to_owned()],
            moved: vec!["n3".to_owned()],
            waits: vec!["http is odd".to_owned()],
        };
        let all = [
            ("n1:6004".to_owned(), Ok(said)),
            ("n2:6004".to_owned(), Err("nothing has changed: line 3\x1b[".to_owned())),
        ];
        let text = shown(&all, "; n3:6004: refused", false);
        for words in [
            "n4",
            "n3",
            "n1: http is odd.",
            "n2:6004: nothing has changed: line 3",
            "Not asked; n3:6004: refused.",
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains("\x1b["), "what a node says is no colour: {text:?}");
        let json = shown(&all, "", true);
        assert!(json.contains("\"taken\"") && json.contains("\"error\""), "{json}");
    }
}
