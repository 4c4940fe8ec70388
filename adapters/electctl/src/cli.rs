//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where a node has its pages if nobody says so.
const NODE_DEFAULT: &str = "127.0.0.1:9121";
const PORT_DEFAULT: u16 = 9121;

pub(crate) const HELP: &str = "\
kevy-electctl: what the nodes of a kevy-elect cluster believe, what they decided and why.

USAGE:
    kevy-electctl [--at HOST:PORT,...] status [--json] [--watch]
    kevy-electctl [--at HOST:PORT,...] history [--json]
    kevy-electctl [--at HOST:PORT,...] explain <EPOCH>
    kevy-electctl check --config <kevy.toml>
    kevy-electctl compare (--clients HOST:PORT,... | --config <kevy.toml>) [--json] [--watch] [--textfile <FILE>]

COMMANDS:
    status     Roles, epochs, positions, lag, lease and links of all nodes
    history    The last decisions of all nodes: who, when, why
    explain    One epoch: why this node, who voted, who refused and why, how long each part took
    check      Checks a configuration and tells what follows from it
    compare    Whether all nodes hold the same keys, types, values and expiries, and which keys differ. Reads only; the
               cluster may be written to meanwhile. Holds a shard for a millisecond at a time; asks 24 bytes per key

OPTIONS:
    --at <HOST:PORT,...>   Addresses of [elect] http of all nodes (else: $KEVY_ELECT_AT, else 127.0.0.1:9121);
                           without a port it is 9121
    --clients <HOST:PORT,...>  For compare: where clients reach the nodes (not [elect] http)
    --config <kevy.toml>   For check; for compare: all members that it names
    --textfile <FILE>      For compare: the result as metrics too, for the textfile collector of Prometheus' node exporter
    --json                 For programs
    --watch                Every second anew; compare every minute
    -h, --help             Show this help and exit

Ends with 0; 1 if no node answers or the configuration is wrong; 2 for a command line that makes no sense.
compare ends with 0 if all is equal, 3 if keys differ, 4 if not everything could be decided because the nodes move, 1 if a
node does not answer.
";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cli {
    pub(crate) nodes: Vec<String>,
    pub(crate) command: Command,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Status { json: bool, watch: bool },
    History { json: bool },
    Explain(u64),
    Check(PathBuf),
    Compare(Compared),
}

/// What is compared, and where the result goes. Either a configuration or addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) config: Option<PathBuf>,
    pub(crate) clients: Vec<String>,
    pub(crate) json: bool,
    pub(crate) watch: bool,
    pub(crate) textfile: Option<PathBuf>,
}

/// `None`: show the help. `arguments` begin with the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Cli>, String> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_iter(arguments);
    let (mut at, mut config, mut json, mut watch) = (None, None, false, false);
    let (mut clients, mut textfile) = (None, None);
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let text = |value: Result<OsString, lexopt::Error>| {
            value.and_then(|value| value.string()).map_err(|error| error.to_string())
        };
        match argument {
            Long("at") => at = Some(text(parser.value())?),
            Long("clients") => clients = Some(text(parser.value())?),
            Long("config") => {
                config = Some(PathBuf::from(parser.value().map_err(|error| error.to_string())?))
            }
            Long("textfile") => {
                textfile = Some(PathBuf::from(parser.value().map_err(|error| error.to_string())?))
            }
            Long("json") => json = true,
            Long("watch") => watch = true,
            Long("help") | Short('h') => return Ok(None),
            Value(value) => words.push(text(Ok(value))?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = match words[..] {
        ["status"] => Command::Status { json, watch },
        ["history"] => Command::History { json },
        ["explain", epoch] => Command::Explain(epoch.parse().map_err(|_| format!("{epoch:?} is no epoch"))?),
        ["explain"] => return Err("explain needs an epoch; history lists them".to_owned()),
        ["check", ..] if words.len() > 1 => return Err("check takes its file as --config FILE".to_owned()),
        ["check"] => Command::Check(config.take().ok_or("check needs --config FILE")?),
        ["compare"] => {
            let clients: Vec<String> = clients.take().map(|text| list(&text)).unwrap_or_default();
            let config = config.take();
            if clients.is_empty() == config.is_none() {
                return Err("compare needs --clients HOST:PORT,... or --config FILE, one of them".to_owned());
            }
            Command::Compare(Compared { config, clients, json, watch, textfile: textfile.take() })
        }
        ["compare", ..] => return Err("compare takes its nodes as --clients HOST:PORT,...".to_owned()),
        [] => return Err("a command is missing: status, history, explain, check or compare".to_owned()),
        _ => return Err(format!("{:?} is no command", words.join(" "))),
    };
    let misplaced = [
        (
            json && !matches!(
                command,
                Command::Status { .. } | Command::History { .. } | Command::Compare(_)
            ),
            "--json",
        ),
        (watch && !matches!(command, Command::Status { .. } | Command::Compare(_)), "--watch"),
        (config.is_some(), "--config"),
        (clients.is_some(), "--clients"),
        (textfile.is_some(), "--textfile"),
        (at.is_some() && matches!(command, Command::Compare(_)), "--at"),
    ];
    if let Some((_, option)) = misplaced.iter().find(|(wrong, _)| *wrong) {
        return Err(format!("{option} means nothing here"));
    }
    let at = at.or_else(|| std::env::var("KEVY_ELECT_AT").ok()).unwrap_or_else(|| NODE_DEFAULT.to_owned());
    let nodes: Vec<String> = list(&at).iter().map(|node| address(node)).collect();
    if nodes.is_empty() {
        return Err("--at names no node".to_owned());
    }
    Ok(Some(Cli { nodes, command }))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect()
}

/// What people paste: also the address of the status page, also without the port.
fn address(node: &str) -> String {
    let bare = node.strip_prefix("http://").unwrap_or(node);
    let bare = bare.split('/').next().unwrap_or(bare);
    match bare.contains(':') {
        true => bare.to_owned(),
        false => format!("{bare}:{PORT_DEFAULT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Option<Cli>, String> {
        parse(["kevy-electctl"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn every_command_is_understood_and_every_slip_is_named() {
        let cli = said("--at a:1,b:2 status --json").unwrap_or_default();
        let command = Command::Status { json: true, watch: false };
        assert_eq!(cli, Some(Cli { nodes: vec!["a:1".into(), "b:2".into()], command }));
        let pasted = said("--at http://n1:80/,n2,[::1]:7 history").unwrap_or_default();
        assert_eq!(
            pasted.map(|cli| cli.nodes),
            Some(vec!["n1:80".into(), "n2:9121".into(), "[::1]:7".into()])
        );
        assert!(said("explain 7").is_ok_and(|cli| cli.is_some_and(|cli| cli.command == Command::Explain(7))));
        assert!(said("check --config k.toml").is_ok());
        let cli = said("compare --clients a:1,b:2 --json --textfile f.prom").unwrap_or_default();
        let clients = vec!["a:1".into(), "b:2".into()];
        let compared =
            Compared { clients, json: true, textfile: Some("f.prom".into()), ..Compared::default() };
        assert_eq!(cli.map(|cli| cli.command), Some(Command::Compare(compared)));
        assert!(said("compare --config k.toml --watch").is_ok());
        assert_eq!(said("--help"), Ok(None));
        for (line, word) in [
            ("", "command is missing"),
            ("stats", "no command"),
            ("explain", "needs an epoch"),
            ("explain x", "no epoch"),
            ("check", "--config"),
            ("check kevy.toml", "--config FILE"),
            ("history --watch", "--watch"),
            ("status --config x", "--config"),
            ("status --bogus", "bogus"),
            ("--at , status", "no node"),
            ("compare", "--clients"),
            ("compare --clients a:1,b:2 --config k.toml", "one of them"),
            ("compare a:1", "--clients"),
            ("--at a compare --clients a:1,b:2", "--at"),
            ("status --clients a:1", "--clients"),
            ("status --textfile f", "--textfile"),
        ] {
            assert!(said(line).is_err_and(|error| error.contains(word)), "{line}: {:?}", said(line));
        }
    }
}
