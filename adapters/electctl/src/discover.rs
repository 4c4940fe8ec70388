//! The other nodes, found from one address: a node's `/facts` names the members, where their pages are and where their data is reached.
//!
//! What a page names is asked for pages and nothing else, and not without end: a page that lies makes this tool ask [`NODES_MAX`] addresses once.

use crate::client::{Answer, ask};
use crate::status::{list, word};
use serde_json::Value;
use std::collections::BTreeSet;

/// Members that are asked without having been named on the command line.
pub(crate) const NODES_MAX: usize = 32;
/// Longest address that makes sense.
const ADDRESS_CHARS_MAX: usize = 300;

/// Where the pages of all members are. Where several addresses are given, nobody else is asked.
pub(crate) fn pages(given: &[String]) -> Vec<String> {
    let [one] = given else { return given.to_vec() };
    let mut all = vec![one.clone()];
    all.extend(of_members(one, "page").into_iter().filter(|address| address != one));
    all.truncate(NODES_MAX);
    all
}

/// Where the data of all members is reached, as the first of `given` that answers says.
pub(crate) fn clients(given: &[String]) -> Result<Vec<String>, String> {
    match given.iter().map(|one| of_members(one, "client")).find(|found| !found.is_empty()) {
        Some(found) => Ok(found),
        None => Err(format!(
            "no page of {} names the members' addresses. Say where clients reach them with --clients or --config, or where a page is with --at",
            given.join(", ")
        )),
    }
}

fn of_members(node: &str, key: &str) -> Vec<String> {
    // Why it does not answer is said by whoever asks it for more.
    let Ok(answers) = ask(&[node.to_owned()], "/facts") else { return Vec::new() };
    let facts = answers.into_iter().find_map(|Answer { said, .. }| said.ok()).unwrap_or(Value::Null);
    // Those that vote first: of thousands of observers some are left out.
    let mut members: Vec<&Value> = list(&facts, "members").collect();
    members.sort_by_key(|member| word(member, "kind") == "observer");
    let addresses = members.into_iter().filter_map(|member| member[key].as_str());
    let mut seen = BTreeSet::new();
    let once = addresses.filter(|address| is_address(address) && seen.insert(address.to_string()));
    once.map(str::to_owned).take(NODES_MAX).collect()
}

fn is_address(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c);
    let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    port.is_some_and(|(host, port)| !host.is_empty() && port != 0)
        && !text.contains(odd)
        && text.len() <= ADDRESS_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_an_address_is_asked() {
        assert!(is_address("n1:9121") && is_address("[::1]:9121"));
        for odd in ["n1", "n1:0", ":9121", "u@n1:9121", "n1:9121/x", "n 1:9121", "n1:99999"] {
            assert!(!is_address(odd), "{odd}");
        }
    }
}
