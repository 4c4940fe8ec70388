//! What to run.

use crate::programs::Client;
use kevy_elect_harness::fault::Fault;
use std::path::PathBuf;
use std::time::Duration;

/// `--help`
pub(crate) const HELP: &str = "\
cargo clients: what applications see of a failover, through the client libraries that they use

USAGE: cargo clients [OPTIONS]

    --client NAME       redis-py, ioredis, node-redis or redis-rs; may be given several times; default: all
    --fault NAME        kill, term or stop; may be given several times; default: kill and term
    --rounds N          for each client and fault; default 3
    --defaults          clients as they come, instead of with the few settings that docs/clients.md gives
    --redis             Redis with real Sentinels (down-after 1 s) instead of kevy: the yardstick
    --dead-first        the node that is broken is the first in the client's list
    --return            a killed node is started again at once
    --server PATH       a kevy-server; default: the one of this workspace, built first
    --gap-max MS        fails where the median of the longest gaps is above this
    --markdown PATH     writes the table there

The libraries are installed below target/clients from PyPI and npm, in the versions that tests/clients/programs names.
";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) clients: Vec<Client>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rounds: u32,
    pub(crate) documented: bool,
    pub(crate) redis: bool,
    pub(crate) dead_first: bool,
    pub(crate) returns: bool,
    pub(crate) server: Option<PathBuf>,
    pub(crate) gap_max: Option<Duration>,
    pub(crate) markdown: Option<PathBuf>,
}

/// `None`: help was asked for.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Request>, String> {
    let mut request = Request {
        clients: Vec::new(),
        faults: Vec::new(),
        rounds: 3,
        documented: true,
        redis: false,
        dead_first: false,
        returns: false,
        server: None,
        gap_max: None,
        markdown: None,
    };
    let mut arguments = arguments;
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--client" => {
                let name = value()?;
                let client = Client::ALL.iter().find(|client| client.name() == name);
                request
                    .clients
                    .push(*client.ok_or_else(|| format!("--client {name}: there is no such client here"))?);
            }
            "--fault" => {
                let name = value()?;
                let fault =
                    [Fault::Kill, Fault::Term, Fault::Stop].into_iter().find(|fault| fault.name() == name);
                request.faults.push(fault.ok_or_else(|| format!("--fault {name}: use kill, term or stop"))?);
            }
            "--rounds" => request.rounds = number(&flag, &value()?)?,
            "--gap-max" => request.gap_max = Some(Duration::from_millis(number(&flag, &value()?)?.into())),
            "--defaults" => request.documented = false,
            "--redis" => request.redis = true,
            "--dead-first" => request.dead_first = true,
            "--return" => request.returns = true,
            "--server" => request.server = Some(value()?.into()),
            "--markdown" => request.markdown = Some(value()?.into()),
            _ => return Err(format!("there is no {flag}")),
        }
    }
    if request.clients.is_empty() {
        request.clients = Client::ALL.to_vec();
    }
    if request.faults.is_empty() {
        request.faults = vec![Fault::Kill, Fault::Term];
    }
    Ok(Some(request))
}

fn number(flag: &str, text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("{flag} {text}: use a whole number from 1"))
}
