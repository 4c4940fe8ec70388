//! The crate's front door: the names at its root, and the rooms behind it. Whoever changes them changes what every user
//! writes, and says so here.

const MODULES: &[&str] =
    &["clock", "elector", "error", "host", "plugin", "sim", "store", "transport", "wire"];
const TYPES: &[&str] = &[
    "bounds",
    "change",
    "config",
    "event",
    "fence",
    "gate",
    "identity",
    "ids",
    "link",
    "membership",
    "message",
    "pause",
    "position",
    "rank",
    "state",
    "time",
    "transfer",
];
const NAMES: &[&str] = &[
    "Clock",
    "Config",
    "Denied",
    "ElectError",
    "ElectPlugin",
    "ElectSnapshot",
    "Election",
    "Epoch",
    "Event",
    "FileVoteStore",
    "Health",
    "HostError",
    "Member",
    "NodeId",
    "Position",
    "QuorumParts",
    "QuorumPlugin",
    "Reign",
    "ReplicationHost",
    "SystemClock",
    "TcpTransport",
    "Transport",
    "VoteStore",
    "WriteGate",
];

/// The names that a `pub use` brings in, without the paths that lead to them.
fn names(text: &str) -> Vec<&str> {
    let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    names.filter_map(|path| path.rsplit("::").next()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_names_at_the_root_are_those_that_were_agreed_on() {
    let source = std::fs::read_to_string("src/lib.rs").unwrap();
    let items: Vec<&str> = source.split(';').map(str::trim_start).collect();
    let mut modules = Vec::new();
    let mut used = Vec::new();
    for item in items {
        let item = item.rfind("pub ").map_or("", |at| &item[at..]);
        if let Some(module) = item.strip_prefix("pub mod ") {
            modules.push(module);
        } else if let Some(list) = item.strip_prefix("pub use ") {
            used.extend(names(list));
        }
    }
    used.sort_unstable();
    let mut agreed = [TYPES, NAMES].concat();
    agreed.sort_unstable();
    assert_eq!(modules, MODULES);
    assert_eq!(used, agreed);
}
